from __future__ import annotations

from typing import Any

import pytest

from tier0.contract.service_schema import path_prefixes


@pytest.mark.parametrize(
    ("routes", "prefixes"),
    [
        (["/predict"], []),
        (["/v1/predict"], ["/v1"]),
        (["/v1/"], ["/v1"]),
        (["/team/v1/predict", "/team/v1/explain"], ["/team", "/team/v1"]),
        (["/v1/predict", "/v1/models/all"], ["/v1"]),
        (["/v1/predict", "/predict"], []),
        (["predict", 7], []),
        ([], []),
    ],
)
def test_all_routes_are_below_the_prefixes(routes: list[Any], prefixes: list[str]) -> None:
    assert path_prefixes({"routes": [{"route": route} for route in routes]}) == prefixes


def test_the_routes_of_a_mounted_application_are_in_the_paths() -> None:
    schema = {"routes": [], "paths": {"/v1/predict": {"mounted": True}, "/v1/docs": {"mounted": True}}}

    assert path_prefixes(schema) == ["/v1"]


@pytest.mark.parametrize("schema", [None, [], {}, {"routes": None}, {"routes": [None, {"name": "x"}]}])
def test_what_is_not_a_schema_has_none(schema: Any) -> None:
    assert path_prefixes(schema) == []
