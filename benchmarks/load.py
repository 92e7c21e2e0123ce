"""Callers that ask a server over and over, each on one connection: the least that a client can do, so that the server is measured."""

from __future__ import annotations

import asyncio
import json
import sys
import time


async def ask(address: str, body: bytes, callers: int, seconds: float) -> dict[str, float]:
    host, _, rest = address.removeprefix("http://").partition(":")
    port, _, path = rest.partition("/")
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    times: list[float] = []
    refused = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(host, int(port))
        while (start := time.perf_counter()) < end:
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r")[0]
            await reader.readexactly(int(length))
            refused += b" 200 " not in answer[:20]
            times.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(caller() for _ in range(callers)))
    times.sort()
    at = {"p50": 0.5, "p99": 0.99}
    return {"rate": len(times) / seconds, "refused": refused, **{name: times[int(len(times) * share)] * 1000 for name, share in at.items()}}


if __name__ == "__main__":
    address, body, callers, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(ask(address, body.encode(), int(callers), float(seconds)))))
