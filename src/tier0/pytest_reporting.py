"""What a test that ended tells: events for the report, properties for JUnit, and no secret in either."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckResult

if TYPE_CHECKING:
    import pytest

    from tier0.core.events import EventLog
    from tier0.core.secrets import Secrets
    from tier0.runs.session import Session

MOST_TEXT = 6000
"""Characters of what pytest says of a failure: the rest stands in the test's own section."""
SHIPPED = "tier0_events"


def hide_secrets(report: pytest.TestReport, secrets: Secrets) -> None:
    """Take secrets out of what pytest will show of a test: why it failed, and what it printed."""
    report.sections = [(secrets.hide(title), secrets.hide(text)) for title, text in report.sections]
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, secrets.hide(reason))
    elif isinstance(report.longrepr, str):
        report.longrepr = secrets.hide(report.longrepr)
    else:
        _hide_within(report.longrepr, secrets)


def _hide_within(part: Any, secrets: Secrets) -> None:
    """Hide them in each text of what pytest made of an exception, and keep its form: other reports read that, and xdist ships it."""
    for name, value in list(getattr(part, "__dict__", {}).items()):
        if isinstance(value, str) or (isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)):
            setattr(part, name, secrets.hide(value))
        elif isinstance(value, (list, tuple)):
            for item in value:
                for within in item if isinstance(item, tuple) else (item,):
                    _hide_within(within, secrets)
        else:
            _hide_within(value, secrets)


def tell(item: pytest.Item, problem: BaseException | None, report: pytest.TestReport, events: EventLog, session: Session | None) -> None:
    """Emit what came of a test, when it is known: after its call, or where it did not come to that."""
    is_over = report.when == "call" or (report.when == "setup" and not report.passed) or (report.when == "teardown" and report.failed)
    logs = "\n".join(f"{log}\n{end}" for log, end in session.logs) if session is not None and report.failed else ""
    if session is not None and report.when == "setup":
        session.mark_logs()
    if not is_over:
        return
    asked = getattr(item, "callspec", None) and item.callspec.params.get("check")  # type: ignore[attr-defined]  # functions have one
    if getattr(asked, "check", None) is not None:
        _tell_check(item, asked, report, events, logs)
    message = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    events.emit(
        "test.done",
        nodeid=item.nodeid,
        when=report.when,
        outcome=_outcome(report),
        seconds=report.duration,
        check=getattr(getattr(asked, "check", None), "id", None),
        message=str(problem)[:MOST_TEXT] if isinstance(problem, Tier0Error) else message[-MOST_TEXT:],
        exit_status=getattr(problem, "exit_status", None),
        log=logs,
    )


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    return report.outcome if report.when == "call" or report.skipped else "error"


def _tell_check(item: pytest.Item, asked: Any, report: pytest.TestReport, events: EventLog, logs: str) -> None:
    was_asked = report.when == "call" and asked.result is not None
    if was_asked:
        facts = asked.result.as_dict()
    else:
        facts = CheckResult(asked.check.id, "error", f"it was not asked: the {report.when} of its test failed", seconds=report.duration).as_dict()
    requests = [moment - events.opened for moment in getattr(asked, "requests", ())]
    shown = logs if facts["status"] in {"fail", "error"} else ""
    events.emit("check.done", **facts, asked=was_asked, question=asked.check.question, requests=requests, log=shown)
    item.user_properties += [("tier0.check", asked.check.id), ("tier0.status", facts["status"])]


def ship(report: pytest.TestReport, events: EventLog, shipped: int) -> int:
    """Put what happened since *shipped* events onto a report that xdist takes to the controller, as text; return how many there are now."""
    if new := events.events[shipped:]:
        setattr(report, SHIPPED, json.dumps([event.as_dict() for event in new], default=str))
    return len(events.events)


def take(report: pytest.TestReport, events: EventLog) -> None:
    """Take what a worker put onto a report; and say that it died, where that is what the report is about."""
    events.extend(json.loads(getattr(report, SHIPPED, "[]")))
    if report.when not in {"setup", "call", "teardown"}:
        events.emit("test.crashed", nodeid=report.nodeid, message=report.longreprtext)
