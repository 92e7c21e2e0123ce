"""The address of an MLflow store: absolute, and without credentials where it is shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass, url2pathname

from tier0.core.errors import Tier0Error
from tier0.core.secrets import ENVIRONMENT

SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?)://(?:/(?P<path>[^?]*))?(?P<query>\?.*)?")
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
HTTP_PORTS = {"http": 80, "https": 443}
KEYWORDS = {"databricks", "databricks-uc", "uc"}
"""Tracking URIs of MLflow that look like the name of a folder."""
USER_INFORMATION = re.compile(r"(?<=://)(?:[^/\s:@]*:(?!\d+(?:/|\s|$))\S*|[^/\s]*)@")
"""User and password in a URI, even if the password has a slash that is not escaped."""
ARTIFACTS = "mlruns"
"""MLflow's default name for the folder of artifacts, and of a file store."""
TRUE = {"true", "1"}
SERVER_ONLY = (
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_ARTIFACT_ROOT",
    "MLFLOW_ARTIFACTS_DESTINATION",
    "MLFLOW_BACKEND_STORE_URI",
)
"""Variables that configure ``mlflow server``."""


@dataclass(frozen=True)
class TrackingStore:
    """An MLflow tracking store.

    Attributes:
        uri: tracking URI, with its credentials; file paths in it are absolute.
        path: SQLite file, or folder of a file store; None for a server.
        base: folder in which MLflow creates ``mlruns`` for the artifacts of new experiments; None if a
            tracking server or a plugin decides.
        is_named: whether the user named the store; otherwise it is a file in the run's folder.
    """

    uri: str
    path: Path | None
    base: Path | None
    is_named: bool = True

    @classmethod
    def in_folder(cls, folder: Path) -> TrackingStore:
        """Return the default store: an SQLite file in *folder*, with the artifacts beside it."""
        path = folder / "mlflow.db"
        return cls(f"sqlite:///{_encoded(str(path))}", path, folder, is_named=False)

    @classmethod
    def named(cls, uri: str, folder: Path) -> TrackingStore:
        """Return the store that *uri* names; relative paths are relative to *folder*.

        Raises:
            Tier0Error: the store would be in the memory of a process.
        """
        if sqlite := SQLITE.fullmatch(uri):
            return cls._sqlite(uri, sqlite, folder)
        scheme = urlsplit(uri).scheme.lower()
        if uri not in KEYWORDS and scheme in {"", "file"}:
            return cls._files(uri, folder)
        is_database = scheme.partition("+")[0] in DATABASE_PORTS
        return cls(uri, None, folder if is_database else None)

    @classmethod
    def _sqlite(cls, uri: str, parts: re.Match[str], folder: Path) -> TrackingStore:
        name, query = _decoded(parts["path"] or ""), parts["query"] or ""
        is_uri = name.startswith("file:")
        plain = url2pathname(name.removeprefix("file:")) if is_uri else name
        if plain in {"", ":memory:"} or "mode=memory" in query:
            raise Tier0Error(
                f"MLFLOW_TRACKING_URI {uri!r} is a database in memory, which no other process can read. "
                "Set it to a file, such as sqlite:///mlflow.db"
            )
        path = _absolute(plain, folder)
        shown = f"file:{quote(str(path))}" if is_uri else str(path)
        return cls(f"{parts['scheme']}:///{_encoded(shown)}{query}", path, path.parent)

    @classmethod
    def _files(cls, uri: str, folder: Path) -> TrackingStore:
        parts = urlsplit(uri)
        if parts.netloc not in {"", "localhost", "127.0.0.1", "."}:
            return cls(uri, None, None)  # MLflow rejects it, and names the reason
        path = _absolute(url2pathname(parts.path) or ARTIFACTS, folder)
        return cls(path.as_uri(), path, path.parent)

    @property
    def shown(self) -> str:
        """The tracking URI without credentials, for messages and reports."""
        return self.uri if self.path is not None else without_credentials(self.uri)

    @property
    def is_database(self) -> bool:
        """Whether MLflow opens a database, not files or an HTTP server."""
        scheme = self.uri.partition("+")[0].partition(":")[0].lower()
        return scheme == "sqlite" or scheme in DATABASE_PORTS

    @property
    def server(self) -> tuple[str, int] | None:
        """Host and port of the server; None without a server, or if a proxy connects to it."""
        parts = urlsplit(self.uri)
        scheme = parts.scheme.lower().partition("+")[0]
        ports = {**DATABASE_PORTS, **HTTP_PORTS}
        try:
            host, port = parts.hostname, parts.port or ports.get(scheme)
        except ValueError:  # several hosts
            return None
        if host is None or port is None or scheme not in ports:
            return None
        is_proxied = scheme in HTTP_PORTS and scheme in getproxies() and not proxy_bypass(host)
        return None if is_proxied else (host, port)

    def without_secrets(self, message: str) -> str:
        """Return a message of MLflow without the credentials of the store."""
        message = message.replace(self.uri, self.shown)
        return USER_INFORMATION.sub("", ENVIRONMENT.hide(message))


def _absolute(name: str, folder: Path) -> Path:
    """Return a path without ``.`` and ``..``; symbolic links stay."""
    return Path(os.path.abspath(folder / name))  # noqa: PTH100 - Path.absolute keeps ".."


def _is_encoded() -> bool:
    """Return True if the path in a database URI is percent-encoded: SQLAlchemy 2.1 decodes it."""
    try:
        major, minor = version("sqlalchemy").split(".")[:2]
    except PackageNotFoundError:
        return True
    return (int(major), int(minor)) >= (2, 1)


def _encoded(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3F") if _is_encoded() else path


def _decoded(path: str) -> str:
    return unquote(path) if _is_encoded() else path


def without_credentials(uri: str) -> str:
    """Return the URI of a server without user, password and query, which may contain a password, too."""
    return USER_INFORMATION.sub("", uri.partition("?")[0])


def ineffective_variables(environ: Mapping[str, str], *, is_named: bool) -> list[str]:
    """Return a sentence about each variable that steers MLflow, but not the logging of this run.

    Args:
        environ: environment variables.
        is_named: whether the user named the tracking store.
    """
    sentences = []
    if run_id := environ.get("MLFLOW_RUN_ID"):
        sentences.append(
            f"MLFLOW_RUN_ID: MLflow run {run_id} is left unchanged; this training is a new MLflow run"
        )
    if environ.get("MLFLOW_ACTIVE_MODEL_ID"):
        sentences.append("MLFLOW_ACTIVE_MODEL_ID: the metrics are not added to that model")
    if environ.get("MLFLOW_REGISTRY_URI"):
        sentences.append("MLFLOW_REGISTRY_URI: the model is logged, but not added to a model registry")
    if environ.get("MLFLOW_ENABLE_ASYNC_LOGGING", "").lower() in TRUE:
        sentences.append("MLFLOW_ENABLE_ASYNC_LOGGING: this training is logged synchronously")
    sentences += [f"{name}: applies to `mlflow server` only" for name in SERVER_ONLY if environ.get(name)]
    if not is_named:
        why = "MLFLOW_TRACKING_URI is not set, so the training is logged to a store in the run's folder"
        names = ("MLFLOW_EXPERIMENT_ID", "DATABRICKS_RUNTIME_VERSION")
        sentences += [f"{name}: {why}" for name in names if environ.get(name)]
    return sentences
