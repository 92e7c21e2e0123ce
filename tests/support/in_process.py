"""A small service in this process, for defects in metrics, health routes and content types."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tier0.golden.rows import GoldenRows

ROWS = [[1.0, 2.0], [3.0, 1.0], [5.0, 9.0], [0.5, 0.25]]
GOLDEN = GoldenRows(["a", "b"], ROWS, [a - b for a, b in ROWS], None, [])
CONTRACT = {
    "features": "rows",
    "predictions": "predictions",
    "model_tag": "model_tag",
    "health": "/health",
    "ready": "/readyz",
}


class App:
    """Returns the differences a - b for ``{"rows": [[a, b], …]}``, refuses other bodies, counts responses."""

    tag = "small:1"

    def __init__(self) -> None:
        self.counted: dict[int, int] = {}

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {"predictions": [first - second for first, second in rows], "model_tag": self.tag}

    async def predict(self, request: Request) -> Response:
        response = await self.respond(request)
        self.count(response.status_code)
        return response

    async def respond(self, request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":
            return PlainTextResponse("", 415)
        try:
            body = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse("the body is not JSON", 400)
        rows = body.get("rows") if isinstance(body, dict) and body.keys() == {"rows"} else None
        good = isinstance(rows, list) and all(isinstance(row, list) and len(row) == 2 for row in rows)
        if not good or any(
            type(value) not in {int, float} or abs(value) == float("inf")
            for row in rows or []
            for value in row
        ):
            return PlainTextResponse("rows: two finite numbers each", 422)
        return JSONResponse(self.answer(rows or []))

    def count(self, status: int) -> None:
        self.counted[status] = self.counted.get(status, 0) + 1

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "healthy"})

    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("")

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse("\n".join([*self.counters(), *self.buckets()]) + "\n")

    def counters(self) -> list[str]:
        return [
            f'small_request_total{{http_response_code="{status}"}} {count}.0'
            for status, count in self.counted.items()
        ]

    def buckets(self) -> list[str]:
        total = sum(self.counted.values())
        limits = [f'small_seconds_bucket{{le="{limit}"}} {total}.0' for limit in ("0.1", "1.0", "+Inf")]
        return [*limits, f"small_seconds_count {total}.0"]


@contextmanager
def running(app: App) -> Iterator[str]:
    """Serve *app* in a thread, and yield its URL."""
    get = {"/health": app.health, "/metrics": app.metrics, "/readyz": app.ready, "/livez": app.ready}
    routes = [
        Route("/predict", app.predict, methods=["POST"]),
        *(Route(path, handler) for path, handler in get.items()),
    ]
    with serving(routes) as url:
        yield url


@contextmanager
def serving(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """Serve *routes* in a thread, and yield the URL."""
    # asyncio turns Nagle's algorithm off, which costs 40 ms a request, only for sockets of this protocol
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off", loop="asyncio")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
