"""Health checks of a service, on connections of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx

from tier0.client.connections import CONNECTION_ERRORS, describe_error
from tier0.client.errors import ClientUsageError, InvalidAnswerError
from tier0.client.wire import decode_json, server_message

if TYPE_CHECKING:
    from tier0.client.connections import Connections

HEALTH_TIMEOUT = 2.0
HEALTHY_WORDS = {"healthy", "ok", "ready", "up", "pass"}
OK = range(200, 300)
METHOD_NOT_ALLOWED = 405
ABSENT = {404, METHOD_NOT_ALLOWED}


async def check_health(
    connections: Connections, service: str, url: str, ready_url: str | None, clock: Callable[[], float]
) -> dict[str, Any]:
    """Request the health route of a service within 2 s, the wait for a connection included.

    Args:
        connections: connections of the client.
        service: base URL of the service.
        url: URL of the health route.
        ready_url: URL of the readiness route, which replaces a missing health route; None for no replacement.
        clock: monotonic clock, in seconds.

    Returns:
        ``status`` (``healthy`` or ``unhealthy``), ``reason`` if unhealthy, and the content of the response.

    Raises:
        ClientUsageError: the client was closed during the check.
    """
    start = clock()
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT), connections.health_slots[service]:
            response = await _request_health(connections, url, ready_url)
    except TimeoutError:
        return {"status": "unhealthy", "reason": f"no response within {HEALTH_TIMEOUT:g} s"}
    except CONNECTION_ERRORS as problem:
        return {"status": "unhealthy", "reason": describe_error(problem)}
    return {"latency_ms": (clock() - start) * 1000, **_read_health(response)}


async def _request_health(connections: Connections, url: str, ready_url: str | None) -> httpx.Response:
    """Request the health route by GET, by POST if it is a BentoML API, or else the readiness route."""

    async def request(method: str, url: str, **body: Any) -> httpx.Response:
        if connections.closed:
            raise ClientUsageError("the client was closed while this health check was waiting")
        return await connections.health.request(method, url, **body)

    response = await request("GET", url)
    if response.status_code == METHOD_NOT_ALLOWED:
        response = await request("POST", url, json={})
    if ready_url is not None and response.status_code in ABSENT:
        response = await request("GET", ready_url)
    return response


def _read_health(response: httpx.Response) -> dict[str, Any]:
    health: dict[str, Any] = {"status_code": response.status_code}
    try:
        body = decode_json(response.content)
    except InvalidAnswerError:
        body = None
    if isinstance(body, dict):
        health = {**body, **health}
    if response.status_code not in OK:
        reason = f"returned {response.status_code}: {server_message(response.content)}"
        return {**health, "status": "unhealthy", "reason": reason}
    reported = str(health.get("status", "healthy")).lower()
    if reported not in HEALTHY_WORDS:
        return {**health, "status": "unhealthy", "reason": f"the service reports status {reported!r}"}
    return {**health, "status": "healthy"}
