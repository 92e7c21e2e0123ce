"""The report as JUnit XML: one test suite for each group of checks, and one test case for each check.

The file is valid in the stricter ones of the common schemas: properties belong to a test suite and come
first, a test case has at most one outcome, and each suite ends with its (empty) output.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # nosec B405
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tier0.core.causes import severity_of
from tier0.core.display import line, terminal
from tier0.core.verdict import WORDS, CheckResult

HOST = "localhost"
"""Value of the attribute that the schemas require; the host itself is not reported."""
ELEMENTS = {"fail": "failure", "error": "error", "not_judged": "skipped"}
"""The element of a test case's outcome; a check that passed has none."""
OTHER = "run"
"""Name of the suite of everything else: tests, steps without checks, and the end of the run."""


class _Case(NamedTuple):
    """One test case.

    Attributes:
        group: name of its suite.
        name: name of the check or the test.
        status: status of a check.
        kind: type of a failure.
        message: what failed, or why it was not checked.
        text: complete message.
        seconds: how long it took.
    """

    group: str
    name: str
    status: str
    kind: str = ""
    message: str = ""
    text: str = ""
    seconds: float = 0.0


def as_junit(document: Mapping[str, Any]) -> str:
    """Return the report as JUnit XML."""
    cases = [*map(_case_of_check, document["checks"]), *_other_cases(document)]
    root = ET.Element("testsuites", {"name": "tier0", **_counts(cases)})
    del root.attrib["skipped"]  # no attribute of this element in the stricter schemas
    for number, group in enumerate(dict.fromkeys(case.group for case in cases)):
        own = [case for case in cases if case.group == group]
        place = {"id": str(number), "name": line(group), "package": "tier0", "hostname": HOST}
        started = {"timestamp": _timestamp(document["run"].get("started"))}
        suite = ET.SubElement(root, "testsuite", {**place, **started, **_counts(own)})
        properties = ET.SubElement(suite, "properties")
        for name, value in _facts(document):
            ET.SubElement(properties, "property", name=f"tier0.{name}", value=line(value))
        for case in own:
            _add_case(suite, case)
        for output in ("system-out", "system-err"):
            ET.SubElement(suite, output)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case_of_check(check: Mapping[str, Any]) -> _Case:
    result = CheckResult(
        check["id"],
        check["status"],
        check["message"],
        causes=check.get("causes", []),
        reproduce=check.get("reproduce", ""),
    )
    return _Case(
        check["group"],
        check["id"],
        check["status"],
        severity_of(result),
        check["message"],
        "\n".join([result.explain(), *check["evidence"].get("timeline", ())]),
        check["seconds"],
    )


def _other_cases(document: Mapping[str, Any]) -> list[_Case]:
    """Return tests other than checks, problems of neither, and an early end of the run."""
    outcomes = {"passed": "pass", "failed": "fail", "error": "error"}
    tests = [test for test in document["tests"] if test["check"] is None]
    cases = [
        _Case(
            OTHER,
            test["nodeid"],
            outcomes.get(test["outcome"], "not_judged"),
            test["outcome"],
            test["message"],
            test["message"],
            test["seconds"],
        )
        for test in tests
    ]
    known = {*(check["id"] for check in document["checks"]), *(test["nodeid"] for test in tests)}
    cases += [
        _Case(
            OTHER,
            problem["what"],
            problem["status"],
            WORDS[problem["status"]],
            problem["message"],
            problem.get("details") or problem["message"],
        )
        for problem in document["problems"]
        if problem["what"] not in known
    ]
    if document["cut_short"]:
        words = f"the run {document['cut_short']}"
        cases.append(_Case(OTHER, "the end of the run", "error", "cut short", words, words))
    return cases


def _add_case(suite: ET.Element, case: _Case) -> None:
    place = {"classname": f"tier0.{case.group}", "name": line(case.name), "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(suite, "testcase", place)
    if case.status in ELEMENTS:
        message = line(
            case.message if case.status == "not_judged" else case.message.strip().partition("\n")[0]
        )
        outcome = ET.SubElement(element, ELEMENTS[case.status], message=message)
        if case.status != "not_judged":
            outcome.set("type", line(case.kind))
            outcome.text = terminal(case.text)


def _counts(cases: Sequence[_Case]) -> dict[str, str]:
    """Return the attributes of a suite that count its cases."""
    statuses = [case.status for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(statuses.count("fail")),
        "errors": str(statuses.count("error")),
        "skipped": str(statuses.count("not_judged")),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _timestamp(started: str | None) -> str:
    """Return the start of the run as the schemas want it, without a time zone."""
    moment = datetime.fromtimestamp(0) if started is None else datetime.fromisoformat(started)  # noqa: DTZ006
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the service or client, the provenance and the outcome, as (name, value)."""
    run, target = document["run"], document["target"]
    job = run.get("ci") or {}
    facts = [
        ("service", target.get("url") or target.get("client")),
        ("tag", target.get("model")),
        ("verdict", document["verdict"]),
        ("sentence", document["sentence"]),
        ("commit", run.get("commit")),
        ("branch", run.get("branch")),
        ("ci", job.get("url") or job.get("name")),
        ("command", run.get("command")),
    ]
    return [(name, str(value)) for name, value in facts if value]
