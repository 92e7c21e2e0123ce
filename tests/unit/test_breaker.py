"""The circuit breaker, by examples and against a model of it."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tier0.client.breaker import CircuitBreaker, Permit
from tier0.client.errors import CircuitOpenError, ServiceFailedError

RESET = 30.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(threshold: int = 3, reset: float = RESET) -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    return CircuitBreaker(failure_threshold=threshold, reset_timeout=reset, clock=clock), clock


def open_(breaker: CircuitBreaker, threshold: int = 3) -> None:
    for _ in range(threshold):
        breaker.acquire().fail()


def test_only_consecutive_failures_open_the_circuit() -> None:
    breaker, _ = make()
    for verdict in ("fail", "fail", "succeed", "fail", "fail"):
        getattr(breaker.acquire(), verdict)()
    states = [breaker.state]
    breaker.acquire().fail()

    assert [*states, breaker.state] == ["closed", "open"]


def test_rejection_has_the_time_until_the_next_probe() -> None:
    breaker, clock = make()
    open_(breaker)
    clock.now += 10

    with pytest.raises(CircuitOpenError) as rejection:
        breaker.acquire()

    assert rejection.value.retry_after == 20


def test_one_probe_at_a_time_and_a_failed_probe_reopens_the_circuit() -> None:
    breaker, clock = make()
    open_(breaker)
    clock.now += RESET

    probe = breaker.acquire()
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    probe.fail()

    assert breaker.state == "open"
    clock.now += RESET - 1
    with pytest.raises(CircuitOpenError):
        breaker.acquire()


def test_released_probe_allows_another_probe() -> None:
    breaker, clock = make()
    open_(breaker)
    clock.now += RESET

    breaker.acquire().release()
    breaker.acquire().succeed()

    assert breaker.state == "closed"


def test_results_of_an_earlier_state_are_ignored() -> None:
    breaker, clock = make()
    early = [breaker.acquire() for _ in range(10)]
    open_(breaker)
    clock.now += RESET
    probe = breaker.acquire()

    early[0].succeed()
    early[1].fail()
    states = [breaker.state]

    probe.succeed()
    for permit in early[2:]:
        permit.fail()
    assert [*states, breaker.state] == ["half_open", "closed"]


def test_results_of_an_earlier_state_are_ignored_after_a_recovery_too() -> None:
    breaker, clock = make()
    open_(breaker)
    clock.now += RESET
    breaker.acquire().succeed()
    early = breaker.acquire()
    open_(breaker)
    clock.now += RESET
    breaker.acquire()

    early.succeed()

    assert breaker.state == "half_open"


def test_a_recovered_circuit_opens_after_as_many_failures_as_a_new_one() -> None:
    breaker, clock = make()
    open_(breaker)
    clock.now += RESET
    breaker.acquire().succeed()

    open_(breaker, threshold=2)
    states = [breaker.state]
    open_(breaker, threshold=1)

    assert [*states, breaker.state] == ["closed", "open"]


@pytest.mark.parametrize(("reset", "retry_after"), [(RESET, 1.0), (0.5, 0.5)])
def test_a_call_beside_a_probe_may_retry_soon(reset: float, retry_after: float) -> None:
    breaker, clock = make(reset=reset)
    open_(breaker)
    clock.now += reset
    breaker.acquire()

    with pytest.raises(CircuitOpenError) as rejection:
        breaker.acquire()

    assert str(rejection.value) == "the circuit is half-open, and another call is probing the service"
    assert rejection.value.retry_after == retry_after


def test_an_open_circuit_rejects_without_a_change_of_state_and_reports_why() -> None:
    breaker, clock = make()
    breaker.raise_if_open()
    open_(breaker)
    clock.now += RESET - 1.25

    with pytest.raises(CircuitOpenError, match=r"after 3 consecutive failures.* in 1\.[23] s") as rejection:
        breaker.raise_if_open()
    assert rejection.value.retry_after == 1.25

    clock.now += 1.25
    breaker.raise_if_open()
    assert breaker.state == "open"


def test_a_circuit_without_a_reset_timeout_is_probed_at_once() -> None:
    breaker, _ = make(threshold=1, reset=0)
    breaker.acquire().fail()

    breaker.acquire().succeed()

    assert breaker.state == "closed"


def test_each_change_is_reported_with_the_failure_that_opened_the_circuit() -> None:
    changes: list[tuple[str, str]] = []
    clock = Clock()
    breaker = CircuitBreaker(
        failure_threshold=2,
        reset_timeout=RESET,
        clock=clock,
        on_change=lambda state, failure: changes.append((state, str(failure))),
    )
    early = breaker.acquire()
    for text in ("first", "second"):
        breaker.acquire().fail(ServiceFailedError(text))
    early.fail(ServiceFailedError("late"))
    for text in ("of the probe", ""):
        clock.now += RESET
        permit = breaker.acquire()
        permit.fail(ServiceFailedError(text)) if text else permit.succeed()

    assert changes == [
        ("open", "second"),
        ("half_open", "second"),
        ("open", "of the probe"),
        ("half_open", "of the probe"),
        ("closed", "of the probe"),
    ]


def test_a_rejection_has_the_failure_that_opened_the_circuit_without_its_traceback() -> None:
    breaker, clock = make(threshold=1)
    failure = ServiceFailedError("42 is not allowed", status=503, request_id="abc")
    permit = breaker.acquire()
    with pytest.raises(ServiceFailedError):
        raise failure
    permit.fail(failure)

    with pytest.raises(CircuitOpenError) as while_open:
        breaker.acquire()
    clock.now += RESET
    breaker.acquire()
    with pytest.raises(CircuitOpenError) as beside_a_probe:
        breaker.acquire()

    for rejection in (while_open.value, beside_a_probe.value):
        assert rejection.__cause__ is rejection.last_failure
        assert str(rejection).endswith(" (last failure: ServiceFailedError (status 503))")
        assert type(rejection.last_failure) is ServiceFailedError
        assert vars(rejection.last_failure) == vars(failure)
        assert rejection.last_failure.args == failure.args
        assert rejection.last_failure.__traceback__ is None
    assert failure.__traceback__ is not None


def test_a_failure_whose_copies_keep_its_traceback_is_kept_without_it() -> None:
    class KeptError(ServiceFailedError):
        def __copy__(self) -> KeptError:
            other = KeptError(*self.args).with_traceback(self.__traceback__)
            other.__cause__ = self.__cause__
            return other

    breaker, _ = make(threshold=1)
    with pytest.raises(KeptError) as raised:
        raise KeptError("busy") from ValueError("body")
    breaker.acquire().fail(raised.value)

    with pytest.raises(CircuitOpenError) as rejection:
        breaker.acquire()

    assert rejection.value.last_failure is not None
    assert rejection.value.last_failure.__traceback__ is None
    assert rejection.value.last_failure.__cause__ is None
    assert raised.value.__traceback__ is not None


def test_a_rejection_for_an_unknown_failure_has_none() -> None:
    breaker, _ = make(threshold=1)
    breaker.acquire().fail()

    with pytest.raises(CircuitOpenError) as rejection:
        breaker.acquire()

    assert rejection.value.last_failure is None
    assert str(rejection.value).endswith(" s")


def test_permit_is_counted_once() -> None:
    breaker, _ = make(threshold=2)
    permit = breaker.acquire()

    permit.fail()
    permit.fail()
    permit.release()

    assert breaker.state == "closed"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"failure_threshold": 0, "reset_timeout": 1}, "failure_threshold must be 1 or more, got 0"),
        (
            {"failure_threshold": 1, "reset_timeout": -0.5},
            "reset_timeout must be 0 seconds or more, got -0.5",
        ),
    ],
)
def test_invalid_arguments_are_rejected(options: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        CircuitBreaker(**options, clock=Clock())  # type: ignore[arg-type]


class BreakerMachine(RuleBasedStateMachine):
    """The breaker compared with a model that keeps every permit and derives the state from their history."""

    @initialize(threshold=st.integers(1, 4))
    def start(self, threshold: int) -> None:
        self.threshold = threshold
        self.breaker, self.clock = make(threshold)
        self.state = "closed"
        self.epoch = 0
        self.failures = 0
        self.opened = 0.0
        self.out: list[tuple[Permit, int]] = []

    def _enter(self, state: str) -> None:
        self.state, self.failures = state, 0
        self.epoch += 1

    @rule(seconds=st.sampled_from([0.0, 1.0, RESET - 1, RESET]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def ask(self) -> None:
        if self.state == "open" and self.clock.now >= self.opened + RESET:
            self._enter("half_open")
        probing = any(epoch == self.epoch for _, epoch in self.out)
        may = self.state == "closed" or (self.state == "half_open" and not probing)
        try:
            self.out.append((self.breaker.acquire(), self.epoch))
        except CircuitOpenError as rejection:
            assert not may
            assert rejection.retry_after is not None  # noqa: PT017
            assert rejection.retry_after > 0  # noqa: PT017
        else:
            assert may

    @rule(data=st.data(), verdict=st.sampled_from(["succeed", "fail", "release"]))
    def settle(self, data: st.DataObject, verdict: str) -> None:
        if not self.out:
            return
        permit, epoch = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        getattr(permit, verdict)()
        if epoch != self.epoch or verdict == "release":
            return
        if verdict == "succeed":
            self.failures = 0
            if self.state == "half_open":
                self._enter("closed")
            return
        self.failures += 1
        if self.state == "half_open" or self.failures == self.threshold:
            self.opened = self.clock.now
            self._enter("open")

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state == self.state

    @invariant()
    def never_two_probes(self) -> None:
        if self.state == "half_open":
            assert sum(epoch == self.epoch for _, epoch in self.out) <= 1


TestBreakerMachine = BreakerMachine.TestCase
