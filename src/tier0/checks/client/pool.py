"""Checks of the client's connection pool."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.subject import Caller, Subject, ends_soon, gather_all, wait_until
from tier0.checks.stalls import require_free_loop, watched_loop
from tier0.core.declaration import MAX_RESET, Declaration
from tier0.core.verdict import NotJudgedError, TooBusyError
from tier0.faults import Arrival, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

CANCELLED = 200
ROUNDS = 10
IN_FLIGHT = 0.02
ENDED_WITHIN = 4.0
AFTERWARDS = 20
MAX_WAIT = 0.5
"""Share of an attempt's timeout: a call that was cancelled later than that may rightly count as a failure."""
CONNECTIONS = 30
MAX_CONNECTIONS = 60
MORE = 3
"""Cancelled calls beyond the number of connections."""
FAILED_SHARE = 0.4
"""Failed calls, as a share of the connections, whose places would be missed."""
LEFT_SHARE = 0.75
"""Share of the places of which fewer are left when those of the failed calls are lost."""
MAX_STALL = 0.05
"""Seconds of a blocked event loop after which fewer calls may run at the same time."""
LOST_PLACES = ("a call that fails, times out or is rejected does not release its place in the pool",)
AT_ONCE = 0.1
TRIES = 3
MAX_FAILING = 4.0
"""Seconds for calls that fail, in which a client that waits long between attempts sends fewer of them."""
CROWDS = (300, 100, 30)
"""Overlapping calls to a healthy service; fewer are made where a client cannot make more of them in time."""
CONSECUTIVE = 8
MAX_OPENED = 0.5
"""Connections per request: a pool uses one for all consecutive requests, unless it is idle for long."""
BUSY = 0.15
"""Seconds for which a request occupies its connection."""
HEALTHY_SHARE = 0.5
"""Share of the time allowed for a response, or of the limit for slow ones, that a healthy service takes."""
USUAL_ATTEMPTS = 3
"""Attempts that may share the timeout of a call, if their number is not declared."""


async def cancelled_calls(subject: Subject) -> None:
    """Fail if cancelled calls leave connections open, or places in the pool occupied.

    More calls are made at once than there are connections: some are cancelled while they wait for one.
    """
    connections = min(subject.declared.connections or 0, MAX_CONNECTIONS)
    at_once = max(CANCELLED // ROUNDS, connections + MORE if connections else 0)
    cancelled = at_once * ROUNDS
    async with subject.against(Reply.hang()) as caller:
        waited = 0.0
        async with watched_loop() as stalls:
            for _ in range(ROUNDS):
                started = time.monotonic()
                calls = [asyncio.ensure_future(caller.predict()) for _ in range(at_once)]
                await wait_until(lambda: len(caller.log.arrivals) > 0, 0.3)
                await asyncio.sleep(IN_FLIGHT)
                for call in calls:
                    call.cancel()
                waited = max(waited, time.monotonic() - started)
                await asyncio.gather(*calls, return_exceptions=True)
        waited = max(waited, stalls.longest)  # a cancelled call ends only when the event loop goes on

        def pending() -> int:
            return sum(arrival.ended is None for arrival in caller.log.arrivals)

        if not await wait_until(lambda: pending() == 0, ENDED_WITHIN):
            raise caller.fail(
                f"{pending()} of {cancelled} cancelled calls still occupy a connection after "
                f"{ENDED_WITHIN:g} s",
                "the request continues in a thread or task that is not cancelled with the call",
            )
        caller.server.script = subject.ok
        before, began = len(caller.log.arrivals), time.monotonic()
        async with watched_loop() as stalls:
            afterwards = await caller.together(AFTERWARDS)
        if failed := [call for call in afterwards if call.error is not None]:
            late = stalls.longest + _lateness(caller.log.arrivals[before:], began, 0.0)
            if late > subject.declared.longest_attempt * MAX_WAIT:
                raise TooBusyError(f"responses to further calls were delayed by {late:.2f} s")
            if waited > subject.declared.longest_attempt * MAX_WAIT:
                raise TooBusyError(
                    f"calls were cancelled only after {waited:.2f} s, so that they may count as failures"
                )
            raise caller.fail(
                f"after {cancelled} cancelled calls, {len(failed)} of {AFTERWARDS} further calls failed: "
                f"{failed[0].outcome}",
                "a cancelled call does not release its place in the pool",
                "cancelled calls count as failures of the service",
            )


async def own_queue(subject: Subject) -> None:
    """Fail if calls that wait for the client's own connections open the circuit of a healthy service.

    The responses take as long as a healthy service may take, so that few calls are needed until some have
    waited in the queue for longer than a call, or an attempt, may take.
    """
    for _ in range(TRIES - 1):
        with suppress(TooBusyError):
            return await _check_own_queue(subject)
    return await _check_own_queue(subject)


async def _check_own_queue(subject: Subject) -> None:
    """Make so many concurrent calls that some wait in the queue, and then another one.

    Raises:
        CheckFailedError: the circuit has opened.
        TooBusyError: it may have opened because the machine delayed the calls.
    """
    declared, connections = subject.declared, subject.declared.connections or 1
    busy = _healthy_seconds(declared)
    patience = declared.longest_attempt if declared.timeout_is == "attempt" else declared.expected_call or 1.0
    calls = connections * (math.ceil(patience / busy) + 1)
    async with subject.against(Reply(body=declared.answer, delay=busy)) as caller:
        caller.require_feasible(calls)
        async with watched_loop() as stalls:
            began = time.monotonic()
            await caller.together(calls)
        late = _lateness(caller.log.arrivals, began, busy)
        caller.server.script = subject.ok
        call = await caller.predict()
        if not call.rejected:
            return
        spare = subject.declared.longest_attempt - busy
        # A request that was sent and cancelled took too long on the wire, and did not wait in a queue.
        was_cancelled = any(arrival.ended == "given up" for arrival in caller.log.arrivals)
        stalled = stalls.total if was_cancelled else stalls.longest
        if stalled + late > spare:
            raise TooBusyError(
                f"calls were delayed by {stalled:.2f} s in the event loop, and responses by {late:.2f} s"
            )
        raise caller.fail(
            f"{calls} concurrent calls, which wait for {connections} connections, opened the circuit of a "
            "service "
            "that responds to every request",
            "a timeout in the queue for a connection counts as a failure of the service",
        )


def _lateness(arrivals: Sequence[Arrival], began: float, busy: float) -> float:
    """Return by how many seconds a response came later than a server at rest would have sent it.

    Args:
        arrivals: requests in the order of their arrival; the first is that of a call that did not wait.
        began: time of the first call.
        busy: seconds that the server takes to respond.
    """
    ended = [(one.at, one.ended_at) for one in arrivals if one.ended_at is not None]
    first = [end - began for _, end in ended[:1]]
    return max([0.0, *(seconds - busy for seconds in [*first, *(end - at for at, end in ended)])])


def _healthy_seconds(declared: Declaration) -> float:
    """Return how long a response may take that no client of this declaration takes for a failure."""
    if declared.promises("attempt_timeout"):
        attempt = declared.longest_attempt
    else:
        attempt = (declared.timeout or BUSY / HEALTHY_SHARE) / (declared.attempts or USUAL_ATTEMPTS)
    return HEALTHY_SHARE * min(attempt, declared.slow_after or math.inf)


async def bounded(subject: Subject) -> dict[str, Any]:
    """Fail if more connections are open at the same time than declared."""
    connections = subject.declared.connections or 1
    async with subject.against(Reply(body=subject.declared.answer, delay=BUSY)) as caller:
        caller.require_feasible(connections * 3)
        await caller.together(connections * 3)
        most = count = 0
        for entry in caller.log.noted:
            count += (entry.what == "connected") - (entry.what == "closed")
            most = max(most, count)
        if most > connections:
            raise caller.fail(
                f"{connections * 3} concurrent calls opened {most} connections (declared: at most "
                f"{connections})"
            )
        return {"connections": most}


async def crowd(subject: Subject) -> dict[str, Any]:
    """Fail if one of 300 overlapping calls to a healthy service fails, or sends more than one request."""
    for size in CROWDS:
        if (seconds := await _check_crowd(subject, size)) is not None:
            return {"calls": size, "seconds": seconds}
    raise TooBusyError(f"{CROWDS[-1]} overlapping calls took too long (the client may be too slow for them)")


async def _check_crowd(subject: Subject, size: int) -> float | None:
    """Make *size* overlapping calls, and return their seconds; None if they were too slow to be decided.

    Raises:
        CheckFailedError: a call failed, or more requests were sent than calls were made.
    """
    in_time = min(subject.declared.longest_attempt, subject.declared.expected_call or 1.0) * HEALTHY_SHARE
    async with subject.against() as caller:
        start = time.monotonic()
        calls = await caller.together(size)
        seconds = time.monotonic() - start
        failed = [call for call in calls if call.error is not None]
        requests = len(caller.log.arrivals)
        # A call that failed at once did not time out because the machine cannot make so many calls in time.
        if at_once := [call for call in failed if call.seconds < in_time]:
            raise caller.fail(
                f"{len(at_once)} of {size} overlapping calls to a healthy service failed at once: "
                f"{type(at_once[0].error).__name__}",
                "calls beyond the size of the pool fail in place of waiting",
                "one connection is used by several calls at the same time",
            )
        if failed or (requests != size and seconds > in_time):
            return None
        if requests != size:
            raise caller.fail(
                f"{size} overlapping calls to a healthy service sent {requests} requests",
                "requests are sent again although they were successful",
            )
        return seconds


async def reused(subject: Subject) -> dict[str, Any]:
    """Fail if consecutive calls open a new connection for each request."""
    found = await _check_reused(subject, "predict")
    with suppress(NotJudgedError):  # a batch need not be like the declared data and response
        await _check_reused(subject, "predict_batch")
    return found


async def _check_reused(subject: Subject, method: str) -> dict[str, Any]:
    """Make consecutive calls of *method*, and return the number of their requests and connections.

    Raises:
        CheckFailedError: most of the requests opened a connection.
        NotJudgedError: not all calls succeeded with a request.
    """
    async with subject.against(subject.ok_batch if method == "predict_batch" else subject.ok) as caller:
        if subject.lacks(caller.made, method):
            raise NotJudgedError(f"the client has no {method}")
        calls = [await caller.predict_by(method) for _ in range(CONSECUTIVE)]
        requests = caller.log.arrivals
        if any(call.error is not None for call in calls):
            raise TooBusyError(f"not all of {CONSECUTIVE} consecutive calls succeeded")
        if len(requests) < CONSECUTIVE:
            raise NotJudgedError("the client does not send a request for each call")
        opened = len({request.connection for request in requests})
        if opened > len(requests) * MAX_OPENED:
            raise caller.fail(
                f"{len(requests)} consecutive requests of {method} opened {opened} connections "
                "(declared: a pool of connections)",
                "a new HTTP client, or session, is created for each call",
                "the header Connection: close is sent",
            )
        return {"requests": len(requests), "connections": opened}


async def failed_calls(subject: Subject) -> dict[str, Any]:
    """Fail if calls no longer succeed after many that failed, or if fewer of them run at the same time."""
    places = min(subject.declared.connections or CONNECTIONS, MAX_CONNECTIONS)
    failures = math.ceil(places * FAILED_SHARE)
    replies = {
        "status 400": Reply(400, {"error": "wrong"}),
        "status 503": Reply(503),
        "a truncated response": Reply(body=subject.declared.answer, cut=5, ending="close"),
        "status 200 and an HTML page": Reply(body=b"<html>"),
    }
    usual = await _most_at_once(subject, places)
    await gather_all(
        *(_check_failed_calls(subject, what, reply, failures, usual) for what, reply in replies.items()),
        _check_timed_out_calls(subject, places, usual),
    )
    return {"failures": failures, "at_once": usual}


async def _most_at_once(subject: Subject, calls: int) -> int:
    """Return how many requests of concurrent calls of a new client are pending at the same time."""
    async with subject.against() as caller:
        return await _pending_of(caller, calls)


async def _pending_of(caller: Caller, calls: int) -> int:
    delay = min(BUSY, caller.declared.longest_attempt * HEALTHY_SHARE)
    caller.server.script = Reply(body=caller.declared.answer, delay=delay)
    before = len(caller.log.arrivals)
    await caller.together(calls)
    sent = caller.log.arrivals[before:]
    return max((sum(other.was_open_at(arrival.at) for other in sent) for arrival in sent), default=0)


async def _require_places(caller: Caller, calls: int, usual: int, after: str) -> None:
    """Check that about as many calls run at the same time as before calls failed.

    Raises:
        CheckFailedError: each of several times, there were fewer.
        TooBusyError: the machine is too busy for so many calls at the same time.
    """
    most, shortest_stall = 0, math.inf
    for _ in range(TRIES):  # on a busy machine, requests arrive when others have their responses
        async with watched_loop() as stalls:
            most = max(most, await _pending_of(caller, calls))
        if most > usual * LEFT_SHARE:
            return
        shortest_stall = min(shortest_stall, stalls.longest)
    require_free_loop(shortest_stall, MAX_STALL)
    raise caller.fail(
        f"after {after}, only {most} of {calls} concurrent calls sent their requests at the same time "
        f"(before: {usual})",
        *LOST_PLACES,
    )


async def _check_failed_calls(subject: Subject, what: str, reply: Reply, number: int, usual: int) -> None:
    """Make *number* calls that fail, each followed by one that succeeds, and then concurrent ones."""

    def respond(arrival: Arrival) -> Reply:
        return subject.ok if arrival.number % 2 else reply

    async with subject.against(respond) as caller:
        deadline = time.monotonic() + MAX_FAILING
        while len(caller.log.arrivals) < 2 * number and time.monotonic() < deadline:
            if not (await caller.predict()).requests:
                break
        failures = len(caller.log.arrivals) // 2
        after = f"{failures} requests that got {what}, each followed by one that succeeded"
        caller.server.script = subject.ok
        _require_success(caller, await caller.predict(), after)
        if failures >= number:
            await _require_places(caller, usual, usual, after)


async def _check_timed_out_calls(subject: Subject, number: int, usual: int) -> None:
    """Make *number* calls that time out, as many that an open circuit rejects, and then concurrent ones."""
    declared = subject.declared
    if not ends_soon(declared) or (declared.reset or 0.0) > MAX_RESET:
        return
    rounds = 1 if declared.threshold is None else 2
    async with subject.against(Reply.hang()) as caller:
        for _ in range(rounds):
            await caller.together(number)
        caller.server.script = subject.ok
        after = f"{number} calls that timed out" + " and as many that the circuit rejected" * (rounds - 1)
        deadline = time.monotonic() + 2 * (declared.reset or 0.0) + (declared.expected_call or 0.0)
        while (call := await caller.predict()).error is not None:
            if time.monotonic() > deadline:
                _require_success(caller, call, after)
                return
            await asyncio.sleep(AT_ONCE)
        await _require_places(caller, usual, usual, after)


def _require_success(caller: Caller, call: Call, after: str) -> None:
    """Check that a call did not fail because it waited in vain for a place.

    An open circuit, which is not the question here, rejects a call at once.

    Raises:
        CheckFailedError: it sent no request although it waited.
    """
    if call.rejected and call.seconds > AT_ONCE:
        raise caller.fail(
            f"after {after}, a further call to a healthy service failed: {call.outcome}", *LOST_PLACES
        )
