"""Checks of the circuit breaker: which requests reach a failing service, and which do not."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from tier0.checks.client.breaker_model import (
    FAILURES,
    KINDS,
    Deviation,
    generated,
    play_all,
    play_each,
    play_if_it_opens,
    play_with_straggler,
    require_hangs_counted,
    require_opening,
    require_refusals_counted,
    straggler_delay,
)
from tier0.checks.client.deadline import allowed
from tier0.checks.client.harness import wall_clock
from tier0.checks.client.harness.call import Call, StillWaitingError
from tier0.checks.client.harness.in_flight import not_in_flight
from tier0.checks.client.harness.own_process import in_own_process, is_importable
from tier0.checks.client.harness.subject import Caller, Subject, gather_all, wait_until
from tier0.checks.client.pool import MAX_WAIT
from tier0.checks.client.retry import FREQUENT_CLIENT_ERRORS
from tier0.checks.stalls import require_free_loop, watched_loop
from tier0.core.declaration import MAX_RESET
from tier0.core.verdict import NotJudgedError, TooBusyError
from tier0.faults import Arrival, Reply

FAILING = 503
AT_ONCE = 20
BURSTS = (100, 60)
"""Concurrent calls; fewer are made where the machine is too busy for more of them."""
BURST_RESPONSES = (0.02, 0.1)
"""Shortest and longest time for a response of the burst, in seconds; see `_burst_response`."""
IN_FLIGHT = 0.03
"""Seconds within which requests that were sent before the opening may still arrive."""
PROBE = 0.15
MAX_EXCUSED = 0.3
"""Seconds of a blocked event loop for which sent requests may arrive later."""
REJECTIONS = 200
MAX_REJECTION_SECONDS = 0.005
"""Seconds for a rejection: a slower one does not protect the caller."""
HOUR = 3600.0
MAX_SLOW = 0.3
"""Seconds until the response to a call during which the system clock is set."""
BY_SYSTEM_CLOCK = "the deadline is a time of the system clock, instead of time.monotonic"
ASKED_EVERY = 0.05
"""Seconds between two calls while the circuit is open."""
LOST_PROBES = ("a reset connection", "a truncated response", "200 with an HTML page")
"""Names of `KINDS` that end a probe without a usable response."""
GIVE_UP_SHARE = 0.9
"""Share of the attempt's timeout after which callers give up."""
RESET_SHARE = 0.9
"""Share of the reset time within which a request counts as too early."""
ROUNDS = 2
MAX_LONG = 10
"""Threshold above which a sequence of failures is played once."""


async def opens(subject: Subject) -> dict[str, Any]:
    """Fail if a failing service gets more requests than the threshold, or any after the first rejection."""
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or math.inf
    async with subject.against(Reply(FAILING)) as caller:
        rejected = False
        for _ in range(threshold * 2 + 2):
            rejected = rejected or (await caller.predict()).rejected
        arrivals = caller.log.arrivals
        if len(arrivals) < threshold:
            raise caller.fail(
                f"the client rejected a call after {len(arrivals)} failed requests (declared threshold: "
                f"{threshold})"
            )
        early = _early(arrivals, threshold, reset)
        if early and not rejected:
            raise caller.fail(
                f"the client kept sending requests after {len(arrivals)} consecutive failures "
                f"(declared threshold: {threshold})",
                "failures are retried, but not counted",
            )
        if early:
            raise caller.fail(
                f"the circuit opened after {threshold + len(early)} failed requests (declared threshold: "
                f"{threshold})",
                "the breaker counts calls, each of which retries, in place of requests",
                "failures are counted only when a call has ended",
            )
        if not rejected:
            raise NotJudgedError(f"the client's calls take longer than its reset time of {reset:g} s")
        return {"requests": len(arrivals)}


def _early(arrivals: Sequence[Arrival], threshold: int, reset: float) -> list[Arrival]:
    """Return the requests that were sent after *threshold* failures, but well before the reset."""
    if len(arrivals) < threshold:
        return []
    open_until = (arrivals[threshold - 1].ended_at or 0.0) + reset * RESET_SHARE
    return [arrival for arrival in arrivals[threshold:] if arrival.at < open_until]


async def counts_hangs(subject: Subject) -> None:
    """Fail if requests whose callers give up first do not count as failures of a service that hangs."""
    threshold, limit = subject.declared.threshold or 1, subject.declared.longest_attempt
    give_up = limit * GIVE_UP_SHARE
    async with subject.against(Reply.hang()) as caller:
        for _ in range(threshold):
            await caller.predict(give_up=give_up)
        sent = len(caller.log.arrivals)
        call = await caller.predict(give_up=give_up)
        if call.requests:
            raise caller.fail(
                f"the client sent another request after {sent} requests without a response, "
                f"which their callers cancelled after {give_up:.2f} s (declared threshold: {threshold})",
                "only errors are counted, and a cancelled call is not an error",
            )


async def counts_bodies(subject: Subject) -> None:
    """Fail if truncated or invalid responses with status 200 leave the circuit closed."""
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or math.inf
    error_page = Reply(body=b"<html><body>Bad gateway</body></html>", headers={"Content-Type": "text/html"})
    replies = {
        "truncated responses": Reply(body=subject.declared.answer, cut=5, ending="close"),
        "HTML error pages": error_page,
    }
    for what, reply in replies.items():
        async with subject.against(reply) as caller:
            calls = [await caller.predict() for _ in range(threshold * 2)]
            if any(call.error is None for call in calls):
                continue  # the client accepts them as predictions: see wire.no_prediction
            if early := _early(caller.log.arrivals, threshold, reset):
                raise caller.fail(
                    f"the client kept sending requests after {threshold + len(early)} consecutive {what} "
                    f"with status 200 (declared threshold: {threshold})",
                    "the breaker looks only at the status",
                    "the breaker is part of the transport, which has not read the body yet",
                )


async def one_probe(subject: Subject) -> dict[str, Any]:
    """Fail if more callers than declared may send a probe at the same time after the reset.

    If there is a `predict_batch`, every second call of another client is one of it.
    """
    by_one, by_both = await gather_all(
        _check_probes(subject, ("predict", "predict")), _check_probes(subject, ("predict", "predict_batch"))
    )
    return {"at_once": by_one, "at_once_with_batches": by_both}


async def _check_probes(subject: Subject, methods: tuple[str, str]) -> int:
    """Make concurrent calls of two methods after the reset, and return how many requests were pending.

    Raises:
        CheckFailedError: these are more than declared, or there was none.
    """
    probes = subject.declared.probes or 1
    async with subject.against(subject.ok) as caller:
        if any(subject.lacks(caller.made, method) for method in methods):
            return 0
        await caller.open_circuit()
        caller.server.script = Reply(FAILING, delay=PROBE)
        before = len(caller.log.arrivals)
        await caller.until_reset()
        async with watched_loop() as stalls:
            await asyncio.gather(*(caller.predict_by(method) for method in methods * (AT_ONCE // 2)))
        sent = caller.log.arrivals[before:]
        if not sent:
            require_free_loop(stalls.total, subject.declared.longest_attempt * MAX_WAIT)
            raise caller.fail(
                f"no probe was sent by {AT_ONCE} calls after the reset: the circuit stays open for ever"
            )
        most = max(sum(other.was_open_at(arrival.at) for other in sent) for arrival in sent)
        if most > probes:
            raise caller.fail(
                f"{most} concurrent requests were sent to a failing service after the reset "
                f"(declared probes: {probes})",
                "the half-open state does not limit requests",
                *(["only the probes of predict are limited"] if len(set(methods)) > 1 else []),
            )
        return most


async def failing_probe(subject: Subject) -> None:
    """Fail if more requests follow a failed probe before the next reset."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        caller.server.script = Reply(FAILING)
        before = len(caller.log.arrivals)
        await caller.until_reset()
        await caller.predict()
        if len(caller.log.arrivals) == before:
            raise caller.fail("no probe was sent after the reset")
        for _ in range(5):
            await caller.predict()
        probe, *later = caller.log.arrivals[before:]
        open_until = probe.at + (subject.declared.reset or 0.0) * RESET_SHARE
        if early := [arrival for arrival in later if arrival.at < open_until]:
            raise caller.fail(
                f"further requests were sent between a failed probe and the next reset: {len(early)}",
                "the half-open circuit needs as many failures as the closed one to open",
                "the failed probe is retried",
            )


async def lost_probe(subject: Subject) -> None:
    """Fail if a cancelled or failed probe leaves the circuit open for ever, or a cancelled one closes it."""
    await gather_all(
        _check_recovers(subject, _cancel_probe, Reply.hang(), "that was cancelled"),
        _check_recovers(subject, _end_probe, Reply.hang(), "without a response"),
        *(
            _check_recovers(subject, _end_probe, KINDS[kind].reply(subject), f"that got {kind}")
            for kind in LOST_PROBES
        ),
        _check_stays_open(subject),
    )


async def _cancel_probe(caller: Caller) -> None:
    """Cancel a call while its request, the probe, has no response."""
    before = len(caller.log.arrivals)
    probe = asyncio.ensure_future(caller.predict())
    await wait_until(lambda: len(caller.log.arrivals) > before or probe.done())
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)


async def _end_probe(caller: Caller) -> None:
    """Wait for the end of a call whose request, the probe, fails."""
    await caller.predict()


async def _check_recovers(
    subject: Subject, lose: Callable[[Caller], Awaitable[None]], reply: Reply, how: str
) -> None:
    """Fail if the circuit stays open after its probe was lost, although the service responds again."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        caller.server.script = reply
        await caller.until_reset()
        await lose(caller)
        caller.server.script = subject.ok
        deadline = time.monotonic() + 3 * (subject.declared.reset or 0.0) + 1.0
        while (call := await caller.predict()).error is not None:
            if time.monotonic() > deadline:
                raise caller.fail(
                    f"the circuit stayed open after a probe {how} although the service had recovered: "
                    f"{call.outcome}",
                    "a probe that ends in this way does not release its place",
                )
            await asyncio.sleep(ASKED_EVERY)


async def _check_stays_open(subject: Subject) -> None:
    """Fail if a cancelled probe closes the circuit of a service that does not respond."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        caller.server.script = Reply.hang()
        await caller.until_reset()
        await _cancel_probe(caller)
        await caller.until_reset()
        hanging = await caller.predict()  # ends at the client's own timeout, and so fails
        following = await caller.predict(give_up=PROBE)
        _require_open_after(hanging, following, caller)


def _require_open_after(hanging: Call, following: Call, caller: Caller) -> None:
    """Check that a call that failed after a lost probe is not followed by another request before the reset.

    Raises:
        CheckFailedError: another request follows.
    """
    threshold, reset = caller.declared.threshold or 1, caller.declared.reset or 0.0
    if isinstance(hanging.error, StillWaitingError) or not hanging.requests or not following.requests:
        return
    if len(hanging.requests) >= threshold:
        return  # a closed circuit would have opened, too
    failed_at = hanging.requests[-1].ended_at
    if failed_at is not None and following.requests[0].at < failed_at + reset * RESET_SHARE:
        raise caller.fail(
            f"after a cancelled probe, {len(hanging.requests) + 1} requests in a row were sent to a service "
            "that does not respond",
            "a cancelled probe counts as a success and closes the circuit",
        )


async def closes(subject: Subject) -> None:
    """Fail if calls are still rejected after a probe got a response, with status 200 or 4xx."""
    replies = (subject.ok, *(Reply(status, {"error": "wrong"}) for status in FREQUENT_CLIENT_ERRORS))
    await gather_all(*(_check_closes(subject, reply) for reply in replies))


async def _check_closes(subject: Subject, reply: Reply) -> None:
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        caller.server.script = reply
        await caller.until_reset()
        for _ in range(subject.declared.probes or 1):
            await caller.predict()
        caller.server.script = Reply(body=subject.declared.answer, delay=0.05)
        async with watched_loop() as stalls:
            calls = await caller.together(5)
        if failed := [call for call in calls if call.error is not None]:
            require_free_loop(stalls.total, subject.declared.longest_attempt * MAX_WAIT)
            raise caller.fail(
                f"after a probe got status {reply.status}, {len(failed)} of 5 calls failed: "
                f"{failed[0].outcome}",
                "a 4xx response counts as a failure of the service",
            )


async def stragglers(subject: Subject) -> None:
    """Fail if the success of a request from before the opening closes the circuit."""
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or 0.0
    slow = min(reset * 0.5, subject.declared.longest_attempt * 0.5)
    numbers: list[int] = []

    def respond(arrival: Arrival) -> Reply:
        numbers.append(arrival.number)
        return Reply(body=subject.declared.answer, delay=slow) if len(numbers) == 1 else Reply(FAILING)

    async with subject.against(respond) as caller:
        straggler = asyncio.ensure_future(caller.predict())
        if not await wait_until(lambda: bool(caller.log.arrivals)):
            raise NotJudgedError("the client did not send a request")
        await caller.together(threshold)
        is_open = (await caller.predict()).rejected
        was_late = not straggler.done()
        await straggler
        failed = _failure_times(caller.log.arrivals)
        opened = failed[threshold - 1] if len(failed) >= threshold else 0.0
        if not is_open or not was_late or time.monotonic() > opened + reset * RESET_SHARE:
            raise TooBusyError(
                f"the circuit did not open within the {slow * 1000:.0f} ms of a pending request (the "
                "client may be too slow for this check)"
            )
        before = len(caller.log.arrivals)
        await caller.predict()
        if len(caller.log.arrivals) > before:
            raise caller.fail(
                "the success of a request from before the opening closed the circuit of a failing service",
                "a result is applied to the current state, not to the state in which its request was sent",
            )


def _failure_times(arrivals: Sequence[Arrival]) -> list[float]:
    ended = [arrival.ended_at for arrival in arrivals if arrival.status == FAILING]
    return sorted(at for at in ended if at is not None)


async def burst(subject: Subject) -> dict[str, Any]:
    """Fail if requests other than in-flight ones are sent after a burst of failures."""
    for size in BURSTS:
        evidence, stalled = await _check_burst(subject, size)
        if stalled <= subject.declared.longest_attempt * MAX_WAIT:
            break  # otherwise, calls may have ended by their timeout before they could send a request
    return evidence


async def _check_burst(subject: Subject, size: int) -> tuple[dict[str, Any], float]:
    """Make *size* concurrent calls, and return the evidence and the seconds of the longest stall.

    Raises:
        CheckFailedError: requests were sent after the opening.
        NotJudgedError: too few requests failed.
    """
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or 0.0

    def respond(arrival: Arrival) -> Reply:
        success = Reply(body=subject.declared.answer, delay=_burst_response(subject, size))
        return Reply(FAILING) if arrival.number < threshold * 3 else success

    async with subject.against(respond) as caller:
        async with watched_loop() as stalls:
            await caller.together(size)
        arrivals = caller.log.arrivals
        failed = _failure_times(arrivals)
        if len(failed) < threshold:
            require_free_loop(stalls.longest, subject.declared.longest_attempt * MAX_WAIT)
            raise NotJudgedError(
                f"the burst caused only {len(failed)} failures, fewer than the threshold of {threshold}"
            )
        opened = failed[threshold - 1]
        since = [arrival for arrival in arrivals if opened < arrival.at < opened + reset * RESET_SHARE]
        late = not_in_flight(since, caller.log, opened, IN_FLIGHT + min(stalls.longest, MAX_EXCUSED))
        if late:
            raise caller.fail(
                f"requests were sent after {threshold} failures and before the reset: {len(late)}",
                "the success of an in-flight request closes the circuit",
                "calls that wait for a connection do not check the circuit again",
            )
        evidence = {
            "requests": len(arrivals),
            "until_opened": sum(arrival.at <= opened for arrival in arrivals),
        }
        return evidence, stalls.longest


def _burst_response(subject: Subject, size: int) -> float:
    """Return how long a response of the burst takes, in seconds.

    The calls that wait for a connection then send their requests until the reset, and not only while others
    may be in flight.
    """
    shortest, longest = BURST_RESPONSES
    connections = subject.declared.connections or 0
    rounds = max(1.0, (size - connections) / connections) if connections else math.inf
    return min(max(shortest, (subject.declared.reset or 0.0) * RESET_SHARE / rounds), longest)


async def no_way_round(subject: Subject) -> None:
    """Fail if ``predict_batch`` sends requests while the circuit is open."""
    async with subject.against(subject.ok) as caller:
        await caller.open_circuit()
        call = await caller.predict_batch()
        if call.requests:
            raise caller.fail(
                "predict_batch sent a request while the circuit was open",
                "only predict goes through the breaker",
            )


async def clock_steps(subject: Subject) -> None:
    """Fail if the first probe, or the end of a call, moves with the system clock, by an hour forward or back.

    The clock is replaced in a process of its own, before the client's module is imported. A client that
    another process cannot import may have stored a function of the clock where it cannot be replaced: such a
    client can fail the check, but not pass it.
    """
    if is_importable(subject):
        await in_own_process(subject, f"{__name__}:{calls_on_a_stepped_clock.__name__}")
        return
    with wall_clock.borrowed():
        await calls_on_a_stepped_clock(subject)
    raise NotJudgedError(
        f"the clock must be replaced before the client is imported, and {subject.name} cannot be imported by "
        "another process: name its factory as module:function"
    )


async def calls_on_a_stepped_clock(subject: Subject) -> None:
    """Fail if an open circuit, or a call that waits for a response, follows the clock; see `clock_steps`."""
    cause = (
        "the breaker uses time.time or datetime.now, which follow the system clock, instead of time.monotonic"
    )
    async with subject.against(subject.ok) as caller, subject.against() as other:
        await caller.open_circuit()
        opened = max(_failure_times(caller.log.arrivals), default=0.0)
        seconds = min(subject.declared.longest_attempt * 0.5, MAX_SLOW)
        slow = await _pending_call(other, Reply(body=subject.declared.answer, delay=seconds))
        with wall_clock.stepped(HOUR):
            call = await caller.predict()
            slow_call = await slow
        if call.requests and call.requests[0].at < opened + (subject.declared.reset or 0.0) * RESET_SHARE:
            raise caller.fail(
                "a request was sent before the reset when the system clock was set forward by an hour", cause
            )
        _require_waited(other, slow_call, seconds)
        hanging = await _pending_call(other, Reply.hang())
        with wall_clock.stepped(-HOUR):
            await caller.until_reset()
            call = await caller.predict()
            hanging_call = await hanging
        if call.rejected:
            raise caller.fail(
                "the circuit stayed open after the reset when the system clock was set back by an hour: "
                f"{call.outcome}",
                cause,
            )
        _require_ended(other, hanging_call)


async def _pending_call(caller: Caller, reply: Reply) -> asyncio.Future[Call]:
    """Begin a call, which is given up well after its deadline, and return it when its request has arrived."""
    caller.server.script = reply
    before = len(caller.log.arrivals)
    call = asyncio.ensure_future(caller.predict(give_up=_deadline(caller) * 1.5 + 1))
    await wait_until(lambda: len(caller.log.arrivals) > before or call.done())
    return call


def _require_waited(caller: Caller, call: Call, seconds: float) -> None:
    """Check that a call did not end, nor give up its first request, before its response after *seconds*.

    Raises:
        CheckFailedError: it did.
    """
    if not call.requests:
        return
    first = call.requests[0]
    gave_up = first.ended_at if first.ended == "given up" else None
    ended = min([call.ended if call.error is not None else math.inf, gave_up or math.inf])
    if ended < first.at + seconds:
        raise caller.fail(
            f"when the system clock was set forward by an hour, a call did not wait {seconds:.2f} s for its "
            f"response: {call.outcome}",
            BY_SYSTEM_CLOCK,
        )


def _require_ended(caller: Caller, call: Call) -> None:
    """Check that a call to a service that never responds ended within the declared timeout of calls.

    Raises:
        CheckFailedError: it did not.
    """
    longest = _deadline(caller)
    if longest and call.seconds > allowed(longest):
        raise caller.fail(
            f"when the system clock was set back by an hour, a call to a service that never responds took at "
            f"least {call.seconds:.2f} s (declared: at most {longest:g} s)",
            BY_SYSTEM_CLOCK,
        )


def _deadline(caller: Caller) -> float:
    """Return the declared timeout of calls in seconds; 0 if there is none, or it is too long."""
    longest = caller.declared.longest_call or 0.0
    return longest if longest <= MAX_RESET else 0.0


async def price_of_a_rejection(subject: Subject) -> dict[str, Any]:
    """Fail if the median time of a rejection exceeds 5 ms."""
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
            raise NotJudgedError("no call was rejected while the circuit was open")
        median = statistics.median(seconds)
        if median > MAX_REJECTION_SECONDS:
            raise caller.fail(
                f"a rejected call takes {median * 1000:.1f} ms "
                f"(median of {len(seconds)}; limit: {MAX_REJECTION_SECONDS * 1000:.0f} ms)",
                "the client opens a connection, or writes a log, before it checks the circuit",
            )
        return {"microseconds": median * 1e6, "rejections": len(seconds)}


async def slow_calls(subject: Subject) -> None:
    """Fail if responses that are all slower than declared leave the circuit closed."""
    threshold, slow = subject.declared.threshold or 1, subject.declared.slow_after or 1.0
    async with subject.against(Reply(body=subject.declared.answer, delay=slow * 1.3)) as caller:
        for _ in range(threshold * 2):
            if (await caller.predict()).rejected:
                return
        raise caller.fail(
            f"the client kept sending requests after {threshold * 2} consecutive responses that took longer "
            f"than {slow:g} s (declared slow_after; declared threshold: {threshold})"
        )


async def other_models(subject: Subject) -> None:
    """Fail if calls to a healthy model fail because another model on the same host fails."""

    def respond(arrival: Arrival) -> Reply:
        return Reply(FAILING) if "dead" in arrival.path else subject.ok

    async with subject.against(respond) as caller:
        for _ in range((subject.declared.threshold or 1) + 2):
            await caller.predict(model="dead")
        call = await caller.predict(model="alive")
        if call.error is not None:
            raise caller.fail(
                "after failures of one model, a call to another model on the same host failed: "
                f"{call.outcome}",
                "all models of a host share one breaker",
            )


async def other_services(subject: Subject) -> None:
    """Fail if calls to a healthy service fail because another service fails."""
    async with subject.against(subject.ok) as failing, subject.against(subject.ok) as healthy:
        await failing.open_circuit()
        call = await healthy.predict()
        if call.rejected:
            raise healthy.fail(
                f"after failures of one service, a client of another service rejected a call: {call.outcome}",
                "all clients of a process share one breaker, such as one in a module or a class",
            )


async def counts_failures(subject: Subject) -> None:
    """Fail if a kind of failure does not open the closed circuit, or the half-open one."""
    threshold = subject.declared.threshold or 1
    await require_opening(subject)
    kinds = [kind for kind in FAILURES if kind != str(FAILING)]
    outcomes = await play_each(subject, [[kind] * (threshold + 1) for kind in kinds])
    deviations = {
        kind: outcome for kind, outcome in zip(kinds, outcomes, strict=True) if isinstance(outcome, Deviation)
    }
    for deviation in deviations.values():
        deviation.failure.message += f"; failures that are not counted: {', '.join(deviations)}"
        deviation.failure.causes.append("only some errors count as failures of the service")
        raise deviation.failure
    await gather_all(require_refusals_counted(subject), require_hangs_counted(subject))


async def forgives(subject: Subject) -> None:
    """Fail if failures add up although successful requests came between them."""
    threshold = subject.declared.threshold or 1
    if threshold == 1:
        raise NotJudgedError("with a threshold of 1, every failure opens the circuit")
    rounds = [*[str(FAILING)] * (threshold - 1), "200"] * (1 if threshold > MAX_LONG else ROUNDS)
    await play_if_it_opens(
        subject,
        [[*rounds, *[str(FAILING)] * threshold]],
        "a success does not set the number of failures back to 0",
    )


async def recovers(subject: Subject) -> None:
    """Fail if a circuit that opened again, or closed again, waits or tolerates more or less than at first."""
    failures = [str(FAILING)] * (subject.declared.threshold or 1)
    await play_if_it_opens(
        subject,
        [
            [*failures, "200", *failures[1:], "200", *failures],
            [*failures, str(FAILING), "200", *failures],
        ],
        "the number of failures, or the state of the probe, is not reset when the circuit closes",
        "the reset time is another one after a failed probe",
    )


async def rate_limits(subject: Subject) -> None:
    """Fail if status 429 opens the circuit, unless that is declared."""
    threshold = subject.declared.threshold or 1
    if not subject.declared.counts_429:
        await play_all(subject, [["429"] * (threshold + 2)], "every status but 2xx counts as a failure")
        return
    await require_opening(subject)
    await play_all(subject, [["429"] * threshold], "status 429 does not count as a failure")


async def late_results(subject: Subject) -> None:
    """Fail if a request from before the opening changes what happens after the reset time."""
    delay = straggler_delay(subject.declared)
    late = {
        "success": (KINDS["200"].reply(subject), [str(FAILING)]),
        "failure": (Reply(FAILING), ["200"]),
    }
    deviations = await gather_all(
        *(play_with_straggler(subject, replace(reply, delay=delay), kinds) for reply, kinds in late.values())
    )
    for what, deviation in zip(late, deviations, strict=True):
        if deviation is not None:
            deviation.failure.causes.append(
                f"the {what} of a request from before the opening is applied to the open circuit"
            )
            raise deviation.failure


async def sequences(subject: Subject) -> dict[str, Any]:
    """Fail if a sequence of responses leads to other requests than the declared breaker permits."""
    opening = [str(FAILING)] * (subject.declared.threshold or 1)
    # A probe that is rate limited gives its place back.
    played = [[*opening, "429", "200", *opening], *generated(subject.declared.threshold or 1)]
    await play_if_it_opens(subject, played)
    return {"responses": sum(map(len, played))}
