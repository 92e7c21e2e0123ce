"""What the fault proxy costs a request, and how long a client is judged.

The same requests go to one server by way of the proxy, which does nothing to them, and straight. Aims: at most 0.5 ms more at p50, and
a client judged in 10 s.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import threading
import time
from typing import Any

import httpx

import tier0
from tier0.faults import FaultProxy, FaultServer, Reply

CALLS = int(os.environ.get("CALLS", "2000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
CALLERS = 32
BODY = {"features": [[1.0, 2.0, 3.0, 4.0]]}
DECLARED: dict[str, Any] = {
    "attempts": 3, "threshold": 5, "reset": 0.3, "probes": 1, "timeout": 1.0, "attempt_timeout": 0.3, "retry_after": True, "retries_429": True,
    "budget": 0.2, "connections": 20, "traceparent": True, "knobs": {"timeout": 1.0, "attempt_timeout": 0.3, "reset_timeout": 0.3},
}  # fmt: skip


def serve(ready: multiprocessing.SimpleQueue[int]) -> None:
    with FaultServer(Reply(body={"predictions": [1]})) as server:
        ready.put(server.port)
        threading.Event().wait()


async def ask(url: str, callers: int) -> tuple[float, float]:
    """Return the median time of a request, in milliseconds, and how many were answered in a second."""
    seconds: list[float] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:

        async def call_on(times: int) -> None:
            for _ in range(times):
                start = time.perf_counter()
                (await http.post("/predict", json=BODY)).raise_for_status()
                seconds.append(time.perf_counter() - start)

        await asyncio.gather(*(call_on(20) for _ in range(callers)))
        seconds.clear()
        start = time.perf_counter()
        await asyncio.gather(*(call_on(CALLS // callers) for _ in range(callers)))
        return statistics.median(seconds) * 1000, len(seconds) / (time.perf_counter() - start)


def main() -> None:
    ready: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()
    server = multiprocessing.Process(target=serve, args=(ready,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ready.get()}"
    try:
        with FaultProxy(url) as proxy:
            for callers in (1, CALLERS):
                rounds = [(asyncio.run(ask(url, callers)), asyncio.run(ask(proxy.url, callers))) for _ in range(ROUNDS)]
                straight, proxied = (statistics.median(one[which][0] for one in rounds) for which in (0, 1))
                rate, proxied_rate = (statistics.median(one[which][1] for one in rounds) for which in (0, 1))
                print(f"{callers:3} callers  straight {straight:.3f} ms, {rate:,.0f}/s   by the proxy {proxied:.3f} ms, {proxied_rate:,.0f}/s   "
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
