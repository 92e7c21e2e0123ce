"""Entries of a BentoML store: a model with the files that Tier0 adds to it.

An entry contains the model's file in the format of its framework, such as ``saved_model.pkl`` (the name that
`bentoml.sklearn.load_model` reads), ``tier0.json`` (signature, library versions, digest, metadata) and
``golden_rows.json``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from tier0.core import named_file
from tier0.core.errors import RegistrationError, reason_of
from tier0.core.fields import read_object, read_text
from tier0.core.trusted_file import open_trusted
from tier0.golden.rows import GoldenRows
from tier0.golden.signature import Signature
from tier0.serving.formats.choice import PICKLE, format_named, is_mlflow_uri

DESCRIPTION_FILE = "tier0.json"
GOLDEN_FILE = "golden_rows.json"
MAX_POINTER_BYTES = 4096
"""Size of a file with the name of a version."""


@dataclass(frozen=True)
class Entry:
    """The description of a registered model, as read from its files.

    Attributes:
        path: the entry's folder within the store.
        signature: the model's inputs and outputs.
        framework: ``sklearn``, ``xgboost``, ``torch`` or another package that its estimator comes from.
        versions: package name to the version that the model was trained with.
        sha256: digest of the model file, hexadecimal.
        metadata: the user's metadata, and under ``mlflow`` where an MLflow model comes from.
        format: format of the model file, see `tier0.serving.formats`.
        options: what the format needs to load the file, as JSON types.
    """

    path: Path
    signature: Signature
    framework: str
    versions: Mapping[str, str]
    sha256: str
    metadata: Mapping[str, Any]
    format: str = PICKLE
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_file(self) -> Path:
        """The file of the model."""
        return self.path / format_named(self.format).FILE

    @classmethod
    def read(cls, path: Path) -> Entry:
        """Read the description in *path*.

        Raises:
            RegistrationError: there is no description, so the model was not registered by Tier0; or it is
                damaged, or from another version.
        """
        try:
            document = named_file.read_json(path / DESCRIPTION_FILE)
        except (OSError, ValueError) as problem:
            raise RegistrationError(
                f"{path} contains no model registered by Tier0 ({problem}). "
                "Register the model with tier0.register_model_for_serving"
            ) from problem
        try:
            entry = cls(path, Signature.from_dict(document.pop("signature")), **document)
            for name, version in read_object(entry.versions, "versions").items():
                read_text(version, f"versions[{name!r}]")
            read_text(entry.framework, "framework")
            read_text(entry.sha256, "sha256")
            read_object(entry.metadata, "metadata")
            read_text(entry.format, "format")
            read_object(entry.options, "options")
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as problem:
            raise RegistrationError(
                f"{path / DESCRIPTION_FILE} is damaged ({problem!r}). Register the model again"
            ) from problem
        return entry

    def golden_rows(self) -> GoldenRows:
        """Read the golden rows."""
        return GoldenRows.read(self.path / GOLDEN_FILE)

    def open_model(self) -> BinaryIO:
        """Open the model's file, unless other users can have written it.

        A store may belong to a team or an image: the owner of the store that the user named, and root, may
        own its entries, and its group may write them.

        Raises:
            UntrustedFileError: other users can have written the file.
        """
        models = self.path.resolve().parents[1]  # models/NAME/VERSION in a store; entries may be linked to
        return open_trusted(self.model_file, owners=(0, models.stat().st_uid), writable_by_group=True)

    def load_model(self) -> Any:
        """Load the model, after a check of its file's writers and digest, and of the installed versions.

        Raises:
            UntrustedFileError: other users can have written the file.
            RegistrationError: the file was changed, or a library has another version than the model was
                trained with.
        """
        with self.open_model() as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise RegistrationError(
                f"{self.model_file} was changed after it was registered: its SHA-256 differs. "
                "Register the model again."
            )
        for package, version in self.versions.items():
            installed = import_module(package).__version__
            if installed != version:
                raise RegistrationError(
                    f"the model was trained with {package} {version}, but {installed} is installed. Serve it "
                    f"with {package}=={version}, or train and register it again."
                )
        return format_named(self.format).load(content, self.options)


def describe(
    signature: Signature,
    framework: str,
    versions: Mapping[str, str],
    sha256: str,
    metadata: Mapping[str, Any],
    format_: str = PICKLE,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of ``tier0.json``, as JSON types."""
    of_format = {} if format_ == PICKLE else {"format": format_, "options": dict(options or {})}
    return {
        "signature": signature.as_dict(),
        "framework": framework,
        "versions": dict(versions),
        "sha256": sha256,
        "metadata": dict(metadata),
        **of_format,
    }


def link_entry(tag: str, store: Path, home: Path) -> None:
    """Link the model *tag* (exact) of the BentoML home *store* into *home*, as the latest of its name."""
    name, _, version = tag.partition(":")
    link = home / "models" / name / version
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to((store / "models" / name / version).resolve())
    (link.parent / "latest").write_text(version, encoding="utf-8")


def link_entries(store: Path, home: Path) -> None:
    """Link every model of the BentoML home *store* into *home*; the latest versions stay the latest."""
    for entry in sorted(store.glob("models/*/*/model.yaml")):
        link = home / "models" / entry.parents[1].name / entry.parent.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(entry.parent.resolve())
    for pointer in store.glob("models/*/latest"):
        copy = home / "models" / pointer.parent.name / "latest"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(pointer.read_bytes())


def _version_in(pointer: Path) -> str:
    try:
        return named_file.read_text(pointer, max_bytes=MAX_POINTER_BYTES).strip()
    except (OSError, ValueError) as problem:
        raise RegistrationError(
            f"cannot read the latest version in {pointer}: {reason_of(problem)}"
        ) from problem


def find_entry(tag: str, home: Path) -> tuple[str, Path]:
    """Find a model in a BentoML home, without changing anything there.

    Args:
        tag: ``name:version``, ``name:latest`` or ``name``.
        home: the BentoML home, the folder that contains ``models``.

    Returns:
        The exact tag, and the entry's folder.

    Raises:
        RegistrationError: there is no such model; the message lists the available ones.
    """
    if is_mlflow_uri(tag):
        raise RegistrationError(
            f"{tag} is the URI of an MLflow model, which is not in {home}: register it first, with "
            "tier0.register_model_for_serving, and use the tag that this returns"
        )
    name, _, version = tag.partition(":")
    folder = home / "models" / name
    if version in {"", "latest"}:
        pointer = folder / "latest"
        version = _version_in(pointer) if pointer.is_file() else "latest"
    try:
        is_entry = (folder / version / "model.yaml").is_file()
    except OSError:  # the name is too long
        is_entry = False
    if not is_entry:
        versions = sorted(path.parent.name for path in folder.glob("*/model.yaml"))
        if versions:
            raise RegistrationError(f"no model {tag!r} in {home}. Versions of {name}: {', '.join(versions)}")
        names = sorted(path.name for path in (home / "models").glob("*"))
        raise RegistrationError(f"no model {tag!r} in {home}. Available models: {', '.join(names) or 'none'}")
    return f"{name}:{version}", folder / version
