"""The report of a run as a JSON document, the source of its other forms; see docs/report.schema.json."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from tier0.core.causes import KNOWN, UNKNOWN, Cause, causes_of, severity_of, title_of, worst_first
from tier0.core.errors import SERVER_NOT_READY
from tier0.core.event_log import Recorded, events_with_type, last_with_type
from tier0.core.events import (
    BreakerState,
    CheckDone,
    ClientCalls,
    CollectionFailed,
    DeploymentDescribed,
    DeploymentVerified,
    Event,
    FaultInjected,
    LatencyMeasured,
    LeakSuspected,
    ParityCompared,
    RegistrationDone,
    RunFailed,
    RunStarted,
    SelectionDone,
    SelectionScore,
    SelectionStart,
    ServerKilled,
    ServerLaunched,
    ServerReady,
    ServerStopped,
    TargetDescribed,
    TestCrashed,
    TestDone,
    TrainingDone,
    TrainingLogged,
)
from tier0.core.setting_parsers import PORT_PLACEHOLDER
from tier0.core.verdict import (
    PARITY,
    SCHEMA,
    WORDS,
    CheckResult,
    Conclusion,
    Status,
    conclude,
    count_in_words,
)
from tier0.report.cut_short import CutShort
from tier0.report.next_step import executable
from tier0.report.reproduction import (
    check_alone,
    command_for,
    expectation_of,
    start_for,
    variables_in,
    with_placeholders,
)

PASSED: Status = "pass"
FAILED: Status = "fail"
ERROR: Status = "error"
UNFINISHED = ""
"""Status of a span that had not ended at the end of the run."""
STEPS: Mapping[str, tuple[type[Event], type[Event]]] = {
    "selection": (SelectionStart, SelectionDone),
    "training": (SelectionDone, TrainingDone),
    "registration": (TrainingDone, RegistrationDone),
}
DEFAULT_PORT = 3000
"""Port of BentoML, for a command that starts a service which never listened on a port."""
KILLED = {"all": "all processes killed", "worker": "worker killed", "supervisor": "supervisor killed"}
REPEAT = "correct what the message names, and repeat the command"
"""Next step after the error that ended a command."""
GIVES_TARGET_AWAY = "may give the target away"
IT = "it"
"""Stands for the column in a message whose subject is the column."""
_LEAK = re.compile(rf"(?P<column>.*?) {GIVES_TARGET_AWAY}: .*?\. (?P<remedy>[A-Z].*)")
MAX_MESSAGE_LENGTH = 300
MAX_SPANS = 240
"""Number of time intervals into which the requests of a run are grouped."""


def document_of(events: Sequence[Recorded], *, cut_short: CutShort | None = None) -> dict[str, Any]:
    """Return the report of a run.

    Args:
        events: events of the run, from all of its processes.
        cut_short: early end of the run; None if all tests have run.
    """
    ordered = sorted(events, key=lambda event: event.seconds)
    checks_done = _last_of_each_check(events_with_type(ordered, CheckDone))
    tests_done = _last_of_each_test(events_with_type(ordered, TestDone))
    checks = [_check(check) for check in checks_done]
    tests = [dict(test.facts) for test in tests_done]
    run = last_with_type(ordered, RunStarted)
    command = "" if run is None else run.command
    problems = [
        *_problems(checks_done, tests_done, command),
        *_collection_problems(ordered, command),
        *_failed_commands(ordered, command),
        *_suspected_leaks(ordered, command),
    ]
    target = _target(ordered)
    causes = _causes(checks_done, tests_done, problems, command, target)
    ended = "" if cut_short is None else cut_short.words
    conclusion = _conclusion(checks, tests, problems, ended)
    seconds = round(ordered[-1].seconds, 3) if ordered else 0.0
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "verdict": conclusion.verdict,
        "reason": conclusion.reason,
        "sentence": "",
        "cut_short": ended,
        "run": {**({} if run is None else run.facts), "seconds": seconds},
        "target": {**target, "retried": _retried(checks)},
        "model": _model(ordered),
        "parity": _parity(ordered, checks),
        "latency": _latency(ordered, checks),
        "causes": causes,
        "problems": problems,
        "checks": checks,
        "tests": [
            {name: value for name, value in test.items() if name not in {"log", "details"}} for test in tests
        ],
        "timeline": timeline_of(ordered),
    }
    return {**document, "sentence": _sentence(document)}


def _check(check: CheckDone) -> dict[str, Any]:
    """Return a check in the form of the document."""
    known, result = KNOWN.get(check.id, UNKNOWN), _result(check, {})
    is_wrong = check.status in {FAILED, ERROR}
    return {
        **check.facts,
        "title": title_of(result) if is_wrong else known.title,
        "severity": severity_of(result) if is_wrong else known.severity,
        "evidence": _shown(check),
        "requests": len(check.requests),
    }


def _shown(check: CheckDone) -> dict[str, Any]:
    """Return the evidence of a check without the data of the charts."""
    return _without_charts(check.evidence)


def _without_charts(evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in evidence.items() if name not in {"compared", "served_ms"}}


def _last_of_each_check(checks: Sequence[CheckDone]) -> list[CheckDone]:
    """Return the last result of each test of a check, which may have been rerun."""
    return list({check.nodeid: check for check in checks}.values())


def _last_of_each_test(tests: Sequence[TestDone]) -> list[TestDone]:
    """Return the last outcome of each test, which may have been rerun, and of its subtests and teardown."""
    last: dict[tuple[str, bool, int], TestDone] = {}
    for number, test in enumerate(tests):
        last[test.nodeid, test.when == "teardown", number if test.part else -1] = test
    return list(last.values())


def _problems(checks: Sequence[CheckDone], tests: Sequence[TestDone], command: str) -> list[dict[str, Any]]:
    """Return failures and errors, with one entry for all tests that have the same message."""
    found: dict[str, dict[str, Any]] = {}

    def add(what: str, status: str, message: str, **more: Any) -> None:
        new = {"what": what, "status": status, "message": message, "tests": 0, **more}
        found.setdefault(message, new)["tests"] += 1

    wrong = [check for check in checks if check.asked and check.status in {FAILED, ERROR}]
    for check in wrong:
        more = {
            "question": check.question,
            "evidence": _shown(check),
            "causes": check.causes,
            "reproduce": check.reproduce,
            "log": check.log,
        }
        add(check.id, check.status, check.message, **more)
    judged = {check.nodeid for check in wrong}
    for test in tests:
        if test.outcome in {"failed", "error"} and (test.nodeid not in judged or test.when == "teardown"):
            what = test.nodeid if test.when == "call" else f"the {test.when} of {test.nodeid}"
            add(what, _status_of(test), test.message, details=test.details, log=test.log, reproduce=command)
    return list(found.values())


def _collection_problems(events: Sequence[Recorded], command: str) -> list[dict[str, Any]]:
    """Return crashed test processes and failed collections, which have no test outcome."""
    failures: list[tuple[str, TestCrashed | CollectionFailed]] = []
    failures += [("a test process crashed", event) for event in events_with_type(events, TestCrashed)]
    failures += [
        ("tests could not be collected", event) for event in events_with_type(events, CollectionFailed)
    ]
    return [
        {
            "what": event.nodeid,
            "status": ERROR,
            "message": f"{what}: {(event.message.strip().splitlines() or ['no message'])[-1]}",
            "details": event.message,
            "tests": 1,
            "reproduce": command,
        }
        for what, event in failures
    ]


def _failed_commands(events: Sequence[Recorded], command: str) -> list[dict[str, Any]]:
    """Return the errors with which a command ended before its checks were complete."""
    return [
        {
            "what": failed.what,
            "status": failed.status,
            "message": failed.message,
            "tests": 1,
            "reproduce": command,
            "next_step": failed.next_step or REPEAT,
            "code": failed.code,
        }
        for failed in events_with_type(events, RunFailed)
    ]


def _suspected_leaks(events: Sequence[Recorded], command: str) -> list[dict[str, Any]]:
    """Return the columns that may give the target away: the model that was checked may be worthless."""
    return [
        {
            "what": f"column {leak.column!r}",
            "status": FAILED,
            "message": f"{IT} {GIVES_TARGET_AWAY}: {leak.reason}. {leak.remedy}",
            "tests": 1,
            "reproduce": command,
        }
        for leak in events_with_type(events, LeakSuspected)
    ]


def _causes(
    checks: Sequence[CheckDone],
    tests: Sequence[TestDone],
    problems: Sequence[Mapping[str, Any]],
    command: str,
    target: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the causes of all problems, the worst first; each deployment has causes of its own."""
    facts = {problem["message"]: problem for problem in problems}
    setups = {test.nodeid: test.message for test in tests if test.check is not None and test.when == "setup"}
    deployments: dict[str, list[CheckDone]] = {}
    for check in checks:
        deployments.setdefault(check.nodeid.replace(check.id, ""), []).append(check)
    listed = {check.message for check in checks if check.asked} | set(setups.values())
    others = [
        CheckResult(
            problem["what"],
            problem["status"],
            problem["message"],
            reproduce=problem["reproduce"],
            code=problem.get("code", ""),
        )
        for problem in problems
        if problem["message"] not in listed
    ]
    causes: list[Cause] = causes_of(others)
    commands: dict[int, str] = {}
    for done in deployments.values():
        results = [_result(check, setups) for check in done]
        statuses = {result.id: result.status for result in results}
        found = causes_of(results, {check.id: check.log for check in done})
        commands |= {id(cause.leading): command_for(cause.leading, statuses, command) for cause in found}
        causes += found
    return [
        _with_facts(
            cause,
            facts.get(cause.leading.message, {}),
            commands.get(id(cause.leading), cause.leading.reproduce),
            target,
            check_alone(cause.leading.id, command),
        )
        for cause in worst_first(map(_of_leak, causes))
    ]


def _result(check: CheckDone, setups: Mapping[str, str]) -> CheckResult:
    """Return the result of a check; if the setup of its test failed, with the message of the setup."""
    is_prevented = not check.asked and check.status == ERROR and check.nodeid in setups
    message = setups[check.nodeid] if is_prevented else check.message
    return CheckResult(
        check.id, check.status, message, check.evidence, check.causes, check.reproduce, code=check.code
    )


def _of_leak(cause: Cause) -> Cause:
    """Return a cause; that of a column which may give the target away is a critical one, with its remedy."""
    leak = _LEAK.search(cause.headline)
    if leak is None:
        return cause
    remedy = leak["remedy"]
    return replace(
        cause,
        severity="critical",
        title="Target leaked",
        key=cause.leading.id if leak["column"] == IT else f"column {leak['column']}",
        headline=cause.headline[: leak.start("remedy")].strip(),
        next_step=remedy[:1].lower() + remedy[1:].rstrip("."),
    )


def _with_facts(
    cause: Cause, problem: Mapping[str, Any], command: str, target: Mapping[str, Any], alone: str
) -> dict[str, Any]:
    """Return a cause in the form of the document, with the facts of its leading problem.

    Args:
        cause: the cause.
        problem: facts of its leading problem.
        command: command that reproduces it.
        target: what was checked.
        alone: command that runs its leading check alone; empty if it is not known.
    """
    leading = cause.leading
    known = {name: problem[name] for name in ("question", "log", "details") if problem.get(name)}
    reproduce = with_placeholders(command or problem.get("reproduce", ""))
    expected, got = expectation_of(leading, reproduce)
    start = start_for(leading, reproduce, target)
    next_step = executable(
        cause.next_step or problem.get("next_step", ""),
        leading,
        start=start,
        command=alone,
        service=target.get("service", ""),
    )
    return {
        **cause.as_dict(),
        "next_step": next_step,
        "repeat": "" if (repeat := with_placeholders(alone)) == reproduce else repeat,
        "start": start,
        "reproduce": reproduce,
        "variables": variables_in(reproduce),
        "expected": expected,
        "got": got,
        "text": leading.message,
        "evidence": _without_charts(leading.evidence),
        **known,
    }


def _status_of(test: TestDone) -> Status:
    """Return ``fail`` or ``error``: an exception that is not a verdict has an exit status other than 1."""
    if test.exit_status is not None:
        return FAILED if test.exit_status == 1 else ERROR
    return FAILED if test.outcome == "failed" else ERROR


def _conclusion(
    checks: list[dict[str, Any]], tests: list[dict[str, Any]], problems: list[dict[str, Any]], cut_short: str
) -> Conclusion:
    results = [
        CheckResult(check["id"], check["status"], check["message"], code=check.get("code", ""))
        for check in checks
    ]
    others: list[Status] = [problem["status"] for problem in problems]
    others += [PASSED for test in tests if test["outcome"] == "passed" and test["check"] is None]
    others += [ERROR] if cut_short else []
    return conclude(results, others)


def _sentence(document: Mapping[str, Any]) -> str:
    """Return the outcome in one sentence."""
    if document["verdict"] == PASSED:
        reasons = [_passed_target(document)]
    else:
        reasons = [_early_end(document), _first_cause(document)]
    reasons = [reason for reason in reasons if reason]
    separator = ": " if reasons else "; "
    outcome = "; ".join([*reasons, counts_of(document)])
    return f"{WORDS[document['verdict']].capitalize()}{separator}{outcome}."


def counts_of(document: Mapping[str, Any]) -> str:
    """Return how many checks, or tests, had which outcome."""
    if document["checks"]:
        return f"checks: {count_in_words(check['status'] for check in document['checks'])}"
    tests = [test for test in document["tests"] if not test["part"] and test["when"] != "teardown"]
    passed = sum(test["outcome"] == "passed" for test in tests)
    return f"{passed} of {len(tests)} tests passed" if tests else "nothing was checked"


def _passed_target(document: Mapping[str, Any]) -> str:
    algorithm, target = (document["model"] or {}).get("algorithm"), document["target"]
    url, tag = target.get("url") or target.get("client"), target.get("model")
    served = f"{tag} at {url}" if tag and url else url
    description = " ".join(filter(None, [algorithm, served]))
    rows = target.get("to_the_last_bit")
    what = "examples" if target.get("edge_cases") else "golden rows"
    return f"{description}, {rows} {what} identical to the last bit" if rows else description


def _early_end(document: Mapping[str, Any]) -> str:
    if not document["cut_short"]:
        return ""
    steps = [span for span in document["timeline"] if span["lane"] == "steps"]
    unfinished = [span["name"] for span in steps if span["status"] == UNFINISHED]
    return f"the run {document['cut_short']}{f' during {unfinished[-1]}' if unfinished else ''}"


def _first_cause(document: Mapping[str, Any]) -> str:
    """Return the worst cause, how many checks share it, and how many other causes there are."""
    causes = document["causes"]
    if not causes:
        return "" if document["cut_short"] or not document["checks"] else _first_line(document["reason"])
    first, others = causes[0], len(causes) - 1
    notes = [shared_by(first), f"{others} more cause{'s' if others > 1 else ''}" if others else ""]
    more = f" ({'; '.join(filter(None, notes))})" if any(notes) else ""
    known = f"{first['title']}, {first['key']}" if first["key"] else first["title"]
    if first["message"].startswith(SERVER_NOT_READY):
        return f"{known}{more}"
    return f"{first['check']}: {known if first['check'] in KNOWN else _first_line(first['message'])}{more}"


def shared_by(cause: Mapping[str, Any]) -> str:
    """Return how many other checks failed or were not run because of a cause; empty if there are none."""
    failed, skipped = len(cause["explains"]), len(cause["skipped"])
    parts = [f"{failed} more check{'s' if failed > 1 else ''} did not pass for this cause"] if failed else []
    left = "checks were" if skipped > 1 else "check was"
    parts += [f"{skipped} {left} not run because of it"] if skipped else []
    return ", ".join(parts)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:MAX_MESSAGE_LENGTH].rstrip(".")


def _retried(checks: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of repeated requests by reason."""
    counts: Counter[str] = Counter()
    for check in checks:
        counts.update(check.get("retried", {}))
    return dict(counts)


def _target(events: Sequence[Recorded]) -> dict[str, Any]:
    target: dict[str, Any] = {}
    if registered := last_with_type(events, RegistrationDone):
        target |= {"model": registered.tag, "golden_rows": registered.golden_rows}
        target |= {"power": registered.power, "edge_cases": registered.edge_cases}
    ready = last_with_type(events, ServerReady)
    if ready is not None:
        target |= {"url": ready.url}
    launched = last_with_type(events, ServerLaunched)
    if launched is not None and launched.start:
        is_ready = ready is not None and ready.nonce == launched.nonce
        port = urlsplit(ready.url).port if ready is not None and is_ready else launched.port
        target |= {"start": launched.start.replace(PORT_PLACEHOLDER, str(port or DEFAULT_PORT))}
    if launched is not None and launched.service:
        target |= {"service": launched.service}
    if verified := last_with_type(events, DeploymentVerified):
        target |= {"url": verified.url, "to_the_last_bit": verified.rows}
    if described := last_with_type(events, DeploymentDescribed):
        target |= described.facts
    told = last_with_type(events, TargetDescribed)
    known = {name: value for name, value in target.items() if value is not None}
    return known if told is None else {**known, **told.target}


def golden_rows_in_words(target: Mapping[str, Any]) -> str:
    """Return the number of golden rows, and what they are; empty if there are none."""
    rows, edge_cases = target.get("golden_rows") or 0, target.get("edge_cases") or 0
    if not rows or not edge_cases:
        return str(rows or "")
    examples = rows - edge_cases
    return (
        f"{rows}: {examples} example{'s' if examples != 1 else ''}, "
        f"{edge_cases} edge case{'s' if edge_cases != 1 else ''}"
    )


def name_of_model(document: Mapping[str, Any]) -> str:
    """Return what the tag of the model is called: only a run that passed has shown that it is served."""
    return "model" if document["verdict"] == PASSED else "expected model"


def _model(events: Sequence[Recorded]) -> dict[str, Any] | None:
    """Return the model card; None if the run did not train a model."""
    trained = last_with_type(events, TrainingDone)
    if trained is None:
        return None
    chosen = last_with_type(events, SelectionDone)
    logged = last_with_type(events, TrainingLogged)
    registered = last_with_type(events, RegistrationDone)
    scores = [dict(score.facts) for score in events_with_type(events, SelectionScore)]
    metric = None if chosen is None else chosen.metric
    return {
        **{name: value for name, value in trained.facts.items() if name not in {"metrics", "spread"}},
        "why": "none; trained by your own function" if chosen is None else chosen.reason,
        "metrics": {
            name: {"value": value, "spread": trained.spread.get(name)}
            for name, value in trained.metrics.items()
        },
        "selection": {"metric": metric, "scores": scores} if scores else None,
        "model_uri": logged.model_uri if logged is not None and logged.is_kept else None,
        "tracking_uri": logged.tracking_uri if logged is not None and logged.is_kept else None,
        "tag": None if registered is None else registered.tag,
    }


def _parity(events: Sequence[Recorded], checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the comparison of served and in-memory predictions, from the check or the server's start."""
    results = [check for check in events_with_type(events, CheckDone) if check.id == PARITY]
    from_checks = [check.evidence.get("compared") for check in results]
    at_start = last_with_type(events, ParityCompared)
    compared = next(filter(None, reversed(from_checks)), None)
    if not compared and at_start is not None:
        compared = at_start.facts
    if compared is None:
        return None
    status = next((check["status"] for check in checks if check["id"] == PARITY), None)
    return {**compared, "status": status or (FAILED if compared["worst"] else PASSED)}


def _latency(events: Sequence[Recorded], checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the served and the in-memory latency of single rows, in milliseconds."""
    results = [check.evidence for check in events_with_type(events, CheckDone)]
    evidence = [facts for facts in results if "served_ms" in facts]
    measured = last_with_type(events, LatencyMeasured)
    found = {**({} if measured is None else measured.facts), **(evidence[-1] if evidence else {})}
    served = sorted(found.get("served_ms", ()))
    if not served:
        return None
    many_callers = [check["evidence"] for check in checks if check["id"] == "performance.many_callers"]
    throughput = many_callers[0].get("rows_per_second_many_callers") if many_callers else None
    return {
        "served_ms": served,
        "in_memory_ms": found.get("in_memory_ms"),
        "p50_ms": statistics.median(served),
        "p95_ms": _percentile(served, 95),
        "p99_ms": _percentile(served, 99),
        "rows_per_second_many_callers": throughput,
    }


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the nearest-rank percentile of sorted numbers."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def timeline_of(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Return the events as spans ``{lane, name, start, end, status}``, in seconds since the start of the run.

    A momentary event has the same start and end.
    """
    spans = [*_steps(events), *_server(events), *_requests(events)]
    for event, _, end in events:
        match event:
            case CheckDone():
                spans.append(_span("checks", event.id, end - event.seconds, end, event.status))
            case TestDone(check=None):
                status = {"passed": PASSED, "failed": FAILED, "error": ERROR}.get(event.outcome, "not_judged")
                spans.append(
                    _span("tests", event.nodeid.rpartition("::")[2], end - event.seconds, end, status)
                )
            case ClientCalls():
                changes = [(stop, circuit) for _, stop, _, circuit in event.calls if circuit != "closed"]
                spans += [_span("breaker", circuit, stop, stop) for stop, circuit in changes]
            case FaultInjected():
                spans.append(_span("faults", event.what, event.at, event.at, FAILED))
            case ServerKilled():
                spans.append(_span("faults", KILLED[event.part], end, end, FAILED))
            case BreakerState():
                spans.append(_span("breaker", event.state, end, end))
            case TestCrashed():
                spans.append(_span("tests", f"crashed: {event.nodeid}", end, end, ERROR))
    return spans


def _requests(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Return the requests as spans of equal length with their number; failed if any had no response."""
    requests: list[tuple[float, bool]] = []
    for check in events_with_type(events, CheckDone):
        requests += [(moment, has_response) for moment, has_response in check.requests]
    for test in events_with_type(events, ClientCalls):
        requests += [(stop, outcome == "answered") for _, stop, outcome, _ in test.calls]
    width = max((event.seconds for event in events), default=0.0) / MAX_SPANS
    intervals: dict[int, list[bool]] = {}
    for moment, has_response in requests:
        intervals.setdefault(int(moment / width) if width else 0, []).append(has_response)
    spans = []
    for index, responses in sorted(intervals.items()):
        name = f"{len(responses)} request{'s' if len(responses) > 1 else ''}"
        status = "" if all(responses) else FAILED
        span = _span("requests", name, index * width, (index + 1) * width, status)
        spans.append({**span, "requests": len(responses)})
    return spans


def _steps(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    spans = []
    for step, (first, last) in STEPS.items():
        starts = [record.seconds for record in events if isinstance(record.event, first)]
        ends = [record.seconds for record in events if isinstance(record.event, last)]
        spans += [_span("steps", step, start, end, PASSED) for start, end in zip(starts, ends, strict=False)]
        unfinished = starts[len(ends) :]
        spans += [_span("steps", step, start, events[-1].seconds, UNFINISHED) for start in unfinished]
    return spans


def _server(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Return the start and the ready time of each server; a running server ends with the last event."""
    spans: list[dict[str, Any]] = []
    starting: dict[str, float] = {}
    ready: dict[str, float] = {}
    for event, _, now in events:
        match event:
            case ServerLaunched():
                starting[event.nonce] = now
                ready.pop(event.nonce, None)
            case ServerReady() if event.nonce in starting:
                spans.append(_span("server", "starting", starting.pop(event.nonce), now))
                ready[event.nonce] = now
            case ServerStopped() | ServerKilled(part="all") if event.nonce in ready:
                spans.append(_span("server", "ready", ready.pop(event.nonce), now, PASSED))
            case ServerStopped() | ServerKilled(part="all") if event.nonce in starting:
                spans.append(_span("server", "never ready", starting.pop(event.nonce), now, ERROR))
    for name, starts in (("never ready", starting), ("ready", ready)):
        spans += [_span("server", name, start, events[-1].seconds, UNFINISHED) for start in starts.values()]
    return spans


def _span(lane: str, name: str, start: float, end: float, status: str = "") -> dict[str, Any]:
    return {"lane": lane, "name": name, "start": round(start, 4), "end": round(end, 4), "status": status}
