"""The asynchronous fixture; the plugin registers this module if pytest-asyncio is loaded."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from tier0.client import BentoMLClient
    from tier0.client.tracing import CallTrace
    from tier0.core.event_log import EventLog
    from tier0.runs.deployment import Deployment

MAX_CALLS = 500
"""Maximum number of calls of one test in the timeline."""


class _CallRecorder:
    """A tracer that records when the calls of a client began and ended."""

    def __init__(self) -> None:
        self.traces: list[CallTrace] = []

    def record(self, trace: CallTrace) -> None:
        if len(self.traces) < MAX_CALLS:
            self.traces.append(trace)

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 - the signature of tracers
        return True

    def emit(self, events: EventLog) -> None:
        """Emit the calls as an event, in seconds since the run's log was opened."""
        clock = time.time() - time.monotonic() + events.opened
        calls = [
            (trace.started - clock, trace.ended - clock, trace.outcome, trace.circuit)
            for trace in self.traces
        ]
        if calls:
            from tier0.core.events import ClientCalls  # noqa: PLC0415 - only calls need it

            events.emit(ClientCalls(calls=calls))


@pytest_asyncio.fixture
async def tier0_client(tier0_deployment: Deployment, tier0_events: EventLog) -> AsyncIterator[BentoMLClient]:
    """A client of the deployment, for one test, since a client belongs to one event loop."""
    from tier0.client import BentoMLClient  # noqa: PLC0415

    calls = _CallRecorder()
    async with BentoMLClient(tier0_deployment.url, tracer=calls) as client:
        yield client
    calls.emit(tier0_events)
