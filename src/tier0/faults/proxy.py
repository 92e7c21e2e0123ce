"""A TCP proxy that injects network faults, with the names and the semantics of Toxiproxy's toxics.

Every fault is a context manager: it affects open and new connections until the block ends. The names are
explained at https://github.com/Shopify/toxiproxy#toxics.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from tier0.faults.listener import Listener
from tier0.faults.server import READ_SIZE, reset

Stream = Literal["upstream", "downstream"]
TICK_SECONDS = 0.05
"""Seconds between two chunks of data whose bandwidth is limited."""
CHUNKS = 64
"""Chunks that may wait to be forwarded before reading from the sender pauses."""


@dataclass(frozen=True, eq=False)
class _Toxic:
    """An active fault."""

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
    drops: set[str] = field(default_factory=set)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class FaultProxy(Listener):
    """A proxy in front of a server, with its own port, thread and event loop.

    Args:
        target: URL of the server, or ``host:port``.
        seed: random seed; the same seed affects the same connections and draws the same jitter.

    Raises:
        ValueError: *target* has no host or no port.
    """

    def __init__(self, target: str, *, seed: int = 7) -> None:
        parts = urlsplit(target if "//" in target else f"//{target}")
        if not parts.hostname or not parts.port:
            raise ValueError(
                f"invalid target {target!r}: expected a host and a port, such as http://127.0.0.1:3000"
            )
        super().__init__("tier0-fault-proxy")
        self._target = (parts.hostname, parts.port)
        self._seed = seed
        self._toxics: list[_Toxic] = []
        self._toxics_added = 0
        self._links: set[_Link] = set()
        self._connections = 0
        self._listen()

    @contextmanager
    def latency(
        self, seconds: float, *, jitter: float = 0.0, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Delay data by *seconds*, plus or minus up to *jitter*; its order is kept."""
        with self._inject(kind="latency", stream=stream, toxicity=toxicity, latency=seconds, jitter=jitter):
            yield

    @contextmanager
    def bandwidth(
        self, kilobytes: float, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Limit the bandwidth to *kilobytes* (of 1000 bytes) per second."""
        with self._inject(kind="bandwidth", stream=stream, toxicity=toxicity, rate=kilobytes * 1000):
            yield

    @contextmanager
    def slow_close(
        self, seconds: float, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Delay the close of a connection by *seconds*."""
        with self._inject(kind="slow_close", stream=stream, toxicity=toxicity, delay=seconds):
            yield

    @contextmanager
    def timeout(
        self, seconds: float = 0.0, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Drop all data, and close the connection after *seconds*; with 0, when the fault ends."""
        with self._inject(kind="timeout", stream=stream, toxicity=toxicity, after=seconds):
            yield

    @contextmanager
    def reset_peer(
        self, seconds: float = 0.0, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Reset the connection *seconds* after data arrived."""
        with self._inject(kind="reset_peer", stream=stream, toxicity=toxicity, after=seconds):
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
        """Split data into chunks of *size* bytes, plus or minus *variation*, *delay* seconds apart."""
        with self._inject(
            kind="slicer", stream=stream, toxicity=toxicity, size=size, variation=variation, delay=delay
        ):
            yield

    @contextmanager
    def limit_data(
        self, size: int, *, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[None]:
        """Close each connection once *size* bytes have been forwarded on it."""
        with self._inject(kind="limit_data", stream=stream, toxicity=toxicity, limit=size):
            yield

    def _close_port(self) -> None:
        self._background.run(self._stop_listening())

    @contextmanager
    def _inject(self, *, kind: str, stream: Stream, toxicity: float, **amounts: float) -> Iterator[None]:
        if stream not in {"upstream", "downstream"}:
            raise ValueError(
                f"invalid stream {stream!r}: expected upstream (to the server) or downstream (from it)"
            )
        if not 0 <= toxicity <= 1:
            raise ValueError(f"toxicity must be a share of the connections, from 0 to 1, got {toxicity!r}")
        for name, amount in amounts.items():
            if amount < 0:
                raise ValueError(f"{name} of {kind} must not be negative, got {amount!r}")
            if amount == 0 and name in {"rate", "size"}:
                raise ValueError(f"{name} of {kind} must be greater than 0, got {amount!r}")
        self._toxics_added += 1
        toxic = _Toxic(kind, stream, toxicity, self._toxics_added, **amounts)  # type: ignore[arg-type]  # sizes are int
        self.log.note("injected", 0, kind=kind, stream=stream, toxicity=toxicity, **amounts)
        self._background.run(self._set([*self._toxics, toxic]))
        try:
            yield
        finally:
            self._background.run(self._set([one for one in self._toxics if one is not toxic]))
            self.log.note("reset", kind=kind, stream=stream)

    async def _set(self, toxics: list[_Toxic]) -> None:
        """Activate exactly these faults.

        A connection on which data was dropped is closed once nothing drops its data any more: the rest of
        the stream would be incomplete.
        """
        self._toxics = toxics
        for link in list(self._links):
            for stream in list(link.drops):
                if not any(toxic.kind == "timeout" for toxic in self._of(link, stream)):
                    self._end(link)

    def _reset_connections(self) -> None:
        for link in list(self._links):
            self._end(link, hard=True)

    def _of(self, link: _Link, stream: str) -> list[_Toxic]:
        """Return the faults that affect one direction of a connection, drawn once per connection."""
        return [
            toxic
            for toxic in self._toxics
            if toxic.stream == stream
            and random.Random(f"{self._seed}/{toxic.number}/{link.number}").random() < toxic.toxicity  # noqa: S311
        ]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        self.log.note("connected", number)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError as problem:
            self.log.note("closed", number, why=f"cannot reach the server: {problem}")
            reset(writer)
            return
        except asyncio.CancelledError:
            reset(writer)
            raise
        link = _Link(number, writer, server_writer)
        self._links.add(link)
        directions = (
            asyncio.ensure_future(self._forward(link, "upstream", reader, server_writer)),
            asyncio.ensure_future(self._forward(link, "downstream", server_reader, writer)),
        )
        both: asyncio.Future[Any] = asyncio.ensure_future(asyncio.wait(directions))
        ended: asyncio.Future[Any] = asyncio.ensure_future(link.ended.wait())
        try:
            await asyncio.wait({both, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*directions, both, ended):
                task.cancel()
            await asyncio.gather(*directions, both, ended, return_exceptions=True)
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

    async def _forward(
        self, link: _Link, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forward one direction until it ends.

        Data that arrives during a delay waits in a queue, and its own delay counts from its arrival.
        """
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
        draw = random.Random(f"{self._seed}/{link.number}/{stream}")  # noqa: S311 - jitter
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
                elif not await self._forward_with_faults(link, stream, toxics, data, arrived, writer, draw):
                    return
        except OSError:
            link.ended.set()
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _forward_with_faults(
        self,
        link: _Link,
        stream: Stream,
        toxics: list[_Toxic],
        data: bytes,
        arrived: float,
        writer: asyncio.StreamWriter,
        draw: random.Random,
    ) -> bool:
        """Apply *toxics* to one chunk of data, and return whether the direction stays open."""
        for toxic in toxics:
            if toxic.kind == "timeout":
                link.drops.add(stream)
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
        async for chunk in _chunks(data, toxics, draw):
            writer.write(chunk)
            await writer.drain()
            link.passed[stream] += len(chunk)
        if limit is not None and link.passed[stream] >= limit:
            self._end(link)
            return False
        return True


async def _chunks(data: bytes, toxics: list[_Toxic], draw: random.Random) -> AsyncIterator[bytes]:
    """Split data as the faults require, and yield each chunk when it is due."""
    rate = min((toxic.rate for toxic in toxics if toxic.kind == "bandwidth"), default=None)
    slicer = next((toxic for toxic in toxics if toxic.kind == "slicer"), None)
    while data:
        size = len(data)
        if slicer is not None:
            size = max(1, slicer.size + draw.randint(-slicer.variation, slicer.variation))
        elif rate is not None:
            size = max(1, int(rate * TICK_SECONDS))
        chunk, data = data[:size], data[size:]
        if rate is not None:
            await asyncio.sleep(len(chunk) / rate)
        yield chunk
        # After the last chunk, too: whether more follows depends on how the data was read.
        if slicer is not None:
            await asyncio.sleep(slicer.delay)
