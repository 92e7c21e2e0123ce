"""Options of the client: an argument takes precedence over the environment, and that over the default."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from tier0.client.transport import MAX_RESPONSE_BYTES

PREFIX = "TIER0_CLIENT_"
PARSERS: dict[str, Callable[[str], Any]] = {
    "float": float,
    "int": int,
    "bool": {"true": True, "1": True, "false": False, "0": False}.__getitem__,
}
TYPES: dict[str, type[Any]] = {"float": Real, "int": Integral, "bool": bool}
EXPECTED = {"float": "a number", "int": "an integer", "bool": "true or false"}


@dataclass(frozen=True)
class ClientOptions:
    """Behaviour of a client; times are in seconds. `BentoMLClient` documents each option."""

    timeout: float = 10.0
    attempt_timeout: float | None = None
    max_attempts: int = 3
    backoff_base: float = 0.1
    backoff_max: float = 5.0
    retry_budget: float = 0.2
    failure_threshold: int = 5
    reset_timeout: float = 30.0
    max_connections: int = 20
    max_response_bytes: int = MAX_RESPONSE_BYTES
    idempotent: bool = True

    @classmethod
    def resolve(cls, arguments: Mapping[str, Any]) -> ClientOptions:
        """Return the arguments that are not None, then values of ``TIER0_CLIENT_…``, then the defaults.

        Raises:
            ValueError: a value is invalid; the message names the argument or the variable.
        """
        values: dict[str, Any] = {}
        for option in fields(cls):
            name, kind = option.name, str(option.type).partition(" ")[0]
            variable = f"{PREFIX}{name.upper()}"
            if arguments.get(name) is not None:
                source, values[name] = name, arguments[name]
            elif text := os.environ.get(variable):
                source, values[name] = f"environment variable {variable}", _parse(kind, text, variable)
            else:
                continue
            _validate(name, kind, values[name], source)
        return cls(**values)


def _parse(kind: str, text: str, variable: str) -> Any:
    try:
        return PARSERS[kind](text.lower())
    except (ValueError, KeyError):
        raise ValueError(
            f"invalid value {text!r} for environment variable {variable}: expected {EXPECTED[kind]}"
        ) from None


def _validate(name: str, kind: str, value: Any, source: str) -> None:
    if not isinstance(value, TYPES[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise ValueError(f"{source} must be {EXPECTED[kind]}, got {value!r}")
    if name in {"max_attempts", "max_connections", "max_response_bytes", "failure_threshold"} and value < 1:
        raise ValueError(f"{source} must be 1 or more, got {value!r}")
    if name in {"timeout", "attempt_timeout"} and not 0 < value < float("inf"):
        raise ValueError(f"{source} must be finite and greater than 0 seconds, got {value!r}")
    if name in {"backoff_base", "backoff_max", "retry_budget", "reset_timeout"} and not value >= 0:
        raise ValueError(f"{source} must be 0 or more, got {value!r}")
