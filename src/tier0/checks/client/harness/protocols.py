"""Protocols of model servers, as the servers of the checks speak them to a client.

A server of a protocol describes itself, reports errors and its health in the words of that protocol, and the
client's requests are compared with what a real server of that protocol accepts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tier0.checks.client.harness.call import excerpt
from tier0.contract.delimited import CONTENT_TYPE as CSV
from tier0.contract.delimited import write_rows
from tier0.contract.tensors import DATATYPES, without_tensors
from tier0.core.protocols import PATHS_OF_MODELS
from tier0.faults import Arrival, FaultServer, Reply
from tier0.faults.server import Script

MODEL = "m"
MAX_SENT = 60
"""Maximum number of characters of what the client sent, in a message."""
FIRST_ERROR = 400
OK = 200
JSON_LENGTH = "inference-header-content-length"
"""Header with the length of the JSON in a request whose tensors follow as bytes (the binary extension)."""
MLFLOW_FIELDS = (
    "dataframe_split", "dataframe_records", "instances", "inputs", "messages", "input", "prompt",
)  # fmt: skip
V1_FIELDS = ("instances", "inputs", "examples")
Words = Callable[[str, int], Any]


class Wire(NamedTuple):
    """What a protocol has beyond its predictions.

    Attributes:
        descriptions: responses to requests for a description of the service, by pattern of the path.
        health: returns the body of a health check's response, given its path and its status.
        error: returns the body of an error, given its message and its status.
        problem: returns why a real server would refuse a request for predictions; empty if it would not.
        no_predictions: responses with status 200 that contain no prediction, by what they are.
    """

    descriptions: Mapping[str, Any]
    health: Words
    error: Words
    problem: Callable[[Arrival], str]
    no_predictions: Mapping[str, Any] = {}


class ProtocolServer(FaultServer):
    """A fault server that speaks the protocol of a model server.

    Args:
        script: as for the fault server.
        wire: the protocol.
        setup: responses to requests that the client sends while it is created, which come before those of
            the protocol.
    """

    def __init__(
        self, script: Reply | Sequence[Reply] | Script, wire: Wire, setup: Mapping[str, Reply]
    ) -> None:
        self.wire = wire
        self.is_created = False
        super().__init__(script, setup=setup)

    def client_is_created(self) -> None:
        """Respond by the script to all requests from now on, except those for a description."""
        super().client_is_created()
        self.is_created = True

    def prepared(self, method: str, path: str) -> Reply | None:
        """Return a response that is not logged: a description, or what a client reads while it is created."""
        if (fixed := super().prepared(method, path)) is not None:
            return fixed
        path = urlsplit(path).path
        for pattern, body in self.wire.descriptions.items():
            if re.search(f"{pattern}$", path):
                return Reply(body=body)
        if self.is_created or method != "GET":
            return None
        if is_health(path):
            return Reply(body=self.wire.health(path, OK))
        return Reply(404, self.wire.error("Not Found", 404))

    def expressed(self, arrival: Arrival, reply: Reply) -> Reply:
        """Return a response of the script in the words of the protocol."""
        if reply.raw is not None or isinstance(reply.body, bytes):
            return reply
        is_state = isinstance(reply.body, Mapping) and (not reply.body or "status" in reply.body)
        if arrival.method in {"GET", "HEAD"} and is_state:
            return replace(reply, body=self.wire.health(arrival.path, reply.status))
        if reply.status >= FIRST_ERROR:
            message = reply.body.get("error") if isinstance(reply.body, Mapping) else None
            return replace(reply, body=self.wire.error(str(message or "unavailable"), reply.status))
        return _as_csv(reply) if reply.status == OK and _wants_csv(arrival) else reply


def problem_of_request(protocol: str | None, request: Arrival) -> str:
    """Return why a server would refuse a request for predictions; empty if it would not.

    Args:
        protocol: name of the protocol; None if any JSON is accepted.
        request: the request.
    """
    return (_problem_of_json if protocol is None else WIRES[protocol].problem)(request)


def no_predictions_of(protocol: str | None) -> dict[str, bytes]:
    """Return the responses of a protocol that contain no prediction, by their description."""
    stated = {} if protocol is None else WIRES[protocol].no_predictions
    return {what: json.dumps(body).encode() for what, body in stated.items()}


def rows_in(data: Any) -> list[Any] | None:
    """Return the rows in an argument of ``predict``: itself, or a body of a protocol; None for others."""
    if isinstance(data, Mapping):
        split = data.get("dataframe_split")
        places = [data.get(name) for name in ("instances", "inputs", "dataframe_records")]
        places.append(split.get("data") if isinstance(split, Mapping) else None)
        tensors = without_tensors({"outputs": data.get("inputs")})["outputs"]
        places.insert(
            0, next(iter(tensors.values())) if isinstance(tensors, Mapping) and len(tensors) == 1 else None
        )
    else:
        places = [data]
    return next((place for place in places if _are_rows(place)), None)


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(row, (list, Mapping)) for row in value)


def joined_tensors(answers: Sequence[Any]) -> dict[str, Any] | None:
    """Return a response of version 2 with the rows of several, one after the other; None for other responses.

    The responses differ in nothing but the numbers of their tensors.
    """
    first = answers[0]
    if without_tensors(first) is first:
        return None
    outputs = []
    for tensors in zip(*(answer["outputs"] for answer in answers), strict=True):
        rows, *others = tensors[0]["shape"]
        data = [value for tensor in tensors for value in tensor["data"]]
        outputs.append({**tensors[0], "shape": [rows * len(answers), *others], "data": data})
    return {**first, "outputs": outputs}


def is_health(path: str) -> bool:
    """Return whether a path is that of a health check in one of the protocols."""
    return re.search(r"/(ping|ready|live|health|\w+z|v1/models/[^/]+)$", path) is not None


def without_body(request: Arrival) -> str:
    """Return what a request without a body is, and what is expected instead of it."""
    return f"the client sent {request.method} with an empty body (expected POST with a JSON body)"


def _problem_of_json(request: Arrival) -> str:
    if not request.body:
        return without_body(request)
    try:
        json.loads(request.body)
    except ValueError:
        return f"the request body is not valid JSON: {_shown(request.body)}"
    content_type = request.headers.get("content-type", "")
    if request.method != "POST" or not content_type.startswith("application/json"):
        return (
            f"the client sent {request.method} with Content-Type {content_type or 'missing'} "
            "(expected POST with application/json)"
        )
    return ""


def _shown(value: Any) -> str:
    """Return a part of what the client sent, without secrets."""
    return excerpt(value if isinstance(value, str) else repr(value), MAX_SENT)


def _problem_of_path(request: Arrival, pattern: str, example: str) -> str:
    path = urlsplit(request.path).path
    if request.method != "POST" or re.search(pattern, path) is None:
        return f"the client sent {request.method} {_shown(request.path)} (expected POST {example})"
    return ""


def _problem_of_v2(request: Arrival) -> str:
    if problem := _problem_of_path(request, PATHS_OF_MODELS["v2"], f"/v2/models/{MODEL}/infer"):
        return problem
    length = request.headers.get(JSON_LENGTH, "")
    is_binary = length.isdecimal()
    if not is_binary and (problem := _problem_of_json(request)):
        return problem
    try:
        body = json.loads(request.body[: int(length)] if is_binary else request.body)
    except ValueError:
        return f"the first {length} bytes of the request body ({JSON_LENGTH}) are not valid JSON"
    tensors = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(tensors, list) or not tensors:
        return "the request has no inputs, which is a list of tensors"
    return next((problem for tensor in tensors if (problem := _problem_of_tensor(tensor))), "")


def _problem_of_tensor(tensor: Any) -> str:
    lacking = [
        name for name in ("name", "shape", "datatype") if not isinstance(tensor, dict) or name not in tensor
    ]
    if lacking:
        return f"a tensor in inputs has no {' and no '.join(lacking)}"
    name, shape, datatype = _shown(tensor["name"]), tensor["shape"], tensor["datatype"]
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        return (
            f"the tensor {name} has the datatype {_shown(repr(datatype))} "
            f"(expected one of {', '.join(DATATYPES)})"
        )
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        return f"the tensor {name} has the shape {_shown(shape)} (expected a list of whole numbers)"
    if "data" not in tensor:
        parameters = tensor.get("parameters")
        is_elsewhere = isinstance(parameters, dict) and any(
            "binary" in key or "memory" in key for key in parameters
        )
        return "" if is_elsewhere else f"the tensor {name} has no data"
    values = sum(1 for _ in _leaves(tensor["data"]))
    if values != math.prod(shape):
        return f"the tensor {name} has {values} values, but the shape {_shown(shape)}"
    return ""


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _problem_of_mlflow(request: Arrival) -> str:
    if problem := _problem_of_path(request, r"/invocations$", "/invocations"):
        return problem
    if _is_csv(request):
        return ""
    if problem := _problem_of_json(request):
        return problem
    return _problem_of_fields(json.loads(request.body), MLFLOW_FIELDS)


def _problem_of_v1(request: Arrival) -> str:
    example = f"/v1/models/{MODEL}:predict"
    if problem := _problem_of_path(request, PATHS_OF_MODELS["v1"], example) or _problem_of_json(request):
        return problem
    return _problem_of_fields(json.loads(request.body), V1_FIELDS)


def _problem_of_fields(body: Any, fields: Sequence[str]) -> str:
    if not isinstance(body, dict) or not body.keys() & set(fields):
        shown = _shown(json.dumps(body).encode())
        return f"the request body has none of the fields {', '.join(fields)}: {shown}"
    return ""


def _problem_of_sagemaker(request: Arrival) -> str:
    if problem := _problem_of_path(request, r"/invocations$", "/invocations"):
        return problem
    is_json = request.headers.get("content-type", "").startswith("application/json")
    return _problem_of_json(request) if is_json else "" if request.body else "the request has no body"


def _is_csv(request: Arrival) -> bool:
    return request.headers.get("content-type", "").startswith(CSV)


def _wants_csv(request: Arrival) -> bool:
    """Return whether the response has to be CSV: by Accept, or as the request if that accepts anything."""
    accepted = request.headers.get("accept", "*/*")
    return accepted.startswith(CSV) or (accepted.startswith("*/*") and _is_csv(request))


def _as_csv(reply: Reply) -> Reply:
    """Return predictions as lines of CSV; a body that is cut off stays incomplete."""
    predictions = reply.body.get("predictions") if isinstance(reply.body, Mapping) else reply.body
    if not isinstance(predictions, list):
        return reply
    rows = [row if isinstance(row, list) else [row] for row in predictions]
    content = f"{write_rows(rows)}\n".encode()
    cut = None if reply.cut is None else min(reply.cut, len(content) - 1)
    return replace(
        reply, body=content, cut=cut, headers={"Content-Type": f"{CSV}; charset=utf-8", **reply.headers}
    )


def _status_of_model(path: str, status: int) -> dict[str, Any]:
    """Return the state of a model as TensorFlow Serving and KServe report it."""
    is_ready = status == OK
    state = {"version": "1", "state": "AVAILABLE" if is_ready else "UNAVAILABLE"}
    return {"name": path.rpartition("/")[2], "ready": is_ready, "model_version_status": [state]}


def _state_of_v2(path: str, status: int) -> dict[str, Any]:
    return {"live" if path.endswith("/live") else "ready": status == OK}


def _status(_: str, status: int) -> dict[str, str]:
    return {"status": "healthy" if status == OK else "unhealthy"}


def _ping(_path: str, _status: int) -> bytes:
    return b"\n"


def _error(message: str, _: int) -> dict[str, str]:
    return {"error": message}


def _error_of_fastapi(message: str, status: int) -> dict[str, Any]:
    is_invalid = status == 422  # of requests that the schema forbids
    return {"detail": [{"loc": ["body"], "msg": message, "type": "value_error"}] if is_invalid else message}


def _error_of_mlflow(message: str, status: int) -> dict[str, str]:
    is_mistake = status < 500
    return {"error_code": "BAD_REQUEST" if is_mistake else "INTERNAL_ERROR", "message": message}


ROWS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
BODY = {"type": "object", "properties": {"features": ROWS}, "required": ["features"]}
ANSWER = {"type": "object", "properties": {"predictions": {"type": "array", "items": {"type": "integer"}}}}
SCHEMA = {
    "name": MODEL,
    "type": "service",
    "routes": [{"name": "predict", "route": "/predict", "batchable": False, "input": BODY, "output": ANSWER}],
}
OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": MODEL, "version": "1"},
    "paths": {
        "/predict": {
            "post": {
                "requestBody": {"required": True, "content": {"application/json": {"schema": BODY}}},
                "responses": {
                    "200": {"description": "", "content": {"application/json": {"schema": ANSWER}}}
                },
            }
        },
        "/health": {"get": {"responses": {"200": {"description": ""}}}},
    },
}
METADATA = {
    "name": MODEL,
    "versions": ["1"],
    "platform": "",
    "inputs": [{"name": "input-0", "datatype": "FP64", "shape": [-1, -1]}],
    "outputs": [{"name": "predict", "datatype": "INT64", "shape": [-1, 1]}],
}
WIRES: Mapping[str, Wire] = {
    "bentoml": Wire({r"/schema\.json": SCHEMA}, _status, _error, _problem_of_json),
    "openapi": Wire({r"/openapi\.json": OPENAPI}, _status, _error_of_fastapi, _problem_of_json),
    "mlflow": Wire(
        {r"/version": b"3.1.0"},
        _ping,
        _error_of_mlflow,
        _problem_of_mlflow,
        {"an error of MLflow": {"error_code": "BAD_REQUEST", "message": "the model is not loaded"}},
    ),
    "v2": Wire(
        {
            r"/v2/?": {"name": "server", "version": "1.0", "extensions": []},
            r"/v2/repository/index": [{"name": MODEL, "version": "1", "state": "READY", "reason": ""}],
            r"/v2/models/[^/]+(/versions/[^/]+)?": METADATA,
        },
        _state_of_v2,
        _error,
        _problem_of_v2,
        {"a response without outputs": {"model_name": MODEL, "outputs": []}},
    ),
    "v1": Wire({r"/v1/models": {"models": [MODEL]}}, _status_of_model, _error, _problem_of_v1),
    "sagemaker": Wire({}, _ping, _error, _problem_of_sagemaker),
}
"""What each protocol has beyond its predictions, whose bodies are in `tier0.core.protocols`."""
