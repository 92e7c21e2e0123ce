"""MLflow's own process (see `tier0.pipeline.tracking`): it imports, migrates the store, and waits for something to log."""

from __future__ import annotations

import logging
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from tier0.core.worker_process import Handler

EXPERIMENT = "tier0"
ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own seven take minutes to say that a server is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
LOWER_PRIORITY = 10
"""Added to the process' nice value: nobody waits for it, and the training beside it is waited for."""


def prepare() -> Handler:
    """Import MLflow, bring the store that the environment names up to date, and return what logs one training to it."""
    os.nice(LOWER_PRIORITY)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import mlflow  # noqa: PLC0415 - after its environment is set
    import mlflow.sklearn  # noqa: PLC0415

    if artifacts := os.environ[
        "TIER0_ARTIFACTS"
    ]:  # as a URI: MLflow puts the root into an SQL statement as it is, quotes and all
        os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = artifacts
    mlflow.set_tracking_uri(os.environ["TIER0_TRACKING_URI"])
    found = mlflow.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else mlflow.create_experiment(EXPERIMENT, artifacts or None)
    return partial(log, experiment)


def log(experiment: str, order: dict[str, Any]) -> dict[str, str]:
    """Log what the order names: params, metrics, requirements, and the model in a file of ours; or add to a run that there is."""
    import mlflow  # noqa: PLC0415
    import mlflow.sklearn  # noqa: PLC0415

    if "run_id" in order:
        with mlflow.start_run(run_id=order["run_id"]) as run:
            mlflow.set_tags(order["tags"])
            mlflow.log_metrics(order["metrics"])
            for path in order["artifacts"]:
                mlflow.log_artifact(path)
        return {"run_id": run.info.run_id}
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_params(order["params"])
        mlflow.log_metrics(order["metrics"])
        mlflow.sklearn.log_model(
            cloudpickle.loads(Path(order["model"]).read_bytes()),
            name="model",
            pip_requirements=order["requirements"],
            serialization_format="cloudpickle",
        )
    return {"run_id": run.info.run_id}
