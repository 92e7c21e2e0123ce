"""A circuit breaker as a pure state machine: it has no I/O and no tasks, and its clock is a parameter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

from tier0.client.errors import CircuitOpenError, ClientError

State = Literal["closed", "open", "half_open"]
OnChange = Callable[[State, ClientError | None], None]
"""Receives each new state, and the failure that opened the circuit; must not raise an error."""
PROBE_RETRY_AFTER = 1.0
"""Seconds after which to retry a call that was rejected because another call was probing the service."""


class Permit:
    """The right to send one request; only the first of `succeed`, `fail` and `release` has an effect."""

    def __init__(self, breaker: CircuitBreaker, generation: int) -> None:
        self._breaker: CircuitBreaker | None = breaker
        self._generation = generation

    def succeed(self) -> None:
        """Report that the service works."""
        self._settle("success")

    def fail(self, failure: ClientError | None = None) -> None:
        """Report that the service failed, and how."""
        self._settle("failure", failure)

    def release(self) -> None:
        """Return the permit without a result about the service."""
        self._settle(None)

    def _settle(
        self, result: Literal["success", "failure"] | None, failure: ClientError | None = None
    ) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._settle(self._generation, result, failure)  # noqa: SLF001 - the two classes are one state machine


class CircuitBreaker:
    """A circuit breaker that counts consecutive failures.

    A closed breaker permits all requests, an open one none, and a half-open one a single probe at a time.
    Each change of state begins a new generation. The result of a permit from an earlier generation is
    ignored, since it describes the service before that change (after gobreaker).

    Args:
        failure_threshold: consecutive failures that open the circuit; at least 1.
        reset_timeout: seconds for which the circuit stays open before the first probe; at least 0.
        clock: monotonic clock, in seconds.
        on_change: receives each change of state.

    Raises:
        ValueError: an argument is too small.
    """

    def __init__(
        self,
        *,
        failure_threshold: int,
        reset_timeout: float,
        clock: Callable[[], float],
        on_change: OnChange | None = None,
    ) -> None:
        if failure_threshold < 1:
            raise ValueError(f"failure_threshold must be 1 or more, got {failure_threshold}")
        if reset_timeout < 0:
            raise ValueError(f"reset_timeout must be 0 seconds or more, got {reset_timeout}")
        self._failure_threshold = failure_threshold
        self._reset_timeout = reset_timeout
        self._clock = clock
        self._on_change = on_change
        self._last_failure: ClientError | None = None
        self._reason = ""
        self._state: State = "closed"
        self._generation = 0
        self._failures = 0
        self._opened = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        """The state; an open circuit becomes half-open when it permits its first probe."""
        return self._state

    def raise_if_open(self) -> None:
        """Raise what `acquire` would raise for an open circuit, without a change of state.

        Raises:
            CircuitOpenError: the circuit is open; ``retry_after`` is the number of seconds until the next
                probe.
        """
        if self._state == "open" and (left := self._opened + self._reset_timeout - self._clock()) > 0:
            raise self._rejection(
                f"the circuit is open after {self._failure_threshold} consecutive failures; "
                f"the next request may be sent in {left:.1f} s",
                retry_after=left,
            ) from self._last_failure

    def acquire(self) -> Permit:
        """Return a permit to send one request.

        Raises:
            CircuitOpenError: no request may be sent now; ``retry_after`` is the number of seconds to wait.
        """
        if self._state == "open":
            self.raise_if_open()
            self._change("half_open")
        if self._state == "half_open":
            if self._probing:
                raise self._rejection(
                    "the circuit is half-open, and another call is probing the service",
                    retry_after=min(PROBE_RETRY_AFTER, self._reset_timeout),
                ) from self._last_failure
            self._probing = True
        return Permit(self, self._generation)

    def _rejection(self, message: str, retry_after: float) -> CircuitOpenError:
        """Return the error of a rejected request, with the failure that opened the circuit."""
        return CircuitOpenError(
            f"{message}{self._reason}", retry_after=retry_after, last_failure=self._last_failure
        )

    def _settle(
        self,
        generation: int,
        result: Literal["success", "failure"] | None,
        failure: ClientError | None,
    ) -> None:
        if generation != self._generation:
            return
        self._probing = False
        if result == "success":
            self._failures = 0
            if self._state == "half_open":
                self._change("closed")
        elif result == "failure":
            self._failures += 1
            if self._state == "half_open" or self._failures >= self._failure_threshold:
                self._opened = self._clock()
                self._last_failure = None if failure is None else _without_frames(failure)
                self._reason = "" if failure is None else f" (last failure: {failure.summary})"
                self._change("open")

    def _change(self, state: State) -> None:
        self._state = state
        self._generation += 1
        self._failures = 0
        self._probing = False
        if self._on_change is not None:
            self._on_change(state, self._last_failure)


def _without_frames(failure: ClientError) -> ClientError:
    """Return a copy of a failure without tracebacks, whose frames hold the body of a request.

    A copy usually has none, but the application may use tblib, which lets copies keep them.
    """
    bare = copy.copy(failure).with_traceback(None)
    bare.__cause__ = bare.__context__ = None
    return bare
