"""Runs the unit tests and the main job on each supported Python, with the oldest and the newest dependencies.

``make matrix`` calls it. Each combination gets an environment of its own in .venv/matrix. It is removed after
its tests passed, and kept after a failure, beside a log of the output. *oldest* are the lowest versions that
pyproject.toml allows, with the dependencies of their time; *newest* are the highest that can be installed
together.

The main job also runs, on one Python with the newest dependencies, where packages are elsewhere than in a
virtual environment (*user*: the user's site-packages, *pythonpath*: a folder in PYTHONPATH, *overlay*:
``uv run --with``), and beside other plugins of pytest (*plugins*).

Exit status 0: all that could be checked passed, 1: a combination failed, or none could be checked.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv" / "matrix"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = tuple(
    found[1]
    for text in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text))
)
DEPENDENCIES = ("oldest", "newest")
LOCK = ROOT / "tests" / "plugin" / "droplet-constraints.txt"
UV = "uv==0.13.8"
UNIT_TESTS = ("-n", "2", "--dist", "loadfile", "-m", "not alone and not slow and not torture", "tests/unit")
MAIN_JOB = ("-p", "no:hypothesispytest", "-m", "tier0_bentoml and not slow and not torture", "tests/e2e")
LAYOUTS = ("venv", "user", "pythonpath", "overlay", "plugins")
PYTHON_OF_LAYOUTS = "3.12"
OTHER_PLUGINS = ("pytest-randomly", "pytest-rerunfailures", "pytest-cov", "allure-pytest")
SHOWN = ("numpy", "scikit-learn", "bentoml", "mlflow", "pytest")
"""Packages whose versions are printed, to show what was installed."""
NO_LOCAL_SETTINGS = {
    name: value for name, value in os.environ.items() if not name.startswith(("TIER0_", "PYTEST_", "PYTHON"))
}


@dataclass(frozen=True)
class Combination:
    """What is tested together.

    Attributes:
        python: version of Python, such as ``3.12``.
        dependencies: ``oldest`` or ``newest``.
        layout: one of LAYOUTS: where the packages are.
    """

    python: str
    dependencies: str
    layout: str = "venv"

    @property
    def name(self) -> str:
        """The name in the table and of the folder."""
        name = f"{self.python}-{self.dependencies}"
        return name if self.layout == "venv" else f"{name}-{self.layout}"

    def tests(self) -> dict[str, tuple[str, ...]]:
        """Return the title of each test run, with its arguments of pytest."""
        if self.layout == "plugins":
            # the floor in pyproject.toml is that of all tests
            coverage = ("--cov=tier0", "--cov-report=", "--cov-fail-under=0")
            reports = (*coverage, "--alluredir", str(FOLDER / self.name / "allure"))
            return {
                "main job, random order": (*MAIN_JOB, "--reruns=1", *reports),
                "main job, two processes": (
                    *MAIN_JOB,
                    "--reruns=1",
                    *reports,
                    "-n",
                    "2",
                    "--dist",
                    "loadfile",
                ),
            }
        return (
            {"unit tests": UNIT_TESTS, "main job": MAIN_JOB}
            if self.layout == "venv"
            else {"main job": MAIN_JOB}
        )


@dataclass(frozen=True)
class Environment:
    """How Python is started in an environment, and the variables that belong to it."""

    python: tuple[str | Path, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one combination.

    Attributes:
        name: of the combination, such as ``3.12-oldest``.
        status: ``passed``, ``failed`` or ``not checked``.
        seconds: how long it took.
        detail: the versions that were tested, or the reason of the status.
    """

    name: str
    status: str
    seconds: float
    detail: str


class StepError(Exception):
    """A command that failed: which, and the end of its output."""


def main() -> int:
    """Check the combinations one after the other, and print a table of their outcomes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", choices=PYTHONS, help="only this version of Python")
    parser.add_argument("--dependencies", choices=DEPENDENCIES, help="only these dependencies")
    parser.add_argument("--layout", choices=LAYOUTS, help="only this layout of an environment")
    chosen = parser.parse_args()
    combinations = [Combination(python, kind) for python in PYTHONS for kind in DEPENDENCIES]
    combinations += [Combination(PYTHON_OF_LAYOUTS, "newest", layout) for layout in LAYOUTS[1:]]
    selected = [
        combination
        for combination in combinations
        if chosen.python in (None, combination.python)
        and chosen.dependencies in (None, combination.dependencies)
        and chosen.layout in (None, combination.layout)
    ]
    FOLDER.mkdir(parents=True, exist_ok=True)
    uv = find_uv()
    outcomes = [check(uv, combination) for combination in selected]
    print(f"\n{'combination':<22} {'status':<12} {'time':>6}  detail")
    for outcome in outcomes:
        print(f"{outcome.name:<22} {outcome.status:<12} {outcome.seconds:>4.0f} s  {outcome.detail}")
    statuses = {outcome.status for outcome in outcomes}
    return 0 if "passed" in statuses and "failed" not in statuses else 1


def check(uv: Path, combination: Combination) -> Outcome:
    """Set up one combination and run its tests."""
    name = combination.name
    interpreter = find_python(uv, combination.python)
    if interpreter is None:
        places = f"python{combination.python} on the PATH, in pyenv and with uv"
        return Outcome(name, "not checked", 0, f"no Python {combination.python} found: looked for {places}")
    start = time.monotonic()
    log = FOLDER / f"{name}.log"
    log.write_text("", encoding="utf-8")
    print(f"{name}: installing for {interpreter}", flush=True)
    try:
        environment = INSTALLERS[combination.layout](uv, interpreter, name, log)
        versions = installed_versions(environment)
        for title, arguments in combination.tests().items():
            print(f"{name}: {title}", flush=True)
            run(
                [*environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
                log,
                environment.variables,
            )
    except StepError as problem:
        print(problem, file=sys.stderr)
        return Outcome(name, "failed", time.monotonic() - start, f"see {log.relative_to(ROOT)}")
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    return Outcome(name, "passed", time.monotonic() - start, versions)


def find_uv() -> Path:
    """Return uv, which can resolve to the lowest versions; install it in .venv/matrix where it is missing."""
    if found := shutil.which("uv"):
        return Path(found)
    tools = FOLDER / "tools"
    uv = tools / "bin" / "uv"
    if not uv.exists():
        log = FOLDER / "tools.log"
        run([sys.executable, "-m", "venv", "--clear", tools], log)
        run([tools / "bin" / "python", "-m", "pip", "install", "--quiet", UV], log)
    return uv


def find_python(uv: Path, version: str) -> Path | None:
    """Return an interpreter of this version that can make environments, or None."""
    for candidate in candidates(uv, version):
        test = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", test], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def candidates(uv: Path, version: str) -> Iterator[Path]:
    """Yield possible interpreters of this version; a shim of pyenv may be there without working."""
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    find: list[str | Path] = [uv, "python", "find", "--no-python-downloads", version]
    done = subprocess.run(find, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        yield Path(done.stdout.strip())


def install_venv(uv: Path, interpreter: Path, name: str, log: Path, extra: Sequence[str] = ()) -> Environment:
    """Install this checkout, its extras and the packages of the tests in a virtual environment."""
    constraints = FOLDER / f"{name}.txt"
    constraints.write_text("", encoding="utf-8")
    if name.endswith("oldest"):
        contemporary = FOLDER / "contemporary.txt"
        contemporary.write_text("\n".join(contemporary_versions()), encoding="utf-8")
        resolve: list[str | Path] = [uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct"]
        resolve += ["--extra", "all", "--constraint", contemporary, "--python", interpreter]
        run([*resolve, "--output-file", constraints, ROOT / "pyproject.toml"], log)
    python = FOLDER / name / "bin" / "python"
    run([uv, "venv", "--clear", "--seed", "--python", interpreter, FOLDER / name], log)
    add: list[str | Path] = [uv, "pip", "install", "--python", python, "--constraint", constraints]
    run([*add, "--editable", f"{ROOT}[all]", *test_packages(), *extra], log)
    return Environment((python,))


def install_with_plugins(uv: Path, interpreter: Path, name: str, log: Path) -> Environment:
    """Install a virtual environment with other plugins of pytest."""
    return install_venv(uv, interpreter, name, log, OTHER_PLUGINS)


def install_for_user(uv: Path, interpreter: Path, name: str, log: Path) -> Environment:
    """Install into the user's site-packages, where ``pip install --user`` installs."""
    base = FOLDER / name
    site_packages = base / "lib" / f"python{PYTHON_OF_LAYOUTS}" / "site-packages"
    install_into(uv, interpreter, site_packages, log)
    return Environment((interpreter,), {"PYTHONUSERBASE": str(base)})


def install_on_path(uv: Path, interpreter: Path, name: str, log: Path) -> Environment:
    """Install into a folder that PYTHONPATH names."""
    install_into(uv, interpreter, FOLDER / name, log)
    return Environment((interpreter,), {"PYTHONPATH": str(FOLDER / name)})


def install_into(uv: Path, interpreter: Path, folder: Path, log: Path) -> None:
    """Install this checkout, its extras and the packages of the tests into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    add: list[str | Path] = [uv, "pip", "install", "--python", interpreter, "--target", folder]
    run([*add, f"{ROOT}[all]", *test_packages()], log)


def install_overlay(uv: Path, interpreter: Path, _name: str, log: Path) -> Environment:
    """Let ``uv run --with`` lay an environment over the interpreter's."""
    packages = [f"--with={package}" for package in test_packages()]
    overlay: tuple[str | Path, ...] = (
        uv,
        "run",
        "--no-project",
        "--python",
        interpreter,
        f"--with={ROOT}[all]",
        *packages,
        "python",
    )
    run([*overlay, "-c", "import tier0"], log)
    return Environment(overlay)


INSTALLERS: dict[str, Callable[[Path, Path, str, Path], Environment]] = {
    "venv": install_venv,
    "user": install_for_user,
    "pythonpath": install_on_path,
    "overlay": install_overlay,
    "plugins": install_with_plugins,
}


def contemporary_versions() -> list[str]:
    """Return versions for what the dependencies themselves depend on, from a lock of that time.

    With the newest scipy or SQLAlchemy, the lowest scikit-learn and MLflow fail, whatever Tier0 does.
    """
    declared = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
    direct = {requirement.partition(">=")[0].partition("[")[0] for requirement in declared}
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "==" in line and line.partition("==")[0] not in direct]


def test_packages() -> list[str]:
    """Return the names of the packages in requirements-test.txt, without the versions that it pins."""
    lines = (ROOT / "requirements-test.txt").read_text(encoding="utf-8").splitlines()
    return [line.partition("==")[0] for line in lines if "==" in line]


def installed_versions(environment: Environment) -> str:
    """Return the versions of some packages in an environment, in one line."""
    code = (
        "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    )
    done = subprocess.run(
        [*environment.python, "-c", code, *SHOWN],
        env={**NO_LOCAL_SETTINGS, **environment.variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def run(
    command: Sequence[str | Path], log: Path, variables: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Run a command without the settings of this environment; what it prints goes to the log.

    Raises:
        StepError: its exit status was not 0.
    """
    with log.open("a", encoding="utf-8") as output:
        begin = output.tell()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**NO_LOCAL_SETTINGS, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        printed = log.read_bytes()[begin:].decode(errors="replace")
        raise StepError(
            f"{' '.join(map(str, command))} ended with status {done.returncode}:\n{printed[-3000:]}"
        )


if __name__ == "__main__":
    sys.exit(main())
