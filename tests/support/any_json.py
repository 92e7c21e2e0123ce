"""Any JSON value at any place of a document, made of the words that readers of documents look for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tier0.contract.contract import STYLES
from tier0.contract.description import KEYWORDS
from tier0.contract.response import ALSO_PREDICTIONS, ERROR_KEYS
from tier0.contract.service_schema import (
    FILES,
    INTERVAL_NAMES,
    PREDICTION_NAMES,
    PROBABILITY_NAMES,
    SCALARS,
)
from tier0.core.errors import Tier0Error

WORDS = sorted(
    {
        *KEYWORDS,
        *SCALARS,
        *FILES,
        *STYLES,
        *PREDICTION_NAMES,
        *PROBABILITY_NAMES,
        *INTERVAL_NAMES,
        *ALSO_PREDICTIONS,
        *ERROR_KEYS,
        *("array", "object", "tensor", "dataframe", "null", "binary", "list", "lower", "upper", "status"),
        *("route", "routes", "input", "output", "paths", "batchable", "/predict", "/v1/predict", "$ref"),
        *("a", "b", "", "*", "a.b", "0", "1" * 5000, "\ud800", "\x1b[31m", "no", "yes", "3.5", "nan"),
    }
)
NUMBERS = (
    st.sampled_from([0, 1, -1, 2, 0.5, 1.0, 1e308, 10**400, float("nan"), float("inf")])
    | st.integers()
    | st.floats()
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.sampled_from(WORDS) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
MANY = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document, and that of one more in each object."""
    yield path
    if isinstance(value, dict):
        yield (*path, "more")
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


@st.composite
def changed(draw: st.DrawFn, documents: list[Any]) -> Any:
    """Draw one of *documents* with any values at up to two places, or a key of it under another name."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 2))):
        *place, last = draw(st.sampled_from([path for path in places(document) if path] or [("x",)]))
        part = document
        for name in place:
            part = part[name]
        if isinstance(part, dict) and draw(st.booleans()):
            part[draw(st.sampled_from(WORDS))] = draw(VALUES)
        elif isinstance(part, (dict, list)):
            part[last] = draw(VALUES)
    return document


def outcome(call: Callable[[], Any], error: type[Tier0Error]) -> Any:
    """Return what *call* returns, or the error that it is allowed to raise."""
    try:
        return call()
    except error as problem:
        assert problem.exit_status == 2  # noqa: PT017 - the call need not raise
        return problem
