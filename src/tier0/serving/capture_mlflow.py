"""Worker process that loads an MLflow model and makes its golden rows, see `mlflow_source`.

It is a fresh interpreter, in which the model is loaded as any user of the registry loads it.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tier0.core.errors import RegistrationError, Tier0Error, first_line, missing_extra
from tier0.core.trusted_file import read_trusted
from tier0.core.worker_process import Handler
from tier0.golden.capture import infer_signature, make_golden_rows
from tier0.golden.inputs import as_given
from tier0.golden.prediction import package_of
from tier0.serving.entry import describe
from tier0.serving.formats.choice import MLFLOW, TORCH, format_named
from tier0.serving.formats.mlflow_model import MlflowModel, adapt
from tier0.serving.metadata import PROVENANCE
from tier0.serving.mlflow_source import EXAMPLES_FILE
from tier0.serving.registration import versions_of, write_entry

REGISTERED = re.compile(r"models:/+(?P<name>[^/@]+)(?:@(?P<alias>[^/]+)|/(?P<version>[^/]+))?/?")
LATEST = "latest"
HOW_TO_FIND = "Check the name, the version or alias, and MLFLOW_TRACKING_URI"
LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")


def prepare() -> Handler:
    """Return the handler of orders; MLflow is imported with this module."""
    logging.disable(logging.WARNING)
    return capture


def capture(order: dict[str, Any]) -> dict[str, Any]:
    """Write the files of an entry for the model at ``uri`` to ``folder``, and return its exact URI."""
    folder = Path(order["folder"])
    origin, exact = _found(order["uri"])
    model = _loaded(exact, folder / "downloaded")
    origin = {**origin, "run_id": model.pyfunc.metadata.run_id, "store": order["store"]}
    examples = _examples(order, model, folder)
    signature = infer_signature(model, examples, order["threshold"], order["metadata"].get("feature_names"))
    golden = make_golden_rows(model, signature, examples)
    content, options = format_named(MLFLOW).save(model)
    framework = TORCH if "pytorch" in model.pyfunc.metadata.flavors else package_of(model)
    metadata = {
        **order["metadata"],
        PROVENANCE: {key: value for key, value in origin.items() if value is not None},
    }
    description = describe(
        signature,
        framework,
        {**versions_of(framework, signature, sklearn=True), "mlflow": mlflow.__version__},
        hashlib.sha256(content).hexdigest(),
        metadata,
        MLFLOW,
        options,
    )
    write_entry(folder, content, description, golden)
    return {"uri": exact}


def _found(uri: str) -> tuple[dict[str, Any], str]:
    """Return the origin of a model, and an exact URI: aliases, stages and the latest version can change.

    Raises:
        Tier0Error: the registry has no such model.
    """
    origin: dict[str, Any] = {"uri": uri}
    parts = REGISTERED.fullmatch(uri)
    if parts is None or (parts["alias"] is None and LOGGED_MODEL.fullmatch(parts["name"])):
        return origin, uri
    name, version = parts["name"], parts["version"] or LATEST
    try:
        found = _versions_found(name, parts["alias"], version)
    except MlflowException as problem:
        raise Tier0Error(f"{first_line(problem)} {HOW_TO_FIND}") from problem
    if not found:
        raise Tier0Error(f"the registry has no model {name!r} of version {version!r}. {HOW_TO_FIND}")
    newest = max(found, key=lambda one: int(one.version)).version
    return {**origin, "version": str(newest), "alias": parts["alias"]}, f"models:/{name}/{newest}"


def _versions_found(name: str, alias: str | None, version: str) -> list[Any]:
    """Return the versions of a registered model that its URI can mean."""
    client = MlflowClient()
    if alias is not None:
        return [client.get_model_version_by_alias(name, alias)]
    if version.isdecimal():
        return [client.get_model_version(name, version)]
    if version == LATEST:
        quoted = name.replace("'", "''")
        return list(client.search_model_versions(f"name='{quoted}'"))
    return client.get_latest_versions(name, [version])  # type: ignore[no-any-return]  # a stage


def _loaded(uri: str, folder: Path) -> MlflowModel:
    """Download the model at *uri* to *folder*, and load it.

    Raises:
        MissingDependencyError: a library of Tier0's extras is not installed.
        Tier0Error: the model cannot be downloaded or loaded.
    """
    folder.mkdir()
    try:
        place = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))
    except Exception as problem:
        raise Tier0Error(
            f"the model cannot be downloaded: {first_line(problem)}. Check the URI, and the access to the "
            "store's artifacts"
        ) from problem
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*unpickle estimator.*")
            return adapt(Path(place))
    except Tier0Error:
        raise
    except Exception as problem:
        if missing := missing_extra(problem):
            raise missing from problem
        raise RegistrationError(
            f"mlflow.pyfunc cannot load the model: {type(problem).__name__}: {first_line(problem)}. Install "
            "what its requirements.txt names"
        ) from problem


def _examples(order: dict[str, Any], model: MlflowModel, folder: Path) -> Any:
    """Return the user's examples, or the input example of the model.

    Raises:
        RegistrationError: there are none.
    """
    if order["has_examples"]:
        examples = pickle.loads(read_trusted(folder / EXAMPLES_FILE))  # noqa: S301 - checked  # nosec B301
    else:
        examples = model.pyfunc.metadata.load_input_example(str(model.folder))
        if examples is None:
            raise RegistrationError(
                "the model was logged without an input example, so there are no rows to compare it with: "
                "pass examples to register_model_for_serving, or log it again with input_example"
            )
    return _with_names(as_given(examples, model.feature_names_in_), model)


def _with_names(examples: Any, model: MlflowModel) -> Any:
    """Return an array as a DataFrame if the model's signature names its columns, which pyfunc then needs."""
    names = model.feature_names_in_
    is_matrix = len(getattr(examples, "shape", ())) == 2 and not hasattr(examples, "columns")
    if names is None or not is_matrix or examples.shape[1] != len(names):
        return examples
    import pandas as pd  # noqa: PLC0415 - not needed for arrays

    return pd.DataFrame(examples, columns=names)
