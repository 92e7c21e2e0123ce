"""One call of the client, in virtual time, over a transport that answers from a script."""

from __future__ import annotations

import asyncio
import itertools
import selectors
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import pytest

from tier0.client.breaker import CircuitBreaker
from tier0.client.call import Call, CallPolicy, Request
from tier0.client.circuits import RETRY_BUDGET_LIMIT, Circuit
from tier0.client.connections import Connections
from tier0.client.errors import (
    CallerError,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    InvalidAnswerError,
    PoolSaturatedError,
    RateLimitedError,
    ServiceFailedError,
    TimedOutError,
    TransportError,
)
from tier0.client.events import CircuitEvents, ClientEvent, Reporter
from tier0.client.options import ClientOptions
from tier0.client.tracing import Attempt, AttemptSpan
from tier0.client.wire import server_message

SERVICE = "http://models.example:3000"
SHOWN = f"{SERVICE}/predict"
URL = "http://user:secret@models.example:3000/predict"
RESET = 30.0
JITTER = 0.5
"""What the client draws in place of a random number."""

Reply = httpx.Response | Exception | Callable[[], Awaitable[httpx.Response]]


class VirtualSelector(selectors.DefaultSelector):
    """Advances the time of its loop instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "every task waits for something that will not happen"
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on which a wait takes no time."""

    def __init__(self) -> None:
        self.selector = VirtualSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


class World:
    """A service that answers from a script, and the calls of one client to it."""

    def __init__(self, *replies: Reply | int, threshold: int = 5, **options: Any) -> None:
        self.loop = VirtualLoop()
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.options = ClientOptions(**options)
        self.connections = Connections(
            self.loop, self.options.max_connections, [URL], self.options.max_response_bytes
        )
        self.connections.calls = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.events: list[ClientEvent] = []
        events = CircuitEvents(Reporter(self.events.append), SERVICE, None, RESET)
        breaker = CircuitBreaker(
            failure_threshold=threshold,
            reset_timeout=RESET,
            clock=self.loop.time,
            on_change=events.change,
        )
        self.circuit = Circuit(breaker, events=events)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, int):
            return httpx.Response(reply, content=b"[1]")
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else await reply()

    async def wait(self, seconds: float) -> None:
        over = self.loop.create_future()
        self.loop.call_later(seconds, over.set_result, None)
        await over

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.wait(seconds)

    def after(self, seconds: float, response: httpx.Response) -> Reply:
        async def answer() -> httpx.Response:
            await self.wait(seconds)
            return response

        return answer

    def call(
        self,
        *,
        timeout: float = 10.0,
        attempt_timeout: float = 5.0,
        method: str = "POST",
        body: bytes | None = b"{}",
        decode: Callable[[bytes], Any] = bytes.decode,
        begin_span: Any = None,
        sampled: bool = False,
    ) -> Call[Any]:
        return Call(
            Request(method, URL, SERVICE, body, decode),
            CallPolicy(self.options, self.loop.time, self._sleep, lambda: JITTER),
            self.connections,
            self.circuit,
            deadline=self.loop.time() + timeout,
            attempt_timeout=attempt_timeout,
            begin_span=begin_span,
            sampled=sampled,
        )

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def result(self, **arguments: Any) -> Any:
        return self.run(self.call(**arguments).run())

    def error(self, **arguments: Any) -> ClientError:
        return self.error_of(self.call(**arguments))

    def error_of(self, call: Call[Any]) -> ClientError:
        with pytest.raises(ClientError) as caught:
            self.run(call.run())
        return caught.value

    def settle(self, call: Call[Any]) -> BaseException | None:
        """Make a call, and return the error in which it may have ended."""
        task = self.loop.create_task(call.run())
        self.run(asyncio.wait([task]))
        return task.exception()

    def failures(self, kind: str) -> list[tuple[str, str]]:
        """Return class and message of the failure of each event of a kind."""
        events = [event for event in self.events if event.kind == kind]
        return [(type(event.failure).__name__, str(event.failure)) for event in events]

    def open_circuit(self) -> None:
        while self.circuit.breaker.state != "open":
            self.circuit.breaker.acquire().fail()

    def assert_connection_is_free(self) -> None:
        """Assert that no earlier call has kept the only connection, or returned it twice."""
        assert self.options.max_connections == 1
        slots = self.connections.slots[SERVICE]
        assert not slots.locked()
        self.run(slots.acquire())
        assert slots.locked()
        slots.release()


NewWorld = Callable[..., World]


@pytest.fixture
def world() -> Iterator[NewWorld]:
    worlds: list[World] = []

    def new(*replies: Reply | int, **options: Any) -> World:
        worlds.append(World(*replies, **options))
        return worlds[-1]

    yield new
    for each in worlds:
        each.loop.close()


async def hang() -> httpx.Response:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


def test_one_request_has_the_body_and_the_ids_of_its_call(world: NewWorld) -> None:
    here = world(200)
    call = here.call(body=b'{"features": [[1]]}')

    assert here.run(call.run()) == "[1]"

    (request,) = here.requests
    (attempt,) = call.attempts
    assert (request.method, str(request.url), request.content) == ("POST", URL, b'{"features": [[1]]}')
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Request-ID"] == call.request_id
    assert request.headers["traceparent"] == f"00-{call.request_id}-{attempt.span_id}-00"
    assert (attempt.status, attempt.outcome) == (200, "answered")
    assert call.parent_trace_id is None


def test_a_traced_call_asks_the_service_to_record_it_too(world: NewWorld) -> None:
    here = world(200)
    here.result(sampled=True)

    assert here.requests[0].headers["traceparent"].endswith("-01")


def test_a_request_without_a_body_has_no_content_type(world: NewWorld) -> None:
    here = world(200)
    here.result(method="GET", body=None)

    assert here.requests[0].method == "GET"
    assert "Content-Type" not in here.requests[0].headers


def test_an_attempt_is_recorded_with_its_times(world: NewWorld) -> None:
    here = world(200)
    call = here.call()
    before = time.time()

    here.run(call.run())

    assert before <= call.attempts[0].started <= call.attempts[0].ended <= time.time()


@pytest.mark.parametrize(
    ("reply", "outcome", "status"),
    [
        (200, "answered", 200),
        (503, "ServiceFailedError", 503),
        (httpx.ReadError("reset"), "TransportError", None),
        (hang, "TimedOutError", None),
    ],
)
def test_an_attempt_is_recorded_with_its_outcome(
    world: NewWorld, reply: Any, outcome: str, status: int | None
) -> None:
    here = world(reply, max_attempts=1)
    call = here.call()
    here.settle(call)

    assert [(each.outcome, each.status) for each in call.attempts] == [(outcome, status)]
    assert call.attempts[0].ended >= call.attempts[0].started > 0


def test_retries_share_an_id_and_have_spans_of_their_own(world: NewWorld) -> None:
    here = world(503, 503, 200)
    call = here.call()

    here.run(call.run())

    assert [request.headers["X-Request-ID"] for request in here.requests] == [call.request_id] * 3
    spans = [request.headers["traceparent"].split("-")[2] for request in here.requests]
    assert len(set(spans)) == 3
    assert spans == [attempt.span_id for attempt in call.attempts]


def test_waits_double_up_to_their_limit_with_full_jitter(world: NewWorld) -> None:
    here = world(*[503] * 4, 200, max_attempts=5, backoff_base=1.0, backoff_max=3.0)
    here.result(timeout=100)

    assert here.waits == [JITTER * 1.0, JITTER * 2.0, JITTER * 3.0, JITTER * 3.0]


@pytest.mark.parametrize(("retry_after", "wait"), [("7", 7.0), ("0.1", JITTER * 1.0)])
def test_retry_after_is_the_least_wait(world: NewWorld, retry_after: str, wait: float) -> None:
    here = world(httpx.Response(503, headers={"Retry-After": retry_after}), 200, backoff_base=1.0)
    here.result()

    assert here.waits == [wait]


def test_the_error_of_the_last_attempt_has_the_facts(world: NewWorld) -> None:
    busy = {"error": {"field": "queue", "message": "is full", "remedy": "wait"}}
    here = world(503, httpx.Response(503, json=busy, headers={"Retry-After": "2"}), max_attempts=2)
    call = here.call()

    error = here.error_of(call)

    assert type(error) is ServiceFailedError
    assert str(error) == f"{SHOWN} returned 503: queue is full wait"
    assert (error.status, error.attempts, error.request_id) == (503, 2, call.request_id)
    assert (error.server_message, error.retry_after) == ("queue is full wait", 2.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"message": "full"}', "full"),
        (b'{"error": {"message": 7}}', "7"),
        (b'{"error": {"message": "' + b"a" * 5000 + b'"}}', "a" * 1000),
        (b'{"error": {"message": [1]}}', """'{"error": {"message": [1]}}'"""),
        (b'{"error": {"message": ""}}', """'{"error": {"message": ""}}'"""),
        (b"[" * 9, repr("[" * 9)),
        (b"[" + b"[]," * 600_000 + b"0]", repr("[" + "[]," * 66 + "[")),
        (b'{"message": "\\ud800"}', "\ud800"),
    ],
)
def test_the_message_of_an_error_response_is_bounded(content: bytes, message: str) -> None:
    assert server_message(content) == message


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [
        (300, CallerError, 1),
        (400, CallerError, 1),
        (499, CallerError, 1),
        (429, RateLimitedError, 2),
        (500, ServiceFailedError, 2),
        (501, ServiceFailedError, 1),
        (505, ServiceFailedError, 1),
        (599, ServiceFailedError, 2),
    ],
)
def test_a_status_decides_the_error_and_whether_it_is_retried(
    world: NewWorld, status: int, kind: type[ClientError], requests: int
) -> None:
    here = world(status, status, max_attempts=2)

    error = here.error()

    assert type(error) is kind
    assert error.status == status
    assert str(error).startswith(f"{SHOWN} returned {status}: ")
    assert error.attempts == len(here.requests) == requests


@pytest.mark.parametrize("status", [200, 201, 299])
def test_every_2xx_is_a_success(world: NewWorld, status: int) -> None:
    assert world(status).result() == "[1]"


@pytest.mark.parametrize(
    ("reply", "state"),
    [(200, "closed"), (400, "closed"), (429, "half_open"), (500, "open"), (httpx.ReadError(""), "open")],
)
def test_a_probe_settles_the_circuit_by_what_it_shows_of_the_service(
    world: NewWorld, reply: Any, state: str
) -> None:
    here = world(reply, max_attempts=1)
    here.open_circuit()
    here.run(here.wait(RESET))

    here.settle(here.call())

    assert here.circuit.breaker.state == state


@pytest.mark.parametrize(
    ("reply", "requests"), [(503, 1), (429, 1), (httpx.ReadError(""), 1), (httpx.ConnectError(""), 2)]
)
def test_a_call_that_must_not_be_repeated_is_retried_only_if_nothing_was_sent(
    world: NewWorld, reply: Any, requests: int
) -> None:
    here = world(reply, 200, idempotent=False)
    here.settle(here.call())

    assert len(here.requests) == requests


@pytest.mark.parametrize(("timeout", "requests"), [(2.0, 1), (2.1, 2)])
def test_a_retry_must_begin_before_the_deadline(world: NewWorld, timeout: float, requests: int) -> None:
    here = world(max_attempts=2)
    late = here.after(1.0, httpx.Response(503, headers={"Retry-After": "1"}))
    here.replies = [late, 503]

    error = here.error(timeout=timeout)

    assert error.attempts == len(here.requests) == requests
    assert here.waits == [1.0] * (requests - 1)


def test_each_retry_costs_one_of_the_budget(world: NewWorld) -> None:
    here = world(503, 503, 200)
    here.result()

    assert here.circuit.retry_budget == RETRY_BUDGET_LIMIT - 2


@pytest.mark.parametrize(("budget", "requests"), [(0.9, 1), (1.0, 2), (1.9, 2), (2.0, 3)])
def test_a_budget_under_one_allows_no_retry(world: NewWorld, budget: float, requests: int) -> None:
    here = world(503, 503, 503)
    here.circuit.retry_budget = budget

    assert here.error().attempts == requests


def test_a_call_whose_failure_opens_the_circuit_does_not_wait(world: NewWorld) -> None:
    here = world(503, threshold=1)

    assert isinstance(here.error(), ServiceFailedError)
    assert here.waits == []


def test_a_hanging_attempt_ends_at_its_limit_and_is_a_failure(world: NewWorld) -> None:
    here = world(hang, threshold=1)
    call = here.call(timeout=10, attempt_timeout=4)

    error = here.error_of(call)

    assert type(error) is TimedOutError
    assert isinstance(error.__cause__, TimeoutError)
    assert str(error) == f"{SHOWN}: no complete response within 4.00 s"
    assert (error.attempts, error.request_id, error.status) == (1, call.request_id, None)
    assert here.loop.time() == pytest.approx(4)
    assert here.circuit.breaker.state == "open"


def test_the_last_attempt_has_what_is_left_of_the_deadline(world: NewWorld) -> None:
    here = world(hang, hang, backoff_base=0.0)
    call = here.call(timeout=10, attempt_timeout=6)

    assert "within 4.00 s" in str(here.error_of(call))
    assert here.loop.time() == pytest.approx(10)
    assert len(here.requests) == 2


def test_an_attempt_that_the_deadline_shortens_is_a_failure(world: NewWorld) -> None:
    here = world(hang, threshold=1)

    here.error(timeout=1, attempt_timeout=6)

    assert here.circuit.breaker.state == "open"


@pytest.mark.parametrize(("attempt_timeout", "state"), [(5.0, "closed"), (4.0, "open"), (3.0, "open")])
def test_an_attempt_that_a_wait_for_a_connection_shortens_is_no_failure(
    world: NewWorld, attempt_timeout: float, state: str
) -> None:
    here = world(threshold=1, max_connections=1)
    here.replies = [here.after(6, httpx.Response(200)), hang]

    async def both() -> ClientError:
        first = asyncio.ensure_future(here.call(attempt_timeout=100, timeout=100).run())
        await asyncio.sleep(0)
        with pytest.raises(TimedOutError) as caught:
            await here.call(timeout=10, attempt_timeout=attempt_timeout).run()
        await first
        return caught.value

    assert f"within {min(attempt_timeout, 4.0):.2f} s" in str(here.run(both()))
    assert here.circuit.breaker.state == state


@pytest.mark.parametrize(("seconds", "state"), [(3.9, "closed"), (4.0, "open"), (4.9, "open")])
def test_only_a_late_cancellation_is_a_failure(world: NewWorld, seconds: float, state: str) -> None:
    here = world(hang, threshold=1)
    call = here.call(attempt_timeout=5)

    _cancel_after(here, call, seconds)

    assert here.circuit.breaker.state == state
    assert call.attempts[0].outcome == "cancelled"


def _cancel_after(here: World, call: Call[Any], seconds: float) -> None:
    async def cancel() -> None:
        task = asyncio.ensure_future(call.run())
        await here.wait(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    here.run(cancel())


def test_a_late_cancellation_after_a_wait_for_a_connection_is_no_failure(world: NewWorld) -> None:
    here = world(threshold=1, max_connections=1)
    here.replies = [here.after(8, httpx.Response(200)), hang]

    async def both() -> None:
        first = asyncio.ensure_future(here.call(timeout=100, attempt_timeout=100).run())
        second = asyncio.ensure_future(here.call(timeout=10, attempt_timeout=5).run())
        await here.wait(9.9)
        second.cancel()
        await asyncio.wait([first, second])

    here.run(both())
    assert here.circuit.breaker.state == "closed"


def test_a_wait_for_a_connection_excuses_later_attempts_too(world: NewWorld) -> None:
    here = world(threshold=2, max_connections=1, backoff_base=0.0)
    here.replies = [here.after(6, httpx.Response(200)), here.after(2, httpx.Response(503)), hang]

    async def both() -> None:
        first = asyncio.ensure_future(here.call(timeout=100, attempt_timeout=100).run())
        await asyncio.sleep(0)
        with pytest.raises(TimedOutError, match=r"within 2\.00 s"):
            await here.call(timeout=10, attempt_timeout=3).run()
        await first

    here.run(both())
    assert here.circuit.breaker.state == "closed", "only the 503 is a failure"


def test_a_call_that_gets_no_connection_in_time_sends_nothing(world: NewWorld) -> None:
    here = world(hang, threshold=1, max_connections=1)
    here.run(here.wait(50))
    call = here.call(timeout=3)

    async def both() -> ClientError:
        other = asyncio.ensure_future(here.call(timeout=100, attempt_timeout=100).run())
        await asyncio.sleep(0)
        with pytest.raises(PoolSaturatedError) as caught:
            await call.run()
        other.cancel()
        await asyncio.wait([other])
        return caught.value

    error = here.run(both())
    assert str(error) == f"timed out waiting for one of 1 connections to {SHOWN}"
    assert (error.attempts, error.request_id, error.__suppress_context__) == (0, call.request_id, True)
    assert here.loop.time() == pytest.approx(53)
    assert len(here.requests) == 1
    here.assert_connection_is_free()


@pytest.mark.parametrize("reply", [200, 400, 503, httpx.ReadError(""), hang])
def test_every_end_of_a_call_frees_its_connection(world: NewWorld, reply: Any) -> None:
    here = world(reply, reply, reply, max_connections=1)
    here.settle(here.call())
    here.assert_connection_is_free()


def test_a_cancelled_call_frees_its_connection_and_its_probe(world: NewWorld) -> None:
    here = world(hang, 200, max_connections=1)
    here.open_circuit()
    here.run(here.wait(RESET))
    _cancel_after(here, here.call(), 1)
    here.assert_connection_is_free()

    assert here.result() == "[1]"
    assert here.circuit.breaker.state == "closed"


def test_an_open_circuit_rejects_a_call_before_it_waits_for_a_connection(world: NewWorld) -> None:
    here = world(max_connections=1)
    here.open_circuit()
    here.run(here.connections.slots[SERVICE].acquire())
    call = here.call()

    error = here.error_of(call)

    assert type(error) is CircuitOpenError
    assert (error.request_id, error.attempts, error.retry_after) == (call.request_id, 0, RESET)
    assert here.loop.time() == 0


def test_a_call_beside_a_probe_is_rejected_and_frees_its_connection(world: NewWorld) -> None:
    here = world(max_connections=1)
    here.open_circuit()
    here.run(here.wait(RESET))
    here.circuit.breaker.acquire()
    call = here.call()

    error = here.error_of(call)

    assert type(error) is CircuitOpenError
    assert error.request_id == call.request_id
    assert here.requests == []
    here.assert_connection_is_free()


def test_a_call_whose_retry_is_rejected_raises_the_failure_of_its_attempt(world: NewWorld) -> None:
    broken = httpx.ReadError("reset by peer")
    here = world(broken, threshold=2, backoff_base=1.0)

    async def fails_meanwhile() -> None:
        task = asyncio.ensure_future(here.call().run())
        await here.wait(0.1)
        here.open_circuit()
        with pytest.raises(TransportError) as caught:
            await task
        assert caught.value.__cause__ is broken
        assert caught.value.attempts == 1

    here.run(fails_meanwhile())
    assert len(here.requests) == 1


def test_a_deadline_that_is_over_before_a_request_sends_none(world: NewWorld) -> None:
    here = world(max_connections=1)
    call = here.call(timeout=0)

    error = here.error_of(call)

    assert type(error) is TimedOutError
    assert str(error) == f"deadline exceeded before a request to {SHOWN} could be sent"
    assert error.request_id == call.request_id
    assert here.requests == []
    here.assert_connection_is_free()


@pytest.mark.parametrize("waits_for_connection", [False, True])
def test_a_call_of_a_closed_client_sends_nothing(world: NewWorld, *, waits_for_connection: bool) -> None:
    here = world(max_connections=1)
    slots = here.connections.slots[SERVICE]
    call = here.call()

    async def close_meanwhile() -> ClientError:
        if waits_for_connection:
            await slots.acquire()
            task = asyncio.ensure_future(call.run())
            await here.wait(1)
            await here.connections.close()
            slots.release()
        else:
            await here.connections.close()
            task = asyncio.ensure_future(call.run())
        with pytest.raises(ClientUsageError) as caught:
            await task
        return caught.value

    error = here.run(close_meanwhile())
    assert str(error) == "the client was closed while this call was waiting"
    assert (error.request_id, error.attempts) == (call.request_id, 0)
    assert here.requests == []
    here.assert_connection_is_free()


def test_a_client_that_is_closed_between_attempts_reports_the_attempts(world: NewWorld) -> None:
    here = world(503, backoff_base=1.0)

    async def close_meanwhile() -> ClientError:
        task = asyncio.ensure_future(here.call().run())
        await here.wait(0.1)
        await here.connections.close()
        with pytest.raises(ClientUsageError) as caught:
            await task
        return caught.value

    assert here.run(close_meanwhile()).attempts == 1


@pytest.mark.parametrize(
    ("problem", "described"),
    [
        (httpx.ConnectError("refused"), "ConnectError (refused)"),
        (httpx.RemoteProtocolError(""), "RemoteProtocolError"),
        (OSError("TLS"), "OSError (TLS)"),
    ],
)
def test_a_broken_connection_is_a_failure_and_a_transport_error(
    world: NewWorld, problem: Exception, described: str
) -> None:
    here = world(problem, max_attempts=1, threshold=1)
    call = here.call()

    error = here.error_of(call)

    assert type(error) is TransportError
    assert str(error) == f"{SHOWN}: {described}"
    assert error.__cause__ is problem
    assert (error.attempts, error.request_id, error.status) == (1, call.request_id, None)
    assert here.circuit.breaker.state == "open"


def test_a_2xx_that_is_no_prediction_is_a_failure_and_retried(world: NewWorld) -> None:
    def decode(content: bytes) -> Any:
        raise InvalidAnswerError(f"not a prediction: {content!r}")

    here = world(200, 202, max_attempts=2, threshold=2)
    call = here.call(decode=decode)

    error = here.error_of(call)

    assert type(error) is InvalidAnswerError
    assert str(error) == f"{SHOWN}: not a prediction: b'[1]'"
    assert (error.status, error.attempts, error.request_id) == (202, 2, call.request_id)
    assert error.__suppress_context__
    assert here.circuit.breaker.state == "open"


@pytest.mark.parametrize(("seconds", "state"), [(5.0, "closed"), (5.1, "open")])
def test_decoding_counts_as_part_of_the_attempt(world: NewWorld, seconds: float, state: str) -> None:
    here = world(200, max_attempts=1, threshold=1)

    def decode(_: bytes) -> str:
        here.loop.selector.now += seconds
        return "decoded"

    error = here.settle(here.call(attempt_timeout=5, decode=decode))

    assert here.circuit.breaker.state == state
    assert isinstance(error, TimedOutError) is (state == "open")


class OneSpan:
    """OpenTelemetry's span, as far as an attempt uses it."""

    trace_id, span_id = 0xABC, 0xDEF

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        self.events: list[str] = []

    def get_span_context(self) -> OneSpan:
        return self

    def set_attribute(self, name: str, value: Any) -> None:
        self.attributes[name] = value

    def set_status(self, status: str) -> None:
        self.events.append(status)

    def end(self) -> None:
        self.events.append("ended")

    @contextmanager
    def use(self, *_: Any, **__: Any) -> Iterator[None]:
        self.events.append("current")
        yield
        self.events.append("left")


@pytest.mark.parametrize(
    ("reply", "events"),
    [(200, ["current", "left", "ended"]), (400, ["current", "error", "ended"])],
)
def test_an_attempt_has_a_span_in_the_application_s_own_trace(
    world: NewWorld, reply: int, events: list[str]
) -> None:
    spans: list[OneSpan] = []

    def begin_span(headers: dict[str, str], attributes: Callable[[], dict[str, Any]]) -> AttemptSpan:
        headers["traceparent"] = "of the application"
        spans.append(OneSpan())
        spans[-1].attributes = attributes()

        def use(*_: Any, **__: Any) -> AbstractContextManager[None]:
            return spans[-1].use()

        return AttemptSpan(spans[-1], use, "error")

    here = world(503, reply)
    call = here.call(begin_span=begin_span)
    here.settle(call)

    first, last = spans
    assert first.events == ["current", "error", "ended"]
    assert last.events == events
    assert first.attributes == {
        "http.request.method": "POST",
        "http.request.resend_count": 0,
        "url.full": SHOWN,
        "server.address": "models.example",
        "server.port": 3000,
        "http.response.status_code": 503,
        "error.type": "ServiceFailedError",
    }
    assert last.attributes["http.request.resend_count"] == 1
    assert here.requests[1].headers["traceparent"] == "of the application"
    assert [attempt.span_id for attempt in call.attempts] == [f"{0xDEF:016x}"] * 2
    assert call.parent_trace_id == f"{0xABC:032x}"


def test_an_application_without_a_current_span_gets_a_trace_of_the_call(world: NewWorld) -> None:
    here = world(200)
    call = here.call(begin_span=lambda _headers, _attributes: None)

    here.run(call.run())

    assert call.request_id in here.requests[0].headers["traceparent"]
    assert call.parent_trace_id is None


def test_an_attempt_never_ends_before_it_started(world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world(200)
    call = here.call()
    clock = itertools.count(1000, -1)  # the system's clock is set back
    monkeypatch.setattr(time, "time", lambda: next(clock))

    here.run(call.run())

    assert call.attempts == [Attempt(call.attempts[0].span_id, 1000, 1000, "answered", 200)]


def test_a_retry_is_reported_before_its_wait(world: NewWorld) -> None:
    here = world(503, 200)
    call = here.call()

    here.run(call.run())

    assert here.events == [
        ClientEvent(
            kind="retry",
            url=SHOWN,
            error="ServiceFailedError",
            status=503,
            request_id=call.request_id,
            attempts=1,
            delay=here.waits[0],
        )
    ]
    assert here.failures("retry") == [("ServiceFailedError", f"{SHOWN} returned 503: '[1]'")]


def test_only_what_is_retried_is_reported_as_a_retry(world: NewWorld) -> None:
    here = world(503, 503, 400, max_attempts=2)
    here.error()
    here.error()

    assert [event.attempts for event in here.events] == [1]


def not_json(_: bytes) -> str:
    raise InvalidAnswerError("not JSON")


@pytest.mark.parametrize(
    ("reply", "decode", "failure"),
    [
        (503, bytes.decode, ("ServiceFailedError", f"{SHOWN} returned 503: '[1]'")),
        (httpx.ReadError("reset"), bytes.decode, ("TransportError", f"{SHOWN}: ReadError (reset)")),
        (200, not_json, ("InvalidAnswerError", f"{SHOWN}: not JSON")),
    ],
)
def test_an_opening_is_reported_with_its_failure(
    world: NewWorld, reply: Reply | int, decode: Callable[[bytes], Any], failure: tuple[str, str]
) -> None:
    here = world(reply, threshold=1)
    call = here.call(decode=decode)

    error = here.error_of(call)

    assert here.failures("circuit_opened") == [failure] == [(type(error).__name__, str(error))]
    (event,) = here.events
    assert event.failure is not error
    assert event.failure is not None
    assert vars(event.failure) == vars(error)
    assert (event.attempts, event.request_id) == (1, call.request_id)
    assert error.reason == ("ReadError" if isinstance(reply, httpx.ReadError) else "")


def test_a_hang_is_reported_as_a_timeout(world: NewWorld) -> None:
    here = world(threshold=1)
    here.replies.append(here.after(60, httpx.Response(200)))

    here.error(timeout=10, attempt_timeout=5)

    failure = ("TimedOutError", f"{SHOWN}: no complete response within 5.00 s")
    assert here.failures("circuit_opened") == [failure]


def test_a_late_cancellation_is_reported_as_a_timeout(world: NewWorld) -> None:
    here = world(threshold=1)
    here.replies.append(here.after(60, httpx.Response(200)))
    call = here.call(attempt_timeout=5)

    async def cancel_late() -> None:
        task = asyncio.ensure_future(call.run())
        await here.wait(4.5)
        task.cancel()
        await asyncio.wait([task])

    here.run(cancel_late())

    failure = ("TimedOutError", f"{SHOWN}: no complete response within 4.50 s (call cancelled)")
    assert here.failures("circuit_opened") == [failure]
    assert [(event.attempts, event.request_id) for event in here.events] == [(1, call.request_id)]


def test_a_rejected_call_is_reported_with_its_own_id(world: NewWorld) -> None:
    here = world()
    here.open_circuit()
    call = here.call()

    here.error_of(call)

    assert here.events[1:] == [
        ClientEvent(kind="call_rejected", url=SERVICE, request_id=call.request_id, delay=RESET, rejections=1)
    ]


def test_a_call_that_failed_before_its_retry_was_rejected_is_not_reported_as_rejected(
    world: NewWorld,
) -> None:
    here = world(503, backoff_base=1.0)

    async def opens_meanwhile() -> None:
        task = asyncio.ensure_future(here.call().run())
        await here.wait(0.1)
        here.open_circuit()
        with pytest.raises(ServiceFailedError):
            await task

    here.run(opens_meanwhile())
    assert [event.kind for event in here.events] == ["retry", "circuit_opened"]


def test_a_call_that_times_out_before_it_is_sent_is_not_reported_as_rejected(world: NewWorld) -> None:
    here = world()
    here.error(timeout=0)

    assert here.events == []
