"""Does it run what it is sent, and who may send?"""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import psutil

from tier0.checks.serving.target import Target
from tier0.core.verdict import CheckFailedError

NONE_AS_PICKLE = b"\x80\x04N."
REFUSED = range(400, 500)


async def refuses_pickle(target: Target) -> None:
    """Fail where a pickled body is not refused: whoever can send one runs code in the service."""
    response = await target.post(NONE_AS_PICKLE, "application/vnd.bentoml+pickle")
    if response.status_code not in REFUSED:
        message = f"a pickled body is answered with {response.status_code}, not refused: whoever can reach the service may run code in it"
        causes = ["a version of BentoML with CVE-2025-27520 or CVE-2025-32375", "a service that unpickles what it gets"]
        raise CheckFailedError(message, evidence={"status": response.status_code}, causes=causes)


async def loopback_only(target: Target) -> None:
    """Fail where a process of ours listens on an address that others can reach."""
    reachable = []
    for pid in target.own_process.pids:
        with suppress(psutil.Error):
            listening = [connection for connection in psutil.Process(pid).net_connections("tcp") if connection.status == psutil.CONN_LISTEN]
            reachable += [f"{address.laddr.ip}:{address.laddr.port}" for address in listening if not _is_loopback(address.laddr.ip)]
    if reachable:
        message = f"it listens on {', '.join(sorted(set(reachable)))}, where others can reach it"
        raise CheckFailedError(message, evidence={"addresses": reachable}, causes=["no --host: BentoML's default is 0.0.0.0"])


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback
