"""Every error that Tier0 raises on purpose.

Each says what is wrong, where it came from and how to mend it, and carries the exit status that the command
line gives for it: 1 "failed", 2 "inconclusive".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Tier0Error(Exception):
    """Base of all errors raised by Tier0."""

    exit_status = 2


class SettingsError(Tier0Error):
    """A setting has a value that cannot be used; raised before any work is done."""


class UnknownCheckError(SettingsError):
    """A group or check was named that does not exist."""


class DatasetError(Tier0Error):
    """The data cannot be read, or cannot be trained on."""


class MissingDependencyError(Tier0Error):
    """An optional library is needed and not installed."""


EXTRAS: Mapping[str, str] = {
    **dict.fromkeys(("bentoml", "orjson", "cloudpickle", "threadpoolctl", "starlette"), "bentoml"),
    **dict.fromkeys(
        ("sklearn", "pandas", "pyarrow", "xgboost", "lightgbm", "optuna", "pydantic", "mlflow", "rich"),
        "pipeline",
    ),
    **dict.fromkeys(("econml", "causaldata"), "causal"),
    **dict.fromkeys(("pytest_html", "jinja2", "markupsafe"), "report"),
    "fastapi": "api",
    "opik": "opik",
    "distributed": "dask",
}
"""Module to the extra that installs it."""


def missing_extra(problem: BaseException) -> MissingDependencyError | None:
    """Return what to install, where *problem* is a library of an extra that is not installed; None for anything else."""
    module = (problem.name or "").partition(".")[0] if isinstance(problem, ModuleNotFoundError) else ""
    if module not in EXTRAS:
        return None
    return MissingDependencyError(
        f"this needs the package {module}, which is not installed: pip install 'pytest-tier0[{EXTRAS[module]}]'"
    )


def first_line(problem: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(problem).strip().partition("\n")[0]


class UselessModelError(Tier0Error):
    """The trained model is not worth serving; the message holds the numbers."""

    exit_status = 1


class RegistrationError(Tier0Error):
    """The model cannot be put into the store."""


class ModelChangedError(RegistrationError):
    """The model that was saved is not the model in memory any more."""

    exit_status = 1


class ServerError(Tier0Error):
    """The server did not start, died, or could not be stopped."""

    exit_status = 1


class PortInUseError(ServerError):
    """The port that was asked for belongs to somebody else."""

    exit_status = 2


class PredictionMismatchError(Tier0Error):
    """What was served is not what the in-memory model gave.

    Attributes:
        answer: what was served, where that is known.
    """

    exit_status = 1

    def __init__(self, message: str, answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.answer = answer or {}


class InvalidRowError(Tier0Error):
    """A request that the model cannot be asked: the caller's fault, answered with a 4xx.

    Attributes:
        field: where in the request the problem is, such as ``features[3].age``.
        remedy: what the caller can do about it.
        status: the HTTP status to answer with.
    """

    def __init__(self, field: str, message: str, remedy: str, *, status: int = 422) -> None:
        super().__init__(f"{field}: {message}. {remedy}")
        self.field = field
        self.message = message
        self.remedy = remedy
        self.status = status

    def as_dict(self) -> dict[str, dict[str, str]]:
        """Return the JSON body of the 4xx answer."""
        return {"error": {"field": self.field, "message": self.message, "remedy": self.remedy}}


class QueueFullError(Tier0Error):
    """More requests wait for a model than it can answer in time."""
