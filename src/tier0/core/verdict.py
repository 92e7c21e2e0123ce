"""Results of checks, and the one rule by which they become the verdict of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from tier0.core.errors import Tier0Error
from tier0.core.secrets import Secrets

SCHEMA = 2
Status = Literal["pass", "fail", "not_judged", "error"]
Outcome = Literal["pass", "fail", "inconclusive"]
Code = Literal[
    "", "disturbs", "no_golden", "without_golden", "no_client", "no_process", "not_offered", "undeclared", "muted", "waived", "overloaded",
    "network", "timeout",
]  # fmt: skip
"""Why a check was not checked or ended in an error: the level does not allow it, golden rows, a client or a process of this run are missing, the
service or client does not have what is checked, something must be declared first, an earlier check found the cause, a waiver or an expected
failure covers it, the service is rate limiting, there was no response, it took too long."""
WORDS: Mapping[str, str] = {
    "pass": "passed",
    "fail": "failed",
    "error": "error",
    "not_judged": "not checked",
    "inconclusive": "inconclusive",
}
"""What every door prints for a status or a verdict."""
EXIT_STATUS: Mapping[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 2}
PARITY = "parity.golden_rows"
HOW_TO_GET_GOLDEN_ROWS = (
    "pass --golden FILE, or --model TAG with --store DIR; to accept a run without them, pass --without-golden "
    "(in pytest, these options begin with --tier0-)"
)


class CheckFailedError(Tier0Error):
    """A check failed.

    Args:
        message: what it means for the callers of the deployment.
        evidence: the fewest rows, numbers and bytes that prove it; JSON types.
        causes: what it usually comes from, most likely first.
        reproduce: a command that shows it again.
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
    """A check cannot be answered here.

    Args:
        message: the reason, and the remedy.
        code: the reason for programs.
    """

    def __init__(self, message: str, *, code: Code = "") -> None:
        super().__init__(message)
        self.code: Code = code


class DoesNotHoldError(Tier0Error):
    """The verdict is not ``pass``; the message lists the failed checks."""

    exit_status = 1


class InconclusiveError(DoesNotHoldError):
    """No check failed, but the run does not show that the deployment is right either; the message gives the reason."""

    exit_status = 2


@dataclass(frozen=True)
class CheckResult:
    """The answer to one check.

    Attributes:
        id: the check, such as ``parity.golden_rows``.
        status: pass, fail, not_judged (the message gives the reason) or error (an unexpected error, or no response).
        message: for people.
        evidence: JSON types.
        causes: most likely first.
        reproduce: a command.
        seconds: wall time.
        code: the reason for not_judged and error, for programs.
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
        """Return a copy without secrets: a service or a client may print its environment."""
        return CheckResult(**secrets.hide(vars(self)))

    def explain(self) -> str:
        """Return the message, likely causes and the command that shows it again."""
        parts = [f"{self.id}: {self.message}"]
        parts += [f"  likely: {cause}" for cause in self.causes]
        if self.reproduce:
            parts.append(f"  Reproduce with: {self.reproduce}")
        return "\n".join(parts)


class Conclusion(NamedTuple):
    """What a run amounts to.

    Attributes:
        verdict: ``pass``, ``fail`` or ``inconclusive``.
        reason: why it is inconclusive, and the remedy.
    """

    verdict: Outcome
    reason: str = ""

    @property
    def exit_status(self) -> int:
        """0 passed, 1 failed, 2 inconclusive."""
        return EXIT_STATUS[self.verdict]


def conclude(checks: Sequence[CheckResult], others: Iterable[Status] = ()) -> Conclusion:
    """Return the verdict of a run.

    It is ``pass`` only if something passed, nothing failed or ended in an error, and what was asked for was really checked.

    Args:
        checks: the results of its checks.
        others: the outcomes of whatever else it did: tests of other kinds, steps.
    """
    statuses = [*(result.status for result in checks), *others]
    if "fail" in statuses:
        return Conclusion("fail")
    if "error" in statuses:
        return Conclusion(
            "inconclusive", next((f"{one.id}: {one.message}" for one in checks if one.status == "error"), "")
        )
    if any(result.code == "no_golden" for result in checks):
        return Conclusion(
            "inconclusive",
            f"predictions were not compared with the trained model: there are no golden rows; {HOW_TO_GET_GOLDEN_ROWS}",
        )
    for result in checks:
        if (
            result.id == PARITY
            and result.status == "not_judged"
            and result.code not in {"waived", "without_golden"}
        ):
            return Conclusion("inconclusive", f"{PARITY} was not checked: {result.message}")
    return Conclusion("pass") if "pass" in statuses else Conclusion("inconclusive", "no check passed")


def count_in_words(statuses: Iterable[str]) -> str:
    """Return how often each status occurs, such as ``3 passed, 2 errors``."""
    counts = Counter(statuses)
    return ", ".join(
        f"{counts[status]} {word}{'s' if status == 'error' and counts[status] > 1 else ''}"
        for status, word in WORDS.items()
        if counts[status]
    )


@dataclass(frozen=True)
class Verdict:
    """The outcome of all the checks that were run.

    Attributes:
        target: what was checked: its URL, and what it was compared with.
        checks: the results, in the order of the catalogue.
    """

    target: dict[str, Any]
    checks: list[CheckResult]

    @property
    def verdict(self) -> Outcome:
        """See `conclude`."""
        return conclude(self.checks).verdict

    @property
    def reason(self) -> str:
        """Why the verdict is inconclusive; empty if it is not."""
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
        """Raise `DoesNotHoldError` if a check failed, and `InconclusiveError`, a kind of it, if the verdict is ``inconclusive``."""
        if self.verdict == "pass":
            return
        wrong = "\n".join(
            result.explain() for result in [*self.with_status("fail"), *self.with_status("error")]
        )
        if self.verdict == "fail":
            raise DoesNotHoldError(wrong)
        raise InconclusiveError(wrong or self.reason)
