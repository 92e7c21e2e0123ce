"""The connections of a client, which belong to one event loop."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

import httpx

KEEPALIVE_EXPIRY = 4.0
"""Seconds; BentoML closes idle connections after 5, and a request on a connection that is just being closed is lost."""
HEALTH_CONNECTIONS = 2


@dataclass
class Connections:
    """Those for calls, with a semaphore in front so that a full pool is told from a slow service, and those for health checks."""

    loop: asyncio.AbstractEventLoop
    most: int
    encrypted: bool
    calls: httpx.AsyncClient = field(init=False)
    health: httpx.AsyncClient = field(init=False)
    slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        # Reading the certificates of all authorities takes 20 ms, and a context that trusts nobody none.
        trust = ssl.create_default_context() if self.encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.calls = _http_client(self.most, trust)
        self.health = _http_client(HEALTH_CONNECTIONS, trust)
        self.slots = asyncio.Semaphore(self.most)

    async def take_slot(self, timeout: float) -> bool:
        """Take a free connection, and tell whether it had to be waited for; raises TimeoutError."""
        if not self.slots.locked():
            await self.slots.acquire()
            return False
        async with asyncio.timeout(timeout):
            await self.slots.acquire()
        return True

    async def close(self) -> None:
        """Close them all."""
        await self.calls.aclose()
        await self.health.aclose()


def _http_client(connections: int, trust: ssl.SSLContext) -> httpx.AsyncClient:
    """Make a client whose only limits are ours: httpx's timeouts are per operation, and a dripping body passes them all."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEPALIVE_EXPIRY)
    return httpx.AsyncClient(timeout=None, verify=trust, limits=limits, trust_env=False, follow_redirects=False)  # noqa: S113
