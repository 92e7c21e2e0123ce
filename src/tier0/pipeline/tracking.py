"""Logging a training to MLflow."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tier0.core.errors import Tier0Error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tier0.pipeline.training import Training

EXPERIMENT = "tier0"
QUIET_LOGGERS = ("mlflow", "alembic", "mlflow.sklearn", "mlflow.store.db.utils")
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


class Tracking:
    """An MLflow tracking store: the one that MLFLOW_TRACKING_URI names, or an SQLite file in *folder*.

    A new SQLite store has to be migrated through all of MLflow's history, which takes longer than the training. So `prepare`
    starts that on a thread, as early as it is known to be needed; `log` waits for it.
    """

    def __init__(self, folder: Path) -> None:
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        self._artifacts = None if os.environ.get("MLFLOW_TRACKING_URI") else (folder / "mlflow-artifacts").as_uri()
        self._thread = threading.Thread(target=self._prepare, name="tier0-mlflow", daemon=True)
        self._problem: Exception | None = None
        self._experiment = ""

    def prepare(self) -> None:
        """Start to import MLflow and to bring its store up to date."""
        self._thread.start()

    def _prepare(self) -> None:
        try:
            with _quiet_loggers():
                from mlflow import MlflowClient  # noqa: PLC0415

                client = MlflowClient(self.uri)
                found = client.get_experiment_by_name(EXPERIMENT)
                self._experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, self._artifacts)
        except Exception as problem:  # noqa: BLE001 - raised by log, on the thread that waits for it
            self._problem = problem

    def log(self, training: Training) -> tuple[str, str]:
        """Log parameters, metrics and the model.

        Returns:
            The run's id, and the model's URI, ``runs:/<id>/model``.

        Raises:
            Tier0Error: the store cannot be used.
        """
        self._thread.join()
        if self._problem is not None:
            raise Tier0Error(
                f"MLflow's tracking store {self.uri} cannot be used: {self._problem}. Check MLFLOW_TRACKING_URI, or unset it."
            ) from self._problem
        import mlflow  # noqa: PLC0415
        import mlflow.sklearn  # noqa: PLC0415

        with _quiet_loggers(), warnings.catch_warnings(), self._as_current(mlflow), mlflow.start_run(experiment_id=self._experiment) as run:
            warnings.simplefilter("ignore")
            mlflow.log_params(_parameters(training))
            mlflow.log_metrics({**training.metrics, "validation_score": training.score})
            mlflow.sklearn.log_model(
                training.model,
                name="model",
                pip_requirements=_requirements(training),
                serialization_format="cloudpickle",
            )
        return run.info.run_id, f"runs:/{run.info.run_id}/model"

    @contextmanager
    def _as_current(self, mlflow: Any) -> Iterator[None]:
        """Use this store within, and the caller's own afterwards."""
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self.uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)


def _parameters(training: Training) -> dict[str, Any]:
    return {
        "algorithm": training.algorithm,
        "dataset": training.dataset,
        "target": training.target,
        "seed": training.seed,
        "hpo_trials": training.trials,
        "threshold": training.threshold,
        **{f"rows_{name}": count for name, count in training.rows.items()},
        **training.parameters,
    }


def _requirements(training: Training) -> list[str]:
    """Name the model's requirements: left to itself, MLflow finds them by loading the model in another process, for seconds."""
    package = type(training.model.steps[-1][1]).__module__.partition(".")[0]
    if package == "tier0":  # the wrapper in tier0.pipeline.labels
        package = "xgboost"
    names = {"sklearn": "scikit-learn"}
    return [f"{names.get(name, name)}=={import_module(name).__version__}" for name in sorted({"sklearn", "numpy", "cloudpickle", package})]


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Keep MLflow's telemetry off, and its notes on pickles and migrations out of the run's output."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    levels = {name: logging.getLogger(name).level for name in QUIET_LOGGERS}
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
