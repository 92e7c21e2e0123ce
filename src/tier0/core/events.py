"""Things that happened during a run: recorded once, read by every report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        name: what happened, such as ``training.trial`` or ``server.ready``.
        message: the sentence that a person reads while it happens; empty when nobody needs to.
        data: the facts, of built-in types only, so that any report can write them and xdist can ship them.
        seconds: time since the run's log was opened, on the monotonic clock.
    """

    name: str
    message: str
    data: Mapping[str, Any]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the event as built-in types."""
        return self._asdict()


class EventLog:
    """The events of one run, in order, passed on to every listener as they come."""

    def __init__(self, listeners: Sequence[Callable[[Event], None]] = ()) -> None:
        self.events: list[Event] = []
        self._listeners = listeners
        self._opened = time.monotonic()

    def emit(self, name: str, message: str = "", /, **data: Any) -> None:
        """Record one event and tell the listeners."""
        event = Event(name, message, data, time.monotonic() - self._opened)
        self.events.append(event)
        for listener in self._listeners:
            listener(event)

    def extend(self, events: list[dict[str, Any]]) -> None:
        """Add events that another process recorded (see `Event.as_dict`); listeners are not told."""
        self.events.extend(Event(**event) for event in events)

    def last(self, name: str) -> Mapping[str, Any]:
        """Return the data of the newest event called *name*, or an empty mapping."""
        return next((event.data for event in reversed(self.events) if event.name == name), {})
