"""Running the checks of the catalogue on a deployment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Literal

import httpx

from tier0.checks.serving.target import Target, UnansweredError
from tier0.core.catalogue import CATALOGUE, GROUPS, LEVELS, Check, Disturbance
from tier0.core.contract import Contract, ContractError, contract_from_schema
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckFailedError, CheckResult, NotJudgedError, Verdict
from tier0.runs.deployment import Deployment

REQUEST_TIMEOUT = 30.0
CHECK_TIMEOUT = 120.0
CONNECTIONS = 40


def check_serving(
    deployment: Deployment,
    *,
    on_fail: Literal["raise", "return"] = "raise",
    groups: Sequence[str] = (),
    disturb: Disturbance = "none",
    mask: bool = False,
    tell: Callable[[CheckResult], None] | None = None,
) -> Verdict:
    """Ask a deployment every check, as scikit-learn's `check_estimator` does with an estimator.

    Args:
        deployment: what is judged.
        on_fail: raise `DoesNotHoldError` unless everything that could be judged holds, or only return the verdict.
        groups: the groups to ask; all by default.
        disturb: how far the deployment may be disturbed. By default requests are well formed and few; ``malformed`` also sends
            what must be refused, ``load`` asks a lot.
        mask: show no values of golden rows.
        tell: is told every result as it comes.

    Raises:
        Tier0Error: nothing answers, or how it is asked cannot be found out.
        DoesNotHoldError: see *on_fail*.
    """
    verdict = asyncio.run(_check(deployment, checks_of(groups), disturb, mask=mask, tell=tell or (lambda _: None)))
    if on_fail == "raise":
        verdict.raise_for_status()
    return verdict


def checks_of(groups: Sequence[str]) -> list[Check]:
    """Return the checks of *groups*, or all of them.

    Raises:
        Tier0Error: there is no such group.
    """
    if unknown := [group for group in groups if group not in GROUPS]:
        raise Tier0Error(f"groups = {unknown[0]!r}: there is no such group. There are: {', '.join(GROUPS)}")
    return [check for check in CATALOGUE if not groups or check.group in groups]


async def _check(deployment: Deployment, checks: list[Check], disturb: Disturbance, *, mask: bool, tell: Callable[[CheckResult], None]) -> Verdict:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=4.0)
    async with httpx.AsyncClient(headers=dict(deployment.headers), timeout=REQUEST_TIMEOUT, limits=limits, trust_env=False) as http:
        contract = deployment.contract or await _find_contract(deployment.url, http)
        target = Target(deployment.url, contract, http, deployment.golden, deployment.tag, mask)
        results = []
        for check in checks:
            result = await run_check(check, target, disturb)
            results.append(result)
            tell(result)
    facts = {"url": deployment.url, "model": deployment.tag, "golden_rows": len(deployment.golden or []), "route": contract.route, "disturb": disturb}
    return Verdict(facts, results)


async def ask_one(deployment: Deployment, check: Check, disturb: Disturbance) -> CheckResult:
    """Ask one check, on connections of its own."""
    verdict = await _check(deployment, [check], disturb, mask=False, tell=lambda _: None)
    return verdict.checks[0]


async def _find_contract(url: str, http: httpx.AsyncClient) -> Contract:
    try:
        response = await http.get(f"{url}/schema.json")
    except httpx.HTTPError as problem:
        message = f"nothing answers at {url}: {type(problem).__name__} {problem}. Is the service running, and is that its URL?"
        raise UnansweredError(message) from problem
    if response.status_code != httpx.codes.OK:
        raise ContractError(f"{url}/schema.json answers {response.status_code}, so how to ask is not known. Say it with --contract FILE.")
    try:
        return contract_from_schema(response.json())
    except ValueError as problem:
        raise ContractError(
            f"{url}/schema.json is no JSON, so this is no BentoML service: {problem}. Say how to ask with --contract FILE."
        ) from problem


async def run_check(check: Check, target: Target, disturb: Disturbance) -> CheckResult:
    """Ask one check, and turn whatever comes of it into a result."""
    start = time.perf_counter()
    if LEVELS.index(check.disturb) > LEVELS.index(disturb):
        return CheckResult(check.id, "not_judged", f"it disturbs the service ({check.disturb}): allow that with --disturb {check.disturb}")
    group, _, function = check.id.partition(".")
    body = getattr(import_module(f"tier0.checks.serving.{group}"), function)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            result = CheckResult(check.id, "pass", evidence=await body(target) or {})
    except Exception as problem:  # noqa: BLE001 - a check that breaks must not hide what the others found
        result = _result_of(check, problem)
    return replace(result, seconds=time.perf_counter() - start)


def _result_of(check: Check, problem: Exception) -> CheckResult:
    match problem:
        case NotJudgedError():
            return CheckResult(check.id, "not_judged", str(problem))
        case CheckFailedError():
            return CheckResult(check.id, "fail", problem.message, problem.evidence, problem.causes, problem.reproduce)
        case TimeoutError():
            return CheckResult(check.id, "error", f"it was not answered within {CHECK_TIMEOUT:g} s")
        case Tier0Error():
            return CheckResult(check.id, "error", str(problem))
        case _:
            return CheckResult(check.id, "error", f"the check itself broke: {type(problem).__name__}: {problem}")
