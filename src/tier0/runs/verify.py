"""Running the checks of the catalogue on a deployment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from tier0.core.catalogue import CATALOGUE, Disturbance, select_checks
from tier0.core.event_log import EventLog
from tier0.core.verdict import CheckResult, Verdict
from tier0.runs.deployment import Deployment
from tier0.runs.examination import Examination


def check_serving(
    deployment: Deployment,
    *,
    on_fail: Literal["raise", "return"] = "raise",
    groups: Sequence[str] = (),
    disturb: Disturbance | None = None,
    without_golden: bool = False,
    tell: Callable[[CheckResult], None] | None = None,
    report: Callable[[str], None] = lambda _: None,
    timeout: float | None = None,
    events: EventLog | None = None,
) -> Verdict:
    """Run every check on a deployment, as scikit-learn's `check_estimator` does on an estimator.

    Args:
        deployment: deployment to check.
        on_fail: ``raise`` to raise `DoesNotHoldError` unless the verdict is ``pass``, or ``return``.
        groups: groups of checks, or single checks; all by default.
        disturb: how far the deployment may be disturbed; by default as the deployment allows.
        without_golden: accept a deployment without golden rows, whose predictions are then not compared.
        tell: called with each result.
        report: called with a line of progress while the service does not respond yet.
        timeout: seconds for all checks, after which the others are reported as not checked, and the verdict
            is inconclusive unless a check failed; no limit by default.
        events: log in which the deployment and each result are recorded, for a report.

    Raises:
        Tier0Error: nothing responds, the contract is not clear, or a group or check is unknown.
        DoesNotHoldError: a check failed; or, as `InconclusiveError`, the verdict is inconclusive.
    """
    checks = select_checks(CATALOGUE, groups)
    deployment = replace(
        deployment,
        disturb=disturb or deployment.disturb,
        without_golden=without_golden or deployment.without_golden,
    )
    if events is not None:
        events.emit(deployment.described())
    with Examination(deployment, report, timeout, events) as examination:
        verdict = examination.examine(checks, tell or (lambda _: None))
    if on_fail == "raise":
        verdict.raise_for_status()
    return verdict
