"""What a client promises. What it does not promise is not judged.

A few lines of TOML::

    schema = 1
    attempts = 3             # requests that one call may send
    threshold = 5            # failures in a row that open the circuit
    reset = 0.3              # seconds until a probe is let out
    probes = 1               # at a time
    timeout = 1.0            # seconds of a call …
    timeout_is = "total"     # … or of each "attempt"
    retry_after = true

    [knobs]                  # given to the factory, so that judging takes seconds and not minutes
    reset_timeout = 0.3
    timeout = 1.0

    [answer]                 # a prediction, as the client's services give it
    predictions = [1]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error

SCHEMA = 1
TimeoutIs = Literal["total", "attempt"]
MAX_RESET = 3.0
WHOLE = {"attempts", "threshold", "probes", "connections"}
SECONDS = {"reset", "timeout", "attempt_timeout", "slow_after", "health_timeout"}
SWITCHES = {"retries_429", "retry_after", "idempotent", "bare_answers", "traceparent", "opik"}


NO_PROMISES = {"knobs", "answer", "data", "setup"}


class DeclarationError(Tier0Error):
    """It promises something that no client can, or cannot be read; the message names the field, the value and the remedy."""


@dataclass(frozen=True)
class Declaration:
    """What is promised; None (or nothing) is not.

    Attributes:
        attempts: requests that one call may send.
        threshold: failing requests in a row that open the circuit.
        reset: seconds until it lets a probe out; judged up to 3 of them.
        probes: that may be on their way at once.
        timeout: seconds of a call, or of each attempt, see *timeout_is*.
        timeout_is: ``total`` or ``attempt``.
        attempt_timeout: seconds of one attempt, where *timeout* is the total.
        retries_429: whether 429 is retried.
        retry_after: whether Retry-After is honoured.
        budget: retries for each call, in the long run; a start of 10 is free.
        connections: that may be open at once.
        idempotent: False promises that what may have been received is not sent again.
        slow_after: seconds after which an answer counts as a failure.
        health_timeout: seconds of a health check; 5 where nothing is declared.
        bare_answers: whether a bare list and number are predictions to it.
        traceparent: whether OpenTelemetry's context of the caller is passed on.
        opik: whether its calls are traced to Opik, with what Opik's own settings say.
        knobs: given to the factory beside the URL.
        answer: a prediction, as the client's services give it.
        data: what ``predict`` is called with.
        setup: answers (JSON) to what the client asks for while it is made, by path, such as ``/schema.json``.
    """

    attempts: int | None = None
    threshold: int | None = None
    reset: float | None = None
    probes: int | None = None
    timeout: float | None = None
    timeout_is: TimeoutIs = "total"
    attempt_timeout: float | None = None
    retries_429: bool | None = None
    retry_after: bool | None = None
    budget: float | None = None
    connections: int | None = None
    idempotent: bool | None = None
    slow_after: float | None = None
    health_timeout: float | None = None
    bare_answers: bool | None = None
    traceparent: bool | None = None
    opik: bool | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    answer: Any = field(
        default_factory=lambda: {
            "predictions": [1],
            "probabilities": [[0.25, 0.75]],
            "classes": [0, 1],
            "model_tag": "m:1",
        }
    )
    data: Any = field(default_factory=lambda: {"features": [[1.0, 2.0]]})
    setup: Mapping[str, Any] = field(default_factory=dict)

    def promises(self, name: str) -> bool:
        """Tell whether *name* is declared; what is declared to be off is not, but for ``idempotent``."""
        value = getattr(self, name)
        return value is False if name == "idempotent" else value is not None and value is not False

    @property
    def promised(self) -> dict[str, Any]:
        """What is declared of its behaviour, by name."""
        said = {
            name: value for name, value in vars(self).items() if name not in NO_PROMISES and value is not None
        }
        if self.timeout is None:
            del said["timeout_is"]
        return said

    @property
    def longest_call(self) -> float | None:
        """Seconds after which every call must have ended; None if nothing is promised."""
        if self.timeout is None:
            return None
        return self.timeout if self.timeout_is == "total" else self.timeout * (self.attempts or 1)

    @property
    def longest_attempt(self) -> float:
        """Seconds within which an answer is in time; 1 if nothing is promised."""
        return self.attempt_timeout or self.timeout or 1.0


def read_declaration(source: Declaration | Mapping[str, Any] | Path | str | None) -> Declaration:
    """Return what a client promises: as it is, from a mapping, or from a TOML file.

    Raises:
        DeclarationError: it cannot be used.
    """
    if isinstance(source, Declaration):
        return source
    where = "the declaration"
    if isinstance(source, (str, Path)):
        where = f"the declaration {source}"
        source = read_document(Path(source), "the declaration", SCHEMA, DeclarationError)
    given = dict(source or {})
    known = [one.name for one in fields(Declaration)]
    if unknown := sorted(given.keys() - set(known)):
        raise DeclarationError(f"{where} has {unknown[0]!r}: there are {', '.join(known)}")
    for name, value in given.items():
        _refuse(where, name, value)
    return Declaration(**given)


def _refuse(where: str, name: str, value: Any) -> None:
    said = f"{where} has {name} = {value!r}"
    if name in WHOLE and (type(value) is not int or value < 1):
        raise DeclarationError(f"{said}: give a whole number, 1 or more")
    if name in SECONDS and (type(value) not in {int, float} or not 0 < value < math.inf):
        raise DeclarationError(f"{said}: give seconds, more than 0")
    if name == "budget" and (type(value) not in {int, float} or not 0 <= value < math.inf):
        raise DeclarationError(f"{said}: give retries for each call, such as 0.2")
    if name in SWITCHES and type(value) is not bool:
        raise DeclarationError(f"{said}: say true or false")
    if name == "timeout_is" and value not in get_args(TimeoutIs):
        raise DeclarationError(f'{said}: say "total" or "attempt"')
    if name == "knobs" and not isinstance(value, Mapping):
        raise DeclarationError(f"{said}: write a table [knobs], with the factory's own arguments")
    if name == "setup" and not (
        isinstance(value, Mapping) and all(str(path).startswith("/") for path in value)
    ):
        raise DeclarationError(f'{said}: write a table [setup], such as "/schema.json" = {{...}}')
