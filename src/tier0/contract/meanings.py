"""Recognition of the meaning of a response, which only a person can declare.

The meaning of a value is, for example, the label that a name stands for, the class of a probability, or the
rounding of numbers. Tier0 recognizes it by comparison with the golden rows, and proposes it as a contract. No
check uses it before it is declared, so that swapped labels can never pass as a mapping of names, unless it is
certain without the values of the response (see `tier0.contract.assumptions`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from tier0.contract.assumptions import Assumption
from tier0.contract.contract import PREDICTED, Contract, get_path
from tier0.contract.model_terms import (
    as_labels,
    as_number,
    by_class,
    expected_of,
    is_one_hot,
    merged,
    of_predicted,
)
from tier0.contract.response import (
    ALSO_PREDICTIONS,
    ALSO_PROBABILITIES,
    columns_in,
    is_number,
    is_plain,
    keyed_scores,
    last_name,
    unwrapped,
    words_of,
)
from tier0.contract.service_schema import PREDICTION_NAMES, PROBABILITY_NAMES
from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows

PATHS = set(PARTS)
PROBABILITY_TOLERANCE = 1e-6
"""Relative tolerance for equal numbers in the search for a meaning; the checks are stricter."""
MAX_ROUNDING = 12
MIN_PROBABILITY_DECIMALS = 1
"""Decimals of a rounded probability; without decimals, it is a label."""
PERCENT = 100.0
ROUNDING = 1e-5
"""How far below 0 a probability can be that was summed in float32."""
SUM_TOLERANCE = 0.05
"""Relative tolerance for the sum of rounded or truncated probabilities."""
PROBABILITY_WORDS = {"prob", "proba", "probability"}
"""Words in the name of one probability for each row, such as ``prob_yes``."""
AMBIGUOUS_NAMES = {"scores", "score", "confidence", "confidences"}
"""Names that are also common for other numbers than probabilities, such as logits."""
UNITS = tuple(10.0**power for power in (-6, -3, -2, -1, 1, 2, 3, 6))
"""Factors between common units of numbers."""
NAMED_UNITS = {"percent": PERCENT, "pct": PERCENT, "percentage": PERCENT, "thousands": 1e-3, "millions": 1e-6}
"""Units by the words that name them in the name of a field."""
YES_OR_NO = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
"""Texts for a label, without regard to case, and whether they mean 1 or 0."""
MIN_ROWS = 2
MIN_ROUNDED = 10
"""Numbers that show a rounding; fewer can be close to those of another model by chance."""
MAX_STEP = 0.02
"""Largest distance of two rounded numbers, relative to their range, that shows a difference of two models."""
BINARY = 2


class Undeclared(NamedTuple):
    """A recognized meaning that must be declared before a check uses it.

    Attributes:
        part: part of the response: ``predictions``, ``probabilities`` or ``intervals``.
        what: recognized meaning, as a predicate of "the response".
        declare: keys of the contract that declare it; empty if the meaning is unknown.
        is_certain: see `tier0.contract.assumptions`.
    """

    part: str
    what: str
    declare: Mapping[str, Any]
    is_certain: bool = False

    @property
    def as_assumption(self) -> Assumption:
        """The keys that declare it, and why."""
        return Assumption(self.declare, f"the response {self.what}", self.is_certain)


def same_predictions(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return whether values are the trained model's predictions, up to `PROBABILITY_TOLERANCE`."""
    pairs = zip(golden.predictions, as_labels(golden, values), strict=True)
    return all(_same(expected, value) for expected, value in pairs)


def same_probabilities(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return whether values are the trained model's probabilities, up to `PROBABILITY_TOLERANCE`."""
    return len(values) == len(golden) and _same(golden.probabilities or [], list(values))


def adds_up(value: Any) -> bool:
    """Return whether a row has numbers of at least about 0 with a sum of about 1 or 100, as probabilities."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, Mapping)):
        value = value[0]
    keyed = keyed_scores(value)
    numbers = list(keyed.values()) if keyed is not None else value
    if not isinstance(numbers, list) or not numbers or not all(map(is_number, numbers)):
        return False
    if min(numbers) < -ROUNDING:
        return False
    return any(math.isclose(sum(numbers), total, rel_tol=SUM_TOLERANCE) for total in (1.0, PERCENT))


def find_undeclared(
    responses: Sequence[Any],
    paths: Mapping[str, str | None],
    golden: GoldenRows,
    contract: Contract,
    declared: Mapping[str, Any],
) -> Iterator[Undeclared]:
    """Yield the meanings that must be declared before checks can use the parts of a response.

    Args:
        responses: one response for all rows, or one response per row.
        paths: path of each part.
        golden: rows that were sent.
        contract: form in which they were sent.
        declared: declared part of the contract.
    """
    read = merged([contract.with_paths(paths).read(response) for response in responses])
    predictions, probabilities = read["predictions"], read["probabilities"]
    if isinstance(predictions, list) and len(predictions) == len(golden):
        yield from _undeclared_predictions(golden, predictions, paths, declared)
    if golden.probabilities and isinstance(probabilities, list | Mapping):
        yield from _undeclared_probabilities(golden, responses, probabilities, paths, contract, declared)
    if golden.intervals and isinstance(read["intervals"], list) and "decimals" not in declared:
        pairs = _number_pairs(golden.intervals, read["intervals"])
        if pairs and (decimals := rounding_of(pairs, 0)) is not None:
            what = f"rounds its bounds to {_decimals(decimals)}"
            is_certain = are_rounded([after for _, after in pairs], decimals)
            yield Undeclared("intervals", what, {"decimals": decimals}, is_certain)


def _undeclared_predictions(
    golden: GoldenRows,
    predictions: Sequence[Any],
    paths: Mapping[str, str | None],
    declared: Mapping[str, Any],
) -> Iterator[Undeclared]:
    path = paths["predictions"] or ""
    if not golden.classes:
        yield from _undeclared_numbers_predicted(golden, predictions, path, declared)
        return
    if same_predictions(golden, predictions):
        return
    if golden.has_several_outputs:
        yield from _undeclared_lists(golden, predictions)
        return
    if "labels" not in declared and (names := label_names(golden, predictions)):
        mean_the_same = _are_equal_booleans(golden, predictions) or _say_yes_or_no(golden, names)
        is_certain = (mean_the_same and _is_usual_name(path)) or _differ_in_case(golden, names)
        yield Undeclared("predictions", _other_names(names), {"labels": names}, is_certain)
        return
    if "predictions" not in declared and (label := class_of_probability(golden, predictions)):
        what = f"has {_probability_of(label)} instead of a label"
        yield Undeclared("predictions", what, {"probabilities": path, "probability_of": label})
        return
    is_expected = bool(PATHS & declared.keys()) or last_name(path) in PREDICTION_NAMES
    if not is_expected and not _can_be_labels(golden, predictions):
        what = f"has values at {path or 'its top level'} that are not labels of the model"
        yield Undeclared("predictions", what, {})


def _undeclared_lists(golden: GoldenRows, predictions: Sequence[Any]) -> Iterator[Undeclared]:
    """Yield the predictions of several outputs if the service has other names for their labels.

    A contract cannot declare names for them.
    """
    if not all(isinstance(row, list) for row in (*golden.predictions, *predictions)):
        return
    if any(len(before) != len(after) for before, after in zip(golden.predictions, predictions, strict=True)):
        return
    flat = replace(
        golden,
        predictions=list(chain.from_iterable(golden.predictions)),
        classes=list(chain.from_iterable(golden.classes)),
    )
    if names := label_names(flat, list(chain.from_iterable(predictions))):
        yield Undeclared("predictions", _other_names(names), {})


def _undeclared_numbers_predicted(
    golden: GoldenRows, predictions: Sequence[Any], path: str, declared: Mapping[str, Any]
) -> Iterator[Undeclared]:
    are_lists = all(isinstance(expected, list) for expected in golden.predictions)
    if are_lists and all(isinstance(value, Mapping) for value in predictions):
        yield Undeclared("predictions", "has objects instead of lists of the model's outputs", {})
        return
    numbers = as_labels(golden, predictions)
    pairs = _number_pairs(golden.predictions, numbers)
    if pairs and "scale" in declared:
        return
    tolerance = golden.tolerance("predictions", same_arithmetic=False, same_batch=True)
    if pairs and all(tolerance.allows(*pair) for pair in pairs):
        return
    decimals = rounding_of(pairs, 0) if pairs and "decimals" not in declared else None
    if decimals is not None:
        what = f"rounds its predictions to {_decimals(decimals)}"
        is_certain = are_rounded([after for _, after in pairs], decimals)
        yield Undeclared("predictions", what, {"decimals": decimals}, is_certain)
        return
    if same_predictions(golden, predictions):
        return
    if pairs and (unit := _unit_of(pairs, path, declared)) is not None:
        yield unit
        return
    are_texts = all(isinstance(value, str) and as_number(value) == value for value in predictions)
    if predictions and are_texts and not (pairs and declared.keys() & {*PATHS, "decimals"}):
        yield Undeclared("predictions", "has text instead of a number", {})


def _unit_of(
    pairs: Sequence[tuple[float, float]], path: str, declared: Mapping[str, Any]
) -> Undeclared | None:
    """Return the unit of predictions that are the model's in another one, also if they are rounded in it."""
    values = [after for _, after in pairs]
    for scale in UNITS:
        scaled = [(before * scale, after) for before, after in pairs]
        what = f"has the model's predictions multiplied by {scale:g}"
        is_named = any(NAMED_UNITS.get(word) == scale for word in words_of(path))
        decimals = rounding_of(scaled, 0) if "decimals" not in declared else None
        if decimals is not None and _are_small_steps(values, decimals):
            what = f"{what}, rounded to {_decimals(decimals)}"
            is_certain = is_named and are_rounded(values, decimals)
            return Undeclared("predictions", what, {"scale": scale, "decimals": decimals}, is_certain)
        if all(math.isclose(*pair, rel_tol=PROBABILITY_TOLERANCE, abs_tol=0.0) for pair in scaled):
            return Undeclared("predictions", what, {"scale": scale}, is_named)
    return None


def _can_be_labels(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return whether values can be labels: some are the model's, or there are no more of them than labels."""
    known = {str(label) for label in golden.classes}
    found = {str(value) for value in values}
    return not all(map(is_plain, values)) or bool(found & known) or len(found) <= len(known)


def _other_names(names: Mapping[str, Any]) -> str:
    pairs = ", ".join(f"{label} is {name!r}" for label, name in names.items())
    return f"has other names for the model's labels ({pairs})"


def _are_equal_booleans(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return whether values are true for 1 and false for 0, which are equal in Python."""
    pairs = zip(golden.predictions, values, strict=True)
    return all(isinstance(value, bool) and expected == value for expected, value in pairs)


def _say_yes_or_no(golden: GoldenRows, names: Mapping[str, Any]) -> bool:
    """Return whether the names of two labels mean them: Yes is 1 or True, and No is 0 or False."""
    by_text = {str(label): label for label in golden.classes}
    return len(golden.classes) == BINARY and all(
        YES_OR_NO.get(str(name).casefold()) == by_text[label] for label, name in names.items()
    )


def _differ_in_case(golden: GoldenRows, names: Mapping[str, Any]) -> bool:
    """Return whether each name is its label in another case, in which no two labels agree."""
    folded = {str(label).casefold() for label in golden.classes}
    are_same = all(label.casefold() == str(name).casefold() for label, name in names.items())
    return are_same and len(folded) == len(golden.classes)


def _is_usual_name(path: str) -> bool:
    """Return whether a path has no name, or the usual one of predictions, instead of one such as approved."""
    return last_name(path) in {"", *PREDICTION_NAMES, *ALSO_PREDICTIONS}


def label_names(golden: GoldenRows, values: Sequence[Any]) -> dict[str, Any]:
    """Return the service's name for each label of the model.

    The result is empty unless every label has exactly one name, which is not one of the model's labels. A
    number for a label that is text with the same digits is a name, but not for another label, unless all are
    the positions of their labels, such as 0, 1 and 2 for 1, 2 and 3.
    """
    known = {str(label) for label in golden.classes}
    if _are_positions(golden, values):
        return {str(label): value for label, value in zip(golden.predictions, values, strict=True)}
    names: dict[str, Any] = {}
    for expected, value in zip(golden.predictions, values, strict=True):
        if not isinstance(value, (str, int)):
            return {}
        is_label = str(value) in known and not isinstance(value, bool)
        if is_label and (str(value) != expected or isinstance(value, str)):
            return {}
        if names.setdefault(str(expected), value) != value or type(names[str(expected)]) is not type(value):
            return {}
    is_one_to_one = len({(type(name).__name__, name) for name in names.values()}) == len(names)
    return names if is_one_to_one else {}


def _are_positions(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return whether values are the positions of the labels among the classes, of which none is called 0."""
    positions = {str(label): position for position, label in enumerate(golden.classes)}
    pairs = zip(golden.predictions, values, strict=True)
    are_positions = all(type(value) is int and positions.get(str(label)) == value for label, value in pairs)
    return are_positions and 0 in values and "0" not in positions


def class_of_probability(golden: GoldenRows, values: Sequence[Any]) -> str | None:
    """Return the class whose probability *values* has for each row, or `PREDICTED`; None if it is unclear."""
    if golden.has_several_outputs or not golden.probabilities:
        return None
    if len(values) != len(golden) or not all(map(is_number, values)):
        return None
    matching = [
        str(label)
        for position, label in enumerate(golden.classes)
        if _find_format(golden, [row[position] for row in golden.probabilities], values) is not None
    ]
    if len(matching) == 1:
        return matching[0]
    if not matching and _find_format(golden, of_predicted(golden), values) is not None:
        return PREDICTED
    return None


class _Format(NamedTuple):
    """Scale and number of decimals of returned numbers."""

    scale: float
    decimals: int | None


def _find_format(golden: GoldenRows, expected: Sequence[float], values: Sequence[Any]) -> _Format | None:
    """Return the scale and the rounding that convert *expected* to *values*; None if there are none.

    Numbers that are within the tolerance of the checks are not rounded, however many decimals they have.
    """
    tolerance = golden.tolerance("probabilities", same_arithmetic=False, same_batch=True)
    for scale in (1.0, PERCENT):
        pairs = [(before * scale, float(after)) for before, after in zip(expected, values, strict=True)]
        if all(tolerance.allows(before / scale, after / scale) for before, after in pairs):
            return _Format(scale, None)
        if (decimals := rounding_of(pairs, MIN_PROBABILITY_DECIMALS if scale == 1.0 else 0)) is not None:
            return _Format(scale, decimals)
        absolute = PROBABILITY_TOLERANCE * scale
        if all(math.isclose(*pair, rel_tol=PROBABILITY_TOLERANCE, abs_tol=absolute) for pair in pairs):
            return _Format(scale, None)
    return None


def rounding_of(pairs: Sequence[tuple[float, float]], minimum: int) -> int | None:
    """Return the number of decimals to which the second numbers of *pairs* are rounded; None if they are not.

    Args:
        pairs: original and returned numbers.
        minimum: smallest number of decimals to return.
    """
    if len(pairs) < MIN_ROWS or all(before == after for before, after in pairs):
        return None
    decimals = max((_decimals_of(after) for _, after in pairs), default=0)
    decimals = max(decimals, minimum)
    if decimals > MAX_ROUNDING:
        return None
    half = 0.5 * 10.0**-decimals * (1 + 1e-9)
    return decimals if all(abs(before - after) <= half for before, after in pairs) else None


def is_rounded(values: Any, part: str, contract: Contract) -> bool:
    """Return whether numbers in the model's terms have at most as many decimals as the contract declares."""
    if isinstance(values, list):
        return all(is_rounded(value, part, contract) for value in values)
    if contract.decimals is None or not isinstance(values, float) or not math.isfinite(values):
        return True
    served = values * (contract.scale if part != "intervals" else 1.0)
    unit = 10.0**-contract.decimals
    return math.isclose(
        served, round(served, contract.decimals), rel_tol=PROBABILITY_TOLERANCE, abs_tol=unit / 100
    )


def _decimals_of(number: float) -> int:
    return next(
        (decimals for decimals in range(MAX_ROUNDING + 1) if round(number, decimals) == number),
        MAX_ROUNDING + 1,
    )


def _decimals(count: int) -> str:
    return "whole numbers" if count == 0 else f"{count} decimal{'s' if count > 1 else ''}"


def _probability_of(label: str) -> str:
    return f"the probability of {'the predicted class' if label == PREDICTED else f'class {label}'}"


def _undeclared_probabilities(
    golden: GoldenRows,
    responses: Sequence[Any],
    served: Any,
    paths: Mapping[str, str | None],
    contract: Contract,
    declared: Mapping[str, Any],
) -> Iterator[Undeclared]:
    served = by_class(served, golden, contract)
    if not isinstance(served, list) or len(served) != len(golden):
        return
    if what := _why_not_compared(golden, responses, served, paths, contract, declared):
        yield Undeclared("probabilities", what, {})
        return
    is_one_class = contract.probability_of is not None
    flat = unwrapped(served)
    if not is_one_class and all(map(is_number, flat)):
        are_right = _are_others_right(golden, responses, paths["probabilities"] or "")
        yield from _undeclared_single(golden, flat, paths, are_others_right=are_right)
        return
    keyed = [keyed_scores(row) for row in served]
    if all(row is not None for row in keyed):
        yield from _undeclared_keys(golden, [row for row in keyed if row is not None], declared)
        return
    name = last_name(paths["probabilities"] or "")
    is_expected = bool(PATHS & declared.keys()) or name == "probabilities"
    if not is_expected and all(map(is_one_hot, served)):
        what = "has one-hot lists (zeros and a single 1) instead of probabilities"
        are_labels = paths["predictions"] is None and same_predictions(golden, served)
        declare = {"predictions": paths["probabilities"]} if are_labels else {}
        yield Undeclared("probabilities", what, declare, are_labels)
        return
    expected: Sequence[Any] = golden.probabilities or []
    if contract.probability_of is not None:
        expected = expected_of(golden, contract.probability_of)
    yield from _undeclared_numbers(golden, expected, served, declared, is_one_class=is_one_class)


def _why_not_compared(
    golden: GoldenRows,
    responses: Sequence[Any],
    served: Sequence[Any],
    paths: Mapping[str, str | None],
    contract: Contract,
    declared: Mapping[str, Any],
) -> str:
    """Return what the response has, as a predicate, in place of probabilities that can be compared."""
    path = paths["probabilities"] or ""
    name = last_name(path)
    are_lists = contract.probability_of is None and not all(map(is_number, unwrapped(served)))
    if golden.has_several_outputs and _are_of_one_class(golden, served):
        return "has the probability of one class of each output, instead of those of all classes"
    if all(map(_is_text, served)):
        return "has text instead of probabilities"
    if are_lists and name in AMBIGUOUS_NAMES and not any(map(adds_up, served)):
        return f"has numbers at {path} that are not probabilities"
    if name in PREDICTION_NAMES and not PATHS & declared.keys() and _are_one_hot_numbers(golden, served):
        return "has one-hot lists of other numbers than integers"
    if place := _names_beside(golden, responses, served, contract):
        return f"has probabilities in an order of its own, with the names of the classes at {place}"
    return ""


def _are_one_hot_numbers(golden: GoldenRows, served: Sequence[Any]) -> bool:
    """Return whether each row has 1.0 at the position of the predicted label, and 0.0 elsewhere."""
    labels = [str(label) for label in golden.classes]
    return all(
        isinstance(row, list)
        and not is_one_hot(row)
        and row == [float(label == str(predicted)) for label in labels]
        for row, predicted in zip(served, golden.predictions, strict=True)
    )


def _names_beside(
    golden: GoldenRows, responses: Sequence[Any], served: Sequence[Any], contract: Contract
) -> str | None:
    """Return the path of lists with a class for each number, in which order the numbers are the model's."""
    classes = sorted(map(str, golden.classes))
    for path, rows in columns_in(responses, len(golden), one_row=contract.one_row).items():
        if not all(isinstance(row, list) and sorted(map(str, row)) == classes for row in rows):
            continue
        keyed = [
            dict(zip(map(str, names), row, strict=True))
            for names, row in zip(rows, served, strict=True)
            if isinstance(row, list) and len(row) == len(names)
        ]
        ordered = [[scores[str(label)] for label in golden.classes] for scores in keyed]
        if ordered != list(served) and same_probabilities(golden, ordered):
            return path
    return None


def _is_text(value: Any) -> bool:
    """Return whether a value is text, or a list of texts, instead of a number."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _are_of_one_class(golden: GoldenRows, served: Sequence[Any]) -> bool:
    """Return whether *served* has one probability of each output, always that of the same class."""
    probabilities: Sequence[Any] = golden.probabilities or []
    if not all(isinstance(output, list) for row in probabilities for output in row):
        return False
    width = min(len(output) for row in probabilities for output in row)
    return any(
        _same([[output[position] for output in row] for row in probabilities], list(served))
        for position in range(width)
    )


def _undeclared_single(
    golden: GoldenRows, values: Sequence[Any], paths: Mapping[str, str | None], *, are_others_right: bool
) -> Iterator[Undeclared]:
    path = paths["probabilities"]
    label = class_of_probability(golden, values)
    has_usual_name = last_name(path or "") == "probabilities"
    if has_usual_name and label in {None, PREDICTED}:
        return  # probabilities are expected to have one number per class: the checks compare them
    if label is None:
        place = path or "its top level"
        what = f"has one number per row at {place} that is not the probability of any class"
        yield Undeclared("probabilities", what, {})
        return
    expected = of_predicted(golden) if label == PREDICTED else [row[0] for row in expected_of(golden, label)]
    number_format = _find_format(golden, expected, values)
    more = {} if number_format is None else _format_keys(number_format)
    given = {part: paths[part] for part in ("predictions", "probabilities") if paths[part] is not None}
    what = ", ".join([f"has {_probability_of(label)} as one number per row", *_format_as_text(more)])
    is_certain = (
        label == _class_by_name(golden, paths) and are_others_right and _is_certain(number_format, values)
    )
    yield Undeclared("probabilities", what, {**given, "probability_of": label, **more}, is_certain)


def _class_by_name(golden: GoldenRows, paths: Mapping[str, str | None]) -> str | None:
    """Return the class whose probability one number per row can only be; None if several are possible.

    Without a prediction beside it, it can also be in the place of one: a classifier that was reduced to its
    booster returns such numbers.
    """
    name = last_name(paths["probabilities"] or "")
    if named := _class_in(name, golden):
        return named
    if paths["predictions"] is None:
        return None
    is_of_label = name == "score" and last_name(paths["predictions"]) == "label"  # as transformers has it
    if len(golden.classes) > BINARY or name in {"confidence", "confidences"} or is_of_label:
        return PREDICTED
    return str(golden.classes[1]) if name in {*PROBABILITY_NAMES, *ALSO_PROBABILITIES} else None


def _class_in(name: str, golden: GoldenRows) -> str | None:
    """Return the class that a name such as ``prob_yes`` is of; None if it is of none, or of several."""
    words = re.findall(r"[^\W_]+", name.casefold())
    others = [word for word in words if word not in {*PROBABILITY_WORDS, "p"}]
    classes = [
        str(label) for label in golden.classes if re.findall(r"[^\W_]+", str(label).casefold()) == others
    ]
    return classes[0] if others != words and len(classes) == 1 else None


def _are_others_right(golden: GoldenRows, responses: Sequence[Any], path: str) -> bool:
    """Return whether *path* is in no list of objects, or these all have the model's score for their label."""
    names = path.split(".")
    if "0" not in names[:-1]:
        return True
    place = names[: names.index("0")]
    is_in_rows = place[-1:] == ["*"]
    found = [get_path(response, ".".join(place[:-1] if is_in_rows else place)) for response in responses]
    rows = found[0] if is_in_rows else found
    scores = [keyed_scores(row) for row in rows] if isinstance(rows, list) else []
    if len(scores) != len(golden):
        return False
    classes = [str(label) for label in golden.classes]
    return all(
        row is not None
        and all(
            name in classes and _same(probabilities[classes.index(name)], score)
            for name, score in row.items()
        )
        for row, probabilities in zip(scores, golden.probabilities or [], strict=True)
    )


def are_rounded(values: Sequence[Any], decimals: int) -> bool:
    """Return whether numbers show that they are rounded: enough have decimals, and steps are small.

    In coarse steps, the outputs of another model look the same.
    """
    numbers = [float(value) for value in values if is_number(value)]
    are_shown = sum(not number.is_integer() for number in numbers) >= MIN_ROUNDED
    return are_shown and _are_small_steps(numbers, decimals)


def _are_small_steps(numbers: Sequence[float], decimals: int) -> bool:
    """Return whether the steps of rounded numbers are small beside their range."""
    return 10.0**-decimals <= MAX_STEP * (max(numbers) - min(numbers))


def _is_certain(number_format: _Format | None, values: Sequence[Any]) -> bool:
    """Return whether numbers have a format that fits no other: a rounding that shows, or 73 in percent."""
    if number_format is None:
        return False
    decimals = number_format.decimals
    if decimals is not None and not are_rounded(values, decimals):
        return False
    return number_format.scale == 1.0 or max(values) > 1.0


def _format_as_text(keys: Mapping[str, Any]) -> list[str]:
    """Return the scale and the rounding of numbers as phrases."""
    phrases = ["as percentages"] if "scale" in keys else []
    return [*phrases, f"rounded to {_decimals(keys['decimals'])}"] if "decimals" in keys else phrases


def _format_keys(number_format: _Format) -> dict[str, Any]:
    """Return the keys of the contract that declare a format."""
    keys = {} if number_format.scale == 1.0 else {"scale": number_format.scale}
    return keys if number_format.decimals is None else {**keys, "decimals": number_format.decimals}


def _undeclared_keys(
    golden: GoldenRows, rows: Sequence[dict[str, Any]], declared: Mapping[str, Any]
) -> Iterator[Undeclared]:
    """Yield the service's names of the classes if each name has the probabilities of one class."""
    if "labels" in declared or any(row.keys() != rows[0].keys() for row in rows):
        return
    names: dict[str, Any] = {}
    for name in rows[0]:
        label = class_of_probability(golden, [row[name] for row in rows])
        if label is None or label == PREDICTED or label in names:
            return
        names[label] = name
    are_new = not set(names.values()) & {str(label) for label in golden.classes}
    if are_new and len(names) == len(golden.classes):
        is_certain = all(_class_in(name, golden) == label for label, name in names.items())
        yield Undeclared("probabilities", _other_names(names), {"labels": names}, is_certain)


def _undeclared_numbers(
    golden: GoldenRows,
    expected: Sequence[Any],
    served: Sequence[Any],
    declared: Mapping[str, Any],
    *,
    is_one_class: bool,
) -> Iterator[Undeclared]:
    pairs = _number_pairs(expected, served)
    if not pairs or (set(declared) & {"decimals", "scale"} and not is_one_class):
        return
    number_format = _find_format(golden, [before for before, _ in pairs], [after for _, after in pairs])
    keys = {} if number_format is None else _format_keys(number_format)
    keys = {name: value for name, value in keys.items() if name not in declared}
    if keys:
        what = f"has probabilities {' and '.join(_format_as_text(keys))}"
        is_certain = _is_certain(number_format, [after for _, after in pairs])
        yield Undeclared("probabilities", what, keys, is_certain)


def _number_pairs(expected: Sequence[Any], served: Sequence[Any]) -> list[tuple[float, float]]:
    """Return pairs of numbers from two nested lists of the same shape; an empty list if the shapes differ."""
    found: list[tuple[float, float]] = []
    if len(expected) != len(served):
        return []
    for before, after in zip(expected, served, strict=True):
        if isinstance(before, list) and isinstance(after, list):
            inner = _number_pairs(before, after)
            if not inner:
                return []
            found += inner
        elif is_number(before) and is_number(after):
            found.append((float(before), float(after)))
        else:
            return []
    return found


def _same(expected: Any, value: Any) -> bool:
    if isinstance(expected, list) and isinstance(value, list):
        return len(expected) == len(value) and all(map(_same, expected, value))
    if is_number(expected) and is_number(value):
        return math.isclose(expected, value, rel_tol=PROBABILITY_TOLERANCE, abs_tol=0.0)
    return type(expected) is type(value) and bool(expected == value)
