"""The log of what happened during a run: recorded once, read by every report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from tier0.core.events import Event

Kind = TypeVar("Kind", bound="Event")


class Recorded(NamedTuple):
    """An event in the log.

    Attributes:
        event: what happened.
        message: the line that is printed while it happens; empty for none.
        seconds: time since the log was opened, on the monotonic clock.
    """

    event: Event
    message: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types, which another process can read."""
        return {
            "name": self.event.name,
            "message": self.message,
            "data": self.event.facts,
            "seconds": self.seconds,
        }


class EventLog:
    """The events of one run, in order, passed on to every listener as they come.

    Args:
        listeners: are called with each event that is emitted.
        opened: when the run began, on the monotonic clock; now, by default. All processes of a run give the same moment.
        hide: removes secrets from everything that is recorded.
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
        """Record an event that happens now, and call the listeners."""
        recorded = Recorded(event.cleaned(self._clean), self._clean(message), time.monotonic() - self.opened)
        self.events.append(recorded)
        for listener in self._listeners:
            listener(recorded)

    def _clean(self, value: Any) -> Any:
        return self._hide(as_json(value))

    def add(self, event: Event, seconds: float) -> None:
        """Record an event that happened *seconds* after the log was opened; its secrets are hidden already, and listeners are not called."""
        self.events.append(Recorded(event, "", seconds))

    def extend(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add events that another process recorded (see `Recorded.as_dict`); listeners are not called."""
        from tier0.core.events import event_from  # noqa: PLC0415 - what a run in which nothing happens does not need

        self.events += [
            Recorded(event_from(one["name"], one["data"]), one["message"], one["seconds"]) for one in events
        ]

    def with_type(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one class, in order."""
        return events_with_type(self.events, kind)

    def last(self, kind: type[Kind]) -> Kind | None:
        """Return the newest event of one class; None if there is none."""
        return last_with_type(self.events, kind)


def events_with_type(recorded: Sequence[Recorded], kind: type[Kind]) -> list[Kind]:
    """Return the events of one class, in order."""
    return [one.event for one in recorded if isinstance(one.event, kind)]


def last_with_type(recorded: Sequence[Recorded], kind: type[Kind]) -> Kind | None:
    """Return the newest event of one class; None if there is none."""
    return next((one.event for one in reversed(recorded) if isinstance(one.event, kind)), None)


def as_json(value: Any) -> Any:
    """Return *value* as JSON types that can be written to any file, whatever a test has measured."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode(
            "utf-8"
        )  # half a surrogate pair fits into no file
    if value is None or type(value) in {bool, int, float}:
        return value
    if isinstance(value, Mapping):
        return {
            as_json(key) if isinstance(key, str) else str(key): as_json(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(item) for item in value]
    item = getattr(value, "item", None)  # numpy's scalars
    return as_json(item()) if callable(item) and getattr(value, "ndim", None) == 0 else as_json(str(value))
