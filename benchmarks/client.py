"""Overhead of the client per call, compared with a bare `httpx.AsyncClient` and the same requests and server.

Targets: at most 10 % and 0.1 ms more, with 1 and with 32 callers; a rejection by an open circuit under 20 µs;
    with an
Opik that hangs, is down or misconfigured at most 0.2 ms more, and 2 s to close; three concurrent models of
100 ms each in the time of one plus 5 %; constant memory.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import psutil

from tier0.client import BentoMLClient, CircuitOpenError
from tier0.client.opik_tracer import OpikTracer

CALLS = int(os.environ.get("CALLS", "2000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
BLOCK = 64
Call = Callable[[], Awaitable[object]]
BODY = {"features": [[1.0, 2.0, 3.0, 4.0]]}
ANSWER = json.dumps(
    {
        "predictions": [1],
        "probabilities": [[0.25, 0.75]],
        "classes": [0, 1],
        "model_tag": "m:1",
        "latency_ms": 0.1,
    }
).encode()
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
)


class Replies(asyncio.Protocol):
    """Minimal server that answers every request, after a delay if its path contains ``/slow/``."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        if data.endswith(b"}"):
            delay = 0.1 if b"/slow/" in self.received else 0.0
            self.received = b""
            transport: Any = self.transport  # a stream's
            asyncio.get_running_loop().call_later(delay, transport.write, REPLY)


def serve(ready: multiprocessing.SimpleQueue[int]) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Replies, "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


async def seconds_a_call(call: Call, callers: int, calls: int = CALLS) -> float:
    async def ask(times: int) -> None:
        for _ in range(times):
            await call()

    start = time.perf_counter()
    await asyncio.gather(*(ask(calls // callers) for _ in range(callers)))
    return (time.perf_counter() - start) / (calls // callers * callers)


async def in_turn(plain: Call, ours: Call, callers: int) -> dict[str, tuple[list[float], list[float]]]:
    """Alternate between both calls in blocks of 64, since a machine's speed varies from second to second.

    Returns:
        By wall time and by this process's processor time: microseconds per call of each block, plain and
        ours.
    """
    seen: dict[str, tuple[list[float], list[float]]] = {"": ([], []), ", processor time": ([], [])}
    for call in (plain, ours):
        await seconds_a_call(call, callers)
    for _ in range(ROUNDS * CALLS // BLOCK):
        for way, call in enumerate((plain, ours)):
            start = time.process_time()
            seen[""][way].append(await seconds_a_call(call, callers, BLOCK) * 1e6)
            seen[", processor time"][way].append((time.process_time() - start) / BLOCK * 1e6)
    return seen


async def compare(url: str, callers: int) -> None:
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with (
        httpx.AsyncClient(limits=limits, trust_env=False) as bare,
        BentoMLClient(url, max_connections=32) as client,
    ):
        seen = await in_turn(
            lambda: bare.post(f"{url}/predict", json=BODY), lambda: client.predict(BODY), callers
        )
    for name, (plain, ours) in seen.items():
        print_row(f"bare httpx, {callers} callers{name}", plain)
        print_row(f"ours, {callers} callers{name}", ours)
        print_difference(plain, ours)
        print(f"{'  ratio':46}{'':10}{statistics.median(ours) / statistics.median(plain):10.2f}")


async def rejection(_: str) -> None:
    async with BentoMLClient(
        "http://127.0.0.1:9", failure_threshold=1, max_attempts=1, reset_timeout=1e6
    ) as client:
        try:
            await client.predict(BODY)
        except Exception as problem:  # noqa: BLE001 - whatever opens the circuit
            print(f"{'opened by':46}{type(problem).__name__}")

        async def rejected() -> None:
            try:
                await client.predict(BODY)
            except CircuitOpenError:
                return

        print_row(
            "a rejection, with its exception",
            [await seconds_a_call(rejected, 1) * 1e6 for _ in range(ROUNDS)],
        )


async def traced(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        await with_opik("hanging", f"http://127.0.0.1:{hanging.getsockname()[1]}/api", url)
    await with_opik("down", "http://127.0.0.1:9/api", url)
    await with_opik("misconfigured", "no address", url)


async def with_opik(kind: str, opik: str, url: str) -> None:
    os.environ |= {"OPIK_URL_OVERRIDE": opik, "OPIK_ANALYTICS_ENABLE": "false"}
    os.environ |= {"OPIK_SENTRY_ENABLE": "false", "OPIK_WORKSPACE": "default", "HOME": tempfile.gettempdir()}
    tracer = OpikTracer()
    client = BentoMLClient(url, tracer=tracer)
    async with BentoMLClient(url) as untraced:
        seen = await in_turn(lambda: untraced.predict(BODY), lambda: client.predict(BODY), 1)
    for name, (plain, ours) in seen.items():
        print(f"Opik is {kind}{name}")
        print_difference(plain, ours)
    start = time.perf_counter()
    await client.close()
    tracer.close()
    print(f"{'  closing client and tracer':46}{time.perf_counter() - start:10.2f} s")


async def fan_out(url: str) -> None:
    async with BentoMLClient(f"{url}/slow") as client:
        await client.predict(BODY, model="a")

        async def seconds(names: str) -> float:
            start = time.perf_counter()
            await asyncio.gather(*(client.predict(BODY, model=name) for name in names))
            return time.perf_counter() - start

        print_row(
            "three concurrent models / one of them",
            [await seconds("abc") / await seconds("a") for _ in range(3 * ROUNDS)],
        )


async def memory(url: str) -> None:
    process, sizes = psutil.Process(), []
    async with BentoMLClient(url) as client:
        for _ in range(5):
            for _ in range(20_000 // CALLS):
                await seconds_a_call(lambda: client.predict(BODY), 10)
            sizes.append(process.memory_info().rss / 2**20)
    print(f"{'MiB after each 20,000 calls':46}" + "".join(f"{size:10.1f}" for size in sizes))


def print_row(name: str, values: list[float]) -> None:
    print(f"{name:46}{min(values):10.2f}{statistics.median(values):10.2f}{max(values):10.2f}")


def print_difference(plain: list[float], ours: list[float]) -> None:
    print(f"{'  more':46}{'':10}{statistics.median(ours) - statistics.median(plain):10.2f}")


def main() -> None:
    context = multiprocessing.get_context("spawn")
    ready: multiprocessing.SimpleQueue[int] = context.SimpleQueue()
    server = context.Process(target=serve, args=(ready,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ready.get()}"
    print(f"{'microseconds a call, or ratios':46}{'min':>10}{'median':>10}{'max':>10}")
    try:
        for callers in (1, 32):
            asyncio.run(compare(url, callers))
        for measured in (rejection, fan_out, memory, traced):
            asyncio.run(measured(url))
    finally:
        server.kill()


if __name__ == "__main__":
    main()
