"""`tier0 run`, as a person runs it at night: whole, in parts, ended and gone on with, and told no."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
FAST = ["--algorithms", "linear", "--hpo-trials", "1"]


class Runs:
    """Runs with a folder of their own for what they leave, and one for what they must not."""

    def __init__(self, folder: Path) -> None:
        self.output, self.tmp = folder / "runs", folder / "t"
        self.tmp.mkdir()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(self.tmp),
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tier0.cli", "run", "--output-dir", str(self.output), *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    @property
    def folder(self) -> Path:
        (folder,) = self.output.iterdir()
        return folder

    @property
    def record(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return content

    def left(self) -> list[str]:
        processes = [one for one in psutil.process_iter() if _tmp_of(one) == str(self.tmp)]
        return [str(one) for one in (*processes, *self.tmp.iterdir())]


def _tmp_of(process: psutil.Process) -> str | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.environ().get("TMPDIR")
    except psutil.Error:
        return None


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def serving(runs: Runs, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a run that goes on serving, and return its process, and what it said until it serves."""
    process = runs.start(*FAST, "--include-bentoml", "--keep-serving", *arguments)
    assert process.stdout is not None
    said = ""
    while "serving at" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return process, said


def test_all_eight_end_with_that_model_served_and_verified_until_ctrl_c(runs: Runs, tmp_path: Path) -> None:
    process, said = serving(
        runs, "--metric", "auc_roc", "--success", "0.6", "--json", str(tmp_path / "out.json"), "--verbose"
    )
    try:
        record = runs.record
        written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
        report = written.pop("report")
        assert written == record, "what is to be read is there meanwhile"
        assert {"step.training", "parity.golden_rows"} <= {check["id"] for check in report["checks"]}
        assert f"kill {process.pid}" in said
        assert (
            httpx.get(f"{record['done']['deployment']['facts']['served']['endpoint']}/health").json()[
                "status"
            ]
            == "healthy"
        )
    finally:
        process.send_signal(signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    assert process.returncode == 0, said + rest
    assert f"{runs.folder.name}: passed" in rest
    assert runs.left() == []
    assert runs.record == record
    assert [step["number"] for step in record["done"].values()] == list(range(1, 9))
    assert record["verdict"] == "pass"
    served = json.loads((runs.folder / "manifest.json").read_text(encoding="utf-8"))["served"]
    assert served["prediction_test"] == "passed"
    assert served["model_tag"] in said
    assert list(
        (runs.folder / "bentoml" / "models").glob(f"*/{served['model_tag'].partition(':')[2]}/model.yaml")
    )
    assert "# Tier0 run" in (runs.folder / "report.md").read_text(encoding="utf-8")
    for step in (
        "STEP 1: SCOPE",
        "STEP 4: SELECTION",
        "STEP 7: DEPLOYMENT",
        "STEP 8: OBSERVABILITY",
        "health_check healthy",
        "circuit_breaker closed",
        "  added: run, verdict, may_go, model_tag, endpoint, latency_ms_p50, latency_ms_max, manifest.json, ",
    ):
        assert step in said
    for step, found in record["done"].items():
        labels = {line.partition(":")[0] for line in found["lines"]}
        assert {"input", "result"} < labels, step
        assert {"checked", "added"} & labels, step
    assert "\x1b" not in said, "plain lines in a log"

    import mlflow

    client = mlflow.MlflowClient(record["done"]["training"]["facts"]["tracking_uri"])
    run_id = record["done"]["training"]["facts"]["training_run_id"]
    logged = client.get_run(run_id).data
    assert {"manifest.json", "report.md"} <= {one.path for one in client.list_artifacts(run_id)}
    assert logged.tags["tier0.verdict"] == "pass"
    assert logged.tags["tier0.endpoint"] == served["endpoint"]
    assert logged.tags["tier0.model_tag"] == served["model_tag"]
    assert logged.metrics["latency_ms_p50"] == served["latency_ms"]["p50"]
    assert logged.metrics["auc_roc"] == record["done"]["training"]["facts"]["metrics"]["auc_roc"]


def kill_after(runs: Runs, step: str, *arguments: str) -> None:
    """Kill a run as soon as it has written down that *step* is done."""
    process = runs.start(*arguments)
    try:
        deadline = time.monotonic() + 60
        while not list(runs.output.glob("*/run.json")) or step not in runs.record["done"]:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_run_that_is_killed_in_steps_5_and_6_goes_on_and_gives_the_same_result(
    runs: Runs, tmp_path: Path
) -> None:
    kill_after(runs, "selection", *FAST, "--step", "1-6")
    assert "training" not in runs.record["done"]
    kill_after(runs, "training", "--resume", runs.folder.name)
    assert "features" not in runs.record["done"]

    status, said = runs.finish("--resume", runs.folder.name)

    assert status == 0, said
    assert "STEP 5" not in said, "what was done is not done again"
    (tmp_path / "whole").mkdir()
    whole = Runs(tmp_path / "whole")
    assert whole.finish(*FAST, "--step", "1-6")[0] == 0
    for step, differs in (
        ("training", {"training_run_id", "model_uri", "tracking_uri"}),
        ("features", set()),
        ("selection", {"scores", "reason"}),
    ):
        resumed, straight = (run.record["done"][step]["facts"] for run in (runs, whole))
        assert {name: value for name, value in resumed.items() if name not in differs} == {
            name: value for name, value in straight.items() if name not in differs
        }


def test_what_the_data_or_the_cohort_says_no_to_is_not_trained_on(runs: Runs, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('schema = 1\n[data.columns.region]\nallowed = ["south"]\n', encoding="utf-8")

    status, said = runs.finish("--study", str(study))

    assert status == 1, said
    assert "FAILED: 'region' has values that are not allowed" in said
    assert "STEP 3" not in said
    assert runs.record["verdict"] == "fail"

    study.write_text(
        'schema = 1\n[[cohort]]\ncolumn = "hcp_visits"\nat_least = 9\n[scope]\nminimum_rows = 100\n',
        encoding="utf-8",
    )
    status, said = runs.finish("--study", str(study), "--step", "1-4")

    assert status == 1, said
    assert "left after: hcp_visits at least 9.0" in said
    assert "minimum_rows = 100" in said
    assert "STEP 4" not in said


@pytest.mark.slow
def test_a_model_that_is_not_good_enough_is_not_served(runs: Runs) -> None:
    status, said = runs.finish(*FAST, "--include-bentoml", "--metric", "auc_roc", "--success", "0.99")

    assert status == 1, said
    manifest = json.loads((runs.folder / "manifest.json").read_text(encoding="utf-8"))
    assert not manifest["may_go"]
    assert manifest["served"] == {"status": "not served", "why": "rejected: success criterion not met"}
    assert not (runs.folder / "bentoml" / "models").exists()
    assert runs.left() == []


@pytest.mark.slow
def test_where_it_cannot_be_registered_the_manifest_still_stands(runs: Runs, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "models").write_text("in the way")

    status, said = runs.finish(*FAST, "--include-bentoml", "--store", str(store))

    assert status == 2, said
    manifest = json.loads((runs.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["may_go"]
    assert manifest["served"]["status"] == "not served"
    assert manifest["served"]["why"] in said
    assert runs.left() == []


@pytest.mark.slow
def test_a_model_that_is_not_itself_any_more_is_not_served(runs: Runs, tmp_path: Path) -> None:
    """It loses what it learned when it is saved: the manifest stands, and nothing is in the store."""
    (tmp_path / "forgets.py").write_text(
        "import numpy as np\nfrom sklearn.linear_model import LogisticRegression\n"
        "class Forgets(LogisticRegression):\n"
        "    def __getstate__(self):\n        return {**super().__getstate__(), 'coef_': -self.coef_}\n"
        "def train():\n    rows = np.random.default_rng(0).normal(size=(200, 2))\n"
        "    return Forgets().fit(rows, rows[:, 0] > 0), rows, rows[:, 0] > 0\n"
    )
    runs.environment["PYTHONPATH"] += f":{tmp_path}"
    store = tmp_path / "store"

    status, said = runs.finish(
        *("--step", "5,7", "--pipeline", "forgets:train"),
        *("--include-bentoml", "--store", str(store), "--keep-serving"),
    )

    assert status == 1, said
    assert "FAILED: not served: " in said
    assert "differs from the model in memory" in said
    manifest = json.loads((runs.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["may_go"]
    assert manifest["served"]["status"] == "not served"
    assert not list(store.rglob("model.yaml"))
    assert runs.left() == []


@pytest.mark.slow
def test_what_is_kept_is_stopped_by_kill_too(runs: Runs) -> None:
    process, _ = serving(runs, "--step", "4,5,7")
    process.terminate()
    process.communicate(timeout=20)

    deadline = time.monotonic() + 5
    while runs.left():
        assert time.monotonic() < deadline, runs.left()
        time.sleep(0.01)
    assert runs.record["verdict"] == "pass"


@pytest.mark.slow
def test_what_is_kept_and_ends_by_itself_is_told(runs: Runs) -> None:
    process, _ = serving(runs, "--step", "4,5,7")
    for server in psutil.Process(process.pid).children(recursive=True):
        if "bentoml" in " ".join(server.cmdline()) and "guard.py" not in " ".join(server.cmdline()):
            server.kill()
    said, _ = process.communicate(timeout=20)

    assert process.returncode == 2, said
    assert "the server ended by itself" in said
    assert runs.record["verdict"] == "inconclusive"
    assert runs.left() == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["STEP 4", "STEP 5", "STEP 7"])
def test_ctrl_c_ends_it_cleanly_and_says_how_to_go_on(runs: Runs, moment: str) -> None:
    process = runs.start(*FAST, "--include-bentoml")
    said = ""
    while moment not in said:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)

    assert process.returncode == 130, said + rest
    assert f"resume with: tier0 run --resume {runs.folder.name}" in rest
    assert runs.left() == []
    assert runs.finish("--resume", runs.folder.name)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--step", "5"],
            "step 5 (training) needs step 4 (selection), which was not requested: add it (--step 4,5)",
        ),
        (["--step", "6,7"], "step 6 (features) needs step 5 (training)"),
        (["--step", "9"], "unknown step '9' in --step '9'. The steps are 1 scope, 2 data"),
        (["--step", "7-4"], "must begin with the smaller number"),
        (["--step", ","], "expected numbers or names"),
        (["--dataset", "nowhere.csv"], "invalid value 'nowhere.csv' for --dataset: file not found"),
        (["--success", "0.5"], "success = 0.5 needs a metric"),
        (["--imbalanced", "0.7"], "imbalanced must be greater than 0 and less than 0.5, got 0.7"),
        (["--step", "1-5", "--include-bentoml"], "--include-bentoml requires step 7"),
        (["--keep-serving"], "add --include-bentoml"),
        (["--resume", "nowhere"], "cannot read the run 'nowhere'"),
        (["--resume", "nowhere", "--seed", "8"], "--seed cannot be changed with --resume"),
        (
            ["--dataset", "diabetes", "--metric", "auc_roc", "--step", "1,2"],
            "scope.metric = 'auc_roc' measures a classification",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_status_2(runs: Runs, arguments: list[str], says: str) -> None:
    status, said = runs.finish(*arguments)

    assert status == 2, said
    assert says in " ".join(said.split())


def test_a_port_that_is_taken_and_a_step_that_breaks_are_no_pass(runs: Runs, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, said = runs.finish(*FAST, "--include-bentoml", "--port", str(taken.getsockname()[1]))
    assert status == 2, said
    assert runs.record["verdict"] == "inconclusive"
    assert runs.left() == []

    pandas = tmp_path / "broken"
    pandas.mkdir()
    (pandas / "pandas.py").write_text("raise RuntimeError('this pandas is broken')\n")
    runs.environment["PYTHONPATH"] += f":{pandas}"
    runs.output = tmp_path / "more"
    status, said = runs.finish("--step", "1,2")
    assert status == 2, said
    assert "this pandas is broken" in (runs.folder / "traceback.txt").read_text(encoding="utf-8")
    assert runs.record["verdict"] == "inconclusive"


def test_a_run_that_others_could_have_changed_is_not_loaded(runs: Runs) -> None:
    assert runs.finish("--step", "1")[0] == 0
    runs.folder.chmod(0o777)

    status, said = runs.finish("--resume", runs.folder.name, "--step", "2")

    assert status == 2
    assert "mode 0777, so that other users can write it" in said


def test_a_dry_run_does_nothing_also_by_the_script(runs: Runs) -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "run_tier0_test.py"),
        "--dry-run",
        "--step",
        "4,5,7",
        "--include-bentoml",
        "--seed",
        "3",
    ]

    done = subprocess.run(
        command, cwd=runs.tmp, env=runs.environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "settings: seed=3" in done.stdout
    assert "would run step 7: deployment, and serve the model" in done.stdout
    assert list(runs.tmp.iterdir()) == []
