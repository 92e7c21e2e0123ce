"""The client's settings: what the caller says wins over the environment, and that over the default."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import httpx

SERVICE_URL = "BENTOML_SERVICE_URL"
PREFIX = "TIER0_CLIENT_"
CREDENTIALS = re.compile(r"//[^/?#]*@")


@dataclass(frozen=True)
class ClientOptions:
    """How a client behaves; times are in seconds. See `BentoMLClient` for what each one does."""

    timeout: float = 10.0
    attempt_timeout: float | None = None
    max_attempts: int = 3
    backoff_base: float = 0.1
    backoff_max: float = 5.0
    retry_budget: float = 0.2
    failure_threshold: int = 5
    reset_timeout: float = 30.0
    max_connections: int = 20
    idempotent: bool = True

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> ClientOptions:
        """Return what was given, where it is not None, and else what ``TIER0_CLIENT_…`` says, and else the defaults.

        Raises:
            ValueError: a value cannot be used; the message says where it came from.
        """
        values: dict[str, Any] = {}
        for knob in fields(cls):
            name, kind = knob.name, str(knob.type).partition(" ")[0]
            variable = f"{PREFIX}{name.upper()}"
            if given.get(name) is not None:
                values[name], source = given[name], f"{name} = {given[name]!r}"
            elif text := os.environ.get(variable):
                values[name], source = _from_text(kind, text, variable), f"environment {variable} = {text!r}"
            else:
                continue
            _refuse_unusable(name, values[name], source)
        return cls(**values)


def _from_text(kind: str, text: str, variable: str) -> Any:
    parse: dict[str, Callable[[str], Any]] = {
        "float": float,
        "int": int,
        "bool": {"true": True, "1": True, "false": False, "0": False}.__getitem__,
    }
    try:
        return parse[kind](text.lower())
    except (ValueError, KeyError):
        wanted = {
            "float": "a number of seconds, or a share",
            "int": "a whole number",
            "bool": "true or false",
        }[kind]
        raise ValueError(f"environment {variable} = {text!r}: give {wanted}") from None


def _refuse_unusable(name: str, value: Any, source: str) -> None:
    if name in {"max_attempts", "max_connections", "failure_threshold"} and value < 1:
        raise ValueError(f"{source}: give 1 or more")
    if name in {"timeout", "attempt_timeout"} and not 0 < value < float("inf"):
        raise ValueError(f"{source}: give more than 0 seconds")
    if name in {"backoff_base", "backoff_max", "retry_budget", "reset_timeout"} and not value >= 0:
        raise ValueError(f"{source}: give 0 or more")


def service_url(given: str | None) -> str:
    """Return the address of the service: as given, or as ``BENTOML_SERVICE_URL`` says.

    Raises:
        ValueError: there is none, or it is no URL.
    """
    if given is not None:
        return checked_url(given, "base_url")
    url = os.environ.get(SERVICE_URL)
    if not url:
        raise ValueError(f"which service? Give base_url, or set {SERVICE_URL}, such as http://127.0.0.1:3000")
    return checked_url(url, f"environment {SERVICE_URL}")


def model_endpoints(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the addresses of models: as given, or as ``TIER0_CLIENT_MODEL_ENDPOINTS`` says, ``name=URL,name=URL``.

    Raises:
        ValueError: one is no URL.
    """
    variable = f"{PREFIX}MODEL_ENDPOINTS"
    if given is not None:
        return {name: checked_url(url, f"model_endpoints[{name!r}]") for name, url in given.items()}
    named = [part.strip().partition("=") for part in os.environ.get(variable, "").split(",") if part.strip()]
    return {name: checked_url(url, f"environment {variable}, {name}") for name, _, url in named}


def checked_url(url: str, where: str) -> str:
    """Return *url* without a slash at its end.

    Raises:
        ValueError: it is no address of a service; with *where* it came from.
    """
    shown = without_credentials(url)
    if not url.startswith(("http://", "https://")):
        raise ValueError(
            f"{where} = {shown!r} is no URL of a service: give one such as http://127.0.0.1:3000"
        )
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as problem:
        raise ValueError(f"{where} = {shown!r} is no URL: {problem}") from problem
    if parsed.query or parsed.fragment:
        address = re.split("[?#]", shown)[0]
        raise ValueError(
            f"{where} has something behind its path, where the routes' paths are put: give {address!r}"
        )
    return url.rstrip("/")


def without_credentials(url: str) -> str:
    """Return *url* without what may stand before its host: a name and a password."""
    return CREDENTIALS.sub("//", url)
