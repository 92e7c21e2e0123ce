"""Things that happened during a run: recorded once, read by every report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

EVENTS: Mapping[str, str] = {
    "run.started": "a run began: when, with which settings, versions and commit",
    "run.kept": "its folder is kept: where",
    "selection.start": "step 4 began to compare algorithms",
    "selection.sampled": "step 4 compares on a part of the rows",
    "selection.score": "one algorithm was cross-validated: its mean",
    "selection.done": "step 4 chose: algorithm, score, why",
    "training.own": "a training function of the user's own is called",
    "training.trial": "one trial of the search ended: its score",
    "training.done": "step 5 ended: algorithm, rows, threshold, metrics on the test part with their spread",
    "training.logged": "MLflow has the model: its URI",
    "registration.done": "the model is in the store: its exact tag",
    "server.launched": "`bentoml serve` was started, and is not ready yet",
    "server.port_taken": "the port that was asked for belongs to somebody else",
    "server.ready": "a golden row came back right from this very server: its URL",
    "server.stopped": "nothing of the server is left: the seconds that took",
    "deployment.described": "what is judged: URL, tag, how many golden rows, how far it may be disturbed",
    "deployment.verified": "all golden rows came back right: first answers, latency",
    "parity.compared": "golden rows beside what was served: the numbers, and the worst rows",
    "latency.measured": "how long single rows took, in milliseconds, served and in memory",
    "health.checked": "what the service's health route said",
    "client.calls": "calls through `tier0_client` in one test: when each began and ended, and what came of it",
    "breaker.state": "the circuit breaker of the application's client was seen in this state",
    "breaker.measured": "the states that a circuit breaker went through, and how many requests reached a dead server",
    "fault.injected": "something was broken on purpose: what",
    "check.done": "a check was asked: its result",
    "test.done": "a test marked tier0_bentoml ended: its outcome",
    "test.crashed": "a process that ran tests died: in which test",
    "collection.failed": "tests could not be collected: where, and why",
    "bento.building": "a Bento is being built",
    "bento.built": "a Bento was built, started, and gave the golden rows of its models",
}
"""Every event of ours, and what it says. A test may add others of its own."""


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        name: what happened, see `EVENTS`.
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
    """The events of one run, in order, passed on to every listener as they come.

    Args:
        listeners: are told each event.
        opened: when the run began, on the monotonic clock; now, by default. Processes of one run say the same.
        hide: takes secrets out of whatever is recorded, so that no reader ever meets one.
    """

    def __init__(
        self, listeners: Sequence[Callable[[Event], None]] = (), *, opened: float | None = None, hide: Callable[[Any], Any] = lambda value: value
    ) -> None:
        self.events: list[Event] = []
        self.opened = time.monotonic() if opened is None else opened
        self._listeners = listeners
        self._hide = hide

    def emit(self, name: str, message: str = "", /, **data: Any) -> None:
        """Record one event and tell the listeners."""
        event = Event(name, self._hide(message), self._hide(as_json(data)), time.monotonic() - self.opened)
        self.events.append(event)
        for listener in self._listeners:
            listener(event)

    def extend(self, events: Iterable[dict[str, Any]]) -> None:
        """Add events that another process recorded (see `Event.as_dict`); listeners are not told."""
        self.events.extend(Event(**event) for event in events)

    def last(self, name: str) -> Mapping[str, Any]:
        """Return the data of the newest event called *name*, or an empty mapping."""
        return next((event.data for event in reversed(self.events) if event.name == name), {})


def as_json(value: Any) -> Any:
    """Return *value* as JSON types that can be written to any file: whatever a test has measured."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")  # half a surrogate pair fits into no file
    if value is None or type(value) in {bool, int, float}:
        return value
    if isinstance(value, Mapping):
        return {as_json(key) if isinstance(key, str) else str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(item) for item in value]
    item = getattr(value, "item", None)  # numpy's scalars
    return as_json(item()) if callable(item) and getattr(value, "ndim", None) == 0 else as_json(str(value))
