"""What a test that ended tells: facts for the report, properties for JUnit, and no secret in either.

Whoever runs a test knows what was asked and what a server printed; whoever reports, in another process under xdist, knows what became of the
test in the end (it may be run again, or be part of another). So the first puts what it knows onto pytest's report, as text, and the second
makes events of it.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypedDict

from tier0.core.errors import Tier0Error
from tier0.core.event_log import as_json
from tier0.core.events import CheckDone, TestDone
from tier0.core.foreign_text import SKIPPED
from tier0.core.verdict import CheckResult

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tier0.core.event_log import EventLog

MAX_TEXT_LENGTH = 6000
"""Characters of a traceback: the rest stands in the test's own section."""
SHIPPED, KNOWN = "tier0_events", "tier0_known"


class _Facts(TypedDict):
    """What is known of a test before pytest has decided what became of it."""

    nodeid: str
    check: str | None
    message: str
    details: str
    exit_status: int | None
    log: str


def hide_secrets(report: pytest.TestReport, hide: Callable[[Any], Any]) -> None:
    """Take secrets out of what pytest will show of a test: why it failed, what it printed, and what it recorded."""
    report.sections = [(hide(title), hide(text)) for title, text in report.sections]
    report.user_properties = [(hide(name), hide(value)) for name, value in report.user_properties]
    for name in ("wasxfail", "extras"):
        if hasattr(report, name):
            setattr(report, name, hide(getattr(report, name)))
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, hide(reason))
    elif report.longrepr is not None:
        report.longrepr = _hidden(report.longrepr, hide)


def _hidden(part: Any, hide: Callable[[Any], Any]) -> Any:
    """Hide them in each text of what pytest made of an exception, and keep its form: other reports read that, and xdist ships it."""
    if isinstance(part, (list, tuple)):
        return type(part)(_hidden(item, hide) for item in part)
    if type(part).__module__ == "_pytest._code.code":
        for name, value in list(vars(part).items()):
            setattr(part, name, _hidden(value, hide))
        return part
    if part is None or isinstance(part, (str, int, float)):
        return hide(part)
    text = str(
        part
    )  # what an item of somebody else's makes of an exception, which is left alone unless there is a secret in it
    return part if hide(text) == text else hide(text)


def attach(
    item: pytest.Item,
    asked: Any,
    problem: BaseException | None,
    report: pytest.TestReport,
    events: EventLog,
    log: str,
    hide: Callable[[Any], Any],
) -> None:
    """Put what is known of a test onto its report.

    Args:
        item: the test.
        asked: the check that it is parametrized with.
        problem: what it raised.
        report: of one of its phases.
        events: of this process, for its clock.
        log: what the servers printed meanwhile, where it failed.
        hide: takes secrets out of all that.
    """
    if report.when == "setup" and asked is not None:
        asked.forget()
    said = report.longreprtext
    crash = getattr(getattr(report.longrepr, "reprcrash", None), "message", None)
    message = (
        str(problem)
        if isinstance(problem, Tier0Error)
        else report.longrepr[2]
        if isinstance(report.longrepr, tuple)
        else crash or said
    )
    facts: _Facts = {
        "nodeid": item.nodeid,
        "check": None if asked is None else asked.check.id,
        "message": message,
        "details": said[-MAX_TEXT_LENGTH:]
        if crash is not None and not isinstance(problem, Tier0Error)
        else "",
        "exit_status": getattr(problem, "exit_status", None),
        "log": log,
    }
    known: dict[str, Any] = {"test": facts, "at": time.monotonic() - events.opened}
    if asked is not None and report.when != "teardown" and (report.when == "call" or not report.passed):
        known["check"] = _of_check(item, asked, report, events, log)
    setattr(report, KNOWN, json.dumps(hide(as_json(known))))


def _of_check(
    item: pytest.Item, asked: Any, report: pytest.TestReport, events: EventLog, log: str
) -> dict[str, Any]:
    result: CheckResult | None = asked.result
    was_asked = result is not None
    if result is None and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        result = CheckResult(
            asked.check.id, "not_judged", f"its test was skipped: {reason.removeprefix(SKIPPED)}"
        )
    if result is None:
        result = CheckResult(
            asked.check.id, "error", f"not run: the {report.when} of its test failed", seconds=report.duration
        )
    elif hasattr(report, "wasxfail") and result.status == "fail":
        message = f"expected to fail: {report.wasxfail}. The failure: {result.message}"
        result = CheckResult(asked.check.id, "not_judged", message, result.evidence, code="waived")
    item.user_properties += [("tier0.check", asked.check.id), ("tier0.status", result.status)]
    requests = [[moment - events.opened, answered] for moment, answered in asked.requests]
    shown = log if result.status in {"fail", "error"} else ""
    known = {
        "nodeid": item.nodeid,
        "asked": was_asked,
        "question": asked.check.question,
        "requests": requests,
        "retried": asked.retried,
    }
    return {**result.as_dict(), **known, "log": shown}


def ship(report: pytest.TestReport, events: EventLog, shipped: int) -> int:
    """Put what happened since *shipped* events onto a report that xdist takes to the controller, as text; return how many there are now."""
    if new := events.events[shipped:]:
        setattr(report, SHIPPED, json.dumps([event.as_dict() for event in new]))
    return len(events.events)


def take(report: pytest.TestReport, events: EventLog) -> None:
    """Make events of what is known of a test whose report has arrived; and of what a worker of xdist put onto it."""
    events.extend(json.loads(getattr(report, SHIPPED, "[]")))
    known = json.loads(getattr(report, KNOWN, "null"))
    outcome = _outcome(report)
    if known is None or outcome is None:
        return
    if "check" in known:
        events.add(CheckDone(**known["check"]), known["at"])
    if (
        report.when == "call"
        or outcome not in {"passed", "skipped"}
        or (report.when == "setup" and outcome == "skipped")
    ):
        part = type(report).__name__ == "SubtestReport"
        facts: _Facts = known["test"]
        facts["message"] = (
            facts["message"] or report.longreprtext
        )  # of parts of a test, pytest says that later
        events.add(
            TestDone(**facts, when=report.when, outcome=outcome, seconds=report.duration, part=part),
            known["at"],
        )


def _outcome(report: pytest.TestReport) -> str | None:
    """Return what became of a test; None where it is run again."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.outcome not in {"passed", "failed", "skipped"}:
        return None
    return "error" if report.failed and report.when != "call" else report.outcome
