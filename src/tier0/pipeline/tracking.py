"""Logging of a training to MLflow, in a worker process that runs concurrently with the training.

Importing MLflow and migrating a new SQLite store takes longer than the training. In its own process, MLflow
also leaves this process's settings (tracking URI, loggers, telemetry) unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tier0.core.errors import Tier0Error
from tier0.core.tracking_store import TrackingStore, ineffective_variables
from tier0.core.trusted_file import write_private
from tier0.core.worker_process import WorkerProcess
from tier0.golden.prediction import package_of

if TYPE_CHECKING:
    from pathlib import Path

    from tier0.pipeline.training import Training


MODEL = "model.pkl"
END_TIMEOUT = 2.0
"""Seconds in which the worker ends an unfinished MLflow run."""
LOG_WITHIN = 300.0
"""Seconds for logging: a new database is migrated first, which takes minutes on a busy machine."""


class Tracking:
    """An MLflow tracking store, prepared in the background by a worker process that handles a single `log`.

    Args:
        folder: folder for temporary files, and for the SQLite file of the default store.
        user_folder: folder to which a relative MLFLOW_TRACKING_URI is relative.
        uri: address of the store that an earlier `Tracking` used (see `uri`), for `complete`; by default,
            MLFLOW_TRACKING_URI names the store.

    Raises:
        Tier0Error: MLFLOW_TRACKING_URI names a database in memory.
    """

    def __init__(self, folder: Path, user_folder: Path, uri: str | None = None) -> None:
        self._store = _store_at(uri, folder, user_folder)
        self.folder = folder
        self._worker = WorkerProcess(
            "tier0.pipeline.log_to_mlflow",
            folder,
            TIER0_TRACKING_URI=self._store.uri if self._store.is_named else "",
            TIER0_USER_FOLDER=str(user_folder if self._store.is_named else folder),
            TIER0_ADDS="" if uri is None else "true",
            **({} if self._store.is_named else {"MLFLOW_EXPERIMENT_ID": ""}),
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tier0-mlflow")

    @property
    def uri(self) -> str:
        """The tracking URI of the store: absolute, and without credentials."""
        return self._store.shown

    @property
    def is_named(self) -> bool:
        """Whether the user named the store; otherwise it is in the folder for temporary files."""
        return self._store.is_named

    @property
    def notes(self) -> list[str]:
        """A sentence about each environment variable that does not affect the logging of this run."""
        return ineffective_variables(os.environ, is_named=self.is_named)

    def require_usable(self) -> None:
        """Wait until the worker has opened a store that the user named.

        The default store, in a new folder, fails only on a full disk; waiting for it would delay every run.

        Raises:
            Tier0Error: the store cannot be used.
        """
        if self.is_named:
            self._execute({}, close_after=False)

    def log(
        self, training: Training, model: bytes, suspicions: Sequence[str] = ()
    ) -> Future[tuple[str, str]]:
        """Log parameters, metrics and the model in the background.

        Args:
            training: the training to log.
            model: its model, pickled so that another process can load it.
            suspicions: why the model may be worthless, which becomes a tag.

        Returns:
            A future of the MLflow run's id and the model's URI, ``runs:/<id>/model``. It raises `Tier0Error`
            if the store cannot be used.
        """
        write_private(self.folder / MODEL, model)
        score = {} if training.score is None else {"validation_score": training.score}
        order = {
            "model": str(self.folder / MODEL),
            "params": _parameters(training),
            "metrics": {**training.metrics, **score},
            "evaluation": {
                **training.evaluation.details(),
                "peers": [asdict(peer) for peer in training.peers],
            },
            "requirements": _requirements(training),
            "tags": {"tier0.suspicions": "; ".join(suspicions)} if suspicions else {},
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
        self._execute({"run_id": run_id, "tags": dict(tags), "metrics": dict(metrics), "artifacts": paths})

    def _log(self, order: dict[str, Any]) -> tuple[str, str]:
        run_id = self._execute(order)["run_id"]
        (self.folder / MODEL).unlink()
        return run_id, f"runs:/{run_id}/model"

    def _execute(self, order: dict[str, Any], *, close_after: bool = True) -> dict[str, Any]:
        try:
            return self._worker.execute(order, close_after=close_after, timeout=LOG_WITHIN)
        except Tier0Error as problem:
            reason = self._store.without_secrets(str(problem)).rstrip(".")
            raise Tier0Error(
                f"MLflow's tracking store {self.uri} cannot be used: {reason}. {self._remedy}."
            ) from None

    @property
    def _remedy(self) -> str:
        if not self.is_named:
            return "Check its free space and the load of this machine, or set TMPDIR or MLFLOW_TRACKING_URI"
        if self._store.path is None:
            return (
                "Check MLFLOW_TRACKING_URI, and the credentials in MLFLOW_TRACKING_TOKEN, or "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; or unset it"
            )
        return "Check MLFLOW_TRACKING_URI, or unset it"

    def stop(self) -> None:
        """Begin to end the worker process, without waiting."""
        self._worker.terminate()

    def close(self) -> None:
        """End the worker process; a training that it logs becomes a run with the status KILLED."""
        self._worker.close(END_TIMEOUT)
        self._thread.shutdown()


def _store_at(uri: str | None, folder: Path, user_folder: Path) -> TrackingStore:
    """Return the store at *uri*, with the credentials of MLFLOW_TRACKING_URI if that is its address."""
    variable = os.environ.get("MLFLOW_TRACKING_URI")
    named = TrackingStore.named(variable, user_folder) if variable else None
    if uri is None:
        return named or TrackingStore.in_folder(folder)
    return named if named is not None and named.shown == uri else TrackingStore.named(uri, user_folder)


def _parameters(training: Training) -> dict[str, Any]:
    return {
        "algorithm": training.algorithm,
        "dataset": training.dataset,
        **({"data_sha256": training.digest} if training.digest else {}),
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
