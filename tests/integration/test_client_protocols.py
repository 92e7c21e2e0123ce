"""`check_client` with a protocol: clients of each are asked in its words, left alone if they are healthy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.protocol_clients import DECLARED, HEALTHY, MUTANTS, V2, model_client, model_client_of_v2
from tier0 import check_client
from tier0.core.protocols import PROTOCOLS
from tier0.runs import check_client as runs

WRONG = {"fail", "error"}
QUICK = ("wire.one_request", "wire.no_prediction", "wire.own_answers")
JUDGED = {*QUICK, "retry.callers_mistakes", "health.tells", "batch.no_prediction"}


@pytest.mark.parametrize(
    "groups", [pytest.param(QUICK, id="quick"), pytest.param((), id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_healthy_client_is_not_accused(protocol: str, groups: tuple[str, ...]) -> None:
    verdict = check_client(
        HEALTHY[protocol], DECLARED, protocol=protocol, only=groups, skip=["pool.crowd"], on_fail="return"
    )

    wrong = [(result.id, result.message) for result in verdict.checks if result.status in WRONG]
    assert wrong == []
    assert {result.id for result in verdict.with_status("pass")} >= (set(groups) or JUDGED)
    assert verdict.target["protocol"] == protocol


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_mutant_fails(protocol: str) -> None:
    mutant, check = MUTANTS[protocol]

    verdict = check_client(mutant, DECLARED, protocol=protocol, only=[check], on_fail="return")

    assert verdict.exit_status == 1


@pytest.mark.parametrize(
    "protocol", [pytest.param(name, marks=[] if name == "v2" else pytest.mark.slow) for name in PROTOCOLS]
)
def test_tier0s_client_finds_the_protocol_and_is_not_accused(protocol: str) -> None:
    factory: Callable[..., Any] = model_client_of_v2 if protocol == "v2" else model_client
    declared = {"attempts": 3, "timeout": 3.0, "threshold": 5, "options": {"timeout": 3.0}}

    verdict = check_client(factory, declared, protocol=protocol, only=QUICK, on_fail="return")

    wrong = [(result.id, result.message) for result in verdict.checks if result.status in WRONG]
    assert wrong == []
    assert set(QUICK) <= {result.id for result in verdict.with_status("pass")}


def test_the_protocol_may_be_declared_and_is_in_the_command_that_repeats_a_failure() -> None:
    mutant, check = MUTANTS["v2"]
    declared = {**DECLARED, "protocol": "v2"}

    verdict = check_client(mutant, declared, only=[check], on_fail="return")
    named = check_client(
        f"{mutant.__module__}:V2WrongShape", DECLARED, protocol="v2", only=[check], on_fail="return"
    )

    assert [result.status for result in (*verdict.checks, *named.checks)] == ["fail", "fail"]
    assert "2 values, but the shape [2, 2]" in verdict.checks[0].message
    assert "--protocol v2" in named.checks[0].reproduce


def test_a_client_of_another_protocol_fails() -> None:
    verdict = check_client(
        HEALTHY["v1"], DECLARED, protocol="sagemaker", only=["wire.one_request"], on_fail="return"
    )

    assert [result.status for result in verdict.checks] == ["fail"]
    assert "expected POST /invocations" in verdict.checks[0].message


class Gets:
    """Requests predictions with GET and no body, for any data."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=timeout, trust_env=False)

    async def predict(self, data: Any) -> Any:
        response = await self.http.get("/predict", params={"rows": len(data)})
        return response.json()["predictions"]

    async def close(self) -> None:
        await self.http.aclose()


def test_a_request_without_a_body_is_called_that_and_has_no_wrong_length() -> None:
    declared = {**DECLARED, "data": {"features": [[1.0, 2.0]]}}
    checks = ["wire.one_request", "wire.whole_body"]

    verdict = check_client(Gets, declared, only=checks, on_fail="return")

    assert [result.status for result in verdict.checks] == ["fail", "fail"]
    for result in verdict.checks:
        assert (result.evidence["method"], result.evidence["bytes"]) == ("GET", 0)
        assert "GET with an empty body" in result.message
        assert result.causes == []


async def with_metadata(url: str, *, timeout: float) -> V2:
    client = V2(url, timeout=timeout)
    response = await client.http.get("/v2/models/churn")
    client.name = response.json()["inputs"][0]["name"]
    return client


def test_a_description_that_is_read_at_creation_or_later_is_no_request_of_a_call() -> None:
    for factory in (V2, with_metadata):
        verdict = check_client(factory, DECLARED, protocol="v2", only=["wire.one_request"], on_fail="return")
        assert [result.status for result in verdict.checks] == ["pass"]


def test_what_does_not_fit_into_the_time_of_all_checks_is_not_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant, check = MUTANTS["v2"]
    monkeypatch.setattr(runs, "ALL_TIMEOUT", 0.0)

    verdict = check_client(mutant, DECLARED, protocol="v2", only=[check], on_fail="return")

    (result,) = verdict.checks
    assert (verdict.verdict, result.status, result.code) == ("inconclusive", "not_judged", "timeout")
