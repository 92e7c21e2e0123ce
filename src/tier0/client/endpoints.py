"""Addresses of services and of the models in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from tier0.client.errors import InvalidDataError

SERVICE_URL = "BENTOML_SERVICE_URL"
MODEL_ENDPOINTS = "TIER0_CLIENT_MODEL_ENDPOINTS"
EXAMPLE_URL = "http://127.0.0.1:3000"
CREDENTIALS = re.compile(r"//[^/?#]*@")
MAX_NAME_LENGTH = 1000
"""Characters; httpx accepts URLs of up to 65,536, and quoting makes up to twelve of one."""


@dataclass(frozen=True)
class Endpoints:
    """The base URLs that a client sends to.

    Attributes:
        base_url: URL of the service, without a slash at its end.
        models: model name to base URL, for models that have a service of their own.
    """

    base_url: str
    models: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def resolve(cls, base_url: str | None, models: Mapping[str, str] | None) -> Endpoints:
        """Return the endpoints from the arguments, or from the environment for an argument that is None.

        Args:
            base_url: URL of the service; by default the value of ``BENTOML_SERVICE_URL``.
            models: model name to base URL; by default the value of ``TIER0_CLIENT_MODEL_ENDPOINTS``,
                written ``name=URL,name=URL``.

        Raises:
            ValueError: the URL of the service is missing, or a URL is invalid.
        """
        return cls(_service_url(base_url), _model_endpoints(models))

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URLs of all services."""
        return (self.base_url, *self.models.values())

    def service(self, model: str | None) -> str:
        """Return the base URL of the service that serves *model*."""
        return self.base_url if model is None else self.models.get(model, self.base_url)

    def url(self, model: str | None, route: str) -> str:
        """Return the URL of a route of a model; the model's name is quoted into one path segment.

        Args:
            model: name of the model; None for the service's only model.
            route: path below the model, without a slash at its beginning.

        Raises:
            InvalidDataError: *model* cannot be a path segment.
        """
        if model is None:
            return f"{self.base_url}/{route}"
        if not model or model in {".", ".."} or len(model) > MAX_NAME_LENGTH:
            raise InvalidDataError(
                f"invalid model name {model[:MAX_NAME_LENGTH]!r}: use 1 to {MAX_NAME_LENGTH} characters; "
                "'.' and '..' are not allowed"
            )
        if model in self.models:
            return f"{self.models[model]}/{route}"
        try:
            return f"{self.base_url}/{quote(model, safe='')}/{route}"
        except UnicodeEncodeError as problem:
            raise InvalidDataError(f"invalid model name {model!r}: {problem}") from problem


def _service_url(base_url: str | None) -> str:
    if base_url is not None:
        return _checked_url(base_url, "base_url")
    url = os.environ.get(SERVICE_URL)
    if not url:
        raise ValueError(f"no service URL: pass base_url or set {SERVICE_URL}, e.g. to {EXAMPLE_URL}")
    return _checked_url(url, f"environment variable {SERVICE_URL}")


def _model_endpoints(models: Mapping[str, str] | None) -> dict[str, str]:
    if models is not None:
        return {name: _checked_url(url, f"model_endpoints[{name!r}]") for name, url in models.items()}
    items = [item.strip() for item in os.environ.get(MODEL_ENDPOINTS, "").split(",")]
    pairs = [item.partition("=") for item in items if item]
    source = f"environment variable {MODEL_ENDPOINTS}"
    return {name: _checked_url(url, f"{source}, model {name!r}") for name, _, url in pairs}


def _checked_url(url: str, source: str) -> str:
    """Return *url* without a slash at its end, if it is a valid base URL.

    Args:
        url: base URL of a service.
        source: where the URL comes from, for the error message.

    Raises:
        ValueError: *url* is not an http(s) URL, or has a query or a fragment.
    """
    shown = without_credentials(url)
    if not url.startswith(("http://", "https://")):
        raise ValueError(
            f"invalid service URL {shown!r} ({source}): expected an http(s) URL such as {EXAMPLE_URL}"
        )
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as problem:
        raise ValueError(f"invalid service URL {shown!r} ({source}): {problem}") from problem
    if parsed.query or parsed.fragment:
        base = re.split("[?#]", shown)[0]
        raise ValueError(
            f"invalid service URL {shown!r} ({source}): a base URL must not have a query or a fragment; "
            f"use {base!r}"
        )
    return url.rstrip("/")


def without_credentials(url: str) -> str:
    """Return *url* without a user name and password."""
    return CREDENTIALS.sub("//", url)


def without_secrets(url: str) -> str:
    """Return *url* as it may be shown: without a user name, a password and a query, which may hold a key."""
    return re.split("[?#]", without_credentials(url), maxsplit=1)[0]
