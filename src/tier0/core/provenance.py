"""Where a run comes from: versions, commit and when."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from typing import TypedDict

PROJECT = "pytest-tier0"
PACKAGES = ("numpy", "pandas", "scikit-learn", "xgboost", "lightgbm", "mlflow", "bentoml", PROJECT)


class Provenance(TypedDict):
    """Where a run comes from."""

    started: str
    python: str
    versions: dict[str, str]
    commit: str | None


def provenance() -> Provenance:
    """Return ``started`` (ISO 8601, UTC), ``python``, ``versions`` of the packages that matter, and ``commit`` of the working folder, if any."""
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
    """Return the version of a distribution, or None where it is not installed."""
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
    """Return the commit of the folder that this runs in, if git knows one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
