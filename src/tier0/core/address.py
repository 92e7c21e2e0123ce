"""Addresses of requests, which are built here only.

A path may come from the service under test, such as a route of its ``/schema.json``. It never becomes a part
of the authority of a URL: requests carry rows and credentials, and go to the host and port that the user
gave.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tier0.core.errors import Tier0Error

MAX_ROUTE_LENGTH = 2000
MAX_SHOWN = 100
DEFAULT_PORTS = {"http": 80, "https": 443}
FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\#\u2028\u2029\ud800-\udfff]")


class AddressError(Tier0Error):
    """A path is not a path, or a request would be sent to another host or port than the user's."""


class Origin(NamedTuple):
    """The part of a URL that selects the server.

    Attributes:
        scheme: ``http`` or ``https``.
        host: name or IP address, in lower case.
        port: number of the port.
    """

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin:
    """Return the origin of an http or https URL.

    Raises:
        AddressError: *url* has no valid origin.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        host, port = None, 0
    if not host:
        raise AddressError(f"invalid URL {_shown(url)}: expected http://HOST:PORT or https://HOST:PORT")
    return Origin(parts.scheme, host, port)


def problem_of(route: str) -> str:
    """Return why *route* cannot be the path of a request; empty if it can."""
    if not route.startswith("/"):
        return "it must begin with a slash"
    if len(route) > MAX_ROUTE_LENGTH:
        return f"it has more than {MAX_ROUTE_LENGTH} characters"
    if FORBIDDEN.search(route):
        return "it contains a space, a control character, a backslash or '#'"
    path = route.partition("?")[0]
    if {".", ".."} & set(unquote(path).replace("\\", "/").split("/")):
        return "it contains '.' or '..' as a segment"
    return ""


def address(url: str, route: str) -> str:
    """Return the URL of a route of a service, which has the same origin as the service.

    Args:
        url: URL of the service that the user gave, without a slash at its end.
        route: path, and query if there is one; it is appended to the path of *url*.

    Raises:
        AddressError: *route* is not a path.
    """
    if problem := problem_of(route):
        raise AddressError(f"invalid route {_shown(route)}: {problem}; no request was sent")
    joined = f"{url}{route}"
    if origin_of(joined) != origin_of(url):
        raise AddressError(f"the route {_shown(route)} leads to another server; no request was sent")
    return joined


def _shown(text: str) -> str:
    """Return the start of a text as ASCII."""
    return ascii(text[:MAX_SHOWN])
