"""The model and the metrics logged to MLflow are those of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow
import mlflow.sklearn
import pytest

if TYPE_CHECKING:
    from tier0 import RegisteredModel
    from tier0.runs.session import Trained

# MLflow's own code uses deprecated functions of SQLAlchemy.
pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore"),
]


def test_logged_model_predicts_the_golden_rows(
    tier0_trained: Trained, tier0_model: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature, golden = tier0_model.signature, tier0_model.golden.examples
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tier0_trained.tracking_uri)
    logged = mlflow.sklearn.load_model(tier0_trained.model_uri)

    container = signature.to_container([list(row) for row in golden.rows])
    expected = golden.probabilities if signature.has_probabilities else golden.predictions
    got = (logged.predict_proba if signature.has_probabilities else logged.predict)(container).tolist()
    assert got == expected


def test_run_has_parameters_and_metrics(tier0_trained: Trained) -> None:
    run = mlflow.MlflowClient(tier0_trained.tracking_uri).get_run(tier0_trained.run_id)

    assert run.data.params["algorithm"] == tier0_trained.training.algorithm
    assert run.data.params["threshold"] == str(tier0_trained.training.threshold)
    assert {
        name: run.data.metrics[name] for name in tier0_trained.training.metrics
    } == tier0_trained.training.metrics
    assert tier0_trained.model_uri == f"runs:/{tier0_trained.run_id}/model"
