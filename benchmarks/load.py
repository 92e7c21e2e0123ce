"""Load generator with a minimal client, so that the server is measured and not the client.

The load is either closed (a number of callers, each on one connection, who send the next request after a
response) or open (a number of requests per second regardless of the responses, each on a free or a new
connection, as independent users produce it).
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
    """A request that is sent repeatedly, with the statuses and durations of its responses."""

    host: str
    port: int
    request: bytes
    statuses: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    times: list[float] = field(default_factory=list)

    def note(self, head: bytes, seconds: float) -> None:
        status = head[9:12].decode()
        self.statuses[status] += 1
        if status == "200":
            self.times.append(seconds)
        elif b"\r\nretry-after:" not in head.lower():
            self.without_retry_after += 1

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
                while free and free[-1].transport.is_closing():  # closed by the server
                    free.pop()
                connection = free.pop() if free else await self.connect()
                connection.ask_until(0)
                await connection.idle
                free.append(connection)
            except OSError:
                self.statuses["none"] += 1

        start = time.perf_counter()
        tasks: list[asyncio.Task[None]] = []
        while (passed := time.perf_counter() - start) < seconds:
            tasks += [asyncio.ensure_future(once()) for _ in range(int(passed * rate) - len(tasks))]
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        for connection in free:
            connection.transport.close()


class Connection(asyncio.Protocol):
    """A connection that can send the next request as soon as the response has arrived."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""
        self.start = self.end = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def ask_until(self, end: float) -> None:
        """Send a request, and repeat it until *end*; `idle` is done after the last response."""
        if self.transport.is_closing():
            raise ConnectionResetError("the server closed the connection")
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
            self.idle.set_exception(exc or ConnectionResetError("the server closed the connection"))


def main(address: str, body: str, callers: str, seconds: str, rate: str) -> None:
    host, _, rest = address.removeprefix("http://").partition(":")
    port, _, path = rest.partition("/")
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    load = Load(host, int(port), (head + body).encode())
    start = time.perf_counter()
    with asyncio.Runner() as runner:
        if float(rate):
            runner.run(load.by_rate(float(rate), float(seconds)))
        else:
            runner.run(load.by_callers(int(callers), float(seconds)))
    took = time.perf_counter() - start
    total, times = load.statuses.total(), sorted(load.times) or [float("nan")]
    percentiles = {
        name: times[int(len(times) * share)] * 1000 for name, share in {"p50": 0.5, "p99": 0.99}.items()
    }
    found = {
        "rate": total / took,
        "answered": len(load.times) / took,
        "rejected": total - len(load.times),
        "statuses": load.statuses,
        "without_retry_after": load.without_retry_after,
    }
    print(json.dumps(found | percentiles))


if __name__ == "__main__":
    main(*sys.argv[1:])
