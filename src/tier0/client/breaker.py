"""A circuit breaker as a pure state machine: no I/O, no tasks, and a clock that is handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tier0.client.errors import CircuitOpenError

State = Literal["closed", "open", "half_open"]
PROBE_IS_OUT = 1.0
"""Seconds after which to ask again while somebody else's probe is out."""


class Permit:
    """The right to send one request; it is used up by exactly one of `succeed`, `fail` and `release`."""

    def __init__(self, breaker: CircuitBreaker, generation: int) -> None:
        self._breaker: CircuitBreaker | None = breaker
        self._generation = generation

    def succeed(self) -> None:
        """The service answered."""
        self._settle("success")

    def fail(self) -> None:
        """The service failed."""
        self._settle("failure")

    def release(self) -> None:
        """Nothing was learned about the service: give the place back."""
        self._settle("none")

    def _settle(self, verdict: Literal["success", "failure", "none"]) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._settle(self._generation, verdict)  # noqa: SLF001 - the other half of one machine


class CircuitBreaker:
    """Closed, it counts failures in a row; open, it rejects; half-open, it lets out one probe at a time.

    Every change of state starts a new generation. The result of a permit from an earlier generation is dropped, since it
    tells about a service that has been judged already (after gobreaker).

    Args:
        failure_threshold: failures in a row that open the circuit; at least 1.
        reset_timeout: seconds that it stays open before the first probe.
        clock: monotonic, in seconds.
    """

    def __init__(self, *, failure_threshold: int, reset_timeout: float, clock: Callable[[], float]) -> None:
        if failure_threshold < 1:
            raise ValueError(f"failure_threshold = {failure_threshold}: give 1 or more")
        if reset_timeout < 0:
            raise ValueError(f"reset_timeout = {reset_timeout}: give 0 or more seconds")
        self._failure_threshold = failure_threshold
        self._reset_timeout = reset_timeout
        self._clock = clock
        self._state: State = "closed"
        self._generation = 0
        self._failures = 0
        self._opened = 0.0
        self._probe_is_out = False

    @property
    def state(self) -> State:
        """The state; an open circuit becomes half-open when a probe is let out, not before."""
        return self._state

    def refuse_while_open(self) -> None:
        """Raise at once what `acquire` would raise while the circuit is open, and change nothing.

        Raises:
            CircuitOpenError: not now; ``retry_after`` says when.
        """
        if self._state == "open" and (left := self._opened + self._reset_timeout - self._clock()) > 0:
            raise CircuitOpenError(
                f"the circuit is open after {self._failure_threshold} failures in a row, for another {left:.1f} s",
                retry_after=left,
            )

    def acquire(self) -> Permit:
        """Ask to send one request.

        Raises:
            CircuitOpenError: not now; ``retry_after`` says when.
        """
        if self._state == "open":
            self.refuse_while_open()
            self._change("half_open")
        if self._state == "half_open":
            if self._probe_is_out:
                raise CircuitOpenError(
                    "the circuit is half-open, and another call is probing the service",
                    retry_after=min(PROBE_IS_OUT, self._reset_timeout),
                )
            self._probe_is_out = True
        return Permit(self, self._generation)

    def _settle(self, generation: int, verdict: Literal["success", "failure", "none"]) -> None:
        if generation != self._generation:
            return
        self._probe_is_out = False
        if verdict == "success":
            self._failures = 0
            if self._state == "half_open":
                self._change("closed")
        elif verdict == "failure":
            self._failures += 1
            if self._state == "half_open" or self._failures >= self._failure_threshold:
                self._opened = self._clock()
                self._change("open")

    def _change(self, state: State) -> None:
        self._state = state
        self._generation += 1
        self._failures = 0
        self._probe_is_out = False
