"""What `make test` does about Chromium on machines that have it, can install it, or cannot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install_chromium.sh"
FAILS = "exit 1"
WORKS = "exit 0"
NOT_ROOT = "echo 1000"
ROOT_USER = "echo 0"


def make_machine(folder: Path, **programs: str) -> Path:
    """Return a PATH with the shell's basic tools and *programs*, each a line of shell."""
    for name in ("sh", "cat", "mktemp", "rm", "env"):
        (folder / name).symlink_to(shutil.which(name) or name)
    for name, line in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        program.chmod(0o755)
    return folder


def run(path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), **variables}
    command = ["/bin/sh", str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        ({"id": NOT_ROOT, "chromium": WORKS}, 0),
        ({"id": NOT_ROOT, "google_chrome": WORKS}, 0),
        ({"id": ROOT_USER, "apt_get": FAILS}, 0),
        ({"id": NOT_ROOT, "apt_get": FAILS, "sudo": WORKS}, 0),
        ({"id": NOT_ROOT, "apt_get": FAILS, "sudo": FAILS}, 1),
        ({"id": ROOT_USER}, 1),
    ],
    ids=["Chromium", "Chrome", "Debian as root", "Debian with sudo", "Debian without sudo", "no apt-get"],
)
def test_the_check_predicts_the_installation(tmp_path: Path, programs: dict[str, str], expected: int) -> None:
    done = run(make_machine(tmp_path, **programs), "--check")

    assert done.returncode == expected
    assert ("TIER0_CHROMIUM" in done.stderr) == bool(expected)


def test_a_browser_that_is_named_is_enough(tmp_path: Path) -> None:
    browser = make_machine(tmp_path, id=NOT_ROOT, mine=WORKS) / "mine"

    assert run(tmp_path, TIER0_CHROMIUM=str(browser)).returncode == 0


def test_the_package_lists_are_read_only_if_they_are_needed(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    apt = f'echo "$1" >> {calls}; [ "$1" = update ] || [ "$(cat {calls})" != install ]'
    done = run(make_machine(tmp_path, id=ROOT_USER, apt_get=apt))

    assert done.returncode == 0, done.stderr
    assert calls.read_text(encoding="utf-8").split() == ["install", "update", "install"]


def test_an_installation_that_fails_shows_why(tmp_path: Path) -> None:
    done = run(make_machine(tmp_path, id=ROOT_USER, apt_get="echo 'E: no space'; exit 100"))

    assert done.returncode == 1
    assert "E: no space" in done.stderr
    assert "apt-get install chromium" in done.stderr
