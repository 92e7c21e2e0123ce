"""Registration of a model: its complete pipeline, its signature, and its golden rows."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tier0.core.errors import ModelChangedError, RegistrationError, Tier0Error, reason_of
from tier0.core.own_code import is_own_code
from tier0.core.worker_process import WorkerProcess
from tier0.golden.capture import infer_signature, make_golden_rows
from tier0.golden.prediction import package_of
from tier0.golden.rows import GoldenRows
from tier0.golden.signature import Signature
from tier0.serving.entry import DESCRIPTION_FILE, GOLDEN_FILE, describe
from tier0.serving.formats.choice import CATBOOST, PICKLE, TORCH, format_named, format_of, is_mlflow_uri
from tier0.serving.metadata import as_json_types
from tier0.serving.workspace import Workspace


@dataclass(frozen=True)
class RegisteredModel:
    """A model in a BentoML store.

    Attributes:
        tag: the exact tag, ``name:version``.
        store: the BentoML home that contains it.
        path: its entry's folder.
        signature: the model's inputs and outputs.
        golden: input rows, with the outputs of the model in memory.
    """

    tag: str
    store: Path
    path: Path
    signature: Signature
    golden: GoldenRows

    @property
    def name(self) -> str:
        """The tag without its version."""
        return self.tag.partition(":")[0]


async def register_model_for_serving(
    model: Any,
    model_name: str,
    metadata: Mapping[str, Any] | None = None,
    *,
    examples: Any = None,
    preprocessor: Any = None,
    framework: str | None = None,
    threshold: float | None = None,
    store: Path | str | None = None,
    build: Callable[[], Any] | None = None,
) -> RegisteredModel:
    """Save a fitted model so that `tier0.serving.service` can serve it, and verify it in a fresh interpreter.

    Args:
        model: a fitted estimator with scikit-learn's interface (``predict`` and, optionally,
            ``predict_proba``), a CatBoost model, a Booster of XGBoost or LightGBM, an ONNX model (its path, a
            ModelProto or a session), a PyTorch module in evaluation mode, or the URI of an MLflow model, such
            as ``models:/churn@champion``, ``models:/churn/3`` or ``runs:/<id>/model``.
        model_name: lower-case letters, digits, ``_``, ``-`` and ``.``.
        metadata: JSON types, None included, stored with the model. ``feature_names`` names the columns of
            *examples* if they are an array.
        examples: rows in the form that *model* (or *preprocessor*) accepts: a DataFrame, array or sparse
            matrix of shape (rows, features), a list of rows or records, texts, arrays of any shape such as
            images, or a list of JSON values. They become the golden rows and are stored with the model: pass
            few rows, and none that must not be stored. An MLflow model that was logged with an input example
            needs none.
        preprocessor: a fitted transformer applied before the model; both are saved as one pipeline.
        framework: package that the estimator comes from; detected by default.
        threshold: for two classes, the minimum probability at which the second class is predicted.
        store: BentoML home to save in. By default a private one, which is deleted when this process ends.
        build: for a PyTorch module whose class needs arguments: an importable class or function, or a
            ``functools.partial`` of one, that returns the module without its weights.

    Raises:
        RegistrationError: the model cannot be registered, or differs after loading; nothing is left in the
            store.
        MissingDependencyError: the framework of the model is not installed; the message names the extra.
    """
    is_uri = is_mlflow_uri(model)
    if is_uri and any(given is not None for given in (preprocessor, framework, build)):
        raise RegistrationError(
            f"preprocessor, framework and build cannot be used for {model}: an MLflow model contains all of "
            "its steps; omit them"
        )
    saver: Saver | None = None
    if not is_uri:
        saver = ModelSaver(model, model_name, metadata, examples, preprocessor, framework, threshold, build)
    workspace = Workspace.create()

    def save() -> RegisteredModel:
        from tier0.serving.mlflow_source import MlflowSaver  # noqa: PLC0415 - for URIs only

        one = saver or MlflowSaver(model, model_name, metadata, examples, threshold, workspace)
        writer = EntryWriter(workspace, Path(store or workspace.store).absolute())
        return save_models([one], workspace, writer, prove=True)[0]

    try:
        return await asyncio.to_thread(save)
    finally:
        if store is None:
            atexit.register(workspace.close)
        else:
            workspace.close()


class Saver(Protocol):
    """A model ready to be saved: `ModelSaver`, or `tier0.serving.mlflow_source.MlflowSaver`.

    Attributes:
        signature: the model's inputs and outputs.
        golden: its golden rows.
    """

    signature: Signature
    golden: GoldenRows

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write the entry's files to *folder*, and return the order for `tier0.serving.save_entry`."""


class ModelSaver:
    """A model ready to be saved, with its inferred signature and its golden rows.

    Raises:
        RegistrationError: the model cannot be registered.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        metadata: Mapping[str, Any] | None,
        examples: Any,
        preprocessor: Any = None,
        framework: str | None = None,
        threshold: float | None = None,
        build: Callable[[], Any] | None = None,
    ) -> None:
        require_valid_name(name)
        self.metadata = as_json_types(metadata)
        self.name = name
        self.format = _format_with(format_of(model), preprocessor, build)
        if examples is None:
            raise RegistrationError("examples is missing: pass some rows that the model takes")
        if preprocessor is not None:
            model = _as_one_pipeline(preprocessor, model)
        options = {} if build is None else {"build": build}
        self.model = format_named(self.format).adapt(model, **options)
        self.framework = framework or (TORCH if self.format == TORCH else package_of(self.model))
        self.signature = infer_signature(self.model, examples, threshold, self.metadata.get("feature_names"))
        self.golden = make_golden_rows(self.model, self.signature, examples)

    def __call__(self, workspace: Workspace, writer: EntryWriter, *, prove: bool) -> RegisteredModel:
        """Save the model.

        Args:
            workspace: folder for the temporary files.
            writer: writer of the BentoML home to save in.
            prove: whether to load the model in the fresh interpreter that saves it, and compare the golden
                rows. Otherwise only a server's first golden prediction verifies the saved model.

        Raises:
            RegistrationError: the model could not be saved, or differs after loading.
        """
        return save_models([self], workspace, writer, prove=prove)[0]

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write the entry's files to *folder*, and return the order for `tier0.serving.save_entry`.

        Raises:
            RegistrationError: the model cannot be pickled, or *folder* cannot be written.
        """
        versions = versions_of(self.framework, self.signature, sklearn=self.format == PICKLE)
        content, options = format_named(self.format).save(self.model)
        description = describe(
            self.signature,
            self.framework,
            versions,
            hashlib.sha256(content).hexdigest(),
            self.metadata,
            self.format,
            options,
        )
        write_entry(folder, content, description, self.golden)
        return {
            "name": self.name,
            "metadata": self.metadata,
            "framework": self.framework,
            "versions": versions,
            "folder": str(folder),
        }


def require_valid_name(name: str) -> None:
    """Check the name of a model.

    Raises:
        RegistrationError: a BentoML store, or the path of a service, cannot have this name.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?", name):
        raise RegistrationError(
            f"invalid model_name {name!r}: use 1 to 63 lower-case letters, digits, '_', '-' and '.'; the "
            "first and the last must be a letter or digit"
        )


def _format_with(name: str, preprocessor: Any, build: Any) -> str:
    """Return the format of a model of the format *name* together with its *preprocessor*.

    Raises:
        RegistrationError: the model has no use for one of the arguments.
    """
    if build is not None and name != TORCH:
        raise RegistrationError("build is for PyTorch modules only: omit it")
    if preprocessor is None:
        return name
    if name not in {PICKLE, CATBOOST}:
        raise RegistrationError(
            "a preprocessor can be saved only with a model that has scikit-learn's interface: train a "
            "wrapper such as XGBClassifier or LGBMRegressor, or register a model that contains the step"
        )
    return PICKLE


def write_entry(folder: Path, content: bytes, description: Mapping[str, Any], golden: GoldenRows) -> None:
    """Write the files of an entry to *folder*.

    Raises:
        RegistrationError: they cannot be written.
    """
    try:
        (folder / format_named(description.get("format", PICKLE)).FILE).write_bytes(content)
        (folder / DESCRIPTION_FILE).write_text(json.dumps(description), encoding="utf-8")
        golden.write(folder / GOLDEN_FILE)
    except OSError as problem:
        raise RegistrationError(
            f"cannot write the model ({len(content) / 1e6:.1f} MB) to {folder}: {reason_of(problem)}. "
            "Free space there, or set TMPDIR to another folder"
        ) from problem


def save_models(
    savers: Sequence[Saver],
    workspace: Workspace,
    writer: EntryWriter,
    *,
    prove: bool,
    close_after: bool = True,
) -> list[RegisteredModel]:
    """Save several models with one worker process.

    Args:
        savers: the models.
        workspace: see `ModelSaver.__call__`.
        writer: see `ModelSaver.__call__`.
        prove: see `ModelSaver.__call__`.
        close_after: whether to end the worker process afterwards.

    Raises:
        RegistrationError: a model could not be saved, or differs after loading; those before it are in the
            store.
    """
    try:
        outcomes = writer.write(
            [saver.write_files(workspace.folder("r")) for saver in savers],
            prove=prove,
            close_after=close_after,
        )
    finally:
        if close_after:
            writer.close()
    return [
        RegisteredModel(
            outcome["tag"],
            writer.store,
            Path(outcome["path"]),
            saver.signature,
            replace(saver.golden, tag=outcome["tag"]),
        )
        for saver, outcome in zip(savers, outcomes, strict=True)
    ]


class EntryWriter:
    """A worker process that writes entries into a BentoML home, see `tier0.serving.save_entry`.

    It starts at once, and imports BentoML in the background.

    Args:
        workspace: folder for its temporary files.
        store: the BentoML home; created if missing.
    """

    def __init__(self, workspace: Workspace, store: Path) -> None:
        self.store = store
        store.mkdir(parents=True, exist_ok=True)
        self._worker = WorkerProcess(
            "tier0.serving.save_entry", workspace.folder("w"), BENTOML_HOME=str(store)
        )

    def write(
        self, entries: Sequence[Mapping[str, Any]], *, prove: bool, close_after: bool = True
    ) -> list[dict[str, str]]:
        """Write the entries.

        Args:
            entries: orders returned by `ModelSaver.write_files`.
            prove: see `ModelSaver.__call__`.
            close_after: whether to end the worker process afterwards.

        Returns:
            The exact tag and the path of each.

        Raises:
            RegistrationError: an entry could not be written, or its model differs after loading.
        """
        try:
            reply = self._worker.execute({"entries": entries, "prove": prove}, close_after=close_after)
            return reply["saved"]  # type: ignore[no-any-return]
        except Tier0Error as problem:
            kind = ModelChangedError if isinstance(problem, ModelChangedError) else RegistrationError
            raise kind(f"cannot register the model in {self.store}: {problem}") from problem

    def close(self) -> None:
        """End the worker process, even while it writes."""
        self._worker.close()


def versions_of(framework: str, signature: Signature, *, sklearn: bool) -> dict[str, str]:
    """Return the versions of the imported libraries that the model's behaviour depends on.

    The user's own code has none: it is part of the pickle.

    Args:
        framework: package of the model.
        signature: signature of the model.
        sklearn: whether the model may contain parts of scikit-learn.
    """
    frame = ["pandas"] if signature.container == "dataframe" else []
    packages = {"numpy", framework, *frame, *(["sklearn"] if sklearn else [])}
    modules = {name: module for name in sorted(packages) if (module := sys.modules.get(name)) is not None}
    return {
        name: version
        for name, module in modules.items()
        if not is_own_code(module) and (version := getattr(module, "__version__", None))
    }


def _as_one_pipeline(preprocessor: Any, model: Any) -> Any:
    from sklearn.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline([("preprocessor", preprocessor), ("model", model)])
