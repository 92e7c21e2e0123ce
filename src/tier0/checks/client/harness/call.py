"""One call of a client, as its caller saw it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tier0.faults import Arrival


class StillWaitingError(Exception):
    """A call did not end within any patience."""


class GivenUpError(Exception):
    """Its caller gave a call up."""


class ExitedError(Exception):
    """A call, or what makes the client, wanted to end the whole process."""


@dataclass
class Call:
    """One call, as its caller saw it."""

    started: float
    ended: float = 0.0
    answer: Any = None
    error: BaseException | None = None
    requests: list[Arrival] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started

    @property
    def rejected(self) -> bool:
        """Whether it ended in an error and nothing arrived meanwhile; of calls that were made one after the other."""
        return self.error is not None and not self.requests

    @property
    def outcome(self) -> str:
        """In a few words."""
        if self.error is None:
            return "answered"
        said = f"{type(self.error).__name__}: {' '.join(str(self.error).split())[:100]}".removesuffix(": ")
        if isinstance(self.error, (StillWaitingError, GivenUpError)):
            said = str(self.error)
        return f"nothing was sent, {said}" if self.rejected else said


def outcome_of(
    running: asyncio.Future[Any], too_late: type[Exception], started: float
) -> tuple[Any, BaseException | None]:
    """Return what came of a call until now: what it returned, and what it raised."""
    if not running.done():
        return None, too_late(f"no end after {time.monotonic() - started:.2f} s, and its caller gave up")
    if running.cancelled():
        return None, asyncio.CancelledError("it cancelled itself")
    problem = running.exception()
    return (running.result(), None) if problem is None else (None, problem)


@contextmanager
def no_exit() -> Iterator[None]:
    """Turn what would end this process, whose exit status says that a client holds, into an error.

    Raises:
        LeftError: the block called `sys.exit`.
    """
    try:
        yield
    except SystemExit as problem:
        raise ExitedError(f"it ends the whole process, with status {problem.code!r}") from problem
