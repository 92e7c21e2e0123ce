"""HTTP connections of a client, which belong to one event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

import httpx

from tier0.client.transport import ACCEPTED_CODINGS, MIB, BoundedTransport

KEEPALIVE_EXPIRY = 4.0
"""Seconds. BentoML closes idle connections after 5, and a request sent at that moment is lost."""
HEALTH_CONNECTIONS = 2
MAX_HEALTH_BYTES = MIB
CONNECTION_ERRORS = (httpx.HTTPError, OSError)
"""Exceptions of a failed connection; httpx does not translate all errors of TLS."""
LATE_IMPORTS = ("httpcore", "anyio", "anyio._backends._asyncio")
"""Modules that httpx imports with its first client and first request, which would block the event loop for up
to 80 ms."""


def import_late_imports() -> None:
    """Import the modules that httpx would import during the first call."""
    for name in LATE_IMPORTS:
        with suppress(ImportError):
            import_module(name)


def describe_error(problem: Exception) -> str:
    """Return the class of a connection's error and its message, if it has one."""
    return f"{type(problem).__name__}{f' ({problem})' if str(problem) else ''}"


@dataclass
class Connections:
    """Connection pools for calls and for health checks, with one pool of each kind for each service.

    A semaphore limits each pool, so that waiting for a connection is not mistaken for a slow service,
    and a service that hangs occupies no connection of another one.

    Attributes:
        loop: event loop that the connections belong to.
        max_connections: connections for calls to each service.
        urls: URLs of the services; requests go to their servers only.
        max_response_bytes: size of the response to a call.
        closed: True once `close` was called.
    """

    loop: asyncio.AbstractEventLoop
    max_connections: int
    urls: Iterable[str]
    max_response_bytes: int
    closed: bool = False
    calls: httpx.AsyncClient = field(init=False)
    headers: dict[str, str] = field(init=False)
    health: httpx.AsyncClient = field(init=False)
    slots: defaultdict[str, asyncio.Semaphore] = field(init=False)
    health_slots: defaultdict[str, asyncio.Semaphore] = field(init=False)

    def __post_init__(self) -> None:
        uses_tls = any(url.startswith("https:") for url in self.urls)
        # Loading the certificates of all authorities takes 20 ms; a context that trusts none takes no time.
        trust = ssl.create_default_context() if uses_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.calls = _HttpClient(trust, self.urls, self.max_response_bytes, "max_response_bytes")
        self.health = _HttpClient(trust, self.urls, MAX_HEALTH_BYTES)
        self.headers = dict(self.calls.headers)
        self.slots = defaultdict(lambda: asyncio.Semaphore(self.max_connections))
        self.health_slots = defaultdict(lambda: asyncio.Semaphore(HEALTH_CONNECTIONS))

    async def take_slot(self, service: str, timeout: float) -> bool:
        """Reserve a connection to a service, and return True if that had to wait.

        Args:
            service: base URL of the service.
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: all connections were busy for *timeout* seconds.
        """
        slots = self.slots[service]
        if not slots.locked():
            await slots.acquire()
            return False
        async with asyncio.timeout(timeout):
            await slots.acquire()
        return True

    async def send(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> httpx.Response:
        """Send a request on a connection for calls, and read the complete response.

        The request is built here because httpx parses the URL and merges parameters, cookies and headers
        again for each request, which takes a tenth of a call.
        """
        request = httpx.Request(method, _parse_url(url), headers={**self.headers, **headers}, content=body)
        return await self.calls.send(request)

    async def close(self) -> None:
        """Close all connections."""
        self.closed = True
        await self.calls.aclose()
        await self.health.aclose()


class _NoCookies(httpx.Cookies):
    """An empty cookie jar: a session cookie would send a retry to the replica that has just failed."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Ignore the response's cookies."""


class _HttpClient(httpx.AsyncClient):
    """An httpx client without limits of its own.

    The caller limits each attempt, since httpx has a timeout for each read but none for a complete response.
    """

    no_cookies = _NoCookies()

    def __init__(self, trust: ssl.SSLContext, urls: Iterable[str], max_bytes: int, setting: str = "") -> None:
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY
        )
        super().__init__(
            timeout=None,
            transport=BoundedTransport(urls, max_bytes, trust=trust, limits=limits, setting=setting),
            headers={"Accept-Encoding": ACCEPTED_CODINGS},
            trust_env=False,
            follow_redirects=False,
            event_hooks={"response": [_remove_location]},
        )

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; a user name and a password in its URL become a header, since httpx logs the URL."""
        if request.url.userinfo:
            options["auth"] = httpx.BasicAuth(request.url.username, request.url.password)
            request.url = request.url.copy_with(userinfo=b"")
        response = await super().send(request, **options)
        if response.is_closed:
            # The stream refers to the response: both would stay in memory until the garbage collector runs.
            response.stream = NOTHING
        return response

    @property  # type: ignore[misc]  # read-only here
    def cookies(self) -> httpx.Cookies:
        """The empty cookie jar."""
        return self.no_cookies


async def _remove_location(response: httpx.Response) -> None:
    """Remove a redirect's target, which is not followed: httpx raises an error if it is not a valid URL."""
    response.headers.pop("Location", None)


NOTHING = httpx.ByteStream(b"")
"""Stream of a response that was read."""
_parse_url = lru_cache(maxsize=256)(httpx.URL)
