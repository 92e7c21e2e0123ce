"""Errors that Tier0 raises on purpose.

Each names what is wrong, where it came from and the remedy, and has the exit status of the command line:
1 for "failed", 2 for "inconclusive".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tier0.core import display


class Tier0Error(Exception):
    """Base class of all errors raised by Tier0."""

    exit_status = 2
    file: Path | None = None
    """The file that the user has to correct; None if the error is not about one."""

    def __str__(self) -> str:
        """Return the message for display: it may contain text of a file or a service."""
        return display.terminal(super().__str__())


@contextmanager
def reading(file: Path | str) -> Iterator[None]:
    """Let errors that are raised within name the file to correct."""
    try:
        yield
    except Tier0Error as problem:
        problem.file = Path(file)
        raise


def reason_of(problem: Exception) -> str:
    """Return the system's reason, without its number and the path, or the message of another error."""
    return (isinstance(problem, OSError) and problem.strerror) or str(problem)


class SettingsError(Tier0Error):
    """A setting is invalid; raised before any work is done.

    Attributes:
        setting: name of the setting, such as ``hpo_trials``; empty if the error is about several.
        source: source of the value, such as ``--tier0-seed`` or ``environment variable TIER0_SEED``.
    """

    def __init__(self, message: str, *, setting: str = "", source: str = "") -> None:
        super().__init__(message)
        self.setting = setting
        self.source = source


class UnknownCheckError(SettingsError):
    """The name of a group or check is unknown."""


class DatasetError(Tier0Error):
    """The data cannot be read, or no model can be trained on it."""


class UntrustedFileError(Tier0Error):
    """Loading a file could execute code that another user wrote."""


class MissingDependencyError(Tier0Error):
    """An optional library is required but not installed."""


EXTRAS: Mapping[str, str] = {
    **dict.fromkeys(("bentoml", "orjson", "cloudpickle", "threadpoolctl", "starlette"), "bentoml"),
    **dict.fromkeys(("sklearn", "pandas", "pyarrow"), "service"),
    **dict.fromkeys(("xgboost", "lightgbm", "optuna", "pydantic", "mlflow", "rich"), "pipeline"),
    **dict.fromkeys(("econml", "causaldata"), "causal"),
    **dict.fromkeys(("pytest_html", "jinja2", "markupsafe"), "report"),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    "catboost": "catboost",
    "torch": "torch",
    "fastapi": "api",
    "opik": "opik",
    "distributed": "dask",
}
"""The extra that installs a module, by the module's name."""


NESTED = ("bentoml", "service", "pipeline")
"""Extras that each contain those before it."""


def missing_extra(problem: BaseException, extra: str = "bentoml") -> MissingDependencyError | None:
    """Return an error that names the extra to install if an optional library is missing, None otherwise.

    Args:
        problem: the error of an import.
        extra: what the work as a whole needs, one of `NESTED`: named in the place of a smaller one.
    """
    module = (problem.name or "").partition(".")[0] if isinstance(problem, ModuleNotFoundError) else ""
    if module not in EXTRAS:
        return None
    named = EXTRAS[module]
    if named in NESTED:
        named = max(named, extra, key=NESTED.index)
    return MissingDependencyError(
        f"this needs the package {module}, which is not installed: pip install 'pytest-tier0[{named}]'"
    )


def require_bentoml(extra: str) -> None:
    """Check, before a process is started, that there is a BentoML to start.

    Args:
        extra: what the work as a whole needs, one of `NESTED`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        is_missing = find_spec("bentoml") is None
    except ModuleNotFoundError:  # an import hook of this process refuses it
        is_missing = True
    if is_missing:
        missing = ModuleNotFoundError(name="bentoml")
        raise missing_extra(missing, extra) or missing


def first_line(problem: BaseException) -> str:
    """Return the first line of an error's message."""
    return display.line(str(problem).strip().partition("\n")[0])


class UselessModelError(Tier0Error):
    """The trained model is not better than a trivial one; the message contains the numbers."""

    exit_status = 1


class RegistrationError(Tier0Error):
    """The model cannot be registered in the store."""


class ModelChangedError(RegistrationError):
    """The saved model differs from the model in memory."""

    exit_status = 1


SERVER_NOT_READY = "the server did not become ready"
"""Beginning of the message for a server that did not start; the end of its log follows."""


class ServerError(Tier0Error):
    """The server did not start, exited, or could not be stopped."""

    exit_status = 1


class StartTimeoutError(ServerError):
    """The server was not ready in time, which a busy machine may be the reason of."""

    exit_status = 2


class PortInUseError(ServerError):
    """The requested port is used by another process."""

    exit_status = 2


class PredictionMismatchError(Tier0Error):
    """The served predictions differ from those of the model in memory.

    Attributes:
        answer: the response, if it is known.
    """

    exit_status = 1

    def __init__(self, message: str, answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.answer = answer or {}


class InvalidRowError(Tier0Error):
    """A request that the model cannot process: an error of the caller, which gets a 4xx response.

    Attributes:
        field: where in the request the problem is, such as ``features[3].age``.
        remedy: what the caller can do about it.
        status: HTTP status of the response.
    """

    def __init__(self, field: str, message: str, remedy: str, *, status: int = 422) -> None:
        super().__init__(f"{field}: {message}. {remedy}")
        self.field = field
        self.message = message
        self.remedy = remedy
        self.status = status

    def as_dict(self) -> dict[str, dict[str, str]]:
        """Return the JSON body of the 4xx response."""
        return {"error": {"field": self.field, "message": self.message, "remedy": self.remedy}}


class QueueFullError(Tier0Error):
    """More requests are waiting for a model than it can process in time."""
