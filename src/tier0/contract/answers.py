"""Search for the parts of a response to golden rows: by name, by structure, and as a last resort by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tier0.contract.contract import BOUNDS, Contract, as_list, get_path, join_path
from tier0.contract.meanings import (
    PATHS,
    PROBABILITY_WORDS,
    Undeclared,
    adds_up,
    class_of_probability,
    find_undeclared,
    label_names,
    same_predictions,
    same_probabilities,
)
from tier0.contract.response import (
    ALSO_PREDICTIONS,
    ALSO_PROBABILITIES,
    DEPTH,
    are_enough,
    columns_in,
    is_list_of_plain,
    is_number,
    is_plain,
    keyed_scores,
    last_name,
    named_values,
    objects_in,
    scores_of,
    unwrapped,
    words_of,
)
from tier0.contract.service_schema import INTERVAL_NAMES, PREDICTION_NAMES, PROBABILITY_NAMES
from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows

ABOUT_REQUESTS = {
    "latency", "duration", "elapsed", "time", "timestamp", "took", "ms", "seconds", "id", "ids", "index",
    "row", "version", "count", "date", "request",
}  # fmt: skip
"""Words in the names of fields that describe the request instead of a row."""
IDS_OF_CLASSES = {
    "class_id",
    "label_id",
    "category_id",
    "class_index",
    "label_index",
    "class_idx",
    "label_idx",
}
MEDIANS = {"p50", "q50", "median"}
"""Names of the prediction among quantiles."""


class FoundParts(NamedTuple):
    """Result of the search for the parts of a response.

    Attributes:
        paths: path of each part; None for a part that was not found.
        undeclared: meanings that must be declared before checks can use a part.
    """

    paths: dict[str, str | None]
    undeclared: tuple[Undeclared, ...]


def find_parts(
    responses: Sequence[Any],
    golden: GoldenRows,
    contract: Contract,
    declared: Mapping[str, Any],
    *,
    promises_numbers: bool = False,
) -> FoundParts:
    """Find the parts of a response to golden rows, and the meanings that must be declared.

    Args:
        responses: one response for all rows, or one response per row.
        golden: rows that were sent.
        contract: form in which they were sent; declared paths are kept.
        declared: declared part of the contract.
        promises_numbers: whether the service's schema declares a list of numbers as its response.
    """
    if PATHS & declared.keys():
        paths = {part: getattr(contract, part) for part in PARTS}
        return FoundParts(paths, tuple(find_undeclared(responses, paths, golden, contract, declared)))
    paths = _find_paths(responses, golden, contract)
    if not promises_numbers and _is_booster(paths, responses, golden):
        return FoundParts({**paths, "predictions": paths["probabilities"], "probabilities": None}, ())
    chosen = tuple(_chosen_by_value(responses, paths, golden, contract))
    parts = {undeclared.part for undeclared in chosen}
    others = find_undeclared(responses, paths, golden, contract, declared)
    undeclared = (*chosen, *(one for one in others if one.part not in parts))
    return FoundParts(paths, (*undeclared, *_unused_parts(responses, paths, golden)))


def _unused_parts(
    responses: Sequence[Any], paths: Mapping[str, str | None], golden: GoldenRows
) -> Iterator[Undeclared]:
    """Yield fields with the name of a part that do not have one value per row, so that they are reported."""
    for part, other in (("predictions", "probabilities"), ("probabilities", "predictions")):
        if paths[part] is not None or paths[other] is None or getattr(golden, part) is None:
            continue
        singular = {"predictions": "prediction", "probabilities": "probability"}[part]
        for path, value in named_values(responses[0], (part, singular)):
            contains_other = paths[other] == path or str(paths[other]).startswith(f"{path}.")
            is_part = part == "predictions" or (isinstance(value, (list, Mapping)) and value)
            if is_part and not contains_other:
                yield Undeclared(part, f"has {part} at {path}, but not one per row", {})
                break


def _is_booster(paths: Mapping[str, str | None], responses: Sequence[Any], golden: GoldenRows) -> bool:
    """Return whether the entire response is one number per row, but the model's labels are text.

    A classifier responds like this if saving and loading has reduced it to its booster.
    """
    if paths["probabilities"] != "" or paths["predictions"] is not None:
        return False
    if not all(isinstance(label, str) for label in golden.classes):
        return False
    values = responses[0] if len(responses) == 1 else list(responses)
    return isinstance(values, list) and all(map(is_number, unwrapped(values)))


def _find_paths(responses: Sequence[Any], golden: GoldenRows, contract: Contract) -> dict[str, str | None]:
    columns = columns_in(responses, len(golden), one_row=contract.one_row)
    flat = {path: unwrapped(values) for path, values in columns.items()}
    plain = {path: values for path, values in flat.items() if are_enough(map(_can_be_one(golden), values))}
    predictions = _find_predictions(plain, golden, contract)
    probabilities = _find_probabilities(columns, responses, golden, contract, predictions)
    if predictions is None and probabilities is not None:
        predictions = _find_other_count(responses, golden, probabilities)
    if predictions is None:
        predictions = _find_fields(responses, golden)
    if predictions is None and probabilities is None:
        predictions = _find_named(responses, PREDICTION_NAMES)
        probabilities = _find_named(responses, PROBABILITY_NAMES) if golden.probabilities else None
        if isinstance(responses[0], list) and not contract.one_row:
            predictions = ""
    return {
        "predictions": predictions,
        "probabilities": probabilities,
        "intervals": _find_intervals(responses, golden, contract),
    }


def _find_fields(responses: Sequence[Any], golden: GoldenRows) -> str | None:
    """Return the path of an object with a list of values for each field of the model's predictions."""
    first = golden.predictions[0] if golden.predictions else None
    if not isinstance(first, dict) or len(responses) != 1:
        return None
    for path, value in objects_in(responses[0], "", DEPTH):
        columns = [value.get(name) for name in first]
        if all(isinstance(column, list) and len(column) == len(golden) for column in columns):
            return path
    return None


def _can_be_one(golden: GoldenRows) -> Callable[[Any], bool]:
    """Return the test of whether a value can be the prediction for one row."""
    if any(isinstance(output, dict) for output in golden.predictions):
        return lambda value: isinstance(value, Mapping)
    if golden.has_several_outputs and not all(map(_is_plain_list, golden.predictions)):
        return lambda value: isinstance(value, list)
    return _is_plain_list if golden.has_several_outputs else is_plain


def _is_plain_list(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_plain, value))


def _find_other_count(responses: Sequence[Any], golden: GoldenRows, probabilities: str) -> str | None:
    """Return the path of a list with the name of predictions whose length is not the number of rows."""
    if len(responses) != 1:
        return None
    for path, value in named_values(responses[0], PREDICTION_NAMES[:2]):
        if path == probabilities or "*" in path:
            continue
        if is_list_of_plain(value) and len(value) != len(golden):
            return path
    return None


def _find_named(responses: Sequence[Any], names: Sequence[str]) -> str | None:
    """Return the path of a field with one of *names*, of any length, since rows may be lost or merged."""
    for path, value in objects_in(responses[0], "", DEPTH):
        if named := next((name for name in names if name in value), None):
            return join_path(path, named)
    return None


def _by_name(paths: Sequence[str], names: Sequence[str]) -> str | None:
    return next((path for name in names for path in paths if last_name(path) == name), None)


def _find_predictions(columns: Mapping[str, list[Any]], golden: GoldenRows, contract: Contract) -> str | None:
    """Return the path of the predictions: a usual name, or the only column that can be predictions."""
    if contract.predictions in columns:
        return contract.predictions
    outputs = [path for path in columns if path.startswith("outputs.")]
    if contract.protocol == "v2" and len(outputs) == 1:  # the only output, whatever its name and values
        return outputs[0]
    names, ambiguous_names = _names_of_predictions(golden)
    named = _by_name(list(columns), names)
    if named is not None:
        values = columns[named]
        if not _is_echo(golden, values) or same_predictions(golden, values):
            return named
    candidates = _can_be_predictions(columns, golden)
    matching = [path for path, values in candidates.items() if same_predictions(golden, values)]
    mapped = [path for path, values in candidates.items() if label_names(golden, values)]
    # other columns also have these names: the class of a passenger, the value of a customer
    ambiguous = _by_name(list(columns), ambiguous_names)
    if ambiguous is not None:
        is_only = not matching and not _is_echo(golden, columns[ambiguous])
        if ambiguous in matching or is_only:
            return ambiguous
    if matching or mapped:
        return next(iter([*matching, *mapped]))
    return next(iter(candidates)) if len(candidates) == 1 else None


def _can_be_predictions(columns: Mapping[str, list[Any]], golden: GoldenRows) -> dict[str, list[Any]]:
    """Return the columns that can be predictions: not constants, probabilities or facts about the request."""
    varies = len({str(prediction) for prediction in golden.predictions}) > 1
    probability_names = {*PROBABILITY_NAMES, *ALSO_PROBABILITIES} if golden.classes else set()
    found = {}
    for path, values in columns.items():
        is_probability = class_of_probability(golden, values) is not None
        if golden.classes and is_probability:
            continue
        is_constant = varies and len({str(value) for value in values}) == 1
        is_about_request = last_name(path) not in IDS_OF_CLASSES and bool(words_of(path) & ABOUT_REQUESTS)
        is_probability = is_probability or last_name(path) in probability_names
        if path == "" or not (is_constant or is_about_request or is_probability):
            found[path] = values
    return found


def _names_of_predictions(golden: GoldenRows) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of predictions, and names that other fields also have, like a regression's "label"."""
    if golden.classes:
        return PREDICTION_NAMES, ALSO_PREDICTIONS
    return PREDICTION_NAMES[:2], (*PREDICTION_NAMES[2:], *ALSO_PREDICTIONS)


def _is_echo(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return whether values equal a column of the rows that were sent."""
    columns = ([row[position] for row in golden.rows] for position in range(len(golden.columns)))
    return any(list(values) == column for column in columns)


def _find_probabilities(
    columns: Mapping[str, list[Any]],
    responses: Sequence[Any],
    golden: GoldenRows,
    contract: Contract,
    predictions: str | None,
) -> str | None:
    if not golden.probabilities:
        return None
    declared = contract.probabilities
    if declared is not None and any(get_path(response, declared) is not None for response in responses):
        return declared
    others = [path for path in columns if path != predictions]
    objects = () if contract.one_row else objects_in(responses[0], "", DEPTH)
    keyed = [path for path, value in objects if _is_keyed_by_class(value, golden)]
    keyed += [
        path for path in columns if all(_has_score_of_each_class(value, golden) for value in columns[path])
    ]
    if keyed:
        return keyed[0]
    named = _by_name(others, PROBABILITY_NAMES) or _by_name(others, ALSO_PROBABILITIES)
    if named is not None:
        return named
    if golden.has_several_outputs:  # they need not add up to 1: only their values identify them
        return next((path for path in others if same_probabilities(golden, columns[path])), None)
    distributions = [
        path for path, values in columns.items() if all(_is_distribution(value, golden) for value in values)
    ]
    if predictions is not None:  # other lists can have as many numbers as there are classes
        distributions = [path for path in distributions if all(adds_up(value) for value in columns[path])]
    single = [path for path in others if class_of_probability(golden, unwrapped(columns[path]))]
    worded = [path for path in others if _is_worded_probability(path, columns[path])]
    return next(iter([*distributions, *single, *worded]), None)


def _is_worded_probability(path: str, values: Sequence[Any]) -> bool:
    """Return whether different numbers have a name such as ``fraud_probability``: they are never ignored."""
    numbers = unwrapped(values)
    is_named = bool(words_of(path) & PROBABILITY_WORDS)
    return is_named and all(map(is_number, numbers)) and len(set(numbers)) > 1


def _has_score_of_each_class(value: Any, golden: GoldenRows) -> bool:
    """Return whether a row has a score of each class, which add up to 1 if it has other fields as well."""
    if len(golden.classes) <= 1:
        return False
    scores = scores_of(value, list(map(str, golden.classes)))
    return scores is not None and (keyed_scores(value) is not None or adds_up(scores))


def _is_keyed_by_class(value: Mapping[str, Any], golden: GoldenRows) -> bool:
    """Return whether an object has one list of numbers per class, with one number per row."""
    if len(golden.classes) <= 1 or set(value) != set(map(str, golden.classes)):
        return False
    return all(
        isinstance(column, list) and len(column) == len(golden) and all(map(is_number, column))
        for column in value.values()
    )


def _is_distribution(value: Any, golden: GoldenRows) -> bool:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, Mapping)):
        value = value[0]
    keyed = keyed_scores(value)
    numbers = list(keyed.values()) if keyed is not None else value
    if not isinstance(numbers, list) or not all(map(is_number, numbers)):
        return False
    return len(numbers) == len(golden.classes) > 1


def _find_intervals(responses: Sequence[Any], golden: GoldenRows, contract: Contract) -> str | None:
    """Return the path of the bounds: a usual name, or an object with a lower and an upper bound."""
    if not golden.intervals:
        return None
    if contract.intervals is not None and get_path(responses[0], contract.intervals) is not None:
        return contract.intervals
    objects = dict(objects_in(responses[0], "", DEPTH))
    for path, value in objects.items():
        if named := next((name for name in INTERVAL_NAMES if name in value), None):
            return join_path(path, named)
    rows = None if contract.one_row else as_list(responses[0])
    if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
        if inner := next((name for name in INTERVAL_NAMES if name in rows[0]), None):
            return f"*.{inner}"
        return "" if rows[0].keys() >= set(BOUNDS) else None
    return next((path for path, value in objects.items() if value.keys() >= set(BOUNDS)), None)


def _chosen_by_value(
    responses: Sequence[Any], paths: Mapping[str, str | None], golden: GoldenRows, contract: Contract
) -> Iterator[Undeclared]:
    """Yield the path of predictions that only their values distinguish from other fields."""
    path = paths["predictions"]
    if not path or path == contract.predictions:
        return
    columns = columns_in(responses, len(golden), one_row=contract.one_row)
    flat = {column: unwrapped(values) for column, values in columns.items()}
    can_be_one = _can_be_one(golden)
    plain = {column: values for column, values in flat.items() if column and all(map(can_be_one, values))}
    is_named = path in {_by_name(list(flat), names) for names in _names_of_predictions(golden)}
    if is_named or len(_can_be_predictions(plain, golden)) <= 1:
        return
    what = f"has the model's predictions at {path}, but other fields could also be predictions"
    found = {part: place for part, place in paths.items() if place is not None}
    is_certain = last_name(path) in (IDS_OF_CLASSES if golden.classes else MEDIANS)
    yield Undeclared("predictions", what, found, is_certain)
