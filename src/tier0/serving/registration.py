"""Registration of a model: its complete pipeline, its signature, and its golden rows."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import pickletools
import re
import sys
import threading
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from tier0.core.errors import ModelChangedError, RegistrationError, Tier0Error
from tier0.core.own_code import is_own_code
from tier0.core.worker_process import WorkerProcess
from tier0.golden.capture import infer_signature, make_golden_rows
from tier0.golden.prediction import package_of
from tier0.golden.rows import GoldenRows
from tier0.golden.signature import Signature
from tier0.serving.entry import DESCRIPTION_FILE, GOLDEN_FILE, MODEL_FILE, describe
from tier0.serving.metadata import as_json_types
from tier0.serving.workspace import Workspace

_REGISTRY_LOCK = threading.Lock()
"""The modules that cloudpickle pickles by value are global: two registrations at once would mix theirs."""


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
    examples: Any,
    preprocessor: Any = None,
    framework: str | None = None,
    threshold: float | None = None,
    store: Path | str | None = None,
) -> RegisteredModel:
    """Save a fitted model so that `tier0.serving.service` can serve it, and verify it in a fresh interpreter.

    Args:
        model: a fitted estimator with scikit-learn's interface: ``predict`` and, optionally,
            ``predict_proba``.
        model_name: lower-case letters, digits, ``_``, ``-`` and ``.``.
        metadata: JSON types, None included, stored with the model. ``feature_names`` names the columns of
            *examples* if they are an array.
        examples: a DataFrame, array or sparse matrix of shape (rows, features), in the form that *model* (or
            *preprocessor*) accepts, or a list of rows or records. They become the golden rows and are
            stored with the model: pass few rows, and none that must not be stored.
        preprocessor: a fitted transformer applied before the model; both are saved as one pipeline.
        framework: package that the estimator comes from; detected by default.
        threshold: for two classes, the minimum probability at which the second class is predicted.
        store: BentoML home to save in. By default a private one, which is deleted when this process ends.

    Raises:
        RegistrationError: the model cannot be registered, or differs after loading; nothing is left in the
            store.
    """
    saver = ModelSaver(model, model_name, metadata, examples, preprocessor, framework, threshold)
    workspace = Workspace.create()

    def save() -> RegisteredModel:
        writer = EntryWriter(workspace, Path(store or workspace.store).absolute())
        return saver(workspace, writer, prove=True)

    try:
        return await asyncio.to_thread(save)
    finally:
        if store is None:
            atexit.register(workspace.close)
        else:
            workspace.close()


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
    ) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?", name):
            raise RegistrationError(
                f"invalid model_name {name!r}: use 1 to 63 lower-case letters, digits, '_', '-' and '.'; the "
                "first and the last must be a letter or digit"
            )
        self.metadata = as_json_types(metadata)
        self.name = name
        self.model = model if preprocessor is None else _as_one_pipeline(preprocessor, model)
        self.framework = framework or find_framework(model)
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
        versions = _versions(self.framework, self.signature)
        try:
            content = pickle_with_own_code(self.model)
        except Exception as problem:
            raise RegistrationError(
                f"the model cannot be pickled, so it cannot be saved: {type(problem).__name__}: {problem}"
            ) from problem
        description = describe(
            self.signature, self.framework, versions, hashlib.sha256(content).hexdigest(), self.metadata
        )
        try:
            (folder / MODEL_FILE).write_bytes(content)
            (folder / DESCRIPTION_FILE).write_text(json.dumps(description), encoding="utf-8")
            self.golden.write(folder / GOLDEN_FILE)
        except OSError as problem:
            raise RegistrationError(
                f"cannot write the model ({len(content) / 1e6:.1f} MB) to {folder}: {problem}. Free space "
                "there, or set TMPDIR to another folder"
            ) from problem
        return {
            "name": self.name,
            "metadata": self.metadata,
            "framework": self.framework,
            "versions": versions,
            "folder": str(folder),
        }


def save_models(
    savers: Sequence[ModelSaver],
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


def pickle_with_own_code(model: Any) -> bytes:
    """Pickle a model together with the user's own code that it needs, such as a project's transformers.

    Own code is pickled by value, because a server elsewhere could not import it. Where that is impossible,
    for example because a module holds a lock, all code is pickled by reference: the fresh interpreter that
    verifies the model then decides whether it can be imported.
    """
    content: bytes = cloudpickle.dumps(model)
    by_reference = content
    own: dict[str, ModuleType] = {}
    with _REGISTRY_LOCK:
        try:
            # Code that is pickled by value can name further modules: the helpers that it calls.
            while new := _own_modules_named_in(content, already=own):
                own |= new
                content = _pickle_by_value(model, own)
        except Exception:  # noqa: BLE001 - pickling calls methods of the user's classes
            return by_reference
    return content


def _pickle_by_value(model: Any, modules: Mapping[str, ModuleType]) -> bytes:
    """Pickle a model with the functions and classes of *modules*."""
    added = [
        module
        for name, module in modules.items()
        if name not in cloudpickle.list_registry_pickle_by_value()  # what the user registered stays so
    ]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(model)  # type: ignore[no-any-return]
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def _own_modules_named_in(content: bytes, already: Container[str]) -> dict[str, ModuleType]:
    """Return the loaded modules of the user's own code that a pickle may need, by name.

    Any text in the pickle may be the name of a module, and the names of all modules that it needs are there.
    """
    texts = {value for _, value, _ in pickletools.genops(content) if isinstance(value, str)}
    return {
        name: module
        for name in sorted((texts & sys.modules.keys()) - {"__main__"})
        if name not in already
        and isinstance(module := sys.modules.get(name), ModuleType)
        and module.__name__ == name
        and is_own_code(module)
    }


def find_framework(model: Any) -> str:
    """Return the package that the estimator, the last step of a pipeline, comes from.

    Raises:
        RegistrationError: the estimator does not have scikit-learn's interface.
    """
    estimator = model.steps[-1][1] if hasattr(model, "steps") else model
    package = package_of(estimator)
    if not hasattr(estimator, "predict") or type(estimator).__name__ == "Booster":
        raise RegistrationError(
            f"unsupported model type {package}.{type(estimator).__name__}: it does not have scikit-learn's "
            "interface. Train with a wrapper such as XGBClassifier or LGBMRegressor, or wrap the model in "
            "an estimator with predict and, for classes, predict_proba."
        )
    return package


def _versions(framework: str, signature: Signature) -> dict[str, str]:
    """Return the versions of the imported libraries that the model's behaviour depends on.

    The user's own code has none: it is part of the pickle.
    """
    packages = {"numpy", "sklearn", framework, *(["pandas"] if signature.container == "dataframe" else [])}
    modules = {name: module for name in sorted(packages) if (module := sys.modules.get(name)) is not None}
    return {
        name: version
        for name, module in modules.items()
        if not is_own_code(module) and (version := getattr(module, "__version__", None))
    }


def _as_one_pipeline(preprocessor: Any, model: Any) -> Any:
    from sklearn.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline([("preprocessor", preprocessor), ("model", model)])
