"""A call of the client under test, as its caller observed it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tier0.core import display
from tier0.core.secrets import ENVIRONMENT
from tier0.faults import Arrival

MAX_SHOWN = 120
"""Maximum number of characters of an exception of the client in a message."""


class StillWaitingError(Exception):
    """A call did not end within the patience of the check."""


class GivenUpError(Exception):
    """The caller gave up waiting for a call, as the check intended."""


class FallbackError(Exception):
    """A call returned the declared fallback, which says that it got no prediction."""


class ExitedError(Exception):
    """The client, or its factory, called `sys.exit`."""


@dataclass
class Call:
    """A call of the client under test.

    Attributes:
        started: start, in seconds on the monotonic clock.
        ended: end, in seconds on the monotonic clock; 0 before that.
        answer: value that the call returned.
        error: exception that the call raised, or that ended the wait for it.
        requests: requests that reached the server during the call; exact if calls do not overlap.
    """

    started: float
    ended: float = 0.0
    answer: Any = None
    error: BaseException | None = None
    requests: list[Arrival] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Duration of the call."""
        return self.ended - self.started

    @property
    def rejected(self) -> bool:
        """Whether the call failed without sending a request; only meaningful if calls do not overlap."""
        return self.error is not None and not self.requests

    @property
    def outcome(self) -> str:
        """Short description of how the call ended."""
        if self.error is None:
            return "returned"
        text = f"{type(self.error).__name__}: {excerpt(display.text_of(self.error), MAX_SHOWN)}".removesuffix(
            ": "
        )
        if isinstance(self.error, (StillWaitingError, GivenUpError)):
            text = str(self.error)
        return f"no request was sent, {text}" if self.rejected else text


def excerpt(text: str, limit: int) -> str:
    """Return a part of a text of the client, on one line, for display."""
    return display.line(" ".join(text.split()), ENVIRONMENT.hide, limit)


def outcome_of(
    running: asyncio.Future[Any], too_late: type[Exception], started: float
) -> tuple[Any, BaseException | None]:
    """Return the result of a call and its exception; *too_late* if the call is still running."""
    if not running.done():
        return None, too_late(f"still running after {time.monotonic() - started:.2f} s, and then cancelled")
    if running.cancelled():
        return None, asyncio.CancelledError("the call cancelled itself")
    problem = running.exception()
    return (running.result(), None) if problem is None else (None, problem)


def is_fallback(answer: Any, fallback: Any) -> bool:
    """Return whether a call returned the declared fallback."""
    try:
        return fallback is not None and bool(answer == fallback)
    except Exception:  # noqa: BLE001 - objects of the client may refuse the comparison
        return False


@contextmanager
def no_exit() -> Iterator[None]:
    """Convert `SystemExit` into an error, so that a client cannot end the process or choose its exit status.

    Raises:
        ExitedError: the block called `sys.exit`.
    """
    try:
        yield
    except SystemExit as problem:
        raise ExitedError(f"the client called sys.exit({problem.code!r})") from problem
