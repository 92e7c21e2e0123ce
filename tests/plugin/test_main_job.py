"""The main job as users run it: with their data, their model, in parallel, installed in every way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.pytest_run import FAST, Run
from tier0.core.catalogue import CATALOGUE
from tier0.core.verdict import EXIT_STATUS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(240)
JOB = """
import json, os, pathlib
import pytest

@pytest.mark.tier0_bentoml
@pytest.mark.parametrize("number", range(4))
def test_it(tier0_deployment, tier0_trained, number):
    import httpx, tier0
    golden = tier0_deployment.model.golden.examples
    answer = httpx.post(f"{tier0_deployment.url}/predict", json=golden.body()).json()
    assert golden.compare(answer) is None
    training = tier0_trained.training
    facts = {"tag": tier0_deployment.model.tag, "url": tier0_deployment.url, "run_id": tier0_trained.run_id,
             "pid": os.getpid(), "plugin": tier0.__file__, "algorithm": training.algorithm,
             "metrics": training.metrics, "threshold": training.threshold,
             "golden": golden.probabilities or golden.predictions, "classes": golden.classes}
    pathlib.Path(f"facts-{number}.json").write_text(json.dumps(facts))
"""


def facts(run: Run) -> list[dict[str, object]]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run.folder.glob("facts-*.json"))]
    assert found, run.output
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built and installed into a folder."""
    site = tmp_path_factory.mktemp("site")
    how = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *how, str(ROOT)], check=True, capture_output=True)
    return site


@pytest.fixture
def job(run: Run) -> Run:
    (run.folder / "test_job.py").write_text(JOB, encoding="utf-8")
    return run


@pytest.mark.slow
def test_same_seed_same_model_and_another_seed_another(job: Run) -> None:
    results = []
    for seed in ("3", "3", "4"):
        assert job.finish(*FAST, "--tier0-seed", seed) == 0, job.output
        results.append(
            {
                name: value
                for name, value in facts(job)[0].items()
                if name in {"metrics", "threshold", "golden"}
            }
        )

    assert results[0] == results[1]
    assert results[0] != results[2]


@pytest.mark.slow
def test_two_workers_train_once_and_serve_each_their_own(job: Run) -> None:
    assert job.finish(*FAST, "-n", "2") == 0, job.output

    found = facts(job)
    assert len({fact["pid"] for fact in found}) == 2
    assert len({fact["tag"] for fact in found}) == 1, "trained and registered once"
    assert len({fact["run_id"] for fact in found}) == 1
    assert len({fact["url"] for fact in found}) == 2
    assert "model tag" in job.output, "the controller shows the summary"
    job.assert_gone_within(1.0)


@pytest.mark.slow
def test_two_workers_are_told_of_one_failure(job: Run) -> None:
    file = job.folder / "rows.csv"
    pd.DataFrame({"x": range(100), "y": ["same"] * 100}).to_csv(file, index=False)

    assert (
        job.finish(*FAST, "-n", "2", "--tier0-dataset", str(file), "--tier0-target", "y")
        == pytest.ExitCode.TESTS_FAILED
    )

    assert "in all " in job.output
    job.assert_gone_within(1.0)


@pytest.mark.slow
def test_two_runs_at_once_do_not_meet(job: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "other", tmp_path / "u")
    other.folder.mkdir()
    other.tmp.mkdir()
    (other.folder / "test_job.py").write_text(JOB, encoding="utf-8")
    job.start(*FAST)
    assert other.finish(*FAST, "--tier0-seed", "9") == 0, other.output
    assert job.process is not None
    assert job.process.wait(120) == 0, job.output

    assert facts(job)[0]["tag"] != facts(other)[0]["tag"]
    assert job.left() == other.left() == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_data_of_ones_own_with_text_labels_and_groups(job: Run, suffix: str) -> None:
    rng = np.random.default_rng(0)
    age = rng.normal(50, 10, 400)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(400) < 0.1, np.nan, age),
            "id": np.arange(400) // 4,
            "site": rng.choice(["north", "south"], 400),
            "outcome": np.where(age + rng.normal(0, 3, 400) > 55, "yes", "no"),
        }
    )
    file = job.folder / f"rows.{suffix}"
    frame.to_csv(file, index=False) if suffix == "csv" else frame.to_parquet(file)

    arguments = [
        "--tier0-dataset",
        str(file),
        "--tier0-target",
        "outcome",
        "--tier0-group",
        "id",
        "--tier0-algorithms",
        "xgboost",
    ]
    assert job.finish(*FAST, *arguments) == 0, job.output

    assert facts(job)[0]["algorithm"] == "XGBClassifier"
    assert facts(job)[0]["classes"] == ["no", "yes"]


@pytest.mark.slow
def test_a_useless_model_fails_with_the_numbers(job: Run) -> None:
    file = job.folder / "nothing_to_learn.csv"
    pd.DataFrame({"x": [1.0, 1.0, 2.0, 2.0] * 100, "y": [0, 1] * 200}).to_csv(file, index=False)

    assert (
        job.finish(*FAST, "--tier0-dataset", str(file), "--tier0-target", "y") == pytest.ExitCode.TESTS_FAILED
    )

    assert re.search(r"auc_roc is 0\.\d+, but 0\.500 ± 0\.\d+ by chance on 60 test rows", job.output)


@pytest.mark.slow
def test_reports_hold_the_summary(job: Run) -> None:
    assert job.finish(*FAST, "--html=report.html", "--self-contained-html", "--junitxml=junit.xml") == 0, (
        job.output
    )

    report = (job.folder / "report.html").read_text(encoding="utf-8")
    assert "Tier0: passed" in report
    assert str(facts(job)[0]["tag"]) in report
    assert ET.parse(job.folder / "junit.xml").getroot()[0].get("failures") == "0"
    assert "tier0: step 5 training LogisticRegression, trial 1/1" in job.output
    assert "tier0: ready at http://127.0.0.1:" in job.output


def test_a_users_own_model_takes_the_place_of_ours(run: Run) -> None:
    code = """
import asyncio, numpy as np, pytest, tier0
from sklearn.ensemble import RandomForestClassifier

@pytest.fixture(scope="session")
def tier0_model(tier0_store):
    X = np.random.default_rng(0).normal(size=(200, 3))
    labels = np.where(X[:, 0] > 0, "high", "low")
    model = RandomForestClassifier(n_estimators=10, n_jobs=2, random_state=0).fit(X, labels)
    saving = tier0.register_model_for_serving(
        model, "mine", {"owner": "me"}, examples=X[:9], store=tier0_store
    )
    return asyncio.run(saving)

@pytest.mark.tier0_bentoml
@pytest.mark.asyncio
async def test_it(tier0_client, tier0_deployment):
    answer = await tier0.verify_bentoml_predictions(tier0_client, tier0_deployment)
    assert answer["classes"] == ["high", "low"]
    assert (await tier0_client.model_info())["metadata"]["owner"] == "me"
"""
    (run.folder / "test_own.py").write_text(code, encoding="utf-8")

    assert run.finish(*FAST) == 0, run.output
    assert "step 5" not in run.output, "nothing is trained that nobody asked for"
    assert run.left() == []


@pytest.mark.slow
def test_stores_of_ones_own_keep_the_model_and_the_default_one_is_not_touched(job: Run) -> None:
    home = job.folder / "home"
    home.mkdir()
    store = job.folder / "store"
    env = {"HOME": str(home), "MLFLOW_TRACKING_URI": "sqlite:///own.db", "MLFLOW_RUN_ID": "0" * 32}

    assert job.finish(*FAST, "--tier0-store", str(store), env=env) == 0, job.output

    name, _, version = str(facts(job)[0]["tag"]).partition(":")
    assert (store / "models" / name / version / "saved_model.pkl").exists()
    assert list(home.iterdir()) == []
    assert f"{facts(job)[0]['run_id']}/model in sqlite:///{job.folder / 'own.db'}" in job.output
    assert (job.folder / "own.db").exists()
    assert list((job.folder / "mlruns").rglob("MLmodel"))
    assert "MLFLOW_RUN_ID" in job.output


@pytest.mark.slow
def test_an_mlflow_store_that_cannot_be_used_is_reported_before_the_training(job: Run) -> None:
    assert job.finish(*FAST, env={"MLFLOW_TRACKING_URI": "sqlite:////dev/null/no.db"}) != 0

    assert "MLflow's tracking store sqlite:////dev/null/no.db cannot be used" in job.output
    assert "MLFLOW_TRACKING_URI" in job.output
    assert "step 4" not in job.output


def test_a_taken_port_is_told_before_the_training(job: Run) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert job.finish(*FAST, "--tier0-port", str(number)) == EXIT_STATUS["inconclusive"]

    assert f"port {number} is in use by pid {os.getpid()}" in job.output
    assert "step 5" not in job.output


ASKS_LITTLE = """
import pathlib, pytest, tier0

@pytest.mark.tier0_bentoml
def test_it(tier0_settings, tier0_events, tier0_faults, pytestconfig):
    assert tier0_settings.algorithms == ("linear",)
    assert pytestconfig.pluginmanager.hasplugin("tier0.pytest_plugin")
    pathlib.Path("plugin.txt").write_text(tier0.__file__)
"""


@pytest.mark.parametrize("ways", ["-p", "conftest", "all at once"])
def test_every_way_to_load_the_plugin(run: Run, wheel: Path, ways: str) -> None:
    arguments, env = list(FAST), {"PYTHONPATH": str(ROOT / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if ways == "all at once":
        env = {"PYTHONPATH": str(wheel)}
    if ways in {"-p", "all at once"}:
        arguments += ["-p", "tier0.pytest_plugin"]
    if ways in {"conftest", "all at once"}:
        (run.folder / "conftest.py").write_text(
            'pytest_plugins = ["tier0.pytest_plugin"]\n', encoding="utf-8"
        )
    (run.folder / "test_it.py").write_text(ASKS_LITTLE, encoding="utf-8")

    assert run.finish(*arguments, env=env) == 0, run.output

    assert (run.folder / "plugin.txt").read_text(encoding="utf-8").startswith(env["PYTHONPATH"])


@pytest.mark.slow
def test_the_main_job_runs_by_the_entry_point_of_a_wheel(job: Run, wheel: Path) -> None:
    assert job.finish(*FAST, env={"PYTHONPATH": str(wheel)}) == 0, job.output

    assert str(facts(job)[0]["plugin"]).startswith(str(wheel))


@pytest.mark.slow
def test_a_run_without_pytest_asyncio_works(job: Run) -> None:
    assert job.finish(*FAST, "-p", "no:asyncio") == 0, job.output


@pytest.mark.slow
def test_the_suite_runs_in_an_empty_project_on_any_data(run: Run) -> None:
    status = run.finish(
        "--pyargs", "tier0.suite", "-m", "tier0_bentoml", "-v", *FAST, "--tier0-dataset", "wine"
    )

    assert status == 0, run.output
    assert "test_serving[parity.golden_rows] PASSED" in run.output
    passed, skipped = map(int, re.search(r"(\d+) passed, (\d+) skipped", run.output).groups())  # type: ignore[union-attr]  # or it fails
    assert passed + skipped == len(CATALOGUE)
    assert skipped <= 11, run.output
    assert run.left() == []


LEAVES_THE_PROCESS_ALONE = """
import asyncio, atexit, gc, os, pathlib, pytest, tier0

LOOP = asyncio.new_event_loop()
if os.environ.get("SETS_A_LOOP"):
    asyncio.set_event_loop(LOOP)
CHANGED_BY_OTHERS = ("PYTEST_CURRENT_TEST", "KMP_")  # pytest; scikit-learn sets KMP_… when it is imported
def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(CHANGED_BY_OTHERS)}
ENVIRONMENT = environment()
atexit.register(lambda: pathlib.Path("frozen.txt").write_text(str(gc.get_freeze_count())))

@pytest.mark.tier0_bentoml
@tier0.parametrize_with_checks(["health", "identity", "parity"])
def test_serving(tier0_deployment, check):
    check(tier0_deployment)

@pytest.mark.tier0_bentoml
def test_from_python(tier0_deployment):
    from tier0.runs.deployment import with_client
    tier0.check_serving(tier0_deployment, groups=["parity"])
    with_client(tier0_deployment.url, lambda client: client.health_check())

def test_event_loop():
    loop = asyncio.get_event_loop()
    assert loop is LOOP or not os.environ.get("SETS_A_LOOP")
    assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"

def test_environment():
    assert environment() == ENVIRONMENT
"""


@pytest.mark.slow
@pytest.mark.parametrize("sets_a_loop", ["", "1"])
def test_the_users_event_loop_environment_and_garbage_collector_are_left_alone(
    run: Run, sets_a_loop: str
) -> None:
    (run.folder / "test_job.py").write_text(LEAVES_THE_PROCESS_ALONE, encoding="utf-8")

    status = run.finish(*FAST, "-p", "no:asyncio", env={"SETS_A_LOOP": sets_a_loop})

    assert status == pytest.ExitCode.OK, run.output
    assert (run.folder / "frozen.txt").read_text(encoding="utf-8") == "0"
