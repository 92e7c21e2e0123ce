"""The timeline of a failed client check: declaration, requests, responses, sleeps and circuit states."""

from __future__ import annotations

from typing import Any

from syrupy.assertion import SnapshotAssertion

from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.timeline import AROUND_A_STATE, MAX_DRAWN, spans, timeline
from tier0.core.declaration import Declaration
from tier0.faults import Arrival, LogEntry

STEP = 0.01


def timeline_of(statuses: list[int], *, concurrent: bool = False, **declared: Any) -> list[str]:
    """Return the timeline of calls with two requests each, with these statuses after 10 ms, one per 20 ms."""
    noted, arrivals, calls = [], [], []
    for number, status in enumerate(statuses):
        came, answered = 100 + 2 * number * STEP, 100 + (2 * number + 1) * STEP
        arrivals.append(Arrival(number, came, 1, "POST", "/predict", {}, b"", status, answered, "answered"))
        noted.append(LogEntry(came, "arrived", 1, {"request": number, "method": "POST", "path": "/predict"}))
        noted.append(LogEntry(answered, "answered", 1, {"request": number, "status": status}))
        if number % 2 == 0:
            calls.append(Call(100 if concurrent else came))
        calls[-1].requests.append(arrivals[-1])
        calls[-1].ended = answered
    return timeline(noted, arrivals, calls, Declaration(**declared))


def test_a_timeline_has_the_declaration_sleeps_and_states(snapshot: SnapshotAssertion) -> None:
    assert timeline_of([503, 503, 503, 200], threshold=3, reset=0.01, attempts=2) == snapshot


def test_concurrent_calls_have_no_sleeps(snapshot: SnapshotAssertion) -> None:
    assert timeline_of([503, 503, 503, 200], concurrent=True) == snapshot


def test_a_long_timeline_keeps_its_ends_and_the_changes_of_the_state() -> None:
    lines = timeline_of([200] * 40 + [503] * 3 + [200] * 41, threshold=3)
    whole = timeline_of([200] * 40 + [503] * 3 + [200] * 41)

    assert len(lines) < 60
    assert len([line for line in lines if line.startswith("…")]) == 2
    assert lines[1:20] == whole[1:20]
    assert lines[-20:] == whole[-20:]
    around_the_state = [line for line in lines[20:-20] if not line.startswith("…")]
    assert len(around_the_state) == 1 + 2 * AROUND_A_STATE + 1
    assert not set(around_the_state[1:]) & set(whole)


def test_every_end_of_a_request_and_every_connection_has_a_line(snapshot: SnapshotAssertion) -> None:
    noted = [
        LogEntry(1.0, "injected", 0, {"script": "…"}),
        LogEntry(1.0, "connected", 1),
        *(LogEntry(1.01, "arrived", 1, {"request": n, "method": "POST", "path": "/"}) for n in range(2)),
        LogEntry(1.02, "given up", 1, {"request": 0, "status": None}),
        LogEntry(1.03, "broken", 1, {"request": 1, "status": 200}),
        LogEntry(1.04, "closed", 1),
    ]

    assert timeline(noted, [], [], Declaration()) == snapshot


def test_calls_requests_and_the_circuit_are_spans_from_the_first_moment() -> None:
    arrivals = [
        Arrival(0, 10.0, 1, "POST", "/predict", {}, b"", 503, 10.1, "answered"),
        Arrival(1, 10.2, 1, "POST", "/predict", {}, b"", None, 10.3, "given up"),
        Arrival(2, 10.4, 1, "POST", "/predict", {}, b"", 200, 10.5, "answered"),
        Arrival(3, 10.6, 1, "POST", "/predict", {}, b""),
    ]
    calls = [Call(10.0, 10.5, answer=1), Call(10.6, 10.7, error=ValueError("no"))]

    drawn = spans(arrivals, calls, Declaration(threshold=1, reset=0.2))

    assert [(span["lane"], span["name"], span["start"], span["end"], span["status"]) for span in drawn] == [
        ("circuit", "the circuit must be open now", 0.1, 0.3, ""),
        ("circuit", "a probe may be sent now", 0.3, 0.7, ""),
        ("calls", "call 1: returned", 0.0, 0.5, "pass"),
        ("calls", "call 2: no request was sent, ValueError: no", 0.6, 0.7, "fail"),
        ("requests", "request 1: status 503", 0.0, 0.1, "fail"),
        ("requests", "request 2: the client disconnected", 0.2, 0.3, "not_judged"),
        ("requests", "request 3: status 200", 0.4, 0.5, "pass"),
        ("requests", "request 4: no response", 0.6, 0.7, "not_judged"),
    ]


def test_few_calls_are_drawn_and_none_without_any() -> None:
    many = [Call(number / 100, number / 100 + 0.001) for number in range(1, 200)]

    assert len(spans([], many, Declaration())) == MAX_DRAWN
    assert spans([], [], Declaration()) == []
