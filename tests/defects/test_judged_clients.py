"""Defective clients fail the checks for their defects; Tier0's own client passes all checks."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.propagate import inject

import tier0
from tests.defects import own_client_mutants, whole_client
from tests.defects.model_client import DECLARED, FLAWS, TRACED, make
from tests.defects.own_client_mutants import MUTANTS
from tests.support import ROOT
from tier0.core.client_catalogue import CLIENT_CATALOGUE, JUDGED_BY
from tier0.core.errors import Tier0Error
from tier0.core.verdict import DoesNotHoldError, Verdict
from tier0.runs.check_client import expected_duration

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone]
PROMISES = {name: value for name, value in DECLARED.items() if name != "slow_after"}
LEAKS = "ignore::pytest.PytestUnraisableExceptionWarning"
"""Warnings about connections that defective clients leave open, which the checks detect themselves."""
SAMPLE = {
    "no_validation",
    "more_attempts",
    "retries_4xx",
    "counts_calls",
    "unlimited_probes",
    "batch_unguarded",
    "unquoted",
    "shared_error",
    "length_of_characters",
    "follows_redirects",
    "new_connections",
    "batch_attempts",
}
"""Defects that `make test` runs; `make test-all` runs all of them."""
TRACING = {"tracing.one_trace_a_call", "tracing.costs_nothing"}
NOT_PROMISED = {"retry.asked_once", "breaker.slow_calls", *TRACING}
TRACED_PROMISES = {"opik": True, "attempt_timeout": 0.4}
RUNS = 20


def judge(flaw: str, only: tuple[str, ...] = (), declared: dict[str, Any] | None = None) -> Verdict:
    return when_not_busy(
        partial(
            tier0.check_client,
            make(flaw),
            PROMISES if declared is None else declared,
            only=only,
            on_fail="return",
        )
    )


def when_not_busy(check: Callable[[], Verdict]) -> Verdict:
    """Return the verdict of the first of three runs in which the machine was not too busy to measure."""
    for _ in range(2):
        verdict = check()
        if not any(result.code == "busy" for result in verdict.checks):
            return verdict
    return check()


def explained(verdict: Verdict) -> list[str]:
    return [result.explain() for result in [*verdict.with_status("fail"), *verdict.with_status("error")]]


def failed(verdict: Verdict) -> set[str]:
    assert not verdict.with_status("error"), explained(verdict)
    return {result.id for result in verdict.with_status("fail")}


@pytest.fixture
def busy_core() -> Iterator[None]:
    """Keep one core of the machine busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        yield
        busy.kill()


def test_every_check_has_a_defect_that_it_detects() -> None:
    detected = {checks[0] for checks in (*FLAWS.values(), *whole_client.FLAWS.values())}
    detected |= {*TRACED.values(), *(check for _, check in MUTANTS.values())}

    assert [check.id for check in CLIENT_CATALOGUE if check.id not in detected] == []


def test_every_promise_has_a_defect_that_breaks_only_this_promise() -> None:
    detected = {checks[0] for checks in FLAWS.values()} | set(TRACED.values())
    detected |= {check for _, check in MUTANTS.values()}

    assert [promise for promise, checks in JUDGED_BY.items() if not detected & set(checks)] == []


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in {"answers_of_others", "429_is_not_retried"}
        else pytest.param(name, marks=pytest.mark.slow)
        for name in MUTANTS
    ],
)
def test_a_defect_of_our_own_client_is_detected(name: str) -> None:
    factory, check = MUTANTS[name]
    once = {"idempotent": False} if check == "retry.asked_once" else {}
    declared = {**own_client_mutants.DECLARED, **once}
    verdict = when_not_busy(partial(tier0.check_client, factory, declared, only=[check], on_fail="return"))

    assert failed(verdict) == {check}, verdict.checks


@pytest.mark.slow
@pytest.mark.parametrize("idempotent", [True, False])
def test_our_own_client_without_a_defect_passes(idempotent: bool) -> None:  # noqa: FBT001
    declared = dict(own_client_mutants.DECLARED)
    factory: Callable[..., Any] = own_client_mutants.base
    if not idempotent:
        declared["idempotent"] = False
        factory = partial(tier0.BentoMLClient, idempotent=False)
    checks = {check for _, check in MUTANTS.values()} - ({"retry.rate_limited"} if not idempotent else set())
    verdict = tier0.check_client(factory, declared, only=sorted(checks), on_fail="return")

    assert verdict.verdict == "pass", explained(verdict)


@pytest.mark.parametrize("twin", ["mistakes_are_neutral", "limits_reopen"])
def test_what_is_not_declared_is_not_judged(twin: str) -> None:
    only = ("breaker.sequences", "breaker.rate_limits", "breaker.closes")

    verdict = judge(twin, only)

    assert verdict.verdict == "pass", explained(verdict)


def test_status_429_must_open_the_circuit_if_that_is_declared() -> None:
    declared = {**PROMISES, "counts_429": True}

    assert failed(judge("", ("breaker.rate_limits",), declared)) == {"breaker.rate_limits"}
    assert judge("counts_429", ("breaker.rate_limits",), declared).verdict == "pass"


def test_the_shortest_sequence_is_shown() -> None:
    (result,) = judge("never_forgives", ("breaker.forgives",)).checks

    assert result.evidence["responses"] == ["503", "503", "503", "503", "200", "503"]


def test_our_own_client_passes() -> None:
    verdict = judge_ours()

    assert verdict.verdict == "pass", explained(verdict)
    assert not_judged(verdict) == {*NOT_PROMISED, "wire.bare_answers"}


def not_judged(verdict: Verdict) -> set[str]:
    """Return the checks that were not run, unless only because the machine was busy for a moment."""
    skipped = verdict.with_status("not_judged")
    return {result.id for result in skipped if result.code != "busy"}


def judge_ours() -> Verdict:
    options = {"timeout": 1.0, "attempt_timeout": 0.3, "reset_timeout": 0.3}
    promised = {name: value for name, value in PROMISES.items() if name != "bare_answers"}
    return tier0.check_client(
        "tier0.client:BentoMLClient",
        {**promised, "health_timeout": 2.0, "connections": 20, "options": options},
        on_fail="return",
    )


@pytest.mark.slow
def test_a_client_without_a_defect_passes() -> None:
    verdict = judge("")

    assert verdict.verdict == "pass", explained(verdict)
    assert not_judged(verdict) == {*NOT_PROMISED, "breaker.clock_steps"}  # it cannot be imported


@pytest.mark.parametrize("flaw", [flaw for flaw in FLAWS if flaw in SAMPLE])
def test_a_defect_fails_its_check(flaw: str) -> None:
    verdict = judge(flaw, (FLAWS[flaw][0],))

    (result,) = verdict.checks
    assert result.status == "fail", result
    assert result.evidence["timeline"]
    assert f"only=['{FLAWS[flaw][0]}']" in result.reproduce


@pytest.mark.slow
@pytest.mark.filterwarnings(LEAKS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_defect_fails_the_checks_for_it_and_no_others(flaw: str) -> None:
    verdict = judge(flaw, declared=DECLARED if flaw == "slow_is_not_counted" else PROMISES)

    assert {FLAWS[flaw][0]} <= failed(verdict) <= set(FLAWS[flaw]), explained(verdict)


@pytest.mark.slow
@pytest.mark.filterwarnings(LEAKS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_checks_of_a_client_whose_retries_block_the_event_loop_end_in_time() -> None:
    began = time.monotonic()

    verdict = judge("time_sleep")

    assert failed(verdict) == {"hygiene.free_loop"}, explained(verdict)
    assert time.monotonic() - began < expected_duration(PROMISES).if_failed + 5
    assert {check.code for check in verdict.checks if check.id.startswith("breaker.")} == {"timeout"}


@pytest.mark.filterwarnings(LEAKS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_left_when_the_time_is_over_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tier0.runs.check_client.FAILED_RUN_ENDS", 0.1)
    monkeypatch.setattr("tier0.runs.check_client.RUN_ENDS", 0.1)

    verdict = judge_ours()

    assert verdict.verdict == "inconclusive"
    assert "timeout" in {check.code for check in verdict.checks}
    assert not verdict.with_status("fail")
    gc.collect()  # of connections that were being opened when the time was over


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", ["free", "busy"])
def test_twenty_runs_give_the_same_verdicts(machine: str, request: pytest.FixtureRequest) -> None:
    if machine == "busy":
        request.getfixturevalue("busy_core")
    for run in range(RUNS):
        ours = judge_ours()
        assert ours.verdict == "pass", (run, explained(ours))
        assert failed(judge("unlimited_probes", ("breaker",))) == {"breaker.one_probe"}, run


def test_slow_responses_open_the_circuit_of_a_client_that_counts_them() -> None:
    assert judge("slow", ("breaker.slow_calls",), DECLARED).verdict == "pass"


def test_a_request_that_is_not_idempotent_must_not_be_repeated() -> None:
    verdict = judge("", ("retry.asked_once",), {**PROMISES, "idempotent": False})
    assert verdict.verdict == "fail"

    ours = partial(tier0.BentoMLClient, idempotent=False, timeout=1.0)
    assert (
        tier0.check_client(ours, {"idempotent": False}, only=["retry.asked_once"], on_fail="return").verdict
        == "pass"
    )


def test_a_synchronous_client_is_called_in_the_context_of_its_caller() -> None:
    def make(url: str) -> Callable[[Any], Any]:
        def predict(data: Any) -> Any:
            headers: dict[str, str] = {}
            inject(headers)
            return (
                httpx.post(f"{url}/predict", json=data, headers=headers, trust_env=False)
                .raise_for_status()
                .json()
            )

        return predict

    assert tier0.check_client(make, {"traceparent": True}, only=["wire.own_context"]).verdict == "pass"


def test_the_exception_of_a_failed_check_has_the_declaration_and_the_timeline() -> None:
    with pytest.raises(
        DoesNotHoldError,
        match=r"(?s)retry.at_most_attempts: .*declared: attempts = 3, .*request 5 arrived",
    ):
        tier0.check_client(make("more_attempts"), PROMISES, only=["retry.at_most_attempts"])


def test_a_client_whose_first_call_fails_is_rejected() -> None:
    class Odd:
        def predict(self, data: Any) -> Any:
            return data["rows"]

    with pytest.raises(Tier0Error, match="KeyError: 'rows'"):
        tier0.check_client(lambda _: Odd(), PROMISES)


@pytest.mark.parametrize("client", ["exits", "Exits", "ExitsLater"])
def test_a_client_that_calls_sys_exit_does_not_end_the_process(client: str) -> None:
    with pytest.raises(Tier0Error, match=r"ExitedError: .*sys\.exit\(0\)"):
        tier0.check_client(f"tests.defects.stubborn_clients:{client}")


@pytest.mark.parametrize(
    ("client", "failing"),
    [
        ("Blocks", {"hygiene.free_loop", "deadline.hang"}),
        pytest.param("ForEver", {"deadline.hang"}, marks=pytest.mark.slow),
        pytest.param("ForEverAsync", {"deadline.hang"}, marks=pytest.mark.slow),
    ],
)
def test_a_call_that_never_ends_does_not_block_the_command(
    client: str, failing: set[str], tmp_path: Path
) -> None:
    (tmp_path / "client.toml").write_text("schema = 1\ntimeout = 0.3\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "tier0.cli",
        "check-client",
        f"tests.defects.stubborn_clients:{client}",
        "--declare",
        str(tmp_path / "client.toml"),
    ]

    report = tmp_path / "verdict.json"
    command += ["--only", ",".join(failing), "--json", str(report)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1, done
    statuses = {check["id"]: check["status"] for check in json.loads(report.read_text())["checks"]}
    assert statuses == dict.fromkeys(failing, "fail")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("client", ["ours", "Traced"])
def test_a_client_with_correct_tracing_passes(client: str) -> None:
    ours = {"threshold": 5, "options": {"timeout": 1.0, "attempt_timeout": 0.4}} if client == "ours" else {}
    verdict = tier0.check_client(
        f"tests.defects.traced_clients:{client}",
        {**TRACED_PROMISES, **ours},
        only=["tracing"],
        on_fail="return",
    )

    assert verdict.verdict == "pass", explained(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("client", TRACED)
def test_a_client_with_defective_tracing_fails(client: str) -> None:
    verdict = tier0.check_client(
        f"tests.defects.traced_clients:{client}", TRACED_PROMISES, only=[TRACED[client]], on_fail="return"
    )

    assert verdict.verdict == "fail", verdict
