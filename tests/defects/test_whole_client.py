"""A client with a complete declaration passes, and each of its defects fails the check for it."""

from __future__ import annotations

import pytest

import tier0
from tests.defects.whole_client import DECLARED, FLAWS, BatchByRows, Whole
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.verdict import Verdict

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone, pytest.mark.slow]
WITHOUT_REPEATS = {"RepeatsErrorObjects"}
"""Clients that promise not to repeat what may have been done."""


def judged(client: type[Whole], *only: str) -> Verdict:
    declared = {**DECLARED, **({"idempotent": False} if client.__name__ in WITHOUT_REPEATS else {})}
    return tier0.check_client(f"{client.__module__}:{client.__name__}", declared, only=only, on_fail="return")


@pytest.mark.parametrize(("client", "checks"), FLAWS.items(), ids=[client.__name__ for client in FLAWS])
def test_a_defect_fails_its_check(client: type[Whole], checks: tuple[str, ...]) -> None:
    verdict = judged(client, *checks)

    assert {result.id for result in verdict.with_status("fail")} & set(checks), verdict


def test_the_client_without_a_defect_passes() -> None:
    verdict = judged(Whole)

    assert [result.message for result in (*verdict.with_status("fail"), *verdict.with_status("error"))] == []


def test_a_batch_may_be_a_request_for_each_row() -> None:
    verdict = judged(BatchByRows, *(check.id for check in CLIENT_CATALOGUE if check.group == "batch"))

    assert verdict.verdict == "pass", verdict
    assert [result.id for result in verdict.with_status("not_judged")] == ["batch.counts_failures"]
