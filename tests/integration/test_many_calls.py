"""Tens of thousands of calls from hundreds of tasks, with failures and cancellations."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from math import inf
from typing import Any

import pytest

from tier0.client import BentoMLClient, CircuitOpenError, ClientError
from tier0.faults import Arrival, Faults, Reply

OK, DOWN = Reply(200, {"predictions": [1], "probabilities": None}), Reply(503)
CONNECTIONS = 20
FEW, MANY = 800, 80_000
FAILURES = {"CircuitOpenError", "ServiceFailedError", "TransportError", "CancelledError"}
"""Outcomes of many calls; which of them a few calls have depends on the speed of the machine."""


@pytest.mark.parametrize(
    "calls", [FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
@pytest.mark.asyncio
async def test_no_permit_is_lost(calls: int, tier0_faults: Faults) -> None:
    chance, outcomes, recovered, slow = random.Random(7), Counter[str](), False, False

    def answer(_: Arrival) -> Reply:
        if slow:
            return Reply(200, OK.body, delay=2.0)
        draw = 0.0 if recovered else chance.random()
        return Reply.broken() if draw > 0.95 else OK if draw < 0.85 else DOWN

    async def call_often(client: BentoMLClient, times: int) -> None:
        for _ in range(times):
            calling = asyncio.ensure_future(client.predict([[1.0]]))
            if chance.random() < 0.1:
                await asyncio.sleep(chance.random() * 0.005)
                calling.cancel()
            try:
                await calling
            except (ClientError, asyncio.CancelledError) as problem:
                outcomes[type(problem).__name__] += 1
            else:
                outcomes["answered"] += 1
            await asyncio.sleep(0)

    options: dict[str, Any] = {
        "failure_threshold": 3,
        "reset_timeout": 0.01,
        "backoff_base": 0.001,
        "max_connections": CONNECTIONS,
    }
    server = tier0_faults.server(answer)
    async with BentoMLClient(server.url, **options) as client:
        await asyncio.gather(*(call_often(client, calls // 400) for _ in range(400)))
        recovered = True
        async with asyncio.timeout(10):  # a lost permit would keep the circuit half-open for ever
            while True:
                try:
                    await client.predict([[1.0]])
                    break
                except CircuitOpenError as rejection:
                    await asyncio.sleep(rejection.retry_after or 0.0)

        slow, before = True, len(server.arrivals)
        await asyncio.gather(*(client.predict([[1.0]]) for _ in range(CONNECTIONS)))

        assert sum(outcomes.values()) == calls
        assert outcomes["answered"]
        assert FAILURES & outcomes.keys()
        assert calls < MANY or outcomes.keys() >= FAILURES
        last = server.arrivals[before:]
        assert len(last) == CONNECTIONS
        ends = [
            inf if request.ended_at is None else request.ended_at for request in last
        ]  # None: not over yet
        assert max(request.at for request in last) < min(ends), "all at the same time"
        assert client.circuit_state() == "closed"
