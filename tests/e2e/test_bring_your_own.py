"""The how-to for a user's own training, followed with `tier0 run` and with pytest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r"^```python\n# my_training\.py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the file of the how-to, whose function records its calls."""
    page = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
    (snippet,) = SNIPPET.findall(page)
    counting = "    print('called', file=open('calls', 'a'))\n    return train()\n"
    counted = f"{snippet}\n\ntrain = train_churn\n\n\ndef train_churn():\n{counting}"
    (tmp_path / "my_training.py").write_text(counted, encoding="utf-8")
    return tmp_path


def finish(project: Path, *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_runner_serves_it(project: Path) -> None:
    status, output = finish(
        project,
        "tier0.cli",
        "run",
        "--pipeline",
        "my_training:train_churn",
        "--include-bentoml",
        "--json",
        "run.json",
    )

    assert status == 0, output
    done = json.loads((project / "run.json").read_text(encoding="utf-8"))["done"]
    assert done["selection"]["facts"]["selected_algorithm"] == "GradientBoostingClassifier"
    assert done["training"]["facts"]["metrics"]["auc_roc"] > 0.6
    assert done["features"]["facts"]["importances"][0]["feature"] in {"months", "calls"}
    served = done["deployment"]["facts"]["served"]
    assert served["model_tag"].startswith("tier0_train_churn:")
    assert served["prediction_test"] == "passed"
    assert set(served["predictions"]) <= {"left", "stayed"}
    assert (project / "calls").read_text(encoding="utf-8").splitlines() == ["called"]


@pytest.mark.slow
def test_pytest_serves_it(project: Path) -> None:
    options = [
        "-p",
        "tier0.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "--pyargs",
        "tier0.suite",
        "-m",
        "tier0_bentoml",
        "--tier0-groups",
        "identity,parity",
    ]
    status, output = finish(
        project, "pytest", *options, "--tier0-pipeline", "my_training:train_churn", "-q", "-k", "not slow"
    )

    assert status == 0, output
    assert "GradientBoostingClassifier, from your training function" in output
    assert (project / "calls").read_text(encoding="utf-8").splitlines() == ["called"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_training:np", "--pipeline 'my_training:np' is not callable"),
        pytest.param(
            "my_training:nothing",
            "pipeline = 'my_training:nothing' cannot be imported",
            marks=pytest.mark.slow,
        ),
        ("my_training", "invalid pipeline 'my_training': expected module:name"),
    ],
)
def test_an_uncallable_function_is_rejected_before_any_work(project: Path, name: str, message: str) -> None:
    status, output = finish(project, "tier0.cli", "run", "--pipeline", name, "--output-dir", "runs")

    assert status == 2, output
    assert message in output
    assert not (project / "runs").exists()
