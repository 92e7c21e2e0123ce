"""``--tier0-history``: pytest keeps its runs, once for all workers, and only those with tests of Tier0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tier0
from tests.support.pytest_run import Run
from tests.support.scripted_service import GOLDEN, healthy
from tier0.faults import FaultServer

SUITE = [
    "--pyargs",
    "tier0.suite",
    "-m",
    "tier0_bentoml",
    "--tier0-groups",
    "health.ready,parity.golden_rows",
]
OPTIONS = ["-p", "tier0.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "parallel",
    [pytest.param([], id="alone"), pytest.param(["-n", "2"], id="xdist")],
)
def test_each_run_is_kept_once(run: Run, parallel: list[str]) -> None:
    GOLDEN.write(run.folder / "golden.json")
    (run.folder / "test_plain.py").write_text("def test_plain():\n    pass\n", encoding="utf-8")
    environment = {"PYTHONPATH": str(Path(tier0.__file__).parents[1]), "TIER0_HISTORY": "history"}
    with FaultServer(healthy) as server:
        asked = ["--tier0-url", server.url, "--tier0-golden", "golden.json", "--tier0-report", "report.json"]
        status = run.finish(*SUITE, *OPTIONS, *asked, *parallel, env=environment)

    assert status == 0, run.output
    assert run.finish("test_plain.py", *OPTIONS, env=environment) == 0, run.output
    assert len(list((run.folder / "history").iterdir())) == 1, "tests of others are no run of Tier0"
    history = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))["history"]
    assert [one["verdict"] for one in history["runs"]] == ["pass"]
