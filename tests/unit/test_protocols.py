"""Protocols by their signs, tensors as JSON, and descriptions in OpenAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.any_json import MANY, VALUES
from tier0.contract.contract import Contract, ContractError, check_declared
from tier0.contract.openapi import as_schema, health_routes, is_openapi
from tier0.contract.protocols import Page, Server, find_protocol
from tier0.contract.service_schema import Described
from tier0.contract.tensors import without_tensors

COLUMNS = ("age", "income")
V2: dict[str, Any] = {
    "/v2": {"name": "triton", "version": "2.50.0", "extensions": []},
    "/v2/models/churn": {
        "name": "churn",
        "inputs": [
            {"name": "AGE", "datatype": "INT64", "shape": [-1, 1]},
            {"name": "income", "datatype": "FP32", "shape": [-1, 1]},
        ],
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
    },
    "/v2/repository/index": [{"name": "churn", "state": "READY"}, {"name": "old", "state": "UNAVAILABLE"}],
}


def found(pages: Mapping[str, Any], wanted: str | None = None, model: str = "") -> Described | None:
    """Search a server that answers 404 for all but *pages*."""

    async def fetch(method: str, route: str) -> Page:
        return Page(200, pages[route]) if route in pages else Page(404, {"detail": "Not Found"})

    return asyncio.run(find_protocol(Server(fetch, {}, COLUMNS, model), wanted))


def contract_of(pages: Mapping[str, Any], model: str = "") -> Contract:
    described = found(pages, model=model)
    assert described is not None
    return described.contract


def test_v2_is_asked_by_the_metadata_of_its_only_ready_model() -> None:
    contract = contract_of(V2)

    assert contract.route == "/v2/models/churn/infer"
    assert contract.predictions == "outputs.label"
    assert contract.ready == "/v2/models/churn/ready"
    assert contract.body(COLUMNS, [[40, 1.5], [50, 2.5]]) == {
        "inputs": [
            {"name": "AGE", "shape": [2, 1], "datatype": "INT64", "data": [40, 50]},
            {"name": "income", "shape": [2, 1], "datatype": "FP32", "data": [1.5, 2.5]},
        ]
    }


def test_one_input_of_v2_takes_all_columns() -> None:
    metadata = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "outputs": []}
    contract = contract_of({**V2, "/v2/models/churn": metadata})

    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [40, 1.5]}
    assert contract.body(COLUMNS, [[40, 1.5]]) == {"inputs": [tensor]}


@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
@pytest.mark.parametrize("names", [("AGE", "income"), ("texts",)])
def test_a_tensor_has_as_many_dimensions_as_the_metadata_state(
    names: tuple[str, ...], shape: list[int]
) -> None:
    inputs = [{"name": name, "datatype": "BYTES", "shape": shape} for name in names]
    contract = contract_of({**V2, "/v2/models/churn": {"inputs": inputs, "outputs": []}})

    body = contract.body(COLUMNS[: len(names)], [["a"] * len(names), ["b"] * len(names)])

    assert [(tensor["name"], tensor["shape"]) for tensor in body["inputs"]] == [
        (name, [2, *shape[1:]]) for name in names
    ]


def test_the_model_of_the_golden_rows_is_chosen_among_several() -> None:
    pages = {**V2, "/v2/repository/index": [{"name": "churn"}, {"name": "price"}]}

    assert contract_of(pages, model="price").route == "/v2/models/price/infer"
    with pytest.raises(ContractError, match="which model of this server to ask: its models are churn, price"):
        found(pages)


@pytest.mark.parametrize(
    ("pages", "route", "health"),
    [
        ({"/version": "3.17.2", "/ping": "\n"}, "/invocations", "/ping"),
        ({"/v1/models": {"models": ["a/b"]}}, "/v1/models/a%2Fb:predict", "/v1/models/a%2Fb"),
        ({"/ping": ""}, "/invocations", "/ping"),
    ],
)
def test_the_other_protocols_have_a_route_each(pages: Mapping[str, Any], route: str, health: str) -> None:
    contract = contract_of(pages)

    assert (contract.route, contract.health, contract.is_bentoml) == (route, health, False)


def test_tensorflow_serving_is_found_by_the_name_of_the_model() -> None:
    pages = {"/v1/models/churn": {"model_version_status": [{"state": "AVAILABLE"}]}}

    assert contract_of(pages, model="churn").route == "/v1/models/churn:predict"
    assert found(pages) is None


@pytest.mark.parametrize(
    "pages",
    [
        {},
        {"/v2": "Welcome"},
        {"/v2": ["name"]},
        {"/version": "<html>3.1</html>", "/health": "ok"},
        {"/version": {"version": "1.0"}},
        {"/v1/models": {"data": [{"id": "gpt"}]}},
        {"/openapi.json": {"swagger": "2.0", "paths": {}}},
    ],
)
def test_other_servers_have_no_protocol(pages: Mapping[str, Any]) -> None:
    assert found(pages) is None


def test_a_server_that_answers_every_path_alike_has_no_protocol() -> None:
    async def fetch(_: str, __: str) -> Page:
        return Page(405, {"predictions": [1]})

    assert asyncio.run(find_protocol(Server(fetch, {}, COLUMNS))) is None


def test_a_named_protocol_without_its_sign_is_an_error() -> None:
    with pytest.raises(ContractError, match=r"no sign of the protocol 'mlflow' was found \(GET /version"):
        found(V2, "mlflow")


def test_at_most_a_few_requests_are_sent() -> None:
    asked: list[str] = []

    async def fetch(method: str, route: str) -> Page:
        asked.append(f"{method} {route}")
        return Page(404, None)

    asyncio.run(find_protocol(Server(fetch, {}, COLUMNS, "churn")))

    assert len(asked) <= 12
    assert all(request.startswith("GET ") for request in asked)


def openapi(schema: Any, components: Any = None, path: str = "/score") -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}}
    return {
        "openapi": "3.1.0",
        "paths": {path: {"post": {"requestBody": content, "responses": {"200": content}}}},
        "components": {"schemas": components or {}},
    }


def test_references_in_openapi_are_resolved() -> None:
    row = {"type": "object", "properties": {"age": {"type": "number"}, "income": {"type": "number"}}}
    rows = {"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/Row"}], "title": "Row"}}
    document = openapi({"type": "object", "properties": {"rows": rows}}, {"Row": row})

    contract = contract_of({"/openapi.json": document})

    assert (contract.route, contract.features, contract.style) == ("/score", "rows", "records")


def test_a_schema_that_contains_itself_is_read_to_a_depth() -> None:
    node = {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Node"}}}
    schema = as_schema(openapi({"$ref": "#/components/schemas/Node"}, {"Node": node}))

    assert schema["routes"][0]["route"] == "/score"


def test_no_request_is_made_to_a_route_with_an_open_placeholder() -> None:
    contract = contract_of({"/openapi.json": openapi({"type": "object"}, path="/models/{name}")})

    assert "needs a value in its path: name" in contract.why_not_asked


def test_health_routes_have_usual_names() -> None:
    paths: dict[str, Any] = {path: {"get": {}} for path in ("/api/healthz", "/api/ready", "/items")}

    assert health_routes({"paths": paths}) == {"health": "/api/healthz", "ready": "/api/ready"}


@MANY
@given(VALUES)
def test_any_description_is_read_without_a_traceback(document: Any) -> None:
    if is_openapi(document):
        as_schema(document)
    pages = {"/openapi.json": document, "/v2": document, "/v1/models": document, "/version": document}
    with suppress(ContractError):
        found(pages)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=5)


@given(ROWS)
def test_rows_survive_the_way_through_a_tensor(rows: list[list[float]]) -> None:
    body = Contract(features="inputs", style="tensor").body(COLUMNS, rows)

    assert without_tensors({"outputs": body["inputs"]})["outputs"] == {"input-0": rows}


@given(st.lists(st.sampled_from([1, 2.5, True, None, "a"]), min_size=1))
def test_a_datatype_has_all_values_of_its_column(values: list[Any]) -> None:
    body = Contract(features="inputs", style="tensors").body(["x"], [[value] for value in values])
    (tensor,) = body["inputs"]

    kinds = {type(value) for value in values if value is not None}
    assert (tensor["datatype"] == "BYTES") == (str in kinds)
    assert tensor["datatype"] != "INT64" or kinds == {int}


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        {"label": [1]},
        [{"name": "a", "shape": [2], "data": [1, 2]}, {"name": "a", "shape": [2], "data": [3, 4]}],
        [{"name": "a", "shape": ["2"], "data": [1, 2]}],
        [{"label": 1}],
    ],
)
def test_what_is_no_list_of_tensors_is_unchanged(outputs: Any) -> None:
    assert without_tensors({"outputs": outputs}) == {"outputs": outputs}


def test_values_that_do_not_have_the_shape_are_kept_as_they_are() -> None:
    tensor = {"name": "a", "shape": [2, 2], "datatype": "FP64", "data": [1.0, 2.0, 3.0]}

    assert without_tensors({"outputs": [tensor]})["outputs"] == {"a": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"protocol": "grpc"}, "invalid protocol = 'grpc'"),
        ({"datatypes": {"age": "float"}}, "expected a table of tensors with their datatypes"),
    ],
)
def test_what_is_declared_is_validated(declared: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(ContractError, match=problem):
        check_declared(declared)
