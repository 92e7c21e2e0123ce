"""The environment of the processes that Tier0 starts."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

PACKAGE_PARENT = Path(__file__).parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NO_TELEMETRY = {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_SENTRY_ENABLE": "false",
    "DO_NOT_TRACK": "true",
}


NOISY = "adds lines to what the process prints"
SLOW = "makes the process slower than in production"
ANOTHER_SERVER = "is about another server"


def _without_errors(filters: str) -> str:
    """Return the filters of PYTHONWARNINGS whose action is not ``error``, which may be abbreviated."""
    actions = [(one, one.partition(":")[0].strip()) for one in filters.split(",")]
    return ",".join(one for one, action in actions if not action or not "error".startswith(action))


def _with_docstrings(level: str) -> str:
    """Return the level of PYTHONOPTIMIZE, or the level that only removes assertions."""
    return "1" if level.isdecimal() and int(level) > 1 else level


def _without_debugging(allocator: str) -> str:
    return "" if "debug" in allocator else allocator


def _nothing(_: str) -> str:
    return ""


SWITCHES: dict[str, tuple[str, Callable[[str], str]]] = {
    "PYTHONWARNINGS": ("turns warnings of the libraries into errors", _without_errors),
    "PYTHONOPTIMIZE": ("removes docstrings that BentoML needs", _with_docstrings),
    "PYTHONMALLOC": (SLOW, _without_debugging),
    "PYTHONDEVMODE": (SLOW, _nothing),
    "PYTHONASYNCIODEBUG": (SLOW, _nothing),
    "PYTHONTRACEMALLOC": (SLOW, _nothing),
    "PYTHONMALLOCSTATS": (NOISY, _nothing),
    "PYTHONPROFILEIMPORTTIME": (NOISY, _nothing),
    "PYTHONVERBOSE": (NOISY, _nothing),
    "PYTHONDEBUG": (NOISY, _nothing),
    "PYTHONINSPECT": ("keeps a process that should end", _nothing),
    "PYTHONSTARTUP": ("is for interactive sessions", _nothing),
    "PYTHONIOENCODING": ("makes a service fail that prints other characters", _nothing),
    "BENTOML_DEBUG": ("makes a service return tracebacks", _nothing),
    "BENTOML_HOST": ("the server listens on loopback", _nothing),
    "BENTOML_PORT": ("the run chooses the port", _nothing),
    "BENTOML_RESULT_STORE": ("a server deletes this file when it starts", _nothing),
    "BENTOML_RUNNER_MAP": (ANOTHER_SERVER, _nothing),
    "BENTOML_SERVE_RUNNER_MAP": (ANOTHER_SERVER, _nothing),
    "BENTOML_SERVE_RUNNER_NAME": (ANOTHER_SERVER, _nothing),
    "BENTOML_SERVE_SERVICE_NAME": (ANOTHER_SERVER, _nothing),
    "BENTOML_SERVE_DEPENDS": (ANOTHER_SERVER, _nothing),
    "BENTOCLOUD_DEPLOYMENT_URL": (ANOTHER_SERVER, _nothing),
}
"""Variables that no process of Tier0 gets, nor a service that it starts, or only in part.

Each has the reason, and a function that returns the part of its value that is passed on. All others of the
interpreter are passed on, such as PYTHONHASHSEED.
"""
FOR_A_USERS_SERVICE = "is for services of your own"
ONE_THREAD_EACH = "Tier0's service uses one thread for each request"
NOT_BENTOMLS = {"BENTOML_HOME", "BENTOML_DO_NOT_TRACK", "BENTOML_SERVICE_URL"}
"""Variables that Tier0 sets or reads itself."""
PATHS = ("BENTOML_CONFIG",)
"""Variables with a path, which is relative to the folder of the user."""


def withheld(environment: Mapping[str, str], *, is_users: bool, one_thread: bool) -> dict[str, str]:
    """Return the variables that a server does not get, or only in part, each with the reason.

    Args:
        environment: environment of the user.
        is_users: whether the server runs a service of the user, and not Tier0's own.
        one_thread: whether the server is limited to one thread.
    """
    found = {
        name: reason
        for name, (reason, passed_on) in SWITCHES.items()
        if (value := environment.get(name)) and passed_on(value) != value
    }
    for name, value in environment.items():
        if not is_users and name.startswith("BENTOML_") and value and name not in {*NOT_BENTOMLS, *found}:
            found[name] = FOR_A_USERS_SERVICE
        elif one_thread and value != ONE_THREAD.get(name, value):
            found[name] = ONE_THREAD_EACH
    return found


def service_environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment for a service of the user: the user's own, without `SWITCHES`.

    In contrast to `child_environment`, it has the user's numbers of threads and BENTOML_* variables, such as
    BENTOML_CONFIG, as it would have in production.
    """
    environment = child_environment(tmp)
    for name in ONE_THREAD:
        environment.pop(name)
    own = {
        name: str(Path(value).expanduser().absolute()) if name in PATHS else value
        for name, value in os.environ.items()
        if name in ONE_THREAD or (name.startswith("BENTOML_") and name not in SWITCHES)
    }
    return {**environment, **own, **NO_TELEMETRY, **more}


def without_switches(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without the effects of `SWITCHES`."""
    kept = {
        name: SWITCHES[name][1](value) if name in SWITCHES else value for name, value in environment.items()
    }
    return {name: value for name, value in kept.items() if value or name not in SWITCHES}


def child_environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment for a process that Tier0 starts.

    It has no BENTOML_* variables of the caller (`bentoml serve` reads its port, host and timeout from them)
    and none of `SWITCHES`, turns telemetry off, limits numerical libraries to one thread, and makes tier0
    importable, also from a checkout.

    Args:
        tmp: directory for temporary files.
        more: additional variables.
    """
    kept = {
        name: value
        for name, value in without_switches(os.environ).items()
        if not name.startswith("BENTOML_") and name != "PYTEST_CURRENT_TEST"
    }
    path = os.pathsep.join(_import_path())
    return {**kept, **NO_TELEMETRY, **ONE_THREAD, "TMPDIR": str(tmp), "PYTHONPATH": path, **more}


def _import_path() -> list[str]:
    """Return PYTHONPATH, after the directory of tier0 if that is a checkout.

    The directory of an installed tier0 is site-packages, which must not precede the standard library.
    """
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    own = [] if PACKAGE_PARENT in installed else [str(PACKAGE_PARENT)]
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return own + [str(Path(entry).absolute()) for entry in entries if entry]
