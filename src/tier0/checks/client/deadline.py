"""Checks of the timeout: when a call ends, whatever the service does."""

from __future__ import annotations

from typing import Any

from tier0.checks.client.harness.subject import Caller, Subject
from tier0.faults import Reply

DEADLINE_SLACK = 0.15
"""Seconds that a busy machine may add to the declared timeout, and to a tenth of it."""
DRIP = 0.05


async def hang(subject: Subject) -> dict[str, Any]:
    """Fail if a call to a service that never responds outlasts the declared timeout."""
    async with subject.against(Reply.hang()) as caller:
        return await _in_time(
            caller,
            "a service that accepts requests and never responds",
            "the timeouts of the HTTP library limit each operation, not the call",
            "each attempt has the whole timeout",
        )


async def dripping_body(subject: Subject) -> dict[str, Any]:
    """Fail if a call outlasts the declared timeout because the body arrives byte by byte."""
    body = b'{"predictions": [' + b" " * 1000 + b"1]}"
    async with subject.against(Reply(body=body, drip=DRIP)) as caller:
        return await _in_time(
            caller,
            f"a service that sends one byte of the body every {DRIP:g} s",
            "the timeout limits each read, not the attempt",
        )


async def _in_time(caller: Caller, service: str, *causes: str) -> dict[str, Any]:
    promised = caller.declared.longest_call or 0.0
    call = await caller.predict(give_up=promised * 1.5 + 1)
    if call.seconds > promised * 1.1 + DEADLINE_SLACK:
        raise caller.fail(
            f"a call to {service} took at least {call.seconds:.2f} s (declared: at most {promised:g} s)",
            *causes,
        )
    return {"seconds": call.seconds}
