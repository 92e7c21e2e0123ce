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
from typing import Any, Literal, NamedTuple

from tier0.checks.client.harness.creation import NotCreatedError
from tier0.checks.client.harness.environment import environment
from tier0.checks.client.harness.exits import refused_exits
from tier0.checks.client.harness.own_process import is_importable
from tier0.checks.client.harness.planted import PLANTED
from tier0.checks.client.harness.printed import collected, redirected
from tier0.checks.client.harness.subject import PATIENCE, Caller, Subject
from tier0.checks.stalls import watched_loop
from tier0.core.catalogue import select_checks
from tier0.core.client_catalogue import CLIENT_CATALOGUE, JUDGED_BY, ClientCheck
from tier0.core.declaration import MAX_RESET, Declaration, read_declaration
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

AT_ONCE = 20
"""Concurrent checks; they spend most of their time waiting."""
CHECK_TIMEOUT = 60.0
FREE_LOOP = "hygiene.free_loop"
FAILED_RUN_ENDS = 3
"""Multiple of the expected duration after which a run that has found a failure ends."""
RUN_ENDS = 10
"""Multiple of the expected duration after which any run ends."""
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

    No running service is needed. The checks take about ten seconds with a timeout and a reset of one second,
    and longer if these are longer. They run in an event loop of their own, and also work inside a running
    event loop, which they block. What is left when the run takes three times as long as expected, if a check
    has failed, or ten times, is not checked.

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
    declared = _declared(declare, protocol)
    name = _name_of(factory)
    checks = select_checks(CLIENT_CATALOGUE, only)
    skipped = select_checks(CLIENT_CATALOGUE, skip) if skip else []
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
        run = _Run(checks, _reproduction(factory, declare, protocol), tell or (lambda _: None))
        for check in checks:
            if check in skipped:
                run.add(CheckResult(check.id, "not_judged", "left out with skip", code="waived"))
        run_watched(_run_in_time(run, subject), name)
    if exits and not any(result.status == "fail" for result in run.results):
        raise Tier0Error(
            f"{name} called {exits[0]}, which would end the process of its application: "
            "raise an exception in place of that"
        )
    target = {
        "client": name,
        **({"protocol": declared.protocol} if declared.protocol else {}),
        "declared": declared.promised,
        "knobs": sorted(declared.options),
        "unjudged": unjudged_promises(declared, run.results),
    }
    verdict = Verdict(target, run.results)
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


class Duration(NamedTuple):
    """How long the checks of a client take.

    Attributes:
        expected: seconds for a client that does what it declares.
        if_failed: seconds after which the run ends if a check has failed.
        longest: seconds after which the run ends in any case.
    """

    expected: float
    if_failed: float
    longest: float

    def __str__(self) -> str:
        if_failed = f"{self.if_failed:.0f} s if a check fails"
        return f"about {self.expected:.0f} s, at most {if_failed}, and {self.longest:.0f} s on a slow machine"


def expected_duration(
    declare: Declaration | Mapping[str, Any] | Path | str | None, protocol: str | None = None
) -> Duration:
    """Return how long the checks take, which depends on the declared reset and timeout.

    The coefficients are those of `BentoMLClient` on two cores, measured with resets of 0.3 to 3 s and
    timeouts of 0.5 to 10 s.

    Raises:
        Tier0Error: the declaration is invalid.
    """
    declared = _declared(declare, protocol)
    expected = 4.0 + 2.5 * min(declared.reset or 0.0, MAX_RESET) + 3.0 * (declared.expected_call or 1.0)
    return Duration(expected, FAILED_RUN_ENDS * expected, RUN_ENDS * expected)


def _declared(
    declare: Declaration | Mapping[str, Any] | Path | str | None, protocol: str | None
) -> Declaration:
    with reading(declare) if isinstance(declare, (str, Path)) else nullcontext():
        return read_declaration(declare, protocol)


class _Run:
    """The checks of a client, each with its result as soon as it is certain.

    Args:
        checks: checks to run.
        command_for: function from the id of a check to the command that repeats it.
        tell: function that is called with each result.
    """

    def __init__(
        self,
        checks: Sequence[ClientCheck],
        command_for: Callable[[str], str],
        tell: Callable[[CheckResult], None],
    ) -> None:
        self._checks = checks
        self._command_for = command_for
        self._tell = tell
        self._results: dict[str, CheckResult] = {}
        self._disturbed: set[ClientCheck] = set()
        self._places = asyncio.Semaphore(AT_ONCE)
        self.any_failed = asyncio.Event()

    @property
    def undecided(self) -> list[ClientCheck]:
        """The checks that have no result."""
        return [check for check in self._checks if check.id not in self._results]

    @property
    def results(self) -> list[CheckResult]:
        """The results, in the order of the checks."""
        return [self._results[check.id] for check in self._checks if check.id in self._results]

    def add(self, result: CheckResult) -> None:
        """Add a result, and tell it."""
        self._results[result.id] = result
        self._tell(result)
        if result.status == "fail":
            self.any_failed.set()

    def failed_check(self, check: str) -> bool:
        """Return True if the check with this id has failed."""
        return check in self._results and self._results[check].status == "fail"

    async def until_decided(self, subject: Subject) -> None:
        """Run the checks, concurrently where possible, and repeat those that others may have disturbed.

        A client that blocks the event loop while it sleeps would delay all checks that run at the same time:
        it is checked for that first, and its checks run one at a time.
        """
        made, subject = await _inspect(subject)
        await self._one_at_a_time(subject, made, [check for check in self.undecided if check.id == FREE_LOOP])
        if subject.blocks or not self.failed_check(FREE_LOOP):
            beside = [check for check in self.undecided if not _runs_alone(check, subject)]
            waiting = [check for check in self.undecided if check.waits]
            await self._at_once(
                subject, made, sorted(beside, key=_is_long, reverse=True)
            )  # the long ones first
            await self._at_once(subject, made, waiting)
        await self._one_at_a_time(subject, made, self.undecided)

    async def _at_once(self, subject: Subject, made: Any, checks: Sequence[ClientCheck]) -> None:
        """Run *checks* at the same time, and add the results that others cannot have disturbed."""

        async def run(check: ClientCheck) -> None:
            async with self._places:
                result = await _run_check(subject, check, made, self._command_for)
            if _may_be_disturbed(result):
                self._disturbed.add(check)
            else:
                self.add(result)

        await asyncio.gather(*map(run, checks))

    async def _one_at_a_time(self, subject: Subject, made: Any, checks: Sequence[ClientCheck]) -> None:
        """Run *checks* one after the other; a result that may have been disturbed is tried once more."""
        for check in checks:
            result = await _run_check(subject, check, made, self._command_for)
            if _may_be_disturbed(result) and check not in self._disturbed:
                result = await _run_check(subject, check, made, self._command_for)
            self.add(result)


def _is_long(check: ClientCheck) -> bool:
    """Return whether a check waits for resets, or for timeouts of attempts or health checks."""
    return bool({"reset", "attempt_timeout"} & set(check.declared)) or check.group == "health"


async def _run_in_time(run: _Run, subject: Subject) -> None:
    """Run the checks until all are done, or the time is over; what is left has not been checked then."""
    began, duration = time.monotonic(), expected_duration(subject.declared)
    running = asyncio.ensure_future(run.until_decided(subject))
    failed = asyncio.ensure_future(run.any_failed.wait())
    try:
        await asyncio.wait({running}, timeout=duration.if_failed)
        left = began + duration.longest - time.monotonic()
        await asyncio.wait({running, failed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
    finally:
        failed.cancel()
        running.cancel()
        await asyncio.wait({running, failed})
    over = f"the checks were not completed within {time.monotonic() - began:.0f} s"
    remedy = (
        f"make the client pass {FREE_LOOP} first (a client that blocks the event loop is checked slowly)"
        if run.failed_check(FREE_LOOP)
        else "run this check alone (--only), or shorten the timeouts and the reset with [options] in "
        "the declaration"
    )
    for check in run.undecided:
        run.add(CheckResult(check.id, "not_judged", f"{over}: {remedy}", code="timeout"))


def _runs_alone(check: ClientCheck, subject: Subject) -> bool:
    return check.alone and not (check.own_process and is_importable(subject))


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
    subject: Subject, check: ClientCheck, made: Any, command_for: Callable[[str], str]
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
        result = await _result(check, function, subject, command_for)
    if lines := printed.lines:
        more = [f"… {len(lines) - MAX_PRINTED} more …"] if len(lines) > MAX_PRINTED else []
        result.evidence["printed"] = [*more, *lines[-MAX_PRINTED:]]
    return replace(result, seconds=time.perf_counter() - start).without(ENVIRONMENT)


async def _result(
    check: ClientCheck,
    function: Callable[[Subject], Awaitable[dict[str, Any] | None]],
    subject: Subject,
    command_for: Callable[[str], str],
) -> CheckResult:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return CheckResult(check.id, "pass", "", await function(subject) or {})
    except NotJudgedError as problem:
        return CheckResult(check.id, "not_judged", str(problem), code=problem.code)
    except CheckFailedError as problem:
        command = command_for(check.id)
        return CheckResult(check.id, "fail", problem.message, problem.evidence, problem.causes, command)
    except TimeoutError:
        reason = (
            f"the check took more than {CHECK_TIMEOUT:g} s: "
            "shorten the client's timeouts and its reset time with [options] in the declaration"
        )
        return CheckResult(check.id, "not_judged", reason, code="timeout")
    except Exception as problem:  # noqa: BLE001 - an error in one check must not hide the results of others
        reason = f"unexpected error in the check: {type(problem).__name__}: {text_of(problem)}"
        return CheckResult(check.id, "error", reason)
