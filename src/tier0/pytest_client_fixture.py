"""The client's fixture, for synchronous tests and those of pytest-asyncio and anyio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tier0.client import BentoMLClient
    from tier0.client.tracing import CallTrace
    from tier0.core.event_log import EventLog
    from tier0.runs.deployment import Deployment

SCOPES = ("function", "class", "module", "package", "session")
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


@pytest.fixture
def tier0_client(
    request: pytest.FixtureRequest, tier0_deployment: Deployment, tier0_events: EventLog
) -> Iterator[BentoMLClient]:
    """A client of the deployment for one test; it belongs to the event loop that first uses it."""
    from tier0.client import BentoMLClient  # noqa: PLC0415

    loop_fixture = _loop_fixture(request)
    if loop_fixture is not None:
        request.getfixturevalue(loop_fixture)
    calls = _CallRecorder()
    client = BentoMLClient(tier0_deployment.url, tracer=calls)
    yield client
    _close(client)
    calls.emit(tier0_events)


def _loop_fixture(request: pytest.FixtureRequest) -> str | None:
    """Return the fixture that keeps an event loop open until the client is closed; None if there is no loop.

    The client is created outside of any loop, because the loop of asynchronous fixtures, which the project
    configures, may be another one than the test's.
    """
    is_asyncio_loaded = request.config.pluginmanager.hasplugin("asyncio")
    marker = request.node.get_closest_marker("asyncio")
    if is_asyncio_loaded and marker is not None:
        scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
        return f"_tier0_{scope or request.config.getini('asyncio_default_test_loop_scope')}_loop"
    if "anyio_backend" in request.fixturenames:
        return "_tier0_anyio_loop"
    if not is_asyncio_loaded or not _has_async_fixture(request.node):
        return None
    configured = request.config.getini("asyncio_default_fixture_loop_scope")
    return f"_tier0_{configured if configured in SCOPES else 'function'}_loop"


def _has_async_fixture(node: Any) -> bool:
    """Return whether a fixture of a synchronous test is asynchronous, and may use the client in its loop."""
    fixtures = getattr(getattr(node, "_fixtureinfo", None), "name2fixturedefs", {})
    functions = [definitions[-1].func for definitions in fixtures.values()]
    return any(iscoroutinefunction(function) or isasyncgenfunction(function) for function in functions)


def _close(client: BentoMLClient) -> None:
    """Close a client in the event loop to which it belongs, if it was used and the loop is open."""
    connections = client._connections  # noqa: SLF001
    if connections is None or connections.loop.is_closed() or connections.loop.is_running():
        return
    connections.loop.run_until_complete(client.close())


@pytest.fixture
async def _tier0_anyio_loop(anyio_backend: Any) -> AsyncIterator[None]:  # noqa: ARG001 - anyio handles it
    yield  # noqa: PT022 - until the client is closed, it keeps the loop open
