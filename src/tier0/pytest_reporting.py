"""Facts about a test, attached to pytest's report of it, and the events that are made from them.

The process that runs a test knows the check, its requests and the server's log. The process that reports,
another one under xdist, knows the final outcome (a test may be run again, or be a part of another). So the
first attaches its facts to pytest's report, as text, and the second makes events from them. Secrets are
removed before that.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypedDict

from tier0.core.causes import causes_of
from tier0.core.display import as_json, terminal
from tier0.core.errors import Tier0Error
from tier0.core.events import CheckDone, TestDone
from tier0.core.foreign_text import SKIPPED
from tier0.core.verdict import CheckResult

if TYPE_CHECKING:
    import pytest

    from tier0.core.display import Hide
    from tier0.core.event_log import EventLog

MAX_REPORT_LENGTH = 200_000
"""Maximum number of characters of a part of pytest's own output, such as what a test printed."""
MAX_TEXT_LENGTH = 6000
"""Maximum number of characters of a traceback; pytest's own output has the rest."""
MORE = "The end of its log is in the report; -v shows it here."
EVENTS, FACTS = "tier0_events", "tier0_facts"
"""Attributes of pytest's report."""


class _Facts(TypedDict):
    """Facts about a test that are known before pytest decides its outcome."""

    nodeid: str
    check: str | None
    message: str
    details: str
    exit_status: int | None
    log: str


def clean_report(report: pytest.TestReport, hide: Hide) -> None:
    """Make what pytest shows of a test fit for display: failure, output and recorded properties.

    Other plugins read the same report for JUnit XML, HTML and their own forms.
    """
    report.sections = [(_shown(title, hide), _shown(text, hide)) for title, text in report.sections]
    report.user_properties = [
        (_shown(name, hide), _shown(value, hide)) for name, value in report.user_properties
    ]
    for name in ("wasxfail", "extras"):
        if hasattr(report, name):
            setattr(report, name, hide(getattr(report, name)))
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, _shown(reason, hide))
    elif report.longrepr is not None:
        report.longrepr = _representation(report.longrepr, hide)


def shorten(report: pytest.TestReport, problem: Tier0Error, verbosity: int) -> None:
    """Show a server that did not start by the last exception of its log, unless more is to be shown.

    The report of the run has the end of the log.
    """
    if verbosity > 0:
        return
    import pytest  # noqa: PLC0415

    headline = causes_of([CheckResult("", "error", str(problem))])[0].headline
    place = str(problem).splitlines()[0]
    message = "\n".join([headline, *([place] if place not in headline else []), MORE])
    short = type(problem)(message).with_traceback(problem.__traceback__)
    report.longrepr = pytest.ExceptionInfo.from_exception(short).getrepr(style="value")


def _shown(value: Any, hide: Hide) -> Any:
    return terminal(value, hide, MAX_REPORT_LENGTH) if isinstance(value, str) else hide(value)


def _representation(part: Any, hide: Hide) -> Any:
    """Return a part of pytest's representation of an exception for display.

    The structure is kept, because other reports read it and xdist sends it.
    """
    if isinstance(part, (list, tuple)):
        return type(part)(_representation(item, hide) for item in part)
    if type(part).__module__ == "_pytest._code.code":
        for name, value in list(vars(part).items()):
            setattr(part, name, _representation(value, hide))
        return part
    if part is None or isinstance(part, (str, int, float)):
        return _shown(part, hide)
    text = str(part)  # another plugin's representation, which is left alone unless it must be changed
    return part if (shown := _shown(text, hide)) == text else shown


def attach_facts(
    item: pytest.Item,
    check: Any,
    problem: BaseException | None,
    report: pytest.TestReport,
    events: EventLog,
    log: str,
    hide: Hide,
) -> None:
    """Attach the facts about one phase of a test to pytest's report.

    Args:
        item: the test.
        check: the `tier0.suite.ParametrizedCheck` of the test; None for any other test.
        problem: the exception that the test raised, if any.
        report: pytest's report of the phase.
        events: events of this process, whose clock dates the facts.
        log: the servers' output during a failed test.
        hide: removes secrets from JSON types.
    """
    if report.when == "setup" and check is not None:
        check.reset()
    crash = getattr(getattr(report.longrepr, "reprcrash", None), "message", None)
    is_unexpected = crash is not None and not isinstance(problem, Tier0Error)
    facts: _Facts = {
        "nodeid": item.nodeid,
        "check": None if check is None else check.check.id,
        "message": _message(report, problem, crash),
        "details": report.longreprtext[-MAX_TEXT_LENGTH:] if is_unexpected else "",
        "exit_status": getattr(problem, "exit_status", None),
        "log": log,
    }
    attached: dict[str, Any] = {"test": facts, "at": time.monotonic() - events.opened}
    if check is not None and report.when != "teardown" and (report.when == "call" or not report.passed):
        attached["check"] = _facts_of_check(item, check, report, events, log)
    setattr(report, FACTS, json.dumps(as_json(attached, hide)))


def _message(report: pytest.TestReport, problem: BaseException | None, crash: str | None) -> str:
    """Return why a test failed or was skipped, as short as it is known."""
    if isinstance(problem, Tier0Error):
        return str(problem)
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    return crash or report.longreprtext


def _facts_of_check(
    item: pytest.Item, check: Any, report: pytest.TestReport, events: EventLog, log: str
) -> dict[str, Any]:
    """Return the result of a check, with its requests, as JSON types."""
    result: CheckResult | None = check.result
    has_run = result is not None
    if result is None and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        message = f"its test was skipped: {reason.removeprefix(SKIPPED)}"
        result = CheckResult(check.check.id, "not_judged", message)
    if result is None:
        message = f"not run: the {report.when} of its test failed"
        result = CheckResult(check.check.id, "error", message, seconds=report.duration)
    elif hasattr(report, "wasxfail") and result.status == "fail":
        message = f"expected to fail: {report.wasxfail}. The failure: {result.message}"
        result = CheckResult(check.check.id, "not_judged", message, result.evidence, code="waived")
    item.user_properties += [("tier0.check", check.check.id), ("tier0.status", result.status)]
    return {
        **result.as_dict(),
        "nodeid": item.nodeid,
        "asked": has_run,
        "question": check.check.question,
        "requests": [[moment - events.opened, answered] for moment, answered in check.requests],
        "retried": check.retried,
        "log": log if result.status in {"fail", "error"} else "",
    }


def attach_events(report: pytest.TestReport, events: EventLog, sent: int) -> int:
    """Attach new events, as text, to a report that xdist sends to the controller.

    Args:
        report: pytest's report.
        events: events of this process.
        sent: number of events that were sent before.

    Returns:
        The number of events that have been sent now.
    """
    if new := events.events[sent:]:
        setattr(report, EVENTS, json.dumps([event.as_dict() for event in new]))
    return len(events.events)


def record_report(report: pytest.TestReport, events: EventLog) -> None:
    """Record the events and the facts that are attached to a report."""
    events.extend(json.loads(getattr(report, EVENTS, "[]")))
    attached = json.loads(getattr(report, FACTS, "null"))
    outcome = _outcome(report)
    if attached is None or outcome is None:
        return
    if "check" in attached:
        events.add(CheckDone(**attached["check"]), attached["at"])
    is_skipped_in_setup = report.when == "setup" and outcome == "skipped"
    if report.when == "call" or outcome not in {"passed", "skipped"} or is_skipped_in_setup:
        is_part = type(report).__name__ == "SubtestReport"
        facts: _Facts = attached["test"]
        facts["message"] = facts["message"] or report.longreprtext  # of a subtest it is known only now
        done = TestDone(**facts, when=report.when, outcome=outcome, seconds=report.duration, part=is_part)
        events.add(done, attached["at"])


def _outcome(report: pytest.TestReport) -> str | None:
    """Return the outcome of a test; None if the test is run again."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.outcome not in {"passed", "failed", "skipped"}:
        return None
    return "error" if report.failed and report.when != "call" else report.outcome
