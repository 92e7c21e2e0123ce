"""Golden rows: input rows with the outputs of the trained model in memory, from before it was saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from tier0.core.errors import RegistrationError, reason_of
from tier0.core.named_file import write_text
from tier0.core.outputs import PARTS
from tier0.golden.file import REMEDY, as_document, read_fields
from tier0.golden.forms import Form
from tier0.golden.origins import EXAMPLE, EdgeCaseKind, Origin
from tier0.golden.shown_values import InWords, shown_pair
from tier0.golden.simulations import Simulation
from tier0.golden.tolerance import (
    EXACT,
    ROW_ALONE_TOLERANCE,
    Spread,
    Tolerance,
    fields_in,
    inner_name,
    largest_magnitude,
    tolerance_for,
)

__all__ = [
    "ROW_ALONE_TOLERANCE",
    "EdgeCaseKind",
    "GoldenRows",
    "Mismatch",
    "Origin",
    "Simulation",
    "Spread",
    "Tolerance",
]

MAX_REPORTED_MISMATCHES = 5
SINGULAR = {"predictions": "prediction", "probabilities": "probability", "intervals": "interval"}
BOUNDS = ("lower bound", "upper bound")


@dataclass(frozen=True)
class Mismatch:
    """The first difference between served outputs and the trained model's outputs.

    Attributes:
        row: index of the row within the compared rows.
        part: ``predictions``, ``probabilities``, ``intervals`` or ``classes``.
        expected: output of the trained model.
        got: served output.
        count: number of rows that differ.
        rows: number of compared rows.
        origin: origin of the row; None for an example.
        place: where in the output the first difference is, such as ``probability of 'yes'``.
        pair: expected and served value at that place.
        counts: number of the expected and of the served values, if these numbers differ.
    """

    row: int
    part: str
    expected: Any
    got: Any
    count: int = 1
    rows: int = 1
    origin: Origin | None = None
    place: str = field(default="", compare=False)
    pair: tuple[Any, Any] | None = field(default=None, compare=False)
    counts: tuple[int, int] | None = field(default=None, compare=False)

    def describe(self, show: Callable[[str], str] = str) -> str:
        """Return the difference as text, with *show* applied to each value; a single row has no number."""
        differ = "differs" if self.count == 1 else "differ"
        more = f" ({self.count} of {self.rows} rows {differ})" if self.rows > 1 else ""
        return f"{self.describe_row(show)}{more}"

    def describe_row(self, show: Callable[[str], str] = str) -> str:
        """Return the difference of the first row as text, without the number of rows that differ."""
        origin = "" if self.origin is None else f" ({self.origin})"
        row = f"row {self.row}{origin}: " if self.rows > 1 else f"{self.origin}: " if self.origin else ""
        if isinstance((self.pair or (self.expected,))[0], InWords):
            row = ""  # the difference is that of the entire part
        expected, got = shown_pair(*(self.pair or (self.expected, self.got)))
        return f"{row}{self.place or self.part}: expected {show(expected)}, got {show(got)}"

    def __str__(self) -> str:
        return self.describe()


@dataclass(frozen=True)
class GoldenRows:
    """Input rows and the trained model's outputs for them, as JSON types; a missing value is None.

    Attributes:
        columns: names of the features.
        rows: one list of values per row, in the order of *columns*.
        predictions: one label or number per row, or a list of them for a model with several outputs; None
            where the model itself returned None.
        probabilities: one list of numbers per row, in the order of *classes*; for a model with several
            outputs, a list with one number or one list of numbers per output; None if the model has none.
        classes: labels of the model; for a model with several outputs, a list of labels per output; empty for
            regression.
        origins: origin of each row; empty if unknown.
        categories: values of each text column that the model was trained on, where they are known.
        seconds: time of the model in memory for one row, on one thread; None if it was not measured.
        tag: tag of the store entry that the rows belong to; None for a model that is not registered.
        intervals: lower and upper bound of each prediction; None if the model has none.
        dtypes: numpy dtype name of each part of the model's output, such as ``float32``, where it is known;
            for objects, also of their fields, by names such as ``predictions.score``.
        spreads: for each part, and field, that was measured, how far the model in memory differs from itself.
        distinguishes: for each simulated defect, the indices of the rows that detect it.
        simulations: outputs of simulated defects for the rows; empty if unknown.
        form: what a row is. Other forms than a table have one column, with a text, an array or a JSON value.
    """

    columns: list[str]
    rows: list[list[Any]]
    predictions: list[Any]
    probabilities: list[list[Any]] | None
    classes: list[Any]
    origins: list[Origin] = field(default_factory=list)
    categories: dict[str, list[str]] = field(default_factory=dict)
    seconds: float | None = None
    tag: str | None = None
    intervals: list[list[float]] | None = None
    dtypes: dict[str, str] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    distinguishes: dict[str, list[int]] = field(default_factory=dict)
    simulations: tuple[Simulation, ...] = ()
    form: Form = "table"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def has_several_outputs(self) -> bool:
        """Whether the model predicts a list of labels or numbers per row."""
        return any(isinstance(prediction, list) for prediction in self.predictions)

    def take(self, indices: Sequence[int]) -> GoldenRows:
        """Return the rows at *indices*, in that order."""

        def taken(values: Sequence[Any]) -> list[Any]:
            return [values[index] for index in indices]

        def places(detecting: Sequence[int]) -> list[int]:
            known = set(detecting)
            return [place for place, index in enumerate(indices) if index in known]

        return replace(
            self,
            rows=taken(self.rows),
            predictions=taken(self.predictions),
            probabilities=None if self.probabilities is None else taken(self.probabilities),
            intervals=None if self.intervals is None else taken(self.intervals),
            origins=taken(self.origins) if self.origins else [],
            distinguishes={defect: places(found) for defect, found in self.distinguishes.items()},
            simulations=tuple(
                replace(
                    simulation,
                    predictions=taken(simulation.predictions),
                    probabilities=None
                    if simulation.probabilities is None
                    else taken(simulation.probabilities),
                )
                for simulation in self.simulations
            ),
        )

    def with_outputs(self, outputs: Mapping[str, Any]) -> GoldenRows:
        """Return the same rows with *outputs*, by part, in place of the trained model's."""
        return replace(
            self,
            predictions=outputs["predictions"],
            probabilities=outputs.get("probabilities"),
            intervals=outputs.get("intervals"),
            classes=[],
            simulations=(),
        )

    @property
    def examples(self) -> GoldenRows:
        """The rows that are not edge cases: the batch in which the model in memory predicted them."""
        return self._where(lambda origin: not origin.is_edge_case)

    @property
    def edge_cases(self) -> GoldenRows:
        """The edge cases: the other batch in which the model in memory predicted rows."""
        return self._where(lambda origin: origin.is_edge_case)

    def with_origin(self, kind: str, column: str | None = None) -> GoldenRows:
        """Return the rows with an origin of this *kind* (see `Origin`), for *column* only if it is given."""
        return self._where(lambda origin: origin.kind == kind and column in {None, origin.column})

    def _where(self, matches: Callable[[Origin], bool]) -> GoldenRows:
        origins = self.origins or [EXAMPLE] * len(self)
        return self.take([index for index, origin in enumerate(origins) if matches(origin)])

    @property
    def power(self) -> str | None:
        """How many simulated defects the rows distinguish from the trained model; None if it is unknown."""
        if not self.simulations:
            return None
        of = len(self.simulations)
        found = of - len(self.not_distinguished)
        return f"these {len(self)} rows distinguish {found} of {of} simulated defects"

    @property
    def described(self) -> str:
        """The number of rows, and their power where it is known."""
        rows = f"{len(self)} golden rows{self.kinds_in_words}"
        return rows if self.power is None else f"{rows}: {self.power}"

    @property
    def kinds_in_words(self) -> str:
        """How many rows are examples and how many are edge cases, in brackets; empty without edge cases."""
        edge_cases = len(self.edge_cases)
        counts = {"example": len(self) - edge_cases, "edge case": edge_cases}
        parts = [f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items()]
        return f" ({', '.join(parts)})" if edge_cases else ""

    def part_in_words(self, part: GoldenRows) -> str:
        """Return what the rows of *part*, which were sent, are among these rows."""
        if len(part) == len(self):
            return f"all {len(self)} golden rows"
        if len(part) == len(self.examples):
            return f"all {len(part)} examples among the {len(self)} golden rows"
        return f"the {len(part)} of {len(self)} golden rows that were sent"

    @property
    def not_distinguished(self) -> list[str]:
        """The simulated defects that no row distinguishes from the model, to be read after "as if"."""
        return [simulation.sentence for simulation in self.simulations if not simulation.is_distinguished]

    def origin(self, index: int) -> str:
        """Return the number of the row at *index*, with its origin unless it is an example."""
        origin = self._edge_origin(index)
        return f"row {index}" if origin is None else f"row {index} ({origin})"

    def _edge_origin(self, index: int) -> Origin | None:
        return None if not self.origins or self.origins[index] == EXAMPLE else self.origins[index]

    def body(self) -> dict[str, Any]:
        """Return the request body for these rows, as lists of values with the names of the columns."""
        if self.form != "table":
            return {"features": self.inputs}
        return {"features": self.rows, "columns": self.columns}

    @property
    def inputs(self) -> list[Any]:
        """The rows as a caller has them: objects keyed by column, or else texts, arrays or JSON values."""
        return self.records() if self.form == "table" else [row[0] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as objects keyed by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def tolerance(self, part: str, *, same_arithmetic: bool, same_batch: bool) -> Tolerance:
        """Return how far the served numbers of *part* may be from the trained model's.

        Call it on all golden rows, not on a selection: numbers close to 0 are compared relative to the
        largest magnitude of their part.

        Args:
            part: one of `PARTS`.
            same_arithmetic: the service runs on this machine, with the same libraries and one thread, as the
                model in memory did.
            same_batch: `examples` or `edge_cases` are sent in one request, complete and in their order.
        """
        # the batches of rows from a later version of Tier0 are unknown
        same_batch = same_batch and all(origin.is_known for origin in self.origins)
        origins = self.origins or [EXAMPLE] * len(self)
        outputs = [  # one huge output would hide differences in all others
            output
            for output, origin in zip(getattr(self, part) or [], origins, strict=False)
            if not origin.is_extreme
        ]
        return self._tolerance_of(part, outputs, same_arithmetic=same_arithmetic, same_batch=same_batch)

    def _tolerance_of(
        self, name: str, outputs: list[Any], *, same_arithmetic: bool, same_batch: bool
    ) -> Tolerance:
        """Return the tolerance of a part, or of a field of its objects, with that of each field within it."""
        found = tolerance_for(
            self.dtypes.get(name),
            self.spreads.get(name),
            largest_magnitude(outputs),
            same_arithmetic=same_arithmetic,
            same_batch=same_batch,
        )
        fields = {
            field_: self._tolerance_of(
                inner_name(name, field_), values, same_arithmetic=same_arithmetic, same_batch=same_batch
            )
            for field_, values in fields_in(outputs).items()
        }
        return replace(found, fields=fields) if fields else found

    def tolerances(
        self, *, same_arithmetic: bool, same_batch: bool, relative: float = 0.0, absolute: float = 0.0
    ) -> dict[str, Tolerance]:
        """Return the tolerance of every part (see `tolerance`), at least *relative* and *absolute*."""
        return {
            part: self.tolerance(part, same_arithmetic=same_arithmetic, same_batch=same_batch).widened(
                relative=relative, absolute=absolute
            )
            for part in PARTS
        }

    def compare(
        self,
        outputs: Mapping[str, Any],
        *,
        tolerance: float | Mapping[str, Tolerance] = 0.0,
        parts: Sequence[str] = PARTS,
    ) -> Mismatch | None:
        """Compare served *outputs* with the trained model's.

        Args:
            outputs: ``predictions`` and ``probabilities``, optionally ``intervals`` and ``classes``, as in a
                response.
            tolerance: tolerance of each part (see `tolerances`), or one relative tolerance for all; 0, or a
                part without a tolerance, means equal to the last bit. Labels are always compared exactly.
            parts: parts to compare, for a service that does not return all of them.

        Returns:
            The first difference, or None if there is none.
        """
        count = len(self)
        if outputs.get("classes") is not None and list(outputs["classes"]) != self.classes:
            return Mismatch(0, "classes", self.classes, outputs["classes"], count, count)
        for part in parts:
            allowed = tolerance.get(part, EXACT) if isinstance(tolerance, Mapping) else Tolerance(tolerance)
            if (mismatch := self._compare_part(part, outputs.get(part), allowed)) is not None:
                return mismatch
        return None

    def _compare_part(self, part: str, got: Any, tolerance: Tolerance) -> Mismatch | None:
        expected, count = getattr(self, part), len(self)
        if expected is None and got is None:
            return None
        if not isinstance(expected, list):  # the outputs of an earlier response, see `with_outputs`
            pair = (InWords("none"), InWords(f"a list of {len(got)}")) if _is_added(expected, got) else None
            return None if expected == got else Mismatch(0, part, expected, got, count, count, pair=pair)
        if not isinstance(got, list):
            one_each = InWords(f"a list of {count}, one for each row" if count > 1 else "a list of one")
            return Mismatch(0, part, one_each, InWords("none") if got is None else got, count, count)
        if len(got) != len(expected):
            counts = len(expected), len(got)
            return Mismatch(0, part, _count(counts[0]), _count(counts[1]), count, count, counts=counts)
        wrong = [
            index
            for index, pair in enumerate(zip(expected, got, strict=True))
            if not self.is_same(part, *pair, tolerance)
        ]
        if not wrong:
            return None
        first = wrong[0]
        positions, pair = _first_difference(expected[first], got[first], tolerance)
        place = self._place(part, expected[first], positions)
        return Mismatch(
            first, part, expected[first], got[first], len(wrong), count, self._edge_origin(first), place, pair
        )

    def is_same(self, part: str, expected: Any, got: Any, tolerance: Tolerance) -> bool:
        """Return whether *got* equals the output *expected* of one row, within *tolerance*."""
        is_other_label = part == "predictions" and self._is_other_label(expected, got)
        return not is_other_label and _equal(expected, got, tolerance)

    def _is_other_label(self, expected: Any, got: Any) -> bool:
        """Return whether a number is closer to another label, which a wide tolerance could hide."""
        if not isinstance(expected, float) or not _is_finite_number(got):
            return False
        others = [label for label in self.classes if isinstance(label, float)]
        return any(abs(label - got) < abs(expected - got) for label in others)

    def comparison(
        self, outputs: Mapping[str, Any], *, parts: Sequence[str] = PARTS
    ) -> dict[str, Any] | None:
        """Return the trained model's and the served numbers side by side, for a chart.

        Args:
            outputs: served outputs, see `compare`.
            parts: parts that the service returns. The chart shows probabilities, or else numeric predictions.

        Returns:
            ``part``; ``what``, its name as text; ``expected`` and ``served``, one number per row (of several
            classes, the one whose probability differs in most rows); and ``worst``, the rows that differ
            most, at most five, with their number and origin. None if the outputs have no such numbers.
        """
        for part in ("probabilities", "predictions"):
            expected, served = getattr(self, part), outputs.get(part)
            if part not in parts or not expected or not isinstance(served, list):
                continue
            if len(served) != len(expected):
                continue
            width = len(expected[0]) if isinstance(expected[0], list) else 1
            by_column = [
                [
                    (_number(before, column), _number(after, column))
                    for before, after in zip(expected, served, strict=True)
                ]
                for column in range(width)
            ]
            differences = [sum(before != after for before, after in pairs) for pairs in by_column]
            column = max(range(width), key=lambda column: (differences[column], column))
            pairs = by_column[column]
            if any(before is None for before, _ in pairs):
                continue
            return {
                "part": part,
                "what": self.name_of(part, column, width),
                "expected": [before for before, _ in pairs],
                "served": [after for _, after in pairs],
                "worst": self._worst(pairs),
            }
        return None

    def _place(self, part: str, output: Any, positions: Sequence[Any]) -> str:
        """Return the name of a value within an output, such as "probability of yes"."""
        width = len(output) if isinstance(output, list) else 1
        if not positions:
            return part if width > 1 else SINGULAR[part]
        if any(isinstance(position, str) for position in positions):
            return ".".join([SINGULAR[part], *map(str, positions)])
        if self.has_several_outputs:
            inner = f" {positions[1]}" if len(positions) > 1 else ""
            return f"{SINGULAR[part]}{inner} of output {positions[0]}"
        return self.name_of(part, positions[0], width)

    def name_of(self, part: str, column: int, width: int) -> str:
        """Return the name of one of the *width* numbers of an output, such as "probability of yes"."""
        if self.has_several_outputs:
            return f"{part} of output {column}"
        if part == "intervals" and width == len(BOUNDS):
            return BOUNDS[column]
        if part == "probabilities" and width == len(self.classes):
            return f"probability of {self.classes[column]}"
        return SINGULAR[part]

    def _worst(self, pairs: Sequence[tuple[float | None, float | None]]) -> list[dict[str, Any]]:
        differences = {
            index: math.inf if after is None else abs(before - after)
            for index, (before, after) in enumerate(pairs)
            if before is not None
        }
        ranked = sorted(
            (index for index, difference in differences.items() if difference > 0),
            key=lambda index: -differences[index],
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
        write_text(path, json.dumps(as_document(self), allow_nan=False))

    @classmethod
    def read(cls, path: Path | str) -> GoldenRows:
        """Read a file written by `write`, of this or an earlier version of Tier0.

        Raises:
            RegistrationError: the file cannot be read, is not JSON, has an unknown schema number or an
                invalid field.
        """
        try:
            rows = cls(**read_fields(Path(path)))
        except OSError as problem:
            raise RegistrationError(
                f"cannot read golden rows from {path}: {reason_of(problem)}. "
                "Create the file with tier0 golden or tier0.golden_rows"
            ) from problem
        except ValueError as problem:
            raise RegistrationError(f"invalid golden rows in {path}: {problem}") from problem
        if (contradiction := rows.contradiction()) is not None:
            raise RegistrationError(f"invalid golden rows in {path}: {contradiction}. {REMEDY}")
        return rows

    def contradiction(self) -> str | None:
        """Return the first contradiction between the fields; None if there is none."""
        if not self.rows:
            return "rows is empty"
        for index, row in enumerate(self.rows):
            if not isinstance(row, list) or len(row) != len(self.columns):
                return f"rows[{index}] is not a list of {len(self.columns)} values, one for each column"
        for name in (*PARTS, "origins"):
            values = getattr(self, name)
            if values and len(values) != len(self.rows):
                return f"{name} has length {len(values)}, but rows has length {len(self.rows)}"
        if not self.predictions:
            return "predictions is empty"
        if unknown := sorted(set(self.categories) - set(self.columns)):
            return f"categories has {unknown[0]!r}, which is not in columns"
        return self._contradiction_of_classes()

    def _contradiction_of_classes(self) -> str | None:
        width = 0 if self.has_several_outputs else len(self.classes)
        for index, row in enumerate(self.probabilities or [] if width else []):
            if len(row) != width:
                return f"probabilities[{index}] has length {len(row)}, but classes has length {width}"
        return None


def _number(output: Any, column: int) -> float | None:
    """Return one of a row's probabilities, or its prediction; None for anything but a finite number."""
    value = (output[column] if column < len(output) else None) if isinstance(output, list) else output
    return float(value) if _is_finite_number(value) else None


def _is_finite_number(value: Any) -> TypeGuard[float]:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer larger than any float
        return False


def _count(size: int) -> InWords:
    return InWords(f"{size} value{'' if size == 1 else 's'}")


def _is_added(expected: Any, got: Any) -> bool:
    """Return whether the service returns a part that the trained model does not have."""
    return expected is None and isinstance(got, list)


def _first_difference(expected: Any, got: Any, tolerance: Tolerance) -> tuple[list[Any], tuple[Any, Any]]:
    """Return the positions and keys that lead to the first difference of two values, and the values there."""
    positions: list[Any] = []
    while _have_same_places(expected, got):
        is_object = isinstance(expected, dict)
        places: list[Any] = list(expected) if is_object else list(range(len(expected)))
        allowed = {place: tolerance.of(place) if is_object else tolerance for place in places}
        position = next(place for place in places if not _equal(expected[place], got[place], allowed[place]))
        positions.append(position)
        expected, got, tolerance = expected[position], got[position], allowed[position]
    return positions, (expected, got)


def _have_same_places(expected: Any, got: Any) -> bool:
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys()
    return isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got)


def _equal(expected: Any, got: Any, tolerance: Tolerance) -> bool:
    if isinstance(expected, list) and isinstance(got, list):
        is_same_length = len(got) == len(expected)
        return is_same_length and all(_equal(*pair, tolerance) for pair in zip(expected, got, strict=True))
    if isinstance(expected, dict) and isinstance(got, dict):
        are_same_keys = got.keys() == expected.keys()
        return are_same_keys and all(_equal(expected[key], got[key], tolerance.of(key)) for key in expected)
    if isinstance(got, float) and math.isnan(got):
        # services write NaN for a missing number, which golden rows store as None
        return expected is None or (isinstance(expected, float) and math.isnan(expected))
    if isinstance(expected, float):
        return isinstance(got, (int, float)) and not isinstance(got, bool) and tolerance.allows(expected, got)
    if isinstance(expected, int) and not isinstance(expected, bool) and isinstance(got, float):
        return expected == got  # JSON has one type of number: a label 1 may be written 1.0
    return type(expected) is type(got) and bool(expected == got)
