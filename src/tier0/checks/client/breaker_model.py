"""A reference breaker with the declared numbers, and the comparison of a client's requests with it.

The model knows all states that a breaker with the declared threshold, reset and probes may be in, given the
requests and responses so far. A request that arrives in none of them, or a call that is rejected in none of
them, is a deviation. What is not declared (such as whether status 400 ends a series of failures) leads to
several states, and is not judged.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.subject import MARGIN, Caller, Subject, gather_all, wait_until
from tier0.checks.stalls import require_free_loop, watched_loop
from tier0.core.declaration import MAX_RESET, Declaration
from tier0.core.verdict import CheckFailedError, NotJudgedError, TooBusyError
from tier0.faults import Arrival, Reply

EARLY = 0.9
"""Share of the reset time within which a request is too early."""
LATE = 1.1
"""Multiple of the reset time after which a rejection, `MARGIN` seconds later, is too late."""
ASKED_AGAIN = 0.8
"""Share of the reset time after which another call must still be rejected."""
IN_FLIGHT = 0.03
MAX_STALL = 0.1
"""Seconds of a blocked event loop after which the client may have given up requests that were not sent."""
FIRST_ATTEMPT = 0.1
"""Seconds in which every call has tried to connect."""
FULL_ATTEMPT = 0.8
"""Share of an attempt's timeout after which a request without a response has surely failed."""
TRIES = 3
SEED = 7
GENERATED = 4
LENGTH = 4
"""Responses in a generated sequence, as a multiple of the threshold."""
MAX_LENGTH = 40
FAILURE_SHARE = 0.75
MAX_OPENINGS = 2
SHRINKING_SECONDS = 6.0
SHRUNK_AT_ONCE = 8
STRAGGLER_SHARE = 0.8
OVERLOAD = "503 with Retry-After"
Effect = Literal["failure", "success", "mistake", "limited", "unknown"]


class Kind(NamedTuple):
    """A kind of response.

    Attributes:
        effect: what it says about the service.
        reply: returns the response.
        is_no_prediction: whether status 200 comes with a body that is not a prediction.
    """

    effect: Effect
    reply: Callable[[Subject], Reply]
    is_no_prediction: bool = False


def _status(status: int) -> Callable[[Subject], Reply]:
    return lambda _: Reply(status, {"error": "scripted"})


def _overload(subject: Subject) -> Reply:
    # A reset time that is shorter than the named one would be extended by some breakers.
    after = "1" if (subject.declared.reset or 0.0) >= 1 else "0"
    return Reply(503, {"error": "scripted"}, headers={"Retry-After": after})


PAGE = Reply(body=b"<html><body>Bad gateway</body></html>", headers={"Content-Type": "text/html"})
KINDS: dict[str, Kind] = {
    "200": Kind("success", lambda subject: subject.ok),
    "400": Kind("mistake", _status(400)),
    "404": Kind("mistake", _status(404)),
    "429": Kind("limited", _status(429)),
    **{str(status): Kind("failure", _status(status)) for status in (500, 502, 503, 504)},
    OVERLOAD: Kind("failure", _overload),
    "a reset connection": Kind("failure", lambda _: Reply.broken("reset")),
    "a closed connection": Kind("failure", lambda _: Reply.broken()),
    "a truncated response": Kind(
        "failure", lambda subject: Reply(body=subject.declared.answer, cut=5, ending="close")
    ),
    "200 with an HTML page": Kind("failure", lambda _: PAGE, is_no_prediction=True),
    "200 with an error object": Kind(
        "failure", lambda _: Reply(body={"error": "the model is not loaded"}), is_no_prediction=True
    ),
}
"""Kinds of responses by their names in messages."""
FAILURES = tuple(name for name, kind in KINDS.items() if kind.effect == "failure")
QUICK_FAILURES = tuple(name for name in FAILURES if name != OVERLOAD)
"""Failures whose responses do not ask the client to wait."""
NO_FAILURES = ("200", "200", "400", "429")


@dataclass(frozen=True)
class Closed:
    """Closed, after a number of consecutive failures."""

    failures: int = 0


@dataclass(frozen=True)
class Open:
    """Open, since a moment between *earliest* and *latest*, in seconds on the monotonic clock."""

    earliest: float
    latest: float


@dataclass(frozen=True)
class HalfOpen:
    """Half-open, after a number of successful probes."""

    successes: int = 0


State = Closed | Open | HalfOpen


class BreakerModel:
    """All states that a breaker may be in; none after a deviation.

    Args:
        declared: declaration with threshold and reset.
    """

    def __init__(self, declared: Declaration) -> None:
        self.threshold = declared.threshold or 1
        self.reset = declared.reset or 0.0
        self.probes = declared.probes or math.inf  # not declared: any number may be needed to close
        self.counts_429 = bool(declared.counts_429)
        self.states: set[State] = {Closed()}

    @property
    def opened(self) -> float | None:
        """The latest moment at which the circuit may have opened; None if it may not be open."""
        opened = [state.latest for state in self.states if isinstance(state, Open)]
        return max(opened) if opened and len(opened) == len(self.states) else None

    def send(self, at: float, in_flight: float = 0.0) -> bool:
        """Record that a request arrived, and return whether a state permits it.

        Args:
            at: time of the arrival.
            in_flight: seconds after the opening in which a request may arrive that was sent before it.
        """
        permitted: set[State] = set()
        for state in self.states:
            if not isinstance(state, Open) or at < state.earliest + in_flight:
                permitted.add(state)
            elif at >= state.earliest + self.reset * EARLY:
                permitted.add(HalfOpen())
        self.states = permitted
        return bool(permitted)

    def reject(self, at: float) -> bool:
        """Record that a call which began at *at* was rejected, and return whether a state permits it."""
        self.states = {
            state
            for state in self.states
            if isinstance(state, Open) and at < state.latest + self.reset * LATE + MARGIN
        }
        return bool(self.states)

    def end(self, effect: Effect, at: float, latest: float) -> None:
        """Record how a request ended.

        Args:
            effect: what its response says about the service.
            at: time of the response at the server.
            latest: time by which the client must have seen it.
        """
        self.states = {after for state in self.states for after in self._after(state, effect, at, latest)}

    def _after(self, state: State, effect: Effect, at: float, latest: float) -> Iterable[State]:
        if isinstance(state, Open):  # the result of a request from before the opening
            return {state}
        if effect == "limited" and self.counts_429:
            effect = "failure"
        if effect == "unknown":
            return {state, *self._after(state, "failure", at, latest)}
        if effect == "failure":
            is_open = isinstance(state, HalfOpen) or state.failures + 1 >= self.threshold
            return {Open(at, latest)} if is_open else {Closed(getattr(state, "failures", 0) + 1)}
        if isinstance(state, Closed):
            return {Closed()} if effect == "success" else {Closed(), state}
        if effect == "limited":  # a breaker may take it for a success, a failure, or neither
            return {Closed(), state, Open(at, latest)}
        another = state.successes + 1
        return {Closed()} if another >= self.probes else {Closed(), HalfOpen(another)}


@dataclass(frozen=True)
class Deviation:
    """A request or a rejection that the model does not permit.

    Attributes:
        kinds: responses until then.
        failure: failure of the check, with the timeline.
    """

    kinds: tuple[str, ...]
    failure: CheckFailedError


class _Player:
    """Plays a sequence of responses to a client, and compares its requests with the model."""

    def __init__(self, caller: Caller, kinds: Sequence[str], subject: Subject, method: str) -> None:
        self.caller = caller
        self.kinds = tuple(kinds)
        self.subject = subject
        self.method = method
        self.model = BreakerModel(subject.declared)
        self.route: tuple[str, str] | None = None
        self.sent: list[tuple[Arrival, str]] = []
        self.compared = 0
        self.longest_stall = 0.0
        caller.server.script = self.respond

    def respond(self, arrival: Arrival) -> Reply:
        """Return the next response; requests for other routes, such as health checks, do not count."""
        route = (arrival.method, arrival.path)
        if self.route is None:
            self.route = route
        if route != self.route:
            return self.subject.ok
        kind = self.kinds[len(self.sent)] if len(self.sent) < len(self.kinds) else "200"
        self.sent.append((arrival, kind))
        return KINDS[kind].reply(self.subject)

    async def play(self) -> Deviation | None:
        """Make calls until the sequence is over, and return the first deviation."""
        while True:
            is_last = len(self.sent) >= len(self.kinds)
            if self.model.opened is None:
                deviation = await self.call()
            else:
                deviation = await self.call_while_open(is_last=is_last)
            if deviation is not None or is_last:
                return deviation

    async def call_while_open(self, *, is_last: bool) -> Deviation | None:
        """Make calls during and after the reset time."""
        if deviation := await self.call():
            return deviation
        for share, margin in () if is_last else ((ASKED_AGAIN, 0.0), (LATE, MARGIN)):
            opened = self.model.opened
            if opened is None:
                return None
            left = opened + self.model.reset * share + margin - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
            if deviation := await self.call():
                return deviation
        return None

    async def call(self) -> Deviation | None:
        """Make one call, and return its deviation from the model."""
        before = len(self.sent)
        async with watched_loop() as stalls:
            call = await self.caller.predict_by(self.method)
        self.longest_stall = max(self.longest_stall, stalls.longest)
        deviation = await self.compare(call, before)
        if call.error is None or len(self.sent) == before:  # earlier failures no longer matter
            self.longest_stall = 0.0
        return deviation

    async def compare(self, call: Call, before: int, in_flight: float = 0.0) -> Deviation | None:
        """Compare the requests that arrived since the last comparison with the model.

        Args:
            call: call that has just ended.
            before: number of requests when it began.
            in_flight: seconds in which requests may arrive that were sent before the opening.
        """
        await wait_until(lambda: all(arrival.ended_at is not None for arrival, _ in self.sent))
        if len(self.sent) == before and call.error is None:
            raise NotJudgedError("a call returned without a request to the service")
        events: list[tuple[float, int, Arrival, str]] = []
        for arrival, kind in self.sent[self.compared :]:
            events += [(arrival.at, 0, arrival, kind), (arrival.ended_at or call.ended, 1, arrival, kind)]
        self.compared = len(self.sent)
        for at, is_end, arrival, kind in sorted(events, key=lambda event: event[:2]):
            if is_end:
                self.model.end(self.effect_of(arrival, kind, call), at, max(at, call.ended))
            elif not self.model.send(at, in_flight):
                return self.deviate("the client sent another request while its circuit had to be open", at)
        if len(self.sent) == before and not self.model.reject(call.started):
            self.require_free_loop()
            return self.deviate(
                f"the client rejected a call while its circuit had to let it through ({call.outcome})",
                call.started,
            )
        return None

    def require_free_loop(self) -> None:
        """Check that the client cannot have given up requests which the machine was too busy to send.

        Raises:
            NotJudgedError: the event loop was blocked for too long.
        """
        require_free_loop(self.longest_stall, max(MAX_STALL, self.subject.declared.longest_attempt / 2))

    def effect_of(self, arrival: Arrival, kind: str, call: Call) -> Effect:
        """Return what a request says about the service.

        Raises:
            NotJudgedError: the client takes an invalid body for a prediction.
        """
        is_last = bool(self.sent) and self.sent[-1][0] is arrival
        if arrival.ended in {None, "given up"}:
            return "unknown"
        if is_last and KINDS[kind].is_no_prediction and call.error is None:
            raise NotJudgedError(f"the client accepts {kind} as a prediction: see wire.no_prediction")
        if is_last and kind == "200" and call.error is not None:
            return "unknown"
        return KINDS[kind].effect

    def deviate(self, what: str, at: float) -> Deviation:
        """Return a deviation at a moment, with the responses before it."""
        before = tuple(
            kind for arrival, kind in self.sent if arrival.ended_at is not None and arrival.ended_at <= at
        )
        declared = self.subject.declared
        numbers = f"declared threshold: {declared.threshold}, reset: {declared.reset:g} s"
        message = f"after the responses {in_words(before) or '(none)'}, {what} ({numbers})"
        return Deviation(before, self.caller.fail(message, responses=list(before)))


def in_words(kinds: Sequence[str]) -> str:
    """Return a sequence in words, such as ``5 x 503, 200``."""
    runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
    return ", ".join(kind if count == 1 else f"{count} x {kind}" for kind, count in runs)


async def play_each(
    subject: Subject, sequences: Sequence[Sequence[str]], method: str = "predict"
) -> list[Deviation | NotJudgedError | None]:
    """Let services respond in the order of *sequences*, and return the client's first deviation from each.

    All clients are created first, since that may block the event loop for a while.

    Args:
        subject: client under test.
        sequences: names of `KINDS`, one for each request; later requests get status 200.
        method: ``predict`` or ``predict_batch``.

    Raises:
        NotJudgedError: the declared reset time is too long.
    """
    require_short_reset(subject.declared)
    async with AsyncExitStack() as stack:
        players = [
            _Player(await stack.enter_async_context(subject.against()), kinds, subject, method)
            for kinds in sequences
        ]
        return await gather_all(*(_outcome(player.play()) for player in players))


def require_short_reset(declared: Declaration) -> None:
    """Reject a declared reset time for which no check waits.

    Raises:
        NotJudgedError: it is longer than `MAX_RESET`.
    """
    if (declared.reset or 0.0) > MAX_RESET:
        raise NotJudgedError(
            f"the declared reset of {declared.reset:g} s is too long: shorten it to at most {MAX_RESET:g} s "
            "with [options]"
        )


async def require_opening(subject: Subject) -> None:
    """Require that a circuit opens at all.

    Raises:
        NotJudgedError: status 503 does not open it.
    """
    (outcome,) = await play_each(subject, [_opening(subject)])
    _require_opened(outcome)


def _opening(subject: Subject) -> list[str]:
    return ["503"] * (subject.declared.threshold or 1)


def _require_opened(outcome: Deviation | NotJudgedError | None) -> None:
    if isinstance(outcome, NotJudgedError):
        raise outcome
    if outcome is not None:
        raise NotJudgedError("the client's circuit did not open as declared: see breaker.opens")


async def play_all(
    subject: Subject, sequences: Sequence[Sequence[str]], *causes: str, method: str = "predict"
) -> None:
    """Play several sequences concurrently.

    Raises:
        CheckFailedError: the client deviates from the model; the shortest sequence is shown.
        NotJudgedError: no sequence could be played.
    """
    await _require_no_deviation(subject, await play_each(subject, sequences, method), causes, method)


async def play_if_it_opens(subject: Subject, sequences: Sequence[Sequence[str]], *causes: str) -> None:
    """Play several sequences concurrently, and with them one that only opens the circuit.

    Raises:
        CheckFailedError: the client deviates from the model; the shortest sequence is shown.
        NotJudgedError: status 503 does not open the circuit, or no sequence could be played.
    """
    opening, *outcomes = await play_each(subject, [_opening(subject), *sequences])
    _require_opened(opening)
    await _require_no_deviation(subject, outcomes, causes, "predict")


async def _require_no_deviation(
    subject: Subject,
    outcomes: Sequence[Deviation | NotJudgedError | None],
    causes: Sequence[str],
    method: str,
) -> None:
    deviations = [outcome for outcome in outcomes if isinstance(outcome, Deviation)]
    if deviations:
        shortest = await _shrink(subject, min(deviations, key=lambda found: len(found.kinds)), method)
        shortest.failure.causes += causes
        raise shortest.failure
    unplayed = [outcome for outcome in outcomes if isinstance(outcome, NotJudgedError)]
    if len(unplayed) == len(outcomes):
        raise unplayed[0]


async def _outcome(played: Awaitable[Deviation | None]) -> Deviation | NotJudgedError | None:
    try:
        return await played
    except NotJudgedError as problem:
        return problem


async def _shrink(subject: Subject, deviation: Deviation, method: str) -> Deviation:
    """Return the deviation after the shortest sequence that is found by leaving out responses."""
    deadline = time.monotonic() + SHRINKING_SECONDS
    while time.monotonic() < deadline:
        kinds = deviation.kinds
        shorter = list(dict.fromkeys(kinds[:left] + kinds[left + 1 :] for left in range(len(kinds))))
        outcomes: list[Deviation | NotJudgedError | None] = []
        for start in range(0, len(shorter), SHRUNK_AT_ONCE):
            some = shorter[start : start + SHRUNK_AT_ONCE]
            outcomes += await play_each(subject, some, method)
            if time.monotonic() > deadline:
                break
        found = [outcome for outcome in outcomes if isinstance(outcome, Deviation)]
        found = [one for one in found if len(one.kinds) < len(kinds)]
        if not found:
            break
        deviation = min(found, key=lambda one: len(one.kinds))
    return deviation


def generated(threshold: int, seed: int = SEED) -> list[list[str]]:
    """Return random sequences of responses, always the same for a *threshold* and a *seed*.

    Failures are frequent, so that circuits open; after the second opening, a sequence ends.
    """
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    sequences = []
    for _ in range(GENERATED):
        kinds: list[str] = []
        failures = openings = 0
        is_probing = False
        while len(kinds) < min(LENGTH * threshold, MAX_LENGTH) and openings < MAX_OPENINGS:
            is_failure = draw.random() < FAILURE_SHARE
            kind = draw.choice(QUICK_FAILURES if is_failure else NO_FAILURES)
            kinds.append(kind)
            if kind == "429":  # neither a failure nor a success
                continue
            failures = failures + 1 if is_failure else 0
            is_opening = is_failure and (is_probing or failures >= threshold)
            openings, is_probing = openings + is_opening, is_opening
        sequences.append(kinds)
    return sequences


async def require_refusals_counted(subject: Subject) -> None:
    """Check that refused connections open the circuit; on a busy machine, this is not judged.

    Raises:
        CheckFailedError: a request is sent after as many refused connections as the threshold.
    """
    for _ in range(TRIES):
        if await _are_refusals_counted(subject):
            return


async def _are_refusals_counted(subject: Subject) -> bool:
    """Return True if refused connections open the circuit, and False if that cannot be seen.

    Calls that can be cancelled are given up soon, since each has had its first attempt by then.
    """
    threshold, reset = subject.declared.threshold or 1, subject.declared.reset or 0.0
    give_up = max(FIRST_ATTEMPT, reset * EARLY / 2)
    async with subject.against() as caller:
        can_give_up = not subject.lacks(caller.made, "asynchronous")
        started = time.monotonic()  # the circuit cannot have opened earlier
        with caller.server.down():
            async with watched_loop() as stalls:
                calls = await caller.together(threshold, give_up=give_up if can_give_up else None)
        if stalls.total > give_up / 2 or any(call.error is None for call in calls):
            return False
        call = await caller.predict()
        if any(arrival.at < started + reset * EARLY for arrival in caller.log.arrivals):
            raise caller.fail(
                f"after {threshold} calls whose connections were refused, the client sent a request "
                f"(declared threshold: {threshold}, reset: {reset:g} s)",
                "only responses count as failures, and a refused connection has none",
            )
        return call.rejected


async def require_hangs_counted(subject: Subject) -> None:
    """Check that requests which get no response in time open the circuit.

    Raises:
        CheckFailedError: requests are sent after as many such requests as the threshold.
    """
    declared = subject.declared
    threshold, reset, limit = declared.threshold or 1, declared.reset or 0.0, declared.longest_attempt
    if declared.timeout is None and declared.attempt_timeout is None:
        return
    async with subject.against(Reply.hang()) as caller:

        def failed() -> list[float]:
            ended = [
                arrival.ended_at
                for arrival in caller.log.arrivals
                if arrival.ended_at is not None and arrival.ended_at - arrival.at >= limit * FULL_ATTEMPT
            ]
            return sorted(ended)

        calls = [asyncio.ensure_future(caller.predict()) for _ in range(threshold)]
        is_complete = await wait_until(lambda: len(failed()) >= threshold, limit * 2 + 1)
        await asyncio.sleep(MARGIN)
        await caller.predict(give_up=MARGIN * 2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        if not is_complete:
            return
        opened = failed()[threshold - 1]
        late = [
            arrival
            for arrival in caller.log.arrivals
            if opened + MARGIN < arrival.at < opened + reset * EARLY
        ]
        if late:
            raise caller.fail(
                f"after {threshold} requests without a response within {limit:g} s, the client sent "
                f"{len(late)} more (declared threshold: {threshold}, reset: {reset:g} s)",
                "a timeout, which cancels the request, is not counted as a failure",
            )


async def play_with_straggler(subject: Subject, late: Reply, kinds: Sequence[str]) -> Deviation | None:
    """Open the circuit while a request is pending that gets *late*, and play *kinds* afterwards.

    Raises:
        NotJudgedError: the pending request did not outlast the opening.
    """
    require_short_reset(subject.declared)
    threshold = subject.declared.threshold or 1
    async with subject.against() as caller:
        player = _Player(caller, ["503"] * threshold + list(kinds), subject, "predict")
        pending: list[Arrival] = []

        def respond(arrival: Arrival) -> Reply:
            if not pending:
                pending.append(arrival)
                return late
            return player.respond(arrival)

        caller.server.script = respond
        straggler = asyncio.ensure_future(caller.predict())
        try:
            await wait_until(lambda: bool(pending) or straggler.done())
            started = time.monotonic()
            calls = await caller.together(threshold)
            last = max(calls, key=lambda call: call.ended)
            together = Call(started, last.ended, error=last.error)
            deviation = await player.compare(together, 0, IN_FLIGHT)
            opened = player.model.opened
            await wait_until(straggler.done)
            ended = pending[0].ended_at if pending else None
            if deviation is not None or opened is None or ended is None or ended < opened:
                raise TooBusyError(
                    "the circuit did not open while an earlier request was pending (the client may be too "
                    "slow for this check)"
                )
            return await player.play()
        finally:
            straggler.cancel()
            await asyncio.gather(straggler, return_exceptions=True)


def straggler_delay(declared: Declaration) -> float:
    """Return the seconds after which a request from before the opening gets its response."""
    return min(declared.reset or 0.0, declared.longest_attempt) * STRAGGLER_SHARE
