"""The report of a command that checks: what happens is recorded, and in the end printed and written.

A command takes the options of the files by `tier0.cli.parameters.takes_settings`, if the rows ``html``,
``report``, ``junit`` and ``markdown`` of the settings name it, and then runs its checks so:

    files = given.begin_report()
    settings = given.merge()
    with recorded(files, settings.describe_changed(), settings.url, verbose=verbose) as report:
        report.events.emit(CheckDone.of(result, question))
        report.tell(result)
        report.events.emit(TargetDescribed({"url": settings.url}))
    raise typer.Exit(report.exit_status)
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import typer

from tier0.cli.application import PLAIN, SECRETS, refuse, say
from tier0.core import display
from tier0.core.errors import Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.events import RunFailed, RunStarted
from tier0.core.provenance import provenance
from tier0.core.verdict import EXIT_STATUS, WORDS, CheckResult, Code
from tier0.report.annotations import annotations_of
from tier0.report.cut_short import CutShort
from tier0.report.document import document_of
from tier0.report.files import ReportFiles, append_summary
from tier0.report.history import remember
from tier0.report.terminal import MAX_LINES, Style, terminal_lines

PRINTED_LINES = 3
"""Lines of a client's output that are shown beside a check."""
PRINTED_WIDTH = 200
"""Number of characters of such a line."""
MIN_LINES = 16
"""Lines of a report for which there is always room."""
STYLES: Mapping[Style, Mapping[str, Any]] = {
    "": PLAIN,
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "doubt": {"fg": "yellow", "bold": True},
    "strong": {"bold": True},
    "quiet": {"dim": True},
}
"""Arguments of `typer.style`, by the style of a line."""
NOT_ASKED: Mapping[str, Any] = {"started": "", "python": "", "versions": {}, "commit": None}
"""Provenance of a run whose report is only printed: asking git and all packages takes time."""
CLEARED = "\r\x1b[K"
"""Goes to the beginning of the terminal's line, and clears it."""
PROGRESS_WIDTH = 70


def print_result(result: CheckResult) -> None:
    """Print the result of one check on one line: status, check, message, and numbers that it measured.

    Checks that were not checked are left to `print_report`: many of them have one reason.
    """
    if result.status == "not_judged":
        return
    word = WORDS[result.status].upper() if result.status in {"fail", "error"} else WORDS[result.status]
    measured = [
        f"{name.replace('_', ' ')}: {value:.3g}"
        for name, value in result.evidence.items()
        if result.status == "pass" and isinstance(value, (int, float))
    ]
    details = "; ".join(filter(None, [result.message, ", ".join(measured)]))
    say(display.line(f"{word:>11}  {result.id:36} {details}", SECRETS.hide).rstrip())
    printed = result.evidence.get("printed", [])
    shown = printed[-PRINTED_LINES:]
    more = [f"({len(printed) - len(shown)} more lines in the report)"] if len(printed) > len(shown) else []
    for line in (*more, *shown):
        say(display.line(f"{'':13}the client printed: {line}", SECRETS.hide, PRINTED_WIDTH))


def print_report(document: Mapping[str, Any], what: str, *, verbose: bool, lines_before: int = 0) -> None:
    """Print the report of a command: the worst cause first, the rest by group, and the verdict.

    Args:
        document: report of the command.
        what: what was checked: a URL, a client or a run.
        verbose: whether to print all of it.
        lines_before: number of lines that the command has printed before.
    """
    limit = max(MAX_LINES - lines_before, MIN_LINES)
    for line, style in terminal_lines(document, what, verbose=verbose, limit=limit):
        say(line, style=STYLES[style])


class CommandReport:
    """The report of one command.

    Args:
        files: files to write at the end.
        what: what is checked: a URL, a client or the name of a run.
        history: folder that keeps the runs; None to keep none.
        verbose: whether to print each result when it is known, and all of the report.

    Attributes:
        events: what has happened, without secrets.
        record: content of the JSON file beside the report, if it is not the report itself.
        document: the report, once it has been made.
        lines_before: number of lines that the command has printed before the report.
        repeat: how to go on after an error that ends the command, as an imperative; empty to repeat it.
    """

    def __init__(
        self, files: ReportFiles, what: str, *, history: Path | None = None, verbose: bool = False
    ) -> None:
        self.events = EventLog(hide=SECRETS.hide)
        self.record: Mapping[str, Any] | None = None
        self.lines_before = 0
        self.repeat = ""
        self._files = files
        self._history = history
        self._verbose = verbose
        self._told = 0
        self._what = what
        self.document: dict[str, Any] = {}

    @property
    def exit_status(self) -> int:
        """The exit status that the verdict means."""
        return EXIT_STATUS[self.document["verdict"]]

    def tell(self, result: CheckResult) -> None:
        """Print a result now, if all are to be printed; on a terminal, show the progress otherwise."""
        self._told += 1
        if self._verbose:
            print_result(result)
        elif sys.stderr.isatty():
            progress = display.line(f"{self._told} checks: {result.id}", limit=PROGRESS_WIDTH)
            typer.echo(f"{CLEARED}{progress}", err=True, nl=False)

    def fail(self, problem: BaseException) -> None:
        """Record the error that ends the command."""
        is_verdict = isinstance(problem, Tier0Error) and problem.exit_status == EXIT_STATUS["fail"]
        message = str(problem) if isinstance(problem, Tier0Error) else f"{type(problem).__name__}: {problem}"
        code: Code = getattr(problem, "code", "")
        status: Literal["fail", "error"] = "fail" if is_verdict else "error"
        file = getattr(problem, "file", None)
        repeat = self.repeat or "repeat the command"
        next_step = f"correct {file or 'what the message names'}, and {repeat}" if file or self.repeat else ""
        self.events.emit(RunFailed(self._what, message, status, next_step, code))

    def save(self, cut_short: CutShort | None = None, *, is_last: bool = False) -> list[str]:
        """Write the files, of what has happened so far, and at the end keep the run in the history.

        Returns:
            One message for each file that could not be written.
        """
        self.document = document_of(self.events.events, cut_short=cut_short)
        if is_last and self._history is not None:
            content = self.document if self.record is None else self.record
            self.document["history"] = remember(self._history, display.as_json(content, SECRETS.hide))
        record = None if self.record is None else {**self.record, "report": self.document}
        not_written = self._files.write(self.document, display.as_json(record, SECRETS.hide))
        not_kept = self.document.get("history", {}).get("problem")
        return [*not_written, not_kept] if not_kept else not_written

    def finish(self, cut_short: CutShort | None = None) -> list[str]:
        """Print the report, and write the files, the job summary and the annotations of the job.

        Returns:
            One message for each file that could not be written.
        """
        problems = self.save(cut_short, is_last=True)
        if self._told and not self._verbose and sys.stderr.isatty():
            typer.echo(CLEARED, err=True, nl=False)
        if self.document["checks"]:
            verbose, before = self._verbose, self.lines_before
            print_report(self.document, self._what, verbose=verbose, lines_before=before)
        for annotation in annotations_of(self.document, os.environ):
            typer.echo(annotation, err=True)  # a command of GitHub, whose text is escaped
        return [*problems, *append_summary(self.document, os.environ)]


@contextmanager
def recorded(
    files: ReportFiles, settings: str, what: str, *, history: Path | None = None, verbose: bool = False
) -> Iterator[CommandReport]:
    """Record what happens in this block, and write the report at its end, however it ends.

    Args:
        files: files to write, from `GivenSettings.begin_report`.
        settings: the settings that are not at their default, on one line.
        what: what is checked: a URL, a client or the name of a run.
        history: folder that keeps the runs; None to keep none.
        verbose: whether to print each result when it is known, and all of the report.
    """
    report = CommandReport(files, what, history=history, verbose=verbose)
    command, is_written = shlex.join(["tier0", *sys.argv[1:]]), bool(os.environ.get("GITHUB_STEP_SUMMARY"))
    known = provenance() if any(files) or is_written else NOT_ASKED
    report.events.emit(RunStarted(command=command, settings=settings, **known))
    try:
        yield report
    except typer.Exit:
        raise
    except BaseException as problem:
        is_interrupted = isinstance(problem, KeyboardInterrupt)
        if not is_interrupted:
            report.fail(problem)
        for not_written in report.finish(CutShort("interrupted") if is_interrupted else None):
            say(f"tier0: {not_written}", err=True)
        raise
    if problems := report.finish():
        refuse(f"{'; '.join(problems)}. The checks themselves completed")
