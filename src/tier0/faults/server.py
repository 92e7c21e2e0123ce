"""A scripted HTTP server on loopback, for tests of clients."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import h11

from tier0.faults.listener import Listener
from tier0.faults.log import Arrival

READ_SIZE = 65536


@dataclass(frozen=True)
class Reply:
    """The response to one request.

    Attributes:
        status: HTTP status.
        body: response body; anything that is not bytes is sent as JSON.
        headers: headers that are added to Content-Type and Content-Length, or replace them.
        delay: seconds before the first byte; with `math.inf` there is no response.
        drip: seconds after each byte of the body.
        length: value of Content-Length, if it should be wrong.
        cut: number of bytes of the body to send before *ending*; all by default.
        ending: what happens to the connection afterwards: ``keep``, ``close`` or ``reset``.
        raw: bytes that are sent in place of a response.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    length: int | None = None
    cut: int | None = None
    ending: Literal["keep", "close", "reset"] = "keep"
    raw: bytes | None = None

    @classmethod
    def hang(cls) -> Reply:
        """Return a reply that never comes."""
        return cls(delay=math.inf)

    @classmethod
    def broken(cls, ending: Literal["close", "reset"] = "close") -> Reply:
        """Return a reply that closes or resets the connection without sending a byte."""
        return cls(raw=b"", ending=ending)

    @property
    def content(self) -> bytes:
        """The complete body, as bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def head(self) -> bytes:
        """The status line and the headers."""
        length = len(self.content) if self.length is None else self.length
        headers = {"Content-Type": "application/json", "Content-Length": str(length), **self.headers}
        lines = [
            f"HTTP/1.1 {self.status} {_reason_phrase(self.status)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _reason_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # a status that is not registered may have no phrase (RFC 9112, section 4)
        return ""


Script = Callable[[Arrival], Reply]


class FaultServer(Listener):
    """A server that responds according to a script, with its own port, thread and event loop.

    Args:
        script: one reply; several, in turn, of which the last is repeated; or a function of the request.
        setup: replies by path to the requests that a client sends while it is created; such requests are not
            logged, until `client_is_created` is called.
    """

    def __init__(
        self, script: Reply | Sequence[Reply] | Script, *, setup: Mapping[str, Reply] | None = None
    ) -> None:
        super().__init__("tier0-fault-server")
        self.setup = dict(setup or {})
        self.script = script
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._listen()

    @property
    def script(self) -> Script:
        """Function that returns the reply to each further request."""
        return self._script

    @script.setter
    def script(self, script: Reply | Sequence[Reply] | Script) -> None:
        if isinstance(script, Reply):
            script = [script]
        if isinstance(script, Sequence):
            replies = list(script)
            self._script: Script = lambda _: replies.pop(0) if len(replies) > 1 else replies[0]
        else:
            self._script = script
        self.log.note("injected", script=str(script))

    @property
    def arrivals(self) -> list[Arrival]:
        """All requests so far, in the order of arrival."""
        return self.log.arrivals

    def client_is_created(self) -> None:
        """Respond by the script to all requests from now on."""
        self.setup.clear()

    def prepared(self, method: str, path: str) -> Reply | None:  # noqa: ARG002 - for servers of protocols
        """Return the response to a request that is not logged; None for any other request."""
        return self.setup.get(path)

    def expressed(self, arrival: Arrival, reply: Reply) -> Reply:  # noqa: ARG002 - as above
        """Return a reply of the script as it is sent; servers of protocols have words of their own."""
        return reply

    def _reset_connections(self) -> None:
        for writer in list(self._writers):
            reset(writer)

    def _close_port(self) -> None:
        self._background.loop.call_soon_threadsafe(self._server.close)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        self.log.note("connected", number)
        self._writers.add(writer)
        arrival: Arrival | None = None
        try:
            http = h11.Connection(h11.SERVER)
            while (request := await self._next_request(number, http, reader)) is not None:
                head, body = request
                method, path = head.method.decode(), head.target.decode("latin-1")
                if (fixed := self.prepared(method, path)) is not None:
                    writer.write(fixed.head + fixed.content)
                    http = h11.Connection(h11.SERVER)
                    continue
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                arrival = self.log.arrive(number, method, path, headers, body)
                reply = self.expressed(arrival, self._script(arrival))
                if not await self._respond(arrival, reply, reader, writer):
                    break
                # The reply may break the protocol, so the next request needs a new state of h11.
                http = h11.Connection(h11.SERVER)
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):  # cancelled: this server is closed
            pass
        finally:
            if arrival is not None and arrival.ended is None:
                self.log.end(arrival, "given up")
            writer.close()
            self._writers.discard(writer)
            self.log.note("closed", number)

    async def _next_request(
        self, connection: int, http: h11.Connection, reader: asyncio.StreamReader
    ) -> tuple[h11.Request, bytes] | None:
        """Return the head and the body of the next request; None if the client disconnected."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(READ_SIZE)
                if not data:
                    if head is not None:
                        self.log.note("incomplete", connection, **_lengths(head, body))
                    return None
                http.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(body)
            else:
                return None

    async def _respond(
        self, arrival: Arrival, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send *reply*, and return whether the connection stays open."""
        if reply.delay and await _disconnects_within(reader, reply.delay):
            return False
        if reply.raw is not None:
            writer.write(reply.raw)
        else:
            writer.write(reply.head)
            sent = b"" if arrival.method == "HEAD" else reply.content[: reply.cut]
            if not reply.drip:
                writer.write(sent)
            for byte in sent if reply.drip else b"":
                writer.write(bytes([byte]))
                await writer.drain()
                if await _disconnects_within(reader, reply.drip):
                    return False
        if reply.ending == "reset":
            reset(writer)
        else:
            await writer.drain()
        is_complete = reply.raw is None and reply.cut is None and reply.length is None
        status = reply.status if reply.raw is None else None
        self.log.end(arrival, "answered" if is_complete else "broken", status)
        return reply.ending == "keep"


def _lengths(head: h11.Request, body: bytes | bytearray) -> dict[str, Any]:
    """Return the length of a body that its header declares, and the length that was received."""
    declared = next((value.decode() for name, value in head.headers if name == b"content-length"), None)
    return {"declared": declared, "received": len(body)}


async def _disconnects_within(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Wait up to *seconds*, and return True as soon as the client closes the connection."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            return not await reader.read(1)
    return False


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, as the crash of a process does: unsent data is discarded."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
