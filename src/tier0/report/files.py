"""Output files of the report: the same for pytest and for every command that checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Self

from tier0.core.errors import Tier0Error, missing_extra
from tier0.core.named_file import require_creatable, write_text
from tier0.core.settings import remove_report
from tier0.report.junit import as_junit
from tier0.report.markdown import as_markdown


class ReportError(Tier0Error):
    """A file of the report cannot be written."""


class ReportFiles(NamedTuple):
    """The files that the user named for the report; None for a form that is not wanted."""

    html: Path | None = None
    json: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None

    @classmethod
    def named_by(cls, read: Callable[[str], Any]) -> Self:
        """Return the files that the settings name.

        Args:
            read: returns the value of a setting.
        """
        return cls(read("html"), read("report"), read("junit"), read("markdown"))

    def begin(self) -> None:
        """Remove the files of an earlier run, which are not this run's, and check that each can be written.

        Raises:
            ReportError: one cannot be removed, or not be written, or is named twice.
            MissingDependencyError: the page needs a library that is not installed.
        """
        for path in filter(None, self):
            try:
                remove_report(path)
            except OSError as problem:
                raise ReportError(f"cannot remove the older report {path}: {problem.strerror}") from problem
            try:
                require_creatable(path)
            except OSError as problem:
                raise ReportError(f"cannot write the report {path}: {problem.strerror}") from problem
        new = [path for path in self if path is not None and not path.exists()]
        if twice := [path for path in new if new.count(path) > 1]:
            raise ReportError(f"{twice[0]} is named for two forms of the report: name one file for each")
        if self.html is not None:
            _require_page()

    def write(self, document: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> list[str]:
        """Write each file, as a whole or not at all.

        Args:
            document: report of the run, without secrets.
            record: content of the JSON file, if it is not the report.

        Returns:
            One message for each file that could not be written.
        """
        forms: list[tuple[Path | None, Callable[[], str]]] = [
            (self.json, lambda: json.dumps(record or document, indent=2, default=str) + "\n"),
            (self.junit, lambda: as_junit(document)),
            (self.markdown, lambda: as_markdown(document)),
            (self.html, lambda: _page_of(document)),
        ]
        problems = []
        for path, form in forms:
            if path is None:
                continue
            try:
                write_text(path, form())
            except OSError as problem:
                problems.append(f"cannot write the report {path}: {problem.strerror}")
        return problems


def _require_page() -> None:
    """Check that the page can be made.

    Raises:
        MissingDependencyError: a library for it is not installed.
    """
    try:
        import_module("tier0.report.page")
    except ModuleNotFoundError as problem:
        raise missing_extra(problem) or problem from None


def _page_of(document: Mapping[str, Any]) -> str:
    from tier0.report.page import as_page  # noqa: PLC0415 - only the page needs jinja2

    return as_page(document)


def append_summary(document: Mapping[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Append the report's summary to the job summary of a GitHub workflow.

    Args:
        document: report of the run.
        environ: environment variables, of which ``GITHUB_STEP_SUMMARY`` names the file to append to.

    Returns:
        One message if the file could not be written.
    """
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return []
    try:
        with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(as_markdown(document))
    except OSError as problem:
        return [f"cannot write to GITHUB_STEP_SUMMARY, {path}: {problem.strerror}"]
    return []
