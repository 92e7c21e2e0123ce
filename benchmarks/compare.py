"""Duration of a comparison of two local services, beside that of asking both, and its peak memory.

Both services are processes of their own. The peer sends the same bodies with httpx, two at a time, one side
after the other, and reads the JSON. Targets: 1.3 times its duration for 10,000 rows, and 500 MB. The rounds
alternate, and the CPU time of this process and of both services is compared as well: on a busy machine, it
varies less than the duration. The services answer 100 rows in less than a millisecond, which no model does;
MODEL_MS=5 makes each request wait as for a small one. ROWS=1000000 compares once, without the peer, and shows
that the memory does not grow with the rows.
"""

from __future__ import annotations

import asyncio
import csv
import json
import math
import multiprocessing
import os
import random
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import tier0

ROWS = int(os.environ.get("ROWS", "10000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
MANY = 100_000
"""Rows from which on the peer is left out."""
MODEL_MS = float(os.environ.get("MODEL_MS", "0"))
BATCH = 100
SLOTS = 2
COLUMNS = ("age", "tenure", "calls", "income", "visits")
CONTRACT = {"features": "rows", "style": "records", "predictions": "predictions"}


def serve(shift: float, ready: multiprocessing.SimpleQueue[int]) -> None:
    async def predict(request: Request) -> JSONResponse:
        rows = json.loads(await request.body())["rows"]
        if MODEL_MS:
            await asyncio.sleep(MODEL_MS / 1000)
        scores = [1 / (1 + math.exp(-(row["age"] / 40 - row["tenure"] / 60 - 0.2 + shift))) for row in rows]
        labels = ["yes" if score >= 0.5 else "no" for score in scores]
        return JSONResponse(
            {"predictions": labels, "probabilities": [[1 - score, score] for score in scores]}
        )

    async def is_ready(_: Request) -> PlainTextResponse:
        return PlainTextResponse("")

    routes = [Route("/predict", predict, methods=["POST"]), Route("/readyz", is_ready)]
    # asyncio sends without delay only on sockets that name their protocol; else each answer waits for 40 ms
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    ready.put(listener.getsockname()[1])
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def write_rows(path: Path) -> None:
    draw = random.Random(7)  # noqa: S311 - rows, not a secret
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for _ in range(ROWS):
            writer.writerow(
                [draw.randint(18, 80), draw.randint(0, 99), draw.randint(0, 9), draw.random() * 1e5, 1]
            )


def bodies(path: Path) -> Iterator[bytes]:
    with path.open(encoding="utf-8") as file:
        rows = csv.DictReader(file)
        while part := list(islice(rows, BATCH)):
            numbers: list[dict[str, Any]] = [
                {name: float(text) for name, text in row.items()} for row in part
            ]
            yield json.dumps({"rows": numbers}).encode()


async def ask_both(urls: list[str], path: Path) -> None:
    batches = bodies(path)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:

        async def slot() -> None:
            for body in batches:
                for url in urls:
                    (await http.post(f"{url}/predict", content=body)).json()

        await asyncio.gather(*(slot() for _ in range(SLOTS)))


def ask(urls: list[str], path: Path) -> None:
    asyncio.run(ask_both(urls, path))


def compare(urls: list[str], path: Path) -> None:
    tier0.compare(urls[0], urls[1], rows=path, contract=CONTRACT, on_fail="return")


def measured(action: Callable[[], None], services: list[int]) -> tuple[float, float]:
    """Return the seconds that an action takes, and those of all processors."""
    start, used = time.perf_counter(), time.process_time() + sum(map(seconds_used, services))
    action()
    return time.perf_counter() - start, time.process_time() + sum(map(seconds_used, services)) - used


def seconds_used(pid: int) -> float:
    """Return the CPU time of a process; 0 where the system does not show it as Linux does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    servers, urls = [], []
    for shift in (0.0, 0.0, 0.02):
        ready: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()
        servers.append(multiprocessing.Process(target=serve, args=(shift, ready), daemon=True))
        servers[-1].start()
        urls.append(f"http://127.0.0.1:{ready.get()}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_rows(path)
        for name, pair in (("without a difference", urls[:2]), ("with differences", [urls[0], urls[2]])):
            pids = [int(server.pid or 0) for server in servers]
            first, _ = measured(partial(compare, pair, path), pids)
            if ROWS >= MANY:
                print(f"{ROWS:,} rows {name}: compared in {first:.0f} s, peak memory {peak_memory():.0f} MB")
                continue
            peers, ours = [], []
            for _ in range(ROUNDS):
                peers.append(measured(partial(ask, pair, path), pids))
                ours.append(measured(partial(compare, pair, path), pids))
            times, processors = (
                statistics.median(own[place] / other[place] for own, other in zip(ours, peers, strict=True))
                for place in (0, 1)
            )
            print(
                f"{ROWS:,} rows {name}: asking both {statistics.median(one for one, _ in peers):.2f} s, "
                f"compared {statistics.median(one for one, _ in ours):.2f} s; {times:.2f} times, "
                f"{processors:.2f} times the CPU time"
            )
    print(f"peak memory: {peak_memory():.0f} MB")
    for server in servers:
        server.kill()


if __name__ == "__main__":
    main()
