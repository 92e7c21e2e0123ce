"""The BentoML service that serves registered models: one importable class, told by environment what to serve.

``TIER0_ANNOUNCEMENT`` is the path of a JSON file ``{"models": {name: tag}, "nonce": …}``. The worker does its imports
first, and waits for the file where it is not written yet, so that a server can start while its model is still training.
"""

from __future__ import annotations

import json
import logging
import os
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import bentoml
import orjson
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from tier0.serving.predictor import Predictor

LOG = logging.getLogger("bentoml.service.tier0")
BODY_LIMIT = 16 * 1024 * 1024
TRAFFIC_TIMEOUT = 5
"""Seconds; not longer than one attempt of the client with its default timeout."""
ANNOUNCEMENT_POLL = 0.01


class _State:
    """What the worker serves; set once, when BentoML makes the service's instance."""

    predictors: dict[str, Predictor]
    nonce: str
    one_at_a_time: anyio.CapacityLimiter


async def predict(request: Request) -> Response:
    """Answer ``{"features": rows | records, "columns": [names]}`` with predictions and probabilities."""
    predictor = _predictor_for(request)
    if predictor is None:
        return _unknown_model(request)
    body = await _read_body(request)
    if isinstance(body, Response):
        return body
    return await anyio.to_thread.run_sync(_answer, predictor, body, limiter=_State.one_at_a_time)


def _answer(predictor: Predictor, body: bytes) -> Response:
    from tier0.core.errors import InvalidRowError  # noqa: PLC0415 - the supervisor imports this file, too, and needs no numpy

    try:
        answer = predictor.answer(body)
    except InvalidRowError as refusal:
        return _json(refusal.as_dict(), refusal.status)
    except Exception as problem:
        LOG.exception("%s failed", predictor.tag)
        return _error(500, "", f"the model {predictor.tag} failed with {type(problem).__name__}", "See the server's log")
    return _json(answer, headers={"X-Tier0-Model": predictor.tag})


async def health(request: Request) -> Response:
    """Say which models are loaded; only a worker that has loaded them all gets to answer."""
    predictor = _predictor_for(request)
    if predictor is None:
        return _unknown_model(request)
    models = {name: loaded.tag for name, loaded in _State.predictors.items()}
    return _json({"status": "healthy", "model_tag": predictor.tag, "models": models, "run": _State.nonce})


async def model_info(request: Request) -> Response:
    """Give the model's signature: a mounted route is not described in ``/schema.json``."""
    predictor = _predictor_for(request)
    return _unknown_model(request) if predictor is None else _json(predictor.info())


def _predictor_for(request: Request) -> Predictor | None:
    name = request.path_params.get("model")
    if name is None:
        return next(iter(_State.predictors.values()))
    return _State.predictors.get(name)


def _unknown_model(request: Request) -> Response:
    names = ", ".join(_State.predictors)
    return _error(404, "model", f"{request.path_params['model']!r} is not served here", f"Served are: {names}")


async def _read_body(request: Request) -> bytes | Response:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return _error(415, "Content-Type", f"is {content_type or 'missing'}", "Send application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            return _error(413, "body", f"is longer than {BODY_LIMIT} bytes", "Send fewer rows in one request")
    return bytes(body)


def _error(status: int, field: str, message: str, remedy: str) -> Response:
    return _json({"error": {"field": field, "message": message, "remedy": remedy}}, status)


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    identity = {"X-Tier0-Run": _State.nonce, **(headers or {})}
    return Response(orjson.dumps(content), status, identity, "application/json")


def _await_announcement() -> dict[str, Any]:
    """Wait until the file is there. Whoever started the server gives it up after its own start-up timeout."""
    path = Path(os.environ["TIER0_ANNOUNCEMENT"])
    while not path.exists():
        time.sleep(ANNOUNCEMENT_POLL)
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


ROUTES = Starlette(
    routes=[
        Route(f"{prefix}/{route.__name__}", route, methods=methods)
        for prefix in ("", "/{model}")
        for route, methods in ((predict, ["POST"]), (health, ["GET", "POST"]), (model_info, ["GET", "POST"]))
    ]
)


@bentoml.service(name="Tier0Service", traffic={"timeout": TRAFFIC_TIMEOUT})
class Tier0Service:
    """Serves the models that the announcement names; the first one also without its name in the path."""

    def __init__(self) -> None:
        for module in filter(None, os.environ.get("TIER0_PRELOAD", "").split(",")):
            import_module(module)
        from tier0.serving.predictor import load_predictor  # noqa: PLC0415

        announcement = _await_announcement()
        _State.nonce = announcement["nonce"]
        _State.predictors = {name: load_predictor(tag) for name, tag in announcement["models"].items()}
        _State.one_at_a_time = anyio.CapacityLimiter(1)


Tier0Service.mount_asgi_app(ROUTES, path="/")  # type: ignore[attr-defined]  # the decorator made it a service
