"""The pytest plugin: options, the marker, fixtures and reports. Loading it imports the standard library and pytest only."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tier0.core.catalogue import CATALOGUE, select_checks
from tier0.core.errors import SettingsError, Tier0Error, first_line, missing_extra
from tier0.core.event_log import EventLog, Recorded
from tier0.core.secrets import Secrets
from tier0.core.settings import TABLE, Settings, merge_settings, remove_report, report_of

if TYPE_CHECKING:
    from tier0.core.events import Event
    from tier0.faults import Faults
    from tier0.report.cut_short import CutShort
    from tier0.runs.deployment import Deployment
    from tier0.runs.session import Session, Trained
    from tier0.serving.registration import RegisteredModel
    from tier0.serving.server import Server

MARKER = "tier0_bentoml"
SETTINGS_KEY = pytest.StashKey[Settings]()
EVENTS_KEY = pytest.StashKey[EventLog]()
SECRETS_KEY = pytest.StashKey[Secrets]()
WATCH_KEY = pytest.StashKey["_Run"]()
DOCUMENT_KEY = pytest.StashKey[dict[str, Any]]()
UNWRITTEN_KEY = pytest.StashKey[list[str]]()
SHIPPED_KEY = pytest.StashKey[int]()
"""How many events an xdist worker has sent to its controller."""
REPORTED_KEY = pytest.StashKey[list[BaseException]]()
"""Errors of a set-up that one test has reported: the others that meet them are skipped."""
SESSION_KEY = pytest.StashKey["Session"]()
RUN_KEY = pytest.StashKey[str]()
"""What names a run to all of its processes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make an option and an ini key for every setting."""
    group = parser.getgroup("tier0", "Tier0: is the served model the trained model?")
    for row in TABLE:
        help_ = (
            f"{row.help} (default: {row.default or 'none'}; also {row.variable} and ini {row.ini})".replace(
                "%", "%%"
            )
        )
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if row.metavar == "BOOL" else {}
        group.addoption(
            row.option, dest=f"tier0_{row.name}", metavar=row.metavar, default=None, help=help_, **switch
        )
        parser.addini(row.ini, f"{row.help} (see {row.option})", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse settings that cannot be used before anything is done."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}: end-to-end tests that train, register and serve a real model with `bentoml serve`",
    )
    config.stash[REPORTED_KEY] = []
    try:
        config.stash[SETTINGS_KEY] = _merge(config)
    except SettingsError as problem:
        _remove_report(config)
        raise pytest.UsageError(f"tier0: {problem}") from None
    secrets = config.stash[SECRETS_KEY] = Secrets(os.environ, config.stash[SETTINGS_KEY].header)
    opened = getattr(config, "workerinput", {}).get("tier0_opened")
    config.stash[EVENTS_KEY] = EventLog([_Narrator(config)], opened=opened, hide=secrets.hide)
    config.stash[WATCH_KEY] = _Run(config)
    config.pluginmanager.register(config.stash[WATCH_KEY], "tier0.run")
    if config.pluginmanager.hasplugin("asyncio"):
        from tier0 import pytest_client_fixture  # noqa: PLC0415 - pytest-asyncio, which it imports, is loaded already

        config.pluginmanager.register(pytest_client_fixture, "tier0.pytest_client_fixture")


def _given(config: pytest.Config) -> tuple[dict[str, str | None], Mapping[str, str], dict[str, str | None]]:
    """Return what options, environment and ini file say, as text."""
    options = {row.name: config.getoption(f"tier0_{row.name}") for row in TABLE}
    return options, os.environ, {row.name: config.getini(row.ini) for row in TABLE}


def _merge(config: pytest.Config) -> Settings:
    options, environ, ini = _given(config)
    if config.inipath is not None and "." in (
        dataset := ini["dataset"] or ""
    ):  # a file, named relative to the ini file
        ini["dataset"] = str(config.inipath.parent / dataset)
    return merge_settings(options, environ, ini)


def _remove_report(config: pytest.Config) -> None:
    """Remove the report of an earlier run, although other settings cannot be used: it would be taken for this run's."""
    with suppress(ValueError):
        path = report_of(*_given(config))
        if path is not None and not hasattr(config, "workerinput"):
            remove_report(path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the checks that ``--tier0-groups`` does not name."""
    groups = config.stash[SETTINGS_KEY].groups
    if not groups:
        return
    wanted = {check.id for check in select_checks(CATALOGUE, groups)}
    kept = [item for item in items if (asked := _asked_by(item)) is None or asked.check.id in wanted]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=list(set(items) - set(kept)))
        items[:] = kept


def _asked_by(item: pytest.Item) -> Any:
    """Return the check that a test is parametrized with; None for any other test."""
    callspec = getattr(item, "callspec", None)
    asked = None if callspec is None else callspec.params.get("check")
    return asked if getattr(asked, "is_tier0_check", False) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Open the examination of a check's deployment after the fixtures; where that or a fixture failed before, skip the test.

    pytest raises the error of a fixture again, the same object, for each test that needs it.
    """
    __tracebackhide__ = True
    reported = item.config.stash[REPORTED_KEY]
    try:
        yield
        _open_examination(item)
    except (Tier0Error, ModuleNotFoundError) as problem:
        if any(problem is known for known in reported):
            raise pytest.skip.Exception(
                first_line(missing_extra(problem) or problem), _use_item_location=True
            ) from None
        if missing := missing_extra(problem):
            reported.append(problem)
            raise missing from problem
        if isinstance(problem, Tier0Error):
            reported.append(problem)
        raise


def _open_examination(item: pytest.Item) -> None:
    if _asked_by(item) is None:
        return
    from tier0.runs.deployment import Deployment  # noqa: PLC0415 - what other runs do not need
    from tier0.runs.examination import examination_of  # noqa: PLC0415 - likewise

    __tracebackhide__ = True
    for given in getattr(item, "funcargs", {}).values():
        if isinstance(given, Deployment):
            try:
                examination_of(given, _Narrator(item.config).tell).open()
            except Tier0Error as problem:
                raise problem.with_traceback(None) from None  # the message says it all


def _close_examinations() -> None:
    opened = sys.modules.get("tier0.runs.examination")
    if opened is not None:
        opened.close_examinations()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which settings are not the default, and where each came from."""
    changed = config.stash[SETTINGS_KEY].describe_changed()
    return f"tier0: {changed}" if changed else None


class _Narrator:
    """Tells the phases on the terminal as they happen, past pytest's capturing."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __call__(self, event: Recorded) -> None:
        self.tell(event.message)

    def tell(self, message: str) -> None:
        """Print a line, if it is not empty."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not message or self._config.get_verbosity() < 0:
            return
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            _write(reporter, message)
            return
        with capture.global_and_fixture_disabled():
            _write(reporter, message)


class _Run:
    """The hooks of a run that are not told its config, and what they saw; in an xdist worker they leave reporting to its controller."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stash = config.stash
        self.is_worker = hasattr(config, "workerinput")
        self.ended_by: CutShort | None = None
        self.amiss: list[Event] = []
        """Tests that could not be collected, and processes that died: events, if the run turns out to be about ours."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Make events of what is known of a test."""
        if self.is_worker:
            return
        if report.when not in {"setup", "call", "teardown"}:
            from tier0.core.events import TestCrashed  # noqa: PLC0415 - what a run in which nothing crashes does not need

            self.amiss.append(TestCrashed(nodeid=report.nodeid, message=report.longreprtext))
        elif hasattr(report, "tier0_known") or hasattr(report, "tier0_events"):
            from tier0 import pytest_reporting  # noqa: PLC0415 - what a run without the marker does not need

            pytest_reporting.take(report, self._stash[EVENTS_KEY])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember what could not be collected: it may have been ours."""
        if report.failed and not self.is_worker:
            from tier0.core.events import CollectionFailed  # noqa: PLC0415 - likewise

            self.amiss.append(CollectionFailed(nodeid=report.nodeid, message=report.longreprtext))

    def pytest_sessionstart(self) -> None:
        """Take away the report of an earlier run, which would be taken for this one's if it ended without."""
        path = self._stash[SETTINGS_KEY].report
        if path is not None and not self.is_worker:
            remove_report(path)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Tell the session that somebody pressed Ctrl-C, or that a test ended the run."""
        from tier0.report.cut_short import CutShort  # noqa: PLC0415 - likewise

        self.ended_by = (
            CutShort("interrupted")
            if excinfo.errisinstance(KeyboardInterrupt)
            else CutShort("stopped", str(excinfo.value))
        )
        session = self._stash.get(SESSION_KEY, None)
        if session is not None:
            session.interrupted = True
        # Where it was raised in code that an import executes from text, CPython remembers it as unhandled until the next such code
        # runs, and `python -m pytest` would end by the signal instead of with pytest's status.
        exec("")  # noqa: S102

    def cut_short(self, session: pytest.Session) -> CutShort | None:
        """Return how the run ended before all of its tests were run; None if it did not."""
        if self.ended_by is not None:
            return self.ended_by
        if session.exitstatus in {
            pytest.ExitCode.OK,
            pytest.ExitCode.TESTS_FAILED,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        }:
            return None
        from tier0.report.cut_short import CutShort  # noqa: PLC0415 - likewise

        if session.exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            return CutShort("internal_error")
        return CutShort(
            "stopped",
            str(
                session.shouldfail
                or session.shouldstop
                or f"pytest ended with status {int(session.exitstatus)}"
            ),
        )

    def _is_ours_by_name(self) -> bool:
        """Tell whether our tests were asked for: xdist's controller knows no more of them before the first has told something."""
        expression = self._config.option.markexpr or ""
        return MARKER in expression and f"not {MARKER}" not in expression

    def document(self, session: pytest.Session) -> dict[str, Any] | None:
        """Return the report; None for a run that has nothing to do with ours, unless a report was asked for."""
        log = self._stash[EVENTS_KEY]
        asked_for = self._stash[SETTINGS_KEY].report or (
            self._is_ours_by_name() and self.cut_short(session) is not None
        )
        if not log.events and not asked_for:
            return None
        if DOCUMENT_KEY not in self._stash:
            from tier0.report.document import document_of  # noqa: PLC0415 - what a run without the marker does not need

            for event in self.amiss:
                log.emit(event)
            self._stash[DOCUMENT_KEY] = document_of(log.events, cut_short=self.cut_short(session))
        return self._stash[DOCUMENT_KEY]


def _write(reporter: pytest.TerminalReporter, message: str) -> None:
    reporter.ensure_newline()
    reporter.write_line(f"tier0: {message}")
    reporter.flush()  # into a file, too: whoever reads it sees what is being done


@pytest.fixture(scope="session")
def tier0_settings(pytestconfig: pytest.Config) -> Settings:
    """What this run was asked to do."""
    return pytestconfig.stash[SETTINGS_KEY]


@pytest.fixture(scope="session")
def _tier0_session(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, tier0_settings: Settings
) -> Iterator[Session]:
    from tier0.core.events import RunStarted  # noqa: PLC0415
    from tier0.core.provenance import provenance  # noqa: PLC0415
    from tier0.runs.session import Session  # noqa: PLC0415

    events = pytestconfig.stash[EVENTS_KEY]
    command = shlex.join(["pytest", *pytestconfig.invocation_params.args])
    events.emit(RunStarted(command=command, settings=tier0_settings.describe_changed(), **provenance()))
    shared_id, controller = getattr(pytestconfig, "workerinput", {}).get("tier0_run", (None, None))
    session = Session(tier0_settings, events, shared_id, controller)
    pytestconfig.stash[SESSION_KEY] = session
    try:
        yield session
    finally:
        session.failed = request.session.testsfailed > 0
        _close_examinations()  # before the servers stop
        session.close()


@pytest.fixture(scope="session")
def _tier0_launched(_tier0_session: Session) -> Server:
    """A server whose imports run while the model is trained."""
    return _tier0_session.launch()


@pytest.fixture(scope="session")
def tier0_trained(_tier0_session: Session) -> Trained:
    """Steps 4 and 5: a model that was selected, tuned, trained, measured and logged to MLflow."""
    return _tier0_session.train()


@pytest.fixture(scope="session")
def tier0_store(_tier0_session: Session) -> Path:
    """The BentoML home that the model is registered in: this run's own, unless ``--tier0-store`` names one."""
    return _tier0_session.store


@pytest.fixture(scope="session")
def tier0_model(_tier0_session: Session, tier0_trained: Trained, tier0_store: Path) -> RegisteredModel:
    """The registered model: its exact tag, and its golden rows."""
    return _tier0_session.register(tier0_trained, tier0_store)


@pytest.fixture(scope="session")
def tier0_server(_tier0_session: Session, _tier0_launched: Server, tier0_model: RegisteredModel) -> Server:
    """A running `bentoml serve` that gave the golden rows back right."""
    _tier0_session.serve(_tier0_launched, tier0_model)
    return _tier0_launched


@pytest.fixture(scope="session")
def tier0_deployment(request: pytest.FixtureRequest, tier0_settings: Settings) -> Deployment:
    """What is judged: our own model, trained and served; or the service that ``--tier0-url`` or ``--tier0-service`` names."""
    if tier0_settings.url or tier0_settings.service:
        session: Session = request.getfixturevalue("_tier0_session")
        return session.users_deployment()
    from tier0.runs.deployment import OwnDeployment, judging_options  # noqa: PLC0415

    server, model = request.getfixturevalue("tier0_server"), request.getfixturevalue("tier0_model")
    return OwnDeployment.from_server(server, model, **judging_options(tier0_settings))


@pytest.fixture
def tier0_faults(tier0_events: EventLog) -> Iterator[Faults]:
    """Fault servers and proxies for one test, see `tier0.faults`."""
    from tier0.core.events import FaultInjected  # noqa: PLC0415
    from tier0.faults import Faults  # noqa: PLC0415

    with Faults() as faults:
        yield faults
        for noted in (one for log in faults.logs for one in log.noted if one.what == "injected"):
            tier0_events.emit(
                FaultInjected(what=str(noted.detail.get("kind", "script")), at=noted.at - tier0_events.opened)
            )


@pytest.fixture(scope="session")
def tier0_events(pytestconfig: pytest.Config) -> EventLog:
    """The log of this run's events; a test may add its own: `tier0_events.emit(Custom("my.event", {"rows": 5}))`."""
    return pytestconfig.stash[EVENTS_KEY]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take secrets out of a report, put the server's log beside a failure, and tell what came of the test."""
    report = yield
    stash = item.config.stash
    events, session = stash[EVENTS_KEY], stash.get(SESSION_KEY, None)
    if item.get_closest_marker(MARKER):
        from tier0 import pytest_reporting  # noqa: PLC0415 - what a run without the marker does not need

        hide = stash[SECRETS_KEY].hide
        logs = session.logs if session is not None and report.failed else []
        report.sections += [(f"tier0: end of {log}", end) for log, end in logs]
        pytest_reporting.hide_secrets(report, hide)
        shown = "\n".join(f"{log}\n{end}" for log, end in logs)
        pytest_reporting.attach(
            item,
            _asked_by(item),
            call.excinfo.value if call.excinfo is not None else None,
            report,
            events,
            shown,
            hide,
        )
        if session is not None and report.when == "setup":
            session.mark_logs()
    if events.events and hasattr(item.config, "workeroutput"):
        from tier0 import pytest_reporting  # noqa: PLC0415 - likewise

        stash[SHIPPED_KEY] = pytest_reporting.ship(report, events, stash.get(SHIPPED_KEY, 0))
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker what it shares with the others, and with whom it ends: asked later, its parent may be another one already."""
    node.workerinput["tier0_run"] = (node.config.stash.setdefault(RUN_KEY, os.urandom(5).hex()), os.getpid())
    node.workerinput["tier0_opened"] = node.config.stash[EVENTS_KEY].opened


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what an xdist worker shipped after its last report."""
    shipped = getattr(node, "workeroutput", {}).get("tier0_events")
    if shipped:
        node.config.stash[EVENTS_KEY].extend(json.loads(shipped))


@pytest.hookimpl(trylast=True)  # after the fixtures' ends, which an interruption brings into this very hook
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report; in an xdist worker, ship what happened after the last report instead."""
    _close_examinations()
    config, events = session.config, session.config.stash[EVENTS_KEY]
    output = getattr(config, "workeroutput", None)
    if output is not None:
        if new := events.events[config.stash.get(SHIPPED_KEY, 0) :]:
            output["tier0_events"] = json.dumps([event.as_dict() for event in new])
        return
    document = _reported(session)
    if document is not None:
        from tier0.report import files  # noqa: PLC0415

        summary = os.environ.get("GITHUB_STEP_SUMMARY") if _says_something(document) else None
        config.stash[UNWRITTEN_KEY] += files.write(document, config.stash[SETTINGS_KEY].report, summary)


def _reported(session: pytest.Session) -> dict[str, Any] | None:
    """Return the report; whatever is wrong with it must not take the tests' own outcome away."""
    stash = session.config.stash
    unwritten = stash.setdefault(UNWRITTEN_KEY, [])
    try:
        return None if unwritten else stash[WATCH_KEY].document(session)
    except Exception as problem:  # noqa: BLE001 - events of a test's own making, and our own mistakes
        unwritten.append(
            f"there is no report, for a reason that Tier0 does not know: {type(problem).__name__}: {problem}"
        )
        return None


def _says_something(document: dict[str, Any]) -> bool:
    """Tell whether anything of ours was asked, or kept from being asked."""
    return bool(document.get("tests") or document.get("problems") or document.get("cut_short"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was trained, served and found."""
    events, document = config.stash[EVENTS_KEY], config.stash.get(DOCUMENT_KEY, {})
    unwritten = config.stash.get(UNWRITTEN_KEY, [])
    if not events.events and not unwritten and not document:
        return
    from tier0.report.summary import as_lines, summary_rows  # noqa: PLC0415

    terminalreporter.section("tier0")
    judged = [("verdict", document["sentence"])] if _says_something(document) else []
    for line in as_lines([*judged, *summary_rows(events)]):
        terminalreporter.write_line(line)
    for problem in unwritten:
        terminalreporter.write_line(problem, red=True)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """Put the report on top of pytest-html's."""
    document = _reported(session)
    if document is not None and _says_something(document):
        from tier0.report.page import as_html  # noqa: PLC0415

        prefix.append(as_html(document))
