"""Finding the parts of a response to golden rows: by their names, by their structure, and, where neither tells, by their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tier0.contract.contract import BOUNDS, Contract, as_list, get_path, join_path
from tier0.contract.meanings import (
    PATHS,
    Undeclared,
    adds_up,
    find_undeclared,
    label_names,
    same_predictions,
    whose_probability,
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
    objects_in,
    unwrapped,
    values_called,
)
from tier0.contract.service_schema import INTERVAL_NAMES, PREDICTION_NAMES, PROBABILITY_NAMES
from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows

ABOUT_REQUESTS = {
    "latency", "duration", "elapsed", "time", "timestamp", "took", "ms", "seconds", "id", "ids", "index", "row", "version", "count", "date",
    "request",
}  # fmt: skip
"""Words in the names of what a response says about the request, and not about a row."""


class FoundParts(NamedTuple):
    """Where the parts of a response are.

    Attributes:
        paths: of each part that was found.
        undeclared: what must be declared before a part can be judged.
    """

    paths: dict[str, str | None]
    undeclared: tuple[Undeclared, ...]


def find_parts(
    answers: Sequence[Any],
    golden: GoldenRows,
    contract: Contract,
    declared: Mapping[str, Any],
    *,
    promises_numbers: bool = False,
) -> FoundParts:
    """Find the parts of a response to golden rows, and what has to be declared of them.

    Args:
        answers: the response about all rows, or one a row.
        golden: the rows that were sent.
        contract: how they were sent; its paths are kept where they were declared.
        declared: what a person has declared.
        promises_numbers: the service's schema declares a list of numbers as its response.
    """
    if PATHS & declared.keys():
        paths = {part: getattr(contract, part) for part in PARTS}
        return FoundParts(paths, tuple(find_undeclared(answers, paths, golden, contract, declared)))
    paths = _paths_of_parts(answers, golden, contract)
    if not promises_numbers and _is_booster(paths, answers, golden):
        return FoundParts({**paths, "predictions": paths["probabilities"], "probabilities": None}, ())
    chosen = tuple(_chosen_by_value(answers, paths, golden, contract))
    undeclared = chosen or tuple(find_undeclared(answers, paths, golden, contract, declared))
    return FoundParts(paths, (*undeclared, *_named_and_unread(answers, paths, golden)))


def _named_and_unread(
    answers: Sequence[Any], paths: Mapping[str, str | None], golden: GoldenRows
) -> Iterator[Undeclared]:
    """Yield what is called as a part, and is not one for each row, beside a part that was found: it must not stay unnoticed."""
    for part, other in (("predictions", "probabilities"), ("probabilities", "predictions")):
        if paths[part] is not None or paths[other] is None or getattr(golden, part) is None:
            continue
        for path, value in values_called(
            answers[0], (part, part.removesuffix("s").replace("probabilitie", "probability"))
        ):
            is_around = paths[other] == path or str(paths[other]).startswith(f"{path}.")
            if not is_around and (part == "predictions" or (isinstance(value, (list, Mapping)) and value)):
                yield Undeclared(part, f"has {part} at {path} that are not one for each row", {})
                break


def _is_booster(paths: Mapping[str, str | None], answers: Sequence[Any], golden: GoldenRows) -> bool:
    """Return True if the whole response is one number a row, of a model whose labels are text.

    That is how a classifier responds that was saved, and came back, as its booster.
    """
    is_bare = (
        paths["probabilities"] == ""
        and paths["predictions"] is None
        and all(isinstance(label, str) for label in golden.classes)
    )
    values = answers[0] if len(answers) == 1 else list(answers)
    return is_bare and isinstance(values, list) and all(map(is_number, unwrapped(values)))


def _paths_of_parts(answers: Sequence[Any], golden: GoldenRows, contract: Contract) -> dict[str, str | None]:
    columns = columns_in(answers, len(golden), one_row=contract.one_row)
    flat = {path: unwrapped(values) for path, values in columns.items()}
    plain = {path: values for path, values in flat.items() if are_enough(map(is_plain, values))}
    predictions = _find_predictions(plain, golden, contract)
    probabilities = _find_probabilities(columns, answers, golden, contract, predictions)
    if predictions is None and probabilities is not None:
        predictions = _too_few_or_many(answers, golden, probabilities)
    if predictions is None and probabilities is None:
        predictions = _named_anywhere(answers, PREDICTION_NAMES)
        probabilities = _named_anywhere(answers, PROBABILITY_NAMES) if golden.probabilities else None
        if isinstance(answers[0], list) and not contract.one_row:
            predictions = ""
    return {
        "predictions": predictions,
        "probabilities": probabilities,
        "intervals": _find_intervals(answers, golden, contract),
    }


def _too_few_or_many(answers: Sequence[Any], golden: GoldenRows, probabilities: str) -> str | None:
    """Return the path of values that are called predictions, and are fewer or more than the rows."""
    for path, value in values_called(answers[0], PREDICTION_NAMES[:2]) if len(answers) == 1 else ():
        if (
            path != probabilities
            and "*" not in path
            and is_list_of_plain(value)
            and len(value) != len(golden)
        ):
            return path
    return None


def _named_anywhere(answers: Sequence[Any], names: Sequence[str]) -> str | None:
    """Return the path of what is called by one of *names*, however many there are of it: rows may have been lost, or joined."""
    for path, value in objects_in(answers[0], "", DEPTH):
        if named := next((name for name in names if name in value), None):
            return join_path(path, named)
    return None


def _by_name(paths: Sequence[str], names: Sequence[str]) -> str | None:
    return next((path for name in names for path in paths if last_name(path) == name), None)


def _find_predictions(columns: Mapping[str, list[Any]], golden: GoldenRows, contract: Contract) -> str | None:
    """Return where the predictions are: under a usual name, or in the one column that can be them."""
    if contract.predictions in columns:
        return contract.predictions
    strong, weak = _names_of_predictions(golden)
    named = _by_name(list(columns), strong)
    if named is not None and (
        not _is_echo(golden, columns[named]) or same_predictions(golden, columns[named])
    ):
        return named
    candidates = _can_be_predictions(columns, golden)
    matching = [path for path, values in candidates.items() if same_predictions(golden, values)]
    mapped = [path for path, values in candidates.items() if label_names(golden, values)]
    also = _by_name(list(columns), weak)
    if also is not None and (also in matching or not (matching or _is_echo(golden, columns[also]))):
        return also  # others are called so, too: a class of passengers, the value of a customer
    return (
        next(iter([*matching, *mapped, *candidates]), None)
        if matching or mapped or len(candidates) == 1
        else None
    )


def _can_be_predictions(columns: Mapping[str, list[Any]], golden: GoldenRows) -> dict[str, list[Any]]:
    """Return columns that can hold predictions: not what is the same for all rows, nor probabilities, nor what names say is about the request."""
    varies = len({str(prediction) for prediction in golden.predictions}) > 1
    found = {}
    for path, values in columns.items():
        is_constant = varies and len({str(value) for value in values}) == 1
        is_about_request = set(re.split(r"[^a-z]+", last_name(path))) & ABOUT_REQUESTS
        is_named_probability = bool(golden.classes) and last_name(path) in (
            *PROBABILITY_NAMES,
            *ALSO_PROBABILITIES,
        )
        is_probability = is_named_probability or whose_probability(golden, values)
        if path == "" or not (is_constant or is_about_request or is_probability):
            found[path] = values
    return {
        path: values
        for path, values in found.items()
        if not (golden.classes and whose_probability(golden, values))
    }


def _names_of_predictions(golden: GoldenRows) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names that promise predictions, and those that other things have, too: numbers are not called labels."""
    return (
        (PREDICTION_NAMES, ALSO_PREDICTIONS)
        if golden.classes
        else (PREDICTION_NAMES[:2], (*PREDICTION_NAMES[2:], *ALSO_PREDICTIONS))
    )


def _is_echo(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return True if values are those of a column of the rows that were sent."""
    return any(
        list(values) == [row[position] for row in golden.rows] for position in range(len(golden.columns))
    )


def _find_probabilities(
    columns: Mapping[str, list[Any]],
    answers: Sequence[Any],
    golden: GoldenRows,
    contract: Contract,
    predictions: str | None,
) -> str | None:
    if not golden.probabilities:
        return None
    if contract.probabilities is not None and any(
        get_path(answer, contract.probabilities) is not None for answer in answers
    ):
        return contract.probabilities
    others = [path for path in columns if path != predictions]
    keyed = (
        []
        if contract.one_row
        else [path for path, value in objects_in(answers[0], "", DEPTH) if _is_keyed_by_class(value, golden)]
    )
    keyed += [
        path for path in columns if all(_has_score_of_each_class(value, golden) for value in columns[path])
    ]
    if keyed:
        return keyed[0]
    named = _by_name(others, PROBABILITY_NAMES) or _by_name(others, ALSO_PROBABILITIES)
    if named is not None:
        return named
    distributions = [
        path for path, values in columns.items() if all(_is_distribution(value, golden) for value in values)
    ]
    if predictions is not None:  # other numbers of each row may be as many as there are classes
        distributions = [path for path in distributions if all(adds_up(value) for value in columns[path])]
    single = [path for path in others if whose_probability(golden, unwrapped(columns[path]))]
    return next(iter([*distributions, *single]), None)


def _has_score_of_each_class(value: Any, golden: GoldenRows) -> bool:
    scores = keyed_scores(value)
    return scores is not None and len(golden.classes) > 1 and scores.keys() == set(map(str, golden.classes))


def _is_keyed_by_class(value: Mapping[str, Any], golden: GoldenRows) -> bool:
    """Return True if an object has one list of numbers a class, one number a row."""
    is_column = [
        isinstance(column, list) and len(column) == len(golden) and all(map(is_number, column))
        for column in value.values()
    ]
    return (
        len(value) == len(golden.classes) > 1
        and all(is_column)
        and set(value) == set(map(str, golden.classes))
    )


def _is_distribution(value: Any, golden: GoldenRows) -> bool:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, Mapping)):
        value = value[0]
    keyed = keyed_scores(value)
    numbers = list(keyed.values()) if keyed is not None else value
    return (
        isinstance(numbers, list) and len(numbers) == len(golden.classes) > 1 and all(map(is_number, numbers))
    )


def _find_intervals(answers: Sequence[Any], golden: GoldenRows, contract: Contract) -> str | None:
    """Return where the bounds are: under a usual name, or where an object has a lower and an upper one."""
    if not golden.intervals:
        return None
    if contract.intervals is not None and get_path(answers[0], contract.intervals) is not None:
        return contract.intervals
    objects = dict(objects_in(answers[0], "", DEPTH))
    for path, value in objects.items():
        if named := next((name for name in INTERVAL_NAMES if name in value), None):
            return join_path(path, named)
    rows = as_list(answers[0]) if not contract.one_row else None
    if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
        inner = next((name for name in INTERVAL_NAMES if name in rows[0]), None)
        return f"*.{inner}" if inner else "" if rows[0].keys() >= set(BOUNDS) else None
    return next((path for path, value in objects.items() if value.keys() >= set(BOUNDS)), None)


def _chosen_by_value(
    answers: Sequence[Any], paths: Mapping[str, str | None], golden: GoldenRows, contract: Contract
) -> Iterator[Undeclared]:
    """Yield the path of the predictions where only their values tell them from others, and neither their name nor their place does."""
    path = paths["predictions"]
    if not path or path == contract.predictions:
        return
    flat = {
        path: unwrapped(values)
        for path, values in columns_in(answers, len(golden), one_row=contract.one_row).items()
    }
    plain = {path: values for path, values in flat.items() if path and all(map(is_plain, values))}
    is_named = path in {_by_name(list(flat), names) for names in _names_of_predictions(golden)}
    if is_named or len(_can_be_predictions(plain, golden)) <= 1:
        return
    what = f"has the model's predictions at {path}, and other fields that could be predictions"
    yield Undeclared("predictions", what, {part: found for part, found in paths.items() if found is not None})
