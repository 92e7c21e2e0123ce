"""Logging a training to MLflow.

MLflow works in a process of its own, beside the training: importing it, and bringing a new SQLite store through all of its
migrations, takes longer than to train; and what it sets for its process (tracking URI, loggers, telemetry) is not set in ours.
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
    """An MLflow tracking store: the one at *uri*, or that MLFLOW_TRACKING_URI names, or an SQLite file in *folder*.

    It is prepared from now on; `log` uses it once.
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
        """Log parameters, metrics and the model, without waiting for it.

        Args:
            training: what is logged.
            model: its model, pickled so that another process can read it.

        Returns:
            In the future, the run's id and the model's URI, ``runs:/<id>/model``; or `Tier0Error`: the store cannot be used.
        """
        (self._folder / "model.pkl").write_bytes(model)
        order = {
            "model": str(self._folder / "model.pkl"),
            "params": _parameters(training),
            "metrics": training.metrics
            if training.score is None
            else {**training.metrics, "validation_score": training.score},
            "requirements": _requirements(training),
        }
        return self._thread.submit(self._log, order)

    def complete(
        self, run_id: str, tags: Mapping[str, str], metrics: Mapping[str, float], artifacts: Sequence[Path]
    ) -> None:
        """Add to a run that was logged what came of its model; instead of `log`, and waits for it.

        Raises:
            Tier0Error: the store cannot be used.
        """
        self._log(
            {
                "run_id": run_id,
                "tags": dict(tags),
                "metrics": dict(metrics),
                "artifacts": [str(path) for path in artifacts],
            }
        )

    def _log(self, order: dict[str, Any]) -> tuple[str, str]:
        try:
            run_id = self._worker.execute(order)["run_id"]
        except Tier0Error as problem:
            remedy = (
                "Check MLFLOW_TRACKING_URI, or unset it"
                if self._is_named
                else "Make room there, or set TMPDIR or MLFLOW_TRACKING_URI"
            )
            raise Tier0Error(
                f"MLflow's tracking store {self.uri} cannot be used: {problem}. {remedy}."
            ) from problem
        return run_id, f"runs:/{run_id}/model"

    def close(self) -> None:
        """End MLflow's process, even while it logs."""
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
    """Name the model's requirements: left to itself, MLflow finds them by loading the model in another process, for seconds."""
    package = package_of(training.model)
    names = {"sklearn": "scikit-learn"}
    found = {
        name: getattr(import_module(name), "__version__", None)
        for name in sorted({"sklearn", "numpy", "cloudpickle", package})
    }
    return [
        f"{names.get(name, name)}=={version}" for name, version in found.items() if version is not None
    ]  # a user's own module has none
