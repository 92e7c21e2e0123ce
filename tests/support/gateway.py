"""A gateway that fails a share of the requests to a service, and a server that hangs up after each 500."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

import h11
import httpx

Fault = Literal["503", "502", "504", "429", "reset", "reset_reused"]
FAULTS: tuple[Fault, ...] = ("503", "502", "504", "429", "reset", "reset_reused")
RESET = struct.pack("ii", 1, 0)
HOP_BY_HOP = {b"connection", b"content-length", b"host", b"keep-alive", b"transfer-encoding"}
NOT_SENT = {"connection", "content-encoding", "content-length", "date", "keep-alive", "transfer-encoding"}
REASONS = {
    429: b"Too Many Requests",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}


class HangUpError(Exception):
    """The connection ends here."""


class Loopback:
    """An HTTP/1.1 server on loopback, on an event loop in a thread of its own."""

    url: str

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def answer(self, request: h11.Request, body: bytes, connection: Connection) -> None:
        """Answer a request, or raise `HangUpError`."""
        raise NotImplementedError

    async def begin(self) -> None:
        """Do what must be done on the event loop before the first request."""

    async def end(self) -> None:
        """Do what must be done on the event loop after the last request."""

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop, self._tasks = (
            asyncio.get_running_loop(),
            asyncio.Event(),
            dict[asyncio.Task[Any], asyncio.StreamWriter](),
        )
        await self.begin()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await self._stop.wait()
        server.close()
        for writer in self._tasks.values():
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.end()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        connection = Connection(reader, writer)
        try:
            while (received := await connection.receive()) is not None:
                await self.answer(*received, connection)
                if not connection.reusable():
                    break
        except (HangUpError, h11.ProtocolError, OSError):
            pass
        finally:
            del self._tasks[task]
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class Connection:
    """One connection to a caller."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER)
        self.answered = 0
        self.doomed = False

    async def receive(self) -> tuple[h11.Request, bytes] | None:
        """Return the next request and its body; None where there is none."""
        request, body = None, b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return request, body
            else:
                return None

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Send an answer."""
        fields = [*headers, ("Content-Length", str(len(body)))]
        out = self._http.send(
            h11.Response(status_code=status, headers=fields, reason=REASONS.get(status, b""))
        )
        out += self._http.send(h11.Data(data=body)) + self._http.send(h11.EndOfMessage())
        self._writer.write(out)
        await self._writer.drain()
        self.answered += 1

    def reusable(self) -> bool:
        """Make ready for the next request on this connection; return False where there can be none."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        wire: socket.socket = self._writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._writer.transport.abort()
        raise HangUpError


class Gateway(Loopback):
    """A gateway in front of *url* that fails some of the requests and passes on all others.

    Args:
        url: of the service behind it.
        share: of the requests that fail.
        faults: how they fail, drawn at random: a status of the gateway's own (429 with Retry-After: 0),
            ``reset`` before the answer, or ``reset_reused``: the connection is reset once it is reused.
        seed: of the random draw.

    Attributes:
        failed: how often each fault came about.
        passed: how many requests were passed on.
    """

    def __init__(self, url: str, share: float, faults: Sequence[Fault] = FAULTS, seed: int = 0) -> None:
        self.failed: Counter[Fault] = Counter()
        self.passed = 0
        self._upstream, self._share, self._faults = url, share, faults
        self._random = random.Random(seed)

    async def begin(self) -> None:
        self._client = httpx.AsyncClient(trust_env=False, timeout=60)

    async def end(self) -> None:
        await self._client.aclose()

    async def answer(self, request: h11.Request, body: bytes, connection: Connection) -> None:
        if connection.doomed:
            self.failed["reset_reused"] += 1
            connection.reset()
        fault = self._random.choice(self._faults) if self._random.random() < self._share else None
        if fault == "reset_reused":
            connection.doomed = True
        elif fault is not None:
            self.failed[fault] += 1
            await self._fail(fault, connection)
            return
        headers = [(name, value) for name, value in request.headers if name not in HOP_BY_HOP]
        method, target = request.method.decode(), request.target.decode()
        try:
            response = await self._client.request(
                method, self._upstream + target, headers=headers, content=body
            )
        except httpx.HTTPError:
            connection.reset()
        self.passed += 1
        kept = [(name, value) for name, value in response.headers.multi_items() if name not in NOT_SENT]
        await connection.send(response.status_code, kept, response.content)

    async def _fail(self, fault: Fault, connection: Connection) -> None:
        if fault == "reset":
            connection.reset()
        again = [("Retry-After", "0")] if fault == "429" else []
        page = (
            f"<html><body><h1>{fault} {REASONS[int(fault)].decode()}</h1><hr>gateway</body></html>".encode()
        )
        await connection.send(int(fault), [("Content-Type", "text/html"), *again], page)


class HangsUpAfter500(Loopback):
    """A service that responds to bad input with 500, then closes the connection unannounced, as uvicorn does.

    Args:
        predict: is given the body of a request as it was parsed; what it raises becomes a 500.

    Attributes:
        hung_up: how often.
    """

    def __init__(self, predict: Callable[[Any], Any]) -> None:
        self.hung_up = 0
        self._predict = predict

    async def answer(self, request: h11.Request, body: bytes, connection: Connection) -> None:
        kind = [("Content-Type", "application/json")]
        if request.target in {b"/livez", b"/readyz"}:
            await connection.send(200, kind, b"{}")
        elif request.target != b"/predict":
            await connection.send(404, kind, b'{"detail": "Not Found"}')
        elif request.method != b"POST":
            await connection.send(405, kind, b'{"detail": "Method Not Allowed"}')
        else:
            try:
                answer = json.dumps(self._predict(json.loads(body)), allow_nan=False).encode()
            except Exception as problem:
                self.hung_up += 1
                await connection.send(500, [("Content-Type", "text/plain")], b"Internal Server Error")
                raise HangUpError from problem
            await connection.send(200, kind, answer)
