"""The report of a run as one document of JSON types: what every other form of it is made from. Its schema: docs/report.schema.json."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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
    ParityCompared,
    RegistrationDone,
    RunStarted,
    SelectionDone,
    SelectionScore,
    SelectionStart,
    ServerKilled,
    ServerLaunched,
    ServerReady,
    ServerStopped,
    TestCrashed,
    TestDone,
    TrainingDone,
    TrainingLogged,
)
from tier0.core.verdict import SCHEMA, WORDS, CheckResult, Conclusion, Status, conclude, count_in_words
from tier0.report.cut_short import CutShort

HOLDS: Status = "pass"
FAILS: Status = "fail"
BROKE: Status = "error"
OPEN = ""
"""Of a span that had not ended when the run did."""
STEPS: Mapping[str, tuple[type[Event], type[Event]]] = {
    "selection": (SelectionStart, SelectionDone),
    "training": (SelectionDone, TrainingDone),
    "registration": (TrainingDone, RegistrationDone),
}
KILLED = {"all": "every process killed", "worker": "worker killed", "supervisor": "supervisor killed"}
MAX_MESSAGE_LENGTH = 200
MAX_SPANS = 240
"""Of requests, into which a run is cut."""


def document_of(events: Sequence[Recorded], *, cut_short: CutShort | None = None) -> dict[str, Any]:
    """Return the report of a run.

    Args:
        events: of the run, from all of its processes.
        cut_short: how it ended before all of its tests were run; None if it did not.
    """
    ordered = sorted(events, key=lambda event: event.seconds)
    checks_done, tests_done = (
        _last_of_each_check(events_with_type(ordered, CheckDone)),
        _last_of_each_test(events_with_type(ordered, TestDone)),
    )
    checks = [_check(check) for check in checks_done]
    tests = [dict(test.facts) for test in tests_done]
    run = last_with_type(ordered, RunStarted)
    command = "" if run is None else run.command
    problems = [*_problems(checks_done, tests_done, command), *_collection_problems(ordered, command)]
    ended = "" if cut_short is None else cut_short.words
    conclusion = _conclusion(checks, tests, problems, ended)
    timeline = timeline_of(ordered)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "verdict": conclusion.verdict,
        "reason": conclusion.reason,
        "sentence": "",
        "cut_short": ended,
        "run": {
            **({} if run is None else run.facts),
            "seconds": round(ordered[-1].seconds, 3) if ordered else 0.0,
        },
        "target": {**_target(ordered), "retried": _retried(checks)},
        "model": _model(ordered),
        "parity": _parity(ordered, checks),
        "latency": _latency(ordered, checks),
        "problems": problems,
        "checks": checks,
        "tests": [
            {name: value for name, value in test.items() if name not in {"log", "details"}} for test in tests
        ],
        "timeline": timeline,
    }
    return {**document, "sentence": _sentence(document)}


def _check(check: CheckDone) -> dict[str, Any]:
    """Return a check as the document has it."""
    return {**check.facts, "evidence": _shown(check), "requests": len(check.requests)}


def _shown(check: CheckDone) -> dict[str, Any]:
    """Return a check's evidence without what is drawn."""
    return {name: value for name, value in check.evidence.items() if name not in {"compared", "served_ms"}}


def _last_of_each_check(checks: Sequence[CheckDone]) -> list[CheckDone]:
    """Return the final result of each test of a check: a test may be run again."""
    return list({check.nodeid: check for check in checks}.values())


def _last_of_each_test(tests: Sequence[TestDone]) -> list[TestDone]:
    """Return the final outcome of each test, which may be run again; parts of a test and its teardown count separately."""
    return list(
        {
            (test.nodeid, test.when == "teardown", number if test.part else -1): test
            for number, test in enumerate(tests)
        }.values()
    )


def _problems(checks: Sequence[CheckDone], tests: Sequence[TestDone], command: str) -> list[dict[str, Any]]:
    """Return failures and errors, each once: fifty tests that fail for one reason have one problem."""
    found: dict[str, dict[str, Any]] = {}

    def add(what: str, status: str, message: str, **more: Any) -> None:
        known = found.setdefault(
            message, {"what": what, "status": status, "message": message, "tests": 0, **more}
        )
        known["tests"] += 1

    wrong = [check for check in checks if check.asked and check.status in {FAILS, BROKE}]
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
    """Return what kept tests from being run at all."""
    happened: list[tuple[str, TestCrashed | CollectionFailed]] = []
    happened += [("a process that ran tests died", event) for event in events_with_type(events, TestCrashed)]
    happened += [
        ("tests could not be collected", event) for event in events_with_type(events, CollectionFailed)
    ]
    found = []
    for what, event in happened:
        lines = event.message.strip().splitlines() or ["why is not known"]
        message = f"{what}: {lines[-1]}"
        found.append(
            {
                "what": event.nodeid,
                "status": BROKE,
                "message": message,
                "details": event.message,
                "tests": 1,
                "reproduce": command,
            }
        )
    return found


def _status_of(test: TestDone) -> Status:
    """Return ``fail`` or ``error``: a set-up may fail for either reason."""
    return FAILS if test.outcome == "failed" or test.exit_status == 1 else BROKE


def _conclusion(
    checks: list[dict[str, Any]], tests: list[dict[str, Any]], problems: list[dict[str, Any]], cut_short: str
) -> Conclusion:
    results = [
        CheckResult(check["id"], check["status"], check["message"], code=check.get("code", ""))
        for check in checks
    ]
    others: list[Status] = [problem["status"] for problem in problems]
    others += [HOLDS for test in tests if test["outcome"] == "passed" and test["check"] is None]
    others += [BROKE] if cut_short else []
    return conclude(results, others)


def _sentence(document: Mapping[str, Any]) -> str:
    """Return the outcome in one line."""
    parts = (
        [_how_it_passed(document)]
        if document["verdict"] == HOLDS
        else [_how_it_ended(document), _first_problem(document)]
    )
    told = "; ".join(filter(None, parts))
    return f"{WORDS[document['verdict']].capitalize()}{': ' if told else '; '}{'; '.join(filter(None, [told, _done(document)]))}."


def _done(document: Mapping[str, Any]) -> str:
    tests = [test for test in document["tests"] if not test["part"] and test["when"] != "teardown"]
    if document["checks"]:
        return f"checks: {count_in_words(check['status'] for check in document['checks'])}"
    return (
        f"{sum(test['outcome'] == 'passed' for test in tests)} of {len(tests)} tests passed"
        if tests
        else "nothing was checked"
    )


def _how_it_passed(document: Mapping[str, Any]) -> str:
    model, target = document["model"] or {}, document["target"]
    served = (
        f"{target['model']} at {target['url']}"
        if target.get("model") and target.get("url")
        else target.get("url") or ""
    )
    rows = (
        f", {target['to_the_last_bit']} golden rows to the last bit" if target.get("to_the_last_bit") else ""
    )
    return f"{' '.join(filter(None, [model.get('algorithm'), served]))}{rows}"


def _how_it_ended(document: Mapping[str, Any]) -> str:
    if not document["cut_short"]:
        return ""
    going_on = [
        span["name"] for span in document["timeline"] if span["status"] == OPEN and span["lane"] == "steps"
    ]
    return f"the run {document['cut_short']}{f' during {going_on[-1]}' if going_on else ''}"


def _first_problem(document: Mapping[str, Any]) -> str:
    problems = document["problems"]
    if not problems:
        return "" if document["cut_short"] or not document["checks"] else _first_line(document["reason"])
    first = problems[0]
    what = f"{first['what']}: " if first["tests"] == 1 else ""
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"{what}{_first_line(first['message'])}{more}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:MAX_MESSAGE_LENGTH].rstrip(".")


def _retried(checks: list[dict[str, Any]]) -> dict[str, int]:
    """Return why requests were sent again, and how often."""
    counts: Counter[str] = Counter()
    for check in checks:
        counts.update(check.get("retried", {}))
    return dict(counts)


def _target(events: Sequence[Recorded]) -> dict[str, Any]:
    target: dict[str, Any] = {}
    if registered := last_with_type(events, RegistrationDone):
        target |= {"model": registered.tag, "golden_rows": registered.golden_rows}
    if ready := last_with_type(events, ServerReady):
        target |= {"url": ready.url}
    if verified := last_with_type(events, DeploymentVerified):
        target |= {"url": verified.url, "to_the_last_bit": verified.rows}
    if described := last_with_type(events, DeploymentDescribed):
        target |= described.facts
    return {name: value for name, value in target.items() if value is not None}


def _model(events: Sequence[Recorded]) -> dict[str, Any] | None:
    """Return the model card; None where the run trained none."""
    trained = last_with_type(events, TrainingDone)
    if trained is None:
        return None
    chosen, logged, registered = (
        last_with_type(events, SelectionDone),
        last_with_type(events, TrainingLogged),
        last_with_type(events, RegistrationDone),
    )
    scores = [dict(score.facts) for score in events_with_type(events, SelectionScore)]
    return {
        **{name: value for name, value in trained.facts.items() if name not in {"metrics", "spread"}},
        "why": "trained by a function of your own" if chosen is None else chosen.reason,
        "metrics": {
            name: {"value": value, "spread": trained.spread.get(name)}
            for name, value in trained.metrics.items()
        },
        "selection": {"metric": None if chosen is None else chosen.metric, "scores": scores}
        if scores
        else None,
        "model_uri": None if logged is None else logged.model_uri,
        "tag": None if registered is None else registered.tag,
    }


def _parity(events: Sequence[Recorded], checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return golden rows beside what was served, as a check has seen them, or as the server's first answer had them."""
    asked = [
        check.evidence.get("compared")
        for check in events_with_type(events, CheckDone)
        if check.id == "parity.golden_rows"
    ]
    first = last_with_type(events, ParityCompared)
    compared = next(filter(None, reversed(asked)), None) or (None if first is None else first.facts)
    judged = next((check["status"] for check in checks if check["id"] == "parity.golden_rows"), None)
    return (
        None
        if compared is None
        else {**compared, "status": judged or (HOLDS if not compared["worst"] else FAILS)}
    )


def _latency(events: Sequence[Recorded], checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the latencies of single rows, in milliseconds, beside what the model in memory took."""
    evidence = [
        check.evidence for check in events_with_type(events, CheckDone) if "served_ms" in check.evidence
    ]
    measured = last_with_type(events, LatencyMeasured)
    found = {**({} if measured is None else measured.facts), **(evidence[-1] if evidence else {})}
    served = sorted(found.get("served_ms", ()))
    if not served:
        return None
    many = next(
        (
            check["evidence"].get("rows_per_second_many_callers")
            for check in checks
            if check["id"] == "performance.many_callers"
        ),
        None,
    )
    return {
        "served_ms": served,
        "in_memory_ms": found.get("in_memory_ms"),
        "p50_ms": statistics.median(served),
        "p95_ms": _percentile(served, 95),
        "p99_ms": _percentile(served, 99),
        "rows_per_second_many_callers": many,
    }


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the nearest-rank percentile of sorted numbers."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def timeline_of(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Return what happened as spans ``{lane, name, start, end, status}``, in seconds since the run began; a moment begins when it ends."""
    spans = [*_steps(events), *_server(events), *_requests(events)]
    for event, _, end in events:
        match event:
            case CheckDone():
                spans.append(_span("checks", event.id, end - event.seconds, end, event.status))
            case TestDone(check=None):
                status = {"passed": HOLDS, "failed": FAILS, "error": BROKE}.get(event.outcome, "not_judged")
                spans.append(
                    _span("tests", event.nodeid.rpartition("::")[2], end - event.seconds, end, status)
                )
            case ClientCalls():
                spans += [
                    _span("breaker", circuit, stop, stop)
                    for _, stop, _, circuit in event.calls
                    if circuit != "closed"
                ]
            case FaultInjected():
                spans.append(_span("faults", event.what, event.at, event.at, FAILS))
            case ServerKilled():
                spans.append(_span("faults", KILLED[event.part], end, end, FAILS))
            case BreakerState():
                spans.append(_span("breaker", event.state, end, end))
            case TestCrashed():
                spans.append(_span("tests", f"crashed: {event.nodeid}", end, end, BROKE))
    return spans


def _requests(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Return the requests as spans of equal length, each with their number, and failed unless all of them were answered."""
    asked = [
        (moment, answered)
        for check in events_with_type(events, CheckDone)
        for moment, answered in check.requests
    ]
    asked += [
        (stop, outcome == "answered")
        for test in events_with_type(events, ClientCalls)
        for _, stop, outcome, _ in test.calls
    ]
    width = max((event.seconds for event in events), default=0.0) / MAX_SPANS
    counts: dict[int, list[bool]] = {}
    for moment, answered in asked:
        counts.setdefault(int(moment / width) if width else 0, []).append(answered)
    return [
        {
            **_span(
                "requests",
                f"{len(among)} requests",
                index * width,
                (index + 1) * width,
                "" if all(among) else FAILS,
            ),
            "requests": len(among),
        }
        for index, among in sorted(counts.items())
    ]


def _steps(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    spans = []
    for step, (begins, ends) in STEPS.items():
        started, ended = (
            [one.seconds for one in events if isinstance(one.event, kind)] for kind in (begins, ends)
        )
        spans += [_span("steps", step, start, end, HOLDS) for start, end in zip(started, ended, strict=False)]
        spans += [_span("steps", step, start, events[-1].seconds, OPEN) for start in started[len(ended) :]]
    return spans


def _server(events: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Return how each server started and how long it then was ready; a server that was not stopped ends with the events."""
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
                spans.append(_span("server", "ready", ready.pop(event.nonce), now, HOLDS))
            case ServerStopped() | ServerKilled(part="all") if event.nonce in starting:
                spans.append(_span("server", "never ready", starting.pop(event.nonce), now, BROKE))
    spans += [_span("server", "never ready", start, events[-1].seconds, OPEN) for start in starting.values()]
    return spans + [_span("server", "ready", start, events[-1].seconds, OPEN) for start in ready.values()]


def _span(lane: str, name: str, start: float, end: float, status: str = "") -> dict[str, Any]:
    return {"lane": lane, "name": name, "start": round(start, 4), "end": round(end, 4), "status": status}
