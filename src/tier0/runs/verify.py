"""Running the checks of the catalogue on a deployment."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Literal

import httpx

from tier0.checks.serving.sender import Sender
from tier0.checks.serving.target import OverloadedError, Target
from tier0.core.catalogue import CATALOGUE, GROUPS, LEVELS, Check, Disturbance
from tier0.core.contract import Contract, ContractError
from tier0.core.errors import Tier0Error
from tier0.core.secrets import Secrets
from tier0.core.verdict import CheckFailedError, CheckResult, NotJudgedError, Verdict
from tier0.core.waivers import Waiver
from tier0.runs.deployment import Deployment, OwnDeployment
from tier0.runs.discovery import discover
from tier0.runs.named import import_named

REQUEST_TIMEOUT = 30.0
CHECK_TIMEOUT = 120.0
CONNECTIONS = 40
ANSWERS_AT_ALL = "health.can_predict"
"""Where it fails, every other question about predictions would fail for the same reason, and hide it."""


def check_serving(
    deployment: Deployment,
    *,
    on_fail: Literal["raise", "return"] = "raise",
    groups: Sequence[str] = (),
    disturb: Disturbance | None = None,
    tell: Callable[[CheckResult], None] | None = None,
) -> Verdict:
    """Ask a deployment every check, as scikit-learn's `check_estimator` does with an estimator.

    Args:
        deployment: what is judged.
        on_fail: raise `DoesNotHoldError` unless everything that could be judged holds, or only return the verdict.
        groups: the groups, or single checks, to ask; all by default.
        disturb: how far the deployment may be disturbed; as it says itself, by default.
        tell: is told every result as it comes.

    Raises:
        Tier0Error: nothing answers, or how it is asked cannot be found out.
        DoesNotHoldError: see *on_fail*.
    """
    if disturb is not None:
        deployment = replace(deployment, disturb=disturb)
    verdict = asyncio.run(_check(deployment, checks_of(groups), tell=tell or (lambda _: None)))
    if on_fail == "raise":
        verdict.raise_for_status()
    return verdict


def checks_of(groups: Sequence[str]) -> list[Check]:
    """Return the checks of *groups*, which may also be single checks; all of them, if there are none.

    Raises:
        Tier0Error: there is no such group or check.
    """
    if unknown := [group for group in groups if group not in GROUPS and group not in {check.id for check in CATALOGUE}]:
        raise Tier0Error(f"groups = {unknown[0]!r}: there is no such group or check. The groups are: {', '.join(GROUPS)}")
    return [check for check in CATALOGUE if not groups or check.group in groups or check.id in groups]


async def _check(
    deployment: Deployment, checks: list[Check], *, tell: Callable[[CheckResult], None], asked: list[list[Any]] | None = None
) -> Verdict:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=4.0)
    make_client = _load_client(deployment.client)
    trust = ssl.create_default_context(cafile=deployment.ca)
    headers = dict(deployment.headers)
    hooks = _noting([] if asked is None else asked)
    secrets = Secrets(os.environ, headers)
    async with httpx.AsyncClient(headers=headers, timeout=REQUEST_TIMEOUT, limits=limits, verify=trust, trust_env=False, event_hooks=hooks) as http:
        asked_of = Target(
            Contract(),
            Sender(deployment.url, http),
            deployment.golden,
            deployment.tag,
            mask=deployment.mask,
            same_arithmetic=isinstance(deployment, OwnDeployment),
            process=deployment.server,
            make_client=make_client,
            hide=secrets.hide,
        )
        try:
            target = await discover(asked_of, deployment.contract)
        except ContractError as problem:
            if deployment.golden is not None:
                raise
            target = replace(asked_of, contract=Contract(health="/readyz", why_not_asked=str(problem)))
        contract = target.contract
        results, mute = [], False
        for check in checks:
            if mute and "golden" in check.needs:
                result = CheckResult(check.id, "not_judged", f"a well-formed request gets no prediction: see {ANSWERS_AT_ALL}")
            else:
                result = await run_check(check, target, deployment.disturb, deployment.waivers)
            mute = mute or (check.id == ANSWERS_AT_ALL and result.status == "fail")
            results.append(result.without(secrets))
            tell(results[-1])
    facts = {
        "url": deployment.url,
        "model": deployment.tag,
        "golden_rows": len(deployment.golden or []),
        "route": None if contract.why_not_asked else contract.route,
        "disturb": deployment.disturb,
        "waivers": [str(waiver) for waiver in deployment.waivers if waiver.counts],
    }
    return Verdict(facts, results)


def _noting(asked: list[list[Any]]) -> dict[str, list[Callable[..., Any]]]:
    """Return httpx's hooks that note every request: when it was sent, on the monotonic clock, and whether it was answered, and with no 5xx."""

    async def on_request(request: httpx.Request) -> None:
        asked.append([time.monotonic(), False])
        request.extensions["tier0"] = asked[-1]

    async def on_response(response: httpx.Response) -> None:
        response.request.extensions["tier0"][1] = not response.is_server_error

    return {"request": [on_request], "response": [on_response]}


async def ask_one(deployment: Deployment, check: Check, asked: list[list[Any]] | None = None) -> CheckResult:
    """Ask one check, on connections of its own; into *asked* go the moments of its requests, and whether each was answered."""
    verdict = await _check(deployment, [check], tell=lambda _: None, asked=asked)
    return verdict.checks[0]


def _load_client(client: Callable[[str], Any] | str | None) -> Callable[[str], Any] | None:
    """Return what makes the application's client.

    Raises:
        Tier0Error: it cannot be imported.
    """
    if client is None or callable(client):
        return client
    factory = import_named("client", client, "of a function that makes a client when it is called with a URL")
    if not callable(factory):
        raise Tier0Error(f"client = {client!r} is {type(factory).__name__}, not something to call with a URL")
    return factory  # type: ignore[no-any-return]


async def run_check(check: Check, target: Target, disturb: Disturbance, waivers: Sequence[Waiver] = ()) -> CheckResult:
    """Ask one check, and turn whatever comes of it into a result."""
    start = time.perf_counter()
    if LEVELS.index(check.disturb) > LEVELS.index(disturb):
        return CheckResult(check.id, "not_judged", f"it disturbs the service ({check.disturb}): allow that with --disturb {check.disturb}")
    mine = [waiver for waiver in waivers if waiver.check == check.id]
    tolerances = [waiver for waiver in mine if waiver.counts and waiver.relative is not None]
    body = getattr(import_module(f"tier0.checks.serving.{check.group}"), check.id.partition(".")[2])
    asked = replace(target, tolerance=max((waiver.relative or 0.0 for waiver in tolerances), default=0.0))
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            result = CheckResult(check.id, "pass", "; ".join(map(str, tolerances)), await body(asked) or {})
    except Exception as problem:  # noqa: BLE001 - a check that breaks must not hide what the others found
        result = _waived(_result_of(check, problem), mine)
    return replace(result, seconds=time.perf_counter() - start)


def _waived(result: CheckResult, waivers: list[Waiver]) -> CheckResult:
    if result.status != "fail":
        return result
    for waiver in waivers:
        if waiver.counts and waiver.relative is None:
            return replace(result, status="not_judged", message=f"{waiver}. Without that it would fail: {result.message}")
    ended = [f" ({waiver}; that has ended)" for waiver in waivers if not waiver.counts]
    return replace(result, message=result.message + "".join(ended))


def _result_of(check: Check, problem: Exception) -> CheckResult:
    match problem:
        case NotJudgedError():
            return CheckResult(check.id, "not_judged", str(problem))
        case OverloadedError() if problem.evidence.get("status") == httpx.codes.TOO_MANY_REQUESTS:
            return CheckResult(check.id, "not_judged", "it says that it is asked too much (429)")
        case CheckFailedError():
            return CheckResult(check.id, "fail", problem.message, problem.evidence, problem.causes, problem.reproduce)
        case TimeoutError():
            return CheckResult(check.id, "error", f"it was not answered within {CHECK_TIMEOUT:g} s")
        case Tier0Error():
            return CheckResult(check.id, "error", str(problem))
        case _:
            return CheckResult(check.id, "error", f"the check itself broke: {type(problem).__name__}: {problem}")
