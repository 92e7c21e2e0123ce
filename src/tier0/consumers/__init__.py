"""What stands on the client in an application: an API's routes, an agent's client and its tool. They hold no resilience of their own."""

from __future__ import annotations

from tier0.client import CallerError, CircuitOpenError, ClientError, ClientUsageError, InvalidDataError, PoolSaturatedError, TimedOutError

CALLERS_MISTAKES = set(range(400, 500)) - {401, 403, 405, 407}


def is_bug(problem: ClientError) -> bool:
    """Tell whether the application misuses its client, such as one that is closed: no answer of a model, and nobody's but its own."""
    return isinstance(problem, ClientUsageError) and not isinstance(problem, InvalidDataError)


def said_to_caller(problem: ClientError) -> str:
    """Return what may be told to whoever asked: what the service said to a mistake of theirs, and never where it is."""
    if isinstance(problem, InvalidDataError) or is_callers_mistake(problem):
        said = str(problem) if isinstance(problem, InvalidDataError) else problem.server_message
        return said.encode(errors="replace").decode()  # JSON can hold half a character, and an answer in UTF-8 cannot
    if isinstance(problem, (CircuitOpenError, PoolSaturatedError)):
        return "the model is not asked at the moment"
    if isinstance(problem, TimedOutError):
        return "the model gave no answer in time"
    return "the model failed"


def is_callers_mistake(problem: ClientError) -> bool:
    """Tell whether what was asked is wrong, and not how: that the application may not ask, or asks elsewhere, is its own mistake."""
    return isinstance(problem, CallerError) and problem.status in CALLERS_MISTAKES
