"""What is missing in an environment, and the one command that mends it.

Nothing heavy is imported: distributions are looked up by their metadata, which also says which versions are needed.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.requirements import Requirement

from tier0.core.provenance import version_of
from tier0.doctor.requirements import (
    DISTRIBUTION,
    NEEDED_FOR,
    OF_THE_MAIN_JOB,
    Group,
    Metadata,
    command_that_installs,
    lacks,
    without_markers,
)

SCHEMA = 1
PLUGIN = "tier0.pytest_plugin"
NOT_READ_BY_SERVE = {"BENTOML_HOME", "BENTOML_SERVICE_URL", "BENTOML_DO_NOT_TRACK"}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - it is looked at, not written to
MIN_FREE_BYTES = 200_000_000
PR_GET_CHILD_SUBREAPER = 37
PYTEST_FILES = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")

Status = Literal["ok", "missing", "warns"]


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        status: ``missing`` is not there, ``warns`` may surprise.
        name: what was looked at.
        found: what it is like.
        needed_for: what does not work without it.
        remedy: what mends it, where something has to be mended.
        main_job: whether ``pytest -m tier0_bentoml`` needs it.
    """

    status: Status
    name: str
    found: str
    needed_for: str
    remedy: str = ""
    main_job: bool = False

    def __str__(self) -> str:
        remedy = f" → {self.remedy}" if self.remedy else ""
        return f"{self.status:<9}{self.name:<20} {self.found} (for {self.needed_for}){remedy}"


@dataclass(frozen=True)
class Environment:
    """What is looked at.

    Attributes:
        variables: of the environment.
        folder: the working folder.
        python: the interpreter's path.
        version: the interpreter's version.
        system: as `sys.platform` has it.
        metadata: what Tier0 requires.
        installed: gives the version of a distribution; None where it is not installed.
        plugins: the pytest plugins that are loaded by themselves.
    """

    variables: Mapping[str, str]
    folder: Path
    python: str
    version: str
    system: str
    metadata: Metadata
    installed: Callable[[str], str | None]
    plugins: frozenset[str]

    @classmethod
    def here(cls) -> Environment:
        """Return the environment of this process."""
        plugins = frozenset(point.name for point in importlib.metadata.entry_points(group="pytest11"))
        return cls(
            os.environ,
            Path.cwd(),
            sys.executable,
            platform.python_version(),
            sys.platform,
            Metadata.read(),
            version_of,
            plugins,
        )

    def lacking(self) -> dict[Group, dict[Requirement, str]]:
        """Return what is missing of each group that is not complete."""
        return {group: missing for group in self.metadata.groups if (missing := lacks(group, self.installed))}

    def pytest_is_told(self, plugin: str) -> bool:
        """Tell whether pytest gets ``-p PLUGIN`` in this folder, whatever it is called with."""
        return re.search(rf"-p[\s=\"',]*{re.escape(plugin)}\b", self._pytest_options()) is not None

    def _pytest_options(self) -> str:
        """Return the variable, and the files of the nearest folder that has some, without what is commented out."""
        lines = [self.variables.get("PYTEST_ADDOPTS", "")]
        for place in (self.folder, *self.folder.parents):
            if files := [place / name for name in PYTEST_FILES if (place / name).is_file()]:
                texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
                lines += [
                    line
                    for text in texts
                    for line in text.splitlines()
                    if not line.lstrip().startswith(("#", ";"))
                ]
                break
        return "\n".join(lines)


def examine(environment: Environment) -> list[Finding]:
    """Look at everything; in less than a second."""
    return [finding for probe in PROBES for finding in probe(environment)]


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 2 if something is missing that the main job needs, and 0 otherwise."""
    return 2 if any(finding.status == "missing" and finding.main_job for finding in findings) else 0


def requirements_to_install(environment: Environment) -> list[str]:
    """Return what pip can mend."""
    return [without_markers(one) for missing in environment.lacking().values() for one in missing]


def command_that_mends(environment: Environment) -> str | None:
    """Return the one command that mends all that pip can mend; None where that is nothing."""
    return command_that_installs(environment.lacking(), environment.metadata, environment.python)


def conclusion(environment: Environment, findings: Iterable[Finding]) -> str:
    """Return whether the main job can run, and what mends the environment."""
    can = "can run" if exit_status(findings) == 0 else "cannot run: see what is missing"
    lines = ["", f"pytest -m tier0_bentoml {can}"]
    if command := command_that_mends(environment):
        needed = " ".join(shlex.quote(text) for text in requirements_to_install(environment))
        lines += ["This command installs all that is missing:", f"  {command}"]
        lines += ["Where this environment may not be changed, its owner needs this list:", f"  {needed}"]
    return "\n".join(lines)


def as_document(environment: Environment, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return all of it as built-in types."""
    return {
        "schema": SCHEMA,
        "verdict": "pass" if exit_status(findings) == 0 else "fail",
        "python": environment.python,
        "findings": [finding._asdict() for finding in findings],
        "requirements": requirements_to_install(environment),
        "command": command_that_mends(environment),
    }


def python(environment: Environment) -> Iterator[Finding]:
    """Is Python new enough?"""
    wanted = environment.metadata.python
    fits = wanted.contains(environment.version, prereleases=True)
    remedy = (
        "" if fits else f"make an environment with another one: python3 -m venv, of a Python that is {wanted}"
    )
    yield Finding(
        "ok" if fits else "missing",
        "Python",
        f"{environment.version} at {environment.python}",
        "everything",
        remedy,
        main_job=True,
    )


def packages(environment: Environment) -> Iterator[Finding]:
    """Are the packages of the base and of each extra there, and new enough?"""
    lacking = environment.lacking()
    for group in environment.metadata.groups:
        versions = ", ".join(f"{one.name} {environment.installed(one.name)}" for one in group.requirements)
        needed, main_job = (
            NEEDED_FOR.get(group.name, f"what needs {group.name}"),
            group.name in OF_THE_MAIN_JOB,
        )
        if group in lacking:
            yield Finding(
                "missing",
                group.label,
                "; ".join(lacking[group].values()),
                needed,
                "the command at the end",
                main_job,
            )
        else:
            yield Finding("ok", group.label, versions, needed, main_job=main_job)


def plugin(environment: Environment) -> Iterator[Finding]:
    """Is our plugin loaded?"""
    needed = "every --tier0 option and fixture"
    conftest = environment.folder / "conftest.py"
    if environment.pytest_is_told(f"no:{PLUGIN}"):
        yield Finding(
            "missing",
            "the plugin",
            "it is switched off by pytest's options",
            needed,
            f"take -p no:{PLUGIN} out of them",
            main_job=True,
        )
    elif environment.pytest_is_told(PLUGIN) or (
        conftest.is_file() and PLUGIN in conftest.read_text(encoding="utf-8", errors="replace")
    ):
        yield Finding("ok", "the plugin", "loaded by this folder's own configuration", needed)
    elif environment.variables.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        remedy = f"unset it, or add -p {PLUGIN}"
        yield Finding(
            "missing",
            "the plugin",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD keeps pytest from loading it",
            needed,
            remedy,
            main_job=True,
        )
    elif PLUGIN not in environment.plugins:
        remedy = f"install {DISTRIBUTION}, or add -p {PLUGIN}"
        yield Finding(
            "missing", "the plugin", f"no entry point {PLUGIN} is installed", needed, remedy, main_job=True
        )
    else:
        yield Finding("ok", "the plugin", f"pytest loads {PLUGIN} by itself", needed)


def bentoml_command(_: Environment) -> Iterator[Finding]:
    """Can BentoML be called?"""
    found = find_spec("bentoml")  # of a package this reads no code
    if found is None:
        return  # told already
    needed = "bentoml serve, which Tier0 calls as python -m bentoml"
    if any((Path(place) / "__main__.py").is_file() for place in found.submodule_search_locations or ()):
        on_path = shutil.which("bentoml")
        yield Finding(
            "ok",
            "python -m bentoml",
            f"bentoml is {f'at {on_path}' if on_path else 'not on PATH, and need not be'}",
            needed,
        )
    else:
        found_at = found.origin or next(iter(found.submodule_search_locations or ()), "nowhere")
        remedy = "move what shadows it, or install bentoml again"
        yield Finding(
            "missing",
            "python -m bentoml",
            f"{found_at} is no BentoML that can be called",
            needed,
            remedy,
            main_job=True,
        )


def opik_plugin(environment: Environment) -> Iterator[Finding]:
    """Does Opik's pytest plugin cost seconds in every run?"""
    if "opik" not in environment.plugins:
        return
    if environment.pytest_is_told("no:opik"):
        yield Finding(
            "ok", "Opik's pytest plugin", "switched off", "runs of pytest that do not import all of Opik"
        )
    else:
        needed = "runs of pytest that begin seconds earlier"
        yield Finding(
            "warns",
            "Opik's pytest plugin",
            "it imports all of Opik in every run",
            needed,
            "add -p no:opik to addopts in pytest.ini",
        )


def litellm(environment: Environment) -> Iterator[Finding]:
    """Does LiteLLM, which comes with Opik, ask the network when it is imported?"""
    name = "LITELLM_LOCAL_MODEL_COST_MAP"
    if environment.installed("litellm") is None:
        return
    needed = "imports of Opik that do not ask the network"
    if environment.variables.get(name, "").lower() == "true":
        yield Finding("ok", "LiteLLM", f"{name} is true", needed)
    else:
        yield Finding(
            "warns",
            "LiteLLM",
            f"it fetches a table from the network when it is imported, unless {name} is true",
            needed,
            f"export {name}=True",
        )


def bentoml_variables(environment: Environment) -> Iterator[Finding]:
    """Are there variables that `bentoml serve` would read?"""
    names = sorted(
        name
        for name in environment.variables
        if name.startswith("BENTOML_") and name not in NOT_READ_BY_SERVE
    )
    needed = "a bentoml serve of your own that does what its command says; Tier0 leaves them out of those that it starts"
    if names:
        yield Finding(
            "warns", "BENTOML_*", f"{', '.join(names)} in the environment", needed, f"unset {' '.join(names)}"
        )
    else:
        yield Finding("ok", "BENTOML_*", "none that bentoml serve would read", needed)


def bentoml_home(environment: Environment) -> Iterator[Finding]:
    """Can the user's own store be used?"""
    needed = "tier0 verify --model, tier0 serve; the main job has a store of its own"
    given = environment.variables.get("BENTOML_HOME")
    home = Path(given or "~/bentoml").expanduser()
    place = next(path for path in (home, *home.absolute().parents) if path.exists())
    there = "" if place == home else ", which does not exist yet"
    if place.is_dir() and os.access(place, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("ok", "BentoML's home", f"{home}{there}", needed)
    else:
        remedy = f"make {place} yours to read and write, or set BENTOML_HOME to a folder of yours"
        yield Finding("warns", "BentoML's home", f"{place} cannot be read and written", needed, remedy)


def temporary_folder(_: Environment) -> Iterator[Finding]:
    """Is there a folder for temporary files, with room?"""
    needed = "the folder of every run"
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
        room = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError as problem:
        remedy = "set TMPDIR to a folder that you may write to"
        yield Finding(
            "missing",
            "temporary files",
            f"none can be written: {problem.strerror or problem}",
            needed,
            remedy,
            main_job=True,
        )
        return
    found = f"{tempfile.gettempdir()}, {room // 1_000_000:,} MB free"
    if room < MIN_FREE_BYTES:
        yield Finding(
            "warns",
            "temporary files",
            found,
            needed,
            f"make room, or set TMPDIR: a run of large data takes {MIN_FREE_BYTES // 1_000_000} MB",
        )
    else:
        yield Finding("ok", "temporary files", found, needed)


def shared_memory(environment: Environment) -> Iterator[Finding]:
    """Can processes share semaphores?"""
    if environment.system != "linux":
        return
    needed = "libraries that train in several processes"
    if os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
        yield Finding("ok", str(SHARED_MEMORY), "can be written to", needed)
    else:
        remedy = "mount one: in a container, docker run --tmpfs /dev/shm or --shm-size 256m"
        yield Finding("warns", str(SHARED_MEMORY), "is not there, or cannot be written to", needed, remedy)


def loopback(_: Environment) -> Iterator[Finding]:
    """Can a process talk to another on this machine?"""
    needed = "every server that is started"
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=5),
        ):
            yield Finding("ok", "loopback", "127.0.0.1 can be listened on and connected to", needed)
    except OSError as problem:
        remedy = "allow sockets on 127.0.0.1: a sandbox or a network plugin of pytest forbids them"
        yield Finding(
            "missing",
            "loopback",
            f"127.0.0.1 cannot be used: {problem.strerror or problem}",
            needed,
            remedy,
            main_job=True,
        )


def guard(environment: Environment) -> Iterator[Finding]:
    """Is what was started sure to end with the run?"""
    needed = "servers that end within a second of a killed run"
    if environment.system == "linux" and _knows_subreapers():
        yield Finding("ok", "the guard", "Linux's subreaper adopts what a killed server leaves", needed)
    else:
        remedy = "nothing; or run on Linux, where it is certain"
        yield Finding(
            "warns",
            "the guard",
            "no subreaper: what is left is looked for with ps, which is less certain",
            needed,
            remedy,
        )


def _knows_subreapers() -> bool:
    adopted = ctypes.c_int()
    return bool(ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(adopted), 0, 0, 0) == 0)


def shadowing_files(environment: Environment) -> Iterator[Finding]:
    """Does a file here take the place of one of the standard library?"""
    needed = "bentoml serve in this folder, which would start for ever and never be ready"
    modules = {path.stem: path for path in environment.folder.glob("*.py")} | {
        path.parent.name: path for path in environment.folder.glob("*/__init__.py")
    }
    shadowing = [
        str(path.relative_to(environment.folder))
        for name, path in sorted(modules.items())
        if name in sys.stdlib_module_names
    ]
    if shadowing:
        verb = "has the name" if len(shadowing) == 1 else "have names"
        yield Finding(
            "warns",
            "file names",
            f"{', '.join(shadowing)} {verb} of a module of the standard library",
            needed,
            "rename it",
        )
    else:
        yield Finding("ok", "file names", "none of this folder shadows the standard library", needed)


PROBES: tuple[Callable[[Environment], Iterator[Finding]], ...] = (
    python, packages, plugin, bentoml_command, opik_plugin, litellm, bentoml_variables, bentoml_home, temporary_folder, shared_memory, loopback,
    guard, shadowing_files,
)  # fmt: skip
