"""A scripted HTTP server on loopback: it answers clients as badly as it is told to."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import h11

from tier0.faults.background import BackgroundLoop
from tier0.faults.log import Arrival, FaultLog

HOST = "127.0.0.1"
READ_SIZE = 65536


@dataclass(frozen=True)
class Reply:
    """What the server does with one request. Times are in seconds.

    Attributes:
        status: of the answer.
        body: its bytes; anything that is not bytes is sent as JSON.
        headers: beside the usual ones, or instead of them.
        delay: before the first byte; `math.inf` never answers.
        drip: between the bytes of the body.
        length: what Content-Length says, if not the truth.
        cut: how many bytes of the body are sent, before *ending*; all by default.
        ending: what becomes of the connection: kept, closed, or reset.
        raw: is sent instead of any answer.
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
        """Return what never answers."""
        return cls(delay=math.inf)

    @classmethod
    def broken(cls, ending: Literal["close", "reset"] = "close") -> Reply:
        """Return what ends the connection without a byte."""
        return cls(raw=b"", ending=ending)

    @property
    def content(self) -> bytes:
        """The whole body."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def head(self) -> bytes:
        """The status line and the headers."""
        length = len(self.content) if self.length is None else self.length
        headers = {"Content-Type": "application/json", "Content-Length": str(length), **self.headers}
        lines = [
            f"HTTP/1.1 {self.status} {'OK' if self.status < 400 else 'Not well'}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


Script = Callable[[Arrival], Reply]


class FaultServer:
    """Answers as a script says, on a port of its own, on a thread and an event loop of its own.

    Args:
        script: what is answered: one reply, several in turn (the last one for ever), or a function of the request.
        setup: answered to these paths, and not in the log, until it is emptied: what a client asks for while it is made.
    """

    def __init__(
        self, script: Reply | Sequence[Reply] | Script, *, setup: Mapping[str, Reply] | None = None
    ) -> None:
        self.log = FaultLog()
        self.setup = dict(setup or {})
        self.script = script
        self._connected = 0
        self._background = BackgroundLoop("tier0-fault-server")
        self._server = self._background.run(asyncio.start_server(self._serve, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"

    @property
    def script(self) -> Script:
        """What is answered to the requests from now on."""
        return self._script

    @script.setter
    def script(self, script: Reply | Sequence[Reply] | Script) -> None:
        if isinstance(script, Reply):
            script = [script]
        if isinstance(script, Sequence):
            left = list(script)
            self._script: Script = lambda _: left.pop(0) if len(left) > 1 else left[0]
        else:
            self._script = script
        self.log.note("injected", script=str(script))

    @property
    def arrivals(self) -> list[Arrival]:
        """The requests until now."""
        return self.log.arrivals

    def close(self) -> None:
        """End all connections, and the thread; the port refuses from now on."""
        self._background.loop.call_soon_threadsafe(self._server.close)
        self._background.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connected += 1
        number = self._connected
        self.log.note("connected", number)
        arrival: Arrival | None = None
        try:
            http = h11.Connection(h11.SERVER)
            while (request := await _next_request(http, reader)) is not None:
                head, body = request
                if (fixed := self.setup.get(head.target.decode("latin-1"))) is not None:
                    writer.write(fixed.head + fixed.content)
                    http = h11.Connection(h11.SERVER)
                    continue
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                arrival = self.log.arrive(
                    number, head.method.decode(), head.target.decode("latin-1"), headers, body
                )
                if not await self._answer(arrival, self._script(arrival), reader, writer):
                    break
                http = h11.Connection(
                    h11.SERVER
                )  # what is sent here obeys no protocol: each request starts afresh
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):  # the last: this server is closed
            pass
        finally:
            if arrival is not None and arrival.ended is None:
                self.log.end(arrival, "given up")
            writer.close()
            self.log.note("closed", number)

    async def _answer(
        self, arrival: Arrival, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether the connection goes on."""
        if reply.delay and await _gone_within(reader, reply.delay):
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
                if await _gone_within(reader, reply.drip):
                    return False
        if reply.ending == "reset":
            reset(writer)
        else:
            await writer.drain()
        whole = reply.raw is None and reply.cut is None and reply.length is None
        self.log.end(arrival, "answered" if whole else "broken", reply.status if reply.raw is None else None)
        return reply.ending == "keep"


async def _next_request(
    http: h11.Connection, reader: asyncio.StreamReader
) -> tuple[h11.Request, bytes] | None:
    """Read one request; None where the caller has gone."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(READ_SIZE)
            if not data:
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


async def _gone_within(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Wait; return at once, and true, if the caller closes the connection meanwhile."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            return not await reader.read(1)
    return False


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crashed process does: with a reset, and without what was still to be sent."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
