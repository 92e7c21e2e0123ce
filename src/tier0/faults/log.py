"""The log of injected faults and received requests, with monotonic times; the only source of the verdicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Ended = Literal["answered", "given up", "broken"]


@dataclass(frozen=True)
class LogEntry:
    """One event.

    Attributes:
        at: seconds on the monotonic clock.
        what: ``connected``, ``arrived``, ``answered``, ``given up``, ``broken``, ``closed``, ``injected``,
            ``reset``, ``incomplete`` (the client disconnected within a request), or any other text that a
            test passed to `FaultLog.note`.
        connection: number of the connection, from 1; 0 for an event without a connection.
        detail: further facts, as JSON types.
    """

    at: float
    what: str
    connection: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Arrival:
    """One received request, and how it ended.

    Attributes:
        number: index of the request, from 0, in the order of arrival.
        at: time at which the complete request had arrived, in seconds on the monotonic clock.
        connection: number of the connection, from 1.
        method: HTTP method, as sent.
        path: path with the query, as sent.
        headers: headers, with lower-case names.
        body: complete request body.
        status: status of the response; None before the response, or without one.
        ended_at: time of the response, or of the client's disconnect; None before that.
        ended: ``answered``, ``given up`` (the client closed the connection) or ``broken`` (by the script).
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
        """Return True if the request was pending at *moment*, in seconds on the monotonic clock."""
        return self.at <= moment and (self.ended_at is None or self.ended_at > moment)


class FaultLog:
    """All events in order; every method may be called from any thread."""

    def __init__(self) -> None:
        self._noted: list[LogEntry] = []
        self._arrivals: list[Arrival] = []
        self._changed = threading.Condition()

    def note(self, what: str, connection: int = 0, /, **detail: Any) -> LogEntry:
        """Append an event with the current time, and return it."""
        entry = LogEntry(time.monotonic(), what, connection, detail)
        with self._changed:
            self._noted.append(entry)
            self._changed.notify_all()
        return entry

    def arrive(
        self, connection: int, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Arrival:
        """Append a request, and return it."""
        with self._changed:
            arrival = Arrival(len(self._arrivals), time.monotonic(), connection, method, path, headers, body)
            self._arrivals.append(arrival)
        self.note("arrived", connection, request=arrival.number, method=method, path=path)
        return arrival

    def end(self, arrival: Arrival, ended: Ended, status: int | None = None) -> None:
        """Record how a request ended."""
        arrival.status, arrival.ended = status, ended
        arrival.ended_at = self.note(ended, arrival.connection, request=arrival.number, status=status).at

    @property
    def noted(self) -> list[LogEntry]:
        """All events so far, in order."""
        with self._changed:
            return list(self._noted)

    @property
    def arrivals(self) -> list[Arrival]:
        """All requests so far, in the order of arrival."""
        with self._changed:
            return list(self._arrivals)

    def forget(self) -> None:
        """Delete all entries, so that a measurement of memory does not include this log."""
        with self._changed:
            self._noted.clear()
            self._arrivals.clear()

    @property
    def open_connections(self) -> int:
        """Number of open connections."""
        events = [entry.what for entry in self.noted]
        return events.count("connected") - events.count("closed")

    def wait_for(self, condition: Callable[[FaultLog], bool], timeout: float = 5.0) -> bool:
        """Wait up to *timeout* seconds for *condition*, and return whether it became true."""
        deadline = time.monotonic() + timeout
        while not condition(self):
            with self._changed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return condition(self)
                self._changed.wait(min(left, 0.05))
        return True
