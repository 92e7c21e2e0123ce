"""The environment of the processes that Tier0 starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tier0.core.errors import Tier0Error
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


def child_environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment for a process that Tier0 starts.

    It has no BENTOML_* variables of the caller (`bentoml serve` reads its port, host and timeout from them),
    turns telemetry off, limits numerical libraries to one thread, and lets the process import tier0 and the
    same packages as this one (see `_import_path`).

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
        for name, value in os.environ.items()
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
        raise Tier0Error(f"the Python interpreter {python!r} cannot be started: {problem}") from problem
    if done.returncode != 0:
        raise Tier0Error(
            f"the Python interpreter {python!r} ended with status {done.returncode} when it was started: "
            f"{done.stderr.strip()[-ERROR_LENGTH:]}. Check the variables PYTHONHOME and PYTHONPATH"
        )
    path, tier0 = literal_eval(done.stdout.splitlines()[-1])
    return _FreshInterpreter(tuple(os.path.realpath(entry) for entry in path), tier0)
