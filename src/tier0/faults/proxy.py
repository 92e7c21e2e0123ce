"""A TCP proxy that does to connections what networks do, in Toxiproxy's words and with its meanings.

Every fault is a context manager: it acts on connections that are open and on new ones, and is taken back at its end. See
https://github.com/Shopify/toxiproxy#toxics for the words.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from tier0.faults.background import BackgroundLoop
from tier0.faults.log import FaultLog
from tier0.faults.server import HOST, READ_SIZE, reset

Stream = Literal["upstream", "downstream"]
TICK_SECONDS = 0.05
"""Seconds between two pieces of what passes slowly."""
CHUNKS = 64
"""Waiting to be passed on, before the sender has to wait, too."""


@dataclass(frozen=True, eq=False)
class _Toxic:
    """A fault that acts now."""

    kind: str
    stream: Stream
    toxicity: float
    number: int
    latency: float = 0.0
    jitter: float = 0.0
    rate: float = 0.0
    size: int = 0
    variation: int = 0
    delay: float = 0.0
    after: float = 0.0
    limit: int = 0


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    number: int
    caller: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passed: dict[str, int] = field(default_factory=lambda: {"upstream": 0, "downstream": 0})
    swallows: set[str] = field(default_factory=set)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class FaultProxy:
    """Stands before a server on a port of its own, on a thread and an event loop of its own.

    Args:
        target: the server's URL, or ``host:port``.
        seed: the same seed hits the same connections and draws the same jitter.
    """

    def __init__(self, target: str, *, seed: int = 7) -> None:
        parts = urlsplit(target if "//" in target else f"//{target}")
        if not parts.hostname or not parts.port:
            raise ValueError(
                f"target = {target!r} names no host and port: give one such as http://127.0.0.1:3000"
            )
        self.log = FaultLog()
        self._target = (parts.hostname, parts.port)
        self._seed = seed
        self._toxics: list[_Toxic] = []
        self._made = 0
        self._links: set[_Link] = set()
        self._connections = 0
        self._background = BackgroundLoop("tier0-fault-proxy")
        self._server = self._background.run(asyncio.start_server(self._link, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"

    @contextmanager
    def latency(
        self, seconds: float, *, jitter: float = 0.0, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Delay what passes by *seconds*, give or take up to *jitter*; the order stays."""
        with self._acting(kind="latency", stream=stream, toxicity=toxicity, latency=seconds, jitter=jitter):
            yield

    @contextmanager
    def bandwidth(
        self, kilobytes: float, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Let no more than so many kilobytes (of 1000 bytes) a second pass."""
        with self._acting(kind="bandwidth", stream=stream, toxicity=toxicity, rate=kilobytes * 1000):
            yield

    @contextmanager
    def slow_close(
        self, seconds: float, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Pass the end of a connection on only after *seconds*."""
        with self._acting(kind="slow_close", stream=stream, toxicity=toxicity, delay=seconds):
            yield

    @contextmanager
    def timeout(
        self, seconds: float = 0.0, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Let nothing pass, and close the connection after *seconds*; with 0, when the fault is taken back."""
        with self._acting(kind="timeout", stream=stream, toxicity=toxicity, after=seconds):
            yield

    @contextmanager
    def reset_peer(
        self, seconds: float = 0.0, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Reset the connection *seconds* after something was to pass."""
        with self._acting(kind="reset_peer", stream=stream, toxicity=toxicity, after=seconds):
            yield

    @contextmanager
    def slicer(
        self,
        size: int,
        *,
        variation: int = 0,
        delay: float = 0.0,
        stream: Stream = "downstream",
        toxicity: float = 1.0,
    ) -> Iterator[None]:
        """Pass on small pieces of *size* bytes, give or take *variation*, with *delay* seconds between them."""
        with self._acting(
            kind="slicer", stream=stream, toxicity=toxicity, size=size, variation=variation, delay=delay
        ):
            yield

    @contextmanager
    def limit_data(
        self, size: int, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Close the connection when *size* bytes have passed since it was made."""
        with self._acting(kind="limit_data", stream=stream, toxicity=toxicity, limit=size):
            yield

    @contextmanager
    def down(self) -> Iterator[None]:
        """Close every connection, and refuse new ones, as if the server were not there."""
        self.log.note("injected", kind="down")
        self._background.run(self._stop_listening())
        try:
            yield
        finally:
            self._server = self._background.run(asyncio.start_server(self._link, HOST, self.port))
            self.log.note("reset", kind="down")

    def close(self) -> None:
        """End all connections, and the thread."""
        self._background.run(self._stop_listening())
        self._background.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _acting(self, *, kind: str, stream: Stream, toxicity: float, **how: float) -> Iterator[None]:
        if stream not in {"upstream", "downstream"}:
            raise ValueError(f"stream = {stream!r}: say upstream (to the server) or downstream (from it)")
        if not 0 <= toxicity <= 1:
            raise ValueError(
                f"toxicity = {toxicity!r} is no share of the connections: give a number from 0 to 1"
            )
        if bad := [name for name, value in how.items() if value < 0] or [
            name for name in ("rate", "size") if how.get(name) == 0
        ]:
            raise ValueError(f"{kind} with {bad[0]} = {how[bad[0]]!r}: give more than that")
        self._made += 1
        toxic = _Toxic(kind, stream, toxicity, self._made, **how)  # type: ignore[arg-type]  # sizes are whole numbers where they are asked for
        self.log.note("injected", 0, kind=kind, stream=stream, toxicity=toxicity, **how)
        self._background.run(self._set([*self._toxics, toxic]))
        try:
            yield
        finally:
            self._background.run(self._set([one for one in self._toxics if one is not toxic]))
            self.log.note("reset", kind=kind, stream=stream)

    async def _set(self, toxics: list[_Toxic]) -> None:
        """Let these faults act; connections whose data was swallowed end when no fault swallows it any more: nothing could follow."""
        self._toxics = toxics
        for link in list(self._links):
            for stream in list(link.swallows):
                if not any(toxic.kind == "timeout" for toxic in self._of(link, stream)):
                    self._end(link)

    async def _stop_listening(self) -> None:
        self._server.close()
        for link in list(self._links):
            self._end(link, hard=True)

    def _of(self, link: _Link, stream: str) -> list[_Toxic]:
        """Return the faults that act on one direction of a connection; whether one does is drawn once for each connection."""
        return [
            toxic
            for toxic in self._toxics
            if toxic.stream == stream
            and random.Random(f"{self._seed}/{toxic.number}/{link.number}").random() < toxic.toxicity  # noqa: S311
        ]

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        self.log.note("connected", number)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError as problem:
            self.log.note("closed", number, why=f"the server cannot be reached: {problem}")
            reset(writer)
            return
        link = _Link(number, writer, server_writer)
        self._links.add(link)
        ways = (
            asyncio.ensure_future(self._pass(link, "upstream", reader, server_writer)),
            asyncio.ensure_future(self._pass(link, "downstream", server_reader, writer)),
        )
        both: asyncio.Future[Any] = asyncio.ensure_future(asyncio.wait(ways))
        ended: asyncio.Future[Any] = asyncio.ensure_future(link.ended.wait())
        try:
            await asyncio.wait({both, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ways, both, ended):
                task.cancel()
            await asyncio.gather(*ways, both, ended, return_exceptions=True)
            self._end(link)
            self._links.discard(link)
            self.log.note("closed", number)

    def _end(self, link: _Link, *, hard: bool = False) -> None:
        for writer in (link.caller, link.server):
            if hard:
                reset(writer)
            else:
                writer.close()
        link.ended.set()

    async def _pass(
        self, link: _Link, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass one direction on, until it ends; what arrives while something is delayed waits in a queue, and its delay has begun."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)
        loop = asyncio.get_running_loop()

        async def read() -> None:
            data = b"-"
            while data:
                try:
                    data = await reader.read(READ_SIZE)
                except OSError:
                    data = b""
                await waiting.put((loop.time(), data))

        reading = asyncio.ensure_future(read())
        draw = random.Random(f"{self._seed}/{link.number}/{stream}")  # noqa: S311 - for jitter
        try:
            while True:
                arrived, data = await waiting.get()
                toxics = self._of(link, stream)
                if not data:
                    await asyncio.sleep(
                        max((toxic.delay for toxic in toxics if toxic.kind == "slow_close"), default=0.0)
                    )
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                if not toxics:
                    writer.write(data)
                    await writer.drain()
                    link.passed[stream] += len(data)
                elif not await self._pass_badly(link, stream, toxics, data, arrived, writer, draw):
                    return
        except OSError:
            link.ended.set()
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _pass_badly(
        self,
        link: _Link,
        stream: Stream,
        toxics: list[_Toxic],
        data: bytes,
        arrived: float,
        writer: asyncio.StreamWriter,
        draw: random.Random,
    ) -> bool:
        """Do to one piece of data what the faults say; return whether the direction goes on."""
        for toxic in toxics:
            if toxic.kind == "timeout":
                link.swallows.add(stream)
                if toxic.after:
                    await asyncio.sleep(toxic.after)
                    link.ended.set()
                return not toxic.after
            if toxic.kind == "reset_peer":
                await asyncio.sleep(toxic.after)
                self._end(link, hard=True)
                return False
            if toxic.kind == "latency":
                due = arrived + max(0.0, toxic.latency + draw.uniform(-toxic.jitter, toxic.jitter))
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        limit = min((toxic.limit for toxic in toxics if toxic.kind == "limit_data"), default=None)
        if limit is not None:
            data = data[: max(0, limit - link.passed[stream])]
        async for piece in _pieces(data, toxics, draw):
            writer.write(piece)
            await writer.drain()
            link.passed[stream] += len(piece)
        if limit is not None and link.passed[stream] >= limit:
            self._end(link)
            return False
        return True


async def _pieces(data: bytes, toxics: list[_Toxic], draw: random.Random) -> AsyncIterator[bytes]:
    """Cut data as the faults say, and give each piece when it is its time."""
    rate = min((toxic.rate for toxic in toxics if toxic.kind == "bandwidth"), default=None)
    slicer = next((toxic for toxic in toxics if toxic.kind == "slicer"), None)
    while data:
        size = len(data)
        if slicer is not None:
            size = max(1, slicer.size + draw.randint(-slicer.variation, slicer.variation))
        elif rate is not None:
            size = max(1, int(rate * TICK_SECONDS))
        piece, data = data[:size], data[size:]
        if rate is not None:
            await asyncio.sleep(len(piece) / rate)
        yield piece
        if (
            slicer is not None
        ):  # after the last one, too: whether more follows depends on how the data was read
            await asyncio.sleep(slicer.delay)
