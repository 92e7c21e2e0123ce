"""The pytest plugin: options, marker, fixtures, reports. It imports the standard library and pytest only."""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tier0 import pytest_client_fixture
from tier0.core.catalogue import CATALOGUE, select_checks
from tier0.core.display import line, terminal
from tier0.core.errors import SERVER_NOT_READY, MissingDependencyError, Tier0Error, first_line, missing_extra
from tier0.core.event_log import EventLog, Recorded
from tier0.core.interruption import interrupt_with
from tier0.core.secrets import Secrets
from tier0.core.settings import PYTEST, Settings, rows_for
from tier0.pytest_recorder import (
    DOCUMENT_KEY,
    EVENTS_KEY,
    IS_ERROR,
    IS_VERDICT,
    REPORT_PROBLEMS_KEY,
    SESSION_KEY,
    SETTINGS_KEY,
    RunRecorder,
    has_results,
)
from tier0.pytest_settings import MARKER, RunSettings, report_usage_error, require_settings

if TYPE_CHECKING:
    from tier0.faults import Faults
    from tier0.runs.deployment import Deployment
    from tier0.runs.session import Session, Trained
    from tier0.serving.registration import RegisteredModel
    from tier0.serving.server import Server

INCONCLUSIVE = 2
"""Exit status of a run whose checks neither passed nor failed."""
FRAME = 24
"""Lines of pytest itself around the causes of a failed run, and of the failures that it names."""
SECRETS_KEY = pytest.StashKey[Secrets]()
RECORDER_KEY = pytest.StashKey[RunRecorder]()
SENT_KEY = pytest.StashKey[int]()
"""Number of events that an xdist worker has sent to its controller."""
SETUP_ERRORS_KEY = pytest.StashKey[list[BaseException]]()
"""Set-up errors that a test has reported; other tests with the same error are skipped."""
OWN_FIXTURES = ("tier0_", "_tier0_")
"""Beginnings of the names of the plugin's fixtures."""
RUN_ID_KEY = pytest.StashKey[str]()
"""Identifies the run in all of its processes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option and an ini key for every setting of pytest."""
    group = parser.getgroup("tier0", "Tier0: is the served model the trained model?")
    for row in rows_for(PYTEST):
        help_ = f"{row.help} (default: {row.default or 'none'}; variable: {row.variable}; ini: {row.ini})"
        help_ = help_.replace("%", "%%")
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if row.is_switch else {}
        group.addoption(
            row.option, dest=f"tier0_{row.name}", metavar=row.metavar, default=None, help=help_, **switch
        )
        parser.addini(row.ini, f"{row.help} (see {row.option})", default=None)


@pytest.hookimpl(tryfirst=True)  # before pytest-asyncio
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and read the settings; see `RunSettings` for invalid ones."""
    _ignore_unset_loop_scope()
    _, controller = _run_of(config)
    if controller is not None:
        interrupt_with(controller)  # otherwise a worker of pytest-xdist goes on for five seconds
    config.addinivalue_line(
        "markers",
        f"{MARKER}: end-to-end tests that train, register and serve a real model with `bentoml serve`",
    )
    config.stash[SETUP_ERRORS_KEY] = []
    settings = config.stash[SETTINGS_KEY] = RunSettings(config)
    secrets = config.stash[SECRETS_KEY] = Secrets(os.environ, settings.read("header"))
    opened = getattr(config, "workerinput", {}).get("tier0_opened")
    config.stash[EVENTS_KEY] = EventLog([_ProgressPrinter(config)], opened=opened, hide=secrets.hide)
    config.stash[RECORDER_KEY] = RunRecorder(config, secrets.hide)
    config.pluginmanager.register(config.stash[RECORDER_KEY], "tier0.run")
    config.pluginmanager.register(pytest_client_fixture, "tier0.pytest_client_fixture")
    if pytest_client_fixture.has_pytest_asyncio(config):  # which the module imports
        from tier0 import pytest_asyncio_loops  # noqa: PLC0415

        config.pluginmanager.register(pytest_asyncio_loops, "tier0.pytest_asyncio_loops")


def _run_of(config: pytest.Config) -> tuple[str | None, int | None]:
    """Return the run's id and the controller's process id in an xdist worker; None for both elsewhere."""
    run_id, controller = getattr(config, "workerinput", {}).get("tier0_run", (None, None))
    return run_id, controller


def _ignore_unset_loop_scope() -> None:
    """Let projects that have pytest-asyncio only because of Tier0 run without setting an option of it.

    It warns if its option is not set, which ends pytest under ``-W error``. `tier0_client` works with any
    value. pytest restores the filters of warnings when it ends.
    """
    warnings.filterwarnings(
        "ignore",
        'The configuration option "asyncio_default_fixture_loop_scope" is unset',
        pytest.PytestDeprecationWarning,
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the checks that ``--tier0-groups`` does not name."""
    groups = config.stash[SETTINGS_KEY].read("groups")
    if not groups:
        return
    selected = {check.id for check in select_checks(CATALOGUE, groups)}
    kept = [item for item in items if (check := _check_of(item)) is None or check.check.id in selected]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=list(set(items) - set(kept)))
        items[:] = kept


@pytest.hookimpl(tryfirst=True)  # before xdist sends the tests to its controller
def pytest_collection_finish(session: pytest.Session) -> None:
    """End the run with a usage error if its tests use settings that are invalid."""
    require_settings(session, session.config.stash[SETTINGS_KEY])


def _check_of(item: pytest.Item) -> Any:
    """Return the `tier0.suite.ParametrizedCheck` of a test; None for any other test."""
    callspec = getattr(item, "callspec", None)
    check = None if callspec is None else callspec.params.get("check")
    return check if getattr(check, "is_tier0_check", False) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Open the examination of a check's deployment after the fixtures; skip the test if that failed before.

    pytest raises the error of a fixture, the same object, again for each test that needs the fixture. A
    fixture of each test starts its server again, which does not become ready for the same reason.
    """
    __tracebackhide__ = True
    reported = item.config.stash[SETUP_ERRORS_KEY]
    try:
        yield
        _open_examination(item)
    except (Tier0Error, ModuleNotFoundError) as problem:
        if any(_is_the_same(problem, known) for known in reported):
            raise pytest.skip.Exception(
                first_line(missing_extra(problem) or problem), _use_item_location=True
            ) from None
        if missing := problem if isinstance(problem, MissingDependencyError) else missing_extra(problem):
            reported.append(problem)
            raise missing.with_traceback(None) from None  # the message is enough
        if isinstance(problem, Tier0Error):
            reported.append(problem)
            if _is_of_own_fixture(problem) and not str(problem).startswith(SERVER_NOT_READY):
                raise problem.with_traceback(None) from None  # the message is enough
        raise


def _is_of_own_fixture(problem: BaseException) -> bool:
    """Return whether a fixture of the plugin raised an error: its traceback shows no line of the user's."""
    entry = problem.__traceback__
    while entry is not None:
        code = entry.tb_frame.f_code
        if code.co_filename == __file__ and code.co_name.startswith(OWN_FIXTURES):
            return True
        entry = entry.tb_next
    return False


def _is_the_same(problem: BaseException, known: BaseException) -> bool:
    """Return whether a fixture has failed as before: by the same error, or a server by the same exception."""
    if problem is known or not str(problem).startswith(SERVER_NOT_READY):
        return problem is known
    from tier0.core.causes import last_exception  # noqa: PLC0415 - only such a failure needs it

    exception = last_exception(str(problem))
    return bool(exception) and exception == last_exception(str(known))


def _open_examination(item: pytest.Item) -> None:
    if _check_of(item) is None:
        return
    from tier0.runs.deployment import Deployment  # noqa: PLC0415 - only checks need it
    from tier0.runs.examination import examination_of  # noqa: PLC0415

    __tracebackhide__ = True
    for argument in getattr(item, "funcargs", {}).values():
        if isinstance(argument, Deployment):
            try:
                examination_of(argument, _ProgressPrinter(item.config).show).open()
            except Tier0Error as problem:
                raise problem.with_traceback(None) from None  # the message is enough


def _close_examinations() -> None:
    examination = sys.modules.get("tier0.runs.examination")
    if examination is not None:
        examination.close_examinations()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Return the settings that are not at their default, each with its source."""
    changed = config.stash[SETTINGS_KEY].describe()
    return line(f"tier0: {changed}", config.stash[SECRETS_KEY].hide) if changed else None


class _ProgressPrinter:
    """Prints events on the terminal as they happen, while pytest captures the output of tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __call__(self, event: Recorded) -> None:
        self.show(event.message)

    def show(self, message: str) -> None:
        """Print a line, if it is not empty."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not message or self._config.get_verbosity() < 0:
            return
        shown = line(f"tier0: {message}", self._config.stash[SECRETS_KEY].hide)
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            _write(reporter, shown)
            return
        with capture.global_and_fixture_disabled():
            _write(reporter, shown)


def _write(reporter: pytest.TerminalReporter, message: str) -> None:
    reporter.ensure_newline()
    reporter.write_line(message)
    reporter.flush()  # a file, too: its readers see the progress of the run


@pytest.fixture(scope="session")
def tier0_settings(pytestconfig: pytest.Config) -> Settings:
    """The settings of this run, from options, environment variables and the ini file."""
    return pytestconfig.stash[SETTINGS_KEY].require()


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
    shared_id, controller = _run_of(pytestconfig)
    folder = pytestconfig.invocation_params.dir
    session = Session(tier0_settings, events, shared_id, controller, folder=folder)
    pytestconfig.stash[SESSION_KEY] = session
    try:
        yield session
    finally:
        session.failed = request.session.testsfailed > 0
        _close_examinations()  # before the servers stop
        session.close()


@pytest.fixture(scope="session")
def _tier0_launched(_tier0_session: Session) -> Server:
    """A server process, whose imports run while the model is trained."""
    return _tier0_session.launch()


@pytest.fixture(scope="session")
def tier0_trained(_tier0_session: Session) -> Trained:
    """The trained model: selected, tuned, trained, measured and logged to MLflow (steps 4 and 5)."""
    return _tier0_session.train()


@pytest.fixture(scope="session")
def tier0_store(_tier0_session: Session) -> Path:
    """The BentoML home in which the model is registered: ``--tier0-store``, or one of this run."""
    return _tier0_session.store


@pytest.fixture(scope="session")
def tier0_model(_tier0_session: Session, tier0_trained: Trained, tier0_store: Path) -> RegisteredModel:
    """The registered model, with its exact tag and its golden rows."""
    return _tier0_session.register(tier0_trained, tier0_store)


@pytest.fixture(scope="session")
def tier0_server(_tier0_session: Session, _tier0_launched: Server, tier0_model: RegisteredModel) -> Server:
    """A running `bentoml serve`, which has returned the correct predictions for the golden rows."""
    _tier0_session.serve(_tier0_launched, tier0_model)
    return _tier0_launched


@pytest.fixture(scope="session")
def tier0_deployment(request: pytest.FixtureRequest, tier0_settings: Settings) -> Deployment:
    """The deployment to check: the served model, or the service that the options name or start."""
    if tier0_settings.url or tier0_settings.service or tier0_settings.command:
        session: Session = request.getfixturevalue("_tier0_session")
        return session.users_deployment()
    from tier0.runs.deployment import OwnDeployment, judging_options  # noqa: PLC0415

    server, model = request.getfixturevalue("tier0_server"), request.getfixturevalue("tier0_model")
    return OwnDeployment.from_server(server, model, **judging_options(tier0_settings))


@pytest.fixture
def tier0_faults(tier0_events: EventLog) -> Iterator[Faults]:
    """Servers and proxies that fail on purpose, for one test; see `tier0.faults`."""
    from tier0.core.events import FaultInjected  # noqa: PLC0415
    from tier0.faults import Faults  # noqa: PLC0415

    with Faults() as faults:
        yield faults
        entries = [entry for log in faults.logs for entry in log.noted if entry.what == "injected"]
        for entry in entries:
            kind = str(entry.detail.get("kind", "script"))
            tier0_events.emit(FaultInjected(what=kind, at=entry.at - tier0_events.opened))


@pytest.fixture(scope="session")
def tier0_events(pytestconfig: pytest.Config) -> EventLog:
    """The log of this run's events; to add one: `tier0_events.emit(Custom("my.event", {"rows": 5}))`."""
    return pytestconfig.stash[EVENTS_KEY]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a test report fit for display, add the server's log to a failure, and attach the test's facts."""
    report = yield
    stash = item.config.stash
    events, session = stash[EVENTS_KEY], stash.get(SESSION_KEY, None)
    hide = stash[SECRETS_KEY].hide
    if item.get_closest_marker(MARKER):
        from tier0 import pytest_reporting  # noqa: PLC0415 - only runs with the marker need it

        stash[RECORDER_KEY].own_tests.add(item.nodeid)
        logs = session.logs if session is not None and report.failed else []
        problem = call.excinfo.value if call.excinfo is not None else None
        if isinstance(problem, Tier0Error) and str(problem).startswith(SERVER_NOT_READY):
            pytest_reporting.shorten(report, problem, item.config.get_verbosity())
        else:
            report.sections += [(f"tier0: end of {log}", end) for log, end in logs]
        pytest_reporting.clean_report(report, hide)
        log_ends = "\n".join(f"{log}\n{end}" for log, end in logs)
        setattr(report, IS_VERDICT, report.failed and _is_verdict(_check_of(item), problem))
        setattr(report, IS_ERROR, report.failed and _ended_in_error(_check_of(item), problem))
        pytest_reporting.attach_facts(item, _check_of(item), problem, report, events, log_ends, hide)
        if session is not None and report.when == "setup":
            session.mark_logs()
    elif _check_of(item) is not None:
        from tier0 import pytest_reporting  # noqa: PLC0415 - only tests of checks need it

        pytest_reporting.clean_report(report, hide)
    if events.events and hasattr(item.config, "workeroutput"):
        from tier0 import pytest_reporting  # noqa: PLC0415 - only runs with the marker need it

        stash[SENT_KEY] = pytest_reporting.attach_events(report, events, stash.get(SENT_KEY, 0))
    return report


def _ended_in_error(check: Any, problem: BaseException | None) -> bool:
    """Return whether a test failed for a reason that is not a verdict, such as no response."""
    if check is not None and check.result is not None:
        return bool(check.result.status == "error")
    return getattr(problem, "exit_status", None) == INCONCLUSIVE


def _is_verdict(check: Any, problem: BaseException | None) -> bool:
    """Return whether a test failed because of its check, or of a server that did not start."""
    if isinstance(problem, Tier0Error) and str(problem).startswith(SERVER_NOT_READY):
        return True
    is_wrong = check is not None and check.result is not None and check.result.status in {"fail", "error"}
    return is_wrong and isinstance(problem, (pytest.fail.Exception, Tier0Error))


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Count a test without a verdict among the errors, not the failures."""
    is_error = report.failed and report.when == "call" and getattr(report, IS_ERROR, False)
    return ("error", "E", "ERROR") if is_error else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give an xdist worker the run's id and its controller's process id, unless it is on another machine.

    A worker that looked up its parent later might find another process, which adopted it.
    """
    run_id = node.config.stash.setdefault(RUN_ID_KEY, os.urandom(5).hex())
    spec = node.gateway.spec
    is_local = bool(spec.popen) and not spec.via
    node.workerinput["tier0_run"] = (run_id, os.getpid() if is_local else None)
    node.workerinput["tier0_opened"] = node.config.stash[EVENTS_KEY].opened


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Record the events that an xdist worker sent after its last report, or its usage error."""
    report_usage_error(node)
    sent = getattr(node, "workeroutput", {}).get("tier0_events")
    if sent:
        node.config.stash[EVENTS_KEY].extend(json.loads(sent))


@pytest.hookimpl(trylast=True)  # after an interruption, the fixtures are torn down in this hook
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report; in an xdist worker, send the events after the last report instead."""
    _close_examinations()
    config, events = session.config, session.config.stash[EVENTS_KEY]
    output = getattr(config, "workeroutput", None)
    if output is not None:
        if new := events.events[config.stash.get(SENT_KEY, 0) :]:
            output["tier0_events"] = json.dumps([event.as_dict() for event in new])
        return
    document = _document_or_none(session)
    if document is not None:
        from tier0.report.files import ReportFiles, append_summary  # noqa: PLC0415

        problems = ReportFiles.named_by(config.stash[SETTINGS_KEY].read).write(document)
        problems += append_summary(document, os.environ) if has_results(document) else []
        config.stash[REPORT_PROBLEMS_KEY] += problems
        if _is_inconclusive(session, document):
            session.exitstatus = INCONCLUSIVE
        elif session.exitstatus == pytest.ExitCode.OK and _has_suspicion(events):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _has_suspicion(events: EventLog) -> bool:
    """Return whether a column may give the target away, so that the model that passed may be worthless."""
    from tier0.core.events import LeakSuspected  # noqa: PLC0415

    return events.last(LeakSuspected) is not None


def _document_or_none(session: pytest.Session) -> dict[str, Any] | None:
    """Return the report, if there is one; an error in it must not change the outcome of the tests."""
    stash = session.config.stash
    problems = stash.setdefault(REPORT_PROBLEMS_KEY, [])
    try:
        return None if problems else stash[RECORDER_KEY].document(session)
    except Exception as problem:  # noqa: BLE001 - invalid events of a test, and errors of Tier0 itself
        from tier0.core.bug_report import internal_error  # noqa: PLC0415 - only errors need it

        problems.append(f"no report was created: {internal_error(problem)}")
        return None


def _is_inconclusive(session: pytest.Session, document: dict[str, Any]) -> bool:
    """Return whether checks ran, or could not run, and pytest's exit status would be a verdict on them.

    Exit status 1 means that a test failed, and 0 that all passed.
    """
    is_verdict = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
    if not is_verdict or session.config.stash[RECORDER_KEY].has_other_failures:
        return False
    has_run = session.exitstatus != pytest.ExitCode.OK or any(check["asked"] for check in document["checks"])
    return has_run and document["verdict"] == "inconclusive"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the verdict, the trained model and the served one."""
    events, document = config.stash[EVENTS_KEY], config.stash.get(DOCUMENT_KEY, {})
    problems = config.stash.get(REPORT_PROBLEMS_KEY, [])
    if not events.events and not problems and not document:
        return
    from tier0.report.summary import as_lines, summary_rows  # noqa: PLC0415

    terminalreporter.section("tier0")
    verdict = [("verdict", document["sentence"])] if has_results(document) else []
    if history := document.get("history"):
        from tier0.report.history_page import history_sentences  # noqa: PLC0415

        verdict += [("history", sentence) for sentence in history_sentences(history)]
    if has_results(document):
        from tier0.report.not_checked import unanswered_questions  # noqa: PLC0415

        unanswered = unanswered_questions(document).items()
        verdict += [("not checked", f"{check}: {reason}") for check, reason in unanswered]
    hide = config.stash[SECRETS_KEY].hide
    rows = [*as_lines([*verdict, *summary_rows(events)]), *config.stash[SETTINGS_KEY].ignored]
    for text in rows:
        terminalreporter.write_line(line(text, hide))
    if document.get("causes"):
        from tier0.report.terminal import ALL, MARKUP, MAX_LINES, cause_lines  # noqa: PLC0415

        room = ALL if config.get_verbosity() > 0 else max(MAX_LINES - FRAME - len(rows) - len(problems), 0)
        for text, style in cause_lines(document, room):
            terminalreporter.write_line(text, **MARKUP[style])
    for problem in problems:
        terminalreporter.write_line(terminal(problem, hide), red=True)
    if has_results(document):
        from tier0.report.annotations import annotations_of  # noqa: PLC0415

        for annotation in annotations_of(document, os.environ):
            terminalreporter.write_line(annotation)  # a command of GitHub, whose text is escaped
    config.stash[RECORDER_KEY].name_some(terminalreporter.stats)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """Add the report to the top of pytest-html's page."""
    document = _document_or_none(session)
    if document is not None and has_results(document):
        from tier0.report.page import as_html  # noqa: PLC0415

        prefix.append(as_html(document))
