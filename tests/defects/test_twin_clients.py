"""Clients that keep what they declare are not accused, and their twins are."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import tier0
from tier0.checks.stalls import Stalls
from tier0.core.verdict import CheckResult

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone]
PER_ATTEMPT: dict[str, Any] = {"attempts": 3, "timeout": 0.4, "timeout_is": "attempt"}
BREAKS: dict[str, Any] = {"threshold": 3, "reset": 0.5}
ONCE: dict[str, Any] = {"attempts": 3, "idempotent": False, "retries_429": True, "threshold": 5}
SLOW = pytest.mark.slow
CLOCKS = ("ByTime", "ByImportedTime", "ByImportedNanoseconds", "ByStoredTime", "ByNow", "ByUtcNow")


def result_of(client: str, check: str, **declared: Any) -> CheckResult:
    verdict = tier0.check_client(
        f"tests.defects.twin_clients:{client}", declared, only=[check], on_fail="return"
    )
    (result,) = verdict.checks
    return result


@pytest.mark.parametrize("declared", [PER_ATTEMPT, {"timeout": 0.4, "timeout_is": "attempt"}])
@pytest.mark.parametrize("check", ["deadline.hang", pytest.param("deadline.dripping_body", marks=SLOW)])
def test_a_timeout_per_attempt_is_judged_by_attempts(declared: dict[str, Any], check: str) -> None:
    assert result_of("LimitsAttempts", check, **declared).status == "pass"


@pytest.mark.parametrize("check", ["deadline.hang", "deadline.attempt"])
def test_a_connection_that_stays_open_until_the_next_attempt_is_no_attempt(check: str) -> None:
    assert result_of("KeepsConnection", check, **PER_ATTEMPT).status == "pass"


@pytest.mark.parametrize(
    ("client", "check"),
    [
        pytest.param("LimitsReads", "deadline.dripping_body", marks=SLOW),
        pytest.param("LimitsReads", "deadline.attempt", marks=SLOW),
        ("LimitsNothing", "deadline.hang"),
        ("LimitsNothing", "deadline.attempt"),
    ],
)
def test_an_attempt_that_takes_longer_than_declared_fails(client: str, check: str) -> None:
    result = result_of(client, check, **PER_ATTEMPT)

    assert result.status == "fail"
    assert "per attempt" in result.message


@SLOW
@pytest.mark.parametrize(("client", "status"), [("WaitsAsAsked", "pass"), ("DoesNotWait", "fail")])
def test_a_wait_for_retry_after_does_not_count_as_an_attempt(client: str, status: str) -> None:
    assert result_of(client, "retry.retry_after", **PER_ATTEMPT, retry_after=True).status == status


@SLOW
def test_hangs_are_counted_by_the_timeout_per_attempt() -> None:
    result = result_of("LimitsAttempts", "breaker.counts_hangs", **{**PER_ATTEMPT, **BREAKS})

    assert result.status == "fail"


@pytest.mark.parametrize(
    ("check", "ours"),
    [
        ("retry.at_most_attempts", "pass"),
        pytest.param("retry.asked_once", "pass", marks=SLOW),
        ("retry.batch", "not_judged"),
        pytest.param("retry.broken_connections", "not_judged", marks=SLOW),
        pytest.param("retry.spread", "not_judged", marks=SLOW),
        pytest.param("wire.one_id", "not_judged", marks=SLOW),
    ],
)
def test_a_client_that_repeats_nothing_is_not_asked_to(check: str, ours: str) -> None:
    assert result_of("not_repeated", check, **ONCE).status == ours


def test_a_client_that_repeats_what_it_must_not_fails() -> None:
    assert result_of("Repeated", "retry.asked_once", **ONCE).status == "fail"


def spread_of(client: str) -> CheckResult:
    """Return the first of three results that the machine was not too busy for, or the last one."""
    results = (result_of(client, "retry.spread", attempts=3) for _ in range(3))
    last = next(results)
    while last.code == "busy" and (following := next(results, None)):
        last = following
    return last


@pytest.mark.parametrize("client", ["Jitter25", pytest.param("Retries", marks=SLOW)])
def test_a_quarter_of_jitter_and_full_jitter_are_jitter(client: str) -> None:
    assert spread_of(client).status == "pass"


def test_first_retries_without_a_wait_fail() -> None:
    result = spread_of("RetriesAtOnce")

    assert result.status == "fail"
    assert "at once" in result.message


def test_second_retries_in_step_fail() -> None:
    assert spread_of("InStep").status == "fail"


class Slow(Stalls):
    """Stalls as on a machine that is busy with something else."""

    longest = 0.15

    def __init__(self) -> None:
        """Do not measure."""

    def measure(self) -> None:
        """Do not measure."""


@pytest.mark.parametrize(("client", "status"), [("InStep", "fail"), ("Jitter25", "not_judged")])
def test_waits_that_the_machine_may_have_spread_are_not_judged(
    client: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the measured stalls are made up: a real machine is not busy at the right moment."""
    monkeypatch.setattr("tier0.checks.stalls.Stalls", Slow)
    monkeypatch.setattr("tier0.checks.client.retry.ROUNDS", 1)

    result = result_of(client, "retry.spread", attempts=3)

    assert (result.status, result.code) == (status, "busy" if status == "not_judged" else "")


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("ModelInBody", "not_judged"),
        ("ModelInSegment", "pass"),
        pytest.param("ModelInQuery", "pass", marks=SLOW),
        ("ModelInSegmentUnquoted", "fail"),
        pytest.param("ModelInQueryUnquoted", "fail", marks=SLOW),
    ],
)
def test_a_model_name_must_not_change_the_route(client: str, status: str) -> None:
    assert result_of(client, "hygiene.quoted_models").status == status


@pytest.mark.parametrize(
    "client", [clock if clock == "ByNow" else pytest.param(clock, marks=SLOW) for clock in CLOCKS]
)
def test_a_breaker_that_follows_the_system_clock_fails(client: str) -> None:
    assert result_of(client, "breaker.clock_steps", **BREAKS).status == "fail"


def test_a_breaker_with_a_monotonic_clock_passes() -> None:
    assert result_of("Breaks", "breaker.clock_steps", **BREAKS).status == "pass"


@pytest.mark.parametrize(("clock", "status"), [("monotonic", "not_judged"), ("time", "fail")])
def test_a_client_without_an_importable_name_does_not_pass_the_steps_of_the_clock(
    clock: str, status: str
) -> None:
    from tests.defects.twin_clients import Breaks, ByImportedTime

    client = Breaks if clock == "monotonic" else ByImportedTime
    verdict = tier0.check_client(
        lambda url, **_: client(url), BREAKS, only=["breaker.clock_steps"], on_fail="return"
    )

    assert verdict.checks[0].status == status


@pytest.mark.parametrize(
    ("client", "status"), [("BreaksAndConnectsEachTime", "pass"), ("ConnectsEachTime", "fail")]
)
def test_a_new_connection_does_not_excuse_a_request(client: str, status: str) -> None:
    assert result_of(client, "breaker.burst", threshold=3, reset=0.5).status == status


@pytest.mark.parametrize(
    ("client", "status"), [("LimitsAttemptsAfterQueue", "pass"), ("LimitsAttemptsInQueue", "fail")]
)
def test_the_queue_does_not_count_towards_an_attempt(client: str, status: str) -> None:
    declared = {"timeout": 1.0, "timeout_is": "attempt", "connections": 5, **BREAKS}

    assert result_of(client, "pool.own_queue", **declared).status == status


@pytest.mark.parametrize(("declared", "status"), [({"expects_proxy": True}, "not_judged"), ({}, "fail")])
def test_a_proxy_may_be_declared(declared: dict[str, Any], status: str) -> None:
    assert result_of("ExpectsProxy", "hygiene.proxy_environment", **declared).status == status


@pytest.mark.parametrize(
    ("client", "status", "variable"),
    [
        ("Authorized", "pass", ""),
        ("NeedsDatabase", "pass", ""),
        ("SendsDatabasePassword", "fail", "DB_PASSWORD"),
        ("SendsEverything", "fail", "TIER0_PLANTED_SECRET_TOKEN"),
    ],
)
def test_a_client_sends_no_secrets_of_the_environment(
    client: str, status: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    monkeypatch.setenv("GATEWAY_KEY", "0123456789abcdef")
    options = {"options": {"api_key": "fedcba9876543210"}} if client == "Authorized" else {}
    # imported within the run, so that a client also has the variables that it reads at its import
    monkeypatch.delitem(sys.modules, "tests.defects.twin_clients", raising=False)

    result = result_of(client, "hygiene.keeps_secrets", **options)

    assert (result.status, result.evidence.get("variable", "")) == (status, variable), result


FALLBACK = {"fallback": {"predictions": None, "is_fallback": True}}


@pytest.mark.parametrize(
    ("client", "declared", "status"),
    [
        ("Remembers", {}, "fail"),
        ("FallsBack", {}, "fail"),
        ("FallsBack", FALLBACK, "pass"),
        ("Breaks", BREAKS, "pass"),
        ("Base", {}, "pass"),
    ],
)
def test_a_call_without_a_prediction_returns_none(client: str, declared: dict[str, Any], status: str) -> None:
    assert result_of(client, "wire.no_stand_in", **declared).status == status


def test_a_declared_fallback_counts_as_a_failed_call() -> None:
    assert result_of("FallsBack", "retry.callers_mistakes", **FALLBACK).status == "pass"
    assert result_of("FallsBack", "retry.callers_mistakes").status == "fail"


@pytest.mark.parametrize(("client", "status"), [("GetsElsewhere", "fail"), ("Base", "pass")])
def test_a_redirect_never_becomes_a_get(client: str, status: str) -> None:
    assert result_of(client, "wire.redirects").status == status


@pytest.mark.parametrize(("client", "status"), [("Waits", "pass"), ("DoesNotQueue", "fail")])
def test_each_call_of_a_crowd_succeeds(client: str, status: str) -> None:
    assert result_of(client, "pool.crowd", timeout=30.0).status == status


def test_a_row_gets_one_prediction() -> None:
    for client, declared in [
        ("tier0.client:BentoMLClient", {}),
        (
            "tier0.client:BentoMLClient",
            {"answer": {"predictions": [1, 0]}, "data": {"features": [[1.0, 2.0], [3.0, 4.0]]}},
        ),
    ]:
        verdict = tier0.check_client(
            client, {**declared, "bare_answers": True}, only=["wire.bare_answers"], on_fail="return"
        )
        assert verdict.verdict == "pass", verdict.checks


def test_what_is_skipped_is_not_judged() -> None:
    verdict = tier0.check_client(
        "tests.defects.twin_clients:ExpectsProxy",
        only=["hygiene.proxy_environment", "wire.one_request"],
        skip=["hygiene"],
        on_fail="return",
    )

    assert verdict.verdict == "pass"
    assert [(result.id, result.status) for result in verdict.checks] == [
        ("wire.one_request", "pass"),
        ("hygiene.proxy_environment", "not_judged"),
    ]
