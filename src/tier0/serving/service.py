"""The BentoML service for registered models: one importable class, configured by environment variables.

``TIER0_ANNOUNCEMENT`` is the path of a JSON file ``{"models": {name: tag}, "nonce": …}``. The worker does its
imports first and then waits until the file exists, so that a server can start while its model is still being
trained. ``TIER0_PRELOAD`` lists modules to import before that, and ``TIER0_WORKERS`` is the number of
workers.
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

# The supervisor imports this module as well: numpy is imported by the worker alone.
from tier0.core.child_environment import extend_import_path
from tier0.core.errors import InvalidRowError, QueueFullError
from tier0.serving.bentoml_internals import limit_connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from tier0.serving.batching import Batcher
    from tier0.serving.predictor import Predictor

LOG = logging.getLogger("bentoml.service.tier0")
BODY_LIMIT = 16 * 1024 * 1024
TRAFFIC_TIMEOUT = 5
"""Seconds; not longer than one attempt of Tier0's client with its default timeout."""
ANNOUNCEMENT_POLL = 0.01
PARSED_INLINE = 64 * 1024
"""Bytes; longer bodies are parsed in a thread, so that health probes are answered meanwhile."""
HELD_LIMIT = 8 * BODY_LIMIT
"""Bytes of the large bodies that a worker holds at once, beyond which it rejects further ones.

Bodies of up to `PARSED_INLINE` bytes do not count, so that they are accepted meanwhile.
"""
RETRY_AFTER = 1
REJECTED_AFTER = 0.1
"""Seconds until a 429 is sent: a client that retries at once then does so ten times a second at most.

Without the delay, rejections would take the model's processor time.
"""


class _WorkerState:
    """The worker's models; set once, when BentoML creates the service instance."""

    predictors: dict[str, Predictor]
    nonce: str
    batchers: dict[str, Batcher]


class _LargeBody:
    """The body of one request, as far as it counts among the large bodies that this worker holds.

    Attributes:
        total: bytes of all of them, from their arrival to the response.
    """

    __slots__ = ("_size",)
    total = 0

    def __init__(self) -> None:
        self._size = 0

    def grow(self, size: int) -> None:
        """Count a body that has *size* bytes by now.

        Raises:
            QueueFullError: together with the others, it is too large.
        """
        if size > PARSED_INLINE:
            _LargeBody.total += size - self._size
            self._size = size
            if _LargeBody.total > HELD_LIMIT:
                raise QueueFullError(f"large bodies take {_LargeBody.total} bytes")

    def end(self) -> None:
        _LargeBody.total -= self._size


async def predict(request: Request, model: str) -> Response:
    """Respond to ``{"features": rows | records, "columns": [names]}`` with predictions.

    The response also contains probabilities and intervals, for models that give them.
    """
    predictor = _predictor_for(model)
    if predictor is None:
        return _unknown_model(model)
    batcher = _WorkerState.batchers[predictor.tag]
    start = time.monotonic()
    if batcher.is_full():  # before the body is read
        return await _reject(predictor, start)
    rows: list[list[Any]] = []
    held = _LargeBody()
    try:
        body = await _read_body(request, held)
        if len(body) <= PARSED_INLINE:
            rows = predictor.parse_rows(body)
        else:
            rows = await asyncio.to_thread(predictor.parse_rows, body)
        output, seconds = await batcher.predict(rows)
    except InvalidRowError as invalid:
        return _json(invalid.as_dict(), invalid.status)
    except QueueFullError:
        return await _reject(predictor, start)
    except Exception as problem:  # noqa: BLE001 - of the model
        return _model_failed(predictor, rows, problem)
    finally:
        held.end()
    return _json(predictor.response(output, seconds), headers={"X-Tier0-Model": predictor.tag})


def _model_failed(predictor: Predictor, rows: list[list[Any]], problem: Exception) -> Response:
    if reason := predictor.reason_in_rows(rows, problem):
        return _json(reason.as_dict(), reason.status)
    LOG.error("%s failed", predictor.tag, exc_info=problem)
    message = f"the model {predictor.tag} failed with {type(problem).__name__}"
    return _error(500, "", message, "See the server's log")


async def _reject(predictor: Predictor, start: float) -> Response:
    await asyncio.sleep(start + REJECTED_AFTER - time.monotonic())
    response = _error(429, "", f"too many requests are queued for {predictor.tag}", "Retry later")
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


async def health(_: Request, model: str) -> Response:
    """List the loaded models; a worker responds only after it has loaded all of them."""
    predictor = _predictor_for(model)
    if predictor is None:
        return _unknown_model(model)
    models = {name: loaded.tag for name, loaded in _WorkerState.predictors.items()}
    return _json(
        {"status": "healthy", "model_tag": predictor.tag, "models": models, "run": _WorkerState.nonce}
    )


async def model_info(_: Request, model: str) -> Response:
    """Describe the model: BentoML's ``/schema.json`` does not include these routes."""
    predictor = _predictor_for(model)
    return _unknown_model(model) if predictor is None else _json(predictor.info())


def _predictor_for(model: str) -> Predictor | None:
    return _WorkerState.predictors.get(model) if model else next(iter(_WorkerState.predictors.values()))


def _unknown_model(model: str) -> Response:
    names = ", ".join(_WorkerState.predictors)
    return _error(404, "model", f"{model!r} is not served here", f"Available models: {names}")


async def _read_body(request: Request, held: _LargeBody) -> bytes:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        problem = f"is {content_type or 'missing'}"
        raise InvalidRowError("Content-Type", problem, "Send application/json", status=415)
    if _announces_more(request.headers.get("content-length", ""), BODY_LIMIT):
        raise _too_large()
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_LIMIT:
                raise _too_large()
            held.grow(len(body))
    except ClientDisconnect:  # the client cannot read the response, but metrics and log contain it
        raise InvalidRowError("body", "is incomplete", "Send the complete body", status=400) from None
    return bytes(body)


def _too_large() -> InvalidRowError:
    problem = f"is longer than {BODY_LIMIT} bytes"
    return InvalidRowError("body", problem, "Send fewer rows in one request", status=413)


def _announces_more(length: str, limit: int) -> bool:
    digits = length.lstrip("0")
    return digits.isdecimal() and (len(digits) > len(str(limit)) or int(digits) > limit)


def _error(status: int, field: str, message: str, remedy: str) -> Response:
    return _json({"error": {"field": field, "message": message, "remedy": remedy}}, status)


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    identity = {"X-Tier0-Run": _WorkerState.nonce, **(headers or {})}
    return Response(orjson.dumps(content), status, identity, "application/json")


def _await_announcement() -> dict[str, Any]:
    """Wait for the file and read it. There is no timeout here: the starting process has one."""
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
    """Serves the announced models; the first one also without its name in the path."""

    def __init__(self) -> None:
        extend_import_path()
        for module in filter(None, os.environ.get("TIER0_PRELOAD", "").split(",")):
            import_module(module)
        from tier0.serving.batching import Batcher, has_batch_independent_outputs  # noqa: PLC0415
        from tier0.serving.predictor import load_predictor  # noqa: PLC0415

        announcement = _await_announcement()
        _WorkerState.nonce = announcement["nonce"]
        _WorkerState.predictors = {name: load_predictor(tag) for name, tag in announcement["models"].items()}
        _WorkerState.batchers = {
            loaded.tag: Batcher(loaded, has_batch_independent_outputs(loaded))
            for loaded in _WorkerState.predictors.values()
        }
        gc.collect()
        gc.freeze()  # otherwise some request waits for a collection of all imported modules and models


class Routes:
    """Middleware that handles ``/{route}`` and ``/{model}/{route}`` before BentoML tries its own routes."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self._is_bypassed = False

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Handle a request, or pass it on to BentoML; replace middleware when the application has started."""
        if scope["type"] == "lifespan":

            async def send_and_replace(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "lifespan.startup.complete":
                    self._on_startup(scope["app"].middleware_stack)
                await send(message)

            await self.app(scope, receive, send_and_replace)
            return
        found = None
        if not self._is_bypassed and scope["type"] == "http":
            found = _find_route(scope["path"].removeprefix(scope.get("root_path", "")))
        if found is None:
            await self.app(scope, receive, send)
            return
        model, (route, methods) = found
        if scope["method"] in methods:
            response = await route(Request(scope, receive), model)
        else:
            response = _error(405, "method", f"is {scope['method']}", f"Use {' or '.join(sorted(methods))}")
            response.headers["Allow"] = ", ".join(sorted(methods))
        await response(scope, receive, send)

    def _on_startup(self, stack: Any) -> None:
        """Replace BentoML's middleware, and move the routes inside the CORS middleware if there is one.

        BentoML's middleware stays if this version lacks a name that the replacement needs; then only unknown
        paths are kept from it. Responses need the headers that the CORS middleware adds for browsers.
        """
        from tier0.serving.bentoml_internals import (  # noqa: PLC0415 - for workers only
            PROTOCOL_WARNING,
            WARNING,
            iter_middleware,
            missing_for_protocol,
            missing_for_service,
        )
        from tier0.serving.path_labels import hide_unknown_paths  # noqa: PLC0415 - for workers only

        if missing := missing_for_protocol():
            LOG.warning(PROTOCOL_WARNING, ", ".join(missing))
        if missing := missing_for_service(stack):
            LOG.warning(WARNING, ", ".join(missing))
            hide_unknown_paths(stack, _is_served)
        else:
            from tier0.serving.middleware import replace_middleware  # noqa: PLC0415 - needs all of these names

            replace_middleware(stack, _is_served)
        inner = [layer for _, layer in iter_middleware(self) if type(layer).__name__ == "CORSMiddleware"]
        if inner and not self._is_bypassed:
            inner[0].app = Routes(inner[0].app)
            self._is_bypassed = True


def _find_route(path: str) -> tuple[str, tuple[Callable[..., Any], set[str]]] | None:
    """Return the model's name (empty for the first model) and the route of a path; None for other paths."""
    *model, name = path.removesuffix("/")[1:].split("/")
    if name not in ROUTES or not path.startswith("/") or len(model) > 1 or model == [""]:
        return None
    return (model[0] if model else ""), ROUTES[name]


def _is_served(path: str) -> bool:
    """Return True for a path that has a route and, if it names a model, that of a served one."""
    found = _find_route(path)
    return found is not None and (not found[0] or found[0] in _WorkerState.predictors)


limit_connections()
Tier0Service.add_asgi_middleware(Routes)  # type: ignore[attr-defined]  # the decorator made it a service
