"""Checks of security: pickled bodies, URLs in fields, secrets in responses, addresses others can reach."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psutil

from tier0.checks.serving.harness.sender import OversizedError, UnansweredError
from tier0.checks.serving.harness.target import REFUSED, Target, reports_error
from tier0.core.foreign_text import UNPICKLING_ERROR
from tier0.core.verdict import CheckFailedError, NotJudgedError

PICKLE = "application/vnd.bentoml+pickle"
NONE_AS_PICKLE = b"\x80\x04N."
NOT_A_PICKLE = b"\x80\x04tier0"
FETCHED_WITHIN = 0.3
"""Seconds after a response in which the service may still fetch a URL."""
MAX_FIELDS = 8


async def refuses_pickle(target: Target) -> None:
    """Fail if there is evidence that a body was unpickled, which lets any caller run code in the service."""
    response = await target.post(NONE_AS_PICKLE, PICKLE)
    if response.status_code in REFUSED or reports_error(response):
        return
    other = await target.post(NOT_A_PICKLE, PICKLE)
    evidence = {"pickle": response.status_code, "not_a_pickle": other.status_code}
    statuses = (
        f"{response.status_code} for a pickled body and {other.status_code} for bytes that are not a pickle"
    )
    accepts_only_pickles = response.is_success and (reports_error(other) or not other.is_success)
    if accepts_only_pickles or UNPICKLING_ERROR in other.text:
        raise CheckFailedError(
            f"the service returned {statuses}: it unpickles request bodies, so that any caller can run code "
            "in it",
            evidence=evidence,
            causes=[
                "the version of BentoML has CVE-2025-27520 or CVE-2025-32375",
                "the service calls pickle.loads on the body",
            ],
            reproduce=target.curl_bytes(NONE_AS_PICKLE, PICKLE),
        )
    raise NotJudgedError(f"the service returned {statuses}, which does not show whether it unpickles bodies")


async def fetches_nothing(target: Target) -> dict[str, Any]:
    """Fail if the service fetches a URL that a caller sends as text: callers could reach its network."""
    _ = target.own_process
    golden = target.golden
    columns = [
        position
        for position in range(len(golden.columns))
        if (texts := [row[position] for row in golden.rows if isinstance(row[position], str)])
        and not any("://" in text for text in texts)
    ]
    if not columns:
        raise NotJudgedError(
            "the golden rows have no text column, or only columns of URLs", code="not_offered"
        )
    first = next(row for row in golden.rows if any(isinstance(row[position], str) for position in columns))
    async with _listener() as (url, fetched):
        for changed in [columns, *([column] for column in columns[:MAX_FIELDS])]:
            row = [url if position in changed else value for position, value in enumerate(first)]
            body = target.contract.body(golden.columns, [row])
            with suppress(UnansweredError, OversizedError):
                response = await target.post(target.contract.write(body).encode())
                if response.is_success or fetched.is_set():
                    break  # an unknown category can be refused in one column, before another one is read
        with suppress(TimeoutError):
            await asyncio.wait_for(fetched.wait(), FETCHED_WITHIN)
        if fetched.is_set():
            names = [golden.columns[position] for position in changed]
            raise CheckFailedError(
                f"the service fetched a URL that was sent as {', '.join(names)}: a caller can make it send "
                "requests to its own network",
                evidence={"columns": names},
                causes=["a library reads from paths and URLs alike, such as pandas.read_csv or torch.hub"],
                reproduce=target.curl(body),
            )
    return {"columns": [golden.columns[position] for position in columns]}


@asynccontextmanager
async def _listener() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Yield a URL on loopback, and the event that it was requested."""
    fetched = asyncio.Event()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fetched.set()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tier0", fetched
    finally:
        server.close()


async def keeps_secrets(target: Target) -> dict[str, Any]:
    """Fail if any response so far, an error page or the metrics have a text of the service's environment."""
    _ = target.own_process
    if not target.sender.planted:
        raise NotJudgedError("nothing was planted in the environment of the service")
    for route in (target.contract.metrics_route, "/tier0-no-such-route"):
        with suppress(UnansweredError, OversizedError):
            await target.get(route)
    if target.sender.leaks:
        raise CheckFailedError(
            f"the response to {target.sender.leaks[0]} has the value of a variable of the service's "
            "environment",
            evidence={"responses": sorted(set(target.sender.leaks))},
            causes=["an error page, a debug mode or a metric prints the environment"],
        )
    return {"responses": target.sender.tries[0]}


async def loopback_only(target: Target) -> None:
    """Fail if a process that this run started listens on an address that other machines can reach."""
    reachable = []
    for pid in target.own_process.pids:
        with suppress(psutil.Error):
            connections = psutil.Process(pid).net_connections("tcp")
            listening = [one.laddr for one in connections if one.status == psutil.CONN_LISTEN]
            reachable += [
                f"{address.ip}:{address.port}" for address in listening if not _is_loopback(address.ip)
            ]
    if reachable:
        message = (
            f"the service listens on {', '.join(sorted(set(reachable)))}, which other machines can reach"
        )
        raise CheckFailedError(
            message,
            evidence={"addresses": reachable},
            causes=["bentoml serve was started without --host, and its default is 0.0.0.0"],
        )


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback
