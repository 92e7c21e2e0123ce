"""The declaration of a client: the behaviour that its author promises. Only declared behaviour is checked.

A declaration in TOML::

    schema = 1
    attempts = 3             # maximum number of requests per call
    threshold = 5            # consecutive failures that open the circuit
    reset = 0.3              # seconds from the opening of the circuit to the first probe
    probes = 1               # concurrent probes
    timeout = 1.0            # seconds per call …
    timeout_is = "total"     # … or per "attempt"
    retry_after = true

    [options]                # keyword arguments of the factory; short times keep the checks fast
    reset_timeout = 0.3
    timeout = 1.0

    [answer]                 # a response of the client's services
    predictions = [1]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error
from tier0.core.fields import shown
from tier0.core.near_names import did_you_mean
from tier0.core.protocols import PROTOCOLS, REQUESTS, RESPONSES

SCHEMA = 1
TimeoutIs = Literal["total", "attempt"]
MAX_RESET = 3.0
MAX_COUNT = 1_000_000
MAX_SECONDS = 1_000_000
"""Larger numbers are mistakes, and the largest overflow in a timer."""
COUNTS = {"attempts", "threshold", "probes", "connections"}
SECONDS = {"reset", "timeout", "attempt_timeout", "slow_after", "health_timeout"}
SWITCHES = {
    "retries_429", "counts_429", "retry_after", "idempotent", "bare_answers", "traceparent", "opik",
    "expects_proxy",
}  # fmt: skip
CHOICES = {"timeout_is": get_args(TimeoutIs), "protocol": PROTOCOLS}
BODIES = {"answer", "setup", "fallback"}
TEST_SETTINGS = {"protocol", "options", "answer", "data", "setup", "expects_proxy", "fallback"}
"""Fields that describe how to call the client or what it may do, and promise nothing about its behaviour."""
FORMER_NAMES = {"knobs": "options"}
"""Names of fields in earlier declarations, which are still read."""


class DeclarationError(Tier0Error):
    """A declaration cannot be read or is invalid; the message gives the field, its value and the remedy."""


@dataclass(frozen=True)
class Declaration:
    """The declared behaviour of a client, and how to call it; a field that is None is not declared.

    Attributes:
        attempts: maximum number of requests per call.
        threshold: consecutive failed requests that open the circuit.
        reset: seconds from the opening of the circuit to the first probe; checked up to 3 s.
        probes: maximum number of concurrent probes.
        timeout: seconds per call, or per attempt; see *timeout_is*.
        timeout_is: ``total`` or ``attempt``.
        attempt_timeout: seconds per attempt, if *timeout* is the total.
        retries_429: whether 429 is retried.
        counts_429: whether 429 counts as a failure that opens the circuit; otherwise it must not open it.
        retry_after: whether Retry-After is honoured.
        budget: retries per call in the long run, in addition to 10 retries at the start.
        connections: maximum number of open connections.
        idempotent: False if a request that the service may have received is never sent again.
        slow_after: seconds after which a response counts as a failure.
        health_timeout: seconds per health check; 5 if it is not declared.
        bare_answers: whether a bare list or number counts as a prediction.
        traceparent: whether the caller's OpenTelemetry context is sent to the service.
        opik: whether calls are traced to Opik, configured through Opik's own settings.
        fallback: value that a call returns if it got no prediction, in place of an exception.
        expects_proxy: True if requests may be sent through a proxy that HTTP_PROXY names.
        protocol: protocol of the client's services, in which the servers of the checks respond; by default,
            BentoML's, where any JSON is a request.
        options: keyword arguments of the factory, in addition to the URL.
        answer: a response of the client's services with predictions; by default, one of the protocol.
        data: argument of ``predict``; by default, the body of a request of the protocol.
        setup: JSON responses, by path, to the requests that the client sends while it is created.
    """

    attempts: int | None = None
    threshold: int | None = None
    reset: float | None = None
    probes: int | None = None
    timeout: float | None = None
    timeout_is: TimeoutIs = "total"
    attempt_timeout: float | None = None
    retries_429: bool | None = None
    counts_429: bool | None = None
    retry_after: bool | None = None
    budget: float | None = None
    connections: int | None = None
    idempotent: bool | None = None
    slow_after: float | None = None
    health_timeout: float | None = None
    bare_answers: bool | None = None
    traceparent: bool | None = None
    opik: bool | None = None
    fallback: Any = None
    expects_proxy: bool | None = None
    protocol: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
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
        """Return True if the behaviour *name* is promised.

        A switch that is declared false promises nothing, except ``idempotent = false``, which promises that
        no request is repeated. A timeout per attempt promises an ``attempt_timeout``.
        """
        if name == "attempt_timeout" and self.timeout_is == "attempt":
            name = "timeout"
        value = getattr(self, name)
        return value is False if name == "idempotent" else value is not None and value is not False

    @property
    def promised(self) -> dict[str, Any]:
        """All declared fields that concern the client's behaviour, with their values."""
        promised = {
            name: value
            for name, value in vars(self).items()
            if name not in TEST_SETTINGS and value is not None
        }
        if self.timeout is None:
            del promised["timeout_is"]
        return promised

    @property
    def longest_call(self) -> float | None:
        """Seconds within which every call must end; None if no timeout of calls is declared."""
        return self.timeout if self.timeout_is == "total" else None

    @property
    def expected_call(self) -> float | None:
        """Seconds that a call takes if no request gets a response, without backoffs; None if unknown."""
        return self.timeout if self.timeout_is == "total" else self.longest_attempt * (self.attempts or 1)

    @property
    def longest_attempt(self) -> float:
        """Seconds within which a response is in time; 1 if no timeout is declared."""
        return self.attempt_timeout or self.timeout or 1.0


def read_declaration(
    source: Declaration | Mapping[str, Any] | Path | str | None, protocol: str | None = None
) -> Declaration:
    """Return the declaration in *source*.

    Args:
        source: a declaration, a mapping of its fields, or the path of a TOML file; None declares nothing.
        protocol: protocol of the client's services, which precedes the one in *source*.

    Raises:
        DeclarationError: the file cannot be read, or a field is unknown or has an invalid value.
    """
    if isinstance(source, Declaration):
        return source if protocol in {None, source.protocol} else _in_protocol(source, protocol)
    where = "the declaration"
    if isinstance(source, (str, Path)):
        where = f"the declaration {source}"
        source = read_document(Path(source), "the declaration", SCHEMA, DeclarationError)
    given = dict(source or {})
    if protocol is not None:
        given["protocol"] = protocol
    for former, name in FORMER_NAMES.items():
        if former in given and name in given:
            raise DeclarationError(f"{where} has both {former!r} and {name!r}: keep only {name!r}")
        if former in given:
            given[name] = given.pop(former)
    known = [field.name for field in fields(Declaration)]
    if unknown := sorted(given.keys() - set(known)):
        raise DeclarationError(
            f"unknown field {shown(unknown[0])} in {where}{did_you_mean(unknown[0], known)}: choose from "
            f"{', '.join(known)}"
        )
    for name, value in given.items():
        _validate(where, name, value)
    declared = Declaration(**{**_bodies_of(given.get("protocol")), **given})
    if contradiction := _contradiction_in(declared):
        raise DeclarationError(f"contradiction in {where}: {contradiction}")
    return declared


def _in_protocol(declared: Declaration, protocol: str | None) -> Declaration:
    """Return a declaration for another protocol, whose own bodies replace those that are at their default."""
    default = Declaration(**_bodies_of(declared.protocol))
    bodies = {
        name: body
        for name, body in vars(Declaration(**_bodies_of(protocol))).items()
        if name in {"answer", "data"} and getattr(declared, name) == getattr(default, name)
    }
    return replace(declared, protocol=protocol, **bodies)


def _bodies_of(protocol: str | None) -> dict[str, Any]:
    """Return the request and the response that a protocol prescribes; empty if it prescribes none."""
    if protocol is None or protocol not in REQUESTS:
        return {}
    return {"data": REQUESTS[protocol], "answer": RESPONSES[protocol]}


def _contradiction_in(declared: Declaration) -> str:
    """Return which promises no client can keep together, and the remedy; empty if there are none."""
    if declared.timeout is not None and declared.attempt_timeout is not None:
        both = f"timeout = {declared.timeout:g} and attempt_timeout = {declared.attempt_timeout:g}"
        if declared.timeout_is == "attempt" and declared.timeout != declared.attempt_timeout:
            return f'{both} are both declared for an attempt: keep one, or declare timeout_is = "total"'
        if declared.attempt_timeout > declared.timeout:
            return f"{both}: an attempt cannot take longer than its call"
    if declared.attempts == 1 and declared.retries_429:
        return "retries_429 = true needs retries, but attempts = 1 excludes them: raise attempts"
    if declared.fallback is not None and declared.fallback == declared.answer:
        return "fallback and answer are equal: declare an [answer] that is not the fallback"
    if declared.counts_429 and declared.threshold is None:
        return "counts_429 = true needs a circuit: declare its threshold"
    return ""


def _validate(where: str, name: str, value: Any) -> None:
    expected = ""
    if name in COUNTS and (type(value) is not int or not 1 <= value <= MAX_COUNT):
        expected = f"a whole number from 1 to {MAX_COUNT:,}"
    elif name in SECONDS and (type(value) not in {int, float} or not 0 < value <= MAX_SECONDS):
        expected = f"a number of seconds greater than 0, and at most {MAX_SECONDS:,}"
    elif name == "budget" and (type(value) not in {int, float} or not 0 <= value <= MAX_COUNT):
        expected = "a number of retries per call, such as 0.2"
    elif name in SWITCHES and type(value) is not bool:
        expected = "true or false"
    elif name in CHOICES and value not in CHOICES[name]:
        expected = " or ".join(f'"{choice}"' for choice in CHOICES[name])
    elif name == "options" and not isinstance(value, Mapping):
        expected = "a table [options] with keyword arguments of the factory"
    elif name == "setup" and not _has_paths(value):
        expected = 'a table [setup] with paths as keys, such as "/schema.json" = {...}'
    elif name in BODIES and not all(map(_is_body, value.values() if name == "setup" else [value])):
        expected = "values that JSON can represent: no dates"
    if expected:
        raise DeclarationError(f"invalid {name} {shown(value)} in {where}: expected {expected}")


def _has_paths(value: Any) -> bool:
    return isinstance(value, Mapping) and all(str(path).startswith("/") for path in value)


def _is_body(value: Any) -> bool:
    """Return whether a value can be the body of a response: bytes, or what JSON can represent."""
    if isinstance(value, bytes):
        return True
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
