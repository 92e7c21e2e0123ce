"""Logging of a training to MLflow, in a worker process that runs concurrently with the training.

Importing MLflow and migrating a new SQLite store takes longer than the training. In its own process, MLflow
also leaves this process's settings (tracking URI, loggers, telemetry) unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tier0.core.errors import Tier0Error
from tier0.core.worker_process import WorkerProcess
from tier0.golden.prediction import package_of

if TYPE_CHECKING:
    from pathlib import Path

    from tier0.pipeline.training import Training


class Tracking:
    """An MLflow tracking store, prepared in the background by a worker process that handles a single `log`.

    Args:
        folder: folder for temporary files, and for the SQLite file of the default store.
        uri: tracking URI of the store; MLFLOW_TRACKING_URI by default, and then an SQLite file in *folder*.
    """

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        named = uri or os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = named or f"sqlite:///{folder / 'mlflow.db'}"
        self._is_named = bool(named)
        self._folder = folder
        artifacts = "" if named else (folder / "mlflow-artifacts").as_uri()
        self._worker = WorkerProcess(
            "tier0.pipeline.log_to_mlflow", folder, TIER0_TRACKING_URI=self.uri, TIER0_ARTIFACTS=artifacts
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tier0-mlflow")

    def log(self, training: Training, model: bytes) -> Future[tuple[str, str]]:
        """Log parameters, metrics and the model in the background.

        Args:
            training: the training to log.
            model: its model, pickled so that another process can load it.

        Returns:
            A future of the MLflow run's id and the model's URI, ``runs:/<id>/model``. It raises `Tier0Error`
            if the store cannot be used.
        """
        (self._folder / "model.pkl").write_bytes(model)
        score = {} if training.score is None else {"validation_score": training.score}
        order = {
            "model": str(self._folder / "model.pkl"),
            "params": _parameters(training),
            "metrics": {**training.metrics, **score},
            "requirements": _requirements(training),
        }
        return self._thread.submit(self._log, order)

    def complete(
        self, run_id: str, tags: Mapping[str, str], metrics: Mapping[str, float], artifacts: Sequence[Path]
    ) -> None:
        """Add tags, metrics and artifacts to the MLflow run of an earlier `log`; called instead of `log`.

        Raises:
            Tier0Error: the store cannot be used.
        """
        paths = [str(path) for path in artifacts]
        self._log({"run_id": run_id, "tags": dict(tags), "metrics": dict(metrics), "artifacts": paths})

    def _log(self, order: dict[str, Any]) -> tuple[str, str]:
        try:
            run_id = self._worker.execute(order)["run_id"]
        except Tier0Error as problem:
            remedy = "Free space there, or set TMPDIR or MLFLOW_TRACKING_URI"
            if self._is_named:
                remedy = "Check MLFLOW_TRACKING_URI, or unset it"
            raise Tier0Error(
                f"MLflow's tracking store {self.uri} cannot be used: {problem}. {remedy}."
            ) from problem
        return run_id, f"runs:/{run_id}/model"

    def close(self) -> None:
        """End the worker process, even while it logs."""
        self._worker.close()
        self._thread.shutdown()


def _parameters(training: Training) -> dict[str, Any]:
    return {
        "algorithm": training.algorithm,
        "dataset": training.dataset,
        "target": training.target,
        "seed": training.seed,
        "hpo_trials": training.trials,
        "task": training.task,
        "threshold": training.threshold,
        "minority_class": training.minority,
        "validation_metric": training.metric,
        **{f"rows_{name}": count for name, count in training.rows.items()},
        **training.parameters,
    }


def _requirements(training: Training) -> list[str]:
    """Return the model's requirements.

    Without them MLflow would load the model in another process to find them, which takes seconds.
    """
    distributions = {"sklearn": "scikit-learn"}
    requirements = []
    for name in sorted({"sklearn", "numpy", "cloudpickle", package_of(training.model)}):
        version = getattr(import_module(name), "__version__", None)
        if version is not None:  # a user's own module may have no version
            requirements.append(f"{distributions.get(name, name)}=={version}")
    return requirements
