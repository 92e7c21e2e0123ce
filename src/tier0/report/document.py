"""The report of a run as one document of JSON types: what every other form of it is made from. Its schema: docs/report.schema.json."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tier0.core.events import Event
from tier0.core.verdict import SCHEMA, WORDS, CheckResult, Conclusion, Status, conclude, count_in_words

HOLDS: Status = "pass"
FAILS: Status = "fail"
BROKE: Status = "error"
OPEN = ""
"""Of a span that had not ended when the run did."""
STEPS = {
    "selection": ("selection.start", "selection.done"),
    "training": ("selection.done", "training.done"),
    "registration": ("training.done", "registration.done"),
}
LONGEST_MESSAGE = 200
MOST_SPANS = 240
"""Of requests, into which a run is cut."""


def document_of(events: Sequence[Event], *, cut_short: str = "") -> dict[str, Any]:
    """Return the report of a run.

    Args:
        events: of the run, from all of its processes.
        cut_short: how it ended before all was asked, such as ``was interrupted``; empty where it did not.
    """
    ordered = sorted(events, key=lambda event: event.seconds)
    checks = [_check(event) for event in _last_of_each(_named(ordered, "check.done"))]
    tests = [dict(event.data) for event in _last_of_each(_named(ordered, "test.done"))]
    run = _last(ordered, "run.started")
    problems = [*_problems(checks, tests, run.get("command", "")), *_amiss(ordered, run.get("command", ""))]
    conclusion = _conclusion(checks, tests, problems, cut_short)
    timeline = timeline_of(ordered)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "verdict": conclusion.verdict,
        "reason": conclusion.reason,
        "sentence": "",
        "cut_short": cut_short,
        "run": {**run, "seconds": round(ordered[-1].seconds, 3) if ordered else 0.0},
        "target": {**_target(ordered), "retried": _retried(checks)},
        "model": _model(ordered),
        "parity": _parity(ordered, checks),
        "latency": _latency(ordered, checks),
        "problems": problems,
        "checks": checks,
        "tests": [{name: value for name, value in test.items() if name not in {"log", "details"}} for test in tests],
        "timeline": timeline,
    }
    return {**document, "sentence": _sentence(document)}


def _named(events: Sequence[Event], name: str) -> list[Event]:
    return [event for event in events if event.name == name]


def _last(events: Sequence[Event], name: str) -> dict[str, Any]:
    return dict(next((event.data for event in reversed(events) if event.name == name), {}))


def _check(event: Event) -> dict[str, Any]:
    check = {name: value for name, value in event.data.items() if name not in {"requests", "evidence"}}
    evidence = {name: value for name, value in event.data["evidence"].items() if name not in {"compared", "served_ms"}}  # drawn by themselves
    return {**check, "evidence": evidence, "requests": len(event.data["requests"])}


def _last_of_each(events: Sequence[Event]) -> list[Event]:
    """Return what came of each test in the end: one may be run again; parts of one, and its teardown, stand for themselves."""
    last: dict[tuple[Any, ...], Event] = {}
    for number, event in enumerate(events):
        data = event.data
        last[data["nodeid"], data.get("when") == "teardown", number if data.get("part") else -1] = event
    return list(last.values())


def _problems(checks: list[dict[str, Any]], tests: list[dict[str, Any]], command: str) -> list[dict[str, Any]]:
    """Return failures and errors, each once: fifty tests that fail for one reason have one problem."""
    found: dict[str, dict[str, Any]] = {}

    def add(what: str, status: str, message: str, **more: Any) -> None:
        known = found.setdefault(message, {"what": what, "status": status, "message": message, "tests": 0, **more})
        known["tests"] += 1

    wrong = [check for check in checks if check["asked"] and check["status"] in {FAILS, BROKE}]
    for check in wrong:
        add(check["id"], check["status"], check["message"], **{name: check[name] for name in ("question", "evidence", "causes", "reproduce", "log")})
    judged = {check["nodeid"] for check in wrong}
    for test in tests:
        if test["outcome"] in {"failed", "error"} and (test["nodeid"] not in judged or test["when"] == "teardown"):
            what = test["nodeid"] if test["when"] == "call" else f"the {test['when']} of {test['nodeid']}"
            add(what, _status_of(test), test["message"], details=test["details"], log=test["log"], reproduce=command)
    return list(found.values())


def _amiss(events: Sequence[Event], command: str) -> list[dict[str, Any]]:
    """Return what kept tests from being run at all."""
    words = {"test.crashed": "a process that ran tests died", "collection.failed": "tests could not be collected"}
    found = []
    for event in (one for one in events if one.name in words):
        lines = event.data["message"].strip().splitlines() or ["why is not known"]
        what, message = event.data["nodeid"], f"{words[event.name]}: {lines[-1]}"
        found.append({"what": what, "status": BROKE, "message": message, "details": event.data["message"], "tests": 1, "reproduce": command})
    return found


def _status_of(test: Mapping[str, Any]) -> Status:
    """Return ``fail`` or ``error``: a set-up may fail for either reason."""
    return FAILS if test["outcome"] == "failed" or test["exit_status"] == 1 else BROKE


def _conclusion(checks: list[dict[str, Any]], tests: list[dict[str, Any]], problems: list[dict[str, Any]], cut_short: str) -> Conclusion:
    results = [CheckResult(check["id"], check["status"], check["message"], code=check.get("code", "")) for check in checks]
    others: list[Status] = [problem["status"] for problem in problems]
    others += [HOLDS for test in tests if test["outcome"] == "passed" and test["check"] is None]
    others += [BROKE] if cut_short else []
    return conclude(results, others)


def _sentence(document: Mapping[str, Any]) -> str:
    """Return the outcome in one line."""
    parts = [_how_it_passed(document)] if document["verdict"] == HOLDS else [_how_it_ended(document), _first_problem(document)]
    told = "; ".join(filter(None, parts))
    return f"{WORDS[document['verdict']].capitalize()}{': ' if told else '; '}{'; '.join(filter(None, [told, _done(document)]))}."


def _done(document: Mapping[str, Any]) -> str:
    tests = [test for test in document["tests"] if not test["part"] and test["when"] != "teardown"]
    if document["checks"]:
        return f"checks: {count_in_words(check['status'] for check in document['checks'])}"
    return f"{sum(test['outcome'] == 'passed' for test in tests)} of {len(tests)} tests passed" if tests else "nothing was checked"


def _how_it_passed(document: Mapping[str, Any]) -> str:
    model, target = document["model"] or {}, document["target"]
    served = f"{target['model']} at {target['url']}" if target.get("model") and target.get("url") else target.get("url") or ""
    rows = f", {target['to_the_last_bit']} golden rows to the last bit" if target.get("to_the_last_bit") else ""
    return f"{' '.join(filter(None, [model.get('algorithm'), served]))}{rows}"


def _how_it_ended(document: Mapping[str, Any]) -> str:
    if not document["cut_short"]:
        return ""
    going_on = [span["name"] for span in document["timeline"] if span["status"] == OPEN and span["lane"] == "steps"]
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
    return text.strip().partition("\n")[0][:LONGEST_MESSAGE].rstrip(".")


def _retried(checks: list[dict[str, Any]]) -> dict[str, int]:
    """Return why requests were sent again, and how often."""
    counts: Counter[str] = Counter()
    for check in checks:
        counts.update(check.get("retried", {}))
    return dict(counts)


def _target(events: Sequence[Event]) -> dict[str, Any]:
    described, verified, ready = _last(events, "deployment.described"), _last(events, "deployment.verified"), _last(events, "server.ready")
    registered = _last(events, "registration.done")
    target = {
        "model": registered.get("tag"),
        "golden_rows": registered.get("golden_rows"),
        "url": verified.get("url") or ready.get("url"),
        "to_the_last_bit": verified.get("rows"),
        **described,
    }
    return {name: value for name, value in target.items() if value is not None}


def _model(events: Sequence[Event]) -> dict[str, Any] | None:
    """Return the model card; None where the run trained none."""
    trained = _last(events, "training.done")
    if not trained:
        return None
    chosen = _last(events, "selection.done")
    spread = trained.pop("spread", {})
    metrics = {name: {"value": value, "spread": spread.get(name)} for name, value in trained.pop("metrics").items()}
    why = chosen.get("reason") or "trained by a function of your own"
    scores = [{"algorithm": event.data["algorithm"], "mean": event.data["mean"]} for event in _named(events, "selection.score")]
    compared = {"metric": chosen.get("metric"), "scores": scores} if scores else None
    uri = _last(events, "training.logged").get("model_uri")
    return {**trained, "why": why, "metrics": metrics, "selection": compared, "model_uri": uri, "tag": _last(events, "registration.done").get("tag")}


def _parity(events: Sequence[Event], checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return golden rows beside what was served, as a check has seen them, or as the server's first answer had them."""
    asked = [event.data["evidence"].get("compared") for event in _named(events, "check.done") if event.data["id"] == "parity.golden_rows"]
    compared = next(filter(None, reversed(asked)), None) or _last(events, "parity.compared") or None
    judged = next((check["status"] for check in checks if check["id"] == "parity.golden_rows"), None)
    return None if compared is None else {**compared, "status": judged or (HOLDS if not compared["worst"] else FAILS)}


def _latency(events: Sequence[Event], checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the latencies of single rows, in milliseconds, beside what the model in memory took."""
    evidence = [event.data["evidence"] for event in _named(events, "check.done") if "served_ms" in event.data["evidence"]]
    found = {**_last(events, "latency.measured"), **(evidence[-1] if evidence else {})}
    served = sorted(found.get("served_ms", ()))
    if not served:
        return None
    many = next((check["evidence"].get("rows_per_second_many_callers") for check in checks if check["id"] == "performance.many_callers"), None)
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


def timeline_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return what happened as spans ``{lane, name, start, end, status}``, in seconds since the run began; a moment begins when it ends."""
    spans = [*_steps(events), *_server(events), *_requests(events)]
    for event in events:
        data, end = event.data, event.seconds
        match event.name:
            case "check.done":
                spans.append(_span("checks", data["id"], end - data["seconds"], end, data["status"]))
            case "test.done" if data["check"] is None:
                status = {"passed": HOLDS, "failed": FAILS, "error": BROKE}.get(data["outcome"], "not_judged")
                spans.append(_span("tests", data["nodeid"].rpartition("::")[2], end - data["seconds"], end, status))
            case "client.calls":
                spans += [_span("breaker", circuit, stop, stop) for _, stop, _, circuit in data["calls"] if circuit != "closed"]
            case "fault.injected":
                moment = data.get("at", end)
                spans.append(_span("faults", data["what"], moment, moment, FAILS))
            case "breaker.state":
                spans.append(_span("breaker", data["state"], end, end))
            case "test.crashed":
                spans.append(_span("tests", f"crashed: {data['nodeid']}", end, end, BROKE))
    return spans


def _requests(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return what was asked, as spans of equal length that say how often, and whether all of it was answered."""
    asked = [(moment, answered) for event in _named(events, "check.done") for moment, answered in event.data["requests"]]
    asked += [(stop, outcome == "answered") for event in _named(events, "client.calls") for _, stop, outcome, _ in event.data["calls"]]
    width = max((event.seconds for event in events), default=0.0) / MOST_SPANS
    counts: dict[int, list[bool]] = {}
    for moment, answered in asked:
        counts.setdefault(int(moment / width) if width else 0, []).append(answered)
    return [
        _span("requests", f"{len(among)} requests", index * width, (index + 1) * width, "" if all(among) else FAILS)
        for index, among in sorted(counts.items())
    ]


def _steps(events: Sequence[Event]) -> list[dict[str, Any]]:
    spans = []
    for step, (begins, ends) in STEPS.items():
        started, ended = _named(events, begins), _named(events, ends)
        spans += [_span("steps", step, began.seconds, end.seconds, HOLDS) for began, end in zip(started, ended, strict=False)]
        spans += [_span("steps", step, began.seconds, events[-1].seconds, OPEN) for began in started[len(ended) :]]
    return spans


def _server(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return how each server started, and how long it then was ready; one that was not stopped ends with the events."""
    spans: list[dict[str, Any]] = []
    since: dict[str, tuple[str, float]] = {}
    for event in events:
        nonce = event.data.get("nonce", "")
        if event.name == "server.launched":
            since[nonce] = ("never ready", event.seconds)
        elif event.name == "server.ready" and nonce in since:
            spans.append(_span("server", "starting", since[nonce][1], event.seconds))
            since[nonce] = ("ready", event.seconds)
        elif (event.name == "server.stopped" or event.data.get("what") == "every process killed") and nonce in since:
            spans.append(_lived(*since.pop(nonce), event.seconds))
    return spans + [_span("server", name, start, events[-1].seconds, OPEN) for name, start in since.values()]


def _lived(name: str, start: float, end: float) -> dict[str, Any]:
    return _span("server", name, start, end, HOLDS if name == "ready" else BROKE)


def _span(lane: str, name: str, start: float, end: float, status: str = "") -> dict[str, Any]:
    return {"lane": lane, "name": name, "start": round(start, 4), "end": round(end, 4), "status": status}
