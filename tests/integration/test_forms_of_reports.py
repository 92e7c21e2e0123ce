"""Every command that checks writes the same forms of its report, however it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from tests.support.command_line import run_cli
from tests.support.in_process import CONTRACT, GOLDEN, App, running
from tests.unit.test_report_files import require_valid
from tier0.cli import app
from tier0.contract.contract import as_toml
from tier0.report.terminal import MAX_LINES
from tier0.runs.examination import Examination

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"
FORMS = {"--html": "a.html", "--json": "a.json", "--junit": "a.xml", "--markdown": "a.md"}
OPTIONS = [part for option in FORMS.items() for part in option]
HERE = "tests.integration.test_forms_of_reports"


class Negative(App):
    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {"predictions": [second - first for first, second in rows], "model_tag": self.tag}


def client(_: str) -> Callable[[Any], Any]:
    def predict(_: Any) -> Any:
        raise ConnectionError("always")

    return predict


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    GOLDEN.write("golden.json")
    Path("contract.toml").write_text(as_toml({"schema": 1, **CONTRACT}), encoding="utf-8")
    yield tmp_path
    assert not list(tmp_path.glob(".*")), "no unfinished file is left"


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def verify(service: App, *options: str) -> Result:
    with running(service) as url:
        return ask("verify", url, "--golden", "golden.json", "--contract", "contract.toml", *options)


def require_all_forms(verdict: str) -> dict[str, Any]:
    """Check that all forms agree, and return the report."""
    document: dict[str, Any] = json.loads(Path("a.json").read_text(encoding="utf-8"))
    document = document.get("report", document)
    jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert document["verdict"] == verdict
    root = require_valid(Path("a.xml").read_text(encoding="utf-8"))
    properties = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert properties["tier0.verdict"] == verdict
    assert len(list(root.iter("testcase"))) >= len(document["checks"])
    shown = {"fail": "failed", "inconclusive": "inconclusive", "pass": "passed"}[verdict]
    assert f"Tier0: {shown}" in Path("a.md").read_text(encoding="utf-8").splitlines()[0]
    page = Path("a.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert f"Tier0: {shown}" in page
    return document


@pytest.mark.parametrize(("service", "verdict", "status"), [(App, "pass", 0), (Negative, "fail", 1)])
def test_a_service_that_was_checked(service: type[App], verdict: str, status: int) -> None:
    done = verify(service(), *OPTIONS)

    assert done.exit_code == status, done.output
    document = require_all_forms(verdict)
    assert document["run"]["commit"] is None, "the folder is no repository"
    assert {span["lane"] for span in document["timeline"]} == {"checks", "requests"}
    assert document["parity"]["status"] == verdict
    assert document["target"]["golden_rows"] == len(GOLDEN)
    if verdict == "fail":
        lines = done.output.splitlines()
        assert len(lines) <= MAX_LINES
        assert "Wrong predictions (critical, parity.golden_rows)" in "\n".join(lines[:4])
        assert lines[-1].split(": ")[1] == "failed"


def test_all_is_printed_on_request() -> None:
    short, long = verify(Negative()).output, verify(Negative(), "-v").output

    assert "parity.inputs_matter" not in short
    assert "     passed  parity.inputs_matter" in long
    assert len(long) > 2 * len(short)


def test_a_service_that_does_not_answer_has_a_report() -> None:
    done = ask("verify", "http://127.0.0.1:9", *OPTIONS)

    assert done.exit_code == 2
    document = require_all_forms("inconclusive")
    assert "nothing responds at http://127.0.0.1:9" in document["sentence"]
    assert done.output.count("nothing responds") == 1


@pytest.mark.parametrize(
    ("problem", "status", "sign"),
    [
        (KeyboardInterrupt(), 130, "the run was interrupted"),
        (ZeroDivisionError("by zero"), 2, "ZeroDivisionError: by zero"),
        (SystemExit(0), 2, "SystemExit"),
    ],
)
def test_a_run_that_ends_in_the_middle_has_a_report(
    problem: BaseException, status: int, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Examination.ask
    monkeypatch.setattr(sys, "argv", ["tier0", "verify"])

    def ask_some(self: Examination, check: Any, *more: Any) -> Any:
        if check.id == "identity.always_the_same":
            raise problem
        return asked(self, check, *more)

    monkeypatch.setattr(Examination, "ask", ask_some)
    done = verify(App(), *OPTIONS)

    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    document = require_all_forms("inconclusive")
    assert sign in document["sentence"]
    assert [check["status"] for check in document["checks"]][:2] == ["pass", "pass"], "what was known is kept"


CLIENT = """
def make_client(url, **options):
    def predict(data):
        raise ConnectionError("always")

    return predict
"""


def test_a_client_that_was_checked(folder: Path) -> None:
    """In a process of its own, which ends soon after the command."""
    Path("theirs.py").write_text(CLIENT, encoding="utf-8")

    done = run_cli("check-client", "theirs:make_client", *OPTIONS, cwd=folder)

    assert done.returncode == 2, done
    document = require_all_forms("inconclusive")
    assert document["problems"][0]["what"] == "theirs:make_client"


def test_a_run_of_the_steps() -> None:
    done = ask("run", "--step", "1", *OPTIONS)

    assert done.exit_code == 0, done.output
    document = require_all_forms("pass")
    assert [check["id"] for check in document["checks"]] == ["step.scope"]
    record = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert record["done"].keys() == {"scope"}


@pytest.mark.parametrize("option", FORMS)
@pytest.mark.parametrize(
    "command", [["verify", "http://127.0.0.1:9"], ["check-client", f"{HERE}:client"], ["run", "--step", "1"]]
)
def test_a_file_that_cannot_be_written_is_an_error_before_the_work(option: str, command: list[str]) -> None:
    for path, says in (
        ("/proc/tier0", "cannot write the report /proc/tier0: "),
        ("missing/tier0", "directory not found: "),
        (".", "is a directory"),
    ):
        done = ask(*command, option, path)

        assert done.exit_code == 2
        assert says in done.output
        assert "nothing responds" not in done.output
        assert not Path("tier0-runs").exists()


@pytest.mark.parametrize("option", FORMS)
def test_a_full_disk_does_not_hide_the_verdict(option: str) -> None:
    done = verify(App(), option, "/dev/full")

    assert done.exit_code == 2
    assert ": passed: " in done.output
    assert "cannot write the report /dev/full: No space left on device" in done.output


def test_on_github_the_job_has_a_summary_and_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("summary.md").write_text("of another step\n", encoding="utf-8")

    done = verify(Negative())

    assert done.exit_code == 1
    (first, *_) = [line for line in done.output.splitlines() if line.startswith("::error ")]
    assert "parity.golden_rows" in first
    summary = Path("summary.md").read_text(encoding="utf-8")
    assert summary.startswith("of another step\n## ❌ Tier0: failed")
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "::error" not in verify(Negative()).output
    assert "::error" not in verify(App()).output


def test_the_page_needs_jinja2_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tier0.report.page", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)

    done = ask("verify", "http://127.0.0.1:9", "--html", "a.html")

    assert done.exit_code == 2
    assert "pytest-tier0[report]" in done.output
    assert "nothing responds" not in done.output


def test_a_run_that_fails_for_a_leak_does_not_call_its_data_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{row * 37 % 101},{row % 2},{'yes' if row % 2 else 'no'}" for row in range(120)]
    Path("rows.csv").write_text("\n".join(["size,fee,left", *rows]), encoding="utf-8")
    given = ["run", "--dataset", "rows.csv", "--target", "left", "--step", "1,2"]
    monkeypatch.setattr(sys, "argv", ["tier0", *given])

    done = ask(*given, *OPTIONS)

    assert done.exit_code == 1, done.output
    document = require_all_forms("fail")
    (cause,) = document["causes"]
    assert (cause["check"], cause["title"], cause["key"]) == ("step.data", "Target leaked", "column 'fee'")
    assert "--drop fee" in cause["next_step"]
    assert "--allow fee" in cause["next_step"]
    assert cause["reproduce"] == " ".join(["tier0", *given])
    assert "fit for training" not in done.output
    questions = [check["question"] for check in document["checks"]]
    assert len(set(questions)) == len(questions) == 2
