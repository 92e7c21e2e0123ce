"""How a failure is seen again: a command that shows it, and what a healthy service returns for it."""

from __future__ import annotations

from typing import Any

import pytest

from tier0.core.event_log import EventLog
from tier0.core.events import CheckDone, LeakSuspected, RunFailed, RunStarted
from tier0.core.verdict import CheckResult, Status
from tier0.report.document import REPEAT, document_of
from tier0.report.reproduction import command_for, expectation_of, variables_in, with_placeholders

CURL = "curl -sS http://x/predict -d '{}'"
VERIFY = "tier0 verify http://x"


def failed(check: str, reproduce: str = CURL, **evidence: Any) -> CheckResult:
    return CheckResult(check, "fail", f"message of {check}", evidence, reproduce=reproduce)


@pytest.mark.parametrize(
    ("check", "alone", "command"),
    [
        ("parity.golden_rows", "fail", CURL),
        ("parity.golden_rows", "pass", f"{VERIFY} --groups parity.golden_rows"),
        ("parity.boundaries", "pass", CURL),
        ("concurrency.own_answer", "fail", f"{VERIFY} --groups concurrency.own_answer"),
    ],
)
def test_one_row_shows_what_does_not_need_other_rows_or_callers(
    check: str, alone: Status, command: str
) -> None:
    assert command_for(failed(check), {"parity.rows_alone": alone}, VERIFY) == command
    assert command_for(failed(check), {"parity.rows_alone": alone}, "") == CURL, "nothing else is known"


def test_the_request_with_all_rows_shows_another_number_of_outputs() -> None:
    result = failed("parity.golden_rows", pattern="other_count")

    assert command_for(result, {"parity.rows_alone": "pass"}, VERIFY) == CURL


def test_a_step_is_seen_again_by_the_command_of_the_run() -> None:
    run = "tier0 run --dataset a.csv --target y"

    assert command_for(failed("step.data", ""), {}, run) == run
    assert command_for(failed("step.data", ""), {}, "pytest") == ""


@pytest.mark.parametrize(
    ("result", "expected", "got"),
    [
        (failed("parity.golden_rows", expected=3, got=-3), "3", "-3"),
        (failed("contract.refuses_infinity", status=200), "status 4xx", "status 200"),
        (failed("contract.one_answer_a_row", status=500), "status 200", "status 500"),
        (failed("health.ready", status=503), "status 200", "status 503"),
        (
            failed("parity.golden_rows", status=200, content_type="text/html", body="<html>\n<p>"),
            "status 200 and a JSON body",
            "status 200, text/html, <html> <p>",
        ),
        (
            failed("parity.golden_rows", status=200, content_type="", body=""),
            "status 200 and a JSON body",
            "status 200, no content type",
        ),
        (
            failed("identity.always_the_same", answers=[{}, {}]),
            "the same response each time",
            "2 different responses",
        ),
        (failed("observability.counts_requests", asked=3, counted=0.0), "counters that grow by 3", "by 0"),
        (failed("parity.no_memory", before=1, after=2), "1 both times", "2 the second time"),
        (failed("security.refuses_pickle", pickle=200, not_a_pickle=500), "status 4xx", "status 200"),
        (failed("performance.latency"), "", ""),
        (
            failed("wire.one_request", "tier0 check-client a:b", expected=1, got=2),
            "exit status 0",
            "exit status 1",
        ),
        (
            CheckResult("health.ready", "error", "no response", reproduce="tier0 verify http://x"),
            "exit status 0",
            "exit status 2",
        ),
    ],
    ids=lambda value: value.id if isinstance(value, CheckResult) else "",
)
def test_what_a_healthy_service_returns_is_known(result: CheckResult, expected: str, got: str) -> None:
    assert expectation_of(result, result.reproduce) == (expected, got)


def test_without_a_command_nothing_is_expected() -> None:
    assert expectation_of(failed("parity.golden_rows", "", expected=1, got=2), "") == ("", "")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("tier0 verify http://x --header 'Authorization: (Authorization hidden)'", "Authorization: "),
        ("tier0 verify 'http://(API_KEY hidden)@x'", "http://"),
        ("tier0 verify http://x --header '(X-Api-Key hidden)'", ""),
    ],
)
def test_a_secret_is_a_variable_of_the_shell(command: str, shown: str) -> None:
    runnable = with_placeholders(command)
    (variable,) = variables_in(runnable)

    assert "hidden" not in runnable
    assert f"{variable[1:]}=" not in runnable
    assert f'"{variable}"' in runnable
    assert shown in runnable.replace("'", "")


def test_a_command_without_a_secret_is_left_alone() -> None:
    command = """curl -H "Authorization: $AUTHORIZATION" -d '{"text": "it is (not hidden)"}'"""

    assert with_placeholders(command) == command
    assert variables_in(command) == ["$AUTHORIZATION"]


def document(*results: CheckResult, command: str = VERIFY, more: Any = None) -> dict[str, Any]:
    log = EventLog()
    log.emit(RunStarted(command, "", "2026-01-01T00:00:00+00:00", "3.11", {}, None))
    for result in results:
        log.emit(CheckDone.of(result, "Is it?"))
    if more is not None:
        log.emit(more)
    return document_of(log.events)


def test_a_leak_has_its_column_and_its_remedy_once() -> None:
    remedy = "Leave it out (tier0 run --drop fee, or drop in [data] of the study), or accept it"
    message = f"'fee' may give the target away: a tree has an AUC of 0.998. {remedy}"
    more = "'code' may give the target away: it is the target. Leave it out"
    run = "tier0 run --dataset a.csv --target y"

    of_step = document(CheckResult("step.data", "fail", f"{message}\n{more}"), command=run)["causes"][0]
    of_pytest = document(more=LeakSuspected("fee", "a tree has an AUC of 0.998", remedy))["causes"][0]

    for cause in (of_step, of_pytest):
        assert (cause["title"], cause["severity"], cause["key"]) == (
            "Target leaked",
            "critical",
            "column 'fee'",
        )
        assert cause["message"].endswith("may give the target away: a tree has an AUC of 0.998.")
        assert cause["next_step"] == remedy[:1].lower() + remedy[1:]
    assert more in of_step["text"], "the other column is not lost"
    assert of_step["reproduce"] == run


@pytest.mark.parametrize(
    ("failure", "next_step"),
    [
        (RunFailed("a run", "no space left", "error"), REPEAT),
        (
            RunFailed("a run", "no space left", "error", "resume with: tier0 run --resume a"),
            "resume with: tier0 run --resume a",
        ),
    ],
)
def test_an_error_that_ends_a_command_has_a_next_step(failure: RunFailed, next_step: str) -> None:
    (cause,) = document(more=failure)["causes"]

    assert cause["next_step"] == next_step
    assert "no space left" in cause["message"]


def test_every_step_has_a_title_and_a_next_step_of_its_own() -> None:
    steps = ("scope", "data", "cohort", "selection", "training", "features", "deployment", "observability")
    causes = [document(CheckResult(f"step.{step}", "fail", f"{step} is bad"))["causes"][0] for step in steps]

    assert len({cause["title"] for cause in causes}) == len(steps)
    assert all(cause["next_step"] for cause in causes)


def test_the_id_of_a_check_is_said_once() -> None:
    found = document(CheckResult("parity.golden_rows", "fail", "parity.golden_rows: 3 of 9 rows differ"))

    assert found["causes"][0]["message"] == "3 of 9 rows differ"
    assert found["sentence"].count("parity.golden_rows") == 1
