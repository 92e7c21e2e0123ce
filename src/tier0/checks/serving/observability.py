"""Is what happens seen?"""

from __future__ import annotations

import re

import httpx

from tier0.checks.serving.target import Target
from tier0.core.verdict import CheckFailedError, NotJudgedError

ASKED = 3
SAMPLE = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*request_total\{[^}]*\} ([0-9.eE+]+)", re.MULTILINE)


async def counts_requests(target: Target) -> None:
    """Fail where requests do not show in the metrics."""
    golden = target.golden.take([0])
    before = await _count(target)
    for _ in range(ASKED):
        await target.ask(golden)
    counted = await _count(target) - before
    if counted < ASKED:
        causes = [
            "another server on the same BENTOML_HOME wiped the metrics",
            "the counter is not registered for this route",
            "several replicas answer, each with metrics of its own",
        ]
        message = f"{ASKED} requests were answered, and the metrics count {counted:g} more"
        raise CheckFailedError(message, evidence={"asked": ASKED, "counted": counted}, causes=causes, reproduce=f"curl -sS {target.url}/metrics")


async def _count(target: Target) -> float:
    response = await target.get("/metrics")
    if response.status_code != httpx.codes.OK:
        raise NotJudgedError(f"/metrics answers {response.status_code}: metrics are off, or hidden")
    return sum(float(value) for value in SAMPLE.findall(response.text))
