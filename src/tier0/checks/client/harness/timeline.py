"""The timeline of a failed check: calls, requests, responses and expected circuit states, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tier0.checks.client.harness.call import Call
from tier0.core.declaration import Declaration
from tier0.faults import Arrival, LogEntry

AT_EACH_END = 20
"""Lines that are shown at each end of a long timeline."""
AROUND_A_STATE = 3
"""Lines that are shown before and after a change of the circuit's state."""
MAX_DRAWN = 40
"""Calls, and requests, that are drawn."""
ENDS = {"given up": "the client disconnected", "broken": "faulty response"}
SERVER_ERROR = 500
MIN_SLEEP = 0.002
NOTHING_DECLARED = (
    "the client declares no behaviour of its own, such as attempts or threshold (--declare FILE)"
)
"""Seconds: a shorter pause between a response and the next request is not a sleep."""


class Line(NamedTuple):
    """One event.

    Attributes:
        at: seconds on the monotonic clock.
        text: description.
        is_state: whether it is a change of the circuit's state.
    """

    at: float
    text: str
    is_state: bool = False


def timeline(
    noted: Sequence[LogEntry], arrivals: Sequence[Arrival], calls: Sequence[Call], declared: Declaration
) -> list[str]:
    """Return the declaration, and one line for each call, request, response, sleep and circuit state.

    The states are those that the declaration requires, given the server's responses; they are not read from
    the client.

    Args:
        noted: log of the fault server.
        arrivals: requests that reached the server.
        calls: calls of the client.
        declared: declaration of the client.
    """
    sleeps = dict(_sleeps(calls))
    lines = [
        Line(entry.at, _describe(entry.what, entry.detail, entry.connection, sleeps))
        for entry in noted
        if entry.what != "injected"
    ]
    for number, call in enumerate(calls, 1):
        lines.append(Line(call.started, f"call {number}"))
        if call.ended:
            lines.append(Line(call.ended, f"call {number} ended: {call.outcome}"))
    lines += _states(arrivals, declared, max((line.at for line in lines), default=0.0))
    lines.sort(key=lambda line: line.at)
    promised = ", ".join(f"{name} = {value}" for name, value in declared.promised.items())
    return [f"declared: {promised}" if promised else NOTHING_DECLARED, *_shortened(lines)]


def spans(arrivals: Sequence[Arrival], calls: Sequence[Call], declared: Declaration) -> list[dict[str, Any]]:
    """Return the first calls and requests, and the circuit's states, as spans for a drawing.

    Each is ``{lane, name, start, end, status}``, in seconds since the first of them; see `timeline`.
    """
    moments = [*(call.started for call in calls), *(call.ended for call in calls)]
    moments += [moment for arrival in arrivals for moment in (arrival.at, arrival.ended_at or arrival.at)]
    if not moments:
        return []
    first, last = min(filter(None, moments)), max(moments)

    def span(lane: str, name: str, start: float, end: float, status: str) -> dict[str, Any]:
        return {
            "lane": lane,
            "name": name,
            "start": round(start - first, 4),
            "end": round(end - first, 4),
            "status": status,
        }

    states = list(_states(arrivals, declared, last))
    ends = [state.at for state in states[1:]] + [last]
    drawn = [
        span("circuit", state.text.rpartition(": ")[2], state.at, end, "")
        for state, end in zip(states, ends, strict=False)  # without any state, there is no end
    ]
    for number, call in enumerate(sorted(calls, key=lambda call: call.started)[:MAX_DRAWN], 1):
        status = "pass" if call.error is None and call.ended else "fail"
        drawn.append(
            span("calls", f"call {number}: {call.outcome}", call.started, call.ended or last, status)
        )
    for arrival in arrivals[:MAX_DRAWN]:
        name, status = _how_it_ended(arrival)
        name = f"request {arrival.number + 1}: {name}"
        drawn.append(span("requests", name, arrival.at, arrival.ended_at or last, status))
    return drawn


def _how_it_ended(arrival: Arrival) -> tuple[str, str]:
    """Return the end of a request in words, and its status in a drawing."""
    if arrival.ended is None:
        return "no response", "not_judged"
    if arrival.ended != "answered":
        return ENDS[arrival.ended], "not_judged" if arrival.ended == "given up" else "fail"
    return f"status {arrival.status}", "fail" if (arrival.status or SERVER_ERROR) >= SERVER_ERROR else "pass"


def _sleeps(calls: Sequence[Call]) -> Iterator[tuple[int, float]]:
    """Yield the number of each retry, and the seconds since the previous attempt of its call had ended.

    Overlapping calls yield nothing, because their requests cannot be attributed.
    """
    ordered = sorted(calls, key=lambda call: call.started)
    if any(later.started < earlier.ended for earlier, later in pairwise(ordered)):
        return
    for call in ordered:
        for before, request in pairwise(call.requests):
            if before.ended_at is not None and request.at - before.ended_at > MIN_SLEEP:
                yield request.number, request.at - before.ended_at


def _states(arrivals: Sequence[Arrival], declared: Declaration, last: float) -> Iterator[Line]:
    """Yield the first opening of the circuit, and its change to half-open, as the declaration requires."""
    failures = 0
    for arrival in sorted(arrivals, key=lambda arrival: arrival.ended_at or last):
        if arrival.ended_at is None or arrival.ended == "given up":  # a client may count this as it likes
            continue
        failed = arrival.ended == "broken" or (arrival.status or SERVER_ERROR) >= SERVER_ERROR
        failures = failures + 1 if failed else 0
        if failures == declared.threshold:
            text = f"{failures} consecutive failures: the circuit must be open now"
            yield Line(arrival.ended_at, text, is_state=True)
            if declared.reset is not None and (half_open := arrival.ended_at + declared.reset) <= last:
                yield Line(half_open, "reset time over: a probe may be sent now", is_state=True)
            return


def _describe(what: str, detail: Mapping[str, Any], connection: int, sleeps: Mapping[int, float]) -> str:
    if "request" not in detail:
        return f"connection {connection} {what}"
    number = detail["request"] + 1
    if what == "arrived":
        sleep = sleeps.get(detail["request"])
        pause = "" if sleep is None else f", {sleep * 1000:.0f} ms after the previous attempt"
        return f"request {number} arrived: {detail['method']} {detail['path']}{pause}"
    if what == "answered":
        return f"request {number}: response with status {detail['status']}"
    return f"request {number}: {ENDS[what]}"


def _shortened(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the lines at both ends and around state changes, and the number of omitted lines between them."""
    states = [number for number, line in enumerate(lines) if line.is_state]
    omitted = 0
    for number, line in enumerate(lines):
        is_near_an_end = min(number, len(lines) - 1 - number) < AT_EACH_END
        if is_near_an_end or any(abs(number - state) <= AROUND_A_STATE for state in states):
            if omitted:
                yield f"… {omitted} more …"
            omitted = 0
            yield f"{(line.at - lines[0].at) * 1000:8.1f} ms  {line.text}"
        else:
            omitted += 1
