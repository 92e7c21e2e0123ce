"""Annotations of a CI job: the causes of a failure, the worst first, shown beside its log on GitHub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tier0.core.causes import likely_of
from tier0.core.display import github_annotation
from tier0.core.verdict import WORDS
from tier0.report.document import shared_by

MAX_ANNOTATIONS = 10
"""Number of errors of one step that GitHub shows."""


def annotations_of(document: Mapping[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Return the lines to print for the CI system that runs this process; none for others than GitHub's."""
    if environ.get("GITHUB_ACTIONS") != "true" or document["verdict"] == "pass":
        return []
    causes = document["causes"][:MAX_ANNOTATIONS]
    if not causes:
        return [github_annotation("error", f"Tier0: {WORDS[document['verdict']]}", document["sentence"])]
    return [
        github_annotation("error", f"Tier0: {cause['title']} ({cause['check']})", text_of(cause))
        for cause in causes
    ]


def text_of(cause: Mapping[str, Any]) -> str:
    """Return a cause as plain text, with what to do about it."""
    likely = [f"likely cause: {text}" for text in likely_of(cause)[:1]]
    steps = [f"next step: {cause['next_step']}"] if cause["next_step"] else []
    shared = [f"{text}: {_names(cause)}"] if (text := shared_by(cause)) else []
    again = [f"reproduce with: {cause['reproduce']}"] if cause["reproduce"] else []
    again += [f"then repeat the check: {cause['repeat']}"] if cause.get("repeat") else []
    return "\n".join([cause["message"], *likely, *steps, *shared, *again])


def _names(cause: Mapping[str, Any]) -> str:
    return ", ".join([other["check"] for other in cause["explains"]] or cause["skipped"])
