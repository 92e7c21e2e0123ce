"""The asynchronous client, tested by the requests that a fault server receives."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import httpx
import numpy as np
import pytest

from tier0.client import (
    BentoMLClient,
    CallerError,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    InvalidAnswerError,
    InvalidDataError,
    PoolSaturatedError,
    RateLimitedError,
    ServiceFailedError,
    TimedOutError,
    TransportError,
)
from tier0.client.connections import Connections
from tier0.client.wire import decode_prediction, encode
from tier0.contract.contract import Contract
from tier0.faults import Arrival, Faults, FaultServer, Reply
from tier0.faults.server import Script

pytestmark = pytest.mark.asyncio
PREDICTION = {"predictions": [1], "probabilities": None}
OK = Reply(200, PREDICTION)
DOWN = Reply(503, b'{"error": {"field": "", "message": "no worker", "remedy": "wait"}}')
ROW = [[1.0]]


class Clock:
    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead

    def taking(self, seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* with a duration of *seconds* by this clock."""

        def slowly(*arguments: Any) -> Any:
            self.ahead += seconds
            return function(*arguments)

        return slowly


@asynccontextmanager
async def client_of(
    script: Reply | list[Reply] | Script, **options: Any
) -> AsyncIterator[tuple[BentoMLClient, FaultServer]]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with FaultServer(script) as server:
        async with BentoMLClient(server.url, **{"sleep": sleep, **options}) as client:
            client.waits = waits  # type: ignore[attr-defined]
            yield client, server


async def arrived(server: FaultServer, number: int) -> None:
    """Wait until *number* requests have arrived."""
    assert await asyncio.to_thread(server.log.wait_for, lambda log: len(log.arrivals) >= number, 10)


async def error_of(client: BentoMLClient, data: Any = ROW, **options: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await client.predict(data, **options)
    return caught.value


async def test_prediction_sends_one_request() -> None:
    async with client_of(OK) as (client, server):
        assert (await client.predict(ROW))["predictions"] == [1]

    (request,) = server.arrivals
    assert (request.method, request.path, request.body) == ("POST", "/predict", b'{"features":[[1.0]]}')
    assert request.headers["content-type"] == "application/json"


async def test_503_is_retried_with_the_same_request_id() -> None:
    async with client_of([DOWN, DOWN, OK]) as (client, server):
        assert (await client.predict(ROW))["predictions"] == [1]

    assert len(server.arrivals) == 3
    assert len({request.headers["x-request-id"] for request in server.arrivals}) == 1


async def test_error_contains_the_server_message() -> None:
    async with client_of(DOWN) as (client, server):
        error = await error_of(client)

    assert isinstance(error, ServiceFailedError)
    assert (error.status, error.attempts, error.server_message) == (503, 3, "no worker wait")
    assert error.request_id == server.arrivals[0].headers["x-request-id"]


@pytest.mark.parametrize("status", [501, 505])
async def test_501_and_505_are_failures_without_retry(status: int) -> None:
    async with client_of(Reply(status), failure_threshold=1) as (client, server):
        await error_of(client)

        assert client.circuit_state() == "open"
    assert len(server.arrivals) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 422])
async def test_caller_errors_send_one_request_and_never_open_the_circuit(status: int) -> None:
    async with client_of(Reply(status), failure_threshold=2) as (client, server):
        for _ in range(5):
            assert isinstance(await error_of(client), CallerError)

        assert client.circuit_state() == "closed"
    assert len(server.arrivals) == 5


async def test_an_open_circuit_sends_no_more_requests_than_the_threshold() -> None:
    async with client_of(DOWN, failure_threshold=4, max_attempts=3) as (client, server):
        for _ in range(10):
            await error_of(client)
        rejected = await error_of(client)

    assert len(server.arrivals) == 4
    assert isinstance(rejected, CircuitOpenError)
    assert rejected.attempts == 0
    assert rejected.retry_after is not None


async def test_last_error_is_raised_when_the_circuit_opens_during_a_call() -> None:
    async with client_of(DOWN, failure_threshold=2, max_attempts=5) as (client, server):
        error = await error_of(client)

        assert len(client.waits) == 1, "no wait once the circuit is open"  # type: ignore[attr-defined]
    assert isinstance(error, ServiceFailedError)
    assert error.attempts == len(server.arrivals) == 2


async def test_call_raises_its_own_error_at_once_when_another_call_opens_the_circuit() -> None:
    def answer(arrival: Arrival) -> Reply:
        return Reply.hang() if "/slow/" in arrival.path else DOWN

    others: list[asyncio.Future[Any]] = []

    async def call_others(_: float) -> None:
        if not others:
            others.append(asyncio.ensure_future(error_of(client)))
            await others[0]
            others.append(asyncio.ensure_future(client.predict(ROW, model="slow")))
            await arrived(server, 3)

    async with client_of(answer, failure_threshold=2, max_connections=1, sleep=call_others) as (
        client,
        server,
    ):
        async with asyncio.timeout(3):  # another call occupies the only connection for longer
            error = await error_of(client)
        others[1].cancel()
        await asyncio.gather(*others, return_exceptions=True)
    assert isinstance(error, ServiceFailedError)
    assert error.attempts == 1
    assert len(server.arrivals) == 3


async def test_retry_during_the_probe_of_another_call_ends_the_call() -> None:
    clock, waits = Clock(), 0
    probes: list[asyncio.Future[Any]] = []

    async def call_others(_: float) -> None:
        nonlocal waits
        waits += 1
        if not probes:
            await error_of(client, timeout=0.5)  # opens the circuit
            clock.ahead += 30
            probes.append(asyncio.ensure_future(client.predict(ROW, timeout=100)))
            await arrived(server, 3)

    async with client_of(
        [DOWN, DOWN, Reply.hang()], failure_threshold=2, timeout=100, clock=clock, sleep=call_others
    ) as (client, server):
        assert isinstance(await error_of(client), ServiceFailedError)
        assert client.circuit_state() == "half_open"
        probes[0].cancel()
        await asyncio.gather(*probes, return_exceptions=True)
    assert (waits, len(server.arrivals)) == (1, 3)


async def test_half_open_circuit_sends_one_probe_for_twenty_calls() -> None:
    clock = Clock()
    async with client_of([DOWN, DOWN, OK], failure_threshold=2, max_attempts=1, clock=clock) as (
        client,
        server,
    ):
        await error_of(client)
        await error_of(client)
        clock.ahead += 30
        results = await asyncio.gather(*(client.predict(ROW) for _ in range(20)), return_exceptions=True)

        assert len(server.arrivals) == 3
        assert sum(isinstance(result, CircuitOpenError) for result in results) == 19
        assert client.circuit_state() == "closed"


async def test_400_for_a_probe_closes_the_circuit() -> None:
    clock = Clock()
    async with client_of([DOWN, Reply(400)], failure_threshold=1, max_attempts=1, clock=clock) as (client, _):
        await error_of(client)
        clock.ahead += 30
        await error_of(client)

        assert client.circuit_state() == "closed"


async def test_429_for_a_probe_allows_another_probe() -> None:
    clock = Clock()
    async with client_of([DOWN, Reply(429), OK], failure_threshold=1, max_attempts=1, clock=clock) as (
        client,
        _,
    ):
        await error_of(client)
        clock.ahead += 30
        assert isinstance(await error_of(client), RateLimitedError)
        assert client.circuit_state() == "half_open", "429 is neither a success nor a failure"
        await client.predict(ROW)

        assert client.circuit_state() == "closed"


async def test_429_does_not_reset_the_failure_count() -> None:
    async with client_of([DOWN, Reply(429), DOWN], failure_threshold=2, max_attempts=1) as (client, _):
        for state in ("closed", "closed", "open"):
            await error_of(client)
            assert client.circuit_state() == state


async def test_429_for_a_probe_is_retried() -> None:
    clock = Clock()
    async with client_of([DOWN, Reply(429), OK], failure_threshold=1, max_attempts=2, clock=clock) as (
        client,
        _,
    ):
        await error_of(client)
        clock.ahead += 30
        await client.predict(ROW)

        assert client.circuit_state() == "closed"


async def test_cancelled_probe_allows_another_probe() -> None:
    clock = Clock()
    async with client_of([DOWN, Reply.hang(), OK], failure_threshold=1, max_attempts=1, clock=clock) as (
        client,
        server,
    ):
        await error_of(client)
        clock.ahead += 30
        probe = asyncio.ensure_future(client.predict(ROW))
        await arrived(server, 2)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await client.predict(ROW)

        assert client.circuit_state() == "closed"


async def test_only_a_late_cancellation_counts_as_failure() -> None:
    clock = Clock()
    async with client_of(
        Reply.hang(), failure_threshold=1, timeout=1000, attempt_timeout=500, clock=clock
    ) as (client, server):
        for seconds, state in ((390.0, "closed"), (410.0, "open")):
            call = asyncio.ensure_future(client.predict(ROW))
            await arrived(server, len(server.arrivals) + 1)
            clock.ahead += seconds
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert client.circuit_state() == state


async def test_cancellation_after_a_wait_for_the_pool_is_not_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, take = Clock(), Connections.take_slot

    async def take_late(*arguments: Any) -> bool:
        await take(*arguments)
        clock.ahead += 900
        return True

    monkeypatch.setattr(Connections, "take_slot", take_late)
    async with client_of(
        Reply.hang(), failure_threshold=1, timeout=1000, attempt_timeout=500, clock=clock
    ) as (client, server):
        call = asyncio.ensure_future(client.predict(ROW))
        await arrived(server, 1)
        clock.ahead += 95
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert client.circuit_state() == "closed"


async def test_hang_is_retried_and_ends_within_the_total_timeout() -> None:
    start = time.monotonic()
    async with client_of(Reply.hang(), timeout=0.4) as (client, server):
        assert isinstance(await error_of(client), TimedOutError)

    assert time.monotonic() - start < 5
    assert len(server.arrivals) == 2


async def test_dripping_body_ends_at_the_attempt_timeout() -> None:
    start = time.monotonic()
    async with client_of(
        Reply(200, PREDICTION, drip=0.02), timeout=5, attempt_timeout=0.2, max_attempts=1
    ) as (client, _):
        assert isinstance(await error_of(client), TimedOutError)

    assert time.monotonic() - start < 3


@pytest.mark.parametrize("reply", [Reply(200, PREDICTION, cut=20, ending="close"), Reply.broken()])
async def test_incomplete_responses_are_failures(reply: Reply) -> None:
    async with client_of(reply, failure_threshold=2, max_attempts=2) as (client, server):
        assert isinstance(await error_of(client), TransportError)
        assert client.circuit_state() == "open"
    assert len(server.arrivals) == 2


async def test_refused_connection_is_a_transport_error() -> None:
    with FaultServer(Reply.hang()) as server:
        url = server.url
    async with BentoMLClient(url, max_attempts=1) as client:
        assert isinstance(await error_of(client), TransportError)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"NaN",
        b"<html>",
        b'"text"',
        b'{"predictions": [null]}',
        b'{"predictions": []}',
        b'{"predictions": [1, 2]}',
        b'{"predictions": {}}',
        b'{"predictions": [1], "probabilities": [[null, 1.0]]}',
        b'{"predictions": [1], "intervals": []}',
        b'{"predictions": [1], "intervals": [[null, 2.0]]}',
        b'{"predictions": [{"score": null}]}',
        b'{"predictions": [1], "drift": NaN}',
        b'{"predictions": [1], "drift": {"age": [1e999]}}',
        b'{"predictions": ["\\ud800"]}',
        b'{"predictions": ["\\uDC00"]}',
        b'{"predictions": ["\xed\xa0\x80"]}',
        b'{"predictions": [' + 600 * b"[" + b"1" + 600 * b"]" + b"]}",
        b'{"predictions": [1], "more": ' + 600 * b"[" + b"1" + 600 * b"]" + b"}",
        pytest.param(b'{"predictions": ' + 100_000 * b"[" + b"1" + 100_000 * b"]" + b"}", id="100000 levels"),
    ],
)
async def test_invalid_prediction_with_status_200_is_a_failure(body: bytes) -> None:
    async with client_of(Reply(200, body), failure_threshold=2, max_attempts=2) as (client, _):
        error = await error_of(client)

        assert isinstance(error, InvalidAnswerError)
        assert error.status == 200
        assert client.circuit_state() == "open"


@pytest.mark.parametrize(("body", "predictions"), [(b"[3]", [3]), (b"0.5", [0.5])])
async def test_bare_list_or_number_is_a_prediction(body: bytes, predictions: list[float]) -> None:
    async with client_of(Reply(200, body)) as (client, _):
        assert (await client.predict(ROW))["predictions"] == predictions


async def test_surrogate_pair_is_one_character() -> None:
    async with client_of(Reply(200, b'{"predictions": ["\\ud83d\\ude00"]}')) as (client, _):
        assert (await client.predict(ROW))["predictions"] == ["\N{GRINNING FACE}"]


async def test_backoff_has_full_jitter_and_no_wait_after_the_last_attempt() -> None:
    async with client_of(DOWN, max_attempts=4, failure_threshold=9, rng=lambda: 1.0, backoff_max=0.3) as (
        client,
        _,
    ):
        await error_of(client)

        assert client.waits == [0.1, 0.2, 0.3]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "waits"),
    [
        ("2", [2.0]),
        ("0", [0.05]),
        ("-1", [0.05]),
        ("abc", [0.05]),
        ("1e9", []),
        pytest.param(formatdate(time.time() + 86400, usegmt=True), [], id="tomorrow"),
        ("inf", []),
        ("nan", [0.05]),
    ],
)
async def test_retry_after_is_the_minimum_wait_or_ends_the_call(value: str, waits: list[float]) -> None:
    async with client_of([Reply(429, headers={"Retry-After": value}), OK], rng=lambda: 0.5) as (
        client,
        server,
    ):
        result = (await asyncio.gather(client.predict(ROW), return_exceptions=True))[0]

        assert client.waits == waits  # type: ignore[attr-defined]
        assert client.circuit_state() == "closed"
    assert len(server.arrivals) == 1 + len(waits)
    assert isinstance(result, RateLimitedError) == (not waits)


async def test_retry_after_date_within_the_deadline_is_respected() -> None:
    date = formatdate(time.time() + 5, usegmt=True)
    async with client_of([Reply(503, headers={"Retry-After": date}), OK], timeout=60) as (client, _):
        await client.predict(ROW)

        (wait,) = client.waits  # type: ignore[attr-defined]
        assert 1 < wait <= 5, "dates have whole seconds, and a busy machine takes time"


async def test_retry_budget_is_limited_to_ten() -> None:
    async with client_of(
        [*[OK] * 60, DOWN], failure_threshold=10_000, max_attempts=10_000, retry_budget=1.0, timeout=600
    ) as (client, server):
        for _ in range(60):
            await client.predict(ROW)
        await error_of(client)

    assert len(server.arrivals) == 60 + 1 + 10


async def test_retries_stay_within_the_budget() -> None:
    async with client_of(DOWN, failure_threshold=10_000, retry_budget=0.2) as (client, server):
        for _ in range(100):
            await error_of(client)

    assert len(server.arrivals) - 100 == pytest.approx(10 + 0.2 * 100, abs=1)


@pytest.mark.parametrize("reply", [DOWN, Reply(429), Reply.broken(), Reply(200, b"")])
async def test_requests_that_are_not_idempotent_are_not_retried(reply: Reply) -> None:
    async with client_of([reply, OK], idempotent=False) as (client, server):
        await error_of(client)

    assert len(server.arrivals) == 1


async def test_predict_batch_sends_one_request_and_is_retried() -> None:
    async with client_of([DOWN, Reply(200, b'{"predictions": [1, 2]}')]) as (client, server):
        assert (await client.predict_batch([{"a": 1}, {"a": 2}]))["predictions"] == [1, 2]

    assert [request.path for request in server.arrivals] == ["/predict", "/predict"]


async def test_model_info_is_retried() -> None:
    async with client_of([DOWN, Reply(200, b'{"model_tag": "m:1"}')]) as (client, server):
        assert (await client.model_info("m"))["model_tag"] == "m:1"

    assert [request.path for request in server.arrivals] == ["/m/model_info"] * 2


@pytest.mark.parametrize(
    ("model", "path"),
    [("../../x#", "/..%2F..%2Fx%23/predict"), ("a?b=1#", "/a%3Fb%3D1%23/predict"), ("ü", "/%C3%BC/predict")],
)
async def test_model_name_is_quoted_into_one_path_segment(
    model: str, path: str, tier0_faults: Faults
) -> None:
    server = tier0_faults.server(OK)
    async with BentoMLClient(server.url + "/base//") as client:
        await client.predict(ROW, model=model)

    assert server.arrivals[0].path == "/base" + path


@pytest.mark.parametrize("model", ["", ".", "..", pytest.param("ü" * 40_000, id="long")])
async def test_invalid_model_name_is_rejected(model: str) -> None:
    async with client_of(OK) as (client, server):
        assert isinstance(await error_of(client, model=model), ClientUsageError)
        with pytest.raises(ClientUsageError):
            await client.health_check(model)
    assert server.arrivals == []


async def test_models_have_separate_circuits(tier0_faults: Faults) -> None:
    dead, alive = tier0_faults.server(DOWN), tier0_faults.server(OK)
    async with BentoMLClient(alive.url, failure_threshold=1, model_endpoints={"dead": dead.url}) as client:
        await error_of(client, model="dead")
        await client.predict(ROW, model="alive")

        assert (client.circuit_state("dead"), client.circuit_state("alive")) == ("open", "closed")


async def test_saturated_pool_is_not_a_failure_and_does_not_block_health_checks() -> None:
    def healthy(arrival: Arrival) -> Reply:
        return Reply.hang() if arrival.path == "/predict" else Reply(200, {"status": "healthy"})

    async with client_of(healthy, max_connections=2, failure_threshold=1, timeout=5, attempt_timeout=5) as (
        client,
        server,
    ):
        busy = [asyncio.ensure_future(client.predict(ROW)) for _ in range(2)]
        await arrived(server, 2)
        assert isinstance(await error_of(client, timeout=0.05), PoolSaturatedError)
        assert (await client.health_check())["status"] == "healthy"
        assert client.circuit_state() == "closed"
        for call in busy:
            call.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def test_two_hundred_cancelled_calls_release_their_connections() -> None:
    async with client_of(Reply.hang(), max_connections=5, failure_threshold=1000) as (client, server):
        calls = [asyncio.ensure_future(client.predict(ROW)) for _ in range(200)]
        await arrived(server, 5)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        server.script = Reply(200, PREDICTION, delay=1.0)
        before = len(server.arrivals)
        after = [asyncio.ensure_future(client.predict(ROW)) for _ in range(5)]
        await arrived(server, before + 5)
        assert not any(call.done() for call in after), "all five connections are in use at once"
        await asyncio.gather(*after)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(200, b'{"status": "healthy"}'), "healthy"),
        (Reply(200, b'{"status": "degraded"}'), "unhealthy"),
        (Reply(200, b""), "healthy"),
        (Reply(503), "unhealthy"),
        (Reply(500), "unhealthy"),
        (Reply(raw=b"garbage\r\n\r\n"), "unhealthy"),
    ],
)
async def test_health_check_reports_bad_responses_without_error(reply: Reply, status: str) -> None:
    async with client_of(reply) as (client, _):
        health = await client.health_check()

    assert health["status"] == status
    assert status == "healthy" or health["reason"]


async def test_health_check_waiting_during_close_raises_an_error() -> None:
    async with client_of(Reply.hang()) as (client, server):
        checks = [asyncio.ensure_future(client.health_check()) for _ in range(3)]
        await arrived(server, 2)
        await client.close()
        *interrupted, waiting = await asyncio.gather(*checks, return_exceptions=True)

    assert [isinstance(health, dict) and health["status"] for health in interrupted] == ["unhealthy"] * 2
    assert isinstance(waiting, ClientUsageError)


async def test_hanging_service_does_not_block_another() -> None:
    with FaultServer(Reply.hang()) as hanging, FaultServer(OK) as alive:
        async with BentoMLClient(
            alive.url, model_endpoints={"stuck": hanging.url}, max_connections=2, attempt_timeout=8.0
        ) as client:
            stuck = [asyncio.ensure_future(client.predict(ROW, model="stuck")) for _ in range(5)]
            checks = [asyncio.ensure_future(client.health_check("stuck")) for _ in range(3)]
            await arrived(hanging, 4)

            assert (await client.predict(ROW, timeout=1.0))["predictions"] == [1]
            assert (await client.health_check())["status"] == "healthy"
            started = time.monotonic()
            assert {health["status"] for health in await asyncio.gather(*checks)} == {"unhealthy"}
            assert time.monotonic() - started < 7, (
                "a health check takes at most two seconds, including the wait for its connection"
            )
            for call in stuck:
                call.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
    assert len(hanging.arrivals) == 4, "two connections for calls, and two for health checks"


async def test_models_have_separate_retry_budgets() -> None:
    failing = True

    def answer(arrival: Arrival) -> Reply:
        return DOWN if failing or "/failing/" in arrival.path else OK

    async def recover(_: float) -> None:
        nonlocal failing
        failing = False

    async with client_of(answer, failure_threshold=1000, sleep=recover) as (client, server):
        for _ in range(12):
            await error_of(client, model="failing")
        failing = True
        assert (await client.predict(ROW, model="working"))["predictions"] == [1]
    assert sum("/working/" in request.path for request in server.arrivals) == 2


async def test_all_connections_are_kept_alive() -> None:
    async with client_of(lambda _: Reply(200, {"predictions": [1]}, delay=0.05)) as (client, server):
        for _ in range(2):
            await asyncio.gather(*(client.predict(ROW) for _ in range(20)))
    assert len({request.connection for request in server.arrivals}) == 20


@pytest.mark.parametrize("model", [None, "plain"])
async def test_health_falls_back_to_readyz(model: str | None, tier0_faults: Faults) -> None:
    server = tier0_faults.server(lambda arrival: Reply(200, b"") if arrival.path == "/readyz" else Reply(404))
    async with BentoMLClient(server.url, model_endpoints={"plain": server.url}) as client:
        assert (await client.health_check(model))["status"] == "healthy"
        assert (await client.health_check("unknown"))["status"] == "unhealthy", (
            "a ready service does not serve every model"
        )

    assert [(request.method, request.path) for request in server.arrivals][:2] == [
        ("GET", "/health"),
        ("GET", "/readyz"),
    ]


@pytest.mark.parametrize(("reported", "status"), [("ok", "healthy"), ("degraded", "unhealthy")])
async def test_health_route_that_is_an_api_is_requested_by_post(reported: str, status: str) -> None:
    async with client_of(
        lambda arrival: Reply(200, {"status": reported}) if arrival.method == "POST" else Reply(405)
    ) as (client, server):
        assert (await client.health_check())["status"] == status

    assert [(request.method, request.path) for request in server.arrivals] == [
        ("GET", "/health"),
        ("POST", "/health"),
    ]


async def test_health_uses_the_route_of_the_contract_and_its_status() -> None:
    def answer(arrival: Arrival) -> Reply:
        return (
            Reply(200, {"status": "no model"})
            if arrival.path == "/state"
            else Reply(200 if arrival.path == "/readyz" else 404, b"")
        )

    async with client_of(answer, contract=Contract(health="/state")) as (client, _):
        assert (await client.health_check())["status"] == "unhealthy"


async def test_calls_after_close_raise_an_error_and_send_nothing() -> None:
    async with client_of(OK) as (client, server):
        await client.close()
        assert isinstance(await error_of(client), ClientUsageError)
    assert server.arrivals == []


async def test_use_from_another_event_loop_raises_an_error() -> None:
    async with client_of(OK) as (client, _):
        await client.predict(ROW)
        with pytest.raises(ClientUsageError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(client.predict(ROW)))


async def test_proxy_settings_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with client_of(OK) as (client, _):
        await client.predict(ROW)


@pytest.mark.parametrize("data", [object(), [[object()]], [[float("inf")]]])
async def test_data_that_json_cannot_represent_is_rejected_without_a_request(data: Any) -> None:
    async with client_of(OK) as (client, server):
        assert isinstance(await error_of(client, data), ClientUsageError)
    assert server.arrivals == []


async def test_arrays_frames_and_records_become_rows() -> None:
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, None]})
    async with client_of(Reply(200, b'{"predictions": [1, 2]}')) as (client, server):
        await client.predict(np.array([[1.0, 2.0], [3.0, np.nan]]))
        await client.predict(frame)
        await client.predict([{"a": np.int64(1)}, {"a": np.float32(0.5)}])

    assert [request.body for request in server.arrivals] == [
        b'{"features":[[1.0,2.0],[3.0,null]]}',
        b'{"features":[[1,0.5],[2,null]],"columns":["a","b"]}',
        b'{"features":[{"a":1},{"a":0.5}]}',
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_connections": 0},
        {"failure_threshold": 0},
        {"timeout": 0},
        {"attempt_timeout": -1},
        {"timeout": "10"},
        {"max_attempts": 2.5},
        {"failure_threshold": True},
        {"idempotent": "no"},
        {"base_url": "localhost:3000"},
        {"base_url": "http://[::1"},
    ],
)
async def test_invalid_options_are_rejected_by_the_constructor(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        BentoMLClient(**{"base_url": "http://127.0.0.1:3000", **options})


async def test_circuits_are_limited_in_number_and_unknown_models_evict_no_open_circuit() -> None:
    async with client_of([DOWN, Reply(404)], failure_threshold=1, max_attempts=1) as (client, _):
        await error_of(client, model="failing")
        for number in range(300):
            await error_of(client, model=f"model{number}")

        assert len(client._circuits) == 256
        assert client.circuit_state("failing") == "open"
        assert client.circuit_state("never called") == "closed"
        assert len(client._circuits) == 256


async def test_every_prediction_has_the_four_parts() -> None:
    async with client_of(
        [Reply(200, [1]), Reply(200, {"predictions": [1], "model_tag": "m:1", "latency_ms": 0.5})]
    ) as (client, _):
        bare, complete = await client.predict(ROW), await client.predict(ROW)

    assert (bare["predictions"], bare["probabilities"], bare["model_tag"]) == ([1], None, None)
    assert 0 < bare["latency_ms"] < 10_000
    assert (complete["model_tag"], complete["latency_ms"]) == ("m:1", 0.5)


async def test_data_that_cannot_be_encoded_raises_invalid_data_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    async with client_of(OK) as (client, server):
        assert isinstance(await error_of(client, endless), InvalidDataError)
        assert isinstance(await error_of(client, model="\ud800"), InvalidDataError)
    assert server.arrivals == []


async def test_errors_do_not_contain_the_password_of_a_url() -> None:
    with FaultServer(Reply(503)) as server:
        url = server.url.replace("http://", "http://user:hunter2@")
        async with BentoMLClient(url, max_attempts=1) as client:
            assert "hunter2" not in str(await error_of(client))
    assert server.arrivals[0].headers["authorization"].startswith("Basic ")


async def test_model_info_is_rejected_by_an_open_circuit_and_after_close() -> None:
    async with client_of(DOWN, failure_threshold=3) as (client, server):
        with pytest.raises(ServiceFailedError):
            await client.model_info()
        assert len(server.arrivals) == 3
        with pytest.raises(CircuitOpenError):
            await client.model_info()
        await client.close()
        with pytest.raises(ClientUsageError):
            await client.model_info()
    assert len(server.arrivals) == 3


async def test_attempt_timeout_is_not_shorter_than_the_traffic_timeout_of_the_service() -> None:
    from tier0.client.options import ClientOptions
    from tier0.serving.service import TRAFFIC_TIMEOUT

    assert ClientOptions().timeout / 2 >= TRAFFIC_TIMEOUT


async def test_redirect_to_an_invalid_url_is_a_caller_error() -> None:
    async with client_of(Reply(302, headers={"Location": "http://[no"}), failure_threshold=1) as (
        client,
        server,
    ):
        error = await error_of(client)
        assert isinstance(error, CallerError)
        assert error.status == 302
        assert client.circuit_state() == "closed"
    assert len(server.arrivals) == 1


async def test_response_that_takes_too_long_to_decode_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tier0.client.bentoml_client.decode_prediction", clock.taking(3, decode_prediction))
    async with client_of(OK, failure_threshold=2, timeout=4, attempt_timeout=2, clock=clock) as (
        client,
        server,
    ):
        assert isinstance(await error_of(client), TimedOutError)
    assert len(server.arrivals) == 2


async def test_timeout_includes_encoding_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tier0.client.bentoml_client.encode", clock.taking(5, encode))
    async with client_of(OK, timeout=4, clock=clock) as (client, server):
        assert isinstance(await error_of(client), TimedOutError)
    assert server.arrivals == []


async def test_rejected_call_does_not_wait_for_a_connection() -> None:
    def answer(arrival: Arrival) -> Reply:
        return Reply.hang() if "/slow/" in arrival.path else DOWN

    async with client_of(answer, max_connections=1, failure_threshold=1) as (client, server):
        await error_of(client, model="dead")
        busy = asyncio.ensure_future(client.predict(ROW, model="slow"))
        await arrived(server, 2)
        async with asyncio.timeout(3):
            with pytest.raises(CircuitOpenError) as rejection:
                await client.model_info("dead")
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
    assert len(rejection.value.request_id) == 32


async def test_tls_errors_are_transport_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise ssl.SSLError("tlsv13 alert certificate required")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", fail)
    async with client_of(OK, failure_threshold=2, max_attempts=2) as (client, _):
        assert isinstance(await error_of(client), TransportError)
        assert client.circuit_state() == "open"
        assert (await client.health_check())["status"] == "unhealthy"


async def test_cookies_are_not_stored() -> None:
    async with client_of(Reply(200, PREDICTION, headers={"Set-Cookie": "replica=3; Path=/"})) as (
        client,
        server,
    ):
        for _ in range(2):
            await client.predict(ROW)
            await client.health_check()
    assert not any("cookie" in request.headers for request in server.arrivals)
    assert len(server.arrivals) == 4


@pytest.mark.parametrize("timeout", [float("nan"), "5"])
async def test_timeout_that_is_not_a_number_is_rejected(timeout: Any) -> None:
    async with client_of(OK) as (client, server):
        assert isinstance(await error_of(client, timeout=timeout), InvalidDataError)
    assert server.arrivals == []


@pytest.mark.parametrize("data", [[], (), {"features": []}, np.empty((0, 2))])
async def test_empty_data_is_rejected(data: Any) -> None:
    async with client_of(OK) as (client, server):
        assert isinstance(await error_of(client, data), InvalidDataError)
    assert server.arrivals == []


@pytest.mark.parametrize("data", [((1.0,), (2.0,)), {"features": np.ones((2, 1))}])
async def test_rows_of_tuples_and_arrays_are_counted(data: Any) -> None:
    async with client_of(OK, max_attempts=1) as (client, _):
        assert isinstance(await error_of(client, data), InvalidAnswerError), (
            "one prediction for two rows is invalid"
        )
