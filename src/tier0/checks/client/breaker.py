"""The circuit breaker: what reaches a service in trouble, and what does not."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from tier0.checks.client.harness.call import Call, StillWaitingError
from tier0.checks.client.harness.subject import Caller, Subject, settle
from tier0.core.verdict import NotJudgedError
from tier0.faults import Arrival, Reply

FAILING = 503
AT_ONCE = 20
BURST = 100
ON_ITS_WAY = 0.03
"""Seconds within which what was sent before the opening may still arrive."""
PROBE = 0.15
REJECTIONS = 200
MAX_REJECTION_SECONDS = 0.005
"""Seconds for a rejection: what costs that much is no protection of the caller."""
HOUR = 3600.0
GAVE_UP_AT = 0.9
"""Of an attempt's limit."""


async def opens(subject: Subject) -> dict[str, Any]:
    """Fail where a service that only fails gets more requests than the threshold, or any after the first rejection."""
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or math.inf
    async with subject.against(Reply(503)) as caller:
        rejected = False
        for _ in range(threshold * 2 + 2):
            rejected = rejected or (await caller.predict()).rejected
        arrivals = caller.log.arrivals
        if len(arrivals) < threshold:
            raise caller.fail(
                f"{len(arrivals)} requests reached a failing service before the first rejection, and {threshold} were declared"
            )
        shut_until = (arrivals[threshold - 1].ended_at or 0.0) + reset * 0.9
        early = [one for one in arrivals[threshold:] if one.at < shut_until]
        if early and not rejected:
            raise caller.fail(
                f"{len(arrivals)} failures in a row, and it still asks", "errors are retried, and not counted"
            )
        if early:
            raise caller.fail(f"{threshold + len(early)} requests reached a failing service, and {threshold} were declared",
                              "calls are counted, and not requests: each of them retries", "failures are counted when a call has ended")  # fmt: skip
        if not rejected:
            raise NotJudgedError(f"its calls take so long that its reset of {reset:g} s is over meanwhile")
        return {"requests": len(arrivals)}


async def counts_hangs(subject: Subject) -> None:
    """Fail where a service that hangs is asked for ever, because callers give up a little before the client does."""
    threshold, limit = subject.declared.threshold or 1, subject.declared.attempt_timeout or 1.0
    async with subject.against(Reply.hang()) as caller:
        for _ in range(threshold):
            await caller.predict(give_up=limit * GAVE_UP_AT)
        sent = len(caller.log.arrivals)
        call = await caller.predict(give_up=limit * GAVE_UP_AT)
        if call.requests:
            message = f"{sent} calls hung until their callers gave up, after {limit * GAVE_UP_AT:.2f} s each, and the next one was sent, too"
            raise caller.fail(message, "only errors are counted, and a cancelled call is none")


async def counts_bodies(subject: Subject) -> None:
    """Fail where answers with status 200 that break off, or are no predictions, leave it closed."""
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or math.inf
    answers = {
        "broke off in their body": Reply(body=subject.declared.answer, cut=5, ending="close"),
        "were a gateway's error page": Reply(
            body=b"<html><body>Bad gateway</body></html>", headers={"Content-Type": "text/html"}
        ),
    }
    for what, reply in answers.items():
        async with subject.against(reply) as caller:
            calls = [await caller.predict() for _ in range(threshold * 2)]
            if any(call.error is None for call in calls):
                continue  # it takes them for predictions, see wire.no_prediction
            arrivals = caller.log.arrivals
            shut_until = (
                (arrivals[threshold - 1].ended_at or 0.0) + reset * 0.9
                if len(arrivals) >= threshold
                else math.inf
            )
            if early := [one for one in arrivals[threshold:] if one.at < shut_until]:
                message = f"{threshold + len(early)} answers with status 200 that {what} in a row, and {threshold} failures open it"
                raise caller.fail(
                    message,
                    "the breaker looks at the status, or stands in the transport, where the body is not read yet",
                )


async def one_probe(subject: Subject) -> dict[str, Any]:
    """Fail where everybody who waits rushes in when the reset is over."""
    probes = subject.declared.probes or 1
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        caller.server.script = Reply(503, delay=PROBE)
        before = len(caller.log.arrivals)
        await caller.until_reset()
        await caller.together(AT_ONCE)
        rushed = caller.log.arrivals[before:]
        if not rushed:
            raise caller.fail(
                f"{AT_ONCE} calls after the reset, and none was sent: it does not find out whether the service is back"
            )
        most = max(sum(other.was_open_at(one.at) for other in rushed) for one in rushed)
        if most > probes:
            raise caller.fail(
                f"{most} requests at once met a service that had just failed, and {probes} were declared",
                "half-open lets everything through",
            )
        return {"at_once": most}


async def failing_probe(subject: Subject) -> None:
    """Fail where a probe has failed, and more is sent before the next reset."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        caller.server.script = Reply(503)
        before = len(caller.log.arrivals)
        await caller.until_reset()
        await caller.predict()
        if len(caller.log.arrivals) == before:
            raise caller.fail("no probe was sent after the reset")
        first = caller.log.arrivals[before]
        for _ in range(5):
            await caller.predict()
        early = [
            one
            for one in caller.log.arrivals[before + 1 :]
            if one.at < first.at + (subject.declared.reset or 0.0) * 0.9
        ]
        if early:
            raise caller.fail(f"after a probe that failed, {len(early)} more requests were sent before the next reset",
                              "half-open needs as many failures as closed", "a retry follows the probe")  # fmt: skip


async def lost_probe(subject: Subject) -> None:
    """Fail where a probe whose caller has gone, or that hangs, wedges the door for ever, or opens it to everybody."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        caller.server.script = Reply.hang()
        before = len(caller.log.arrivals)
        await caller.until_reset()
        probe = asyncio.ensure_future(caller.predict())
        await settle(lambda: len(caller.log.arrivals) > before or probe.done())
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await caller.until_reset()
        patient = await caller.predict()  # this one hangs until the client's own limit, and so fails
        next_one = await caller.predict(give_up=PROBE)
        _refuse_closed(caller, patient, next_one)
        caller.server.script = subject.ok
        deadline = time.monotonic() + 3 * (subject.declared.reset or 0.0) + 1.0
        while (call := await caller.predict()).error is not None:
            if time.monotonic() > deadline:
                message = f"after a probe that was lost the door stays shut, though the service is well: {call.outcome}"
                raise caller.fail(
                    message, "the place of the probe is given back only when it succeeds or fails"
                )
            await asyncio.sleep(0.02)


def _refuse_closed(caller: Caller, hung: Call, next_one: Call) -> None:
    """Refuse that a request follows one that failed after a lost probe: half-open lets nothing follow until the next reset.

    Raises:
        CheckFailedError: there is one.
    """
    threshold, reset = caller.declared.threshold or 1, caller.declared.reset or 0.0
    if (
        isinstance(hung.error, StillWaitingError)
        or not hung.requests
        or len(hung.requests) >= threshold
        or not next_one.requests
    ):
        return  # it never failed, or often enough for a closed circuit to open
    failed_at = hung.requests[-1].ended_at
    if failed_at is not None and next_one.requests[0].at < failed_at + reset * 0.9:
        message = f"after a probe whose caller had gone, {len(hung.requests) + 1} requests in a row were sent to a service that hangs"
        raise caller.fail(message, "a cancelled probe counts as a success, and closes it")


async def closes(subject: Subject) -> None:
    """Fail where a service that answers again, be it with 400, is still kept from its callers."""
    for reply in (subject.ok, Reply(400, {"error": "wrong"})):
        async with subject.against(subject.ok) as caller:
            await caller.open_circuit()
            caller.server.script = reply
            await caller.until_reset()
            for _ in range(subject.declared.probes or 1):
                await caller.predict()
            caller.server.script = Reply(body=subject.declared.answer, delay=0.05)
            calls = await caller.together(5)
            if refused := [call for call in calls if call.error is not None]:
                message = f"a probe was answered with {reply.status}, and {len(refused)} of 5 calls after it were not: {refused[0].outcome}"
                raise caller.fail(message, "a 4xx counts as a failure of the service")


async def stragglers(subject: Subject) -> None:
    """Fail where a success from before the opening closes the door on a service that fails."""
    reset = subject.declared.reset or 0.0
    slow = min(reset * 0.5, subject.declared.longest_attempt * 0.5)
    first: list[int] = []

    def answer(arrival: Arrival) -> Reply:
        first.append(arrival.number)
        return Reply(body=subject.declared.answer, delay=slow) if len(first) == 1 else Reply(503)

    async with subject.against(answer) as caller:
        straggler = asyncio.ensure_future(caller.predict())
        if not await settle(lambda: bool(caller.log.arrivals)):
            raise NotJudgedError("it sent nothing")
        await caller.together(subject.declared.threshold or 1)
        is_open = (await caller.predict()).rejected
        was_late = not straggler.done()
        await straggler
        failed = sorted(
            one.ended_at for one in caller.log.arrivals if one.status == FAILING and one.ended_at is not None
        )
        opened = (
            failed[(subject.declared.threshold or 1) - 1]
            if len(failed) >= (subject.declared.threshold or 1)
            else 0.0
        )
        if not is_open or not was_late or time.monotonic() > opened + reset * 0.9:
            raise NotJudgedError(
                f"it did not open within the {slow * 1000:.0f} ms that an answer was on its way"
            )
        before = len(caller.log.arrivals)
        await caller.predict()
        if len(caller.log.arrivals) > before:
            raise caller.fail(
                "an answer from before it opened made it send again, to a service that fails",
                "results are not tied to the state they belong to",
            )


async def burst(subject: Subject) -> dict[str, Any]:
    """Fail where more is let out after a burst of failures than what was on its way."""
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or 0.0

    def answer(arrival: Arrival) -> Reply:
        return (
            Reply(503) if arrival.number < threshold * 3 else Reply(body=subject.declared.answer, delay=0.02)
        )

    async with subject.against(answer) as caller:
        await caller.together(BURST)
        arrivals = caller.log.arrivals
        failed = sorted(
            one.ended_at for one in arrivals if one.status == FAILING and one.ended_at is not None
        )
        if len(failed) < threshold:
            raise NotJudgedError(f"{len(failed)} failures came, and {threshold} open it")
        opened = failed[threshold - 1]
        since = sorted(
            (one for one in arrivals if opened < one.at < opened + reset * 0.9), key=lambda one: one.at
        )
        on_its_way = {
            one.connection: one for one in reversed(since)
        }  # the first of each connection: it may have been sent before
        let_out = [
            one for one in since if one is not on_its_way[one.connection] and one.at > opened + ON_ITS_WAY
        ]
        if let_out:
            message = f"{len(let_out)} requests were sent after {threshold} failures had come back, within the reset"
            raise caller.fail(
                message,
                "a success that was on its way closes it",
                "calls that wait for a connection do not look at it again",
            )
        return {"requests": len(arrivals), "until_opened": sum(one.at <= opened for one in arrivals)}


async def no_way_round(subject: Subject) -> None:
    """Fail where an open circuit keeps predictions back, and a batch goes out."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        call = await caller.predict_batch()
        if call.requests:
            raise caller.fail(
                f"the circuit is open, and a batch sent {len(call.requests)} requests",
                "only predict goes through the breaker",
            )


async def clock_steps(subject: Subject) -> None:
    """Fail where a clock that is set an hour on, or back, opens the door too early, or keeps it shut."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        with mock.patch("time.time", new=_stepped(HOUR)):
            call = await caller.predict()
            if call.requests:
                raise caller.fail(
                    "the clock was set an hour on, and it asked before its reset",
                    "the wall clock is used: time.time for time.monotonic",
                )
        with mock.patch("time.time", new=_stepped(-HOUR)):
            await caller.until_reset()
            call = await caller.predict()
            if call.error is not None:
                raise caller.fail(
                    f"the clock was set an hour back, and it keeps the door shut: {call.outcome}",
                    "the wall clock is used",
                )


def _stepped(seconds: float) -> Callable[[], float]:
    real = time.time
    return lambda: real() + seconds


async def price_of_a_rejection(subject: Subject) -> dict[str, Any]:
    """Fail where being rejected costs the caller 5 ms or more."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        deadline = time.monotonic() + (subject.declared.reset or 1.0) * 0.8
        seconds = []
        for _ in range(REJECTIONS):
            call = await caller.predict()
            if not call.rejected or time.monotonic() > deadline:
                break
            seconds.append(call.seconds)
        if not seconds:
            raise NotJudgedError("nothing was rejected while the circuit was open")
        median = statistics.median(seconds)
        if median > MAX_REJECTION_SECONDS:
            raise caller.fail(
                f"a rejection takes {median * 1000:.1f} ms",
                "a connection is made, or something logged, before the breaker is asked",
            )
        return {"microseconds": median * 1e6, "rejections": len(seconds)}


async def slow_calls(subject: Subject) -> None:
    """Fail where answers that all come too slowly leave it closed."""
    threshold, slow = subject.declared.threshold or 1, subject.declared.slow_after or 1.0
    async with subject.against(Reply(body=subject.declared.answer, delay=slow * 1.3)) as caller:
        for _ in range(threshold * 2):
            if (await caller.predict()).rejected:
                return
        raise caller.fail(
            f"{threshold * 2} answers in a row took more than the declared {slow:g} s, and it still asks"
        )


async def other_models(subject: Subject) -> None:
    """Fail where one model that is dead takes another, which is well, with it."""

    def answer(arrival: Arrival) -> Reply:
        return Reply(503) if "dead" in arrival.path else subject.ok

    async with subject.against(answer) as caller:
        for _ in range((subject.declared.threshold or 1) + 2):
            await caller.predict(model="dead")
        call = await caller.predict(model="alive")
        if call.error is not None:
            raise caller.fail(
                f"one model fails, and calls to another on the same host end: {call.outcome}",
                "one breaker for the whole host",
            )
