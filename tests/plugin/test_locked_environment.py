"""The end-to-end tests from a plain checkout, with only the packages of the lock file installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).with_name("droplet-constraints.txt")
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
        subprocess.run([uv, "venv", "--seed", "--python", base, str(folder)], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(LOCK)], check=True
        )
    else:
        subprocess.run([base, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(LOCK)], check=True)
    return python


def test_end_to_end_tests_pass_in_the_locked_environment(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT, checkout, ignore=shutil.ignore_patterns(".venv*", ".git", ".*_cache", "reports", "build")
    )

    done = subprocess.run(
        [
            str(python), "-m", "pytest", "-q", "-m", "not slow and not torture", "tests/e2e",
            "-p", "no:cacheprovider",
        ],
        cwd=checkout, capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "model tag" in done.stdout
