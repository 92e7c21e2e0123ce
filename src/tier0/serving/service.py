"""The BentoML service that serves registered models: one importable class, told by environment what to serve.

``TIER0_ANNOUNCEMENT`` is the path of a JSON file ``{"models": {name: tag}, "nonce": …}``. The worker does its
imports first, and waits for the file where it is not written yet, so that a server can start while its model
is still training. ``TIER0_WORKERS`` is the number of workers.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tier0.core.errors import (
    InvalidRowError,
    QueueFullError,
)  # the supervisor imports this file, too, and needs no numpy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from tier0.serving.batching import Batcher
    from tier0.serving.predictor import Predictor

LOG = logging.getLogger("bentoml.service.tier0")
BODY_LIMIT = 16 * 1024 * 1024
TRAFFIC_TIMEOUT = 5
"""Seconds; not longer than one attempt of the client with its default timeout."""
ANNOUNCEMENT_POLL = 0.01
PARSED_INLINE = 64 * 1024
"""Bytes; longer bodies are read in a thread, so that health probes are answered meanwhile."""
RETRY_AFTER = 1
REFUSED_AFTER = 0.1
"""Seconds: whoever asks again at once does so ten times a second, and not so often that refusing takes the model's time."""


class _WorkerState:
    """What the worker serves; set once, when BentoML makes the service's instance."""

    predictors: dict[str, Predictor]
    nonce: str
    batchers: dict[str, Batcher]


async def predict(request: Request, model: str) -> Response:
    """Answer ``{"features": rows | records, "columns": [names]}`` with predictions, probabilities and intervals."""
    predictor = _predictor_for(model)
    if predictor is None:
        return _unknown_model(model)
    batcher = _WorkerState.batchers[predictor.tag]
    start = time.monotonic()
    if batcher.is_full():  # before anything is spent on it
        return await _shed(predictor, start)
    try:
        body = await _read_body(request)
        rows = (
            predictor.rows_of(body)
            if len(body) <= PARSED_INLINE
            else await asyncio.to_thread(predictor.rows_of, body)
        )
        answer = predictor.answer(*await batcher.ask(rows))
    except InvalidRowError as refusal:
        return _json(refusal.as_dict(), refusal.status)
    except QueueFullError:
        return await _shed(predictor, start)
    except Exception as problem:
        LOG.exception("%s failed", predictor.tag)
        return _error(
            500, "", f"the model {predictor.tag} failed with {type(problem).__name__}", "See the server's log"
        )
    return _json(answer, headers={"X-Tier0-Model": predictor.tag})


async def _shed(predictor: Predictor, start: float) -> Response:
    await asyncio.sleep(start + REFUSED_AFTER - time.monotonic())
    response = _error(
        429, "", f"more requests wait for {predictor.tag} than it can answer in time", "Ask again later"
    )
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


async def health(_: Request, model: str) -> Response:
    """Say which models are loaded; only a worker that has loaded them all gets to answer."""
    predictor = _predictor_for(model)
    if predictor is None:
        return _unknown_model(model)
    models = {name: loaded.tag for name, loaded in _WorkerState.predictors.items()}
    return _json(
        {"status": "healthy", "model_tag": predictor.tag, "models": models, "run": _WorkerState.nonce}
    )


async def model_info(_: Request, model: str) -> Response:
    """Give the model's signature: our routes are not described in ``/schema.json``."""
    predictor = _predictor_for(model)
    return _unknown_model(model) if predictor is None else _json(predictor.info())


def _predictor_for(model: str) -> Predictor | None:
    return _WorkerState.predictors.get(model) if model else next(iter(_WorkerState.predictors.values()))


def _unknown_model(model: str) -> Response:
    names = ", ".join(_WorkerState.predictors)
    return _error(404, "model", f"{model!r} is not served here", f"Served are: {names}")


async def _read_body(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise InvalidRowError(
            "Content-Type", f"is {content_type or 'missing'}", "Send application/json", status=415
        )
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_LIMIT:
                raise InvalidRowError(
                    "body", f"is longer than {BODY_LIMIT} bytes", "Send fewer rows in one request", status=413
                )
    except ClientDisconnect:  # nobody will read this, but it is counted
        raise InvalidRowError("body", "broke off", "Send all of it", status=400) from None
    return bytes(body)


def _error(status: int, field: str, message: str, remedy: str) -> Response:
    return _json({"error": {"field": field, "message": message, "remedy": remedy}}, status)


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    identity = {"X-Tier0-Run": _WorkerState.nonce, **(headers or {})}
    return Response(orjson.dumps(content), status, identity, "application/json")


def _await_announcement() -> dict[str, Any]:
    """Wait until the file is there. Whoever started the server gives it up after its own start-up timeout."""
    path = Path(os.environ["TIER0_ANNOUNCEMENT"])
    while not path.exists():
        time.sleep(ANNOUNCEMENT_POLL)
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


ROUTES = {
    "predict": (predict, {"POST"}),
    "health": (health, {"GET", "HEAD", "POST"}),
    "model_info": (model_info, {"GET", "HEAD", "POST"}),
}


@bentoml.service(
    name="Tier0Service",
    traffic={"timeout": TRAFFIC_TIMEOUT},
    workers=int(os.environ.get("TIER0_WORKERS", "1")),
)
class Tier0Service:
    """Serves the models that the announcement names; the first one also without its name in the path."""

    def __init__(self) -> None:
        for module in filter(None, os.environ.get("TIER0_PRELOAD", "").split(",")):
            import_module(module)
        from tier0.serving.batching import Batcher, answers_alike  # noqa: PLC0415
        from tier0.serving.predictor import load_predictor  # noqa: PLC0415

        announcement = _await_announcement()
        _WorkerState.nonce = announcement["nonce"]
        _WorkerState.predictors = {name: load_predictor(tag) for name, tag in announcement["models"].items()}
        _WorkerState.batchers = {
            loaded.tag: Batcher(loaded, answers_alike(loaded)) for loaded in _WorkerState.predictors.values()
        }
        gc.collect()
        gc.freeze()  # else some request waits while all that was imported and loaded is searched for garbage


class Routes:
    """Answers ``/{route}`` and ``/{model}/{route}`` before BentoML's own routes are tried one by one."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self._passes_on = False

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer, or leave it to BentoML; when the application has started, look at what stands around us."""
        if scope["type"] == "lifespan":

            async def started(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "lifespan.startup.complete":
                    self._on_startup(scope["app"].middleware_stack)
                await send(message)

            await self.app(scope, receive, started)
            return
        named = (
            None
            if self._passes_on or scope["type"] != "http"
            else _named_in(scope["path"].removeprefix(scope.get("root_path", "")))
        )
        if named is None:
            await self.app(scope, receive, send)
            return
        model, (route, methods) = named
        if scope["method"] in methods:
            response = await route(Request(scope, receive), model)
        else:
            response = _error(
                405, "method", f"is {scope['method']}", f"Ask by {' or '.join(sorted(methods))}"
            )
            response.headers["Allow"] = ", ".join(sorted(methods))
        await response(scope, receive, send)

    def _on_startup(self, stack: Any) -> None:
        """Make what stands around us cheaper, and let answer what stands behind the layer that adds a browser's headers, if there is one."""
        from tier0.serving.middleware import iter_middleware, replace_middleware  # noqa: PLC0415 - the supervisor needs none of it

        replace_middleware(stack)
        cors = next(
            (layer for _, layer in iter_middleware(self) if type(layer).__name__ == "CORSMiddleware"), None
        )
        if cors is not None and not self._passes_on:
            cors.app = Routes(cors.app)
            self._passes_on = True


def _named_in(path: str) -> tuple[str, tuple[Callable[..., Any], set[str]]] | None:
    """Return the model, empty for the first one, and the route that a path names; None where it is none of ours."""
    *model, name = path.removesuffix("/")[1:].split("/")
    if name not in ROUTES or not path.startswith("/") or len(model) > 1 or model == [""]:
        return None
    return (model[0] if model else ""), ROUTES[name]


Tier0Service.add_asgi_middleware(Routes)  # type: ignore[attr-defined]  # the decorator made it a service
