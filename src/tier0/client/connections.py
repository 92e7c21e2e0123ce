"""The connections of a client, which belong to one event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import import_module
from typing import Any

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
    health: httpx.AsyncClient = field(init=False)
    slots: defaultdict[str, asyncio.Semaphore] = field(init=False)
    health_slots: defaultdict[str, asyncio.Semaphore] = field(init=False)

    def __post_init__(self) -> None:
        # Reading the certificates of all authorities takes 20 ms, and a context that trusts nobody none.
        trust = ssl.create_default_context() if self.encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.calls, self.health = _http_client(trust), _http_client(trust)
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

    async def close(self) -> None:
        """Close them all."""
        await self.calls.aclose()
        await self.health.aclose()


def _http_client(trust: ssl.SSLContext) -> httpx.AsyncClient:
    """Make a client whose only limits are ours: httpx's timeouts are per operation, and a dripping body passes them all."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY)
    hooks = {"response": [_forget_where_else]}
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # one that is sticky would send a retry to the replica that has just failed
    options: dict[str, Any] = {"limits": limits, "trust_env": False, "follow_redirects": False, "event_hooks": hooks, "cookies": no_cookies}
    return httpx.AsyncClient(timeout=None, verify=trust, **options)  # noqa: S113


async def _forget_where_else(response: httpx.Response) -> None:
    """Drop an address that is not followed: httpx takes a redirect to one that is none for a broken connection."""
    response.headers.pop("Location", None)
