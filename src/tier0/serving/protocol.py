"""The HTTP protocol of a worker: uvicorn's own, with limits for connections and for the head of a request.

uvicorn waits without a limit for the head of a request, for the rest of a body that the service has already
responded to, and for a client that does not read its response; with httptools, a head may have any length,
as may the trailers of a body in chunks. One timer looks at all connections of the worker once per second,
which costs a request nothing. Without a limit of connections, they would take all files that the worker may
open, and a model or a metric that needs one would fail.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from tier0.serving.bentoml_internals import OF_PROTOCOL, PROTOCOL_WARNING

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Callable

    from tier0.serving.middleware import App, Message, Receive, Send

LOG = logging.getLogger("bentoml.service.tier0")
HEAD_TIMEOUT = 10.0
"""Seconds in which the head of a request has to arrive."""
READ_TIMEOUT = 60.0
"""Seconds in which a client has to read some of a response that is waiting for it."""
HEAD_LIMIT = 64 * 1024
"""Bytes of a request's head, and between two pieces of its body, which is also the limit of h11."""
SWEEP_SECONDS = 1.0
MAX_CONNECTIONS = 4096
"""Connections of a worker, beyond which all requests but those for its health are rejected."""
FOR_HEALTH = 64
"""Further connections, for requests for the worker's health, beyond which a connection is closed at once."""
OWN_FILES = 128
"""Files that the worker may open itself, where the system's limit allows fewer connections than ours."""
HEALTH_ROUTES = {"health", "healthz", "livez", "readyz", "metrics"}
"""Last parts of the paths to which a worker responds when it has too many connections."""


def connection_limit() -> int:
    """Return the limit of connections, which leaves files for the worker itself."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(files - FOR_HEALTH - OWN_FILES, files // 2))


class Limits(asyncio.Protocol):
    """The limits, in front of one of uvicorn's classes of connections.

    A connection is aborted if it waits for the client too long.

    Attributes:
        head_timeout: see `HEAD_TIMEOUT`.
        read_timeout: see `READ_TIMEOUT`.
        sweep_seconds: seconds between two looks at all connections.
        max_connections: see `MAX_CONNECTIONS`.
    """

    head_timeout = HEAD_TIMEOUT
    read_timeout = READ_TIMEOUT
    sweep_seconds = SWEEP_SECONDS
    max_connections = connection_limit()
    app: App
    connections: set[Any]
    cycle: Any
    loop: asyncio.AbstractEventLoop
    scope: dict[str, Any] | None
    send_400_response: Callable[[str], None]
    timeout_keep_alive_task: asyncio.TimerHandle | None
    transport: asyncio.Transport
    _is_sweeping = False
    _is_limited = True
    _is_full = False
    _names_parts = False

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to look at the connections, unless a timer does already; limit their number."""
        super().connection_made(transport)
        self._state: Any = None
        self._since = time.monotonic()
        self._unread = 0
        if self._is_limited and not self._is_sweeping:
            self._begin([name for name in OF_PROTOCOL if not hasattr(self, name)])
        if self._is_limited and (number := len(self.connections)) > self.max_connections:
            self._limit(number)

    def _limit(self, number: int) -> None:
        if not self._is_full:
            type(self)._is_full = True  # noqa: SLF001
            LOG.warning("%d connections are open: requests on further ones are rejected", number - 1)
        if number > self.max_connections + FOR_HEALTH:
            self.transport.abort()
        self.app = _OnlyHealth(self.app)

    def _begin(self, missing: list[str]) -> None:
        if missing:
            type(self)._is_limited = False  # noqa: SLF001
            LOG.warning(PROTOCOL_WARNING, ", ".join(missing))
        else:
            type(self)._is_sweeping = True  # noqa: SLF001
            self.loop.call_later(self.sweep_seconds, self.sweep, self.loop, self.connections)

    def data_received(self, data: bytes) -> None:
        """Parse *data*; a request is 400 whose head, or what is between pieces of its body, is too long."""
        self._unread += len(data)
        super().data_received(data)
        if not self._is_limited or (not self._names_parts and self._has_head()):
            self._unread = 0
        elif self._unread > HEAD_LIMIT and not self.transport.is_closing():
            self._reject()

    def _has_head(self) -> bool:
        """Return True if h11 has read a head; it limits the rest itself."""
        return self.scope is not None and "path" in self.scope

    def on_headers_complete(self) -> None:
        """Restart the count after a head; called by httptools."""
        self._names_parts = True
        self._unread = 0
        super().on_headers_complete()  # type: ignore[misc]  # of the class behind this one

    def on_body(self, body: bytes) -> None:
        """Restart the count after a piece of a body; called by httptools."""
        self._unread = 0
        super().on_body(body)  # type: ignore[misc]  # of the class behind this one

    def _reject(self) -> None:
        is_responding = self.cycle is not None and self.cycle.response_started
        if is_responding and not self.cycle.response_complete:
            self.transport.abort()
        else:
            self.send_400_response("Request head or trailers too long.")

    @classmethod
    def sweep(cls, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        """Look at all *connections*, and again later while there are any."""
        now = time.monotonic()
        for connection in list(connections):
            if isinstance(connection, cls):  # and not a WebSocket
                connection.abort_if_stuck(now)
        cls._is_full = cls._is_full and len(connections) > cls.max_connections
        cls._is_sweeping = bool(connections)
        if connections:
            loop.call_later(cls.sweep_seconds, cls.sweep, loop, connections)

    def abort_if_stuck(self, now: float) -> None:
        """Abort the connection if it has waited too long for the same thing."""
        unread = self.transport.get_write_buffer_size()
        is_responding = self.cycle is not None and not getattr(self.cycle, "response_complete", False)
        is_idle = self.timeout_keep_alive_task is not None  # and uvicorn closes it
        is_waiting = unread or self.transport.is_closing() or not (is_responding or is_idle)
        state = (self.cycle, unread)
        if not is_waiting or state != self._state:
            self._state, self._since = state, now
        elif now - self._since > (self.read_timeout if unread else self.head_timeout):
            self.transport.abort()


class _OnlyHealth:
    """The application of a connection beyond the limit, which responds with 503 to most requests."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        app = self.app if scope["path"].rpartition("/")[2] in HEALTH_ROUTES else _too_many_connections()
        await app(scope, receive, send)


def _too_many_connections() -> JSONResponse:
    problem = {"field": "", "message": "too many connections are open", "remedy": "Retry later"}
    return JSONResponse({"error": problem}, 503, {"Connection": "close", "Retry-After": "1"})


class LimitedProtocol(Limits, AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # found at run time
    """A connection of uvicorn, by httptools or else by h11, with limits."""
