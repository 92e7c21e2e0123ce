"""MLflow's own process (see `tier0.pipeline.tracking`): it imports, migrates the store, and waits for something to log."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import cloudpickle

from tier0.core.helper import carry_out

EXPERIMENT = "tier0"
ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own seven take minutes to say that a server is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
LOWER_PRIORITY = 10
"""Added to the process' nice value: nobody waits for it, and the training beside it is waited for."""


def main() -> None:
    """Prepare the store that the environment names, and log one training to it."""
    os.nice(LOWER_PRIORITY)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    problem: Exception | None = None
    try:
        experiment = prepare(os.environ["TIER0_TRACKING_URI"], os.environ["TIER0_ARTIFACTS"] or None)
    except Exception as caught:  # noqa: BLE001 - told to whoever gives the order
        problem = caught

    def handle(order: dict[str, Any]) -> dict[str, str]:
        if problem is not None:
            raise problem
        return log(order, experiment)

    carry_out(handle)


def prepare(uri: str, artifacts: str | None) -> str:
    """Bring the store at *uri* up to date, and return the id of our experiment in it."""
    import mlflow  # noqa: PLC0415 - whatever fails in here is told, and not printed
    import mlflow.sklearn  # noqa: PLC0415

    mlflow.set_tracking_uri(uri)
    found = mlflow.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id if found else mlflow.create_experiment(EXPERIMENT, artifacts))


def log(order: dict[str, Any], experiment: str) -> dict[str, str]:
    """Log what the order names: params, metrics, requirements, and the model in a file of ours."""
    import mlflow  # noqa: PLC0415
    import mlflow.sklearn  # noqa: PLC0415

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


if __name__ == "__main__":
    main()
