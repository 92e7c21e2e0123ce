"""Circuits of the models that a client calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tier0.client.breaker import CircuitBreaker
from tier0.client.endpoints import without_secrets
from tier0.client.events import CircuitEvents, Reporter

if TYPE_CHECKING:
    from tier0.client.breaker import State
    from tier0.client.options import ClientOptions

MAX_CIRCUITS = 256
RETRY_BUDGET_LIMIT = 10.0
"""Retries that a budget holds at most, and at first (after Finagle and Envoy)."""


@dataclass
class Circuit:
    """Breaker and retry budget of one model, so that a failing model uses up no other model's retries.

    Attributes:
        breaker: breaker of the model.
        retry_budget: retries that are left; each call adds a fraction of one, and each retry costs one.
        events: reports the retries and rejections of the model's calls.
    """

    breaker: CircuitBreaker
    retry_budget: float = RETRY_BUDGET_LIMIT
    events: CircuitEvents = field(default_factory=CircuitEvents)

    def add_to_budget(self, retries: float) -> None:
        """Add a call's fraction of a retry to the budget, up to its limit."""
        self.retry_budget = min(RETRY_BUDGET_LIMIT, self.retry_budget + retries)


class Circuits:
    """The circuits of a client by the URL of their model; at most 256 are kept.

    Args:
        options: options of the client.
        clock: monotonic clock, in seconds.
        reporter: reports the events of all circuits.
    """

    def __init__(
        self, options: ClientOptions, clock: Callable[[], float], reporter: Reporter | None = None
    ) -> None:
        self._options = options
        self._clock = clock
        self._reporter = Reporter() if reporter is None else reporter
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._circuits)

    def state(self, url: str) -> State:
        """Return the state of a model's circuit, which is closed for a model that was never called."""
        circuit = self._circuits.get(url)
        return "closed" if circuit is None else circuit.breaker.state

    def get(self, url: str, model: str | None = None) -> Circuit:
        """Return the circuit of a model; a new one may replace the least recently used one.

        Args:
            url: URL of the model.
            model: name of the model, for events.
        """
        circuit = self._circuits.get(url)
        if circuit is None:
            events = CircuitEvents(self._reporter, without_secrets(url), model, self._options.reset_timeout)
            breaker = CircuitBreaker(
                failure_threshold=self._options.failure_threshold,
                reset_timeout=self._options.reset_timeout,
                clock=self._clock,
                on_change=events.change,
            )
            circuit = self._circuits[url] = Circuit(breaker, events=events)
            if len(self._circuits) > MAX_CIRCUITS:
                self._evict(url)
        self._circuits.move_to_end(url)
        return circuit

    def _evict(self, new: str) -> None:
        """Forget the least recently used closed circuit.

        An open one is forgotten only if none is closed: calls with unknown model names must not close a
        circuit.
        """
        others = [url for url in self._circuits if url != new]
        closed = (url for url in others if self._circuits[url].breaker.state == "closed")
        del self._circuits[next(closed, others[0])]
