"""A process without a working directory, a home directory, or a directory for temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tier0.cli import app
from tier0.core.errors import Tier0Error
from tier0.doctor import doctor
from tier0.runs.deployment import default_store
from tier0.serving.workspace import Workspace

NO_USER = "~no-such-user-anywhere"
"""What ``~`` is where a user has no home directory: Python cannot expand it."""
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


@pytest.fixture
def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is one that was deleted."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "doctor"])
def test_a_command_is_refused_in_a_deleted_directory(command: str) -> None:
    done = CliRunner().invoke(app, [command, "x", "y"])

    assert done.exit_code == 2
    assert "working directory was deleted" in done.output


@pytest.mark.usefixtures("gone")
def test_doctor_cannot_write_a_report_in_a_deleted_directory() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json", "doctor.json"])

    assert done.exit_code == 2
    assert "--json" in done.output


@pytest.mark.usefixtures("gone")
def test_help_needs_no_directory() -> None:
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


@pytest.mark.usefixtures("gone")
def test_doctor_knows_that_the_directory_is_gone() -> None:
    assert doctor.Environment.here().folder is None


def test_a_store_without_a_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", f"{NO_USER}/bentoml")

    with pytest.raises(Tier0Error, match="BENTOML_HOME"):
        default_store()


def test_a_workspace_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])

    with pytest.raises(Tier0Error, match="TMPDIR"):
        Workspace.create()
