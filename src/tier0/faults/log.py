"""What was injected and what arrived, with monotonic times: the one thing that verdicts are read from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Ended = Literal["answered", "given up", "broken"]


@dataclass(frozen=True)
class LogEntry:
    """One thing that happened.

    Attributes:
        at: seconds on the monotonic clock.
        what: ``connected``, ``arrived``, ``answered``, ``given up``, ``closed``, ``injected``, ``reset`` or what a user's test notes.
        connection: its number, from 1; 0 for what concerns none.
        detail: JSON types.
    """

    at: float
    what: str
    connection: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Arrival:
    """One request as it arrived, and what became of it.

    Attributes:
        number: from 0, in the order of arrival.
        at: when it had arrived whole, in seconds on the monotonic clock.
        connection: the number of its connection, from 1.
        method: as sent.
        path: as sent, with the query.
        headers: lower-case names.
        body: whole.
        status: of the answer; None before there is one, or where there is none.
        ended_at: when it was answered, or the caller was seen to have gone; None before that.
        ended: ``answered``, ``given up`` (the caller closed the connection first) or ``broken`` (by the script).
    """

    number: int
    at: float
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int | None = None
    ended_at: float | None = None
    ended: Ended | None = None

    def was_open_at(self, moment: float) -> bool:
        """Tell whether it was being answered at *moment*."""
        return self.at <= moment and (self.ended_at is None or self.ended_at > moment)


class FaultLog:
    """Everything that happened, in order; safe to read and to write from any thread."""

    def __init__(self) -> None:
        self._noted: list[LogEntry] = []
        self._arrivals: list[Arrival] = []
        self._changed = threading.Condition()

    def note(self, what: str, connection: int = 0, /, **detail: Any) -> LogEntry:
        """Write something down, with the time of now."""
        noted = LogEntry(time.monotonic(), what, connection, detail)
        with self._changed:
            self._noted.append(noted)
            self._changed.notify_all()
        return noted

    def arrive(
        self, connection: int, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Arrival:
        """Write a request down."""
        with self._changed:
            arrival = Arrival(len(self._arrivals), time.monotonic(), connection, method, path, headers, body)
            self._arrivals.append(arrival)
        self.note("arrived", connection, request=arrival.number, method=method, path=path)
        return arrival

    def end(self, arrival: Arrival, ended: Ended, status: int | None = None) -> None:
        """Write down what became of a request."""
        arrival.status, arrival.ended = status, ended
        arrival.ended_at = self.note(ended, arrival.connection, request=arrival.number, status=status).at

    @property
    def noted(self) -> list[LogEntry]:
        """What happened until now, in order."""
        with self._changed:
            return list(self._noted)

    @property
    def arrivals(self) -> list[Arrival]:
        """The requests that arrived until now, in order."""
        with self._changed:
            return list(self._arrivals)

    def forget(self) -> None:
        """Drop what was noted; whoever measures memory does not measure this log."""
        with self._changed:
            self._noted.clear()
            self._arrivals.clear()

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        noted = self.noted
        return sum(one.what == "connected" for one in noted) - sum(one.what == "closed" for one in noted)

    def wait_for(self, condition: Callable[[FaultLog], bool], timeout: float = 5.0) -> bool:
        """Wait until the condition holds; return whether it does, after *timeout* seconds at the latest."""
        deadline = time.monotonic() + timeout
        while not condition(self):
            with self._changed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return condition(self)
                self._changed.wait(min(left, 0.05))
        return True
