"""The circuits of a client: one for each model, at most 256."""

from __future__ import annotations

import pytest

from tier0.client.circuits import MAX_CIRCUITS, RETRY_BUDGET_LIMIT, Circuit, Circuits
from tier0.client.errors import CircuitOpenError
from tier0.client.events import ClientEvent, Reporter
from tier0.client.options import ClientOptions


def new_circuits(now: float = 0.0) -> Circuits:
    return Circuits(ClientOptions(failure_threshold=2, reset_timeout=7.0), lambda: now)


def open_(circuit: Circuit) -> None:
    for _ in range(2):
        circuit.breaker.acquire().fail()


def test_a_call_adds_to_the_retry_budget_up_to_its_limit() -> None:
    circuit = new_circuits().get("a")
    assert circuit.retry_budget == RETRY_BUDGET_LIMIT

    circuit.retry_budget = 3.0
    circuit.add_to_budget(0.5)
    assert circuit.retry_budget == 3.5

    circuit.add_to_budget(100)
    assert circuit.retry_budget == RETRY_BUDGET_LIMIT


def test_each_model_has_a_circuit_of_its_own() -> None:
    circuits = new_circuits()
    open_(circuits.get("a"))

    assert circuits.get("a") is circuits.get("a")
    assert [circuits.state(model) for model in ("a", "b")] == ["open", "closed"]
    assert len(circuits) == 1, "asking for a state makes no circuit"


def test_a_circuit_has_the_options_and_the_clock_of_the_client() -> None:
    now = 100.0
    circuits = Circuits(ClientOptions(failure_threshold=2, reset_timeout=7.0), lambda: now)
    breaker = circuits.get("a").breaker
    breaker.acquire().fail()
    assert breaker.state == "closed"
    breaker.acquire().fail()

    now += 3
    with pytest.raises(CircuitOpenError) as rejection:
        breaker.acquire()
    assert rejection.value.retry_after == 4


def test_the_least_recently_used_circuit_is_forgotten() -> None:
    circuits = new_circuits()
    first = [circuits.get(str(number)) for number in range(MAX_CIRCUITS)]
    circuits.get("0")
    circuits.get("new")

    assert len(circuits) == MAX_CIRCUITS
    assert circuits.get("0") is first[0]
    assert circuits.get("2") is first[2]
    assert circuits.get("1") is not first[1]


def test_an_open_circuit_is_kept_as_long_as_a_closed_one_can_be_forgotten() -> None:
    circuits = new_circuits()
    for number in range(MAX_CIRCUITS - 1):
        open_(circuits.get(str(number)))
    circuits.get("closed")

    circuits.get("new")
    assert [circuits.state("0"), len(circuits)] == ["open", MAX_CIRCUITS]

    open_(circuits.get("new"))
    newest = circuits.get("newest")
    assert circuits.state("0") == "closed", "all others are open, so the oldest one is forgotten"
    assert circuits.state("1") == "open"
    assert circuits.get("newest") is newest


def test_what_happens_to_a_circuit_is_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    open_(new_circuits().get("http://host/churn/"))

    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_the_events_of_a_circuit_name_its_model() -> None:
    events: list[ClientEvent] = []
    options = ClientOptions(failure_threshold=2, reset_timeout=7.0)
    circuits = Circuits(options, lambda: 0.0, Reporter(events.append))
    circuit = circuits.get("http://user:secret@host/churn/", "churn")

    open_(circuit)

    assert events == [
        ClientEvent(kind="circuit_opened", url="http://host/churn/", model="churn", delay=7.0, rejections=0)
    ]
    with pytest.raises(CircuitOpenError) as rejection:
        circuit.breaker.acquire()
    circuit.events.reject(rejection.value)
    assert [(event.kind, event.model) for event in events[1:]] == [("call_rejected", "churn")]
