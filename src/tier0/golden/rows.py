"""Golden rows: input rows with the outputs that the trained model gave in memory, before anything was saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tier0.core.errors import RegistrationError
from tier0.golden.file import PARTS, as_document, read_fields
from tier0.golden.origins import EXAMPLE, EdgeCaseKind, Origin
from tier0.golden.tolerance import (
    EXACT,
    ROW_ALONE_TOLERANCE,
    Spread,
    Tolerance,
    largest_magnitude,
    tolerance_for,
)

__all__ = [
    "PARTS",
    "ROW_ALONE_TOLERANCE",
    "EdgeCaseKind",
    "GoldenRows",
    "Mismatch",
    "Origin",
    "Spread",
    "Tolerance",
]

MAX_REPORTED_MISMATCHES = 5


@dataclass(frozen=True)
class Mismatch:
    """The first place where an answer differs from the trained model's outputs.

    Attributes:
        row: the index of the row within the rows that were compared.
        part: ``predictions``, ``probabilities``, ``intervals`` or ``classes``.
        expected: the trained model's output.
        got: the served output.
        count: how many rows differ.
        rows: how many rows were compared.
        origin: where the row comes from; None for an example.
    """

    row: int
    part: str
    expected: Any
    got: Any
    count: int = 1
    rows: int = 1
    origin: Origin | None = None

    def describe(self, show: Callable[[Any], str] = repr) -> str:
        """Return the difference in words, with the values as *show* writes them."""
        origin = "" if self.origin is None else f" ({self.origin})"
        more = f" ({self.count} of {self.rows} rows differ)" if self.rows > 1 else ""
        return (
            f"row {self.row}{origin}: {self.part}: expected {show(self.expected)}, got {show(self.got)}{more}"
        )

    def __str__(self) -> str:
        return self.describe()


@dataclass(frozen=True)
class GoldenRows:
    """Input rows with the outputs of the trained model in memory, all as JSON types; missing values are None.

    Attributes:
        columns: the names of the features.
        rows: one list a row, in the order of *columns*.
        predictions: one label or number a row; None where the model itself gave None.
        probabilities: one list a row, in the order of *classes*; None without them.
        classes: the labels; empty for regression.
        origins: where each row comes from; empty if that is not known.
        categories: for a column of text, the values that the model was trained on, where they are known.
        seconds: what the model in memory took for one row, on one thread; None if that was not measured.
        tag: of the entry that the rows belong to; None for a model that is not registered.
        intervals: for each row the lower and the upper bound of its prediction; None without them.
        dtypes: for each part, numpy's name for the type of the model's output, such as ``float32``; without those that are not known.
        spreads: for each part, how far the model in memory differs from itself; without those that were not measured.
        distinguishes: for each simulated defect, the indices of the rows that show it.
    """

    columns: list[str]
    rows: list[list[Any]]
    predictions: list[Any]
    probabilities: list[list[float]] | None
    classes: list[Any]
    origins: list[Origin] = field(default_factory=list)
    categories: dict[str, list[str]] = field(default_factory=dict)
    seconds: float | None = None
    tag: str | None = None
    intervals: list[list[float]] | None = None
    dtypes: dict[str, str] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    distinguishes: dict[str, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int]) -> GoldenRows:
        """Return the rows at *indices*, in that order."""
        return replace(
            self,
            rows=[self.rows[index] for index in indices],
            predictions=[self.predictions[index] for index in indices],
            probabilities=None
            if self.probabilities is None
            else [self.probabilities[index] for index in indices],
            intervals=None if self.intervals is None else [self.intervals[index] for index in indices],
            origins=[self.origins[index] for index in indices] if self.origins else [],
            distinguishes={
                defect: [position for position, index in enumerate(indices) if index in showing]
                for defect, showing in self.distinguishes.items()
            },
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
        """The rows that are not edge cases: one batch, as the model was asked in memory."""
        return self._where(lambda origin: not origin.is_edge_case)

    @property
    def edge_cases(self) -> GoldenRows:
        """The rows that services easily get wrong: the other batch."""
        return self._where(lambda origin: origin.is_edge_case)

    def of_kind(self, kind: str, column: str | None = None) -> GoldenRows:
        """Return the rows of one kind (see `Origin`): those made for *column*, if it is given."""
        return self._where(lambda origin: origin.kind == kind and column in {None, origin.column})

    def _where(self, chosen: Callable[[Origin], bool]) -> GoldenRows:
        origins = self.origins or [EXAMPLE] * len(self)
        return self.take([index for index, origin in enumerate(origins) if chosen(origin)])

    def origin(self, index: int) -> str:
        """Return the number of the row at *index*, and where it comes from unless it is simply an example."""
        origin = self._edge_origin(index)
        return f"row {index}" if origin is None else f"row {index} ({origin})"

    def _edge_origin(self, index: int) -> Origin | None:
        return None if not self.origins or self.origins[index] == EXAMPLE else self.origins[index]

    def body(self) -> dict[str, Any]:
        """Return the request that asks for these rows, by position."""
        return {"features": self.rows, "columns": self.columns}

    def records(self) -> list[dict[str, Any]]:
        """Return the rows by name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def tolerance(self, part: str, *, same_arithmetic: bool, same_batch: bool) -> Tolerance:
        """Return how far the served numbers of *part* may be from these.

        Ask all golden rows for it, not some that were taken: numbers close to 0 are judged by the largest of their part.

        Args:
            part: one of `PARTS`.
            same_arithmetic: the service runs on this machine, with the same libraries and one thread, as the model in memory did.
            same_batch: `plain` or `edge_cases` are asked together, whole and in their order.
        """
        largest = largest_magnitude(getattr(self, part) or [])
        as_asked = same_batch and all(
            origin.is_known for origin in self.origins
        )  # else the batches of that version are not known
        return tolerance_for(
            self.dtypes.get(part),
            self.spreads.get(part),
            largest,
            same_arithmetic=same_arithmetic,
            same_batch=as_asked,
        )

    def tolerances(
        self, *, same_arithmetic: bool, same_batch: bool, relative: float = 0.0, absolute: float = 0.0
    ) -> dict[str, Tolerance]:
        """Return the tolerance of every part (see `tolerance`), or what a user allows where that is more: *relative*, or *absolute*."""
        return {
            part: self.tolerance(part, same_arithmetic=same_arithmetic, same_batch=same_batch).widened(
                relative=relative, absolute=absolute
            )
            for part in PARTS
        }

    def compare(
        self,
        answer: Mapping[str, Any],
        *,
        tolerance: float | Mapping[str, Tolerance] = 0.0,
        parts: Sequence[str] = PARTS,
    ) -> Mismatch | None:
        """Compare a served *answer* with the trained model's outputs.

        Args:
            answer: has ``predictions`` and ``probabilities``, and may have ``classes``, as on the wire.
            tolerance: for numbers: of each part (see `tolerances`), or a relative one for all; 0, or a part without one, means to
                the last bit. Labels are always compared exactly.
            parts: what to compare, where a service does not give all of them.

        Returns:
            The first difference, or None where everything is equal.
        """
        if answer.get("classes") is not None and list(answer["classes"]) != self.classes:
            return Mismatch(0, "classes", self.classes, answer["classes"], len(self), len(self))
        for part in parts:
            allowed = tolerance.get(part, EXACT) if isinstance(tolerance, Mapping) else Tolerance(tolerance)
            if (mismatch := self._compare_part(part, answer.get(part), allowed)) is not None:
                return mismatch
        return None

    def _compare_part(self, part: str, got: Any, tolerance: Tolerance) -> Mismatch | None:
        expected = getattr(self, part)
        if expected is None and got is None:
            return None
        if not isinstance(expected, list):  # of a service that was asked before
            return None if expected == got else Mismatch(0, part, expected, got, len(self), len(self))
        if not isinstance(got, list):
            return Mismatch(0, part, expected[0] if expected else None, got, len(self), len(self))
        if len(got) != len(expected):
            return Mismatch(
                0, part, f"one for each of {len(expected)} rows", f"{len(got)} of them", len(self), len(self)
            )
        wrong = [
            index
            for index, pair in enumerate(zip(expected, got, strict=True))
            if not _equal(*pair, tolerance)
        ]
        if part == "predictions":
            wrong = sorted(
                {
                    *wrong,
                    *(
                        index
                        for index, pair in enumerate(zip(expected, got, strict=True))
                        if self._is_another_label(*pair)
                    ),
                }
            )
        if not wrong:
            return None
        first = wrong[0]
        return Mismatch(
            first, part, expected[first], got[first], len(wrong), len(self), self._edge_origin(first)
        )

    def _is_another_label(self, expected: Any, got: Any) -> bool:
        """Return True if a number is closer to another label: a tolerance that is wider than labels are apart must not join them."""
        if not isinstance(expected, float) or not _is_finite_number(got):
            return False
        return any(
            abs(label - got) < abs(expected - got) for label in self.classes if isinstance(label, float)
        )

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
            if (
                part not in parts
                or not expected
                or not isinstance(served, list)
                or len(served) != len(expected)
            ):
                continue
            columns = range(len(expected[0])) if isinstance(expected[0], list) else range(1)
            by_column = [
                [
                    (_number(before, column), _number(after, column))
                    for before, after in zip(expected, served, strict=True)
                ]
                for column in columns
            ]
            column = max(
                columns,
                key=lambda column: (sum(before != after for before, after in by_column[column]), column),
            )
            pairs = by_column[column]
            if all(before is not None for before, _ in pairs):
                label = (
                    f" of {self.classes[column]}"
                    if part == "probabilities" and column < len(self.classes)
                    else ""
                )
                what = {"probabilities": "probability", "predictions": "prediction"}[part] + label
                return {"part": part, "what": what, **_as_columns(pairs), "worst": self._worst(pairs)}
        return None

    def _worst(self, pairs: Sequence[tuple[float | None, float | None]]) -> list[dict[str, Any]]:
        apart = {
            index: math.inf if after is None else abs(before - after)
            for index, (before, after) in enumerate(pairs)
            if before is not None
        }
        ranked = sorted(
            (index for index, difference in apart.items() if difference > 0), key=lambda index: -apart[index]
        )
        return [
            {
                "row": index,
                "origin": self.origin(index),
                "expected": pairs[index][0],
                "served": pairs[index][1],
            }
            for index in ranked[:MAX_REPORTED_MISMATCHES]
        ]

    def write(self, path: Path | str) -> None:
        """Write the rows to a JSON file with a schema number; floats keep every bit."""
        Path(path).write_text(json.dumps(as_document(self), allow_nan=False), encoding="utf-8")

    @classmethod
    def read(cls, path: Path | str) -> GoldenRows:
        """Read what `write` wrote, also that of earlier versions.

        Raises:
            RegistrationError: the file cannot be read, is not JSON, has an unknown schema number, or a field that cannot be used.
        """
        try:
            rows = cls(**read_fields(Path(path)))
        except OSError as problem:
            raise RegistrationError(
                f"cannot read golden rows from {path}: {problem}. They are written when a model is registered."
            ) from problem
        except ValueError as problem:
            raise RegistrationError(f"invalid golden rows in {path}: {problem}") from problem
        if (contradiction := rows.problem()) is not None:
            raise RegistrationError(
                f"invalid golden rows in {path}: {contradiction}. Make them again, with tier0 golden or tier0.golden_rows."
            )
        return rows

    def problem(self) -> str | None:
        """Return the first contradiction between the fields; None without one."""
        if not self.rows:
            return "rows is empty"
        if wrong := [
            index
            for index, row in enumerate(self.rows)
            if not isinstance(row, list) or len(row) != len(self.columns)
        ]:
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
    return (
        float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _as_columns(pairs: Sequence[tuple[float | None, float | None]]) -> dict[str, list[float | None]]:
    return {"expected": [before for before, _ in pairs], "served": [after for _, after in pairs]}


def _equal(expected: Any, got: Any, tolerance: Tolerance) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(got, list)
            and len(got) == len(expected)
            and all(_equal(*pair, tolerance) for pair in zip(expected, got, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and got.keys() == expected.keys()
            and all(_equal(expected[key], got[key], tolerance) for key in expected)
        )
    if isinstance(got, float) and math.isnan(
        got
    ):  # how services write what JSON has no number for, and golden rows have as None
        return expected is None or (isinstance(expected, float) and math.isnan(expected))
    if isinstance(expected, float):
        return isinstance(got, (int, float)) and not isinstance(got, bool) and tolerance.allows(expected, got)
    if isinstance(expected, int) and not isinstance(expected, bool) and isinstance(got, float):
        return expected == got  # JSON has one kind of number: a label 1 may be written 1.0
    return type(expected) is type(got) and bool(expected == got)
