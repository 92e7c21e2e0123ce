"""The structure of a response: where its values are, whatever they mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tier0.contract.contract import as_list, get_path, join_path
from tier0.contract.service_schema import PREDICTION_NAMES, PROBABILITY_NAMES

ALSO_PREDICTIONS = (
    "predicted", "predicted_label", "predicted_labels", "predicted_class", "predicted_classes", "class", "class_name", "class_label", "category",
    "y_pred", "y_hat", "y", "result", "results", "output", "outputs", "value", "values", "answer", "answers", "target",
)  # fmt: skip
ALSO_PROBABILITIES = (
    "probs",
    "proba",
    "probas",
    "class_probabilities",
    "predict_proba",
    "predicted_probabilities",
    "confidence",
    "confidences",
)
ERROR_KEYS = ("error", "errors", "detail", "exception")
ERROR_WORDS = {"error", "fail", "failed", "failure", "invalid"}
NO_ERROR = {"none", "null", "no", "ok", "false", "0"}
DEPTH = 6
"""Levels of a response that are searched."""


def columns_in(answers: Sequence[Any], count: int, *, one_row: bool) -> dict[str, list[Any]]:
    """Return, by path, all that a response has one of for each row.

    Args:
        answers: one response about *count* rows, or one a row.
        count: of the rows.
        one_row: each of *answers* is about one row.
    """
    if one_row:
        return (
            {path: [get_path(answer, path) for answer in answers] for path in _paths(answers[0], DEPTH)}
            if answers
            else {}
        )
    return dict(_columns(answers[0], count, "", DEPTH)) if answers else {}


def _paths(value: Any, depth: int) -> Iterator[str]:
    """Yield the paths within the response about one row."""
    yield ""
    if depth and isinstance(value, Mapping):
        for name, inner in value.items():
            if _can_be_path(name):
                yield from (join_path(name, path) for path in _paths(inner, depth - 1))
    elif (
        depth and isinstance(value, list) and (len(value) == 1 or not all(is_number(item) for item in value))
    ):
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
            if _can_be_path(name):
                yield from _columns(inner_value, count, join_path(path, name), depth - 1)
    elif depth and isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        yield from _columns(value[0], count, join_path(path, "0"), depth - 1)


def _shared_paths(rows: Sequence[Any], depth: int) -> list[str]:
    """Return the paths within rows that most of them have: a few may be errors."""
    found = dict.fromkeys(path for row in rows for path in _paths_in_row(row, depth) if path)
    return [path for path in found if are_enough(_has(row, path) for row in rows)]


def are_enough(hold: Iterable[bool]) -> bool:
    """Return True if something holds for at least a third of the rows."""
    each = list(hold)
    return sum(each) * 3 >= len(each) > 0


def _paths_in_row(row: Any, depth: int) -> Iterator[str]:
    yield ""
    if depth and isinstance(row, Mapping):
        items: Iterator[tuple[str, Any]] = (
            (name, inner) for name, inner in row.items() if _can_be_path(name)
        )
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
        elif isinstance(row, list) and part.isdigit() and int(part) < len(row):
            row = row[int(part)]
        else:
            return False
    return True


def _can_be_path(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and name != "*" and "." not in name


def last_name(path: str) -> str:
    """Return the last key of a path, without what only counts."""
    return next(
        (part.lower() for part in reversed(path.split(".")) if part != "*" and not part.isdigit()), ""
    )


def is_number(value: Any) -> bool:
    """Return True if a value is a number, and not true or false."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_plain(value: Any) -> bool:
    """Return True if a value is a single one: text, a number, true, false or null."""
    return value is None or isinstance(value, (str, int, float))


def unwrapped(values: Sequence[Any]) -> list[Any]:
    """Return one value a row where each is in a list of one; None for an empty list among them."""
    is_column = any(values) and all(isinstance(value, list) and len(value) <= 1 for value in values)
    return [value[0] if value else None for value in values] if is_column else list(values)


def is_refusal(answer: Any, *, paths: Iterable[str | None] = (), labels: Sequence[Any] = ()) -> bool:
    """Return True if a response with status 200 reports an error instead of predictions.

    Args:
        answer: the body of the response.
        paths: where parts of a response are; what has one of them is an answer.
        labels: of the model; one of them may be called as errors are.
    """
    if not isinstance(answer, Mapping) or any(
        answer.get(name) for name in (*PREDICTION_NAMES, *PROBABILITY_NAMES)
    ):
        return False
    if any(path and get_path(answer, path) is not None for path in paths) or any(
        map(is_list_of_plain, map(answer.get, ALSO_PREDICTIONS))
    ):
        return False
    if any(_reports_error(answer.get(name)) for name in ERROR_KEYS):
        others = {name: value for name, value in answer.items() if name not in ERROR_KEYS}
        return not any(
            isinstance(value, list) and value
            for _, value in values_called(others, (*PREDICTION_NAMES, *PROBABILITY_NAMES), in_rows=False)
        )
    status = answer.get("status", answer.get("success"))
    return status not in labels and (
        status is False or (isinstance(status, str) and status.lower() in ERROR_WORDS)
    )


def is_list_of_plain(value: Any) -> bool:
    """Return True if a value is a list of single values, with at least one."""
    return isinstance(value, list) and bool(value) and all(map(is_plain, value))


def _reports_error(value: Any) -> bool:
    """Return True for what is said of an error; numbers are how large it is, and a list has one for each row."""
    if isinstance(value, list):
        return any(map(_reports_error, value))
    return bool(value) and not is_number(value) and str(value).strip().lower() not in NO_ERROR


def values_called(value: Any, names: Sequence[str], *, in_rows: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of what is called by one of *names*, in objects, and in lists of them."""
    for path, content in objects_in(value, "", DEPTH):
        yield from ((join_path(path, name), content[name]) for name in names if name in content)
        for name, rows in content.items() if in_rows else ():
            if _can_be_path(name):
                yield from _called_in_rows(rows, join_path(path, name), names)
    if in_rows:
        yield from _called_in_rows(value, "", names)


def _called_in_rows(rows: Any, path: str, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in names if isinstance(rows, list) else ():
        if values := [row[name] for row in rows if isinstance(row, Mapping) and name in row]:
            yield join_path(path, f"*.{name}"), values


def objects_in(value: Any, path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every object of a response with its path, itself included, outer ones first."""
    if isinstance(value, Mapping):
        yield path, value
        for name, inner in value.items() if depth else ():
            if _can_be_path(name):
                yield from objects_in(inner, join_path(path, name), depth - 1)


def keyed_scores(value: Any) -> dict[str, Any] | None:
    """Return scores by the name of their class, from an object, or from a list of objects with a name and a score; None if it is neither."""
    if isinstance(value, Mapping):
        return dict(value) if value and all(map(is_number, value.values())) else None
    if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
        return None
    found: dict[str, Any] = {}
    for item in value:
        name = next(
            (
                item[key]
                for key in (*PREDICTION_NAMES, *ALSO_PREDICTIONS)
                if key in item and not isinstance(item[key], (list, dict))
            ),
            None,
        )
        score = next(
            (item[key] for key in (*PROBABILITY_NAMES, *ALSO_PROBABILITIES) if is_number(item.get(key))), None
        )
        if name is None or score is None or str(name) in found:
            return None
        found[str(name)] = score
    return found
