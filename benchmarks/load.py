"""Asking a server over and over, with the least that a client can do, so that the server is measured.

Either by so many callers, each on one connection, who ask when they were answered; or so often a second, whatever comes back, each on
a connection that is free or on a new one: as the users of a service do, who do not know how busy it is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Load:
    """What is asked, and what came back."""

    host: str
    port: int
    request: bytes
    statuses: Counter[str] = field(default_factory=Counter)
    impolite: int = 0
    times: list[float] = field(default_factory=list)

    def note(self, head: bytes, seconds: float) -> None:
        status = head[9:12].decode()
        self.statuses[status] += 1
        if status == "200":
            self.times.append(seconds)
        elif b"\r\nretry-after:" not in head.lower():
            self.impolite += 1

    async def connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self), self.host, self.port
        )
        return connection

    async def by_callers(self, callers: int, seconds: float) -> None:
        end = time.perf_counter() + seconds

        async def caller() -> None:
            connection = await self.connect()
            connection.ask_until(end)
            await connection.idle
            connection.transport.close()

        await asyncio.gather(*(caller() for _ in range(callers)))

    async def by_rate(self, rate: float, seconds: float) -> None:
        free: list[Connection] = []

        async def once() -> None:
            try:
                while free and free[-1].transport.is_closing():  # the server has hung up
                    free.pop()
                connection = free.pop() if free else await self.connect()
                connection.ask_until(0)
                await connection.idle
                free.append(connection)
            except OSError:
                self.statuses["none"] += 1

        start = time.perf_counter()
        asked: list[asyncio.Task[None]] = []
        while (passed := time.perf_counter() - start) < seconds:
            asked += [asyncio.ensure_future(once()) for _ in range(int(passed * rate) - len(asked))]
            await asyncio.sleep(0.001)
        await asyncio.gather(*asked)
        for connection in free:
            connection.transport.close()


class Connection(asyncio.Protocol):
    """Asks, and asks again as soon as the answer is there."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""
        self.start = self.end = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def ask_until(self, end: float) -> None:
        """Ask once, and again until *end*; `idle` is done after the last answer."""
        if self.transport.is_closing():
            raise ConnectionResetError("the server hung up")
        self.end = end
        self.idle = asyncio.get_running_loop().create_future()
        self.ask()

    def ask(self) -> None:
        self.start = time.perf_counter()
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]):
            return
        now = time.perf_counter()
        self.received = b""
        self.load.note(head, now - self.start)
        if now < self.end:
            self.ask()
        else:
            self.idle.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.idle.done():
            self.idle.set_exception(exc or ConnectionResetError("the server hung up"))


def main(address: str, body: str, callers: str, seconds: str, rate: str) -> None:
    host, _, rest = address.removeprefix("http://").partition(":")
    port, _, path = rest.partition("/")
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    load = Load(host, int(port), (head + body).encode())
    start = time.perf_counter()
    with asyncio.Runner() as runner:
        runner.run(
            load.by_rate(float(rate), float(seconds))
            if float(rate)
            else load.by_callers(int(callers), float(seconds))
        )
    took = time.perf_counter() - start
    total, times = load.statuses.total(), sorted(load.times) or [float("nan")]
    percentiles = {
        name: times[int(len(times) * share)] * 1000 for name, share in {"p50": 0.5, "p99": 0.99}.items()
    }
    found = {
        "rate": total / took,
        "answered": len(load.times) / took,
        "refused": total - len(load.times),
        "statuses": load.statuses,
        "impolite": load.impolite,
    }
    print(json.dumps(found | percentiles))


if __name__ == "__main__":
    main(*sys.argv[1:])
