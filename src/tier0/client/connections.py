"""The connections of a client, which belong to one event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module

import httpx

KEEPALIVE_EXPIRY = 4.0
"""Seconds; BentoML closes idle connections after 5, and a request on a connection that is just being closed is lost."""
HEALTH_CONNECTIONS = 2
LATE_IMPORTS = ("httpcore", "anyio", "anyio._backends._asyncio")
"""What httpx imports with its first client, and with its first request: up to 80 ms, for which the event loop would stand still."""


def import_late_imports() -> None:
    """Import them now."""
    for name in LATE_IMPORTS:
        with suppress(ImportError):
            import_module(name)


@dataclass
class Connections:
    """Those for calls, with a semaphore in front so that a full pool is told from a slow service, and those for health checks.

    Each service has a pool of each kind: one that hangs takes no connection away from another.
    """

    loop: asyncio.AbstractEventLoop
    most: int
    encrypted: bool
    calls: httpx.AsyncClient = field(init=False)
    headers: dict[str, str] = field(init=False)
    health: httpx.AsyncClient = field(init=False)
    slots: defaultdict[str, asyncio.Semaphore] = field(init=False)
    health_slots: defaultdict[str, asyncio.Semaphore] = field(init=False)

    def __post_init__(self) -> None:
        # Reading the certificates of all authorities takes 20 ms, and a context that trusts nobody none.
        trust = ssl.create_default_context() if self.encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.calls, self.health = _HttpClient(trust), _HttpClient(trust)
        self.headers = dict(self.calls.headers)
        self.slots = defaultdict(lambda: asyncio.Semaphore(self.most))
        self.health_slots = defaultdict(lambda: asyncio.Semaphore(HEALTH_CONNECTIONS))

    async def take_slot(self, service: str, timeout: float) -> bool:
        """Take a free connection to a service, and tell whether it had to be waited for; raises TimeoutError."""
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
        """Send a request of a call, and read the whole answer.

        It is made here, since httpx parses the address and merges parameters, cookies and headers anew for each: a tenth of a call.
        """
        return await self.calls.send(
            httpx.Request(method, _parsed(url), headers={**self.headers, **headers}, content=body)
        )

    async def close(self) -> None:
        """Close them all."""
        await self.calls.aclose()
        await self.health.aclose()


class _NoCookies(httpx.Cookies):
    """Takes none, and does not even look for them: one that is sticky would send a retry to the replica that has just failed."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave them where they are."""


class _HttpClient(httpx.AsyncClient):
    """One whose only limits are ours: httpx's timeouts are per operation, and a dripping body passes them all."""

    no_cookies = _NoCookies()

    def __init__(self, trust: ssl.SSLContext) -> None:
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY
        )
        hooks = {"response": [_forget_where_else]}
        super().__init__(
            timeout=None,
            verify=trust,
            limits=limits,
            trust_env=False,
            follow_redirects=False,
            event_hooks=hooks,
        )

    @property  # type: ignore[misc]  # nobody sets it
    def cookies(self) -> httpx.Cookies:
        """None, ever."""
        return self.no_cookies


async def _forget_where_else(response: httpx.Response) -> None:
    """Drop an address that is not followed: httpx takes a redirect to one that is none for a broken connection."""
    response.headers.pop("Location", None)


_parsed = lru_cache(maxsize=256)(httpx.URL)
