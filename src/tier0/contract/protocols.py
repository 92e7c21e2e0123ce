"""Protocols of model servers other than BentoML: how each is recognised, asked and read.

Recognising one takes a few GET requests, the most specific routes first:

- version 2 of the Open Inference Protocol (MLServer, Triton, KServe): ``/v2``; its models are listed by
  ``POST /v2/repository/index``, which changes nothing, or by ``GET /v2/models``
- MLflow's scoring server: ``/version`` and ``/ping``
- version 1 of KServe's protocol, as TensorFlow Serving has it: ``/v1/models``
- OpenAPI (FastAPI and others): ``/openapi.json``, or another usual place
- containers for SageMaker: ``/ping``, if nothing else is known
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

from tier0.contract.contract import Contract, ContractError, how_to_declare
from tier0.contract.description import Schema
from tier0.contract.openapi import (
    OTHER_PLACES,
    PAGE,
    PLACE,
    as_schema,
    health_routes,
    is_openapi,
    place_in,
    seen_from,
)
from tier0.contract.service_schema import (
    Described,
    Form,
    describe,
    listed_names,
    parts_by_name,
    spelled_names,
    why_columns_differ,
)
from tier0.contract.tensors import DATATYPES, DEFAULT_NAME
from tier0.core.address import problem_of
from tier0.core.outputs import PARTS
from tier0.core.protocols import PROTOCOLS

VERSION = re.compile(r"\d+\.\d+[\w.+-]*")
MODEL_IN_PATH = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?(/infer)?$|/v1/models/[^/:]+(:predict)?$")
V2_MODELS = "/v2/models/"
NO_PARTS = dict.fromkeys(PARTS)
OK = 200


class Page(NamedTuple):
    """A response to a request for a description.

    Attributes:
        status: status code; 0 if there was no response.
        content: its JSON, or its text if it is not JSON.
    """

    status: int
    content: Any

    @property
    def document(self) -> Mapping[str, Any] | None:
        """The JSON object of a successful response; None for any other."""
        return self.content if self.status == OK and isinstance(self.content, Mapping) else None


Fetch = Callable[[str, str], Awaitable[Page]]
"""Sends a request of a method to a route, with an empty JSON object if it is POST, and returns the page."""


class Server(NamedTuple):
    """A server whose protocol is to be found, and what is known about it.

    Attributes:
        fetch: requests a page below the URL.
        declared: declared part of the contract.
        columns: the model's columns; empty if they are not known.
        model: name of the model; empty if it is not known.
        path: path of the server's URL; empty for none.
        fetch_from_host: as *fetch*, without the path of the URL.
    """

    fetch: Fetch
    declared: Mapping[str, Any]
    columns: Sequence[str] = ()
    model: str = ""
    path: str = ""
    fetch_from_host: Fetch | None = None


async def find_protocol(server: Server, wanted: str | None = None) -> Described | None:
    """Return how a service that is not BentoML's is asked; None if it has no protocol that is known.

    Args:
        server: the server, and what is known about it.
        wanted: the only protocol to look for; None for all of them.

    Raises:
        ContractError: a protocol was found, but not how predictions are requested; or *wanted* was not found.
    """
    unusable: Described | None = None
    for name, find in _FINDERS.items():
        if wanted in {None, name} and (found := await find(server)) is not None:
            if found.is_unusable:  # its server may also have another protocol
                unusable = found
                continue
            found = _as_declared(found, server.declared)
            return found._replace(contract=replace(found.contract, protocol=name))
    if unusable is not None:
        return unusable
    if wanted is not None:
        raise ContractError(
            f"no sign of the protocol {wanted!r} was found ({_SIGNS[wanted]}). Correct --protocol or the "
            f"contract's protocol (one of {', '.join(PROTOCOLS)}), or leave it out"
        )
    return None


def split_route(path: str) -> tuple[str, str | None]:
    """Return the path of a server and the route, of the path of a URL that ends with a route.

    A model of the protocols V1 and V2 stands for the route of its predictions, and ``/v2`` for none.
    """
    if named := MODEL_IN_PATH.search(path):
        place, model = path[: named.start()], named.group()
        ending = "/infer" if model.startswith("/v2") else ":predict"
        return place, model if model.endswith(ending) else model + ending
    if path.endswith("/v2"):
        return path.removesuffix("/v2"), None
    place, _, last = path.rpartition("/")
    return place, f"/{last}"


def _as_declared(found: Described, declared: Mapping[str, Any]) -> Described:
    """Return a description that follows what is declared."""
    features, style = declared.get("features"), declared.get("style")
    forms = tuple(
        form for form in found.forms if features in {None, form.features} and style in {None, form.style}
    )
    if not forms:
        first = found.forms[0]
        forms = (Form(first.features if features is None else features, style or first.style),)
    first = forms[0]
    if declared.keys() & NO_PARTS.keys():  # which declares the others to be absent
        found = found._replace(contract=found.contract.with_paths(NO_PARTS))
    stated = {"features": first.features, "style": first.style, **first.others, **declared}
    return found._replace(forms=forms, contract=replace(found.contract, **stated))


async def _find_v2(server: Server) -> Described | None:
    described = (await server.fetch("GET", "/v2")).document
    is_v2 = described is not None and bool({"name", "version"} & described.keys())
    declared = server.declared.get("route", "")
    if not is_v2 and not declared.startswith(V2_MODELS):
        return None
    route, metadata = await _model_of_v2(server)
    if not is_v2 and "inputs" not in metadata:
        return None
    inputs = [part for part in metadata.get("inputs") or [] if isinstance(part, Mapping)]
    place = route.removesuffix("/infer")
    health = {"health": "/v2/health/ready", "ready": f"{place}/ready", "live": "/v2/health/live"}
    contract = _contract(route, "inputs", health, names=_spelled(inputs, server.columns))
    outputs = [str(part.get("name")) for part in metadata.get("outputs") or [] if isinstance(part, Mapping)]
    paths = parts_by_name("outputs.", outputs)
    if len(outputs) == 1:
        paths = {**NO_PARTS, "predictions": f"outputs.{outputs[0]}"}
    forms = _tensor_forms(inputs, server.columns)
    tensors: Schema = {"properties": {str(part.get("name")): {} for part in inputs}}
    if inputs and forms[0].style == "tensors":
        names = {**contract.names, **(server.declared.get("names") or {})}
        why_not = why_columns_differ(
            route, tensors["properties"], [str(names.get(column, column)) for column in server.columns]
        )
        contract = replace(contract, why_not_asked=why_not)
    return Described(forms, contract.with_paths(paths), {}, {"properties": {"inputs": tensors}}, {})


async def _model_of_v2(server: Server) -> tuple[str, Mapping[str, Any]]:
    """Return the route of a model's predictions, and its metadata; empty if there are none.

    The route is the declared one, or that of the only model, in its only version if it has to be named.
    """
    if declared := server.declared.get("route"):
        return declared, (await server.fetch("GET", declared.removesuffix("/infer"))).document or {}
    listed = await _models_of_v2(server)
    names = list(dict.fromkeys(name for name, _ in listed))
    chosen = _chosen_model(server.model, names)
    if not chosen:
        example = quote(names[0] if names else "name", safe="")
        known = f"its models are {listed_names(names)}" if names else "it does not list its models"
        raise ContractError(
            f"it is not clear which model of this server to ask: {known}. "
            + how_to_declare({"protocol": "v2", "route": f"{V2_MODELS}{example}/infer"})
        )
    place = f"{V2_MODELS}{quote(chosen, safe='')}"
    metadata = (await server.fetch("GET", place)).document
    versions = [version for name, version in listed if name == chosen and version]
    if metadata is None and len(versions) == 1:
        in_version = f"{place}/versions/{quote(versions[0], safe='')}"
        if (metadata := (await server.fetch("GET", in_version)).document) is not None:
            place = in_version
    return f"{place}/infer", metadata or {}


async def _models_of_v2(server: Server) -> list[tuple[str, str]]:
    """Return the names and versions of the models that are ready; versions are empty where none is listed."""
    listed = (await server.fetch("POST", "/v2/repository/index")).content
    if not isinstance(listed, list):  # KServe lists names only, elsewhere
        page = (await server.fetch("GET", V2_MODELS.rstrip("/"))).document or {}
        names = page.get("models")
        listed = [{"name": name} for name in names] if isinstance(names, list) else []
    return [
        (str(part["name"]), str(part.get("version") or ""))
        for part in listed
        if isinstance(part, Mapping) and part.get("name") and part.get("state", "READY") in {"READY", ""}
    ]


def _chosen_model(wanted: str, names: Sequence[str]) -> str:
    """Return the name of the model to ask: the wanted one, or the only one; empty if that is not clear."""
    if wanted in names or not names:
        return wanted
    return names[0] if len(names) == 1 else ""


def _tensor_forms(inputs: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> tuple[Form, ...]:
    """Return the forms in which rows are sent: by the model's metadata, or else the usual ones."""
    named = {str(part.get("name")): _datatype(part) for part in inputs}
    stated = {
        "datatypes": {name: datatype for name, datatype in named.items() if datatype is not None},
        "flat_tensors": tuple(str(part.get("name")) for part in inputs if _is_flat(part)),
    }
    matrix = Form("inputs", "tensor")
    by_column = Form("inputs", "tensors", others=stated)
    as_frame = Form("inputs", "tensors", others={**stated, "fields": {"parameters": {"content_type": "pd"}}})
    if len(inputs) == 1 and not _is_one_column(inputs, columns):
        return (matrix._replace(others={"tensor": next(iter(named)), **stated}),)
    if len(inputs) > 1 or _is_one_column(inputs, columns):
        return (by_column, as_frame)
    return (matrix._replace(others={"tensor": DEFAULT_NAME}), as_frame, by_column)


def _is_flat(part: Mapping[str, Any]) -> bool:
    shape = part.get("shape")
    return isinstance(shape, list) and len(shape) == 1


def _is_one_column(inputs: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bool:
    return len(columns) == 1 and len(inputs) == 1 and inputs[0].get("name") == columns[0]


def _datatype(part: Mapping[str, Any]) -> str | None:
    datatype = part.get("datatype")
    return datatype if datatype in DATATYPES else None


def _spelled(inputs: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, str]:
    """Return the service's names of columns that differ in case or punctuation."""
    spelled = spelled_names(columns, [str(part.get("name")) for part in inputs]) or {}
    return {column: name for column, name in spelled.items() if column != name}


async def _find_mlflow(server: Server) -> Described | None:
    version = await server.fetch("GET", "/version")
    is_version = VERSION.fullmatch(str(version.content).strip()) is not None
    if version.status != OK or not is_version or (await server.fetch("GET", "/ping")).status != OK:
        return None
    route = server.declared.get("route", "/invocations")
    contract = replace(_contract(route, "", _PING), predictions="predictions")
    return Described(_invocation_forms(), contract, {}, {}, {})


def _invocation_forms() -> tuple[Form, ...]:
    """Return the bodies that MLflow's scoring server takes, which depend on the signature of the model."""
    return (
        Form(
            "dataframe_split.data",
            "rows",
            others={"columns": "dataframe_split.columns", "may_ignore_names": True},
        ),
        Form("dataframe_records", "records"),
        Form("inputs", "rows"),
        Form("inputs", "columns"),
        Form("instances", "rows"),
    )


async def _find_v1(server: Server) -> Described | None:
    model, page = server.model, (await server.fetch("GET", "/v1/models")).document
    listed = page.get("models") if page is not None else None
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    route = server.declared.get("route")
    if page is None and model:  # TensorFlow Serving lists no models
        status = (await server.fetch("GET", f"/v1/models/{quote(model, safe='')}")).document
        names = [model] if status is not None and "model_version_status" in status else []
    if not names:
        return None
    if route is None:
        chosen = _chosen_model(model, names)
        if not chosen:
            raise ContractError(
                f"it is not clear which model of this server to ask: its models are {listed_names(names)}. "
                + how_to_declare({"protocol": "v1", "route": f"/v1/models/{names[0]}:predict"})
            )
        route = f"/v1/models/{quote(chosen, safe='')}:predict"
    forms = (Form("instances", "rows"), Form("instances", "records"))
    health = {"health": route.removesuffix(":predict")}
    contract = replace(_contract(route, "instances", health), predictions="predictions")
    return Described(forms, contract, {}, {}, {})


async def _find_openapi(server: Server) -> Described | None:
    """Return the first description in OpenAPI with a route to which rows can be sent, or else the first."""
    unusable: Described | None = None
    async for document in _openapi_documents(server):
        described = describe(as_schema(document), server.declared, server.columns)
        if described is None:
            continue
        routes: dict[str, Any] = {"ready": None, "live": None, **health_routes(document)}
        described = described._replace(contract=replace(described.contract, is_bentoml=False, **routes))
        if not described.is_unusable:
            return described
        unusable = unusable or described
    return unusable


async def _openapi_documents(server: Server) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the descriptions in OpenAPI at the usual places, with paths below the URL of the server."""
    async for place, document in _described_at(server.fetch, OTHER_PLACES, server.path):
        yield seen_from(document, server.path, server.path + place)
    if not server.path or server.fetch_from_host is None:
        return
    async for place, document in _described_at(server.fetch_from_host):
        paths = document["paths"].items()
        below = {path: part for path, part in paths if path.startswith(f"{server.path}/")}
        yield seen_from({**document, "paths": below}, server.path, place)


async def _described_at(
    fetch: Fetch, others: Sequence[str] = (), base: str = ""
) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Yield descriptions with their places: the usual one, the one that the documentation names, others."""

    async def read(place: str) -> Mapping[str, Any] | None:
        document = (await fetch("GET", place)).document
        return document if is_openapi(document) else None

    if (document := await read(PLACE)) is not None:
        yield PLACE, document
    named = (place_in((await fetch("GET", PAGE)).content) or PLACE).removeprefix(base)
    for place in dict.fromkeys((named, *others)):
        if place != PLACE and not problem_of(place) and (document := await read(place)) is not None:
            yield place, document


async def _find_sagemaker(server: Server) -> Described | None:
    if (await server.fetch("GET", "/ping")).status != OK:
        return None
    forms = (
        Form("instances", "rows"),
        Form("", "rows"),
        Form("", "records"),
        *_invocation_forms()[:3],
        Form("", "csv"),
    )
    route = server.declared.get("route", "/invocations")
    return Described(forms, _contract(route, "instances", _PING), {}, {}, {})


_PING = {"health": "/ping", "ready": "/ping"}
_FINDERS: Mapping[str, Callable[[Server], Awaitable[Described | None]]] = {
    "v2": _find_v2,
    "mlflow": _find_mlflow,
    "v1": _find_v1,
    "openapi": _find_openapi,
    "sagemaker": _find_sagemaker,
}
_SIGNS = {
    "v2": "GET /v2",
    "mlflow": "GET /version, GET /ping",
    "v1": "GET /v1/models",
    "openapi": "GET /openapi.json",
    "sagemaker": "GET /ping",
}


def _contract(
    route: str, features: str, health: Mapping[str, str], names: Mapping[str, str] | None = None
) -> Contract:
    stated: dict[str, Any] = {"route": route, "features": features, **NO_PARTS, **health}
    return Contract(**stated, columns=None, model_tag=None, optional=(), names=names or {}, is_bentoml=False)
