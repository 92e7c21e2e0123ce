"""Provenance of a run: its start, commit, and versions of packages."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from typing import TypedDict

PROJECT = "pytest-tier0"
PACKAGES = ("numpy", "pandas", "scikit-learn", "xgboost", "lightgbm", "mlflow", "bentoml", PROJECT)


class Provenance(TypedDict):
    """Provenance of a run.

    Attributes:
        started: start of the run, ISO 8601 in UTC.
        python: version of Python.
        versions: versions of the installed `PACKAGES`.
        commit: git commit of the working directory; None if it has none.
    """

    started: str
    python: str
    versions: dict[str, str]
    commit: str | None


def provenance() -> Provenance:
    """Return the provenance of a run that starts now."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Return the version of each of `PACKAGES` that is installed."""
    return {name: version for name in PACKAGES if (version := version_of(name)) is not None}


def version_of(package: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def project_url(label: str) -> str | None:
    """Return the address that ``[project.urls]`` of pyproject.toml has for *label*, such as ``Issues``.

    Returns:
        None where it has none, or where the package runs from a checkout without being installed.
    """
    try:
        entries = importlib.metadata.metadata(PROJECT).get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    urls = dict(entry.split(", ", 1) for entry in entries)
    return urls.get(label)


def commit() -> str | None:
    """Return the git commit of the working directory; None if it has none."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
