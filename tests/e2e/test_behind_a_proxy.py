"""The real client and service behind a failing proxy: calls end in time, and later work as before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

import tier0
from tier0.client import BentoMLClient, ClientError, PoolSaturatedError, TimedOutError, TransportError
from tier0.faults import FaultProxy, Faults

if TYPE_CHECKING:
    from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]
TIMEOUT = 2.0
SLACK = 2.0
THRESHOLD = 3
RESET = 0.5


@pytest.fixture
def proxy(tier0_deployment: OwnDeployment, tier0_faults: Faults) -> FaultProxy:
    return tier0_faults.proxy(tier0_deployment.url)


def client_of(proxy: FaultProxy, *, max_connections: int = 20) -> BentoMLClient:
    return BentoMLClient(
        proxy.url,
        timeout=TIMEOUT,
        failure_threshold=THRESHOLD,
        reset_timeout=RESET,
        max_connections=max_connections,
    )


async def ask(client: BentoMLClient, deployment: OwnDeployment) -> ClientError | None:
    """Send the golden rows; within the deadline, the answer is right, or the call raises an error."""
    golden, started = deployment.model.golden.examples, time.monotonic()
    try:
        answer = await client.predict(golden.body())
    except ClientError as error:
        return error
    finally:
        assert time.monotonic() - started < TIMEOUT + SLACK
    assert golden.compare(answer) is None
    return None


async def until_answered(client: BentoMLClient, deployment: OwnDeployment, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while (error := await ask(client, deployment)) is not None:
        assert time.monotonic() < deadline, f"not answered {seconds:g} s after the fault was over: {error!r}"
        await asyncio.sleep(0.05)


async def assert_as_before(client: BentoMLClient, deployment: OwnDeployment) -> None:
    assert client.circuit_state() == "closed"
    await tier0.verify_bentoml_predictions(client, deployment)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda proxy: proxy.latency(0.3), id="300 ms of latency"),
        pytest.param(lambda proxy: proxy.latency(0.1, jitter=0.1, stream="upstream"), id="jitter"),
        pytest.param(lambda proxy: proxy.slicer(50), id="slices"),
        pytest.param(lambda proxy: proxy.bandwidth(100), id="a slow line"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_slow_is_answered(
    tier0_deployment: OwnDeployment,
    proxy: FaultProxy,
    fault: Callable[[FaultProxy], AbstractContextManager[None]],
) -> None:
    async with client_of(proxy) as client:
        with fault(proxy):
            assert [await ask(client, tier0_deployment) for _ in range(3)] == [None] * 3
        await assert_as_before(client, tier0_deployment)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(lambda proxy: proxy.reset_peer(), TransportError, id="resets"),
        pytest.param(lambda proxy: proxy.limit_data(200), TransportError, id="truncation"),
        pytest.param(lambda proxy: proxy.timeout(), TimedOutError, id="nothing passes"),
        pytest.param(lambda proxy: proxy.down(), TransportError, id="down"),
    ],
)
@pytest.mark.asyncio
async def test_what_breaks_is_an_honest_error_and_opens_the_circuit(
    tier0_deployment: OwnDeployment,
    proxy: FaultProxy,
    fault: Callable[[FaultProxy], AbstractContextManager[None]],
    error: type[ClientError],
) -> None:
    async with client_of(proxy) as client:
        assert await ask(client, tier0_deployment) is None
        with fault(proxy):
            first = await ask(client, tier0_deployment)
            while client.circuit_state() == "closed":
                assert await ask(client, tier0_deployment) is not None
        assert isinstance(first, error), repr(first)
        await until_answered(client, tier0_deployment)
        await assert_as_before(client, tier0_deployment)


@pytest.mark.asyncio
async def test_connections_of_which_some_are_reset_are_asked_again(
    tier0_deployment: OwnDeployment, proxy: FaultProxy
) -> None:
    async with client_of(proxy, max_connections=1) as client:
        with proxy.reset_peer(toxicity=0.3):
            outcomes = [await ask(client, tier0_deployment) for _ in range(10)]
        assert outcomes.count(None) >= 8, outcomes
        await until_answered(client, tier0_deployment)
        await assert_as_before(client, tier0_deployment)


@pytest.mark.asyncio
async def test_a_full_pool_is_not_the_services_fault(
    tier0_deployment: OwnDeployment, proxy: FaultProxy
) -> None:
    async with client_of(proxy, max_connections=2) as client:
        with proxy.latency(0.3):
            outcomes = await asyncio.gather(*(ask(client, tier0_deployment) for _ in range(30)))
            assert outcomes.count(None) >= 4
            late = (
                PoolSaturatedError,
                TimedOutError,
            )  # the last ones that got a connection had too little time left
            assert all(outcome is None or isinstance(outcome, late) for outcome in outcomes), outcomes
            assert any(isinstance(outcome, PoolSaturatedError) for outcome in outcomes)
        await assert_as_before(client, tier0_deployment)


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Let processes stand still."""
    workers = [psutil.Process(pid) for pid in pids]
    for worker in workers:
        worker.suspend()
    try:
        yield
    finally:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.resume()


@pytest.mark.asyncio
async def test_a_hung_worker_costs_its_callers_no_more_than_their_deadline(
    tier0_deployment: OwnDeployment, proxy: FaultProxy
) -> None:
    async with client_of(proxy) as client:
        assert await ask(client, tier0_deployment) is None
        with stopped(tier0_deployment.server.worker_pids):
            outcomes = await asyncio.gather(*(ask(client, tier0_deployment) for _ in range(5)))
            assert all(isinstance(outcome, TimedOutError) for outcome in outcomes), outcomes
            assert client.circuit_state() == "open"
            assert (await client.health_check())["status"] == "unhealthy"
        await until_answered(client, tier0_deployment)
        await assert_as_before(client, tier0_deployment)


@pytest.mark.asyncio
async def test_a_worker_that_is_killed_in_mid_request_is_replaced(
    tier0_deployment: OwnDeployment, proxy: FaultProxy
) -> None:
    async with client_of(proxy) as client:
        assert await ask(client, tier0_deployment) is None
        with stopped(tier0_deployment.server.worker_pids):
            calls = [asyncio.ensure_future(ask(client, tier0_deployment)) for _ in range(5)]
            await asyncio.sleep(0.2)  # they are on their way, and cannot be answered
            assert not any(call.done() for call in calls)
            await asyncio.to_thread(tier0_deployment.server.kill_worker)
        outcomes = await asyncio.gather(*calls)
        assert all(isinstance(outcome, ClientError) for outcome in outcomes), outcomes
        await until_answered(client, tier0_deployment)
        await assert_as_before(client, tier0_deployment)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_server_that_is_killed_and_started_again_on_its_port_is_found_again(
    tier0_deployment: OwnDeployment, proxy: FaultProxy
) -> None:
    async with client_of(proxy) as client:
        assert await ask(client, tier0_deployment) is None
        await asyncio.to_thread(tier0_deployment.server.kill)
        while client.circuit_state() == "closed":
            assert isinstance(await ask(client, tier0_deployment), TransportError)
        await asyncio.to_thread(tier0_deployment.server.restart)
        await until_answered(client, tier0_deployment)
        await assert_as_before(client, tier0_deployment)
