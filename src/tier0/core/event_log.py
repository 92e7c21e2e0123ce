"""The event log of a run: every event is recorded once, and every report reads it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tier0.core.display import as_json

if TYPE_CHECKING:
    from tier0.core.events import Event

Kind = TypeVar("Kind", bound="Event")


class Recorded(NamedTuple):
    """An event in the log.

    Attributes:
        event: recorded event.
        message: line to print when the event happens; empty for none.
        seconds: seconds since the log was opened, on the monotonic clock.
    """

    event: Event
    message: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the event as JSON types, for another process."""
        return {
            "name": self.event.name,
            "message": self.message,
            "data": self.event.facts,
            "seconds": self.seconds,
        }


class EventLog:
    """The events of one run, in order.

    Args:
        listeners: functions to call with every emitted event.
        opened: start of the run on the monotonic clock, the same in all processes of the run; now by default.
        hide: function that removes secrets from a value before it is recorded.
    """

    def __init__(
        self,
        listeners: Sequence[Callable[[Recorded], None]] = (),
        *,
        opened: float | None = None,
        hide: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.events: list[Recorded] = []
        self.opened = time.monotonic() if opened is None else opened
        self._listeners = listeners
        self._hide = hide

    def emit(self, event: Event, message: str = "") -> None:
        """Record an event that happens now, with a line to print, and call the listeners."""
        recorded = Recorded(event.cleaned(self._clean), self._clean(message), time.monotonic() - self.opened)
        self.events.append(recorded)
        for listener in self._listeners:
            listener(recorded)

    def _clean(self, value: Any) -> Any:
        return as_json(value, self._hide)

    def add(self, event: Event, seconds: float) -> None:
        """Record an event without secrets from *seconds* after the start; listeners are not called."""
        self.events.append(Recorded(event, "", seconds))

    def extend(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add events that another process recorded (see `Recorded.as_dict`); listeners are not called."""
        from tier0.core.events import event_from  # noqa: PLC0415 - not needed by a run without events

        self.events += [
            Recorded(event_from(event["name"], event["data"]), event["message"], event["seconds"])
            for event in events
        ]

    def with_type(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of a class, in order."""
        return events_with_type(self.events, kind)

    def last(self, kind: type[Kind]) -> Kind | None:
        """Return the newest event of a class; None if there is none."""
        return last_with_type(self.events, kind)


def events_with_type(recorded: Sequence[Recorded], kind: type[Kind]) -> list[Kind]:
    """Return the events of a class, in order."""
    return [record.event for record in recorded if isinstance(record.event, kind)]


def last_with_type(recorded: Sequence[Recorded], kind: type[Kind]) -> Kind | None:
    """Return the newest event of a class; None if there is none."""
    return next((record.event for record in reversed(recorded) if isinstance(record.event, kind)), None)
