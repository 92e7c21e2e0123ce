"""Checks of security: no code execution through pickled bodies, no address that other machines can reach."""

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
        )
    raise NotJudgedError(f"the service returned {statuses}, which does not show whether it unpickles bodies")


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
