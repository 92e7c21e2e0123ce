"""Writing the report where it was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tier0.report.markdown import as_markdown


def write(document: Mapping[str, Any], report: Path | None, step_summary: str | None) -> list[str]:
    """Write the report as JSON, and its summary where a GitHub workflow shows it.

    Args:
        document: of the run.
        report: the file for JSON; None for none.
        step_summary: what ``GITHUB_STEP_SUMMARY`` says, a file to add to.

    Returns:
        What could not be written, in sentences.
    """
    problems = []
    if report is not None:
        try:
            report.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
        except OSError as problem:
            problems.append(f"the report cannot be written to {report}: {problem.strerror}")
    if step_summary:
        try:
            with Path(step_summary).open("a", encoding="utf-8") as file:
                file.write(as_markdown(document))
        except OSError as problem:
            problems.append(
                f"GITHUB_STEP_SUMMARY names {step_summary}, which cannot be written to: {problem.strerror}"
            )
    return problems
