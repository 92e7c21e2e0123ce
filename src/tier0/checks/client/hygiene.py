"""Checks of side effects: the client's URLs, its environment, its event loop, its memory and its end."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, unquote

from tier0.checks.client.harness.call import MAX_SHOWN, Call, GivenUpError, StillWaitingError, excerpt
from tier0.checks.client.harness.environment import environment
from tier0.checks.client.harness.planted import PLANTED, leaks_in, planted_for_other_systems
from tier0.checks.client.harness.printed import logged
from tier0.checks.client.harness.subject import (
    CREDENTIALS,
    Caller,
    Subject,
    batch_of,
    gather_all,
    is_coroutine_function,
    wait_until,
)
from tier0.checks.stalls import watched_loop
from tier0.core.display import text_of
from tier0.core.secrets import Secrets
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.faults import Arrival, Reply

PLAIN_NAME = "plainmodel"
ODD_NAMES = ("../../x#", "a?b=1#", "a/b")
DEAD_PROXY = "http://127.0.0.1:9"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
WARM_UP = 20
MEASURED = 40
MAX_GROWTH = 2048
"""Bytes per call."""
BUSY = 0.25
"""Seconds for which the service delays its response."""
BEFORE_CANCELLATION = 0.03
MAX_ENDING = 0.25
"""Seconds in which a cancelled call must end."""
MAX_STALL = 0.1
"""Seconds for which the event loop may be blocked."""
STALLED_CALLS = 3
MIN_CREDENTIAL = 8
"""Characters: a shorter text may be in a log for another reason."""


async def quoted_models(subject: Subject) -> None:
    """Fail if a model name with special characters changes the route."""
    async with subject.against() as caller:
        call = await caller.predict(model=PLAIN_NAME)
    if not any(PLAIN_NAME in request.path for request in call.requests):
        raise NotJudgedError(
            f"the URL does not contain the model's name ({call.outcome})", code="not_offered"
        )
    plain = [_components(request.path) for request in call.requests]
    for name in ODD_NAMES:
        routes = [[part.replace(PLAIN_NAME, name) for part in components] for components in plain]
        async with subject.against() as caller:
            call = await caller.predict(model=name)
            for request in call.requests:
                if _components(request.path) not in routes:
                    raise caller.fail(
                        f"the model name {name!r} led to the path {request.path}",
                        "the name is inserted into the URL without percent-encoding",
                    )


def _components(path: str) -> list[str]:
    """Return the decoded segments of a path, and the names and values of its query."""
    route, question_mark, query = path.partition("?")
    parameters = parse_qsl(query, keep_blank_values=True)
    return [*map(unquote, route.split("/")), question_mark, *chain.from_iterable(parameters)]


async def one_slash(subject: Subject) -> None:
    """Fail if a base URL with a trailing slash leads to a path with two slashes, an unknown route."""
    async with subject.against(suffix="/") as caller:
        call = await caller.predict()
        if not call.requests:
            raise caller.fail(f"no request was sent for a base URL with a trailing slash: {call.outcome}")
        if "//" in call.requests[0].path:
            raise caller.fail(f"a base URL with a trailing slash led to the path {call.requests[0].path}")


async def proxy_environment(subject: Subject) -> None:
    """Fail if predictions, and the data in them, are sent to a proxy from the environment."""
    if subject.declared.expects_proxy:
        raise NotJudgedError("the declaration has expects_proxy = true")
    variables = {
        **dict.fromkeys(PROXIES, DEAD_PROXY),
        **dict.fromkeys(map(str.lower, PROXIES), DEAD_PROXY),
        "NO_PROXY": "",
        "no_proxy": "",
    }
    causes = ("the HTTP library reads the environment (trust_env)",)
    usual = await _methods_that_send(subject)
    with environment(variables):
        async with AsyncExitStack() as stack:
            try:
                caller = await stack.enter_async_context(subject.against())
            except Exception as problem:
                raise CheckFailedError(
                    f"with HTTP_PROXY set, the client could not be created: {type(problem).__name__}: "
                    f"{problem}",
                    evidence={"timeline": []},
                    causes=causes,
                ) from problem
            for method in ("predict", *usual):
                call = await caller.call_by(method)
                if not call.requests:
                    raise caller.fail(
                        f"with HTTP_PROXY set, the request of {method} did not reach the service: "
                        f"{call.outcome}",
                        *causes,
                    )


async def _methods_that_send(subject: Subject) -> list[str]:
    """Return which of ``predict_batch`` and ``health`` send a request to a healthy service."""
    async with subject.against() as caller:
        offered = [name for name in ("predict_batch", "health") if not subject.lacks(caller.made, name)]
        return [name for name in offered if (await caller.call_by(name)).requests]


async def keeps_secrets(subject: Subject) -> dict[str, Any]:
    """Fail if a request, a log or an error has the value of a planted variable of the environment.

    The value may be encoded. A log must not have the credentials that the client sends, either.

    No client of a service has a reason to read these variables. A variable that the client reads for its own
    credentials has another name, so that its value may be sent.
    """
    others = planted_for_other_systems()
    try:
        with environment(others):
            requests = await _require_kept(subject, PLANTED | others)
    except CheckFailedError:
        raise
    except Exception:  # noqa: BLE001 - a client that needs the other system cannot be created with these values
        requests = 0
    if requests == 0:
        requests = await _require_kept(subject, PLANTED)
    return {"requests": requests, "variables": sorted(PLANTED | others)}


async def _require_kept(subject: Subject, planted: Mapping[str, str]) -> int:
    """Make one call of each method, and return the number of requests.

    Raises:
        CheckFailedError: a request has a planted value.
    """
    async with subject.against() as caller:
        with logged() as lines:
            for script in (subject.ok, Reply(503), Reply(400, {"error": "wrong"})):
                caller.server.script = script
                for method in ("predict", "predict_batch", "health"):
                    if not subject.lacks(caller.made, method):
                        lines.append(text_of((await caller.call_by(method)).error))
        for arrival in caller.log.arrivals:
            for name, place in leaks_in(arrival, planted):
                raise caller.fail(
                    f"a request to {arrival.path.partition('?')[0]} carries the value of the environment "
                    f"variable {name} in {place}",
                    "a header or a log of the client repeats the whole environment",
                    "credentials of another system are sent to the service",
                    variable=name,
                    place=place,
                )
        secrets = {**planted, **_credentials(caller.log.arrivals)}
        for name, value in secrets.items():
            if Secrets({name: value}).hide(text := "\n".join(lines)) != text:
                what = "the value of the environment variable" if name in planted else "the header"
                raise caller.fail(
                    f"the client logged {what} {name}, or raised an error with it",
                    "the environment, or the headers of a request, are logged as a whole",
                    variable=name,
                )
        return len(caller.log.arrivals)


def _credentials(arrivals: Sequence[Arrival]) -> dict[str, str]:
    """Return the credentials in the headers of requests, which must not be in a log."""
    found = {
        name: arrival.headers[name].rpartition(" ")[2]
        for arrival in arrivals
        for name in CREDENTIALS
        if name in arrival.headers
    }
    return {name: value for name, value in found.items() if len(value) >= MIN_CREDENTIAL}


async def closed(subject: Subject) -> None:
    """Fail if a closed client sends requests, leaves connections open, or raises an internal error."""
    async with subject.against() as caller:
        methods = [name for name in ("predict_batch", "health") if not subject.lacks(caller.made, name)]
        await gather_all(caller.together(5), *map(caller.call_by, methods))
        closing = await caller.closing()
        if closing.error is not None:
            problem = (
                f"close did not end within {closing.seconds:.1f} s"
                if isinstance(closing.error, GivenUpError)
                else f"close raised {type(closing.error).__name__}: {excerpt(str(closing.error), MAX_SHOWN)}"
            )
            raise caller.fail(problem, "an error or a wait in close is passed on to the application")
        if not await wait_until(lambda: caller.log.open_connections == 0):
            raise caller.fail(
                f"connections that stay open after the client was closed: {caller.log.open_connections}"
            )
        before = len(caller.log.arrivals)
        call = await caller.predict()
        if "predict_batch" in methods and len(caller.log.arrivals) == before:
            await caller.predict_batch()
        if len(caller.log.arrivals) > before:
            raise caller.fail("a request was sent after the client was closed")
        if call.error is None:
            raise caller.fail("a call after close returned without an error, and without a request")
        if isinstance(call.error, (AttributeError, TypeError)):
            raise caller.fail(
                f"a call after close raised an internal error instead of a clear one: {call.outcome}"
            )


async def another_loop(subject: Subject) -> None:
    """Fail if a call from another event loop never ends."""
    async with subject.against() as caller:
        await caller.predict()
        ended: list[Call] = []

        def call_from_another_loop() -> None:
            ended.append(asyncio.run(caller.predict()))

        threading.Thread(target=call_from_another_loop, daemon=True).start()
        if not await wait_until(lambda: bool(ended), caller.patience + 1) or isinstance(
            ended[0].error, StillWaitingError
        ):
            raise caller.fail(
                "a call from another event loop never ended",
                "the client's connections and locks belong to its first event loop",
            )


async def memory(subject: Subject) -> dict[str, Any]:
    """Fail if memory use grows with every call, whether it succeeds or gets status 400."""
    growth = await _growth(subject, subject.ok, "successful call")
    refusal = Reply(400, {"error": "wrong"})
    async with subject.against(refusal) as caller:
        calls = [await caller.predict() for _ in range(2)]
    if all(len(call.requests) == 1 for call in calls):  # a client that retries 400 would sleep: see retry
        await _growth(subject, refusal, "call that gets status 400")
    return {"bytes_a_call": growth}


async def _growth(subject: Subject, reply: Reply, kind: str) -> float:
    """Return the growth of the Python heap per call, in bytes.

    Raises:
        CheckFailedError: it exceeds `MAX_GROWTH` in both halves of the measurement.
    """
    async with subject.against(reply) as caller:
        for _ in range(WARM_UP):
            await caller.predict()
        with _tracemalloc():
            before = await _traced_after_calls(caller)
            middle = await _traced_after_calls(caller)
            after = await _traced_after_calls(caller)
        growth = min(middle - before, after - middle) / MEASURED
        if growth > MAX_GROWTH:
            await caller.predict()  # for the timeline, which does not contain the measured calls
            raise caller.fail(
                f"memory use grows by {growth / 1024:.1f} KiB with every {kind} "
                f"(limit: {MAX_GROWTH / 1024:g} KiB)",
                "responses, errors or traces are kept in a list",
            )
        return growth


@contextmanager
def _tracemalloc() -> Iterator[None]:
    """Trace allocations in this block, and leave tracing as it was before."""
    if tracemalloc.is_tracing():
        yield
        return
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def _traced_after_calls(caller: Caller) -> int:
    """Make `MEASURED` calls, delete the records of them, and return the traced heap size in bytes."""
    for _ in range(MEASURED):
        await caller.predict()
    caller.calls.clear()
    caller.log.forget()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def free_loop(subject: Subject) -> dict[str, Any]:
    """Fail if a call of a method blocks the event loop while it sleeps or waits."""
    try:
        return {
            "longest_stall_ms": await _longest_stall(subject, "predict", "predict_batch", "health") * 1000
        }
    except CheckFailedError:
        for method in ("predict", "predict_batch", "health"):  # which of them is it?
            await _longest_stall(subject, method)
        raise


async def _longest_stall(subject: Subject, *methods: str) -> float:
    """Call coroutine functions of the client at the same time, and return the longest stall in seconds.

    Raises:
        CheckFailedError: each of several times, the event loop was blocked for too long.
    """
    busy = min(BUSY, subject.declared.longest_attempt * 0.7)
    longest = math.inf
    for _ in range(STALLED_CALLS):  # a busy machine stalls some calls, and a client that blocks all of them
        first: set[str] = set()

        def respond(arrival: Arrival) -> Reply:
            body = arrival.method + arrival.body.decode("latin-1")
            is_first = arrival.method == "POST" and body not in first  # noqa: B023 - used in this round
            first.add(body)  # noqa: B023
            return Reply(503, delay=busy) if is_first else Reply(body=subject.declared.answer, delay=busy)

        async with subject.against(respond) as caller:
            caller.blocks = False  # run the coroutine in this loop, even if it blocks
            called = [
                name for name in methods if name == "predict" or is_coroutine_function(caller.made, name)
            ]
            async with watched_loop() as stalls:
                await gather_all(*map(caller.call_by, called))
            longest = min(longest, stalls.longest)
            if longest <= MAX_STALL:
                return longest
    calls = " and ".join(called)
    raise caller.fail(
        f"each of {STALLED_CALLS} calls of {calls} blocked the event loop for at least "
        f"{longest * 1000:.0f} ms (limit: {MAX_STALL * 1000:.0f} ms)",
        "a coroutine calls time.sleep or a synchronous HTTP client",
    )


async def cancelled_at_once(subject: Subject) -> dict[str, Any]:
    """Fail if a cancelled call goes on until its response, its timeout or its next attempt."""
    waiting, failed = Reply.hang(), Reply(503, headers={"Retry-After": "1"})
    seconds = [
        await _cancel(subject, "predict", "while it waited for a response", waiting),
        await _cancel(subject, "predict", "after a failed attempt", failed),
        await _cancel(subject, "predict_batch", "while it waited for a response", waiting),
    ]
    return {"ms": max(seconds) * 1000}


async def _cancel(subject: Subject, method: str, when: str, reply: Reply) -> float:
    """Cancel a call after its first request, and return the seconds until it has ended.

    Raises:
        CheckFailedError: it takes too long.
    """
    async with subject.against(reply) as caller:
        if subject.lacks(caller.made, method):
            return 0.0
        data = subject.declared.data
        if method == "predict_batch":
            data = batch_of(data, subject.declared.protocol)
        running = asyncio.ensure_future(caller.run(method, data))
        await wait_until(lambda: bool(caller.log.arrivals) or running.done())
        await asyncio.sleep(BEFORE_CANCELLATION)
        was_running = not running.done()
        async with watched_loop() as stalls:
            started = time.monotonic()
            running.cancel()
            await asyncio.wait({running}, timeout=MAX_ENDING * 4)
            seconds = time.monotonic() - started
        if running.done():
            outcomes = await asyncio.gather(running, return_exceptions=True)
            if was_running and (hidden := _hides_cancellation(outcomes[0])):
                raise caller.fail(
                    f"a call of {method} that was cancelled {when} {hidden}: its caller goes on as if it "
                    "were not cancelled",
                    "asyncio.CancelledError is caught, and not raised again",
                )
        if seconds - stalls.total > MAX_ENDING:
            raise caller.fail(
                f"a call of {method} that was cancelled {when} was still running after {seconds:.2f} s "
                f"(limit: {MAX_ENDING:g} s)",
                "the cancellation is treated as an error of the request, and is retried or suppressed",
                "the call waits for a task or a thread that is not cancelled with it",
            )
        return seconds


def _hides_cancellation(outcome: Any) -> str:
    """Return what a cancelled call did in place of raising `asyncio.CancelledError`; empty if it raised it.

    An error that is not caused by the cancellation may have come in the same moment.
    """
    if isinstance(outcome, asyncio.CancelledError):
        return ""
    if not isinstance(outcome, BaseException):
        return f"returned {excerpt(text_of(outcome, repr), MAX_SHOWN)}"
    cause = outcome.__cause__ or outcome.__context__
    return f"raised {type(outcome).__name__}" if isinstance(cause, asyncio.CancelledError) else ""
