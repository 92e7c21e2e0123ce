"""Recorder of a run of pytest: outcomes of tests, problems outside of tests, and an early end."""

from __future__ import annotations

from collections.abc import Generator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tier0.core.display import Hide, line, terminal
from tier0.core.errors import Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.settings import REPORT_FILES
from tier0.pytest_settings import MARKER, RunSettings

if TYPE_CHECKING:
    import warnings

    from tier0.core.events import Event
    from tier0.report.cut_short import CutShort
    from tier0.runs.session import Session  # noqa: F401 - the string below refers to it

IS_ERROR = "tier0_is_error"
"""Attribute of pytest's report: the test failed for a reason that is not a verdict."""
IS_VERDICT = "tier0_is_verdict"
"""Attribute of pytest's report: the test failed with the result of a check, which the causes tell."""
OUTCOMES = {"failed", "error"}
MAX_NAMED = 5
"""Failed checks in pytest's own list of what failed."""
SETTINGS_KEY = pytest.StashKey[RunSettings]()
EVENTS_KEY = pytest.StashKey[EventLog]()
SESSION_KEY = pytest.StashKey["Session"]()
DOCUMENT_KEY = pytest.StashKey[dict[str, Any]]()
REPORT_PROBLEMS_KEY = pytest.StashKey[list[str]]()
"""Reasons why a report was not created or not written."""


def _in_one_line(report: Any) -> Any:
    """Return a copy of a report with the first line of its message: on CI servers, pytest lists all lines."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return report
    report = copy(report)
    report.longrepr = copy(report.longrepr)
    report.longrepr.reprcrash = copy(crash)
    report.longrepr.reprcrash.message = crash.message.partition("\n")[0]
    return report


def has_results(document: dict[str, Any]) -> bool:
    """Return whether tests of Tier0 ran, or could not run."""
    return bool(document.get("tests") or document.get("problems") or document.get("cut_short"))


class RunRecorder:
    """Hooks that pytest calls without the config, and what they recorded.

    An xdist worker leaves recording to its controller.

    Args:
        config: pytest's configuration.
        hide: removes secrets from a text.
    """

    def __init__(self, config: pytest.Config, hide: Hide) -> None:
        self._config = config
        self._hide = hide
        self._stash = config.stash
        self.is_worker = hasattr(config, "workerinput")
        self.ended_by: CutShort | None = None
        self.has_other_failures = False
        """Whether anything failed that is not an error of Tier0: a verdict, or a test's own failure."""
        self.own_tests: set[str] = set()
        """Ids of the tests of Tier0 that have run in this process."""
        self.told: dict[str, list[Any]] = {}
        """Reports that pytest's own sections leave to the causes, by pytest's name of the outcome."""
        self.problems: list[Event] = []
        """Tests that could not be collected, and crashed processes: events, if the run has tests of Tier0."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of a test as events."""
        if self.is_worker:
            return
        if report.failed and not getattr(report, IS_ERROR, False):
            self.has_other_failures = True
        if report.when not in {"setup", "call", "teardown"}:
            from tier0.core.events import TestCrashed  # noqa: PLC0415 - takes milliseconds; rarely needed

            self.problems.append(TestCrashed(nodeid=report.nodeid, message=report.longreprtext))
        elif hasattr(report, "tier0_facts") or hasattr(report, "tier0_events"):
            from tier0 import pytest_reporting  # noqa: PLC0415 - only runs with the marker need it

            pytest_reporting.record_report(report, self._stash[EVENTS_KEY])

    @pytest.hookimpl(tryfirst=True)  # before pytest's terminal, and before xdist sends it
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        """Make the text of a test's warning fit for display."""
        text = str(warning_message.message)
        if nodeid in self.own_tests and (shown := terminal(text, self._hide)) != text:
            warning_message.message = Warning(shown)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record that something could not be collected: it may contain tests of Tier0."""
        if report.failed and not self.is_worker:
            self.has_other_failures = True
            from tier0.core.events import CollectionFailed  # noqa: PLC0415 - takes milliseconds; rarely needed

            self.problems.append(CollectionFailed(nodeid=report.nodeid, message=report.longreprtext))

    def pytest_sessionstart(self) -> None:
        """Remove the reports of an earlier run, and note which of this run's cannot be written."""
        if self.is_worker or not any(self._named(name) for name in REPORT_FILES):
            return
        from tier0.report.files import ReportFiles  # noqa: PLC0415 - only runs with a report need it

        try:
            ReportFiles.named_by(self._named).begin()
        except Tier0Error as problem:
            self._stash.setdefault(REPORT_PROBLEMS_KEY, []).append(str(problem))

    def _named(self, name: str) -> Path | None:
        """Return the path of a file of the report, by the name of its setting; None if none is named."""
        path: Path | None = self._stash[SETTINGS_KEY].read(name)
        return path

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Record that the user pressed Ctrl-C, or that a test ended the run."""
        from tier0.core.interruption import forget_interrupt  # noqa: PLC0415 - only runs that end early need it
        from tier0.report.cut_short import CutShort  # noqa: PLC0415 - only runs that end early need it

        self.ended_by = (
            CutShort("interrupted")
            if excinfo.errisinstance(KeyboardInterrupt)
            else CutShort("stopped", line(str(excinfo.value), self._hide))
        )
        session = self._stash.get(SESSION_KEY, None)
        if session is not None:
            session.interrupted = True
        forget_interrupt()

    def cut_short(self, session: pytest.Session) -> CutShort | None:
        """Return how the run ended before all of its tests were run; None if all were run."""
        if self.ended_by is not None:
            return self.ended_by
        if session.exitstatus in {
            pytest.ExitCode.OK,
            pytest.ExitCode.TESTS_FAILED,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        }:
            return None
        from tier0.report.cut_short import CutShort  # noqa: PLC0415 - only runs that end early need it

        if session.exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            return CutShort("internal_error")
        reason = session.shouldfail or session.shouldstop
        reason = reason or f"pytest ended with status {int(session.exitstatus)}"
        return CutShort("stopped", line(str(reason), self._hide))

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest's own sections
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> Generator[None]:
        """Leave failures of checks to the causes, which tell each once, unless all is to be shown."""
        stats, before = terminalreporter.stats, dict(terminalreporter.stats)
        if config.get_verbosity() <= 0 and self._stash.get(DOCUMENT_KEY, {}).get("causes"):
            for name in OUTCOMES & stats.keys():
                self.told[name] = [one for one in stats[name] if getattr(one, IS_VERDICT, False)]
                stats[name] = [one for one in stats[name] if one not in self.told[name]]
        try:
            return (yield)
        finally:
            stats.update(before)

    def name_some(self, stats: dict[str, list[Any]]) -> None:
        """Give back the first reports that were left to the causes, for pytest's list of what failed."""
        for name, told in self.told.items():
            stats[name] += [_in_one_line(one) for one in told[:MAX_NAMED]]

    def _selects_marker(self) -> bool:
        """Return whether ``-m`` selects the marker: before a report, xdist's controller knows no more."""
        expression = self._config.option.markexpr or ""
        return MARKER in expression and f"not {MARKER}" not in expression

    def document(self, session: pytest.Session) -> dict[str, Any] | None:
        """Return the report; None for a run without tests of Tier0, unless a report was requested.

        A run that ended before its tests because of invalid settings has no report either.
        """
        log, settings = self._stash[EVENTS_KEY], self._stash[SETTINGS_KEY]
        if settings.problem is not None and session.exitstatus == pytest.ExitCode.USAGE_ERROR:
            return None
        is_requested = any(map(self._named, REPORT_FILES)) or (
            self._selects_marker() and self.cut_short(session) is not None
        )
        if not log.events and not is_requested:
            return None
        if DOCUMENT_KEY not in self._stash:
            from tier0.report.document import document_of  # noqa: PLC0415 - only runs with the marker need it

            for event in self.problems:
                log.emit(event)
            document = document_of(log.events, cut_short=self.cut_short(session))
            if (folder := settings.read("history")) is not None and has_results(document):
                from tier0.report.history import remember  # noqa: PLC0415 - only runs with a history need it

                document["history"] = remember(folder, document)
            self._stash[DOCUMENT_KEY] = document
        return self._stash[DOCUMENT_KEY]
