"""Probes of an environment: what is missing, what it is needed for, and the command that installs it.

Nothing heavy is imported: distributions are looked up by their metadata, which also contains the required
versions.
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
from typing import Any

from packaging.requirements import Requirement

from tier0.core.errors import Tier0Error, reason_of
from tier0.core.provenance import version_of
from tier0.doctor.finding import Finding
from tier0.doctor.layout import Layout
from tier0.doctor.requirements import (
    ALGORITHM_OF,
    DISTRIBUTION,
    MAIN_JOB,
    NEEDED_FOR,
    USES,
    Group,
    Metadata,
    install_command,
    missing_of,
    without_markers,
)
from tier0.doctor.trial import NEEDED_FOR as NEEDS_REGISTRATION
from tier0.doctor.trial import REGISTRATION, failed_registration

SCHEMA = 1
PLUGIN = "tier0.pytest_plugin"
NOT_READ_BY_SERVE = {"BENTOML_HOME", "BENTOML_SERVICE_URL", "BENTOML_DO_NOT_TRACK"}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - nothing is written there  # nosec B108
MIN_FREE_BYTES = 200_000_000
PR_GET_CHILD_SUBREAPER = 37
TRIAL_TIMEOUT = 90.0
FOR_SERVERS_ALONE = {"the plugin", "loopback"}
"""Findings that do not matter for a registration."""
PYTEST_FILES = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")


@dataclass(frozen=True)
class Environment:
    """The environment that is examined.

    Attributes:
        variables: environment variables.
        folder: working directory; None if it was deleted.
        python: path of the interpreter.
        version: version of the interpreter.
        system: platform, as in `sys.platform`.
        metadata: requirements of Tier0.
        installed: returns the version of a distribution, or None if it is not installed.
        plugins: names of the pytest plugins that are loaded through entry points.
    """

    variables: Mapping[str, str]
    folder: Path | None
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
            _working_directory(),
            sys.executable,
            platform.python_version(),
            sys.platform,
            Metadata.read(),
            version_of,
            plugins,
        )

    def lacking(self) -> dict[Group, dict[Requirement, str]]:
        """Return the missing requirements of each incomplete group, each with its state."""
        return {
            group: missing
            for group in self.metadata.groups
            if (missing := missing_of(group.requirements, self.installed))
        }

    def has_pytest_option(self, plugin: str) -> bool:
        """Return whether pytest always gets ``-p PLUGIN`` in this directory."""
        return re.search(rf"-p[\s=\"',]*{re.escape(plugin)}\b", self._pytest_options()) is not None

    def _pytest_options(self) -> str:
        """Return PYTEST_ADDOPTS and pytest's configuration files, without comments.

        The files are those of the nearest directory that has some.
        """
        lines = [self.variables.get("PYTEST_ADDOPTS", "")]
        for directory in [] if self.folder is None else (self.folder, *self.folder.parents):
            files = [directory / name for name in PYTEST_FILES if (directory / name).is_file()]
            if files:
                texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
                all_lines = [line for text in texts for line in text.splitlines()]
                lines += [line for line in all_lines if not line.lstrip().startswith(("#", ";"))]
                break
        return "\n".join(lines)


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def examine(environment: Environment) -> list[Finding]:
    """Return the findings of all probes; takes less than a second."""
    return [finding for probe in PROBES for finding in probe(environment)]


def try_out(environment: Environment, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of trials in a process of their own; it takes seconds, but at most `TRIAL_TIMEOUT`.

    A model is registered in a private store, which is deleted afterwards.

    Args:
        environment: the environment of this process.
        findings: what `examine` found; if something that a registration needs is missing, none is tried.
    """
    if reason := _reason_not_to_try(environment, findings):
        return [Finding("warns", REGISTRATION, f"not tried: {reason}", NEEDS_REGISTRATION)]
    from tier0.core.worker_process import WorkerProcess  # noqa: PLC0415 - needs the packages of the base
    from tier0.serving.workspace import Workspace  # noqa: PLC0415

    try:
        workspace = Workspace.create()
        try:
            process = WorkerProcess("tier0.doctor.trial", workspace.folder("d"))
            try:
                outcome = process.execute({}, timeout=TRIAL_TIMEOUT)
            finally:
                process.close()
        finally:
            workspace.close()
    except (Tier0Error, OSError) as problem:
        return [failed_registration(str(problem))]
    return [Finding(**finding) for finding in outcome["findings"]]


def _reason_not_to_try(environment: Environment, findings: Iterable[Finding]) -> str:
    """Return why a registration cannot be tried; empty if it can."""
    absent = [
        finding.found
        for finding in findings
        if finding.status == "missing" and finding.main_job and finding.name not in FOR_SERVERS_ALONE
    ]
    if absent:
        return "; ".join(absent)
    return "" if environment.installed("scikit-learn") else "scikit-learn is not installed"


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 2 if something is missing that registering and serving a model needs, and 0 otherwise."""
    return 2 if any(finding.status == "missing" and finding.main_job for finding in findings) else 0


def requirements_to_install(environment: Environment) -> list[str]:
    """Return the missing requirements, as pip takes them."""
    return [
        without_markers(requirement) for missing in environment.lacking().values() for requirement in missing
    ]


def repair_command(environment: Environment) -> str | None:
    """Return the one command that installs all missing packages; None if none is missing."""
    return install_command(environment.lacking(), environment.metadata, environment.python)


def uses(environment: Environment) -> dict[str, list[str]]:
    """Return the uses of Tier0, each with the distributions that are missing for it."""
    lacking = environment.lacking()
    return {use.name: use.lacks(lacking) for use in USES}


def incomplete_extras(environment: Environment) -> dict[str, list[str]]:
    """Return the extras, each with those of its distributions that are missing or too old."""
    return {
        extra: sorted({one.name for one in missing_of(requirements, environment.installed)})
        for extra, requirements in environment.metadata.extras.items()
    }


def conclusion(environment: Environment, findings: Iterable[Finding]) -> str:
    """Return what can be done in this environment, and the command that installs what is missing."""
    lacking = environment.lacking()
    lines = [""]
    for use in USES:
        missing = use.lacks(lacking)
        outcome = f"needs {', '.join(missing)}" if missing else "its packages are installed"
        lines.append(f"To {use.name} ({use.commands}): {outcome}")
    extras = incomplete_extras(environment)
    for state, names in (
        ("Complete", [name for name in extras if not extras[name]]),
        ("Incomplete", [name for name in extras if extras[name]]),
    ):
        if names:
            lines.append(f"{state} extras: {', '.join(f'[{name}]' for name in names)}")
    absent = [
        ALGORITHM_OF[one.name] for group in lacking.values() for one in group if one.name in ALGORITHM_OF
    ]
    if absent and not USES[-1].lacks(lacking):
        lines.append(f"Leave {' and '.join(absent)} out of --tier0-algorithms, or install what is missing")
    broken = [finding.name for finding in findings if finding.status == "missing" and finding.main_job]
    if broken:
        lines.append(f"Missing to register and serve models: {', '.join(broken)}")
    if command := repair_command(environment):
        needed = " ".join(shlex.quote(text) for text in requirements_to_install(environment))
        what = "all that is missing" if broken else "what only the other uses need"
        lines += [f"This command installs {what}:", f"  {command}"]
        lines += ["If you may not change this environment, its owner needs this list:", f"  {needed}"]
    return "\n".join(lines)


def as_document(environment: Environment, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as JSON types."""
    return {
        "schema": SCHEMA,
        "verdict": "pass" if exit_status(findings) == 0 else "fail",
        "python": environment.python,
        "findings": [finding._asdict() for finding in findings],
        "uses": uses(environment),
        "extras": incomplete_extras(environment),
        "requirements": requirements_to_install(environment),
        "command": repair_command(environment),
    }


def python(environment: Environment) -> Iterator[Finding]:
    """Yield whether Python is new enough."""
    required = environment.metadata.python
    found = f"{environment.version} at {environment.python}"
    if required.contains(environment.version, prereleases=True):
        yield Finding("ok", "Python", found, "everything", main_job=True)
    else:
        remedy = f"create an environment with Python {required}: python3 -m venv"
        yield Finding("missing", "Python", found, "everything", remedy, main_job=True)


def layout(environment: Environment) -> Iterator[Finding]:
    """Yield the layout of the environment."""
    names = [one.name for group in environment.metadata.groups for one in group.requirements]
    yield Finding("ok", "layout", str(Layout.here([DISTRIBUTION, *names])), "everything")


def working_directory(environment: Environment) -> Iterator[Finding]:
    """Yield whether the working directory exists; nothing if it does."""
    if environment.folder is None:
        found = "it was deleted; configuration in it was not examined"
        yield Finding(
            "warns", "working directory", found, "commands with relative paths", "change to another"
        )


def packages(environment: Environment) -> Iterator[Finding]:
    """Yield whether the packages of the base and of each extra are installed, and new enough."""
    lacking = environment.lacking()
    for group in environment.metadata.groups:
        needed = NEEDED_FOR.get(group.name, f"what needs {group.name}")
        main_job = group.name in MAIN_JOB
        if group in lacking:
            found = "; ".join(lacking[group].values())
            remedy = "the command at the end installs it"
            yield Finding("missing", group.label, found, needed, remedy, main_job)
        else:
            versions = [f"{one.name} {environment.installed(one.name)}" for one in group.requirements]
            yield Finding("ok", group.label, ", ".join(versions), needed, main_job=main_job)


def plugin(environment: Environment) -> Iterator[Finding]:
    """Yield whether pytest loads the plugin."""
    name, needed = "the plugin", "every --tier0 option and fixture"
    is_in_conftest = environment.folder is not None and _is_named_in(environment.folder / "conftest.py")
    if environment.has_pytest_option(f"no:{PLUGIN}"):
        found = "switched off by pytest's options"
        remedy = f"remove -p no:{PLUGIN} from them"
        yield Finding("missing", name, found, needed, remedy, main_job=True)
    elif environment.has_pytest_option(PLUGIN) or is_in_conftest:
        yield Finding("ok", name, "loaded by this directory's own configuration", needed)
    elif environment.variables.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        found = "PYTEST_DISABLE_PLUGIN_AUTOLOAD keeps pytest from loading it"
        yield Finding("missing", name, found, needed, f"unset it, or add -p {PLUGIN}", main_job=True)
    elif PLUGIN not in environment.plugins:
        found = f"no entry point {PLUGIN} is installed"
        remedy = f"install {DISTRIBUTION}, or add -p {PLUGIN}"
        yield Finding("missing", name, found, needed, remedy, main_job=True)
    else:
        yield Finding("ok", name, f"pytest loads {PLUGIN} by itself", needed)


def _is_named_in(conftest: Path) -> bool:
    return conftest.is_file() and PLUGIN in conftest.read_text(encoding="utf-8", errors="replace")


def bentoml_command(_: Environment) -> Iterator[Finding]:
    """Yield whether ``python -m bentoml`` can run; nothing if bentoml is not installed at all."""
    name, needed = "python -m bentoml", "bentoml serve, which Tier0 runs as python -m bentoml"
    spec = find_spec("bentoml")  # runs no code of the package
    if spec is None:
        return
    locations = list(spec.submodule_search_locations or ())
    if any((Path(location) / "__main__.py").is_file() for location in locations):
        on_path = shutil.which("bentoml")
        found = f"bentoml is {f'at {on_path}' if on_path else 'not on PATH, and need not be'}"
        yield Finding("ok", name, found, needed)
    else:
        place = spec.origin or next(iter(locations), "a package without files")
        remedy = "rename what shadows it, or install bentoml again"
        found = f"{place} is not a BentoML with a command"
        yield Finding("missing", name, found, needed, remedy, main_job=True)


def opik_plugin(environment: Environment) -> Iterator[Finding]:
    """Yield whether Opik's pytest plugin slows down every run; nothing if Opik is not installed."""
    name = "Opik's pytest plugin"
    if "opik" not in environment.plugins:
        return
    if environment.has_pytest_option("no:opik"):
        yield Finding("ok", name, "switched off", "runs of pytest that do not import all of Opik")
    else:
        found, remedy = "imports all of Opik in every run", "add -p no:opik to addopts in pytest.ini"
        yield Finding("warns", name, found, "runs of pytest that start seconds earlier", remedy)


def litellm(environment: Environment) -> Iterator[Finding]:
    """Yield whether LiteLLM, which Opik installs, uses the network when it is imported."""
    variable, needed = "LITELLM_LOCAL_MODEL_COST_MAP", "imports of Opik that do not use the network"
    if environment.installed("litellm") is None:
        return
    if environment.variables.get(variable, "").lower() == "true":
        yield Finding("ok", "LiteLLM", f"{variable} is true", needed)
    else:
        found = f"downloads a table of models when it is imported, unless {variable} is true"
        yield Finding("warns", "LiteLLM", found, needed, f"export {variable}=True")


def bentoml_variables(environment: Environment) -> Iterator[Finding]:
    """Yield whether there are variables that `bentoml serve` would read."""
    names = sorted(
        name
        for name in environment.variables
        if name.startswith("BENTOML_") and name not in NOT_READ_BY_SERVE
    )
    needed = "services of your own; the service and the commands of Tier0 do not get these variables"
    if names:
        found = f"{', '.join(names)} in the environment"
        yield Finding("warns", "BENTOML_*", found, needed, f"unset {' '.join(names)}")
    else:
        yield Finding("ok", "BENTOML_*", "none that bentoml serve would read", needed)


def bentoml_home(environment: Environment) -> Iterator[Finding]:
    """Yield whether the user's own store can be read and written."""
    name = "BentoML's home"
    needed = "tier0 verify --model, tier0 serve; pytest -m tier0_bentoml uses a store of its own"
    try:
        home = Path(environment.variables.get("BENTOML_HOME") or "~/bentoml").expanduser()
        existing = next(path for path in (home, *home.absolute().parents) if path.exists())
    except (RuntimeError, FileNotFoundError) as problem:  # no home directory, no working directory
        remedy = "set BENTOML_HOME to a directory of yours, as an absolute path"
        yield Finding("warns", name, f"its path is unknown: {problem}", needed, remedy)
        return
    if existing.is_dir() and os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        state = "" if existing == home else ", which does not exist yet"
        yield Finding("ok", name, f"{home}{state}", needed)
    else:
        found = f"{existing} is not a directory that you can read and write"
        remedy = "change its permissions, or set BENTOML_HOME to a directory of yours"
        yield Finding("warns", name, found, needed, remedy)


def temporary_folder(_: Environment) -> Iterator[Finding]:
    """Yield whether there is a directory for temporary files, with enough space."""
    name, needed = "temporary files", "the directory of every run"
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
        free = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError as problem:
        found = f"none can be written: {reason_of(problem)}"
        remedy = "set TMPDIR to a directory that you can write to"
        yield Finding("missing", name, found, needed, remedy, main_job=True)
        return
    found = f"{tempfile.gettempdir()}, {free // 1_000_000:,} MB free"
    if free < MIN_FREE_BYTES:
        megabytes = MIN_FREE_BYTES // 1_000_000
        remedy = f"free some space, or set TMPDIR: a run with large data needs {megabytes} MB"
        yield Finding("warns", name, found, needed, remedy)
    else:
        yield Finding("ok", name, found, needed)


def shared_memory(environment: Environment) -> Iterator[Finding]:
    """Yield whether processes can share semaphores; nothing on systems other than Linux."""
    name, needed = str(SHARED_MEMORY), "libraries that train in several processes"
    if environment.system != "linux":
        return
    if os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
        yield Finding("ok", name, "is writable", needed)
    else:
        remedy = "mount it: in a container, docker run --tmpfs /dev/shm or --shm-size 256m"
        yield Finding("warns", name, "does not exist, or is not writable", needed, remedy)


def loopback(_: Environment) -> Iterator[Finding]:
    """Yield whether processes can connect to each other on this machine."""
    needed = "every server that is started"
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=5),
        ):
            found = "a server on 127.0.0.1 accepts connections"
            yield Finding("ok", "loopback", found, needed)
    except OSError as problem:
        found = f"127.0.0.1 cannot be used: {reason_of(problem)}"
        remedy = "allow sockets on 127.0.0.1, which a sandbox or a pytest plugin may forbid"
        yield Finding("missing", "loopback", found, needed, remedy, main_job=True)


def guard(environment: Environment) -> Iterator[Finding]:
    """Yield whether all processes of a run are certain to end with it."""
    name, needed = "the guard", "servers that end within a second of a killed run"
    if environment.system == "linux" and _supports_subreapers():
        yield Finding("ok", name, "a Linux subreaper adopts the processes of a killed server", needed)
    else:
        found = "without a subreaper, processes of a killed server are looked up with ps, and may be missed"
        yield Finding("warns", name, found, needed, "no action needed; on Linux cleanup is guaranteed")


def _supports_subreapers() -> bool:
    setting = ctypes.c_int()
    return bool(ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(setting), 0, 0, 0) == 0)


def shadowing_files(environment: Environment) -> Iterator[Finding]:
    """Yield whether a file of this directory shadows a module of the standard library."""
    name, needed = "file names", "bentoml serve in this directory, which would hang at its start"
    if environment.folder is None:
        return
    folder = environment.folder
    modules = {path.stem: path for path in folder.glob("*.py")}
    modules |= {path.parent.name: path for path in folder.glob("*/__init__.py")}
    shadowing = [
        str(path.relative_to(folder))
        for module, path in sorted(modules.items())
        if module in sys.stdlib_module_names
    ]
    if shadowing:
        verb = "has the name" if len(shadowing) == 1 else "have names"
        found = f"{', '.join(shadowing)} {verb} of a module of the standard library"
        yield Finding("warns", name, found, needed, "rename it")
    else:
        yield Finding("ok", name, "none of this directory shadows the standard library", needed)


PROBES: tuple[Callable[[Environment], Iterator[Finding]], ...] = (
    python, layout, packages, plugin, bentoml_command, opik_plugin, litellm, bentoml_variables, bentoml_home,
    working_directory, temporary_folder, shared_memory, loopback, guard, shadowing_files,
)  # fmt: skip
