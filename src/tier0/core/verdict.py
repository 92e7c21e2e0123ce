"""What the checks found, and what it amounts to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tier0.core.errors import Tier0Error
from tier0.core.secrets import Secrets

SCHEMA = 1
Status = Literal["pass", "fail", "not_judged", "error"]


class CheckFailedError(Tier0Error):
    """A check does not hold.

    Args:
        message: what it means for whoever uses the deployment.
        evidence: the fewest rows, numbers and bytes that prove it; JSON types.
        causes: what it usually comes from, most likely first.
        reproduce: a command that shows it again.
    """

    exit_status = 1

    def __init__(self, message: str, *, evidence: Mapping[str, Any] | None = None, causes: Sequence[str] = (), reproduce: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.evidence = dict(evidence or {})
        self.causes = list(causes)
        self.reproduce = reproduce


class NotJudgedError(Tier0Error):
    """A check cannot be answered here; the message says why, and what would have to be given."""


class DoesNotHoldError(Tier0Error):
    """At least one check does not hold, or none could be judged; the message tells which."""

    exit_status = 1


@dataclass(frozen=True)
class CheckResult:
    """The answer to one check.

    Attributes:
        id: the check, such as ``parity.golden_rows``.
        status: pass, fail, not_judged (the message says why) or error (the check itself broke, or nothing answered).
        message: for whoever reads it.
        evidence: JSON types.
        causes: most likely first.
        reproduce: a command.
        seconds: wall time.
    """

    id: str
    status: Status
    message: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)
    reproduce: str = ""
    seconds: float = 0.0

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return {"id": self.id, "group": self.group, **{name: value for name, value in asdict(self).items() if name != "id"}}

    def without(self, secrets: Secrets) -> CheckResult:
        """Return it as anybody may read it: a service, or a client, may tell what it has in its environment."""
        return CheckResult(**secrets.hide(vars(self)))

    def explain(self) -> str:
        """Return what a person needs in order to act on it."""
        parts = [f"{self.id}: {self.message}"]
        parts += [f"  likely: {cause}" for cause in self.causes]
        if self.reproduce:
            parts.append(f"  Reproduce with: {self.reproduce}")
        return "\n".join(parts)


@dataclass(frozen=True)
class Verdict:
    """The outcome of all the checks that were run.

    Attributes:
        target: what was judged: its URL, and what it was compared with.
        checks: the results, in the order of the catalogue.
    """

    target: dict[str, Any]
    checks: list[CheckResult]

    @property
    def verdict(self) -> Literal["pass", "fail", "error"]:
        """``fail`` if a check does not hold; ``error`` if one broke, or none could be judged; else ``pass``."""
        statuses = {result.status for result in self.checks}
        if "fail" in statuses:
            return "fail"
        return "error" if "error" in statuses or "pass" not in statuses else "pass"

    @property
    def exit_status(self) -> int:
        """0 holds, 1 does not hold, 2 could not be judged."""
        return {"pass": 0, "fail": 1, "error": 2}[self.verdict]

    def with_status(self, status: Status) -> list[CheckResult]:
        """Return the results with this status."""
        return [result for result in self.checks if result.status == status]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON types."""
        return {"schema": SCHEMA, "verdict": self.verdict, "target": self.target, "checks": [result.as_dict() for result in self.checks]}

    def raise_for_status(self) -> None:
        """Raise `DoesNotHoldError` unless the verdict is ``pass``."""
        if self.verdict == "pass":
            return
        wrong = [*self.with_status("fail"), *self.with_status("error")]
        raise DoesNotHoldError("\n".join(result.explain() for result in wrong) or "no check could be judged")
