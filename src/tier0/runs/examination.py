"""The examination of one deployment, by which the plugin, the command line and the functions run checks."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import httpx

from tier0.checks.serving.harness.pace import Pace
from tier0.checks.serving.harness.sender import Sender, UnansweredError
from tier0.checks.serving.harness.target import NoPredictionError, OverloadedError, Target
from tier0.client.transport import ACCEPTED_CODINGS, MAX_RESPONSE_BYTES, BoundedTransport
from tier0.contract.contract import Contract, ContractError
from tier0.core.catalogue import LEVELS, Check, Disturbance
from tier0.core.errors import Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.events import CheckDone, TargetDescribed
from tier0.core.import_object import import_named
from tier0.core.secrets import Secrets
from tier0.core.verdict import PARITY, CheckFailedError, CheckResult, Code, NotJudgedError, Verdict
from tier0.core.waivers import Waiver
from tier0.faults.background import BackgroundLoop
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment, OwnDeployment
from tier0.runs.discovery import discover
from tier0.runs.draft import Draft, draft
from tier0.serving.certificate import trust_only

REQUEST_TIMEOUT = 30.0
CHECK_TIMEOUT = 120.0
CLOSE_TIMEOUT = 2.0
OUTPUTS_TO_RESPONSE = 10
"""Size of the largest response, in sizes of the golden rows' outputs."""
CONNECTIONS = 40
POLL = 0.25
"""Seconds between two requests to a service that does not respond yet."""
PROGRESS_INTERVAL = 2.0
"""Seconds of waiting until the first line of progress, and between two of them."""
STARTING = {httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT}
"""Statuses with which a proxy reports that the service behind it is not available yet."""
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
"""Name of a header that means nothing to a shell."""


class Examination:
    """Runs checks on one deployment, one at a time, on a private event loop in a thread.

    It is opened by the first check: the client factory is imported, connections are made, and the contract is
    discovered. The first check that needs golden rows and finds that a well-formed request gets no prediction
    reports it; later checks, which would fail for the same reason, are not run.

    Args:
        deployment: deployment to check.
        report: called with a line of progress while the service does not respond yet.
        timeout: seconds for all checks, after which the others are reported as not checked; the wait for a
            service that does not respond yet is not included. No limit by default.
        events: log in which `examine` records its results.

    Attributes:
        requests: for each request of the last check, its start on the monotonic clock, and whether it got a
            response without status 5xx. Those of the first check include the discovery of the contract.
        retried: reason to the number of requests of the last check that were sent again for it.
        failure: error with which opening failed.
    """

    def __init__(
        self,
        deployment: Deployment,
        report: Callable[[str], None] = lambda _: None,
        timeout: float | None = None,
        events: EventLog | None = None,
    ) -> None:
        self.deployment = deployment
        self.requests: list[list[Any]] = []
        self.retried: dict[str, int] = {}
        self.failure: Tier0Error | None = None
        self._report = report
        self._events = events
        self._secrets = Secrets(os.environ, dict(deployment.headers))
        self._lock = threading.RLock()
        self._loop: BackgroundLoop | None = None
        self._clients: list[httpx.AsyncClient] = []
        self._target: Target | None = None
        self._moments: list[list[Any]] = []
        self._counted: Counter[str] = Counter()
        self._has_predicted = False
        self._timeout = timeout
        self._deadline = math.inf
        self._reported_by = ""
        self._explained_by = ""

    def open(self) -> None:
        """Open the examination; later calls do nothing, or raise the same error again.

        Raises:
            UnansweredError: the service does not respond.
            ContractError: the contract is not clear.
            Tier0Error: the client factory cannot be imported.
        """
        with self._lock:
            if self.failure is not None:
                raise self.failure.with_traceback(None)
            if self._target is not None:
                return
            if self._timeout is not None:
                self._deadline = time.monotonic() + self.deployment.wait + self._timeout
            try:
                make_client = _load_client(self.deployment.client)
                self._loop = BackgroundLoop("tier0-examination")
                self._target = self._loop.run(self._connect_in_time(make_client), timeout=None)
            except BaseException as problem:
                self.failure = problem if isinstance(problem, Tier0Error) else None
                self.close()
                raise

    def close(self) -> None:
        """Close the connections and end the thread, within two seconds."""
        loop, self._loop, self._target = self._loop, None, None
        if loop is None:
            return
        for http in self._clients:
            with suppress(TimeoutError):
                loop.run(http.aclose(), timeout=CLOSE_TIMEOUT / 4)
        loop.close(timeout=CLOSE_TIMEOUT / 2)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, check: Check, disturb: Disturbance | None = None) -> CheckResult:
        """Run one check.

        Args:
            check: check of the catalogue.
            disturb: how far the deployment may be disturbed; by default as the deployment allows.

        Raises:
            Tier0Error: see `open`.
        """
        with self._lock:
            self.open()
            assert self._loop is not None  # noqa: S101 - `open` has made it
            start = time.perf_counter()
            result = self._not_checked(check, disturb or self.deployment.disturb)
            if result is None and self._is_late():
                result = self._not_reached(check)
            if result is None:
                result = self._loop.run(self._run(check), timeout=None)
            self.requests, self._moments = self._moments, []
            retried = self._retried
            self.retried, self._counted = dict(retried - self._counted), retried
            return replace(result, seconds=time.perf_counter() - start).without(self._secrets)

    def examine(self, checks: Sequence[Check], tell: Callable[[CheckResult], None]) -> Verdict:
        """Run *checks* in order, call *tell* with each result, and return the verdict."""
        results = []
        for check in checks:
            results.append(self.ask(check))
            self._record(check, results[-1])
            tell(results[-1])
        verdict = Verdict(self._facts(), results)
        if self._events is not None:
            self._events.emit(TargetDescribed(verdict.target))
        return verdict

    def _record(self, check: Check, result: CheckResult) -> None:
        """Record the last result, with its requests."""
        if self._events is not None:
            opened = self._events.opened
            requests = [(moment - opened, answered) for moment, answered in self.requests]
            self._events.emit(CheckDone.of(result, check.question, requests, self.retried))

    def _facts(self) -> dict[str, Any]:
        assert self._target is not None  # noqa: S101 - opened by the first check
        deployment = self.deployment
        return {
            "url": deployment.url,
            "model": deployment.tag,
            "golden_rows": len(deployment.golden or []),
            "power": None if deployment.golden is None else deployment.golden.power,
            "edge_cases": 0 if deployment.golden is None else len(deployment.golden.edge_cases),
            "route": None if self._target.contract.why_not_asked else self._target.contract.route,
            "disturb": deployment.disturb,
            "waivers": [str(waiver) for waiver in deployment.waivers if waiver.is_active],
            "retried": dict(self._retried),
            **({"assumed": assumed} if (assumed := self._target.what_is_assumed) else {}),
            **({} if deployment.rate is None else {"rate": deployment.rate}),
            **({"suspicions": list(deployment.suspicions)} if deployment.suspicions else {}),
            **({"origin": deployment.origin} if deployment.origin else {}),
        }

    @property
    def _retried(self) -> Counter[str]:
        """A copy of the number of requests that were sent again, by reason."""
        return Counter() if self._target is None else Counter(self._target.sender.retried)

    def draft(self) -> Draft:
        """Draft the contract of the service from what is declared already; see `tier0.runs.draft`.

        Raises:
            Tier0Error: the service does not respond, or does not accept rows.
        """
        self._loop = BackgroundLoop("tier0-draft")
        try:
            return self._loop.run(self._draft(), timeout=None)
        finally:
            self.close()

    async def _draft(self) -> Draft:
        contract = self.deployment.contract
        declared = {} if contract is None or isinstance(contract, Contract) else contract
        return await draft(await self.reach(None), declared)

    async def _connect_in_time(self, make_client: Callable[[str], Any] | None) -> Target:
        """Return the target.

        Raises:
            UnansweredError: the service did not answer the requests that this takes before the deadline.
        """
        try:
            async with asyncio.timeout(self._time_left()):
                return await self._connect(make_client)
        except TimeoutError as problem:
            raise UnansweredError(
                f"{self.deployment.url} did not complete its description, or a first prediction, within "
                f"{self._timeout:g} s (--timeout)"
            ) from problem

    async def _connect(self, make_client: Callable[[str], Any] | None) -> Target:
        target = await self.reach(make_client)
        try:
            return await discover(target, self.deployment.contract)
        except ContractError as problem:
            if self.deployment.golden is not None:
                raise
            return replace(target, contract=Contract(health="/readyz", why_not_asked=str(problem)))

    async def reach(self, make_client: Callable[[str], Any] | None = None) -> Target:
        """Return the target without its contract, as soon as the service responds.

        The caller closes the clients of its sender, unless the examination is closed.
        """
        deployment = self.deployment
        own = "" if deployment.server is None else deployment.server.certificate
        trust = trust_only(own) if own else _trust_of(deployment)
        http, fresh = (self._client(trust, kept_open) for kept_open in (CONNECTIONS, 0))
        self._clients = [http, fresh]
        pace = None if deployment.rate is None else Pace(deployment.rate)
        await self._wait(Sender(deployment.url, http, retries=0, pace=pace))
        return Target(
            Contract(),
            Sender(
                deployment.url,
                http,
                deployment.retries,
                fresh=fresh,
                planted="" if deployment.server is None else deployment.server.planted,
                pace=pace,
            ),
            deployment.golden,
            deployment.tag,
            mask=deployment.mask,
            same_arithmetic=isinstance(deployment, OwnDeployment),
            process=deployment.server,
            make_client=make_client,
            header_names=tuple(name for name in deployment.headers if _PLAIN_NAME.fullmatch(name)),
            hide=self._secrets.hide,
            on_prediction=self._saw_prediction,
            rows_option=deployment.rows_option,
        )

    def _client(self, trust: ssl.SSLContext, kept_open: int) -> httpx.AsyncClient:
        """Return an HTTP client that keeps up to *kept_open* connections open between requests."""
        deployment = self.deployment
        limits = httpx.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=kept_open, keepalive_expiry=4.0
        )
        return httpx.AsyncClient(
            headers={"Accept-Encoding": ACCEPTED_CODINGS, **deployment.headers},
            timeout=REQUEST_TIMEOUT,
            transport=BoundedTransport(
                [deployment.url], _max_response_bytes(deployment.golden), trust=trust, limits=limits
            ),
            trust_env=False,
            event_hooks=self._hooks(),
        )

    async def _wait(self, sender: Sender) -> None:
        """Wait until the service responds; if it does not, the discovery raises the error."""
        start = reported = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.deployment.wait):
                while self.deployment.wait and not await _responds(sender):
                    if (now := time.monotonic()) - reported >= PROGRESS_INTERVAL:
                        reported = now
                        waited = f"{now - start:.0f} of {self.deployment.wait:g} s"
                        self._report(f"waiting for {sender.url}: no response yet ({waited})")
                    await asyncio.sleep(POLL)

    def _hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return the hooks with which httpx notes every request."""

        async def on_request(request: httpx.Request) -> None:
            self._moments.append([time.monotonic(), False])
            request.extensions["tier0"] = self._moments[-1]

        async def on_response(response: httpx.Response) -> None:
            response.request.extensions["tier0"][1] = not response.is_server_error

        return {"request": [on_request], "response": [on_response]}

    def _saw_prediction(self) -> None:
        self._has_predicted = True

    def _time_left(self) -> float | None:
        """The seconds until the deadline; None without a deadline."""
        return None if self._timeout is None else max(self._deadline - time.monotonic(), 0.001)

    def _is_late(self) -> bool:
        return time.monotonic() >= self._deadline

    def _timed_out(self, check: Check, waited: float) -> CheckResult:
        """Return the result of a check that took too long, *waited* seconds of it because of --rate."""
        if self._is_late():
            return self._not_reached(check)
        if waited > CHECK_TIMEOUT / 2:
            reason = f"not completed within {CHECK_TIMEOUT:g} s with --rate {self.deployment.rate:g}"
            return CheckResult(check.id, "not_judged", reason, code="rate")
        return _error_of(check, TimeoutError())

    def _not_reached(self, check: Check) -> CheckResult:
        slow = f" with --rate {self.deployment.rate:g}" if self.deployment.rate is not None else ""
        reason = f"not completed within {self._timeout:g} s{slow}, the limit for all checks (--timeout)"
        return CheckResult(check.id, "not_judged", reason, code="timeout")

    def _not_checked(self, check: Check, allowed: Disturbance) -> CheckResult | None:
        """Return the result of a check that cannot be run, with the reason; None if it can be run."""
        for reason, code in self._obstacles(check, allowed):
            return CheckResult(check.id, "not_judged", reason, code=code)
        return None

    def _obstacles(self, check: Check, allowed: Disturbance) -> Iterator[tuple[str, Code]]:
        """Yield the reasons why a check cannot be run, with their codes, the most important one first."""
        needs_golden = "golden" in check.needs
        if needs_golden and self.deployment.golden is None:
            if self.deployment.without_golden:
                yield "no golden rows (accepted by --without-golden)", "without_golden"
            yield "no golden rows: pass --golden or --model", "no_golden"
        if LEVELS.index(check.disturb) > LEVELS.index(allowed):
            remedy = f"to allow that, pass --disturb {check.disturb}"
            yield f"this check disturbs the service ({check.disturb}); {remedy}", "disturbs"
        if needs_golden and self._target is not None and (reason := self._target.contract.why_not_asked):
            self._explained_by = self._explained_by or check.id
            if check.id not in {self._explained_by, PARITY}:
                reason = f"no prediction can be requested: see {PARITY}"
            yield reason, "undeclared"
        if needs_golden and self._reported_by not in {"", check.id}:
            yield f"a well-formed request gets no prediction: see {self._reported_by}", "muted"

    async def _run(self, check: Check) -> CheckResult:
        """Run one check, and turn its outcome into a result."""
        assert self._target is not None  # noqa: S101 - `open` has made it
        if check.id == self._reported_by:  # repeated: the service may return predictions by now
            self._target.memo.clear()
        waivers = [waiver for waiver in self.deployment.waivers if waiver.check == check.id]
        tolerances = [waiver for waiver in waivers if waiver.is_active and waiver.relative is not None]
        tolerance = max((waiver.relative or 0.0 for waiver in tolerances), default=0.0)
        target = replace(self._target, tolerance=tolerance)
        body = getattr(import_module(f"tier0.checks.serving.{check.group}"), check.id.partition(".")[2])
        pace = target.sender.pace
        waited = pace.waited if pace is not None else 0.0
        try:
            async with asyncio.timeout(min(CHECK_TIMEOUT, self._time_left() or math.inf)):
                evidence = await body(target) or {}
            result = CheckResult(check.id, "pass", "; ".join(map(str, tolerances)), evidence)
        except Exception as problem:  # noqa: BLE001 - an error in one check must not end the others
            if isinstance(problem, TimeoutError):
                result = self._timed_out(check, pace.waited - waited if pace is not None else 0.0)
            else:
                result = self._result_of(check, problem)
            result = _waived(result, waivers)
            is_unpredicted = isinstance(problem, (NoPredictionError, UnansweredError))
            if is_unpredicted and result.status in {"fail", "error"} and not self._has_predicted:
                self._reported_by = check.id
        if self._has_predicted:
            self._reported_by = ""
        return result

    def _result_of(self, check: Check, problem: Exception) -> CheckResult:
        """Return the result of a check that ended with *problem*."""
        is_ours = self.deployment.server is not None
        match problem:
            case NotJudgedError():
                return CheckResult(check.id, "not_judged", str(problem), code=problem.code)
            case OverloadedError() if not is_ours:
                message, evidence = str(problem), problem.evidence
                causes, again = problem.causes, problem.reproduce
                return CheckResult(check.id, "error", message, evidence, causes, again, code="network")
            case OverloadedError() if problem.evidence.get("status") == httpx.codes.TOO_MANY_REQUESTS:
                reason = "the service is rate limiting (429 Too Many Requests)"
                return CheckResult(check.id, "not_judged", reason, code="overloaded")
            case Tier0Error() if not is_ours and _is_unanswered(problem):
                return CheckResult(check.id, "error", str(problem), code="network")
            case CheckFailedError():
                message, evidence = problem.message, problem.evidence
                return CheckResult(check.id, "fail", message, evidence, problem.causes, problem.reproduce)
        return _error_of(check, problem)


def _trust_of(deployment: Deployment) -> ssl.SSLContext:
    """Return the certificates to trust; none for plain HTTP, since reading those of the system takes time."""
    if deployment.ca is None and deployment.url.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context(cafile=deployment.ca)


def _max_response_bytes(golden: GoldenRows | None) -> int:
    outputs = [] if golden is None else [golden.predictions, golden.probabilities]
    return max(MAX_RESPONSE_BYTES, OUTPUTS_TO_RESPONSE * len(json.dumps(outputs, default=str)))


def _error_of(check: Check, problem: Exception) -> CheckResult:
    match problem:
        case TimeoutError():
            message = f"the check took more than {CHECK_TIMEOUT:g} s"
            return CheckResult(check.id, "error", message, code="timeout")
        case Tier0Error():
            return CheckResult(check.id, "error", str(problem))
    message = f"unexpected error in the check: {type(problem).__name__}: {problem}"
    return CheckResult(check.id, "error", message)


def _is_unanswered(problem: Tier0Error) -> bool:
    """Return True if no response arrived, which may be the fault of the network."""
    return isinstance(problem, UnansweredError) or isinstance(problem.__cause__, UnansweredError)


async def _responds(sender: Sender) -> bool:
    try:
        return (await sender.send("GET", "/readyz")).status_code not in STARTING
    except UnansweredError:
        return False


def _waived(result: CheckResult, waivers: list[Waiver]) -> CheckResult:
    if result.status != "fail":
        return result
    for waiver in waivers:
        if waiver.is_active and waiver.relative is None:
            return replace(
                result,
                status="not_judged",
                code="waived",
                message=f"{waiver}. Without the waiver it would fail: {result.message}",
            )
    ended = [f" ({waiver}; the waiver has expired)" for waiver in waivers if not waiver.is_active]
    return replace(result, message=result.message + "".join(ended))


def _load_client(client: Callable[[str], Any] | str | None) -> Callable[[str], Any] | None:
    """Return the factory of the application's client.

    Raises:
        Tier0Error: the factory cannot be imported or called.
    """
    if client is None or callable(client):
        return client
    factory = import_named("client", client, "a function that takes a URL and returns a client")
    if not callable(factory):
        raise Tier0Error(
            f"client = {client!r} must be a function that takes a URL, got {type(factory).__name__}"
        )
    return factory  # type: ignore[no-any-return]


_EXAMINATIONS: list[Examination] = []
"""The examinations of this process, one for each deployment, until `close_examinations`."""


def examination_of(deployment: Deployment, report: Callable[[str], None] = lambda _: None) -> Examination:
    """Return the examination of *deployment*; this process has one for all equal deployments."""
    for known in _EXAMINATIONS:
        if known.deployment is deployment or known.deployment == deployment:
            return known
    _EXAMINATIONS.append(Examination(deployment, report))
    return _EXAMINATIONS[-1]


def close_examinations() -> None:
    """Close all examinations that `examination_of` has returned."""
    while _EXAMINATIONS:
        _EXAMINATIONS.pop().close()
