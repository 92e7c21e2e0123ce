"""Overhead of the fault proxy per request, its throughput, and the duration of a client's checks.

The same requests are sent to one server directly and through the proxy, which passes them on unchanged, on
kept connections and without a client library, whose own queue would be measured. The server is a process of
its own, and the proxy a thread of this process, as in a test. Targets: at most 0.5 ms more at p50, and 10 s
to check a client.
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
"""Numbers of callers, bytes of a response, and calls."""
DECLARED: dict[str, Any] = {
    "attempts": 3, "threshold": 5, "reset": 0.3, "probes": 1, "timeout": 1.0, "attempt_timeout": 0.3,
    "retry_after": True, "retries_429": True, "budget": 0.2, "connections": 20, "traceparent": True,
    "knobs": {"timeout": 1.0, "attempt_timeout": 0.3, "reset_timeout": 0.3},
}  # fmt: skip


def serve(ready: multiprocessing.SimpleQueue[int]) -> None:
    with FaultServer(lambda arrival: Reply(body=bytes(int(arrival.path[1:])))) as server:
        ready.put(server.port)
        threading.Event().wait()


async def ask(port: int, callers: int, size: int, calls: int) -> tuple[float, float]:
    """Return the median duration of a request in milliseconds, and the number of responses per second."""
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
                    [asyncio.run(ask(target, callers, size, calls)) for target in (port, proxy.port)]
                    for _ in range(ROUNDS)
                ]
                (direct, rate), (proxied, proxied_rate) = (
                    [statistics.median(values) for values in zip(*measured, strict=True)]
                    for measured in zip(*rounds, strict=True)
                )
                print(
                    f"{callers:3} callers, {size:9,} bytes   direct {describe(direct, rate, size)}   "
                    f"through the proxy {describe(proxied, proxied_rate, size)}   "
                    f"{proxied - direct:+.3f} ms, {proxied_rate / rate:.2f} of the throughput"
                )
    finally:
        server.terminate()
        server.join()
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        verdict = tier0.check_client("tier0.client:BentoMLClient", DECLARED)
        durations.append(time.perf_counter() - start)
    print(
        f"{len(verdict.with_status('pass'))} checks of a client in {statistics.median(durations):.1f} s "
        f"({min(durations):.1f} to {max(durations):.1f})"
    )


def describe(milliseconds: float, rate: float, size: int) -> str:
    return f"{milliseconds:8.3f} ms {rate:7,.0f}/s {rate * size / 1e6:6,.0f} MB/s"


if __name__ == "__main__":
    main()
