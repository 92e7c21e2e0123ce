"""The answer of one side to a batch: its values by row, its other values, and the types of its fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import sub
from typing import Any

from tier0.contract.answers import ABOUT_REQUESTS
from tier0.contract.contract import as_list, can_be_path, join_path
from tier0.contract.response import (
    ALSO_PREDICTIONS,
    ALSO_PROBABILITIES,
    are_without_fields,
    columns_in,
    is_number,
    is_plain,
    last_name,
)
from tier0.contract.service_schema import PREDICTION_NAMES, PROBABILITY_NAMES

ABOUT_MODELS = {
    "model", "tag", "version", "revision", "build", "commit", "sha", "run", "uuid", "trace", "node", "host",
    "worker", "pid", "server", "created", "generated", "cache", "cached",
}  # fmt: skip
"""Words in the names of fields that describe the model or the server instead of a row."""
MAX_FIELDS = 2000
MAX_DEPTH = 8
MAX_ITEMS = 100
"""Items of a list outside of the rows that are compared."""
ITEM = "*"


@dataclass(frozen=True)
class Answer:
    """What one side returned for a batch.

    Attributes:
        fields: values of which there is one per row, by path: plain values, or lists of numbers.
        about: plain values, and lists of them, that belong to the whole response, by path.
        types: types of the values at each path; every item of a list has the same path.
        seconds: time until the response was complete.
        status: HTTP status; 0 without a response.
        problem: why there is no prediction; empty if there is one.
        is_network: whether the network, and not the service, may be the reason.
        lengths: lengths of the lists that have another number of items than there are rows, by path.
    """

    fields: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, frozenset[str]] = field(default_factory=dict)
    seconds: float = 0.0
    status: int = 0
    problem: str = ""
    is_network: bool = False
    lengths: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_miscounted(self) -> bool:
        """Whether its problem is that it has values, but not one for each row."""
        return bool(self.problem and self.lengths)


def read_answer(body: Any, count: int, *, one_row: bool) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return the values per row of a response body, and the values that belong to the whole response.

    Args:
        body: body of the response.
        count: number of rows that were sent.
        one_row: whether the request takes one row only, so that everything in the response is about this row.
    """
    columns = {} if one_row else columns_in([body], count, one_row=False)
    if count == 1 and "" not in columns and not any(map(is_output, columns)):
        columns = columns_in([body], 1, one_row=True)
    fields = {path: list(values) for path, values in columns.items() if _are_comparable(values)}
    covered = tuple(columns)
    about = (
        {
            path: value
            for path, value in _others(body, "", MAX_DEPTH)
            if not any(path == place or path.startswith(f"{place}.") for place in covered if place)
        }
        if "" not in columns
        else {}
    )
    return fields, about


def _are_comparable(values: Sequence[Any]) -> bool:
    """Return whether all values are plain or lists of numbers, and not only containers of other paths."""
    if are_without_fields(values):
        return any(value is not None for value in values)
    return any(value is not None for value in values) and all(
        is_plain(value) or (isinstance(value, list) and all(map(is_number, value))) for value in values
    )


def _others(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in list(value.items())[:MAX_FIELDS] if depth else ():
            if can_be_path(name):
                yield from _others(inner, join_path(path, name), depth - 1)
    elif isinstance(value, list):
        if len(value) <= MAX_ITEMS and all(map(is_plain, value)):
            yield path, tuple(value)
    else:
        yield path, value


def lengths_in(body: Any) -> dict[str, int]:
    """Return the lengths of the lists in a response body that are not within other lists, by path."""
    return dict(islice(_lengths(body, "", MAX_DEPTH), MAX_FIELDS))


def _lengths(value: Any, path: str, depth: int) -> Iterator[tuple[str, int]]:
    rows = as_list(value)
    if isinstance(rows, list):
        yield path, len(rows)
    elif isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            if can_be_path(name):
                yield from _lengths(inner, join_path(path, name), depth - 1)


def types_in(body: Any) -> dict[str, frozenset[str]]:
    """Return the types of the values at each path of a response body."""
    found: dict[str, set[str]] = {}
    _note_types(body, "", MAX_DEPTH, found)
    return {path: frozenset(types) for path, types in found.items()}


def _note_types(value: Any, path: str, depth: int, found: dict[str, set[str]]) -> None:
    if path not in found and len(found) >= MAX_FIELDS:
        return
    found.setdefault(path, set()).add(type_name(value))
    if not depth:
        return
    items = as_list(value)
    if isinstance(items, list):
        inner_path = join_path(path, ITEM)
        if items and are_without_fields(items):
            found.setdefault(inner_path, set()).update(map(type_name, _of_each_type(items)))
            if isinstance(items[0], list) and depth > 1 and any(items):
                found.setdefault(join_path(inner_path, ITEM), set()).add("number")
            return
        for item in items:
            _note_types(item, inner_path, depth - 1, found)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if can_be_path(name):
                _note_types(inner, join_path(path, name), depth - 1, found)


def _of_each_type(items: Sequence[Any]) -> list[Any]:
    """Return one item of each Python type."""
    return list({type(item): item for item in items}.values())


def type_name(value: Any) -> str:
    """Return the JSON type of a value; whole numbers and others have the same."""
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), ((int, float), "number"), (str, "text"), (list, "list")):
        if isinstance(value, kind):
            return name
    return "object"


def is_prediction(path: str) -> bool:
    """Return whether a path has a usual name of predictions."""
    return last_name(path) in {*PREDICTION_NAMES, *ALSO_PREDICTIONS}


def is_score(path: str) -> bool:
    """Return whether a path has a usual name of probabilities or scores."""
    return last_name(path) in {*PROBABILITY_NAMES, *ALSO_PROBABILITIES}


def is_output(path: str) -> bool:
    """Return whether a path has a usual name of an output of a model."""
    return is_prediction(path) or is_score(path)


def is_about(path: str) -> bool:
    """Return whether a path names a fact about the request, the model or the server, and not about a row."""
    words = set(re.split(r"[^a-z]+", last_name(path)))
    return not is_output(path) and bool(words & (ABOUT_REQUESTS | ABOUT_MODELS))


def difference(old: Any, new: Any) -> float:
    """Return the largest difference between two outputs of a row; infinite if they are not both numbers."""
    if type(old) is float and type(new) is float and math.isfinite(old) and math.isfinite(new):
        return abs(old - new)
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return math.inf
        return max(map(difference, old, new), default=0.0)
    if _is_number(old) and _is_number(new):
        first, second = float(old), float(new)
        if first == second or (math.isnan(first) and math.isnan(second)):
            return 0.0
        gap = abs(first - second)
        return math.inf if math.isnan(gap) else gap
    return 0.0 if is_same_value(old, new) else math.inf


def differences(old: Sequence[Any], new: Sequence[Any]) -> list[float] | None:
    """Return the `difference` of each row, found in a fast way; None if not all numbers are finite floats."""
    if len(old) != len(new):
        return None
    types = {*map(type, old), *map(type, new)}
    if types == {float}:
        return list(map(abs, map(sub, old, new))) if math.isfinite(sum(old) + sum(new)) else None
    if types != {list} or {*map(type, chain(*old, *new))} != {float}:
        return None
    if list(map(len, old)) != list(map(len, new)) or not math.isfinite(sum(chain(*old, *new))):
        return None
    return [max(map(abs, map(sub, *pair)), default=0.0) for pair in zip(old, new, strict=True)]


def is_same_value(old: Any, new: Any) -> bool:
    """Return whether two values are equal; 1 and 1.0 are, and 1 and true are not."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_same_value, old, new))
    if isinstance(old, float) and isinstance(new, float) and math.isnan(old) and math.isnan(new):
        return True
    return type_name(old) == type_name(new) and bool(old == new)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that a float can hold."""
    return is_number(value)


def magnitude(value: Any) -> float:
    """Return the largest magnitude of the finite numbers in an output; 0 without any."""
    if type(value) is float:
        return abs(value) if math.isfinite(value) else 0.0
    if isinstance(value, list):
        if {*map(type, value)} == {float}:
            largest: float = max(map(abs, value))
            if math.isfinite(largest):
                return largest
        return max(map(magnitude, value), default=0.0)
    number = abs(float(value)) if _is_number(value) else 0.0
    return number if math.isfinite(number) else 0.0
