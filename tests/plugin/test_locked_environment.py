"""Tier0 from a plain checkout, with only the packages of the lock file installed, and on other Pythons."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).with_name("droplet-constraints.txt")
SHORT = "tier0_bentoml and not slow and not torture"
LEFT_BY_OTHERS = "ignore::pytest.PytestUnraisableExceptionWarning"
"""The lock's pytest-asyncio leaves event loops to the garbage collector."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def make_environment(folder: Path) -> Path:
    """Install the lock, and nothing else, for the Python that it was made for, or else for ours."""
    version = (
        subprocess.run(["python3.12", "-c", ""], capture_output=True, check=False)
        if shutil.which("python3.12")
        else None
    )
    base = "python3.12" if version is not None and version.returncode == 0 else sys.executable
    python = folder / "bin" / "python"
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "--python", base, str(folder)], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(LOCK)], check=True
        )
    else:
        subprocess.run([base, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(LOCK)], check=True)
    return python


def test_main_job_runs_in_the_locked_environment(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT, checkout, ignore=shutil.ignore_patterns(".venv*", ".git", ".*_cache", "reports", "build")
    )

    done = subprocess.run(
        [
            str(python), "-m", "pytest", "-q", "-m", SHORT, "tests/e2e",
            "-p", "no:cacheprovider", "-W", LEFT_BY_OTHERS,
        ],
        cwd=checkout, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "model tag" in done.stdout


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_unit_tests_and_the_main_job_run_on_other_pythons(tmp_path: Path, version: str) -> None:
    name = f"python{version}"
    if (
        not shutil.which(name)
        or subprocess.run([name, "-c", ""], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{name} is not on this machine")
    folder = tmp_path / "venv"
    python = folder / "bin" / "python"
    subprocess.run([name, "-m", "venv", str(folder)], check=True)
    subprocess.run(
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "-r",
            str(ROOT / "requirements-test.txt"),
            "-e",
            f"{ROOT}[all]",
        ],
        check=True,
    )

    done = subprocess.run(
        [
            str(python), "-m", "pytest", "-q", "tests/unit", "tests/integration", "tests/e2e",
            "-p", "no:cacheprovider", "-m", "not slow and not torture",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
