"""The circuit breaker of the application's client while the real server is killed and started again."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tier0.client import BentoMLClient, CircuitOpenError, ClientError
from tier0.core.events import BreakerMeasured, BreakerState
from tier0.runs.deployment import golden_probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tier0.core.event_log import EventLog
    from tier0.core.settings import Settings
    from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120)]
THRESHOLD = 3
RESET = 30.0


class Clock:
    """The monotonic clock, which can be moved forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Reached:
    """What reached the port of a dead server."""

    connections = 0


@asynccontextmanager
async def counting_resets(port: int) -> AsyncIterator[Reached]:
    """Hold the port of a dead server: count every connection, and reset it."""
    reached = Reached()

    def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.connections += 1
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", port)
    async with server:
        yield reached


async def outcome(client: BentoMLClient, deployment: OwnDeployment) -> ClientError | None:
    try:
        await client.predict(deployment.model.golden.body())
    except ClientError as error:
        return error
    return None


@pytest.mark.asyncio
async def test_circuit_opens_on_a_dead_server_and_closes_when_it_is_back(
    tier0_deployment: OwnDeployment, tier0_settings: Settings, tier0_events: EventLog
) -> None:
    server, clock = tier0_deployment.server, Clock()
    states: list[str] = []
    port = int(tier0_deployment.url.rpartition(":")[2])

    def see(client: BentoMLClient) -> None:
        states.append(client.circuit_state())
        tier0_events.emit(BreakerState(state=states[-1]))

    async with BentoMLClient(
        tier0_deployment.url, failure_threshold=THRESHOLD, reset_timeout=RESET, max_attempts=1, clock=clock
    ) as client:
        assert await outcome(client, tier0_deployment) is None
        see(client)

        await asyncio.to_thread(server.kill)
        try:
            async with counting_resets(port) as reached:
                failures = [await outcome(client, tier0_deployment) for _ in range(THRESHOLD)]
                see(client)
                rejected = await asyncio.gather(*(outcome(client, tier0_deployment) for _ in range(20)))
                let_out = reached.connections

                clock.ahead += RESET
                at_reset = await asyncio.gather(*(outcome(client, tier0_deployment) for _ in range(20)))
                probes = reached.connections - let_out
        finally:
            await asyncio.to_thread(server.relaunch)
            probe = golden_probe(tier0_deployment.model, server.nonce)
            await asyncio.to_thread(server.wait_until_ready, probe, tier0_settings.startup_timeout)
        assert not any(isinstance(error, CircuitOpenError) or error is None for error in failures), failures
        assert let_out == THRESHOLD, (
            f"{let_out} requests reached the dead server's port, and the threshold is {THRESHOLD}"
        )
        assert all(isinstance(error, CircuitOpenError) for error in rejected), rejected
        assert probes == 1, f"{probes} of 20 calls were let out at half-open"
        assert sum(isinstance(error, CircuitOpenError) for error in at_reset) == 19
        assert client.circuit_state() == "open", "the probe failed, so the circuit is open again"

        clock.ahead += RESET
        calls = [asyncio.ensure_future(outcome(client, tier0_deployment)) for _ in range(20)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        see(client)
        back = await asyncio.gather(*calls)
        see(client)
        assert back.count(None) == 1, f"{back.count(None)} of 20 calls were let out as probes: {back}"
        assert await outcome(client, tier0_deployment) is None
        assert states == ["closed", "open", "half_open", "closed"], states
    tier0_events.emit(BreakerMeasured(states=states, reached=let_out))
