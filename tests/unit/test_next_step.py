"""The next step names what it refers to, and the reasons why checks were not checked are counted."""

from __future__ import annotations

from typing import Any

import pytest

from tier0.core.errors import SERVER_NOT_READY
from tier0.core.verdict import CheckResult
from tier0.report.next_step import executable
from tier0.report.not_checked import why_not_checked

START = "cd /x && bentoml serve service:Churn --port 3000"
COMMAND = "pytest --pyargs tier0.suite"


def step_for(check: str, message: str) -> str:
    result = CheckResult(check, "fail", message)
    return executable("do it", result, start=START, command=COMMAND, service="a.py:Churn")


def test_a_failed_check_of_a_service_names_the_service() -> None:
    assert step_for("parity.golden_rows", "x") == "do it (service: a.py:Churn)"
    assert step_for("breaker.opens", "x") == "do it"


def test_a_server_that_did_not_start_is_started_alone_and_given_more_time_if_it_ran_out_of_it() -> None:
    assert step_for("health.ready", f"{SERVER_NOT_READY}: KeyError") == f"do it: `{START}`"
    assert "--tier0-startup-timeout" in step_for(
        "health.ready", f"{SERVER_NOT_READY}: within 3 s (startup-timeout)"
    )


def unchecked(*checks: tuple[str, str, str], skipped: tuple[str, ...] = ()) -> str:
    document: dict[str, Any] = {
        "causes": [{"skipped": skipped}],
        "target": {},
        "run": {"command": "pytest x"},
        "checks": [
            {"id": name, "status": "not_judged", "code": code, "message": message}
            for name, code, message in checks
        ],
    }
    return why_not_checked(document)


@pytest.mark.parametrize(
    ("checks", "skipped", "words"),
    [
        ((), (), ""),
        ((("a.b", "no_golden", ""),), (), "1 needs golden rows (--tier0-golden)"),
        ((("a.b", "", ""), ("a.c", "", "")), ("a.b", "a.c"), "2 were not run because of the first cause"),
        (
            (
                ("a.b", "no_process", ""),
                ("a.c", "no_process", ""),
                ("a.d", "", "x: see a.e"),
                ("a.f", "", "y"),
            ),
            (),
            "4: 2 need a service that Tier0 starts, 1 needs a check that failed, 1 for other reasons",
        ),
    ],
)
def test_the_reasons_are_counted_the_most_frequent_first(checks: Any, skipped: Any, words: str) -> None:
    assert unchecked(*checks, skipped=skipped) == words
