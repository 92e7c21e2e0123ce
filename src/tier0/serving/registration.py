"""Registering a model: its whole pipeline, what it takes and gives, and the golden rows that prove it."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import pickletools
import re
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from tier0.core.errors import ModelChangedError, RegistrationError, Tier0Error
from tier0.core.worker_process import WorkerProcess
from tier0.golden.capture import infer_signature, make_golden_rows
from tier0.golden.prediction import package_of
from tier0.golden.rows import GoldenRows
from tier0.golden.signature import Signature
from tier0.serving.entry import DESCRIPTION_FILE, GOLDEN_FILE, MODEL_FILE, describe
from tier0.serving.workspace import Workspace


@dataclass(frozen=True)
class RegisteredModel:
    """A model in a BentoML store.

    Attributes:
        tag: exact, ``name:version``.
        store: the BentoML home that holds it.
        path: its entry's folder.
        signature: what it takes and gives.
        golden: input rows, with what the model in memory gave for them.
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
    """Save a fitted model so that `tier0.serving.service` serves it, and prove it by loading it in a fresh interpreter.

    Args:
        model: follows scikit-learn's estimator interface: ``predict``, and ``predict_proba`` where it has it.
        model_name: lower-case letters, digits, ``_``, ``-`` and ``.``.
        metadata: JSON types, kept with the model. ``feature_names`` names the columns of *examples* that are an array.
        examples: a DataFrame or array of shape (rows, features), just as *model* (or *preprocessor*) takes them. They
            become the golden rows, and are kept beside the model: give few, and none that must not be kept.
        preprocessor: a fitted transformer that comes before the model; both are saved as one pipeline.
        framework: where the estimator comes from; found from the object by default.
        threshold: for two classes, the probability of the second class from which it is predicted.
        store: a BentoML home to save in. By default a private one, that is deleted when this process ends.

    Raises:
        RegistrationError: the model cannot be registered as asked, or came back changed; then nothing is left in the store.
    """
    save = ModelSaver(model, model_name, metadata, examples, preprocessor, framework, threshold)
    workspace = Workspace.create()
    try:
        return await asyncio.to_thread(
            lambda: save(
                workspace, EntryWriter(workspace, Path(store or workspace.store).absolute()), prove=True
            )
        )
    finally:
        if store is None:
            atexit.register(workspace.close)
        else:
            workspace.close()


class ModelSaver:
    """A model that was found fit to be saved: its signature inferred, its golden rows computed.

    Raises:
        RegistrationError: it is not.
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
                f"model_name = {name!r} is no name for BentoML: use lower-case letters, digits, '_', '-' and '.', 63 at most"
            )
        self.metadata = _json_metadata(metadata)
        self.name = name
        self.model = model if preprocessor is None else _as_one_pipeline(preprocessor, model)
        self.framework = framework or find_framework(model)
        self.signature = infer_signature(self.model, examples, threshold, self.metadata.get("feature_names"))
        self.golden = make_golden_rows(self.model, self.signature, examples)

    def __call__(self, workspace: Workspace, writer: EntryWriter, *, prove: bool) -> RegisteredModel:
        """Save the model.

        Args:
            workspace: where the files are put together.
            writer: of the BentoML home to save in.
            prove: load the entry in the fresh interpreter that saved it, and compare the golden rows. Without it, the first
                golden answer of a server has to be the proof.

        Raises:
            RegistrationError: it could not be saved, or came back changed.
        """
        return save_models([self], workspace, writer, prove=prove)[0]

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write what the entry consists of, and return what a store has to be told beside that.

        Raises:
            RegistrationError: the model cannot be pickled, or *folder* not be written.
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
            size = f"{len(content) / 1e6:.1f} MB"
            raise RegistrationError(
                f"the model ({size}) cannot be written to {folder}: {problem}. Make room there, or set TMPDIR"
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
    """Save several models at once, in one process, which ends with the last ones; for the other arguments see `ModelSaver.__call__`.

    Raises:
        RegistrationError: one of them could not be saved, or came back changed; those before it are in the store.
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
    """A process that writes entries into a BentoML home (see `tier0.serving.save_entry`); it imports BentoML from now on.

    Args:
        workspace: where it may put temporary files.
        store: the BentoML home; made if it is not there.
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
        """Write the entries (see `ModelSaver.write_files`).

        Returns:
            The exact tag, and the path, of each.

        Raises:
            RegistrationError: one could not be written, or its proof failed.
        """
        try:
            reply = self._worker.execute({"entries": entries, "prove": prove}, close_after=close_after)
            return reply["saved"]  # type: ignore[no-any-return]
        except Tier0Error as problem:
            kind = ModelChangedError if isinstance(problem, ModelChangedError) else RegistrationError
            raise kind(f"the model could not be registered in {self.store}: {problem}") from problem

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._worker.close()


def pickle_with_own_code(model: Any) -> bytes:
    """Pickle a model together with the code of those of its classes and functions that no other interpreter could import.

    They are a project's own modules, such as the transformers that it trains with: the worker is started in an empty folder.
    """
    content: bytes = cloudpickle.dumps(model)
    own = {name.partition(".")[0] for name in _modules_named_in(content)} - {"tier0"}
    packages = [
        module
        for name in sorted(own)
        if (module := sys.modules.get(name)) is not None and not _is_installed(module)
    ]
    if not packages:
        return content
    for package in packages:
        cloudpickle.register_pickle_by_value(package)
    try:
        content = cloudpickle.dumps(model)
    finally:
        for package in packages:
            cloudpickle.unregister_pickle_by_value(package)
    return content


def _modules_named_in(content: bytes) -> set[str]:
    """Return every text in a pickle that could be a module's name: whatever stands for a module is among them."""
    return {
        value
        for _, value, _ in pickletools.genops(content)
        if isinstance(value, str) and value.replace(".", "").isidentifier()
    }


def _is_installed(module: ModuleType) -> bool:
    """Tell whether a module comes with Python or was installed, so that every interpreter of this environment has it."""
    paths = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    places = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    return all(
        path is None or any(place in Path(path).resolve().parents for place in places) for path in paths
    )


def find_framework(model: Any) -> str:
    """Return the package that the estimator, the last step of a pipeline, comes from.

    Raises:
        RegistrationError: it does not follow scikit-learn's interface.
    """
    estimator = model.steps[-1][1] if hasattr(model, "steps") else model
    package = package_of(estimator)
    if not hasattr(estimator, "predict") or type(estimator).__name__ == "Booster":
        raise RegistrationError(
            f"model is a {package} {type(estimator).__name__}, which does not follow scikit-learn's interface. "
            "Train with its wrapper, such as XGBClassifier or LGBMRegressor, or wrap it in an estimator with predict and predict_proba."
        )
    return package


def _versions(framework: str, signature: Signature) -> dict[str, str]:
    """Return the versions of the libraries that the model's behaviour hangs on, as they are loaded right now."""
    packages = {"numpy", "sklearn", framework, *(["pandas"] if signature.container == "dataframe" else [])}
    return {
        name: version
        for name in sorted(packages)
        if (version := getattr(sys.modules.get(name), "__version__", None))
    }


def _as_one_pipeline(preprocessor: Any, model: Any) -> Any:
    from sklearn.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline([("preprocessor", preprocessor), ("model", model)])


def _json_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(metadata or {}), allow_nan=False))  # type: ignore[no-any-return]
    except (TypeError, ValueError) as problem:
        raise RegistrationError(
            f"metadata holds something that JSON cannot: {problem}. Use text, finite numbers, lists and dicts."
        ) from problem
