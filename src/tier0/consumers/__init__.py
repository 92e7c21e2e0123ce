"""What stands on the client in an application: an API's routes, an agent's client and its tool. They hold no resilience of their own."""

from __future__ import annotations

from tier0.client import ClientError, ClientUsageError, InvalidDataError


def is_bug(problem: ClientError) -> bool:
    """Tell whether the application misuses its client, such as one that is closed: no answer of a model, and nobody's but its own."""
    return isinstance(problem, ClientUsageError) and not isinstance(problem, InvalidDataError)
