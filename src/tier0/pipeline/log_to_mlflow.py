"""Worker process for MLflow (see `tier0.pipeline.tracking`): it migrates the store, and logs trainings."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import cloudpickle

from tier0.core.errors import Tier0Error
from tier0.core.tracking_store import ARTIFACTS, TrackingStore
from tier0.core.trusted_file import read_trusted
from tier0.core.worker_process import Handler

if TYPE_CHECKING:
    from mlflow.entities import Experiment

EXPERIMENT = "tier0"
DEFAULTS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # with MLflow's default of 7, an unreachable server takes minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
OVERRIDES = {
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # the process ends when the last call returns
    "MLFLOW_ENABLE_SGC_RUN_RESUMPTION_FOR_DATABRICKS_JOBS": "false",  # it would continue another run
    "MLFLOW_UV_AUTO_DETECT": "false",  # the requirements are stated
}
OF_OTHER_RUNS = ("MLFLOW_RUN_ID", "MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")
"""Variables with which MLflow would write to a run or model that another process started."""
NO_SUCH_EXPERIMENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
LOWER_PRIORITY = 10
"""Added to the process' nice value: the concurrent training has priority."""
CONNECT_TIMEOUT = 5.0
RESPONSE_TIMEOUT = 20.0
"""Seconds for the first response of a tracking server, which may have to start first."""
LOCK_TIMEOUT = 60.0
"""Seconds to wait for another run, which migrates the same store."""
LOCK_POLL = 0.05
DATABASE_ATTEMPTS = 4
"""MLflow tries 10 times, in 100 s, to open a database; 4 times take a second."""


def prepare() -> Handler:
    """Import MLflow, migrate the store that the environment names, and return the handler of orders.

    Raises:
        Tier0Error: the store or the experiment cannot be used.
    """
    os.nice(LOWER_PRIORITY)
    folder = Path(os.environ["TIER0_USER_FOLDER"])
    if named := os.environ["TIER0_TRACKING_URI"]:
        store = TrackingStore.named(named, folder)
    else:
        store = TrackingStore.in_folder(folder)
    _require_server(store)
    for name in OF_OTHER_RUNS:
        os.environ.pop(name, None)
    os.environ.update({**DEFAULTS, **os.environ, **OVERRIDES})
    if store.base is not None:
        _place_artifacts(store.base)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import mlflow  # noqa: PLC0415 - after its environment is set
    import mlflow.sklearn  # noqa: PLC0415

    mlflow.set_tracking_uri(store.uri)
    if store.is_database:
        import mlflow.store.db.utils  # noqa: PLC0415

        mlflow.store.db.utils.MAX_RETRY_COUNT = DATABASE_ATTEMPTS
    if os.environ["TIER0_ADDS"]:
        return add
    with _locked(store):
        experiment = _experiment()
    _require_place(experiment, store)
    return partial(log, experiment.experiment_id)


def _require_server(store: TrackingStore) -> None:
    """Check that the store's server is up, before seconds of imports and a minute of retries.

    Raises:
        Tier0Error: it is not.
    """
    if store.server is None:
        return
    host, port = store.server
    try:
        with socket.create_connection(store.server, CONNECT_TIMEOUT) as connection:
            if urlsplit(store.uri).scheme.lower() == "http":
                connection.settimeout(RESPONSE_TIMEOUT)
                connection.sendall(f"GET /health HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                connection.recv(1)
    except TimeoutError as problem:
        raise Tier0Error(f"no response from {host}:{port} in time") from problem
    except OSError as problem:
        raise Tier0Error(f"no server accepts connections at {host}:{port}: {problem}") from problem


def _place_artifacts(base: Path) -> None:
    """Have MLflow place the artifacts of new experiments in *base*, which is created if it is missing.

    MLflow creates ``mlruns`` in the working directory. Newer versions also have a variable, whose text they
    insert into an SQL statement unchanged; a URI has no quotes.
    """
    base.mkdir(parents=True, exist_ok=True)
    os.chdir(base)
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = (base / ARTIFACTS).as_uri()


@contextlib.contextmanager
def _locked(store: TrackingStore) -> Iterator[None]:
    """Let one process at a time open the store: MLflow's migration of a new one fails if two do it at once.

    The lock is on a folder, so that no file is left: the one that contains the store, else that for temporary
    files.

    Raises:
        Tier0Error: another process held the lock for `LOCK_TIMEOUT`.
    """
    folder = tempfile.gettempdir() if store.path is None else store.path.parent
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise Tier0Error(f"another process has locked {folder} for {LOCK_TIMEOUT:g} s")
            time.sleep(LOCK_POLL)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Return True if this process has the lock now, or if the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return True
    return True


def _experiment() -> Experiment:
    """Return the experiment that the environment names; by default `EXPERIMENT`.

    Raises:
        Tier0Error: there is no such experiment, it is deleted, or the variables contradict each other.
    """
    from mlflow import MlflowClient  # noqa: PLC0415
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    client, name = MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        try:
            found = client.get_experiment(number)
        except MlflowException as problem:
            if problem.error_code not in NO_SUCH_EXPERIMENT:
                raise
            raise Tier0Error(f"it has no experiment with the MLFLOW_EXPERIMENT_ID {number!r}") from problem
        if name and found.name != name:
            raise Tier0Error(
                f"MLFLOW_EXPERIMENT_ID {number!r} is the experiment {found.name!r}, but "
                f"MLFLOW_EXPERIMENT_NAME is {name!r}: unset one of them"
            )
    else:
        name = name or EXPERIMENT
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                found = client.get_experiment(client.create_experiment(name))
            except MlflowException as problem:
                if problem.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise Tier0Error(
            f"its experiment {found.name!r} is deleted: restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or set MLFLOW_EXPERIMENT_NAME to another one"
        )
    return found


def _require_place(experiment: Experiment, store: TrackingStore) -> None:
    """Check that artifacts of the experiment would be found again.

    MLflow creates the location of an experiment with its first artifact, and the folder ``mlruns`` around it;
    if the folder around that is missing, too, it was deleted.

    Raises:
        Tier0Error: the location is relative, in a deleted folder, or not writable.
    """
    location = experiment.artifact_location
    parts = urlsplit(location)
    if parts.scheme not in {"", "file"}:
        return
    path = Path(url2pathname(parts.path))
    remedy = "set MLFLOW_EXPERIMENT_NAME to another experiment, or to a new name"
    if store.server is not None:
        remedy += ", or start the tracking server with --artifacts-destination"
    what = f"the artifact location of its experiment {experiment.name!r}, {location!r},"
    if not path.is_absolute():
        raise Tier0Error(f"{what} is relative, so other processes would not find the model: {remedy}")
    ancestors = [one for one in (path, *list(path.parents)[:2]) if one.is_dir()]
    if not ancestors:
        raise Tier0Error(f"{what} is in a folder that does not exist, {str(path.parents[1])!r}: {remedy}")
    if not os.access(ancestors[0], os.W_OK | os.X_OK):
        raise Tier0Error(f"{what} cannot be created, as {str(ancestors[0])!r} is not writable: {remedy}")


def add(order: dict[str, Any]) -> dict[str, str]:
    """Add ``tags``, ``metrics`` and ``artifacts`` (paths) to the MLflow run ``run_id``; its status stays."""
    from mlflow import MlflowClient  # noqa: PLC0415

    client, run_id = MlflowClient(), order["run_id"]
    for name, value in order["tags"].items():
        client.set_tag(run_id, name, value)
    for name, value in order["metrics"].items():
        client.log_metric(run_id, name, value)
    for path in order["artifacts"]:
        client.log_artifact(run_id, path)
    return {"run_id": run_id}


def log(experiment: str, order: dict[str, Any]) -> dict[str, str]:
    """Log a training as a new MLflow run, which is FINISHED only if its model can be found in the store.

    Args:
        experiment: id of the experiment.
        order: ``tags``, ``params``, ``metrics``, ``evaluation``, ``requirements`` and ``model`` (path of a
            pickle). An empty order logs nothing: its outcome shows that the store can be used.

    Returns:
        The ``run_id`` of a training.
    """
    if not order:
        return {"experiment": experiment}
    import mlflow  # noqa: PLC0415
    import mlflow.sklearn  # noqa: PLC0415

    is_active = is_stopped = False

    def stop(*_: object) -> None:
        nonlocal is_stopped
        is_stopped = True
        if is_active:  # MLflow could not end a run that is not active yet
            raise SystemExit  # Python ignores it in a destructor: the next signal raises it again

    _react_to_stops(stop)
    try:
        run_id = mlflow.start_run(experiment_id=experiment).info.run_id
        is_active = True
        if is_stopped:
            stop()
        mlflow.set_tags(order["tags"])
        mlflow.log_params(order["params"])
        mlflow.log_metrics(order["metrics"])
        mlflow.log_dict(order["evaluation"], "evaluation.json")
        mlflow.sklearn.log_model(
            cloudpickle.loads(read_trusted(Path(order["model"]))),
            name="model",
            pip_requirements=order["requirements"],
            serialization_format="cloudpickle",
        )
        with tempfile.TemporaryDirectory() as scratch:
            mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model/MLmodel", dst_path=scratch)
        _react_to_stops(signal.SIG_IGN)
    except SystemExit:  # raised by `stop`; its frames hold the interrupted transaction
        pass
    except BaseException:
        _react_to_stops(signal.SIG_IGN)
        with contextlib.suppress(Exception):  # the first problem is the one that is reported
            mlflow.end_run("FAILED")
        raise
    if is_stopped:
        _react_to_stops(signal.SIG_IGN)
        gc.collect()  # an interrupted transaction, which would keep the database locked, ends with its frames
        with contextlib.suppress(Exception):  # MLflow cannot be reached either: the run stays as it is
            mlflow.end_run("KILLED")
        os._exit(1)  # the reader of standard input would block the interpreter's shutdown
    mlflow.end_run()
    return {"run_id": run_id}


def _react_to_stops(reaction: Any) -> None:
    """Set the reaction to SIGINT, which Ctrl-C sends, and to SIGTERM, which `Tracking.close` sends next."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, reaction)
