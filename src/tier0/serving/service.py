"""The BentoML service that serves registered models: one importable class, told by environment what to serve.

``TIER0_ANNOUNCEMENT`` is the path of a JSON file ``{"models": {name: tag}, "nonce": …}``. The worker does its imports
first, and waits for the file where it is not written yet, so that a server can start while its model is still training.
``TIER0_WORKERS`` is the number of workers.
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
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tier0.core.errors import InvalidRowError, TooManyWaitError  # the supervisor imports this file, too, and needs no numpy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from starlette.requests import Request

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
QUIET = 0.2
COLLECTED_AT_LEAST = 60.0
"""Seconds between two collections of garbage under a load that never ends."""
UNCOLLECTED_AT_MOST = 5000
"""Answers between two collections: each leaves some 3 KB of it behind."""


class _State:
    """What the worker serves; set once, when BentoML makes the service's instance."""

    predictors: dict[str, Predictor]
    nonce: str
    batchers: dict[str, Batcher]
    garbage: _Garbage


async def predict(request: Request) -> Response:
    """Answer ``{"features": rows | records, "columns": [names]}`` with predictions, probabilities and intervals."""
    predictor = _predictor_for(request)
    if predictor is None:
        return _unknown_model(request)
    batcher = _State.batchers[predictor.tag]
    if batcher.is_full:  # before anything is spent on it
        return _shed(predictor)
    try:
        return await _predicted(request, predictor, batcher)
    finally:
        _State.garbage.answered()  # also where its caller has gone: that leaves as much behind


async def _predicted(request: Request, predictor: Predictor, batcher: Batcher) -> Response:
    body = await _read_body(request)
    if isinstance(body, Response):
        return body
    try:
        rows = predictor.rows_of(body) if len(body) <= PARSED_INLINE else await asyncio.to_thread(predictor.rows_of, body)
        answer = predictor.answer(*await batcher.ask(rows))
    except InvalidRowError as refusal:
        return _json(refusal.as_dict(), refusal.status)
    except TooManyWaitError:
        return _shed(predictor)
    except Exception as problem:
        LOG.exception("%s failed", predictor.tag)
        return _error(500, "", f"the model {predictor.tag} failed with {type(problem).__name__}", "See the server's log")
    return _json(answer, headers={"X-Tier0-Model": predictor.tag})


def _shed(predictor: Predictor) -> Response:
    response = _error(429, "", f"more requests wait for {predictor.tag} than it can answer in time", "Ask again later")
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


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


class _Garbage:
    """Collects garbage while nobody waits.

    BentoML's middleware keeps what belongs to a request until the traffic's time is over, with a timer that it never cancels: at 2,000
    requests a second that is a million objects, and a collection that goes through them, in the middle of some request, takes a
    tenth of a second. So it is done when nothing was asked for a moment, and under a load that never ends, before there is much.
    """

    def __init__(self) -> None:
        self._answered = 0.0
        self._collected = 0.0
        self._uncollected = 0
        gc.disable()

    def answered(self) -> None:
        """Note that a request was answered; after the first one, leave what was imported and loaded out of every collection to come."""
        if not self._answered:
            gc.collect()
            gc.freeze()
            self._look()
        self._answered = asyncio.get_running_loop().time()
        self._uncollected += 1

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        is_quiet = self._collected < self._answered < now - QUIET
        if is_quiet or now - self._collected > COLLECTED_AT_LEAST or self._uncollected > UNCOLLECTED_AT_MOST:
            gc.collect()
            self._collected, self._uncollected = loop.time(), 0
        loop.call_later(QUIET, self._look)


ROUTES = Starlette(
    routes=[
        Route(f"{prefix}/{route.__name__}", route, methods=methods)
        for prefix in ("", "/{model}")
        for route, methods in ((predict, ["POST"]), (health, ["GET", "POST"]), (model_info, ["GET", "POST"]))
    ]
)


@bentoml.service(name="Tier0Service", traffic={"timeout": TRAFFIC_TIMEOUT}, workers=int(os.environ.get("TIER0_WORKERS", "1")))
class Tier0Service:
    """Serves the models that the announcement names; the first one also without its name in the path."""

    def __init__(self) -> None:
        for module in filter(None, os.environ.get("TIER0_PRELOAD", "").split(",")):
            import_module(module)
        from tier0.serving.batching import Batcher, answers_alike  # noqa: PLC0415
        from tier0.serving.predictor import load_predictor  # noqa: PLC0415

        announcement = _await_announcement()
        _State.nonce = announcement["nonce"]
        _State.predictors = {name: load_predictor(tag) for name, tag in announcement["models"].items()}
        _State.batchers = {loaded.tag: Batcher(loaded, answers_alike(loaded)) for loaded in _State.predictors.values()}
        _State.garbage = _Garbage()


class OneSpanARequest:
    """Tells OpenTelemetry's middleware, which BentoML puts around this one, to leave out its spans for each message of ASGI.

    They are a quarter of what a request costs, and nobody reads them; the request's own span stays, and so does its id in the log.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Look for it when the application starts, and never again."""
        if scope["type"] == "lifespan":
            layer = scope["app"].middleware_stack
            while layer is not None:
                if type(layer).__name__ == "OpenTelemetryMiddleware":
                    layer.exclude_receive_span = layer.exclude_send_span = True  # what its argument exclude_spans sets
                layer = getattr(layer, "app", None)
        await self.app(scope, receive, send)


Tier0Service.add_asgi_middleware(OneSpanARequest)  # type: ignore[attr-defined]  # the decorator made it a service
Tier0Service.mount_asgi_app(ROUTES, path="/")  # type: ignore[attr-defined]  # the decorator made it a service
