"""Output files of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tier0.core.named_file import write_text
from tier0.report.markdown import as_markdown


def write(document: Mapping[str, Any], report: Path | None, step_summary: str | None) -> list[str]:
    """Write the report as JSON, and append its summary to the job summary of a GitHub workflow.

    Args:
        document: report of the run.
        report: JSON file to write; None for no file.
        step_summary: value of ``GITHUB_STEP_SUMMARY``, the file to append to.

    Returns:
        One message for each file that could not be written.
    """
    problems = []
    if report is not None:
        try:
            write_text(report, json.dumps(document, indent=2, default=str) + "\n")
        except OSError as problem:
            problems.append(f"cannot write the report to {report}: {problem.strerror}")
    if step_summary:
        try:
            with Path(step_summary).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(as_markdown(document))
        except OSError as problem:
            problems.append(f"cannot write to GITHUB_STEP_SUMMARY, {step_summary}: {problem.strerror}")
    return problems
