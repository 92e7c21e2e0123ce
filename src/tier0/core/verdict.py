"""The result of a check, and the rule that derives the verdict of a run from all results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from tier0.core.display import as_json
from tier0.core.errors import Tier0Error
from tier0.core.secrets import Secrets

SCHEMA = 2
Status = Literal["pass", "fail", "not_judged", "error"]
Outcome = Literal["pass", "fail", "inconclusive"]
Code = Literal[
    "", "disturbs", "no_golden", "without_golden", "no_client", "no_process", "not_offered", "undeclared",
    "muted", "waived", "overloaded", "network", "timeout", "busy", "rate",
]  # fmt: skip
"""The reason why a check was not run, or ended in an error.

- ``disturbs``: the level of disturbance does not allow it.
- ``no_golden``, ``no_client``, ``no_process``: it needs golden rows, a client, or a process that this run
started. - ``without_golden``: the user accepts a run without golden rows. - ``not_offered``: the service or
the client does not have the feature that is checked. - ``undeclared``: something must be declared first. -
``muted``: an earlier check has found the cause. - ``waived``: a waiver or an expected failure covers it. -
``overloaded``: the service is rate limiting. - ``network``: there was no response. - ``timeout``: it took too
long. - ``busy``: the machine
may have been too busy to measure. - ``rate``: it needs more requests per second than ``--rate`` allows.
"""
WORDS: Mapping[str, str] = {
    "pass": "passed",
    "fail": "failed",
    "error": "error",
    "not_judged": "not checked",
    "inconclusive": "inconclusive",
}
"""Word for each status and verdict in everything that people read."""
EXIT_STATUS: Mapping[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 2}
MAX_EVIDENCE = 1_000_000
"""Characters of one fact of the evidence; longer ones become text, which is cut for display."""
PARITY = "parity.golden_rows"
HOW_TO_GET_GOLDEN_ROWS = (
    "pass --golden FILE, or --model TAG with --store DIR; to accept a run without them, "
    "pass --without-golden (in pytest, these options begin with --tier0-)"
)


class CheckFailedError(Tier0Error):
    """A check failed.

    Args:
        message: observed behaviour, and its consequence for callers.
        evidence: smallest set of facts that proves it, as JSON types.
        causes: likely causes, most likely first.
        reproduce: command that reproduces the failure.
    """

    exit_status = 1

    def __init__(
        self,
        message: str,
        *,
        evidence: Mapping[str, Any] | None = None,
        causes: Sequence[str] = (),
        reproduce: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = dict(evidence or {})
        self.causes = list(causes)
        self.reproduce = reproduce


class NotJudgedError(Tier0Error):
    """A check cannot be decided for this service or client.

    Args:
        message: reason and remedy.
        code: machine-readable reason.
    """

    def __init__(self, message: str, *, code: Code = "") -> None:
        super().__init__(message)
        self.code: Code = code


class TooBusyError(NotJudgedError):
    """This machine is too busy to measure what a check depends on; the check may be repeated later.

    Args:
        detail: what took too long.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(f"this machine is too busy: {detail}", code="busy")


class DoesNotHoldError(Tier0Error):
    """The verdict is not ``pass``; the message lists the failed checks."""

    exit_status = 1


class InconclusiveError(DoesNotHoldError):
    """No check failed, but the verdict is ``inconclusive``; the message gives the reason."""

    exit_status = 2


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        id: id of the check, such as ``parity.golden_rows``.
        status: ``pass``, ``fail``, ``not_judged`` (not checked) or ``error`` (unexpected error, or no
            response).
        message: what failed, or the reason for ``not_judged`` and ``error``; empty if the check passed.
        evidence: facts behind the status, as JSON types.
        causes: likely causes, most likely first.
        reproduce: command that reproduces the failure.
        seconds: wall time of the check.
        code: machine-readable reason for ``not_judged`` and ``error``.
    """

    id: str
    status: Status
    message: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)
    reproduce: str = ""
    seconds: float = 0.0
    code: Code = ""

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return {
            "id": self.id,
            "group": self.group,
            **{name: value for name, value in asdict(self).items() if name != "id"},
        }

    def without(self, secrets: Secrets) -> CheckResult:
        """Return a copy for display: without secrets, which a service or a client may have printed."""
        evidence = {name: _limited(value) for name, value in self.evidence.items()}
        return CheckResult(**as_json({**vars(self), "evidence": evidence}, secrets.hide))

    def explain(self) -> str:
        """Return the message, the likely causes and the command that reproduces the failure."""
        parts = [f"{self.id}: {self.message}"]
        parts += [f"  likely cause: {cause}" for cause in self.causes]
        if self.reproduce:
            parts.append(f"  Reproduce with: {self.reproduce}")
        return "\n".join(parts)


def _limited(value: Any) -> Any:
    """Return a value of evidence, or the start of its text if it is too long for a report."""
    text = value if isinstance(value, str) else repr(value)
    return value if len(text) <= MAX_EVIDENCE else text[:MAX_EVIDENCE]


class Conclusion(NamedTuple):
    """The outcome of a run.

    Attributes:
        verdict: ``pass``, ``fail`` or ``inconclusive``.
        reason: why the verdict is inconclusive, and the remedy.
    """

    verdict: Outcome
    reason: str = ""

    @property
    def exit_status(self) -> int:
        """0 passed, 1 failed, 2 inconclusive."""
        return EXIT_STATUS[self.verdict]


def conclude(checks: Sequence[CheckResult], others: Iterable[Status] = ()) -> Conclusion:
    """Return the verdict of a run.

    The verdict is ``pass`` only if something passed, nothing failed or ended in an error, and the predictions
    were compared wherever golden rows were required.

    Args:
        checks: results of the checks.
        others: outcomes of other tests and steps of the run.
    """
    statuses = [*(result.status for result in checks), *others]
    if "fail" in statuses:
        return Conclusion("fail")
    if "error" in statuses:
        errors = (f"{result.id}: {result.message}" for result in checks if result.status == "error")
        return Conclusion("inconclusive", next(errors, ""))
    for result in checks:
        if result.status == "not_judged" and result.code == "timeout":
            return Conclusion("inconclusive", f"{result.id} and the checks after it: {result.message}")
    if any(result.code == "no_golden" for result in checks):
        reason = "without golden rows, predictions were not compared with the trained model"
        return Conclusion("inconclusive", f"{reason}; {HOW_TO_GET_GOLDEN_ROWS}")
    for result in checks:
        is_unjudged_parity = result.id == PARITY and result.status == "not_judged"
        if is_unjudged_parity and result.code not in {"waived", "without_golden"}:
            return Conclusion("inconclusive", f"{PARITY} was not checked: {result.message}")
    return Conclusion("pass") if "pass" in statuses else Conclusion("inconclusive", "no check passed")


def count_in_words(statuses: Iterable[str]) -> str:
    """Return the number of results per status, such as ``3 passed, 2 errors``."""
    counts = Counter(statuses)
    return ", ".join(
        f"{counts[status]} {word}{'s' if status == 'error' and counts[status] > 1 else ''}"
        for status, word in WORDS.items()
        if counts[status]
    )


@dataclass(frozen=True)
class Verdict:
    """The results of all checks of a run.

    Attributes:
        target: facts about the service or the client that was checked, as JSON types.
        checks: results, in the order of the catalogue.
    """

    target: dict[str, Any]
    checks: list[CheckResult]

    @property
    def verdict(self) -> Outcome:
        """The verdict, according to `conclude`."""
        return conclude(self.checks).verdict

    @property
    def reason(self) -> str:
        """The reason for an inconclusive verdict, and the remedy; otherwise empty."""
        return conclude(self.checks).reason

    @property
    def exit_status(self) -> int:
        """0 passed, 1 failed, 2 inconclusive."""
        return conclude(self.checks).exit_status

    def with_status(self, status: Status) -> list[CheckResult]:
        """Return the results with this status."""
        return [result for result in self.checks if result.status == status]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON types."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "reason": self.reason,
            "target": self.target,
            "checks": [result.as_dict() for result in self.checks],
        }

    def raise_for_status(self) -> None:
        """Raise an exception unless the verdict is ``pass``.

        Raises:
            DoesNotHoldError: a check failed.
            InconclusiveError: the verdict is ``inconclusive``.
        """
        if self.verdict == "pass":
            return
        wrong = "\n".join(
            result.explain() for result in [*self.with_status("fail"), *self.with_status("error")]
        )
        if self.verdict == "fail":
            raise DoesNotHoldError(wrong)
        raise InconclusiveError(wrong or self.reason)
