"""`check_client`: run the checks of a client, several at once, and repeat each failed one alone."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from tier0.checks.client.harness.creation import NotCreatedError
from tier0.checks.client.harness.environment import environment
from tier0.checks.client.harness.exits import refused_exits
from tier0.checks.client.harness.planted import PLANTED
from tier0.checks.client.harness.printed import collected, redirected
from tier0.checks.client.harness.subject import PATIENCE, Caller, Subject
from tier0.checks.stalls import watched_loop
from tier0.core.catalogue import select_checks
from tier0.core.client_catalogue import CLIENT_CATALOGUE, JUDGED_BY, ClientCheck
from tier0.core.declaration import Declaration, read_declaration
from tier0.core.display import text_of
from tier0.core.errors import Tier0Error, reading
from tier0.core.import_object import import_named
from tier0.core.secrets import ENVIRONMENT
from tier0.core.verdict import (
    CheckFailedError,
    CheckResult,
    DoesNotHoldError,
    InconclusiveError,
    NotJudgedError,
    Verdict,
)
from tier0.faults import Reply
from tier0.runs.watched_thread import run_watched

AT_ONCE = 10
"""Concurrent checks; they spend most of their time waiting."""
CHECK_TIMEOUT = 60.0
ALL_TIMEOUT = 240.0
"""Seconds for all checks; what is not completed by then is not checked."""
MAX_MINUTES = 5
"""Bound of `check_client`: all checks, and what may come before and after them.

That is the creation of the client, a loop that is abandoned because the client blocks it, and the closing of
the clients of the last checks.
"""
CLOSES_SOON = 2.0
"""Seconds to wait until the first client is closed."""
CLOSES_LATE = 0.1
"""Seconds to wait for the other clients if the first was not closed by then."""
MAX_PRINTED = 20
"""Lines of the client's output that the result of a check has."""
BLOCKING_DELAYS = (0.1, 0.3)
"""Delays of two responses, in seconds, that show whether a client blocks the event loop.

The first call may block it only because it imports modules.
"""
LOOP_STALL_SHARE = 0.8
"""Share of such a delay for which a blocking client stalls the event loop."""
TRACING_DISABLED = {"OPIK_TRACK_DISABLE": "true", "OPIK_URL_OVERRIDE": "http://127.0.0.1:9/api"}
"""Environment during the checks: only the checks of tracing, which start a fake Opik server, send traces."""
UNREPEATED = "it did not pass beside other checks, and was not repeated alone"
UNCERTAIN = {"fail", "error"}
"""The status of a result that other checks, which run at the same time, may have caused."""
REQUIREMENTS = {
    "predict_batch": "a method predict_batch",
    "health": "a method health or health_check",
    "close": "a method close or aclose",
    "model": "a parameter model of predict",
    "asynchronous": "a coroutine function predict that does not block the event loop",
    "coroutines": "a coroutine function predict",
    "importable": "a name (module:function) by which another process can import its factory",
}


def check_client(
    factory: Callable[..., Any] | str,
    declare: Declaration | Mapping[str, Any] | Path | str | None = None,
    *,
    protocol: str | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    on_fail: Literal["raise", "return"] = "raise",
    tell: Callable[[CheckResult], None] | None = None,
) -> Verdict:
    """Check how a client handles failures, with servers that misbehave on purpose.

    No running service is needed. The checks take about ten seconds, and at most five minutes if the client is
    slow and fails many of them. They run in an event loop of their own, and also work inside a running event
    loop, which they block.

    Args:
        factory: function that creates the client, given a URL and the declared options, or its name,
            ``module:function``; it may also be a context manager or a generator. The client has a method
            ``predict`` or is itself a function; it may also have ``predict_batch``, ``health`` and ``close``.
            All of them may be asynchronous.
        declare: declaration of the client's behaviour, or the path of a TOML file; only declared behaviour is
            checked.
        protocol: protocol of the client's services (``v2``, ``v1``, ``mlflow``, ``sagemaker``, ``openapi`` or
            ``bentoml``), in which the servers respond; it precedes the one in *declare*.
        only: groups or ids of checks; by default, all.
        skip: groups or ids of checks that are left out.
        on_fail: ``raise`` raises an exception unless the verdict is ``pass``; ``return`` returns any verdict.
        tell: function that is called with each result.

    Returns:
        The verdict with all results.

    Raises:
        Tier0Error: the factory or the declaration is invalid, or the client cannot be called.
        DoesNotHoldError: a check failed, and *on_fail* is ``raise``.
        InconclusiveError: the verdict is ``inconclusive``, and *on_fail* is ``raise``.
    """
    with reading(declare) if isinstance(declare, (str, Path)) else nullcontext():
        declared = read_declaration(declare, protocol)
    name = _name_of(factory)
    checks = select_checks(CLIENT_CATALOGUE, only)
    skipped = {check.id for check in select_checks(CLIENT_CATALOGUE, skip)} if skip else set()
    command_for = _reproduction(factory, declare, protocol)
    with environment(TRACING_DISABLED | PLANTED), redirected(), refused_exits() as exits:
        create = (
            import_named("client", factory, "a function that takes a URL and returns a client")
            if isinstance(factory, str)
            else factory
        )
        if not callable(create):
            kind = type(create).__name__
            raise Tier0Error(f"invalid client factory {name!r}: expected a function, got {kind}")
        subject = Subject(create, declared, name)
        work = _run_checks(subject, checks, skipped, command_for, tell or (lambda _: None))
        results = run_watched(work, name)
    if exits and not any(result.status == "fail" for result in results):
        raise Tier0Error(
            f"{name} called {exits[0]}, which would end the process of its application: "
            "raise an exception in place of that"
        )
    target = {
        "client": name,
        **({"protocol": declared.protocol} if declared.protocol else {}),
        "declared": declared.promised,
        "knobs": sorted(declared.options),
        "unjudged": unjudged_promises(declared, results),
    }
    verdict = Verdict(target, results)
    if on_fail == "raise":
        _raise_unless_passed(verdict)
    return verdict


def unjudged_promises(declared: Declaration, results: Sequence[CheckResult]) -> list[str]:
    """Return the declared fields for which checks were selected, but none of them could be decided."""
    statuses = {result.id: result.status for result in results if result.code != "waived"}
    judging = {
        promise: [statuses[check] for check in checks if check in statuses]
        for promise, checks in JUDGED_BY.items()
        if promise in declared.promised and declared.promises(promise) and promise != "timeout_is"
    }
    return [promise for promise, found in judging.items() if found and set(found) == {"not_judged"}]


def _name_of(factory: Callable[..., Any] | str) -> str:
    if isinstance(factory, str):
        return factory
    return f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', factory)}"


def _raise_unless_passed(verdict: Verdict) -> None:
    if verdict.verdict == "pass":
        return
    explained = [
        "\n".join([result.explain(), *(f"  {line}" for line in result.evidence.get("timeline", ()))])
        for result in (*verdict.with_status("fail"), *verdict.with_status("error"))
    ]
    kind = DoesNotHoldError if verdict.verdict == "fail" else InconclusiveError
    raise kind("\n\n".join(explained) or verdict.reason)


def _reproduction(
    factory: Callable[..., Any] | str,
    declare: Declaration | Mapping[str, Any] | Path | str | None,
    protocol: str | None,
) -> Callable[[str], str]:
    """Return a function from the id of a check to the command or call that runs only this check."""
    if not isinstance(factory, str):
        called = getattr(factory, "__qualname__", factory)
        spoken = f"protocol='{protocol}', " if protocol else ""
        return lambda check: f"tier0.check_client({called}, …, {spoken}only=['{check}'])"
    options = f" --declare {declare}" if isinstance(declare, (str, Path)) else ""
    options += f" --protocol {protocol}" if protocol else ""
    return lambda check: f"tier0 check-client {factory}{options} --only {check}"


async def _run_checks(
    subject: Subject,
    checks: list[ClientCheck],
    skipped: set[str],
    command_for: Callable[[str], str],
    tell: Callable[[CheckResult], None],
) -> list[CheckResult]:
    """Run *checks*, concurrently where possible, and repeat those that failed while others were running.

    Each result is reported as soon as it is known.
    """
    deadline = asyncio.get_running_loop().time() + ALL_TIMEOUT
    made, subject = await _inspect(subject)
    results: dict[str, CheckResult] = {}
    places = asyncio.Semaphore(AT_ONCE)

    async def run(check: ClientCheck, *, is_last: bool) -> None:
        async with places:
            result = await _run_check(subject, check, made, command_for, deadline)
        if is_last and result.code == "timeout" and _may_be_disturbed(results[check.id]):
            result = replace(result, message=f"{UNREPEATED}: {result.message}")
        results[check.id] = result
        if is_last or not _may_be_disturbed(result):
            tell(result)

    for check in checks:
        if check.id in skipped:
            results[check.id] = CheckResult(check.id, "not_judged", "left out with skip", code="waived")
            tell(results[check.id])
    asked = [check for check in checks if check.id not in skipped]
    together = sorted(
        (check for check in asked if not check.alone), key=lambda check: "reset" not in check.declared
    )  # the longest, which wait for resets, first
    await asyncio.gather(*(run(check, is_last=False) for check in together))
    for check in asked:
        if check.alone:
            await run(check, is_last=False)
        if _may_be_disturbed(results[check.id]):
            await run(check, is_last=True)
    return [results[check.id] for check in checks]


def _may_be_disturbed(result: CheckResult) -> bool:
    """Return whether other checks, which ran at the same time, may be the reason for a result."""
    return result.status in UNCERTAIN or result.code == "busy"


async def _inspect(subject: Subject) -> tuple[Any, Subject]:
    """Create a client and call it.

    Returns:
        The client, and *subject* with the facts whether it is asynchronous and whether it blocks the event
        loop.

    Raises:
        Tier0Error: the client cannot be created or called.
    """
    delays = [min(delay, 2 * delay * subject.declared.longest_attempt) for delay in BLOCKING_DELAYS]
    script = [Reply(body=subject.declared.answer, delay=delay) for delay in delays]
    first = replace(subject, closes_within=CLOSES_SOON)
    async with AsyncExitStack() as stack:
        try:
            caller = await stack.enter_async_context(first.against(script))
        except Exception as problem:
            options = [f"{key}={value!r}" for key, value in subject.declared.options.items()]
            is_late = isinstance(problem, NotCreatedError)
            what = str(problem) if is_late else f"raised {type(problem).__name__}: {text_of(problem)}"
            raise Tier0Error(
                f"the client could not be created: {subject.name}({', '.join(['URL', *options])}) {what}. "
                "Check the factory and [options] in the declaration"
            ) from problem
        made = caller.made
        if not callable(made) and not callable(getattr(made, "predict", None)):
            raise Tier0Error(
                f"{subject.name} returned {type(made).__name__}, which has no predict and is not a function: "
                "wrap the client in an adapter with a method predict(data)"
            )
        blocks = await _blocks(caller, subject.name, delays[0])
        call = caller.calls[0]
        if not call.requests:
            raise Tier0Error(
                f"the client cannot be checked: a first call of {subject.name} returned "
                f"{_described(call.answer)}, and sent no request to the URL that the factory was given. "
                "Wrap the client in an adapter whose predict sends the request and returns the prediction"
            )
        blocks = blocks and await _blocks(caller, subject.name, delays[1])
    return made, replace(
        subject,
        asynchronous=caller.is_asynchronous,
        blocks=blocks,
        closes_within=PATIENCE if caller.closed_in_time else CLOSES_LATE,
    )


async def _blocks(caller: Caller, name: str, delay: float) -> bool:
    """Call a client once, and return whether it blocked the event loop for the *delay* of the response.

    Raises:
        Tier0Error: the call failed.
    """
    async with watched_loop() as stalls:
        call = await caller.predict()
    for entry in caller.log.noted if call.error is not None else ():
        if entry.what == "incomplete":
            raise Tier0Error(
                f"the client cannot be checked: its request promised {entry.detail['declared']} bytes "
                f"(Content-Length), but only {entry.detail['received']} followed: {call.outcome}"
            )
    if call.error is not None:
        raise Tier0Error(
            f"the client cannot be checked: a first call of {name} to a healthy service failed: "
            f"{call.outcome}. "
            "Declare its argument ([data]), a response of its services ([answer]), and the responses that it "
            "needs "
            "while it is created ([setup]); if predict takes other arguments, wrap the client in an adapter"
        )
    return caller.is_asynchronous and stalls.longest > LOOP_STALL_SHARE * delay


def _described(answer: Any) -> str:
    if inspect.isasyncgen(answer) or inspect.isgenerator(answer):
        return "a generator, which does nothing until it is iterated"
    return f"{type(answer).__name__} without an error"


async def _run_check(
    subject: Subject, check: ClientCheck, made: Any, command_for: Callable[[str], str], deadline: float
) -> CheckResult:
    start = time.perf_counter()
    if undeclared := [field for field in check.declared if not subject.declared.promises(field)]:
        reason = f"not declared: {', '.join(undeclared)}"
        return CheckResult(check.id, "not_judged", reason, code="undeclared")
    if lacking := [REQUIREMENTS[method] for method in check.methods if subject.lacks(made, method)]:
        reason = f"the client lacks {' and '.join(lacking)}"
        return CheckResult(check.id, "not_judged", reason, code="not_offered")
    function = getattr(import_module(f"tier0.checks.client.{check.group}"), check.id.partition(".")[2])
    with collected() as printed:
        result = await _result(check, function, subject, command_for, deadline)
    if lines := printed.lines:
        more = [f"… {len(lines) - MAX_PRINTED} more …"] if len(lines) > MAX_PRINTED else []
        result.evidence["printed"] = [*more, *lines[-MAX_PRINTED:]]
    return replace(result, seconds=time.perf_counter() - start).without(ENVIRONMENT)


async def _result(
    check: ClientCheck,
    function: Callable[[Subject], Awaitable[dict[str, Any] | None]],
    subject: Subject,
    command_for: Callable[[str], str],
    deadline: float,
) -> CheckResult:
    left = deadline - asyncio.get_running_loop().time()
    try:
        if left <= 0:
            raise TimeoutError  # noqa: TRY301 - as if the check had been interrupted
        async with asyncio.timeout(min(CHECK_TIMEOUT, left)):
            return CheckResult(check.id, "pass", "", await function(subject) or {})
    except NotJudgedError as problem:
        return CheckResult(check.id, "not_judged", str(problem), code=problem.code)
    except CheckFailedError as problem:
        command = command_for(check.id)
        return CheckResult(check.id, "fail", problem.message, problem.evidence, problem.causes, command)
    except TimeoutError:
        late = (
            f"the check took more than {CHECK_TIMEOUT:g} s"
            if left > CHECK_TIMEOUT
            else f"all checks together took more than {ALL_TIMEOUT:g} s"
        )
        reason = f"{late}: shorten the client's timeouts and its reset time with [options] in the declaration"
        return CheckResult(check.id, "not_judged", reason, code="timeout")
    except Exception as problem:  # noqa: BLE001 - an error in one check must not hide the results of others
        reason = f"unexpected error in the check: {type(problem).__name__}: {text_of(problem)}"
        return CheckResult(check.id, "error", reason)
