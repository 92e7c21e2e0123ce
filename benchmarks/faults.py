"""What the fault proxy costs a request, what passes through it, and how long a client is judged.

The same requests go to one server by way of the proxy, which does nothing to them, and straight; on connections that are kept, without a
client library, whose own queue would be measured. The server is a process of its own, the proxy a thread beside whoever asks, as in a test.
Aims: at most 0.5 ms more at p50, and a client judged in 10 s.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import threading
import time
from typing import Any

import tier0
from tier0.faults import FaultProxy, FaultServer, Reply

CALLS = int(os.environ.get("CALLS", "4000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SMALL, LARGE = 20, 5_000_000
CASES = ((1, SMALL, CALLS), (32, SMALL, CALLS), (4, LARGE, 40))
"""Callers, bytes of an answer, and calls."""
DECLARED: dict[str, Any] = {
    "attempts": 3, "threshold": 5, "reset": 0.3, "probes": 1, "timeout": 1.0, "attempt_timeout": 0.3, "retry_after": True, "retries_429": True,
    "budget": 0.2, "connections": 20, "traceparent": True, "knobs": {"timeout": 1.0, "attempt_timeout": 0.3, "reset_timeout": 0.3},
}  # fmt: skip


def serve(ready: multiprocessing.SimpleQueue[int]) -> None:
    with FaultServer(lambda arrival: Reply(body=bytes(int(arrival.path[1:])))) as server:
        ready.put(server.port)
        threading.Event().wait()


async def ask(port: int, callers: int, size: int, calls: int) -> tuple[float, float]:
    """Return the median time of a request, in milliseconds, and how many were answered in a second."""
    seconds: list[float] = []

    async def call_on(times: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(times):
            start = time.perf_counter()
            writer.write(f"POST /{size} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(size)
            seconds.append(time.perf_counter() - start)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(call_on(calls // callers) for _ in range(callers)))
    return statistics.median(seconds) * 1000, len(seconds) / (time.perf_counter() - start)


def main() -> None:
    ready: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()
    server = multiprocessing.Process(target=serve, args=(ready,), daemon=True)
    server.start()
    port = ready.get()
    try:
        with FaultProxy(f"127.0.0.1:{port}") as proxy:
            for callers, size, calls in CASES:
                rounds = [
                    [asyncio.run(ask(where, callers, size, calls)) for where in (port, proxy.port)]
                    for _ in range(ROUNDS)
                ]
                (straight, rate), (proxied, proxied_rate) = ([statistics.median(values) for values in zip(*way, strict=True)]
                                                             for way in zip(*rounds, strict=True))  # fmt: skip
                print(f"{callers:3} callers, {size:9,} bytes   straight {straight:8.3f} ms {rate:7,.0f}/s {rate * size / 1e6:6,.0f} MB/s   "
                      f"by the proxy {proxied:8.3f} ms {proxied_rate:7,.0f}/s {proxied_rate * size / 1e6:6,.0f} MB/s   "
                      f"{proxied - straight:+.3f} ms, {proxied_rate / rate:.2f} of the throughput")  # fmt: skip
    finally:
        server.terminate()
        server.join()
    judged = []
    for _ in range(3):
        start = time.perf_counter()
        verdict = tier0.check_client("tier0.client:BentoMLClient", DECLARED)
        judged.append(time.perf_counter() - start)
    print(
        f"a client judged by {len(verdict.with_status('pass'))} checks in {statistics.median(judged):.1f} s ({min(judged):.1f} to {max(judged):.1f})"
    )


if __name__ == "__main__":
    main()
