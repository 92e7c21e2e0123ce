"""MLflow models by URI: taken from their store, and their golden rows made, in a process of its own."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tier0.core.errors import RegistrationError, Tier0Error
from tier0.core.tracking_store import ARTIFACTS, TrackingStore
from tier0.core.trusted_file import write_private
from tier0.core.worker_process import WorkerProcess
from tier0.golden.inputs import as_given
from tier0.golden.rows import GoldenRows
from tier0.serving.entry import Entry
from tier0.serving.metadata import PROVENANCE, as_json_types
from tier0.serving.registration import require_valid_name
from tier0.serving.workspace import Workspace

EXAMPLES_FILE = "examples.pkl"
TIMEOUT = 600.0
"""Seconds to download a model, load it, and make its golden rows."""
DEFAULTS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # with MLflow's default of 7, an unreachable server takes minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
DATABASE = "mlflow.db"
"""MLflow's default name of its SQLite file."""


class MlflowSaver:
    """An MLflow model ready to be saved, with the signature and the golden rows of the loaded original.

    Args:
        uri: URI of the model.
        name: name of the model in the BentoML store.
        metadata: see `register_model_for_serving`.
        examples: rows that the model takes; None for its input example.
        threshold: see `register_model_for_serving`.
        workspace: folder for the temporary files.

    Raises:
        RegistrationError: the model cannot be registered.
        Tier0Error: the model cannot be found or loaded.
    """

    def __init__(
        self,
        uri: str,
        name: str,
        metadata: Mapping[str, Any] | None,
        examples: Any,
        threshold: float | None,
        workspace: Workspace,
    ) -> None:
        require_valid_name(name)
        self.name = name
        self.metadata = as_json_types(metadata)
        if PROVENANCE in self.metadata:
            raise RegistrationError(
                f"metadata[{PROVENANCE!r}] is where the origin of an MLflow model is kept: use another key"
            )
        store = _store()
        if store.path is not None and not store.path.exists():  # MLflow would create it
            raise RegistrationError(
                f"the MLflow store {store.shown} does not exist: check MLFLOW_TRACKING_URI"
            )
        self._folder = workspace.folder("u")
        if examples is not None:
            names = self.metadata.get("feature_names")
            content = pickle.dumps(as_given(examples, names))
            write_private(self._folder / EXAMPLES_FILE, content)
        worker = WorkerProcess("tier0.serving.capture_mlflow", workspace.folder("w"), **_environment(store))
        task = {
            "uri": uri,
            "folder": str(self._folder),
            "has_examples": examples is not None,
            "threshold": threshold,
            "metadata": self.metadata,
            "store": store.shown,
        }
        try:
            worker.execute(task, timeout=TIMEOUT)
        except Tier0Error as problem:
            message = store.without_secrets(str(problem))
            raise RegistrationError(
                f"cannot register {uri} from the MLflow store {store.shown}: {message}"
            ) from problem
        entry = Entry.read(self._folder)
        self.framework, self.versions, self.signature = entry.framework, entry.versions, entry.signature
        self.metadata = dict(entry.metadata)
        self.golden: GoldenRows = entry.golden_rows()

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write the entry's files to *folder*, and return the order for `tier0.serving.save_entry`."""
        for path in self._folder.iterdir():
            if path.is_file() and path.name != EXAMPLES_FILE:
                shutil.move(path, folder / path.name)
        return {
            "name": self.name,
            "metadata": self.metadata,
            "framework": self.framework,
            "versions": dict(self.versions),
            "folder": str(folder),
        }


def name_for(uri: str) -> str:
    """Return a name for the model at *uri*: that of the registered model, or of the logged one.

    Raises:
        RegistrationError: no name follows from it.
    """
    scheme, _, path = uri.partition(":/")
    parts = [part for part in path.split("/") if part]
    if not parts or (scheme == "runs" and len(parts) < 2):
        raise RegistrationError(
            f"{uri!r} names no model: expected models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN_ID/PATH"
        )
    name = parts[0].partition("@")[0] if scheme == "models" else parts[-1]
    return re.sub(r"[^a-z0-9_.-]+", "_", name.lower()).strip("_.-")[:63] or "model"


def _store() -> TrackingStore:
    """Return the MLflow store that is set in this process or the environment, or is in the working directory.

    Raises:
        RegistrationError: there is none.
    """
    folder = Path.cwd()
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and mlflow.is_tracking_uri_set():
        return TrackingStore.named(mlflow.get_tracking_uri(), folder)
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return TrackingStore.named(uri, folder)
    if (folder / DATABASE).is_file():
        return TrackingStore.in_folder(folder)
    if (folder / ARTIFACTS).is_dir():
        return TrackingStore.named(ARTIFACTS, folder)
    raise RegistrationError(
        f"no MLflow store is named, and {folder} has none: set MLFLOW_TRACKING_URI, such as "
        "sqlite:////path/to/mlflow.db or the address of a tracking server"
    )


def _environment(store: TrackingStore) -> dict[str, str]:
    """Return the variables with which MLflow finds the user's store, also in another folder."""
    mlflow = sys.modules.get("mlflow")
    registry = os.environ.get("MLFLOW_REGISTRY_URI")
    if mlflow is not None and mlflow.is_tracking_uri_set():
        registry = mlflow.get_registry_uri()
    environment = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    environment["MLFLOW_TRACKING_URI"] = store.uri
    if registry:
        environment["MLFLOW_REGISTRY_URI"] = TrackingStore.named(registry, Path.cwd()).uri
    return environment
