"""The environment of the processes that Tier0 starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tier0.core.errors import Tier0Error, reason_of
from tier0.core.own_code import is_site_folder

PACKAGE_PARENT = Path(__file__).parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NO_TELEMETRY = {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_SENTRY_ENABLE": "false",
    "DO_NOT_TRACK": "true",
}
ERROR_LENGTH = 500


IMPORT_PATH = "TIER0_IMPORT_PATH"
"""Variable with the folders that `extend_import_path` adds, as a JSON list."""
PROBE = (
    "import sys, importlib.util; found = importlib.util.find_spec('tier0'); "
    "print(ascii((sys.path, found and found.origin)))"
)
PROBE_TIMEOUT = 30.0


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


def production_environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return a `child_environment` with the numbers of threads and the modules of production.

    Only the user's own variables limit threads, and nothing is imported from other folders of this process.
    """
    environment = child_environment(tmp)
    for name in (*ONE_THREAD, IMPORT_PATH):
        environment.pop(name)
    threads = {name: os.environ[name] for name in ONE_THREAD if name in os.environ}
    return {**environment, **threads, **more}


def service_environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment for a service of the user: the user's own, without `SWITCHES`.

    In contrast to `production_environment`, it has the user's BENTOML_* variables, such as BENTOML_CONFIG.
    """
    own = {
        name: str(Path(value).expanduser().absolute()) if name in PATHS else value
        for name, value in os.environ.items()
        if name.startswith("BENTOML_") and name not in SWITCHES
    }
    return {**production_environment(tmp), **own, **NO_TELEMETRY, **more}


def without_switches(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without the effects of `SWITCHES`."""
    kept = {
        name: SWITCHES[name][1](value) if name in SWITCHES else value for name, value in environment.items()
    }
    return {name: value for name, value in kept.items() if value or name not in SWITCHES}


def child_environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment for a process that Tier0 starts.

    It has no BENTOML_* variables of the caller (`bentoml serve` reads its port, host and timeout from them)
    and none of `SWITCHES`, turns telemetry off, limits numerical libraries to one thread, and lets the
    process import tier0 and the same packages as this one (see `_import_path`).

    Args:
        tmp: directory for temporary files.
        more: additional variables.

    Raises:
        Tier0Error: the interpreter cannot be started.
    """
    kept = _heeded_variables()
    packages, more_folders = _import_path(kept)
    return {
        **kept,
        **NO_TELEMETRY,
        **ONE_THREAD,
        "TMPDIR": str(tmp),
        "PYTHONPATH": os.pathsep.join(packages),
        IMPORT_PATH: json.dumps(more_folders),
        **more,
    }


def extend_import_path() -> None:
    """Add the folders from which the parent process imports, in a process with a `child_environment`.

    They come after the environment's own, so that none of their files can shadow a library.
    """
    folders: list[str] = json.loads(os.environ.get(IMPORT_PATH, "[]"))
    sys.path.extend(folder for folder in folders if folder not in sys.path)


def _heeded_variables() -> dict[str, str]:
    """Return the variables for a child process, and only those of Python that this process heeds itself.

    An interpreter in isolated mode ignores them, and so must its children, or they would import others.
    """
    kept = {
        name: value
        for name, value in without_switches(os.environ).items()
        if not name.startswith("BENTOML_")
        and name != "PYTEST_CURRENT_TEST"
        and not (sys.flags.ignore_environment and name.startswith("PYTHON"))
    }
    return {**kept, "PYTHONNOUSERSITE": "1"} if sys.flags.no_user_site else kept


class _FreshInterpreter(NamedTuple):
    """What an interpreter finds by itself that is started like this one.

    Attributes:
        path: its ``sys.path``, with links resolved.
        tier0: file of the package tier0; None if it finds none.
    """

    path: tuple[str, ...]
    tier0: str | None


def _import_path(variables: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return PYTHONPATH for a child process, and the folders that `extend_import_path` adds there.

    PYTHONPATH comes before the standard library. It therefore gets, besides the entries that it has, only
    what the child needs for its start: the folder of tier0, if the child would not find this very tier0 by
    itself, and folders of installed packages that this process has put before the standard library.
    """
    given = _absolute(filter(None, variables.get("PYTHONPATH", "").split(os.pathsep)))
    settings = {name: value for name, value in variables.items() if name.startswith("PYTHON")}
    settings["PYTHONPATH"] = os.pathsep.join(given)
    fresh = _start_fresh_interpreter(sys.executable, tuple(sorted(settings.items())))
    own = str(PACKAGE_PARENT / "tier0" / "__init__.py")
    found = fresh.tier0 is not None and os.path.realpath(fresh.tier0) == os.path.realpath(own)
    packages = [*([] if found else [str(PACKAGE_PARENT)]), *given]
    more = []
    precedes_library = True
    for entry in _absolute(path for path in sys.path if isinstance(path, str)):
        if entry in given:
            continue
        if os.path.realpath(entry) in fresh.path:
            precedes_library = False
        elif precedes_library and is_site_folder(entry):
            packages.append(entry)
        else:
            more.append(entry)
    return packages, [entry for entry in dict.fromkeys(more) if entry not in packages]


def _absolute(entries: Iterable[str]) -> list[str]:
    """Return the entries as absolute paths; relative ones are left out if the working directory is gone."""
    found = []
    for entry in entries:
        with suppress(FileNotFoundError):
            found.append(str(Path(entry).absolute()))
    return found


@cache
def _start_fresh_interpreter(python: str, settings: tuple[tuple[str, str], ...]) -> _FreshInterpreter:
    """Start an interpreter, once for each set of variables, and return what it finds by itself.

    Only it knows: the files in its folders of packages (`.pth`) can add others, and can run code.

    Args:
        python: path of the interpreter.
        settings: the variables of Python to start it with.

    Raises:
        Tier0Error: it cannot be started.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            [python, "-P", "-c", PROBE],
            env={**others, **dict(settings)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Tier0Error(
            f"the Python interpreter {python!r} cannot be started: {reason_of(problem)}"
        ) from problem
    if done.returncode != 0:
        raise Tier0Error(
            f"the Python interpreter {python!r} ended with status {done.returncode} when it was started: "
            f"{done.stderr.strip()[-ERROR_LENGTH:]}. Check the variables PYTHONHOME and PYTHONPATH"
        )
    path, tier0 = literal_eval(done.stdout.splitlines()[-1])
    return _FreshInterpreter(tuple(os.path.realpath(entry) for entry in path), tier0)
