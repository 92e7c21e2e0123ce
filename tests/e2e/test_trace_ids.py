"""One id joins the client's trace, its requests and BentoML's log."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tier0.client import BentoMLClient
from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120)]


@pytest.mark.asyncio
async def test_the_id_of_a_call_stands_in_the_log_of_the_server(
    tier0_deployment: OwnDeployment, kept_traces: Any
) -> None:
    async with BentoMLClient(tier0_deployment.url, tracer=kept_traces) as client:
        await client.predict(tier0_deployment.model.golden.body())

    (trace,) = kept_traces.traces
    assert [(attempt.outcome, attempt.status) for attempt in trace.attempts] == [("answered", 200)]
    deadline = time.monotonic() + 10
    while f"trace={trace.trace_id}" not in (log := tier0_deployment.server.log.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline, log[-2000:]
        await asyncio.sleep(0.05)
