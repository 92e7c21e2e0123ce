"""A comparison of services that it starts itself, with `bentoml serve`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

import tier0
from tests.support.command_line import run_cli
from tests.support.compared_services import COLUMNS, customers
from tier0.serving.entry import Entry, find_entry

SOURCE = """
import bentoml


@bentoml.service
class Churn:
    @bentoml.api
    def predict(self, rows: list[dict]) -> dict:
        scores = [1 / (1 + 2.718281828 ** -(row["age"] / 40 - row["tenure"] / 60 - 0.2)) for row in rows]
        return {{
            "predictions": ["yes" if score >= {threshold} else "no" for score in scores],
            "probabilities": [[1 - score, score] for score in scores],
        }}
"""
LOG = """
import joblib, mlflow
from mlflow.models import infer_signature

model, frame = joblib.load("model.joblib")
mlflow.set_experiment("flags")
with mlflow.start_run():
    signature = infer_signature(frame, model.predict(frame))
    mlflow.sklearn.log_model(model, name="model", registered_model_name="flags", signature=signature)
"""
CONTRACT = (
    'schema = 1\nroute = "/predict"\nfeatures = "rows"\nstyle = "records"\npredictions = "predictions"\n'
)


@pytest.mark.slow
@pytest.mark.server
def test_two_services_are_started_and_compared(tmp_path: Path) -> None:
    for name, threshold in (("old", 0.5), ("new", 0.56)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "churn.py").write_text(SOURCE.format(threshold=threshold), encoding="utf-8")
    lines = [",".join(COLUMNS)]
    lines += [
        ",".join("" if row[name] is None else str(row[name]) for name in COLUMNS) for row in customers(1000)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "contract.toml").write_text(CONTRACT, encoding="utf-8")
    common = ("--rows", "rows.csv", "--contract", "contract.toml", "--store", str(tmp_path / "store"))
    done = run_cli("compare", "old/churn.py:Churn", "new/churn.py:Churn", *common, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the threshold of 'yes' moved" in done.stdout
    assert "compare.latency" not in done.stdout
    done = run_cli("compare", "old/churn.py:Churn", "old/churn.py:Churn", *common, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def models_of(seed: int) -> tuple[Any, Any]:
    """Return a model and its rows."""
    rows, labels = make_classification(300, 6, random_state=seed)
    frame = pd.DataFrame(rows, columns=[f"c{place}" for place in range(6)])
    return LogisticRegression().fit(frame, labels), frame


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(900)
def test_registered_models_bentos_and_models_of_mlflow_are_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    tags = []
    for seed in (1, 2):
        model, frame = models_of(seed)
        registered = asyncio.run(
            tier0.register_model_for_serving(model, "flags", examples=frame[:30], store=store)
        )
        tags.append(registered.tag)
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    script = tmp_path / "log.py"
    script.write_text(LOG, encoding="utf-8")
    joblib.dump(models_of(1), tmp_path / "model.joblib")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    monkeypatch.setenv("TIER0_STARTUP_TIMEOUT", "120")
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=120)
    built = run_cli("build", tags[0], "--store", str(store), "--output-dir", "built", cwd=tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    golden = Entry.read(find_entry(tags[0], store)[1]).golden_rows()
    golden.write(tmp_path / "golden.json")

    def status(old: str, new: str) -> int:
        done = run_cli("compare", old, new, "--store", str(store), cwd=tmp_path)
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        return done.returncode

    assert status(tags[0], tags[0]) == 0
    assert status(tags[0], tags[1]) == 1
    assert status("golden.json", tags[0]) == 0
    assert status("golden.json", tags[1]) == 1
    (bento,) = (path.parent.name for path in (tmp_path / "built").glob("*/bento.yaml"))
    assert status(tags[0], f"built/{bento}") == 0
    assert status("golden.json", "models:/flags/1") == 0
