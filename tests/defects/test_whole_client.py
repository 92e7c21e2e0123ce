"""Two clients with complete declarations pass, and each of their defects fails a check for it."""

from __future__ import annotations

from typing import Any

import pytest

import tier0
from tests.defects import complete_client, complete_client_flaws
from tests.defects.complete_client import WholeClient
from tests.defects.whole_client import DECLARED, FLAWS, Whole
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.verdict import Verdict

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.alone,
    pytest.mark.slow,
    # connections that defective clients leave open, which the checks detect themselves
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
WITHOUT_REPEATS = {"RepeatsErrorObjects"}
"""Clients that promise not to repeat what may have been done."""
NOT_ASKED = {
    "StuckAfterInvalidProbe", "AnotherProbeWhileOneIsPending", "LateSuccessClosesHalfOpen",
    "LateFailureReopensHalfOpen", "ModelsShareACircuit", "RetryAfterOnlyOnce", "BatchIgnoresRetryAfter",
}  # fmt: skip
"""Defects that no check asks for yet."""


def judged(client: type[Any], only: tuple[str, ...], **declared: Any) -> Verdict:
    """Return the first of three verdicts that the machine was not too busy for, or the last one."""
    for _ in range(3):
        verdict = tier0.check_client(
            f"{client.__module__}:{client.__name__}", declared, only=only, on_fail="return"
        )
        if not any(result.code == "busy" for result in verdict.checks):
            break
    return verdict


@pytest.mark.parametrize(("client", "checks"), FLAWS.items(), ids=[client.__name__ for client in FLAWS])
def test_a_defect_fails_its_check(client: type[Whole], checks: tuple[str, ...]) -> None:
    own = {"idempotent": False} if client.__name__ in WITHOUT_REPEATS else {}

    verdict = judged(client, checks, **{**DECLARED, **own})

    assert {result.id for result in verdict.with_status("fail")} & set(checks), verdict


@pytest.mark.parametrize("name", [name for name in complete_client_flaws.FLAWS if name not in NOT_ASKED])
def test_a_defect_of_the_other_client_fails_a_check_for_it(name: str) -> None:
    client = complete_client_flaws.FLAWS[name]
    known = {check.id for check in CLIENT_CATALOGUE}

    verdict = judged(
        client,
        tuple(check for check in client.checks if check in known),
        **{**complete_client.DECLARED, **client.declared},
    )

    assert verdict.verdict == "fail", verdict
    assert all(result.evidence["timeline"] for result in verdict.with_status("fail"))


@pytest.mark.parametrize(("client", "declared"), [(Whole, DECLARED), (WholeClient, complete_client.DECLARED)])
def test_a_client_without_a_defect_passes(client: type[Any], declared: dict[str, Any]) -> None:
    verdict = judged(client, (), **declared)

    assert [result.message for result in (*verdict.with_status("fail"), *verdict.with_status("error"))] == []
