"""Why checks were not checked, in a few words: the most frequent reasons, each with its number of checks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tier0.core.verdict import Code

REASONS: Mapping[Code, str] = {
    "disturbs": "would disturb the service ({option}disturb allows it)",
    "no_golden": "need golden rows ({option}golden)",
    "without_golden": "need golden rows",
    "no_client": "need the application's client ({option}client)",
    "no_process": "need a service that Tier0 starts",
    "not_offered": "need what the {kind} does not offer",
    "undeclared": "need a declaration ({option}{declaration})",
    "muted": "would fail for a cause above",
    "waived": "are waived",
    "overloaded": "met a service that limits the rate of requests",
    "network": "got no response",
    "timeout": "took too long",
    "busy": "met a machine that was too busy",
    "rate": "need more requests per second ({option}rate)",
}
"""Predicates with several checks as their subject, by the code of the reason."""
SINGULAR = {"need": "needs", "are": "is", "were": "was"}
PREVENTED = "need a check that failed"
NOT_RUN = "were not run because of the first cause"
OTHER = "for other reasons"
MAX_REASONS = 2
EXPECTED_MODEL = "identity.expected_model"
_OF_ANOTHER = re.compile(r": see [a-z_]+\.[a-z_]+$")


def why_not_checked(document: Mapping[str, Any]) -> str:
    """Return the number of checks that were not checked, and the reasons; empty if all were checked."""
    counts: Counter[str] = Counter()
    skipped = {name for cause in document["causes"] for name in cause["skipped"]}
    for check in document["checks"]:
        if check["status"] == "not_judged":
            counts[_reason(check, document, skipped)] += 1
    if not counts:
        return ""
    named = [(reason, count) for reason, count in counts.most_common() if reason != OTHER][:MAX_REASONS]
    left = counts.total() - sum(count for _, count in named)
    parts = [f"{count} {_of_one(reason) if count == 1 else reason}" for reason, count in named]
    parts += [f"{left} {OTHER}"] if left else []
    listed = ", ".join(parts)
    return listed if len(parts) == 1 else f"{counts.total()}: {listed}"


def unanswered_questions(document: Mapping[str, Any]) -> dict[str, str]:
    """Return why what the user asked for by its name was not checked, by the id of the check.

    A user who names the expected model must see that the service does not tell which one it serves.
    """
    if not document["target"].get("model"):
        return {}
    return {
        check["id"]: check["message"]
        for check in document["checks"]
        if check["id"] == EXPECTED_MODEL and (check["status"], check["code"]) == ("not_judged", "not_offered")
    }


def _reason(check: Mapping[str, Any], document: Mapping[str, Any], skipped: set[str]) -> str:
    """Return the reason of one check as a predicate with several checks as its subject."""
    if check["id"] in skipped and check["code"] != "muted":
        return NOT_RUN
    if check["code"] in REASONS:
        is_client = bool(document["target"].get("client"))
        return REASONS[check["code"]].format(
            option="--tier0-" if document["run"].get("command", "").startswith("pytest") else "--",
            kind="client" if is_client else "service",
            declaration="declare" if is_client else "contract",
        )
    return PREVENTED if _OF_ANOTHER.search(check["message"]) else OTHER


def _of_one(reason: str) -> str:
    """Return a reason with one check as its subject."""
    verb, _, rest = reason.partition(" ")
    return f"{SINGULAR.get(verb, verb)} {rest}"
