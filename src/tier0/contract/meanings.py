"""Recognising what only a person can declare of a response.

Meaning is what a value stands for: which name belongs to which label, whose probability a number is, how far numbers are rounded. It is recognised
by comparison with the golden rows, and proposed as a contract; nothing is judged by it before it is declared, so that a swap of labels can never
pass as a mapping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tier0.contract.contract import PREDICTED, Contract
from tier0.contract.model_terms import as_labels, by_class, expected_of, merged, of_predicted
from tier0.contract.response import is_number, is_plain, keyed_scores, last_name, unwrapped
from tier0.contract.service_schema import PREDICTION_NAMES
from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows

PATHS = set(PARTS)
PROBABILITY_TOLERANCE = 1e-6
"""Relative difference up to which two numbers are taken for the same thing when a meaning is looked for; the checks compare more strictly."""
MAX_ROUNDING = 12
MIN_PROBABILITY_DECIMALS = 1
"""Probabilities without decimals are labels."""
PERCENT = 100.0
NEARLY = 0.05
"""By which rounded or cut probabilities may miss their sum."""
PROMISES_NO_PROBABILITY = {"scores", "score", "confidence", "confidences"}
"""Names under which other numbers than probabilities are common, such as logits."""
UNITS = tuple(10.0**power for power in (-6, -3, -2, -1, 1, 2, 3, 6))
"""By which a service may multiply a number that it returns in another unit."""
MIN_ROWS = 2


class Undeclared(NamedTuple):
    """A meaning that was recognised, and has to be declared before it is judged.

    Attributes:
        part: of the response: ``predictions``, ``probabilities`` or ``intervals``.
        what: was recognised, as a clause with the response as its subject.
        declare: the keys of the contract that declare it; empty where the meaning is unknown.
    """

    part: str
    what: str
    declare: Mapping[str, Any]


def same_predictions(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return True if values are the predictions of the trained model, up to `PROBABILITY_TOLERANCE`."""
    return all(
        _same(expected, value)
        for expected, value in zip(golden.predictions, as_labels(golden, values), strict=True)
    )


def adds_up(value: Any) -> bool:
    """Return True if numbers add up to one, or to a hundred, as probabilities do that may be rounded or cut."""
    """Return True if numbers are between 0 and 1, or 0 and 100, and nearly add up to that."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, Mapping)):
        value = value[0]
    keyed = keyed_scores(value)
    numbers = list(keyed.values()) if keyed is not None else value
    if not isinstance(numbers, list) or not numbers or not all(map(is_number, numbers)) or min(numbers) < 0:
        return False
    return any(math.isclose(sum(numbers), whole, rel_tol=NEARLY) for whole in (1.0, PERCENT))


def find_undeclared(
    answers: Sequence[Any],
    paths: Mapping[str, str | None],
    golden: GoldenRows,
    contract: Contract,
    declared: Mapping[str, Any],
) -> Iterator[Undeclared]:
    """Yield what has to be declared of the parts of a response before they can be judged.

    Args:
        answers: the response about all rows, or one a row.
        paths: where its parts are.
        golden: the rows that were sent.
        contract: how they were sent.
        declared: what a person has declared.
    """
    read = merged([contract.with_paths(paths).read(answer) for answer in answers])
    predictions, probabilities = read["predictions"], read["probabilities"]
    if isinstance(predictions, list) and len(predictions) == len(golden):
        yield from _undeclared_predictions(golden, predictions, paths, declared)
    if golden.probabilities and isinstance(probabilities, list | Mapping):
        yield from _undeclared_probabilities(golden, probabilities, paths, contract, declared)
    if golden.intervals and isinstance(read["intervals"], list) and "decimals" not in declared:
        pairs = _number_pairs(golden.intervals, read["intervals"])
        if pairs and (decimals := rounding_of(pairs, 0)) is not None:
            yield Undeclared(
                "intervals", f"rounds its bounds to {_decimals(decimals)}", {"decimals": decimals}
            )


def _undeclared_predictions(
    golden: GoldenRows,
    predictions: Sequence[Any],
    paths: Mapping[str, str | None],
    declared: Mapping[str, Any],
) -> Iterator[Undeclared]:
    if same_predictions(golden, predictions):
        return
    if not golden.classes:
        yield from _undeclared_numbers_predicted(golden, as_labels(golden, predictions), declared)
        return
    path = paths["predictions"] or ""
    if "labels" not in declared and (names := label_names(golden, predictions)):
        yield Undeclared("predictions", _shown_names(names), {"labels": names})
    elif "predictions" not in declared and (whose := whose_probability(golden, predictions)):
        yield Undeclared(
            "predictions",
            f"has {_whose(whose)} instead of a label",
            {"probabilities": path, "probability_of": whose},
        )
    elif (
        not PATHS & declared.keys()
        and last_name(path) not in PREDICTION_NAMES
        and _are_no_labels(golden, predictions)
    ):
        yield Undeclared(
            "predictions", f"has values at {path or 'its top level'} that are not labels of the model", {}
        )


def _undeclared_numbers_predicted(
    golden: GoldenRows, predictions: Sequence[Any], declared: Mapping[str, Any]
) -> Iterator[Undeclared]:
    if predictions and all(isinstance(value, str) for value in predictions):
        yield Undeclared("predictions", "has text instead of a number", {})
        return
    pairs = _number_pairs(golden.predictions, predictions)
    if not pairs:
        return
    if (
        "decimals" not in declared
        and "scale" not in declared
        and (decimals := rounding_of(pairs, 0)) is not None
    ):
        yield Undeclared(
            "predictions", f"rounds its predictions to {_decimals(decimals)}", {"decimals": decimals}
        )
        return
    for scale in UNITS if "scale" not in declared else ():
        if all(
            math.isclose(before * scale, after, rel_tol=PROBABILITY_TOLERANCE, abs_tol=0.0)
            for before, after in pairs
        ):
            yield Undeclared(
                "predictions", f"has the model's predictions multiplied by {scale:g}", {"scale": scale}
            )
            return


def _are_no_labels(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return True if values cannot be labels: none is one of the model's, and there are more of them than labels."""
    known = {str(label) for label in golden.classes}
    shown = {str(value) for value in values}
    return all(map(is_plain, values)) and not shown & known and len(shown) > len(known)


def _shown_names(names: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{label} is {name!r}" for label, name in names.items())
    return f"has other names for the model's labels ({shown})"


def label_names(golden: GoldenRows, values: Sequence[Any]) -> dict[str, Any]:
    """Return the service's name for each label of the model: empty unless each has one of its own that is none of the model's labels."""
    known = {str(label) for label in golden.classes}
    names: dict[str, Any] = {}
    for expected, value in zip(golden.predictions, values, strict=True):
        is_label = str(value) in known and not isinstance(value, bool)
        if not isinstance(value, (str, int)) or (
            is_label and (str(value) != expected or isinstance(value, str))
        ):
            return {}  # a number for the text of the same digits is a name, too, but never that of another label
        if names.setdefault(str(expected), value) != value or type(names[str(expected)]) is not type(value):
            return {}
    is_one_to_one = len({(type(name).__name__, name) for name in names.values()}) == len(names)
    return names if is_one_to_one else {}


def whose_probability(golden: GoldenRows, values: Sequence[Any]) -> str | None:
    """Return the class whose probability is returned, as one number a row, or `PREDICTED`; None if it is not clear which."""
    if not golden.probabilities or len(values) != len(golden) or not all(map(is_number, values)):
        return None
    matching = [
        str(label)
        for position, label in enumerate(golden.classes)
        if _alike([row[position] for row in golden.probabilities], values) is not None
    ]
    if len(matching) == 1:
        return matching[0]
    if not matching and _alike(of_predicted(golden), values) is not None:
        return PREDICTED
    return None


class _Alike(NamedTuple):
    scale: float
    decimals: int | None


def _alike(expected: Sequence[float], values: Sequence[Any]) -> _Alike | None:
    """Return by which scale and rounding numbers are the expected ones; None if they are not."""
    for scale in (1.0, PERCENT):
        pairs = [(before * scale, float(after)) for before, after in zip(expected, values, strict=True)]
        if all(
            math.isclose(before, after, rel_tol=PROBABILITY_TOLERANCE, abs_tol=PROBABILITY_TOLERANCE * scale)
            for before, after in pairs
        ):
            return _Alike(scale, None)
        if (decimals := rounding_of(pairs, MIN_PROBABILITY_DECIMALS if scale == 1.0 else 0)) is not None:
            return _Alike(scale, decimals)
    return None


def rounding_of(pairs: Sequence[tuple[float, float]], least: int) -> int | None:
    """Return to how many decimals the second numbers of *pairs* are rounded from the first ones; None if they are not."""
    if len(pairs) < MIN_ROWS or all(before == after for before, after in pairs):
        return None
    decimals = max((_decimals_of(after) for _, after in pairs), default=0)
    decimals = max(decimals, least)
    if decimals > MAX_ROUNDING:
        return None
    half = 0.5 * 10.0**-decimals * (1 + 1e-9)
    return decimals if all(abs(before - after) <= half for before, after in pairs) else None


def is_rounded(values: Any, part: str, contract: Contract) -> bool:
    """Return True if numbers in the model's terms have no more decimals than the contract declares: others were not rounded to them."""
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


def _whose(named: str) -> str:
    return (
        "the probability of the predicted class"
        if named == PREDICTED
        else f"the probability of class {named}"
    )


def _undeclared_probabilities(
    golden: GoldenRows,
    served: Any,
    paths: Mapping[str, str | None],
    contract: Contract,
    declared: Mapping[str, Any],
) -> Iterator[Undeclared]:
    expected = golden.probabilities or []
    served = by_class(served, golden, contract)
    if not isinstance(served, list) or len(served) != len(golden):
        return
    if contract.probability_of is not None:
        expected, named = expected_of(golden, contract.probability_of), True
    else:
        named = False
        flat = unwrapped(served)
        if all(map(is_number, flat)):
            yield from _undeclared_single(golden, flat, paths)
            return
    if (
        not named
        and last_name(paths["probabilities"] or "") in PROMISES_NO_PROBABILITY
        and not any(map(adds_up, served))
    ):
        yield Undeclared(
            "probabilities", f"has numbers at {paths['probabilities']} that are no probabilities", {}
        )
        return
    keyed = [keyed_scores(row) for row in served]
    if all(row is not None for row in keyed):
        yield from _undeclared_keys(golden, [row for row in keyed if row is not None], declared)
        return
    if (
        not PATHS & declared.keys()
        and last_name(paths["probabilities"] or "") != "probabilities"
        and all(map(_is_one_hot, served))
    ):
        yield Undeclared(
            "probabilities", "has one-hot lists (zeros and a single 1) instead of probabilities", {}
        )
        return
    yield from _undeclared_numbers(expected, served, declared, named=named)


def _is_one_hot(row: Any) -> bool:
    return (
        isinstance(row, list)
        and all(type(value) is int for value in row)
        and sorted(row) == [*[0] * (len(row) - 1), 1]
    )


def _undeclared_single(
    golden: GoldenRows, values: Sequence[Any], paths: Mapping[str, str | None]
) -> Iterator[Undeclared]:
    path = paths["probabilities"]
    whose = whose_probability(golden, values)
    is_promised = last_name(path or "") == "probabilities"
    if whose is None or (whose == PREDICTED and is_promised):
        if not is_promised:
            yield Undeclared(
                "probabilities",
                f"has one number per row at {path or 'its top level'} that is not the probability of any class",
                {},
            )
        return  # under the name "probabilities" one number a class is expected: that is compared
    columns = of_predicted(golden) if whose == PREDICTED else [row[0] for row in expected_of(golden, whose)]
    alike = _alike(columns, values)
    more = {} if alike is None else _numbers_to_declare(alike)
    given = {part: paths[part] for part in ("predictions", "probabilities") if paths[part] is not None}
    how = "".join(f", {one}" for one in _how(more))
    yield Undeclared(
        "probabilities",
        f"has {_whose(whose)} as one number per row{how}",
        {**given, "probability_of": whose, **more},
    )


def _how(numbers: Mapping[str, Any]) -> list[str]:
    """Return in words how numbers are scaled and rounded."""
    how = [] if "scale" not in numbers else ["as percentages"]
    return how if "decimals" not in numbers else [*how, f"rounded to {_decimals(numbers['decimals'])}"]


def _numbers_to_declare(alike: _Alike) -> dict[str, Any]:
    scale = {} if alike.scale == 1.0 else {"scale": alike.scale}
    return scale if alike.decimals is None else {**scale, "decimals": alike.decimals}


def _undeclared_keys(
    golden: GoldenRows, rows: Sequence[dict[str, Any]], declared: Mapping[str, Any]
) -> Iterator[Undeclared]:
    """Yield names of classes that are not the model's, where each one's numbers are those of one class."""
    if "labels" in declared or any(row.keys() != rows[0].keys() for row in rows):
        return
    names: dict[str, Any] = {}
    for key in rows[0]:
        whose = whose_probability(golden, [row[key] for row in rows])
        if whose is None or whose == PREDICTED or whose in names:
            return
        names[whose] = key
    if len(names) == len(golden.classes) and not set(names.values()) & {
        str(label) for label in golden.classes
    }:
        yield Undeclared("probabilities", _shown_names(names), {"labels": names})


def _undeclared_numbers(
    expected: Sequence[Any], served: Sequence[Any], declared: Mapping[str, Any], *, named: bool
) -> Iterator[Undeclared]:
    pairs = _number_pairs(expected, served)
    if not pairs or (set(declared) & {"decimals", "scale"} and not named):
        return
    alike = _alike([before for before, _ in pairs], [after for _, after in pairs])
    if alike is None or not (
        wanted := {name: value for name, value in _numbers_to_declare(alike).items() if name not in declared}
    ):
        return
    yield Undeclared("probabilities", f"has probabilities {' and '.join(_how(wanted))}", wanted)


def _number_pairs(expected: Sequence[Any], served: Sequence[Any]) -> list[tuple[float, float]]:
    """Return the numbers of two nested lists of the same shape, side by side; an empty list if the shapes differ."""
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
    if is_number(expected) and is_number(value):
        return math.isclose(expected, value, rel_tol=PROBABILITY_TOLERANCE, abs_tol=0.0)
    return type(expected) is type(value) and bool(expected == value)
