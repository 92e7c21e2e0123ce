"""Mistakes that clients make are caught by the checks that should see them; and ours holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from model_client import DECLARED, make

import tier0
from tier0.core.verdict import Verdict

pytestmark = pytest.mark.timeout(120)
PROMISES = {name: value for name, value in DECLARED.items() if name != "slow_after"}
FLAWS: dict[str, tuple[str, ...]] = {
    "twice": ("wire.one_request", "retry.at_most_attempts", "breaker.opens"),
    "no_validation": ("wire.no_prediction",),
    "no_bare_answers": ("wire.bare_answers",),
    "id_per_attempt": ("wire.one_id",),
    "no_context": ("wire.own_context",),
    "more_attempts": ("retry.at_most_attempts",),
    "sleeps_last": ("retry.no_sleep_at_the_end",),
    "ignores_retry_after": ("retry.retry_after",),
    "crashes_on_retry_after": ("retry.retry_after",),
    "retries_4xx": ("retry.callers_mistakes", "breaker.closes"),
    "batch_not_retried": ("retry.batch",),
    "only_statuses": ("retry.broken_connections",),
    "no_budget": ("retry.budget",),
    "no_jitter": ("retry.spread",),
    "goes_on": ("retry.ends_with_its_caller",),
    "per_operation": ("deadline.dripping_body",),
    "no_breaker": ("breaker.opens", "breaker.counts_hangs"),
    "counts_calls": ("breaker.opens",),
    "cancelled_is_nothing": ("breaker.counts_hangs",),
    "rush": ("breaker.one_probe",),
    "probe_as_closed": ("breaker.failing_probe",),
    "wedged": ("breaker.lost_probe",),
    "mistakes_are_failures": ("breaker.closes",),
    "success_closes": ("breaker.stragglers",),
    "asks_too_early": ("breaker.burst",),
    "batch_unguarded": ("breaker.no_way_round",),
    "dear_rejection": ("breaker.price_of_a_rejection",),
    "one_breaker": ("breaker.other_models",),
    "slow_is_fine": ("breaker.slow_calls",),
    "leaks": ("pool.cancelled_calls",),
    "pool_is_failure": ("pool.own_queue",),
    "unbounded": ("pool.bounded",),
    "health_raises": ("health.never_raises",),
    "unquoted": ("hygiene.quoted_models",),
    "double_slash": ("hygiene.one_slash",),
    "trust_env": ("hygiene.proxy_environment",),
    "open_after_close": ("hygiene.closed",),
    "time_sleep": ("hygiene.free_loop",),
}


SAMPLE = {"no_validation", "more_attempts", "retries_4xx", "counts_calls", "rush", "batch_unguarded", "unquoted", "double_slash"}
"""What `make test` runs; `make test-all` runs all of it."""


def judge(flaw: str, only: tuple[str, ...] = (), declared: dict[str, Any] | None = None) -> Verdict:
    return tier0.check_client(make(flaw), PROMISES if declared is None else declared, only=only, on_fail="return")


def told(verdict: Verdict) -> list[str]:
    return [result.explain() for result in [*verdict.with_status("fail"), *verdict.with_status("error")]]


def test_our_own_client_holds() -> None:
    knobs = {"timeout": 1.0, "attempt_timeout": 0.3, "reset_timeout": 0.3}
    promised = {name: value for name, value in PROMISES.items() if name not in {"bare_answers", "health_timeout"}}
    verdict = tier0.check_client("tier0.client:BentoMLClient", {**promised, "connections": 20, "knobs": knobs}, on_fail="return")

    assert verdict.verdict == "pass", told(verdict)


@pytest.mark.parametrize("flaw", [pytest.param(flaw, marks=[] if flaw in SAMPLE else pytest.mark.slow) for flaw in FLAWS])
def test_a_mistake_is_caught_by_its_check(flaw: str) -> None:
    declared = DECLARED if flaw == "slow_is_fine" else PROMISES
    verdict = judge(flaw, (FLAWS[flaw][0],), declared)

    (result,) = verdict.checks
    assert result.status == "fail", result
    assert result.evidence["timeline"]
    assert "--only" in result.reproduce


def test_slow_answers_open_a_client_that_counts_them() -> None:
    assert judge("slow", ("breaker.slow_calls",), DECLARED).verdict == "pass"


def test_what_may_do_harm_twice_is_not_asked_twice() -> None:
    verdict = judge("", ("retry.asked_once",), {**PROMISES, "idempotent": False})
    assert verdict.verdict == "fail"

    ours: Callable[[str], Any] = lambda url: tier0.BentoMLClient(url, idempotent=False)  # noqa: E731
    assert tier0.check_client(ours, {"idempotent": False}, only=["retry.asked_once"], on_fail="return").verdict == "pass"
