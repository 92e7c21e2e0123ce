"""Worker process for MLflow (see `tier0.pipeline.tracking`): it migrates the store, and logs trainings."""

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
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # with MLflow's default of 7, an unreachable server takes minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
LOWER_PRIORITY = 10
"""Added to the process' nice value: the concurrent training has priority."""


def prepare() -> Handler:
    """Import MLflow, migrate the store that the environment names, and return the handler of orders."""
    os.nice(LOWER_PRIORITY)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import mlflow  # noqa: PLC0415 - after its environment is set
    import mlflow.sklearn  # noqa: PLC0415

    if artifacts := os.environ["TIER0_ARTIFACTS"]:
        # A URI, in which quotes are escaped: MLflow inserts this text into an SQL statement unchanged.
        os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = artifacts
    mlflow.set_tracking_uri(os.environ["TIER0_TRACKING_URI"])
    found = mlflow.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else mlflow.create_experiment(EXPERIMENT, artifacts or None)
    return partial(log, experiment)


def log(experiment: str, order: dict[str, Any]) -> dict[str, str]:
    """Log a training as a new MLflow run, or add to an existing one.

    Args:
        experiment: id of the experiment.
        order: ``params``, ``metrics``, ``requirements`` and ``model`` (path of a pickle) for a new run; for
            an existing one its ``run_id``, with ``tags``, ``metrics`` and ``artifacts`` (paths) to add.

    Returns:
        The ``run_id``.
    """
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
