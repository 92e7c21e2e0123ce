"""Does every caller get its own answer, whoever else asks?"""

from __future__ import annotations

import asyncio
import time

from tier0.checks.serving.target import Target
from tier0.core.golden import ROW_ALONE_TOLERANCE
from tier0.core.verdict import CheckFailedError

CALLERS = 16
ROUNDS = 2
BUSY_CALLERS = 8
BUSY_ROWS = 2000
LIVENESS_LIMIT = 1.0


async def own_answer(target: Target) -> None:
    """Fail where callers that ask at once, each for another row, get each other's answers."""
    golden = target.golden
    causes = [
        "answers of a batch are given to the wrong callers",
        "state is shared between threads",
        "statistics over the merged batch flow into the answers",
    ]
    for _ in range(ROUNDS):
        await asyncio.gather(
            *(
                target.expect(golden.take([number % len(golden)]), "beside strangers, a caller's own row", causes, tolerance=ROW_ALONE_TOLERANCE)
                for number in range(CALLERS)
            )
        )


async def alive_under_load(target: Target) -> None:
    """Fail where /livez takes over a second while large requests are worked on."""
    golden = target.golden
    many = golden.take([number % len(golden) for number in range(BUSY_ROWS)])
    busy = [asyncio.ensure_future(target.ask(many)) for _ in range(BUSY_CALLERS)]
    slowest = 0.0
    while not all(call.done() for call in busy):
        start = time.perf_counter()
        await target.get("/livez")
        slowest = max(slowest, time.perf_counter() - start)
    await asyncio.gather(*busy)
    if slowest > LIVENESS_LIMIT:
        message = f"/livez took {slowest:.1f} s while {BUSY_CALLERS} requests of {BUSY_ROWS} rows were worked on: a probe would restart the service"
        raise CheckFailedError(message, evidence={"slowest_seconds": slowest}, causes=["blocking work in an async handler"])
