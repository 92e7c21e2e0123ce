"""The structure of a response: paths of its values, independent of their meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from tier0.contract.contract import as_list, as_position, can_be_path, get_path, join_path
from tier0.contract.service_schema import PREDICTION_NAMES, PROBABILITY_NAMES

ALSO_PREDICTIONS = (
    "predicted", "predicted_label", "predicted_labels", "predicted_class", "predicted_classes", "class",
    "class_name", "class_label", "category", "y_pred", "y_hat", "y", "result", "results", "output", "outputs",
    "value", "values", "answer", "answers", "target",
)  # fmt: skip
ALSO_PROBABILITIES = (
    "prob", "probs", "proba", "probas", "class_probabilities", "predict_proba", "predicted_probabilities",
    "confidence", "confidences",
)  # fmt: skip
ERROR_KEYS = ("error", "errors", "detail", "exception")
ERROR_WORDS = {"error", "fail", "failed", "failure", "invalid"}
NO_ERROR = {"none", "null", "no", "ok", "false", "0"}
DEPTH = 6
"""Number of levels of a response that are searched."""
MAX_PATHS = 5000
"""Number of values in the response for one row that are searched."""
PLAIN = {str, int, float, bool, type(None)}
"""Types of plain values."""
MAX_INTEGER = 10**300
"""Integers beyond this, and the sum of some of them, cannot be compared with the floats of a model."""


def columns_in(responses: Sequence[Any], count: int, *, one_row: bool) -> dict[str, list[Any]]:
    """Return all values of which a response has one per row, by path.

    Args:
        responses: one response for *count* rows, or one response per row.
        count: number of rows.
        one_row: whether each response is for one row.
    """
    if not responses:
        return {}
    if one_row:
        paths = islice(_paths(responses[0], DEPTH), MAX_PATHS)
        return {path: [get_path(response, path) for response in responses] for path in paths}
    return dict(_columns(responses[0], count, "", DEPTH))


def _paths(value: Any, depth: int) -> Iterator[str]:
    """Yield the paths in the response for one row."""
    yield ""
    if not depth:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if can_be_path(name):
                yield from (join_path(name, path) for path in _paths(inner, depth - 1))
    elif isinstance(value, list) and (len(value) == 1 or not all(is_number(item) for item in value)):
        for index, inner in enumerate(value):
            yield from (join_path(str(index), path) for path in _paths(inner, depth - 1))


def _columns(value: Any, count: int, path: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    rows = as_list(value) if count > 1 else value
    if isinstance(rows, list) and len(rows) == count:
        yield path, rows
        for inner in _shared_paths(rows, depth):
            yield join_path(path, f"*.{inner}"), [get_path(row, inner) for row in rows]
    elif depth and isinstance(value, Mapping):
        for name, inner_value in value.items():
            if can_be_path(name):
                yield from _columns(inner_value, count, join_path(path, name), depth - 1)
    elif depth and isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        yield from _columns(value[0], count, join_path(path, "0"), depth - 1)


def _shared_paths(rows: Sequence[Any], depth: int) -> list[str]:
    """Return the paths that enough rows have; the others can be errors."""
    if are_without_fields(rows):
        return []
    found = dict.fromkeys(
        path for row in rows for path in islice(_paths_in_row(row, depth), MAX_PATHS) if path
    )
    return [path for path in islice(found, MAX_PATHS) if are_enough(_has(row, path) for row in rows)]


def are_without_fields(rows: Sequence[Any]) -> bool:
    """Return whether all rows are plain, or all are lists of floats; types are a fast way to find that."""
    types = set(map(type, rows))
    return types <= PLAIN or (types == {list} and set(map(type, chain.from_iterable(rows))) <= {float})


def are_enough(conditions: Iterable[bool]) -> bool:
    """Return whether a condition is true for at least a third of the rows."""
    results = list(conditions)
    return sum(results) * 3 >= len(results) > 0


def _paths_in_row(row: Any, depth: int) -> Iterator[str]:
    yield ""
    if depth and isinstance(row, Mapping):
        items: Iterator[tuple[str, Any]] = ((name, inner) for name, inner in row.items() if can_be_path(name))
    elif depth and isinstance(row, list) and not all(is_number(item) for item in row):
        items = ((str(index), inner) for index, inner in enumerate(row))
    else:
        return
    for name, inner in items:
        yield from (join_path(name, path) for path in _paths_in_row(inner, depth - 1))


def _has(row: Any, path: str) -> bool:
    for part in path.split("."):
        if isinstance(row, Mapping) and part in row:
            row = row[part]
        elif isinstance(row, list) and (position := as_position(part)) is not None and position < len(row):
            row = row[position]
        else:
            return False
    return True


def last_name(path: str) -> str:
    """Return the last key of a path, without list positions, in lower case."""
    names = [part for part in path.split(".") if part != "*" and not part.isdigit()]
    return names[-1].lower() if names else ""


def words_of(path: str) -> set[str]:
    """Return the words of the last key of a path, in lower case."""
    return set(re.split(r"[^a-z]+", last_name(path)))


def is_number(value: Any) -> bool:
    """Return whether a value is a number, but neither a boolean nor an integer beyond `MAX_INTEGER`."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= MAX_INTEGER
    return isinstance(value, float)


def is_plain(value: Any) -> bool:
    """Return whether a value is text, a number, a boolean or null."""
    return value is None or isinstance(value, (str, int, float))


def unwrapped(values: Sequence[Any]) -> list[Any]:
    """Return one value per row from lists of at most one value; other values unchanged."""
    is_column = any(values) and all(isinstance(value, list) and len(value) <= 1 for value in values)
    return [value[0] if value else None for value in values] if is_column else list(values)


def is_refusal(body: Any, *, paths: Iterable[str | None] = (), labels: Sequence[Any] = ()) -> bool:
    """Return whether a response with status 200 reports an error instead of predictions.

    Args:
        body: body of the response.
        paths: paths of the parts of a response; a body with a value at one of them is not a refusal.
        labels: labels of the model, which can equal the words of an error.
    """
    names = (*PREDICTION_NAMES, *PROBABILITY_NAMES)
    if not isinstance(body, Mapping) or any(body.get(name) for name in names):
        return False
    if any(path and get_path(body, path) is not None for path in paths):
        return False
    if any(is_list_of_plain(body.get(name)) for name in ALSO_PREDICTIONS):
        return False
    if any(_reports_error(body.get(name)) for name in ERROR_KEYS):
        others = {name: value for name, value in body.items() if name not in ERROR_KEYS}
        outputs = named_values(others, names, in_rows=False)
        return not any(isinstance(value, list) and value for _, value in outputs)
    status = body.get("status", body.get("success"))
    if status in labels:
        return False
    return status is False or (isinstance(status, str) and status.lower() in ERROR_WORDS)


def is_list_of_plain(value: Any) -> bool:
    """Return whether a value is a non-empty list of text, numbers, booleans and nulls."""
    return isinstance(value, list) and bool(value) and all(map(is_plain, value))


def _reports_error(value: Any) -> bool:
    """Return whether the value of an error field reports an error; a number is the size of an error."""
    if isinstance(value, list):
        return any(map(_reports_error, value))
    return bool(value) and not is_number(value) and str(value).strip().lower() not in NO_ERROR


def named_values(value: Any, names: Sequence[str], *, in_rows: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of every field with one of *names*, in objects and in lists of objects."""
    for path, content in objects_in(value, "", DEPTH):
        yield from ((join_path(path, name), content[name]) for name in names if name in content)
        for name, rows in content.items() if in_rows else ():
            if can_be_path(name):
                yield from _named_in_rows(rows, join_path(path, name), names)
    if in_rows:
        yield from _named_in_rows(value, "", names)


def _named_in_rows(rows: Any, path: str, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in names if isinstance(rows, list) else ():
        if values := [row[name] for row in rows if isinstance(row, Mapping) and name in row]:
            yield join_path(path, f"*.{name}"), values


def objects_in(value: Any, path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every object in a response with its path, including the response itself, outer ones first."""
    if isinstance(value, Mapping):
        yield path, value
        for name, inner in value.items() if depth else ():
            if can_be_path(name):
                yield from objects_in(inner, join_path(path, name), depth - 1)


def scores_of(value: Any, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the scores with *names* in a row: all that it has, or fields of an object with other ones."""
    keyed = keyed_scores(value)
    if keyed is not None and keyed.keys() == set(names):
        return keyed
    if not isinstance(value, Mapping) or not value.keys() >= set(names):
        return None
    found = {name: value[name] for name in names}
    return found if all(map(is_number, found.values())) else None


def keyed_scores(value: Any) -> dict[str, Any] | None:
    """Return scores keyed by class, from an object or from a list of objects with a name and a score."""
    if isinstance(value, Mapping):
        return dict(value) if value and all(map(is_number, value.values())) else None
    if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
        return None
    found: dict[str, Any] = {}
    for item in value:
        names = [item[key] for key in (*PREDICTION_NAMES, *ALSO_PREDICTIONS) if key in item]
        name = next((name for name in names if not isinstance(name, (list, dict))), None)
        scores = [item.get(key) for key in (*PROBABILITY_NAMES, *ALSO_PROBABILITIES)]
        score = next(filter(is_number, scores), None)
        if name is None or score is None or str(name) in found:
            return None
        found[str(name)] = score
    return found
