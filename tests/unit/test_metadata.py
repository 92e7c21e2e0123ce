"""Metadata can be everything that JSON can represent, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.core.errors import RegistrationError
from tier0.serving.metadata import as_json_types, without_none

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_all_of_json_is_kept(metadata: dict[str, Any]) -> None:
    metadata.pop("feature_names", None)

    assert as_json_types(metadata) == metadata


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_values_with_none_are_json_text_for_bentoml(metadata: dict[str, Any]) -> None:
    written = without_none(metadata)

    for name, value in metadata.items():
        assert written[name] == value or json.loads(written[name]) == value
    assert None not in written.values()


def test_tuples_are_lists() -> None:
    assert as_json_types({"a": (1, (2, None))}) == {"a": [1, [2, None]]}


CYCLE: dict[str, Any] = {}
CYCLE["a"] = [CYCLE]


@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        ({"a": {"b": [1, {2}]}}, r"metadata\['a'\]\['b'\]\[1\]"),
        ({"a": np.int64(1)}, r"metadata\['a'\]"),
        ({"a": float("nan")}, r"metadata\['a'\]"),
        ({"a": 2**64}, r"metadata\['a'\]"),
        ({"a": "\ud800"}, r"metadata\['a'\]"),
        ({"a": b"x"}, r"metadata\['a'\]"),
        ({"a": {1: 2}}, r"metadata\['a'\] has the key 1"),
        ({None: 2}, "metadata has the key None"),
        (CYCLE, "contains itself"),
        ([1], "must be a dict"),
        ({"feature_names": "abc"}, "feature_names"),
    ],
)
def test_other_values_are_refused_by_name(metadata: Any, where: str) -> None:
    with pytest.raises(RegistrationError, match=where):
        as_json_types(metadata)
