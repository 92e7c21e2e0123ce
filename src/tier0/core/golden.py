"""Golden rows: inputs with the outputs that the in-memory model gave before anything was saved."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tier0.core.errors import RegistrationError

SCHEMA = 2
PARTS = ("predictions", "probabilities", "intervals")
PLAIN = {"example", "synthetic"}
MOST_WORST = 5
ROW_ALONE_TOLERANCE = 1e-12
"""Relative. A row alone and in a batch differ in the last bit for linear models: BLAS picks other kernels."""


@dataclass(frozen=True)
class Mismatch:
    """The first place where an answer is not what the in-memory model gave.

    Attributes:
        row: the index of the row within the rows that were asked.
        part: ``predictions``, ``probabilities``, or what else is wrong with the answer.
        expected: what the in-memory model gave.
        got: what was served.
        count: how many rows differ.
    """

    row: int
    part: str
    expected: Any
    got: Any
    count: int = 1

    def __str__(self) -> str:
        more = f" ({self.count} rows differ)" if self.count > 1 else ""
        return f"row {self.row}: {self.part}: expected {self.expected!r}, got {self.got!r}{more}"


@dataclass(frozen=True)
class GoldenRows:
    """Input rows and what the in-memory model said about them, all as JSON types; missing values are None.

    Attributes:
        columns: the names of the features.
        rows: one list a row, in the order of *columns*.
        predictions: one label or number a row.
        probabilities: one list a row, in the order of *classes*; None without them.
        classes: the labels; empty for regression.
        origins: where each row comes from, such as ``example`` or ``just below a boundary of age``; empty if that is not known.
        categories: for a column of text, the values that the model was trained on, where they are known.
        seconds: what the model in memory took for one row, on one thread; None if that was not measured.
        tag: of the entry that the rows belong to; None for a model that is not registered.
        intervals: for each row the lower and the upper bound of its prediction; None without them.
    """

    columns: list[str]
    rows: list[list[Any]]
    predictions: list[Any]
    probabilities: list[list[float]] | None
    classes: list[Any]
    origins: list[str] = field(default_factory=list)
    categories: dict[str, list[str]] = field(default_factory=dict)
    seconds: float | None = None
    tag: str | None = None
    intervals: list[list[float]] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int]) -> GoldenRows:
        """Return the rows at *indices*, in that order."""
        return replace(
            self,
            rows=[self.rows[index] for index in indices],
            predictions=[self.predictions[index] for index in indices],
            probabilities=None if self.probabilities is None else [self.probabilities[index] for index in indices],
            intervals=None if self.intervals is None else [self.intervals[index] for index in indices],
            origins=[self.origins[index] for index in indices] if self.origins else [],
        )

    def answered(self, answer: Mapping[str, Any]) -> GoldenRows:
        """Return the same rows, with what was *answered* in the place of what must be."""
        return replace(
            self,
            predictions=answer["predictions"],
            probabilities=answer.get("probabilities"),
            intervals=answer.get("intervals"),
            classes=[],
        )

    @property
    def plain(self) -> GoldenRows:
        """The rows as they were given, or drawn: one batch, as they were asked in memory."""
        return self.take([index for index in range(len(self)) if not self.origins or self.origins[index] in PLAIN])

    @property
    def hard(self) -> GoldenRows:
        """The rows that services easily get wrong: the other batch."""
        return self.take([index for index in range(len(self)) if self.origins and self.origins[index] not in PLAIN])

    def origin(self, index: int) -> str:
        """Say which row the one at *index* is: its number, and where it comes from unless it is simply an example."""
        origin = self.origins[index] if self.origins else "example"
        return f"row {index}" if origin == "example" else f"row {index} ({origin})"

    def body(self) -> dict[str, Any]:
        """Return the request that asks for these rows, by position."""
        return {"features": self.rows, "columns": self.columns}

    def records(self) -> list[dict[str, Any]]:
        """Return the rows by name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def compare(self, answer: Mapping[str, Any], *, tolerance: float = 0.0, parts: Sequence[str] = PARTS) -> Mismatch | None:
        """Compare a served *answer* with what the in-memory model gave.

        Args:
            answer: has ``predictions`` and ``probabilities``, and may have ``classes``, as on the wire.
            tolerance: relative, for numbers; 0 means to the last bit. Labels are always compared exactly.
            parts: what to compare, where a service does not give all of them.

        Returns:
            The first difference, or None where everything is equal.
        """
        if answer.get("classes") is not None and list(answer["classes"]) != self.classes:
            return Mismatch(0, "classes", self.classes, answer["classes"], len(self))
        for part in parts:
            expected, got = getattr(self, part), answer.get(part)
            if expected is None and got is None:
                continue
            if expected is None or not isinstance(got, list):
                return Mismatch(0, part, None if expected is None else expected[0], got, len(self))
            if len(got) != len(expected):
                return Mismatch(0, part, f"one for each of {len(expected)} rows", f"{len(got)} of them", len(self))
            wrong = [index for index, pair in enumerate(zip(expected, got, strict=True)) if not _equal(*pair, tolerance)]
            if wrong:
                return Mismatch(wrong[0], part, expected[wrong[0]], got[wrong[0]], len(wrong))
        return None

    def beside(self, answer: Mapping[str, Any], *, parts: Sequence[str] = PARTS) -> dict[str, Any] | None:
        """Return what the in-memory model gave beside what was served, for a drawing.

        Args:
            answer: see `compare`.
            parts: what the service gives; its probabilities are taken, or else predictions that are numbers.

        Returns:
            ``part``, ``what`` in words, ``expected`` and ``served`` with one number a row (of several classes, the one whose probability
            differs in most rows), and ``worst``: the rows that differ most, at most five, by number and origin. None where the answer has
            no such numbers.
        """
        for part in ("probabilities", "predictions"):
            expected, served = getattr(self, part), answer.get(part)
            if part not in parts or not expected or not isinstance(served, list) or len(served) != len(expected):
                continue
            columns = range(len(expected[0])) if isinstance(expected[0], list) else range(1)
            by_column = [
                [(_number(before, column), _number(after, column)) for before, after in zip(expected, served, strict=True)] for column in columns
            ]
            column = max(columns, key=lambda column: (sum(before != after for before, after in by_column[column]), column))
            pairs = by_column[column]
            if all(before is not None for before, _ in pairs):
                label = f" of {self.classes[column]}" if part == "probabilities" and column < len(self.classes) else ""
                what = {"probabilities": "probability", "predictions": "prediction"}[part] + label
                return {"part": part, "what": what, **_as_columns(pairs), "worst": self._worst(pairs)}
        return None

    def _worst(self, pairs: Sequence[tuple[float | None, float | None]]) -> list[dict[str, Any]]:
        apart = {index: math.inf if after is None else abs(before - after) for index, (before, after) in enumerate(pairs) if before is not None}
        ranked = sorted((index for index, difference in apart.items() if difference > 0), key=lambda index: -apart[index])
        return [{"row": index, "origin": self.origin(index), "expected": pairs[index][0], "served": pairs[index][1]} for index in ranked[:MOST_WORST]]

    def write(self, path: Path | str) -> None:
        """Write the rows to a JSON file with a schema number; floats keep every bit."""
        Path(path).write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, allow_nan=False), encoding="utf-8")

    @classmethod
    def read(cls, path: Path | str) -> GoldenRows:
        """Read what `write` wrote.

        Raises:
            RegistrationError: the file is not there, is no JSON or has another schema number.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            schema = document.pop("schema")
            rows = cls(**document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
            raise RegistrationError(f"no golden rows can be read from {path}: {problem}. They are written when a model is registered.") from problem
        if schema != SCHEMA:
            raise RegistrationError(
                f"golden rows in {path} have schema {schema!r}, and this version of Tier0 reads {SCHEMA}. Register the model again."
            )
        if (contradiction := rows.problem()) is not None:
            raise RegistrationError(f"golden rows in {path}: {contradiction}. Make them again, with tier0 golden or tier0.golden_rows.")
        return rows

    def problem(self) -> str | None:
        """Say what contradicts itself; None if nothing does."""
        if not self.rows:
            return "rows is empty"
        if wrong := [index for index, row in enumerate(self.rows) if not isinstance(row, list) or len(row) != len(self.columns)]:
            return f"rows[{wrong[0]}] is not a list of {len(self.columns)} values, one for each of columns"
        for name in (*PARTS, "origins"):
            values = getattr(self, name)
            if values and len(values) != len(self.rows):
                return f"{name} has {len(values)} entries for {len(self.rows)} rows"
        if not self.predictions:
            return "predictions is empty"
        if unknown := sorted(set(self.categories) - set(self.columns)):
            return f"categories names {unknown[0]!r}, which is no column"
        return None


def _number(output: Any, column: int) -> float | None:
    """Return one of a row's probabilities, or its prediction; None for what is no finite number."""
    value = (output[column] if column < len(output) else None) if isinstance(output, list) else output
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _as_columns(pairs: Sequence[tuple[float | None, float | None]]) -> dict[str, list[float | None]]:
    return {"expected": [before for before, _ in pairs], "served": [after for _, after in pairs]}


def _equal(expected: Any, got: Any, tolerance: float) -> bool:
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(_equal(*pair, tolerance) for pair in zip(expected, got, strict=True))
    if isinstance(expected, float):
        if not isinstance(got, (int, float)) or isinstance(got, bool):
            return False
        return expected == got or math.isclose(expected, got, rel_tol=tolerance, abs_tol=0.0)
    if isinstance(expected, int) and not isinstance(expected, bool) and isinstance(got, float):
        return expected == got  # JSON has one kind of number: a label 1 may be written 1.0
    return type(expected) is type(got) and bool(expected == got)
