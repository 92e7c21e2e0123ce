"""The timeline of a failed check: declaration, requests, responses, waits and states of the circuit."""

from __future__ import annotations

from typing import Any

from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.timeline import timeline
from tier0.core.declaration import Declaration
from tier0.faults import Arrival, LogEntry

STEP = 0.01


def timeline_of(statuses: list[int], *, at_once: bool = False, **declared: Any) -> list[str]:
    """Return the timeline of calls of two requests each, sent every 20 ms and answered after 10 ms.

    Args:
        statuses: status of each response.
        at_once: whether all calls begin at the same time.
        declared: items of the declaration.
    """
    entries, arrivals, calls = [], [], []
    for number, status in enumerate(statuses):
        arrived, answered = 100 + 2 * number * STEP, 100 + (2 * number + 1) * STEP
        arrivals.append(
            Arrival(number, arrived, 1, "POST", "/predict", {}, b"", status, answered, "answered")
        )
        entries.append(
            LogEntry(arrived, "arrived", 1, {"request": number, "method": "POST", "path": "/predict"})
        )
        entries.append(LogEntry(answered, "answered", 1, {"request": number, "status": status}))
        if number % 2 == 0:
            calls.append(Call(100 if at_once else arrived))
        calls[-1].requests.append(arrivals[-1])
        calls[-1].ended = answered
    return timeline(entries, arrivals, calls, Declaration(**declared))


def test_timeline_begins_with_the_declaration_and_shows_waits_and_states() -> None:
    lines = timeline_of([503, 503, 503, 200], threshold=3, reset=0.01, attempts=2)

    assert lines[0] == "declared: attempts = 2, threshold = 3, reset = 0.01"
    assert lines[1].startswith("     0.0 ms")
    events = [line.partition("ms  ")[2] for line in lines[1:]]
    assert "request 2 arrived: POST /predict, 10 ms after the last answer" in events
    assert "request 3 arrived: POST /predict" in events, "the first request of a call has no wait"
    assert (
        events[events.index("request 3 answered 503") + 1]
        == "3 failures in a row: as declared, the circuit is open"
    )
    assert "as declared, a probe may be sent" in events


def test_waits_are_omitted_for_simultaneous_calls() -> None:
    assert not [
        line for line in timeline_of([503, 503, 503, 200], at_once=True) if "after the last answer" in line
    ]
    assert timeline_of([200])[0] == "declared: nothing"


def test_long_timeline_is_shortened_except_at_its_ends_and_changes_of_state() -> None:
    lines = timeline_of([200] * 40 + [503] * 3 + [200] * 41, threshold=3)

    assert len([line for line in lines if line.startswith("…")]) == 2
    assert any("3 failures in a row" in line for line in lines)
    assert "request 84 answered 200" in "\n".join(lines[-3:])
    assert len(lines) < 60
