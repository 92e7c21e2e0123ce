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


@dataclass
class Load:
    """What is asked, and what came back."""

    host: str
    port: int
    request: bytes
    statuses: Counter[str] = field(default_factory=Counter)
    impolite: int = 0
    times: list[float] = field(default_factory=list)

    async def ask(self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        reader, writer = connection
        start = time.perf_counter()
        writer.write(self.request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r")[0]))
        status = head[9:12].decode()
        self.statuses[status] += 1
        if status == "200":
            self.times.append(time.perf_counter() - start)
        elif b"\r\nretry-after:" not in head:
            self.impolite += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def by_callers(self, callers: int, seconds: float) -> None:
        end = time.perf_counter() + seconds

        async def caller() -> None:
            connection = await self.connect()
            while time.perf_counter() < end:
                await self.ask(connection)
            connection[1].close()

        await asyncio.gather(*(caller() for _ in range(callers)))

    async def by_rate(self, rate: float, seconds: float) -> None:
        free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def once() -> None:
            try:
                connection = free.pop() if free else await self.connect()
                await self.ask(connection)
                free.append(connection)
            except (OSError, EOFError):
                self.statuses["none"] += 1

        start = time.perf_counter()
        asked: list[asyncio.Task[None]] = []
        while (passed := time.perf_counter() - start) < seconds:
            asked += [asyncio.ensure_future(once()) for _ in range(int(passed * rate) - len(asked))]
            await asyncio.sleep(0.001)
        await asyncio.gather(*asked)
        for _, writer in free:
            writer.close()


def main(address: str, body: str, callers: str, seconds: str, rate: str) -> None:
    host, _, rest = address.removeprefix("http://").partition(":")
    port, _, path = rest.partition("/")
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    load = Load(host, int(port), (head + body).encode())
    start = time.perf_counter()
    asyncio.run(load.by_rate(float(rate), float(seconds)) if float(rate) else load.by_callers(int(callers), float(seconds)))
    took = time.perf_counter() - start
    total, times = load.statuses.total(), sorted(load.times) or [float("nan")]
    percentiles = {name: times[int(len(times) * share)] * 1000 for name, share in {"p50": 0.5, "p99": 0.99}.items()}
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
