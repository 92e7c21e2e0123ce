"""``--history`` of a command: runs of one service over time, in all forms of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.scripted_service import GOLDEN, healthy, wrong
from tier0.cli import app
from tier0.faults import FaultServer

GROUPS = ["--groups", "health.ready,parity.golden_rows", "--retries", "0"]


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    GOLDEN.write(tmp_path / "golden.json")
    return "golden.json"


def verify(url: str, golden: str, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", url, "--golden", golden, *GROUPS, *options])
    return done.exit_code, done.output


def kept(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())]


def test_runs_of_a_service_are_remembered_although_its_port_changes(tmp_path: Path, golden: str) -> None:
    statuses = []
    for script in (healthy, healthy, wrong):
        with FaultServer(script) as server:
            forms = ["--json", "tier0.json", "--html", "tier0.html", "--markdown", "tier0.md"]
            status, output = verify(server.url, golden, "--history", "history", *forms)
        statuses.append(status)

    assert statuses == [0, 0, 1], output
    history = json.loads((tmp_path / "tier0.json").read_text(encoding="utf-8"))["history"]
    assert [run["verdict"] for run in history["runs"]] == ["pass", "pass", "fail"]
    (parity,) = [check for check in history["checks"] if check["id"] == "parity.golden_rows"]
    assert (parity["statuses"], parity["changed"]) == (["pass", "pass", "fail"], 2)
    for text in (
        output,
        *((tmp_path / f"tier0.{form}").read_text(encoding="utf-8") for form in ("html", "md")),
    ):
        assert "parity.golden_rows fails since" in text.replace("\\", "")


def test_a_run_without_a_response_is_remembered_as_inconclusive(tmp_path: Path, golden: str) -> None:
    status, _ = verify("http://127.0.0.1:9", golden, "--history", "history")

    (run,) = kept(tmp_path / "history")
    assert (status, run["facts"]["verdict"], run["facts"]["checks"]) == (2, "inconclusive", {})
    with FaultServer(healthy) as server:
        status, _ = verify(server.url, golden, "--history", "history", "--json", "tier0.json")
    history = json.loads((tmp_path / "tier0.json").read_text(encoding="utf-8"))["history"]
    assert (status, [run["verdict"] for run in history["runs"]]) == (0, ["inconclusive", "pass"])


def test_a_history_that_cannot_be_kept_is_an_error_after_the_checks(tmp_path: Path, golden: str) -> None:
    (tmp_path / "file").touch()
    with FaultServer(healthy) as server:
        status, output = verify(server.url, golden, "--history", "file/below", "--json", "tier0.json")

    assert (status, json.loads((tmp_path / "tier0.json").read_text(encoding="utf-8"))["verdict"]) == (
        2,
        "pass",
    )
    assert "is not kept" in output


def test_a_file_in_place_of_the_folder_is_refused_before_the_checks(tmp_path: Path, golden: str) -> None:
    (tmp_path / "file").touch()
    with FaultServer(healthy) as server:
        status, output = verify(server.url, golden, "--history", "file")
        arrivals = server.arrivals

    assert (status, len(arrivals)) == (2, 0)
    assert "is not a directory" in output


def test_secrets_are_not_kept(tmp_path: Path, golden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TOKEN", "churn-4711-secret")
    with FaultServer(healthy) as server:
        verify(server.url, golden, "--model", "churn-4711-secret:1", "--history", "history")

    (path,) = (tmp_path / "history").iterdir()
    assert "4711" not in path.read_text(encoding="utf-8")
