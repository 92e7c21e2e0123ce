"""Judging a client: every check with a server and a client of its own, several at once, and what fails once more, alone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from tier0.checks.client.harness.stalls import watched_loop
from tier0.checks.client.harness.subject import Caller, Subject
from tier0.core.catalogue import select_checks
from tier0.core.client_catalogue import CLIENT_CATALOGUE, ClientCheck
from tier0.core.declaration import Declaration, read_declaration
from tier0.core.errors import Tier0Error
from tier0.core.import_object import import_named
from tier0.core.secrets import Secrets
from tier0.core.verdict import (
    CheckFailedError,
    CheckResult,
    DoesNotHoldError,
    InconclusiveError,
    NotJudgedError,
    Verdict,
)
from tier0.faults import Reply

AT_ONCE = 6
"""Checks; they mostly wait for time to pass."""
CHECK_TIMEOUT = 60.0
ENDS_WITHIN = 1.0
"""Seconds until what a client left behind is left behind by us, too."""
LEAK_PROBE_DELAYS = (0.1, 0.3)
"""Seconds until answers that show whether a client blocks the event loop; twice, since a first call may import what it needs."""
LOOP_STALL_SHARE = 0.8
"""Of such a wait."""
TRACING_DISABLED = {"OPIK_TRACK_DISABLE": "true", "OPIK_URL_OVERRIDE": "http://127.0.0.1:9/api"}
"""While it is judged, a client that traces tells nobody; the checks of tracing have an Opik of their own."""
METHODS = {
    "predict_batch": "a method predict_batch",
    "health": "a method health or health_check",
    "close": "a method close or aclose",
    "model": "an argument model of its predict",
    "asynchronous": "a predict that is a coroutine, and leaves the event loop free",
    "coroutines": "a predict that is a coroutine",
    "importable": "a name, module:function, by which another process can make it",
}


def check_client(
    factory: Callable[..., Any] | str,
    declare: Declaration | Mapping[str, Any] | Path | str | None = None,
    *,
    only: Sequence[str] = (),
    on_fail: Literal["raise", "return"] = "raise",
    tell: Callable[[CheckResult], None] | None = None,
) -> Verdict:
    """Judge a client by what reaches servers that fail on purpose; it needs no service, and takes some ten seconds.

    Args:
        factory: makes the client, given a URL and the declared knobs: a function, or ``module:function``. What it makes has ``predict``,
            or is itself called with the data; and may have ``predict_batch``, ``health`` and ``close``; asynchronous or not.
        declare: what the client promises, or a TOML file with that; what is not declared is not judged.
        only: groups or single checks; all by default.
        on_fail: raise `DoesNotHoldError` unless the verdict is ``pass``, or only return the verdict.
        tell: is told every result as it comes.

    Raises:
        Tier0Error: the factory or the declaration cannot be used.
        DoesNotHoldError: see *on_fail*.
    """
    declared = read_declaration(declare)
    name = (
        factory
        if isinstance(factory, str)
        else f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', factory)}"
    )
    make = (
        import_named("the client", factory, "a function that returns a client for a URL")
        if isinstance(factory, str)
        else factory
    )
    if not callable(make):
        raise Tier0Error(f"the client {name!r} is {type(make).__name__}, not something to call with a URL")
    checks = select_checks(CLIENT_CATALOGUE, only)
    again = _how_to_repeat(factory, declare)
    with mock.patch.dict(os.environ, TRACING_DISABLED):
        results = _run(_judge(Subject(make, declared, name), checks, again, tell or (lambda _: None)))
    verdict = Verdict(
        {"client": name, "declared": declared.promised, "knobs": sorted(declared.knobs)}, results
    )
    if on_fail == "raise" and verdict.verdict != "pass":
        wrong = [*verdict.with_status("fail"), *verdict.with_status("error")]
        told = [
            "\n".join([result.explain(), *(f"  {line}" for line in result.evidence.get("timeline", ()))])
            for result in wrong
        ]
        kind = DoesNotHoldError if verdict.verdict == "fail" else InconclusiveError
        raise kind("\n\n".join(told) or verdict.reason)
    return verdict


def _how_to_repeat(
    factory: Callable[..., Any] | str, declare: Declaration | Mapping[str, Any] | Path | str | None
) -> Callable[[str], str]:
    """Return what makes, for the id of a check, the command or the call that runs this check alone."""
    if not isinstance(factory, str):
        called = getattr(factory, "__qualname__", factory)
        return lambda check: f"tier0.check_client({called}, …, only=['{check}'])"
    options = f" --declare {declare}" if isinstance(declare, (str, Path)) else ""
    return lambda check: f"tier0 check-client {factory}{options} --only {check}"


def _run(judging: Coroutine[Any, Any, list[CheckResult]]) -> list[CheckResult]:
    """Run it as `asyncio.run` does, but leave behind what a client has begun and will not let be cancelled."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # tasks that a client leaves behind are not news, nor ours
    try:
        return loop.run_until_complete(judging)
    finally:
        for task in (left := asyncio.all_tasks(loop)):
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=ENDS_WITHIN))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _judge(
    subject: Subject,
    checks: list[ClientCheck],
    again: Callable[[str], str],
    tell: Callable[[CheckResult], None],
) -> list[CheckResult]:
    made, subject = await _look_at(subject)
    results: dict[str, CheckResult] = {}
    places = asyncio.Semaphore(AT_ONCE)

    async def judge(check: ClientCheck) -> None:
        async with places:
            results[check.id] = await _ask(subject, check, made, again)

    await asyncio.gather(*(judge(check) for check in checks if not check.alone))
    for check in checks:
        if check.alone:
            await judge(check)
        if results[check.id].status in {
            "fail",
            "error",
        }:  # others ran beside it: it is asked once more before it is believed
            await judge(check)
        tell(results[check.id])
    return [results[check.id] for check in checks]


async def _look_at(subject: Subject) -> tuple[Any, Subject]:
    """Make a client and call it, to see what it has, whether it is asynchronous, and whether it says so without being it.

    Raises:
        Tier0Error: it cannot be made, or called.
    """
    delays = [min(look, 2 * look * subject.declared.longest_attempt) for look in LEAK_PROBE_DELAYS]
    async with AsyncExitStack() as stack:
        try:
            caller = await stack.enter_async_context(
                subject.against([Reply(body=subject.declared.answer, delay=delay) for delay in delays])
            )
        except Exception as problem:
            how = ", ".join(["URL", *(f"{key}={value!r}" for key, value in subject.declared.knobs.items())])
            raise Tier0Error(
                f"the client cannot be made: {subject.name}({how}) raised {type(problem).__name__}: {problem}. Check the factory and its [knobs]"
            ) from problem
        made = caller.made
        if not callable(made) and not callable(getattr(made, "predict", None)):
            raise Tier0Error(
                f"{subject.name} makes {type(made).__name__}, which has no predict and cannot be called: give it one in a small adapter"
            )
        blocks = await _blocks(caller, subject.name, delays[0]) and await _blocks(
            caller, subject.name, delays[1]
        )
        return made, replace(subject, asynchronous=caller.is_asynchronous, blocks=blocks)


async def _blocks(caller: Caller, name: str, delay: float) -> bool:
    """Call a client once, and tell whether the event loop stood still until the answer came.

    Raises:
        Tier0Error: it cannot be called.
    """
    async with watched_loop() as stalls:
        call = await caller.predict()
    if call.error is not None:
        raise Tier0Error(
            f"the client cannot be judged: the first call of {name} to a service that answers every request ended in {call.outcome}. "
            "Declare what it is called with ([data]), what its services answer ([answer]), and what it asks for while it is made ([setup]); "
            "a predict with other arguments needs an adapter of a few lines"
        )
    return caller.is_asynchronous and stalls.longest > LOOP_STALL_SHARE * delay


async def _ask(subject: Subject, check: ClientCheck, made: Any, again: Callable[[str], str]) -> CheckResult:
    start = time.perf_counter()
    if undeclared := [field for field in check.declared if not subject.declared.promises(field)]:
        message = f"{' and '.join(undeclared)} {'is' if len(undeclared) == 1 else 'are'} not declared"
        return CheckResult(check.id, "not_judged", message, code="undeclared")
    if lacking := [METHODS[method] for method in check.methods if subject.lacks(made, method)]:
        return CheckResult(
            check.id, "not_judged", f"the client lacks {' and '.join(lacking)}", code="not_offered"
        )
    body = getattr(import_module(f"tier0.checks.client.{check.group}"), check.id.partition(".")[2])
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            result = CheckResult(check.id, "pass", "", await body(subject) or {})
    except NotJudgedError as problem:
        result = CheckResult(check.id, "not_judged", str(problem), code=problem.code)
    except CheckFailedError as problem:
        result = CheckResult(
            check.id, "fail", problem.message, problem.evidence, problem.causes, again(check.id)
        )
    except TimeoutError:
        message = f"the check took more than {CHECK_TIMEOUT:g} s: declare knobs that shorten the client's timeouts and its reset"
        result = CheckResult(check.id, "not_judged", message, code="timeout")
    except Exception as problem:  # noqa: BLE001 - a check that breaks must not hide what the others found
        result = CheckResult(
            check.id, "error", f"unexpected error in the check: {type(problem).__name__}: {problem}"
        )
    return replace(result, seconds=time.perf_counter() - start).without(Secrets(os.environ))
