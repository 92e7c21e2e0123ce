"""What happened between a client and its server, in order, for whoever reads a failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tier0.checks.client.harness.call import Call
from tier0.core.declaration import Declaration
from tier0.faults import Arrival, LogEntry

AT_EACH_END = 20
"""Lines that are shown of what is too long; and those around a change of state."""
AROUND_A_STATE = 3
SERVER_ERROR = 500
WORTH_TELLING = 0.002
"""Seconds: less between an answer and the next request is no sleep."""


class Line(NamedTuple):
    """One thing that happened."""

    at: float
    said: str
    is_state: bool = False


def timeline(
    noted: Sequence[LogEntry], arrivals: Sequence[Arrival], calls: Sequence[Call], declared: Declaration
) -> list[str]:
    """Return what was declared, and then a line for each call, request, answer, sleep and state.

    A state is that of the circuit as it was declared, by what the server answered: nothing is read from the client.
    """
    slept = dict(_sleeps(calls))
    lines = [
        Line(one.at, _in_words(one.what, one.detail, one.connection, slept))
        for one in noted
        if one.what != "injected"
    ]
    for number, call in enumerate(calls, 1):
        lines.append(Line(call.started, f"call {number}"))
        if call.ended:
            lines.append(Line(call.ended, f"call {number} ended: {call.outcome}"))
    lines += _states(arrivals, declared, max((line.at for line in lines), default=0.0))
    lines.sort(key=lambda line: line.at)
    promised = ", ".join(f"{name} = {value}" for name, value in declared.promised.items())
    return [f"declared: {promised or 'nothing'}", *_shortened(lines)]


def _sleeps(calls: Sequence[Call]) -> Iterator[tuple[int, float]]:
    """Give, for a request that was not the first of its call, how long ago the one before had ended; where calls were made one at a time."""
    in_turn = sorted(calls, key=lambda call: call.started)
    if any(later.started < earlier.ended for earlier, later in pairwise(in_turn)):
        return
    for call in in_turn:
        for before, request in pairwise(call.requests):
            if before.ended_at is not None and request.at - before.ended_at > WORTH_TELLING:
                yield request.number, request.at - before.ended_at


def _states(arrivals: Sequence[Arrival], declared: Declaration, last: float) -> Iterator[Line]:
    """Tell when the circuit was to open first, and when it was to let a probe out."""
    failed_in_a_row = 0
    for arrival in sorted(arrivals, key=lambda one: one.ended_at or last):
        if (
            arrival.ended_at is None or arrival.ended == "given up"
        ):  # whether its caller counts that, it does not say
            continue
        failed = arrival.ended == "broken" or (arrival.status or SERVER_ERROR) >= SERVER_ERROR
        failed_in_a_row = failed_in_a_row + 1 if failed else 0
        if failed_in_a_row == declared.threshold:
            yield Line(
                arrival.ended_at,
                f"{failed_in_a_row} failures in a row: as declared, the circuit is open",
                is_state=True,
            )
            if declared.reset is not None and (closed := arrival.ended_at + declared.reset) <= last:
                yield Line(closed, "as declared, a probe may be sent", is_state=True)
            return


def _in_words(what: str, detail: Mapping[str, Any], connection: int, slept: Mapping[int, float]) -> str:
    match what:
        case "arrived":
            pause = (
                f", {slept[detail['request']] * 1000:.0f} ms after the last answer"
                if detail["request"] in slept
                else ""
            )
            return f"request {detail['request'] + 1} arrived: {detail['method']} {detail['path']}{pause}"
        case "answered" | "given up" | "broken":
            words = {
                "answered": f"answered {detail['status']}",
                "given up": "its caller has gone",
                "broken": "broken off",
            }[what]
            return f"request {detail['request'] + 1} {words}"
        case _:
            return f"connection {connection} {what}"


def _shortened(lines: Sequence[Line]) -> Iterator[str]:
    """Give the first and the last lines, those around a state, and how many were left out between them."""
    states = [number for number, line in enumerate(lines) if line.is_state]
    left_out = 0
    for number, line in enumerate(lines):
        is_near_an_end = min(number, len(lines) - 1 - number) < AT_EACH_END
        if is_near_an_end or any(abs(number - state) <= AROUND_A_STATE for state in states):
            if left_out:
                yield f"… {left_out} more …"
            left_out = 0
            yield f"{(line.at - lines[0].at) * 1000:8.1f} ms  {line.said}"
        else:
            left_out += 1
