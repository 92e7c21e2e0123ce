"""How fast is it?"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from tier0.checks.serving.target import Target
from tier0.core.verdict import CheckFailedError

ALONE = 50
CALLERS = 32
EACH = 5
WORST_FACTOR = 10


async def latency(target: Target) -> dict[str, Any]:
    """Report the latency of one row, alone and with 32 callers; fail where many callers together get a tenth of what one gets."""
    row = target.golden.take([0])
    alone = [await _seconds(target, row) for _ in range(ALONE)]
    start = time.perf_counter()
    together = await asyncio.gather(*(_seconds(target, row) for _ in range(CALLERS * EACH)))
    rate_together = CALLERS * EACH / (time.perf_counter() - start)
    rate_alone = 1 / statistics.mean(alone)
    evidence = {
        "p50_ms_one_caller": statistics.median(alone) * 1000,
        "p50_ms_many_callers": statistics.median(together) * 1000,
        "rows_per_second_one_caller": rate_alone,
        "rows_per_second_many_callers": rate_together,
    }
    if rate_together * WORST_FACTOR < rate_alone:
        message = f"{CALLERS} callers together get {rate_together:.0f} rows a second, and one caller {rate_alone:.0f}"
        raise CheckFailedError(message, evidence=evidence, causes=["the model's own threads fight for the cores", "requests wait for one lock"])
    return evidence


async def _seconds(target: Target, row: Any) -> float:
    start = time.perf_counter()
    await target.ask(row)
    return time.perf_counter() - start
