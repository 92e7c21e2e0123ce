"""The HTTP protocol of a worker: uvicorn's own, with limits for the head of a request.

uvicorn waits without a limit for the head of a request, for the rest of a body that the service has already
responded to, and for a client that does not read its response; with httptools, a head may have any length.
One timer looks at all connections of the worker once per second, which costs a request nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from tier0.serving.bentoml_internals import OF_PROTOCOL, PROTOCOL_WARNING

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Callable

LOG = logging.getLogger("bentoml.service.tier0")
HEAD_TIMEOUT = 10.0
"""Seconds in which the head of a request has to arrive."""
READ_TIMEOUT = 60.0
"""Seconds in which a client has to read some of a response that is waiting for it."""
HEAD_LIMIT = 64 * 1024
"""Bytes of a request's head, which is also the limit of h11."""
SWEEP_SECONDS = 1.0


class Limits(asyncio.Protocol):
    """The limits, in front of one of uvicorn's classes of connections.

    A connection is aborted if it waits for the client too long.

    Attributes:
        head_timeout: see `HEAD_TIMEOUT`.
        read_timeout: see `READ_TIMEOUT`.
        sweep_seconds: seconds between two looks at all connections.
    """

    head_timeout = HEAD_TIMEOUT
    read_timeout = READ_TIMEOUT
    sweep_seconds = SWEEP_SECONDS
    connections: set[Any]
    cycle: Any
    loop: asyncio.AbstractEventLoop
    scope: dict[str, Any] | None
    send_400_response: Callable[[str], None]
    timeout_keep_alive_task: asyncio.TimerHandle | None
    transport: asyncio.Transport
    _is_sweeping = False
    _is_limited = True

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to look at the connections, unless a timer does already."""
        super().connection_made(transport)
        self._state: Any = None
        self._since = time.monotonic()
        self._head_size = 0
        if self._is_limited and not self._is_sweeping:
            self._begin([name for name in OF_PROTOCOL if not hasattr(self, name)])

    def _begin(self, missing: list[str]) -> None:
        if missing:
            type(self)._is_limited = False  # noqa: SLF001
            LOG.warning(PROTOCOL_WARNING, ", ".join(missing))
        else:
            type(self)._is_sweeping = True  # noqa: SLF001
            self.loop.call_later(self.sweep_seconds, self.sweep, self.loop, self.connections)

    def data_received(self, data: bytes) -> None:
        """Parse *data*; a request whose head becomes too long is 400."""
        super().data_received(data)
        if not self._is_limited or (self.scope is not None and "path" in self.scope):  # the head is complete
            self._head_size = 0
            return
        self._head_size += len(data)
        if self._head_size > HEAD_LIMIT and not self.transport.is_closing():
            self.send_400_response("Request head too long.")

    @classmethod
    def sweep(cls, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        """Look at all *connections*, and again later while there are any."""
        now = time.monotonic()
        for connection in list(connections):
            if isinstance(connection, cls):  # and not a WebSocket
                connection.abort_if_stuck(now)
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


class LimitedProtocol(Limits, AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # found at run time
    """A connection of uvicorn, by httptools or else by h11, with limits."""
