"""Integrations of the client: routes for a web API, and clients and a tool for agents.

Retries, deadlines, circuits and tracing are those of the client.
"""

from __future__ import annotations

from tier0.client import (
    CallerError,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    InvalidDataError,
    PoolSaturatedError,
    TimedOutError,
)

REQUEST_ERRORS = set(range(400, 500)) - {401, 403, 405, 407}
"""Statuses by which a service rejects the caller's request, and not the application that forwards it."""
UNPROCESSABLE = 422
HTTP_ERRORS: tuple[tuple[type[ClientError], int, str], ...] = (
    (CircuitOpenError, 503, "the model is temporarily unavailable"),
    (PoolSaturatedError, 503, "the model is temporarily unavailable"),
    (TimedOutError, 504, "the model did not respond in time"),
    (ClientError, 502, "the model failed"),
)


def is_bug(problem: ClientError) -> bool:
    """Return True if the application misused its client, e.g. called it after close."""
    return isinstance(problem, ClientUsageError) and not isinstance(problem, InvalidDataError)


def to_http_error(problem: ClientError) -> tuple[int, str]:
    """Return the HTTP status and the message for the caller of an application.

    The message is the service's own if the caller's request was invalid. It never contains the address of a
    service.
    """
    if isinstance(problem, InvalidDataError):
        return UNPROCESSABLE, _printable(str(problem))
    if isinstance(problem, CallerError) and problem.status in REQUEST_ERRORS:
        return problem.status, _printable(problem.server_message)
    return next((status, text) for kind, status, text in HTTP_ERRORS if isinstance(problem, kind))


def _printable(text: str) -> str:
    """Replace unpaired surrogates, which JSON allows but UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()
