"""The rule that derives a verdict from results, and verdicts in reports of either schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from tier0.core.catalogue import CATALOGUE, select_checks
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.errors import UnknownCheckError
from tier0.core.verdict import (
    EXIT_STATUS,
    PARITY,
    WORDS,
    CheckResult,
    Code,
    DoesNotHoldError,
    InconclusiveError,
    Outcome,
    Status,
    Verdict,
    conclude,
    count_in_words,
)
from tier0.report.diff import changes_between, read_facts

READY = CheckResult("health.ready", "pass")


def parity(status: Status, code: Code = "") -> CheckResult:
    return CheckResult(PARITY, status, "the reason", code=code)


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([READY], "pass"),
        ([READY, parity("pass")], "pass"),
        ([READY, parity("fail"), CheckResult("parity.rows_alone", "error")], "fail"),
        ([READY, parity("error", "network")], "inconclusive"),
        ([READY, parity("not_judged", "no_golden")], "inconclusive"),
        ([READY, CheckResult("identity.expected_model", "not_judged", code="no_golden")], "inconclusive"),
        ([READY, parity("not_judged", "without_golden")], "pass"),
        ([READY, parity("not_judged", "waived")], "pass"),
        ([READY, parity("not_judged", "undeclared")], "inconclusive"),
        ([READY, CheckResult("parity.boundaries", "not_judged", code="not_offered")], "pass"),
        ([CheckResult("health.ready", "not_judged")], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_a_run_passes_only_if_predictions_were_compared_or_need_not_be(
    results: list[CheckResult], verdict: Outcome
) -> None:
    found = Verdict({}, results)

    assert (found.verdict, found.exit_status) == (verdict, EXIT_STATUS[verdict])
    assert bool(found.reason) == (verdict == "inconclusive")
    assert found.as_dict()["reason"] == found.reason


def test_outcomes_of_other_tests_count_too() -> None:
    assert conclude((), ["pass"]).verdict == "pass"
    assert conclude((), ["pass", "error"]).verdict == "inconclusive"
    assert conclude([READY], ["error", "fail"]).verdict == "fail"


def test_each_verdict_raises_its_exception() -> None:
    Verdict({}, [READY]).raise_for_status()
    with pytest.raises(InconclusiveError, match="--golden") as inconclusive:
        Verdict({}, [READY, parity("not_judged", "no_golden")]).raise_for_status()
    with pytest.raises(DoesNotHoldError, match=PARITY) as failed:
        Verdict({}, [READY, parity("fail")]).raise_for_status()

    assert (inconclusive.value.exit_status, failed.value.exit_status) == (2, 1)


def test_every_status_and_verdict_has_a_word() -> None:
    assert set(WORDS) == {*get_args(Status), *get_args(Outcome)}
    assert count_in_words(["pass", "error", "error", "not_judged"]) == "1 passed, 2 errors, 1 not checked"


def test_checks_are_selected_by_group_and_by_id_in_the_order_of_their_catalogue() -> None:
    chosen = [check.id for check in select_checks(CATALOGUE, ["security.refuses_pickle", "identity"])]

    assert chosen == [
        check.id for check in CATALOGUE if check.group == "identity" or check.id == "security.refuses_pickle"
    ]
    assert select_checks(CLIENT_CATALOGUE, []) == list(CLIENT_CATALOGUE)
    with pytest.raises(UnknownCheckError, match=r"'retries'.*'retry'"):
        select_checks(CLIENT_CATALOGUE, ["retries"])


def test_a_report_of_the_previous_schema_is_compared_with_a_current_one(tmp_path: Path) -> None:
    before = {**Verdict({"url": "x"}, [READY, parity("pass")]).as_dict(), "schema": 1, "verdict": "error"}
    now = Verdict({"url": "x"}, [READY, parity("not_judged")]).as_dict()
    for name, content in (("before", before), ("now", now)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    old, new = read_facts(tmp_path / "before.json"), read_facts(tmp_path / "now.json")

    assert old.verdict == new.verdict == "inconclusive"
    (change,) = map(str, changes_between(old, new))
    assert "parity.golden_rows" in change
    assert WORDS["not_judged"] in change
