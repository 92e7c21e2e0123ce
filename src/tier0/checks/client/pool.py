"""A client's own connections."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tier0.checks.client.harness.stalls import watched_loop
from tier0.checks.client.harness.subject import Subject, settle
from tier0.core.verdict import NotJudgedError
from tier0.faults import Reply

CANCELLED = 200
ROUNDS = 10
ON_THEIR_WAY = 0.02
ENDED_WITHIN = 4.0
AFTERWARDS = 20
MAX_WAIT = 0.5
"""Of an attempt's limit: whoever gives up after that may well have seen a failure."""
LOOP_STALL = 0.15


async def cancelled_calls(subject: Subject) -> None:
    """Fail where calls that were cancelled leave connections open, or places in the pool taken."""
    async with subject.against(Reply.hang()) as caller:
        waited = 0.0
        for _ in range(ROUNDS):
            started = time.monotonic()
            calls = [asyncio.ensure_future(caller.predict()) for _ in range(CANCELLED // ROUNDS)]
            await settle(lambda: len(caller.log.arrivals) > 0, 0.3)
            await asyncio.sleep(ON_THEIR_WAY)
            for one in calls:
                one.cancel()
            waited = max(waited, time.monotonic() - started)
            await asyncio.gather(*calls, return_exceptions=True)
        if not await settle(lambda: all(one.ended is not None for one in caller.log.arrivals), ENDED_WITHIN):
            left = sum(one.ended is None for one in caller.log.arrivals)
            raise caller.fail(
                f"{left} of {CANCELLED} cancelled calls still hold their connection",
                "the request goes on in a thread or task of its own",
            )
        caller.server.script = subject.ok
        afterwards = await caller.together(AFTERWARDS)
        if failed := [call for call in afterwards if call.error is not None]:
            if waited > subject.declared.longest_attempt * MAX_WAIT:
                raise NotJudgedError(
                    f"this machine is too busy: calls hung for {waited:.2f} s before they were cancelled, and may count as failures"
                )
            message = f"after {CANCELLED} cancelled calls, {len(failed)} of {AFTERWARDS} are not answered: {failed[0].outcome}"
            raise caller.fail(
                message,
                "a cancelled call does not give its place back",
                "cancelled calls count as failures of the service",
            )


async def own_queue(subject: Subject) -> None:
    """Fail where calls that waited for a connection of the client's own open the circuit of a service that answers everything."""
    connections, longest = subject.declared.connections or 1, subject.declared.longest_call or 1.0
    busy = min(LOOP_STALL, subject.declared.longest_attempt * 0.4)
    calls = connections * int(longest / busy + 2)  # more than there is time for
    async with subject.against(Reply(body=subject.declared.answer, delay=busy)) as caller:
        caller.refuse_too_many(calls)
        async with watched_loop() as stalls:
            await caller.together(calls)
        caller.server.script = subject.ok
        call = await caller.predict()
        spare = subject.declared.longest_attempt - busy
        given_up = any(one.ended == "given up" for one in caller.log.arrivals)
        stood_still = (
            stalls.total if given_up else stalls.longest
        )  # requests that took too long on the wire were not kept by a queue
        if call.rejected and stood_still > spare:
            raise NotJudgedError(
                f"this machine is too busy: calls had to wait {stood_still:.2f} s for their turn"
            )
        if call.rejected:
            message = f"{calls} calls at once filled its {connections} connections, and opened the circuit of a service that answers"
            raise caller.fail(
                message, "a timeout while waiting for the pool is counted as a failure of the service"
            )


async def bounded(subject: Subject) -> dict[str, Any]:
    """Fail where more connections are open at once than declared."""
    connections = subject.declared.connections or 1
    async with subject.against(Reply(body=subject.declared.answer, delay=LOOP_STALL)) as caller:
        caller.refuse_too_many(connections * 3)
        await caller.together(connections * 3)
        most = count = 0
        for noted in caller.log.noted:
            count += (noted.what == "connected") - (noted.what == "closed")
            most = max(most, count)
        if most > connections:
            raise caller.fail(
                f"{connections * 3} calls at once opened {most} connections, and {connections} were declared"
            )
        return {"connections": most}
