"""When a call ends, whatever the service does."""

from __future__ import annotations

from typing import Any

from tier0.checks.client.harness.subject import Caller, Subject
from tier0.faults import Reply

DEADLINE_SLACK = 0.15
"""Seconds for a busy machine, on top of a tenth of what is declared."""
DRIP = 0.05


async def hang(subject: Subject) -> dict[str, Any]:
    """Fail where a call to a service that never answers outlasts what is declared."""
    async with subject.against(Reply.hang()) as caller:
        return await _in_time(
            caller,
            "a service that accepts and never answers",
            "httpx's timeouts are for each operation, or each attempt has its own",
        )


async def dripping_body(subject: Subject) -> dict[str, Any]:
    """Fail where a body that comes byte by byte keeps a call: each byte is in time, and the whole never is."""
    body = b'{"predictions": [' + b" " * 1000 + b"1]}"
    async with subject.against(Reply(body=body, drip=DRIP)) as caller:
        return await _in_time(
            caller,
            f"a body that comes with {DRIP:g} s between its bytes",
            "the limit is for each read, not for the whole attempt",
        )


async def _in_time(caller: Caller, what: str, cause: str) -> dict[str, Any]:
    promised = caller.declared.longest_call or 0.0
    call = await caller.predict(give_up=promised * 1.5 + 1)
    if call.seconds > promised * 1.1 + DEADLINE_SLACK:
        raise caller.fail(
            f"{what} kept a call for {call.seconds:.2f} s or more, and {promised:g} s were declared", cause
        )
    return {"seconds": call.seconds}
