"""Events of a client: retries, changes of a circuit's state, and rejected calls.

Each event is logged with its fields as attributes of the record, and passed to the application's hook.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tier0.client.breaker import State
    from tier0.client.errors import CircuitOpenError, ClientError

LOG = logging.getLogger(__name__)
Kind = Literal["retry", "circuit_opened", "circuit_half_open", "circuit_closed", "call_rejected"]
OnEvent = Callable[["ClientEvent"], object]
OF_STATE: dict[State, Kind] = {
    "open": "circuit_opened",
    "half_open": "circuit_half_open",
    "closed": "circuit_closed",
}
LINES: dict[Kind, str] = {
    "retry": "%(url)s: attempt %(attempts)s failed: %(reason)s; retry in %(delay).2f s",
    "circuit_opened": "%(url)s: circuit opened: %(reason)s; first probe after %(delay).1f s",
    "circuit_half_open": (
        "%(url)s: circuit half-open: one request probes the service; calls rejected so far: %(rejections)s; "
        "last failure: %(reason)s"
    ),
    "circuit_closed": (
        "%(url)s: circuit closed: the service responded to a probe; calls rejected: %(rejections)s; "
        "last failure: %(reason)s"
    ),
    "call_rejected": (
        "%(url)s: call rejected, because the circuit is open; last failure: %(reason)s; further rejections "
        "are not logged until the circuit opens again"
    ),
}
"""Text of a log line. It contains no text of the service, which may repeat values of rows."""
EXTRA = "tier0_"
"""Prefix of the attributes of a log record, which must not have names of `logging.LogRecord`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEvent:
    """What happened to the calls of one model.

    Attributes:
        kind: ``retry``, ``circuit_opened``, ``circuit_half_open``, ``circuit_closed`` or ``call_rejected``.
        url: URL of the request that is retried, else of the model; without credentials and query.
        model: name of the model, if the service has several.
        error: class name of the failure that is retried, or that opened the circuit; None if unknown.
        status: HTTP status of that failure; None without a response.
        request_id: ``X-Request-ID`` of the call that failed, or of the rejected call.
        attempts: number of requests that the call has sent.
        delay: seconds until the retry, until the first probe, or until a rejected call may be retried.
        rejections: calls that were rejected since the circuit opened; None for a retry.
        failure: the failure itself, whose message may contain values of rows.
    """

    kind: Kind
    url: str
    model: str | None = None
    error: str | None = None
    status: int | None = None
    request_id: str = ""
    attempts: int = 0
    delay: float | None = None
    rejections: int | None = None
    failure: ClientError | None = field(default=None, repr=False, compare=False)


LOGGED = [field.name for field in fields(ClientEvent) if field.name != "failure"]


class Reporter:
    """Logs the events of a client, and passes them to the application's hook.

    Args:
        on_event: hook of the application; None without one.

    Raises:
        ValueError: *on_event* cannot be called, or is a coroutine function.
    """

    def __init__(self, on_event: OnEvent | None = None) -> None:
        if on_event is not None and (not callable(on_event) or inspect.iscoroutinefunction(on_event)):
            raise ValueError(f"on_event must be a function that is not asynchronous, got {on_event!r}")
        self.has_hook = on_event is not None
        self._on_event = on_event
        self._failed = False

    def report(self, event: ClientEvent, level: int | None) -> None:
        """Log an event at a level, if there is one, and call the hook, whose first error is logged."""
        if level is not None and LOG.isEnabledFor(level):
            _log(event, level)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except (Exception, asyncio.CancelledError):
            if not self._failed:
                LOG.warning("on_event raised an error; the call itself is not affected", exc_info=True)
            self._failed = True


class CircuitEvents:
    """Reports what happens to the calls of one model.

    Args:
        reporter: reporter of the client; None to report nothing.
        url: URL of the model, without credentials.
        model: name of the model, if the service has several.
        reset_timeout: seconds for which the circuit stays open.
    """

    def __init__(
        self,
        reporter: Reporter | None = None,
        url: str = "",
        model: str | None = None,
        reset_timeout: float = 0.0,
    ) -> None:
        self._reporter = reporter
        self._url = url
        self._model = model
        self._reset_timeout = reset_timeout
        self._rejections = 0

    def retry(self, url: str, failure: ClientError, delay: float) -> None:
        """Report that a request to *url* failed, and is sent again after *delay* seconds."""
        self._report("retry", failure, logging.INFO, url=url, attempts=failure.attempts, delay=delay)

    def change(self, state: State, failure: ClientError | None) -> None:
        """Report the new state of the circuit, and the failure that opened it."""
        if state == "open":
            self._rejections = 0
        self._report(
            OF_STATE[state],
            failure,
            logging.WARNING,
            attempts=0 if failure is None else failure.attempts,
            delay=self._reset_timeout if state == "open" else None,
            rejections=self._rejections,
        )

    def reject(self, rejection: CircuitOpenError) -> None:
        """Report that a call was rejected; the first rejection since the circuit opened is logged."""
        self._rejections += 1
        is_first = self._rejections == 1
        if self._reporter is None or not (is_first or self._reporter.has_hook):
            return  # so that a rejection takes almost no time
        self._report(
            "call_rejected",
            rejection.last_failure,
            logging.WARNING if is_first else None,
            request_id=rejection.request_id,
            delay=rejection.retry_after,
            rejections=self._rejections,
        )

    def _report(self, kind: Kind, failure: ClientError | None, level: int | None, **facts: Any) -> None:
        if self._reporter is None:
            return
        of_failure: dict[str, Any] = {}
        if failure is not None:
            of_failure = {
                "error": type(failure).__name__,
                "status": failure.status,
                "request_id": failure.request_id,
                "failure": failure,
            }
        event = ClientEvent(kind=kind, **{"url": self._url, "model": self._model, **of_failure, **facts})
        self._reporter.report(event, level)


def _log(event: ClientEvent, level: int) -> None:
    values = {name: getattr(event, name) for name in LOGGED}
    extra = {f"{EXTRA}{name}": value for name, value in values.items()}
    reason = "unknown" if event.failure is None else event.failure.summary
    LOG.log(level, LINES[event.kind], {**values, "reason": reason}, extra=extra)
