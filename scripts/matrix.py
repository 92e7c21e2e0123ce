"""Runs the unit tests and the main job on each supported Python, with the oldest and the newest dependencies.

``make matrix`` calls it. Each combination gets an environment of its own in .venv/matrix. It is removed after
its tests passed, and kept after a failure, beside a log of the output. *oldest* are the lowest versions that
pyproject.toml allows, with the dependencies of their time; *newest* are the highest that can be installed
together. Exit status 0: all that could be checked passed, 1: a combination failed, or none could be checked.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
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
TESTS = {
    "unit tests": (
        "-n",
        "2",
        "--dist",
        "loadfile",
        "-m",
        "not alone and not slow and not torture",
        "tests/unit",
    ),
    "main job": (
        "-p",
        "no:hypothesispytest",
        "-m",
        "tier0_bentoml and not slow and not torture",
        "tests/e2e",
    ),
}
SHOWN = ("numpy", "scikit-learn", "bentoml", "mlflow", "pytest")
"""Packages whose versions are printed, to show what was installed."""
NO_LOCAL_SETTINGS = {
    name: value for name, value in os.environ.items() if not name.startswith(("TIER0_", "PYTEST_", "PYTHON"))
}


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
    chosen = parser.parse_args()
    versions = PYTHONS if chosen.python is None else (chosen.python,)
    kinds = DEPENDENCIES if chosen.dependencies is None else (chosen.dependencies,)
    FOLDER.mkdir(parents=True, exist_ok=True)
    uv = find_uv()
    outcomes = [check(uv, version, dependencies) for version in versions for dependencies in kinds]
    print(f"\n{'combination':<14} {'status':<12} {'time':>6}  detail")
    for outcome in outcomes:
        print(f"{outcome.name:<14} {outcome.status:<12} {outcome.seconds:>4.0f} s  {outcome.detail}")
    statuses = {outcome.status for outcome in outcomes}
    return 0 if "passed" in statuses and "failed" not in statuses else 1


def check(uv: Path, version: str, dependencies: str) -> Outcome:
    """Set up one combination and run its tests."""
    name = f"{version}-{dependencies}"
    interpreter = find_python(uv, version)
    if interpreter is None:
        reason = f"no Python {version} found: looked for python{version} on the PATH, in pyenv and with uv"
        return Outcome(name, "not checked", 0, reason)
    start = time.monotonic()
    log = FOLDER / f"{name}.log"
    log.write_text("", encoding="utf-8")
    print(f"{name}: installing for {interpreter}", flush=True)
    try:
        python = install(uv, interpreter, name, log)
        versions = installed_versions(python)
        for title, arguments in TESTS.items():
            print(f"{name}: {title}", flush=True)
            run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments], log)
    except StepError as problem:
        print(problem, file=sys.stderr)
        return Outcome(name, "failed", time.monotonic() - start, f"see {log.relative_to(ROOT)}")
    shutil.rmtree(FOLDER / name)
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


def install(uv: Path, interpreter: Path, name: str, log: Path) -> Path:
    """Install this checkout, its extras and the packages of the tests, and return the interpreter."""
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
    run([*add, "--editable", f"{ROOT}[all]", *test_packages()], log)
    return python


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


def installed_versions(python: Path) -> str:
    """Return the versions of some packages in an environment, in one line."""
    code = (
        "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    )
    return subprocess.run(
        [python, "-c", code, *SHOWN], capture_output=True, text=True, check=True
    ).stdout.strip()


def run(command: Sequence[str | Path], log: Path) -> None:
    """Run a command without the settings of this environment; what it prints goes to the log.

    Raises:
        StepError: its exit status was not 0.
    """
    with log.open("a", encoding="utf-8") as output:
        begin = output.tell()
        done = subprocess.run(
            command, cwd=ROOT, env=NO_LOCAL_SETTINGS, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        printed = log.read_bytes()[begin:].decode(errors="replace")
        raise StepError(
            f"{' '.join(map(str, command))} ended with status {done.returncode}:\n{printed[-3000:]}"
        )


if __name__ == "__main__":
    sys.exit(main())
