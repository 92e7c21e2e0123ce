"""A rate that the user allows bounds all requests that checks send, and accuses no service."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.scripted_service import GOLDEN, healthy, wrong
from tier0.cli import app
from tier0.core.catalogue import CATALOGUE
from tier0.core.verdict import CheckResult
from tier0.faults import FaultServer
from tier0.runs.deployment import Deployment
from tier0.runs.verify import check_serving

RATE = 20.0


def limited(*, rate: float | None, groups: Sequence[str] = ()) -> tuple[dict[str, CheckResult], list[float]]:
    """The results of a service, also under load, and when its requests arrived."""
    with FaultServer(healthy) as server:
        deployment = Deployment.from_url(server.url, golden=GOLDEN, disturb="load", rate=rate)
        verdict = check_serving(deployment, on_fail="return", groups=groups)
        return {result.id: result for result in verdict.checks}, [one.at for one in server.arrivals]


def test_all_checks_together_keep_to_the_rate_and_find_the_same() -> None:
    results, moments = limited(rate=RATE)

    in_a_second = max(sum(start <= one < start + 1 for one in moments) for start in moments)
    assert in_a_second <= RATE + 2, "two more for the way from here to there"
    assert len(moments) > 1.5 * RATE, "else nothing was limited"
    without, _ = limited(rate=None)
    others = {check for check, result in results.items() if result.code != "rate"}
    assert {check: results[check].status for check in others} == {
        check: without[check].status for check in others
    }
    for check in CATALOGUE:
        if results[check.id].code == "rate":
            assert re.search("--rate", results[check.id].message), check.id
    assert {check for check, result in results.items() if result.code == "rate"} == {
        "concurrency.own_answer",
        "concurrency.own_context",
        "concurrency.strangers_mistakes",
        "concurrency.alive_under_load",
        "resilience.half_sent_requests",
        "performance.latency",
        "performance.many_callers",
    }


def test_concurrent_requests_are_checked_at_a_rate_that_allows_them() -> None:
    results, _ = limited(rate=1000, groups=["concurrency.own_answer", "concurrency.strangers_mistakes"])

    assert {result.status for result in results.values()} == {"pass"}


def test_a_wrong_model_is_found_at_any_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)  # workers share the rate
    golden, report = tmp_path / "golden.json", tmp_path / "tier0.json"
    GOLDEN.write(golden)

    with FaultServer(wrong) as server:
        arguments = ["verify", server.url, "--golden", str(golden), "--groups", "parity.golden_rows"]
        done = CliRunner().invoke(app, [*arguments, "--rate", "50", "--json", str(report)])

    assert done.exit_code == 1, done.output
    assert json.loads(report.read_text(encoding="utf-8"))["target"]["rate"] == 50


def test_a_rate_that_is_too_low_for_the_time_is_inconclusive() -> None:
    with FaultServer(healthy) as server:
        deployment = Deployment.from_url(server.url, golden=GOLDEN, rate=10)
        verdict = check_serving(deployment, on_fail="return", timeout=1.0)
        arrivals = len(server.arrivals)

    assert verdict.verdict == "inconclusive"
    assert "--rate 10" in verdict.reason
    assert arrivals <= 12


@pytest.mark.parametrize("rate", [None, 5.0])
def test_the_report_names_the_rate(rate: float | None) -> None:
    with FaultServer(healthy) as server:
        deployment = Deployment.from_url(server.url, golden=GOLDEN, rate=rate)
        verdict = check_serving(deployment, on_fail="return", groups=["health.ready"])

    assert verdict.target.get("rate") == rate
