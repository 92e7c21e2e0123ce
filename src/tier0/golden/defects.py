"""Defects of services, simulated with the model in memory: what it would return if a service had one of them.

A defect changes the rows before they reach the model, a part of the model, or its outputs.
"""

from __future__ import annotations

import copy
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.golden.edge_cases import UNSEEN, Row, numeric_columns, spread
from tier0.golden.prediction import Output, compute_output

if TYPE_CHECKING:
    from tier0.golden.signature import Feature, Signature
    from tier0.golden.simulations import SimulationKind

MAX_DEFECTS = 64
MAX_COLUMNS = 16
"""Columns whose defects are simulated, and whose values are varied (see `spread`)."""
MAX_SECONDS = 1.5
CALL_SECONDS = 0.2
"""Time of one call of the model, to which the number of rows in it is adapted."""
MAX_CELLS = 200_000
DEFAULT_THRESHOLD = 0.5
MANY = 10
THOUSAND = 1000
FEW_CHARACTERS = 20
FIRST_STEPS = 12

ChangeRows = Callable[[list[Row]], list[Row]]
ChangeOutput = Callable[[list[Row], Output], Output]


@dataclass(frozen=True)
class Defect:
    """A defect that a service could have; one of the last three fields says how it is simulated.

    Attributes:
        kind: one of `SimulationKind`.
        sentence: what it is, to be read after "as if".
        column: column that it is in; None for another place.
        rows: change of the rows before they reach the model.
        model: the model with the defect.
        output: change of the outputs of the model.
    """

    kind: SimulationKind
    sentence: str
    column: str | None = None
    rows: ChangeRows | None = None
    model: Any = None
    output: ChangeOutput | None = None


def defects_of(model: Any, signature: Signature, rows: list[Row]) -> list[Defect]:
    """Return defects to simulate, at most `MAX_DEFECTS`, spread over kinds and columns.

    Args:
        model: trained model.
        signature: signature of the model.
        rows: examples as JSON values.
    """
    of_everything = [
        *_of_answers(signature),
        *_of_order(signature),
        *_of_all_numbers(signature),
        *islice(_of_steps(model), FIRST_STEPS),
    ]
    known = {defect.sentence: defect for defect in [*of_everything, *_of_columns(signature, rows)]}
    return list(known.values())[:MAX_DEFECTS]


# --- the answers ---


def _of_answers(signature: Signature) -> Iterator[Defect]:
    if signature.has_several_outputs:
        yield Defect("swapped_outputs", "the outputs were in reverse order", output=_reversed_outputs)
    elif all(isinstance(label, (str, bool, int, float)) for label in signature.classes[:2]):
        yield from _of_classes(signature)
    yield Defect("constant", "every row got the answer for the first one", output=_first_output)


def _of_classes(signature: Signature) -> Iterator[Defect]:
    if len(signature.classes) <= 1:
        return
    other = dict(zip(signature.classes, reversed(signature.classes), strict=True))
    what = "two labels were swapped" if len(other) == 2 else "labels were in reverse order"

    def swap_labels(_: list[Row], output: Output) -> Output:
        return replace(output, predictions=[other.get(label, label) for label in output.predictions])

    yield Defect("swapped_labels", f"the {what}", output=swap_labels)
    if not signature.has_probabilities:
        return
    yield Defect(
        "swapped_probabilities",
        "the probabilities were in reverse order of the classes",
        output=lambda _, output: _with_swapped_probabilities(output),
    )
    yield Defect(
        "swapped_labels",
        f"the {what}, and their probabilities as well",
        output=lambda rows, output: swap_labels(rows, _with_swapped_probabilities(output)),
    )
    if signature.threshold not in {None, DEFAULT_THRESHOLD}:

        def decide(_: list[Row], output: Output) -> Output:
            second = [probabilities[1] for probabilities in output.probabilities or []]
            return replace(
                output, predictions=[signature.classes[value >= DEFAULT_THRESHOLD] for value in second]
            )

        yield Defect("default_threshold", f"the threshold were {DEFAULT_THRESHOLD}", output=decide)


def _with_swapped_probabilities(output: Output) -> Output:
    return replace(output, probabilities=[row[::-1] for row in output.probabilities or []])


def _reversed_outputs(_: list[Row], output: Output) -> Output:
    probabilities = output.probabilities
    return replace(
        output,
        predictions=[row[::-1] if isinstance(row, list) else row for row in output.predictions],
        probabilities=None if probabilities is None else [row[::-1] for row in probabilities],
    )


def _first_output(rows: list[Row], output: Output) -> Output:
    return _taken(output, [0] * len(rows))


def _taken(output: Output, indices: Sequence[int]) -> Output:
    probabilities = output.probabilities
    return Output(
        [output.predictions[index] for index in indices],
        None if probabilities is None else [probabilities[index] for index in indices],
    )


# --- the columns ---


def _of_order(signature: Signature) -> Iterator[Defect]:
    """Yield defects of the order of columns, among those of numbers, and among those of texts."""
    for what, kinds in (("numeric columns", {"number", "integer"}), ("columns of text", {"text"})):
        places = [
            position
            for position, feature in enumerate(signature.features)
            if feature.kind in kinds and feature.categories is None
        ]
        if len(places) == len(signature.features):
            what = "columns"  # noqa: PLW2901
        by_name = sorted(places, key=lambda position: signature.names[position])
        if len(places) > 2:
            reverse = partial(_permuted, places, places[::-1])
            yield Defect("permuted_columns", f"{what} were in reverse order", rows=reverse)
            by_name_rows = partial(_permuted, places, by_name)
            yield Defect("permuted_columns", f"{what} were sorted by name", rows=by_name_rows)
        neighbours = list(pairwise(places))
        for one, other in spread(neighbours, MAX_COLUMNS // 2):
            first, second = signature.names[one], signature.names[other]
            yield Defect(
                "swapped_columns",
                f"columns {first!r} and {second!r} were swapped",
                rows=partial(_permuted, [one, other], [other, one]),
            )


def _permuted(places: list[int], sources: list[int], rows: list[Row]) -> list[Row]:
    changed = [list(row) for row in rows]
    for row, before in zip(changed, rows, strict=True):
        for place, source in zip(places, sources, strict=True):
            row[place] = before[source]
    return changed


def _of_all_numbers(signature: Signature) -> Iterator[Defect]:
    numeric = numeric_columns(signature)
    if not numeric:
        return
    for kind, sentence, convert in (
        ("cast_float32", "numbers were cast to float32", _as_float32),
        ("rounded_column", "numbers were rounded to 2 digits", _as_rounded),
        ("rounded_column", "numbers were cut to whole numbers", _as_whole),
        ("filled_missing", "missing numbers were 0", None),
    ):
        change = partial(_converted, numeric, convert) if convert else partial(_filled, numeric, 0)
        yield Defect(kind, sentence, rows=change)  # type: ignore[arg-type]


def _of_columns(signature: Signature, rows: list[Row]) -> Iterator[Defect]:
    """Yield the defects of single columns, of each column one after the other.

    So a limit of their number leaves some of each kind and of each column.
    """
    places = spread(range(len(signature.features)), MAX_COLUMNS)
    waiting = [
        list(_of_column(signature.features[place], place, [row[place] for row in rows])) for place in places
    ]
    longest = max(map(len, waiting), default=0)
    for turn in range(longest):
        for shift, defects in enumerate(waiting):
            # the first ones of all columns, then another kind of each column, so that all kinds are there
            index = turn if turn < FIRST_OF_COLUMN else _shifted(turn, shift, len(defects))
            if index < len(defects):
                yield defects[index]


FIRST_OF_COLUMN = 2


def _shifted(turn: int, shift: int, count: int) -> int:
    rest = count - FIRST_OF_COLUMN
    if rest <= 0 or turn >= count:
        return count
    return FIRST_OF_COLUMN + (turn - FIRST_OF_COLUMN + shift) % rest


def _of_column(feature: Feature, place: int, values: list[Any]) -> Iterator[Defect]:
    """Yield the defects of one column, the most frequent ones first."""
    name = feature.name
    present = [value for value in values if value is not None]

    def defect(kind: SimulationKind, sentence: str, convert: Callable[[Any], Any]) -> Defect:
        return Defect(kind, sentence, name, partial(_converted, [place], convert))

    if feature.kind in {"number", "integer"} and feature.categories is None:
        zero = 0.0 if feature.kind == "number" else 0
        yield defect("defaulted_column", f"column {name!r} were 0", lambda _: zero)
        yield _cached_without(name, place)
        if present:
            low, high = min(present), max(present)
            yield defect(
                "clipped_column",
                f"column {name!r} were limited to the range of the examples",
                lambda value: min(max(value, low), high),
            )
        yield defect(
            "scaled_column", f"column {name!r} were divided by {THOUSAND}", lambda value: value / THOUSAND
        )
        yield defect("rounded_column", f"column {name!r} were rounded to 2 digits", _as_rounded)
        yield defect("negated_column", f"column {name!r} had the other sign", lambda value: -value)
        yield defect("cast_float32", f"column {name!r} were cast to float32", _as_float32)
        yield defect(
            "scaled_column", f"column {name!r} were multiplied by {MANY}", lambda value: value * MANY
        )
        yield defect("rounded_column", f"column {name!r} were cut to whole numbers", _as_whole)
    elif feature.kind == "boolean":
        yield defect("defaulted_column", f"column {name!r} were false", lambda _: False)
        yield _cached_without(name, place)
        yield defect("negated_column", f"column {name!r} were the opposite", lambda value: not value)
    elif feature.kind not in {"array", "json"}:
        yield from _of_categories(feature, place, present)
    if feature.accepts_missing:
        missing = partial(_filled_always, place, None)
        yield Defect("defaulted_column", f"column {name!r} were missing", name, missing)
        if feature.kind in {"number", "integer"}:
            yield defect("zero_as_missing", f"0 in column {name!r} were missing", lambda value: value or None)


def _of_categories(feature: Feature, place: int, present: list[Any]) -> Iterator[Defect]:
    name = feature.name
    by_frequency = [value for value, _ in Counter(present).most_common()]
    known = list(feature.categories or feature.vocabulary or by_frequency)
    if by_frequency:
        most = partial(_filled_always, place, by_frequency[0])
        yield Defect("defaulted_column", f"column {name!r} were always its most frequent value", name, most)
        yield _cached_without(name, place)
    if known:
        first = partial(_filled_always, place, known[0])
        yield Defect("defaulted_column", f"column {name!r} were always its first category", name, first)
    if feature.kind != "text":
        return

    def defect(kind: SimulationKind, sentence: str, convert: Callable[[Any], Any]) -> Defect:
        return Defect(kind, sentence, name, partial(_converted, [place], convert))

    if feature.categories is None:
        for what, some in (("most", by_frequency[:1]), ("least", by_frequency[1:][-1:])):
            sentence = f"the {what} frequent value of column {name!r} were unknown"
            yield defect("unknown_category", sentence, partial(_unknown, some))
    yield defect("changed_text", f"column {name!r} were in lower case", str.lower)
    yield defect("changed_text", f"column {name!r} were in Unicode's form NFKC", _as_nfkc)
    yield defect("changed_text", f"column {name!r} had no spaces around its text", str.strip)
    yield defect("changed_text", f"column {name!r} were in Unicode's form NFC", _as_nfc)
    yield defect("changed_text", f"column {name!r} had ASCII characters only", _as_ascii)
    short = f"column {name!r} were cut to {FEW_CHARACTERS} characters"
    yield defect("changed_text", short, lambda text: text[:FEW_CHARACTERS])
    if feature.accepts_missing:
        nan = partial(_filled, [place], "nan")
        yield Defect("filled_missing", f"missing values of column {name!r} were the text nan", name, nan)


def _cached_without(name: str, place: int) -> Defect:
    """Return a cache whose key lacks a column: of rows that are equal otherwise, all get the first answer."""

    def answer(rows: list[Row], output: Output) -> Output:
        first: dict[tuple[Any, ...], int] = {}
        keys = [(*row[:place], *row[place + 1 :]) for row in rows]
        return _taken(output, [first.setdefault(key, index) for index, key in enumerate(keys)])

    return Defect("cached_without_column", f"a cache ignored column {name!r}", name, output=answer)


def _converted(places: list[int], convert: Callable[[Any], Any], rows: list[Row]) -> list[Row]:
    changed = [list(row) for row in rows]
    for row in changed:
        for place in places:
            if row[place] is not None:
                row[place] = convert(row[place])
    return changed


def _filled(places: list[int], value: Any, rows: list[Row]) -> list[Row]:
    """Return rows with *value* for missing values."""
    changed = [list(row) for row in rows]
    for row in changed:
        for place in places:
            if row[place] is None:
                row[place] = value
    return changed


def _filled_always(place: int, value: Any, rows: list[Row]) -> list[Row]:
    return [[*row[:place], value, *row[place + 1 :]] for row in rows]


def _unknown(some: list[Any], text: Any) -> Any:
    return UNSEEN if text in some else text


def _as_float32(value: float) -> float:
    return float(np.float32(value))


def _as_rounded(value: float) -> float:
    return round(value, 2)


def _as_whole(value: float) -> float:
    return type(value)(int(value))


def _as_nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _as_nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _as_ascii(text: str) -> str:
    return text.encode("ascii", "ignore").decode()


# --- the steps of the model ---


@lru_cache
def _stand_ins() -> tuple[type[Any], type[Any]]:
    """Return the classes of a transformer that changes nothing, and of one that is fitted on each request."""
    from sklearn.base import BaseEstimator, clone  # noqa: PLC0415 - the model has loaded it

    class Nothing(BaseEstimator):  # type: ignore[misc]
        def fit(self, *_: Any) -> Any:
            return self

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def transform(self, values: Any) -> Any:
            return values

        def inverse_transform(self, values: Any) -> Any:
            return values

    class Refitted(Nothing):
        def __init__(self, fitted: Any) -> None:
            self.fitted = fitted

        def transform(self, values: Any) -> Any:
            return clone(self.fitted).fit_transform(values)

    return Nothing, Refitted


def _of_steps(model: Any) -> Iterator[Defect]:
    """Yield defects of the transformers within a model of scikit-learn, in copies of what contains them."""
    if "sklearn.base" not in sys.modules:
        return
    nothing, refit = _stand_ins()
    for name, transformer, place_in in _transformers(model):
        what = f"the step {name!r} ({type(transformer).__name__})"
        if hasattr(transformer, "inverse_transform") and name == TARGET:
            yield Defect(
                "dropped_target_transform", "the target's transform were left out", model=place_in(nothing())
            )
            continue
        yield Defect("dropped_step", f"{what} were left out", model=place_in(nothing()))
        if type(transformer).__module__.startswith("sklearn.") and _has_learned(transformer):
            refitted = place_in(refit(transformer))
            yield Defect("refitted_step", f"{what} were fitted on the request", model=refitted)


def _has_learned(transformer: Any) -> bool:
    """Return whether fitting gave a transformer more than the names of its columns."""
    learned = {name for name in vars(transformer) if name.endswith("_") and not name.startswith("_")}
    return bool(learned - {"n_features_in_", "feature_names_in_"})


TARGET = "target's transformer"
PlaceIn = Callable[[Any], Any]
"""Return a copy of the model with another transformer in the place of one."""


def _transformers(model: Any) -> Iterator[tuple[str, Any, PlaceIn]]:
    """Yield the name of each transformer within *model*, the transformer, and how to replace it."""
    if isinstance(steps := vars(model).get("steps") if hasattr(model, "__dict__") else None, list):
        yield from _within(model, "steps", steps)
    elif isinstance(fitted := vars(model).get("transformers_") if hasattr(model, "__dict__") else None, list):
        yield from _within(model, "transformers_", fitted)
    elif hasattr(model, "regressor_") and hasattr(model, "transformer_"):
        yield TARGET, model.transformer_, partial(_with_attribute, model, "transformer_")
        yield from _in_attribute(model, "regressor_")
    elif type(model).__module__.startswith("tier0.") and hasattr(model, "estimator"):
        yield from _in_attribute(model, "estimator")


def _within(model: Any, attribute: str, parts: list[Any]) -> Iterator[tuple[str, Any, PlaceIn]]:
    for index, (name, part, *_) in enumerate(parts):
        put = partial(_with_part, model, attribute, parts, index)
        inner = list(_transformers(part))
        for inner_name, transformer, place_in in inner:
            yield inner_name, transformer, partial(_nested, put, place_in)
        # the columns that pass through a ColumnTransformer have a FunctionTransformer without a function
        if not inner and hasattr(part, "transform") and getattr(part, "func", part) is not None:
            yield str(name), part, put


def _in_attribute(model: Any, attribute: str) -> Iterator[tuple[str, Any, PlaceIn]]:
    put = partial(_with_attribute, model, attribute)
    for name, transformer, place_in in _transformers(getattr(model, attribute)):
        yield name, transformer, partial(_nested, put, place_in)


def _nested(put: PlaceIn, place_in: PlaceIn, transformer: Any) -> Any:
    return put(place_in(transformer))


def _with_part(model: Any, attribute: str, parts: list[Any], index: int, part: Any) -> Any:
    name, _, *more = parts[index]
    changed = [*parts[:index], (name, part, *more), *parts[index + 1 :]]
    return _with_attribute(model, attribute, changed)


def _with_attribute(model: Any, attribute: str, value: Any) -> Any:
    changed = copy.copy(model)
    setattr(changed, attribute, value)
    return changed


# --- simulation ---


def simulate(
    model: Any, signature: Signature, defects: Sequence[Defect], batches: list[list[Row]], output: Output
) -> list[tuple[Defect, Output]]:
    """Return the output that each defect has for the rows of all *batches*, as far as the time allows.

    A defect for which the model fails is left out, since a service with it fails as well. So is one that
    changes no row.

    Args:
        model: trained model.
        signature: signature of the model.
        defects: defects to simulate.
        batches: rows, in the batches in which a service gets them.
        output: output of the model for all rows.
    """
    rows = list(chain.from_iterable(batches))
    end = time.monotonic() + MAX_SECONDS
    found: dict[int, Output] = {}
    changes: list[tuple[int, ChangeRows]] = []
    for index, defect in enumerate(defects):
        if defect.rows is not None:
            changes.append((index, defect.rows))
        elif time.monotonic() > end:
            break
        elif defect.output is not None:
            found[index] = defect.output(rows, output)
        else:
            outputs = [_output_of(defect.model, signature, batch) for batch in batches if batch]
            if all(outputs):
                found[index] = _joined([output for output in outputs if output is not None])
    found |= _of_changed_rows(model, signature, changes, rows, end)
    return [(defects[index], found[index]) for index in sorted(found)]


def _of_changed_rows(
    model: Any, signature: Signature, changes: list[tuple[int, ChangeRows]], rows: list[Row], end: float
) -> dict[int, Output]:
    """Return the outputs for the rows of each change; several changes are predicted with one call."""
    found: dict[int, Output] = {}
    at_once = 1
    cells = len(rows) * len(signature.features)
    while changes and time.monotonic() < end:
        some, changes = changes[:at_once], changes[at_once:]
        start = time.monotonic()
        changed = [(index, with_defect) for index, change in some if (with_defect := change(rows)) != rows]
        if changed:
            found |= _together(model, signature, changed)
        if time.monotonic() - start < CALL_SECONDS and 2 * at_once * cells <= MAX_CELLS:
            at_once *= 2
        elif time.monotonic() - start > 2 * CALL_SECONDS:
            at_once = max(1, at_once // 2)
    return found


def _together(model: Any, signature: Signature, some: list[tuple[int, list[Row]]]) -> dict[int, Output]:
    output = _output_of(model, signature, [row for _, rows in some for row in rows])
    if output is None:
        if len(some) == 1:
            return {}
        middle = len(some) // 2
        return _together(model, signature, some[:middle]) | _together(model, signature, some[middle:])
    found, start = {}, 0
    for index, rows in some:
        found[index] = output.part(start, start + len(rows))
        start += len(rows)
    return found


def _output_of(model: Any, signature: Signature, rows: list[Row]) -> Output | None:
    """Return the output of *model*, also for rows that a service would refuse; None if it fails."""
    try:
        return compute_output(model, signature, _fitting(signature, rows).to_container(rows))
    except Exception:  # noqa: BLE001 - an error of the model, which then has no output
        return None


def _fitting(signature: Signature, rows: list[Row]) -> Signature:
    """Return the signature with integer columns as columns of numbers where *rows* have fractions."""
    features = tuple(
        replace(feature, kind="number", dtype="float64")
        if feature.kind == "integer" and any(isinstance(row[place], float) for row in rows)
        else feature
        for place, feature in enumerate(signature.features)
    )
    if features == signature.features:
        return signature
    is_float = np.dtype(signature.array_dtype).kind == "f"
    return replace(signature, features=features, array_dtype=signature.array_dtype if is_float else "float64")


def _joined(outputs: list[Output]) -> Output:
    probabilities = [output.probabilities for output in outputs]
    return Output(
        [prediction for output in outputs for prediction in output.predictions],
        None
        if any(part is None for part in probabilities)
        else [row for part in probabilities for row in part or []],
    )
