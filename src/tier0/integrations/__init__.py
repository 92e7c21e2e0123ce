"""What stands on the client in an application: an API's routes, an agent's client and its tool. They hold no resilience of their own."""

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

CALLERS_MISTAKES = set(range(400, 500)) - {401, 403, 405, 407}
"""What was asked is wrong, and not how: that the application may not ask, or asks elsewhere, is its own mistake."""
UNPROCESSABLE = 422
HTTP_ERRORS: tuple[tuple[type[ClientError], int, str], ...] = (
    (CircuitOpenError, 503, "the model is not asked at the moment"),
    (PoolSaturatedError, 503, "the model is not asked at the moment"),
    (TimedOutError, 504, "the model gave no answer in time"),
    (ClientError, 502, "the model failed"),
)


def is_bug(problem: ClientError) -> bool:
    """Tell whether the application misuses its client, such as one that is closed: no answer of a model, and nobody's but its own."""
    return isinstance(problem, ClientUsageError) and not isinstance(problem, InvalidDataError)


def to_http_error(problem: ClientError) -> tuple[int, str]:
    """Return the HTTP status and the words for whoever asked: what the service said to a mistake of theirs, and never where it is."""
    if isinstance(problem, InvalidDataError):
        return UNPROCESSABLE, _printable(str(problem))
    if isinstance(problem, CallerError) and problem.status in CALLERS_MISTAKES:
        return problem.status, _printable(problem.server_message)
    return next((status, words) for kind, status, words in HTTP_ERRORS if isinstance(problem, kind))


def _printable(said: str) -> str:
    """Replace halves of characters, which JSON can hold and an answer in UTF-8 cannot."""
    return said.encode(errors="replace").decode()
