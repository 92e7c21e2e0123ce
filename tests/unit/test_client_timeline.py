"""The timeline of a failure: what was declared, sent, answered and slept, and when the circuit was to change."""

from __future__ import annotations

from typing import Any

from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.timeline import timeline
from tier0.core.declaration import Declaration
from tier0.faults import Arrival, LogEntry

STEP = 0.01


def told(statuses: list[int], *, at_once: bool = False, **declared: Any) -> list[str]:
    """Return the timeline of calls that sent two requests each, which were answered with these statuses after 10 ms, one every 20 ms."""
    noted, arrivals, calls = [], [], []
    for number, status in enumerate(statuses):
        came, answered = 100 + 2 * number * STEP, 100 + (2 * number + 1) * STEP
        arrivals.append(Arrival(number, came, 1, "POST", "/predict", {}, b"", status, answered, "answered"))
        noted.append(LogEntry(came, "arrived", 1, {"request": number, "method": "POST", "path": "/predict"}))
        noted.append(LogEntry(answered, "answered", 1, {"request": number, "status": status}))
        if number % 2 == 0:
            calls.append(Call(100 if at_once else came))
        calls[-1].requests.append(arrivals[-1])
        calls[-1].ended = answered
    return timeline(noted, arrivals, calls, Declaration(**declared))


def test_it_begins_with_what_was_declared_and_tells_sleeps_and_states() -> None:
    lines = told([503, 503, 503, 200], threshold=3, reset=0.01, attempts=2)

    assert lines[0] == "declared: attempts = 2, threshold = 3, reset = 0.01"
    assert lines[1].startswith("     0.0 ms")
    said = [line.partition("ms  ")[2] for line in lines[1:]]
    assert "request 2 arrived: POST /predict, 10 ms after the last answer" in said
    assert "request 3 arrived: POST /predict" in said, "the first of its call has slept for nobody"
    assert (
        said[said.index("request 3 answered 503") + 1]
        == "3 failures in a row: as declared, the circuit is open"
    )
    assert "as declared, a probe may be sent" in said


def test_who_slept_is_not_told_where_calls_were_made_at_once() -> None:
    assert not [line for line in told([503, 503, 503, 200], at_once=True) if "after the last answer" in line]
    assert told([200])[0] == "declared: nothing"


def test_what_is_long_keeps_its_ends_and_what_is_around_a_change() -> None:
    lines = told([200] * 40 + [503] * 3 + [200] * 41, threshold=3)

    assert len([line for line in lines if line.startswith("…")]) == 2
    assert any("3 failures in a row" in line for line in lines)
    assert "request 84 answered 200" in "\n".join(lines[-3:])
    assert len(lines) < 60
