"""Does the service run what it is sent, and who can send it something?"""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import psutil

from tier0.checks.serving.harness.target import REFUSED, Target, reports_error
from tier0.core.foreign_text import UNPICKLING_ERROR
from tier0.core.verdict import CheckFailedError, NotJudgedError

PICKLE = "application/vnd.bentoml+pickle"
NONE_AS_PICKLE = b"\x80\x04N."
NOT_A_PICKLE = b"\x80\x04tier0"


async def refuses_pickle(target: Target) -> None:
    """Fail where there is evidence that a body was unpickled: any caller could then run code in the service."""
    response = await target.post(NONE_AS_PICKLE, PICKLE)
    if response.status_code in REFUSED or reports_error(response):
        return
    other = await target.post(NOT_A_PICKLE, PICKLE)
    evidence = {"pickle": response.status_code, "not_a_pickle": other.status_code}
    tells_them_apart = response.is_success and not (other.is_success and not reports_error(other))
    if tells_them_apart or UNPICKLING_ERROR in other.text:
        message = (
            f"a pickled body got {response.status_code}, and bytes that are not a pickle got {other.status_code}: the service unpickles what it "
            "receives, so that any caller can run code in it"
        )
        causes = [
            "a version of BentoML with CVE-2025-27520 or CVE-2025-32375",
            "the service calls pickle.loads on the body",
        ]
        raise CheckFailedError(message, evidence=evidence, causes=causes)
    got = (
        f"{response.status_code} for a pickled body, and {other.status_code} for bytes that are not a pickle"
    )
    raise NotJudgedError(f"the service returned {got}: whether it unpickles is not known")


async def loopback_only(target: Target) -> None:
    """Fail where a process of ours listens on an address that others can reach."""
    reachable = []
    for pid in target.own_process.pids:
        with suppress(psutil.Error):
            listening = [
                connection
                for connection in psutil.Process(pid).net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            ]
            reachable += [
                f"{address.laddr.ip}:{address.laddr.port}"
                for address in listening
                if not _is_loopback(address.laddr.ip)
            ]
    if reachable:
        message = (
            f"the service listens on {', '.join(sorted(set(reachable)))}, which other machines can reach"
        )
        raise CheckFailedError(
            message,
            evidence={"addresses": reachable},
            causes=["bentoml serve was started without --host: its default is 0.0.0.0"],
        )


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback
