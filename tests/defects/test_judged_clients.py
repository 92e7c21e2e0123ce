"""Mistakes that clients make are caught by the checks that should see them; and ours holds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from model_client import DECLARED, make

import tier0
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.errors import Tier0Error
from tier0.core.verdict import Verdict

pytestmark = pytest.mark.timeout(120)
PROMISES = {name: value for name, value in DECLARED.items() if name != "slow_after"}
FLAWS: dict[str, tuple[str, ...]] = {
    "twice": (
        "wire.one_request",
        "wire.one_id",
        "wire.own_context",
        "retry.at_most_attempts",
        "retry.retry_after",
        "retry.callers_mistakes",
        "retry.broken_connections",
        "retry.budget",
        "breaker.opens",
        "breaker.failing_probe",
        "breaker.burst",
    ),
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
    "goes_on": ("retry.ends_with_its_caller", "pool.cancelled_calls"),
    "no_deadline": ("deadline.hang", "deadline.dripping_body", "retry.retry_after"),
    "per_operation": ("deadline.dripping_body", "retry.retry_after"),
    "no_breaker": ("breaker.opens", "breaker.counts_hangs", "breaker.burst"),
    "counts_calls": ("breaker.opens", "breaker.counts_hangs", "breaker.lost_probe", "pool.own_queue"),
    "cancelled_is_nothing": ("breaker.counts_hangs",),
    "rush": ("breaker.one_probe",),
    "probe_as_closed": ("breaker.failing_probe",),
    "wedged": ("breaker.lost_probe",),
    "mistakes_are_failures": ("breaker.closes",),
    "success_closes": ("breaker.stragglers",),
    "asks_too_early": ("breaker.burst",),
    "batch_unguarded": ("breaker.no_way_round", "retry.batch"),
    "wall_clock": ("breaker.clock_steps",),
    "dear_rejection": ("breaker.price_of_a_rejection", "breaker.burst"),
    "one_breaker": ("breaker.other_models",),
    "slow_is_fine": ("breaker.slow_calls",),
    "leaks": ("pool.cancelled_calls",),
    "pool_is_failure": ("pool.own_queue",),
    "unbounded": ("pool.bounded",),
    "health_raises": ("health.never_raises",),
    "health_shares_pool": ("health.while_saturated",),
    "unquoted": ("hygiene.quoted_models",),
    "double_slash": ("hygiene.one_slash",),
    "trust_env": ("hygiene.proxy_environment",),
    "open_after_close": ("hygiene.closed",),
    "hangs_elsewhere": ("hygiene.another_loop",),
    "keeps_answers": ("hygiene.memory",),
    "time_sleep": ("hygiene.free_loop", "retry.retry_after", "pool.own_queue"),
}


SAMPLE = {"no_validation", "more_attempts", "retries_4xx", "counts_calls", "rush", "batch_unguarded", "unquoted", "double_slash"}
"""What `make test` runs; `make test-all` runs all of it."""
NOT_PROMISED = {"retry.asked_once", "breaker.slow_calls"}
RUNS = 20


def judge(flaw: str, only: tuple[str, ...] = (), declared: dict[str, Any] | None = None) -> Verdict:
    return tier0.check_client(make(flaw), PROMISES if declared is None else declared, only=only, on_fail="return")


def told(verdict: Verdict) -> list[str]:
    return [result.explain() for result in [*verdict.with_status("fail"), *verdict.with_status("error")]]


def failed(verdict: Verdict) -> set[str]:
    assert not verdict.with_status("error"), told(verdict)
    return {result.id for result in verdict.with_status("fail")}


@pytest.fixture
def busy_core() -> Iterator[None]:
    """One core has something else to do."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        yield
        busy.kill()


def test_every_check_has_a_mistake_that_it_catches() -> None:
    assert {checks[0] for checks in FLAWS.values()} | {"retry.asked_once"} == {check.id for check in CLIENT_CATALOGUE}


def test_our_own_client_holds() -> None:
    verdict = judge_ours()

    assert verdict.verdict == "pass", told(verdict)
    assert {result.id for result in verdict.with_status("not_judged")} == {*NOT_PROMISED, "wire.bare_answers"}


def judge_ours() -> Verdict:
    knobs = {"timeout": 1.0, "attempt_timeout": 0.3, "reset_timeout": 0.3}
    promised = {name: value for name, value in PROMISES.items() if name not in {"bare_answers", "health_timeout"}}
    return tier0.check_client("tier0.client:BentoMLClient", {**promised, "connections": 20, "knobs": knobs}, on_fail="return")


def test_a_client_without_a_mistake_is_not_accused() -> None:
    verdict = judge("")

    assert verdict.verdict == "pass", told(verdict)
    assert {result.id for result in verdict.with_status("not_judged")} == NOT_PROMISED


@pytest.mark.parametrize("flaw", [flaw for flaw in FLAWS if flaw in SAMPLE])
def test_a_mistake_is_caught_by_its_check(flaw: str) -> None:
    verdict = judge(flaw, (FLAWS[flaw][0],))

    (result,) = verdict.checks
    assert result.status == "fail", result
    assert result.evidence["timeline"]
    assert "--only" in result.reproduce


@pytest.mark.slow
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_mistake_is_caught_by_what_should_see_it_and_by_nothing_else(flaw: str) -> None:
    verdict = judge(flaw, declared=DECLARED if flaw == "slow_is_fine" else PROMISES)

    assert failed(verdict) == set(FLAWS[flaw]), told(verdict)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", ["free", "busy"])
def test_twenty_runs_give_the_same_verdicts(machine: str, request: pytest.FixtureRequest) -> None:
    if machine == "busy":
        request.getfixturevalue("busy_core")
    for run in range(RUNS):
        ours = judge_ours()
        assert ours.verdict == "pass", (run, told(ours))
        assert failed(judge("counts_calls")) == set(FLAWS["counts_calls"]), run


def test_slow_answers_open_a_client_that_counts_them() -> None:
    assert judge("slow", ("breaker.slow_calls",), DECLARED).verdict == "pass"


def test_what_may_do_harm_twice_is_not_asked_twice() -> None:
    verdict = judge("", ("retry.asked_once",), {**PROMISES, "idempotent": False})
    assert verdict.verdict == "fail"

    ours: Callable[[str], Any] = lambda url: tier0.BentoMLClient(url, idempotent=False)  # noqa: E731
    assert tier0.check_client(ours, {"idempotent": False}, only=["retry.asked_once"], on_fail="return").verdict == "pass"


def test_a_client_that_cannot_even_be_called_is_not_judged() -> None:
    class Odd:
        def predict(self, data: Any) -> Any:
            return data["rows"]

    with pytest.raises(Tier0Error, match=r"the first call of .* to a service that answers every request ended in nothing was sent, KeyError"):
        tier0.check_client(lambda _: Odd(), PROMISES)
