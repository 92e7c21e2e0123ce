"""All forms of the report agree, for runs that pass, fail or never start, and none contains a secret."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.reporting_run import CASES, PLANTED, SECRETS, Reported, report
from tier0.core.catalogue import CATALOGUE
from tier0.core.verdict import CheckResult, Verdict

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(180)
WRONG = {"identity.expected_model", "contract.refuses_text_for_number", "parity.golden_rows"}


@pytest.mark.parametrize(
    ("case", "verdict", "status"), [("passes", "pass", 0), ("fails", "fail", 1), ("never", "fail", 1)]
)
def test_the_verdict_is_the_same_everywhere(
    reported: dict[str, Reported], case: str, verdict: str, status: int
) -> None:
    run = reported[case]
    document = run.document

    assert (document["verdict"], run.status) == (verdict, status), run.output
    for name, text in run.texts().items():
        if name != "junit.xml":
            plain = unescape(text).replace("\\", "").replace("`", "")
            assert document["sentence"] in plain, name
    failing = {
        case.get("name")
        for case in run.junit.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    }
    assert failing == {
        f"test_serving[{check['id']}]" for check in document["checks"] if check["status"] in {"fail", "error"}
    }


def test_what_fails_comes_with_all_that_is_needed_to_act(reported: dict[str, Reported]) -> None:
    document = reported["fails"].document
    problems = {problem["what"]: problem for problem in document["problems"]}

    assert problems.keys() >= WRONG
    parity = problems["parity.golden_rows"]
    assert "6 of 18 rows differ" in parity["message"]
    assert parity["evidence"]["expected"] == -parity["evidence"]["got"]
    assert parity["causes"][0].startswith("the transformation of the target, or its inverse, is missing")
    assert parity["reproduce"].startswith("curl -sS http://127.0.0.1:")
    assert ' -H "Authorization: $AUTHORIZATION"' in parity["reproduce"], "its value is not shown"
    port = parity["reproduce"].partition("127.0.0.1:")[2].partition("/")[0]
    folder = reported["fails"].folder
    assert document["target"]["start"] == f"cd {folder} && bentoml serve services:Wrong --port {port}"
    assert "POST,path=/predict" in parity["log"], "what the server's log says around that moment"
    assert next(row["row"] for row in document["parity"]["worst"]) == 15, (
        "the row with the largest difference is the first"
    )
    assert len(document["parity"]["expected"]) == 18


def test_failures_are_folded_into_causes_the_worst_first(reported: dict[str, Reported]) -> None:
    document = reported["fails"].document
    causes = {cause["check"]: cause for cause in document["causes"]}

    assert list(causes) == [
        "identity.expected_model",
        "parity.golden_rows",
        "contract.refuses_text_for_number",
    ]
    assert [cause["severity"] for cause in causes.values()] == ["critical", "critical", "major"]
    explained = [other["check"] for cause in causes.values() for other in cause["explains"]]
    failed = [check["id"] for check in document["checks"] if check["status"] == "fail"]
    assert sorted([*causes, *explained]) == sorted(failed)
    remedy = causes["parity.golden_rows"]["causes"][0].rpartition(": ")[2]
    assert causes["parity.golden_rows"]["next_step"].startswith(f"{remedy} (service: ")
    assert document["sentence"].startswith("Failed: identity.expected_model: ")
    assert "2 more causes" in document["sentence"]


def test_fifty_tests_that_cannot_begin_have_one_problem(reported: dict[str, Reported]) -> None:
    document = reported["never"].document
    (problem,) = document["problems"]
    (cause,) = document["causes"]
    assert cause["title"] == "Server not started"
    assert cause["message"].startswith("the server did not become ready: RuntimeError: <b>no weights</b>")
    assert len(cause["skipped"]) == len(document["checks"]) - 1
    assert document["target"]["start"].endswith(" && bentoml serve services:NeverReady --port 3000")

    assert problem["tests"] == 1
    assert [check["status"] for check in document["checks"]] == ["error"] + ["not_judged"] * (
        len(document["checks"]) - 1
    )
    assert len(document["checks"]) > 30
    assert "the server did not become ready" in document["checks"][-1]["message"], (
        "the others are skipped, with the reason"
    )
    assert "the server did not become ready" in problem["message"]
    assert "<b>no weights</b> & no" in problem["message"]
    assert problem["reproduce"].startswith("pytest ")
    assert "tier0-service services.py:NeverReady" in problem["reproduce"]


def test_latency_and_timeline_are_measured(reported: dict[str, Reported]) -> None:
    document = reported["passes"].document
    latency, spans = document["latency"], document["timeline"]

    assert 0 < latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"] <= max(latency["served_ms"])
    assert latency["in_memory_ms"] == pytest.approx(0.2)
    assert {span["lane"] for span in spans} == {"server", "checks", "requests"}
    assert [span["name"] for span in spans if span["lane"] == "server"] == ["starting", "ready"]
    assert all(
        0 <= span["start"] <= span["end"] <= document["run"]["seconds"] + 0.1
        for span in spans
        if span["lane"] != "requests"
    )
    asked = sum(span["requests"] for span in spans if span["lane"] == "requests")
    assert asked == sum(check["requests"] for check in document["checks"]) > 100


@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_in_any_of_them(reported: dict[str, Reported], case: str) -> None:
    for name, text in reported[case].texts().items():
        assert not [secret for secret in SECRETS if secret in text], name
    shown = reported[case].texts()["report.json"]
    assert "(PLANTED_API_KEY hidden)" in shown or case == "passes", "what was hidden is named"


@pytest.mark.parametrize("case", CASES)
def test_the_json_is_what_its_schema_says(reported: dict[str, Reported], case: str) -> None:
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(reported[case].document, schema)


def test_what_verify_writes_fits_the_same_schema() -> None:
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    verdict = Verdict({"url": "http://127.0.0.1:1"}, [CheckResult(CATALOGUE[0].id, "pass")])

    jsonschema.validate(verdict.as_dict(), schema)
    for wrong in ({"verdict": "maybe"}, {"schema": 3}, {"checks": [{"id": "x"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**verdict.as_dict(), **wrong}, schema)


def test_junit_says_which_check_and_what_came_of_it(reported: dict[str, Reported]) -> None:
    found = {}
    for case in reported["fails"].junit.iter("testcase"):
        properties = {one.get("name"): one.get("value") for one in case.iter("property")}
        found[properties["tier0.check"]] = properties["tier0.status"]

    assert found == {check["id"]: check["status"] for check in reported["fails"].document["checks"]}


def test_markdown_fits_a_comment_and_takes_nothing_as_markup(reported: dict[str, Reported]) -> None:
    for run in reported.values():
        assert len(run.summary) < 65_536, "what GitHub takes"
        assert "<b>" not in run.summary.replace("\\<b\\>", "")


TESTS = """
import os, signal, pytest
from tier0.core.events import HealthChecked

@pytest.mark.tier0_bentoml
def test_it_holds(tier0_deployment):
    assert tier0_deployment.url

@pytest.mark.tier0_bentoml
def test_it_ends(tier0_deployment, tier0_events):
    tier0_events.emit(HealthChecked(status="healthy"))
    os.kill(os.getpid(), signal.{how})
    signal.pause()
"""


@pytest.mark.parametrize("how", ["crashed worker", "interrupted"])
def test_a_run_that_ends_badly_is_reported(tmp_path: Path, reported: dict[str, Reported], how: str) -> None:
    sign = "SIGKILL" if how == "crashed worker" else "SIGINT"
    for name in ("services.py", "golden.json"):
        (tmp_path / name).write_bytes((reported["passes"].folder / name).read_bytes())
    (tmp_path / "test_it.py").write_text(TESTS.replace("{how}", sign), encoding="utf-8")
    parallel = ["-n", "1", "--max-worker-restart", "0"] if how == "crashed worker" else []

    run = report(tmp_path, *parallel, "--tier0-service", "services.py:Right", "--tier0-golden", "golden.json")

    document = run.document
    assert (document["verdict"], document["cut_short"]) == (
        "inconclusive",
        "was interrupted" if how == "interrupted" else "",
    ), run.output
    assert run.status != 0
    assert document["sentence"] in run.output
    assert document["sentence"] in unescape(run.page.read_text(encoding="utf-8"))
    assert [test["outcome"] for test in document["tests"]] == ["passed"], "what was known before is kept"
    assert {span["name"] for span in document["timeline"] if span["lane"] == "server"} >= {
        "starting",
        "ready",
    }
    if how == "crashed worker":
        assert document["problems"][0]["status"] == "error"
        assert "test_it_ends" in document["problems"][0]["what"]
    else:
        assert run.status == pytest.ExitCode.INTERRUPTED
        assert document["sentence"].startswith("Inconclusive: the run was interrupted")


NEVER_BEGUN = """
import os, pytest, signal

@pytest.fixture(scope="session")
def never():
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()

@pytest.mark.tier0_bentoml
def test_it(never):
    assert never
"""


def test_an_interruption_before_any_worker_told_something_is_reported(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(NEVER_BEGUN, encoding="utf-8")

    run = report(tmp_path, "-n", "1", "-m", "tier0_bentoml", "--tier0-report", "")

    assert run.status == pytest.ExitCode.INTERRUPTED, run.output
    assert "Inconclusive: the run was interrupted; nothing was checked." in run.output
    assert "Inconclusive: the run was interrupted; nothing was checked." in run.page.read_text(
        encoding="utf-8"
    )


HARD = """
import json, os, pytest, tier0
from html import unescape
from pathlib import Path
from tier0.core.events import Custom

class Validator:
    def check(self):
        return True

@pytest.mark.tier0_bentoml
@pytest.mark.parametrize("check", [Validator()])
def test_a_parameter_called_check(check, tier0_events):
    tier0_events.emit(Custom("mine", {"table": {(1, 2): "half \\udcff a pair"}}))

@pytest.mark.tier0_bentoml
@pytest.mark.parametrize("token", [os.environ["PLANTED_API_KEY"]], ids=["token"])
def test_arguments_and_locals(token, record_property):
    record_property("used", token)
    print("printed", token)
    assert token + "x" == "other", token

@pytest.mark.tier0_bentoml
@pytest.mark.xfail(reason="known: " + os.environ["PLANTED_API_KEY"])
def test_expected_to_fail():
    raise RuntimeError(os.environ["PLANTED_API_KEY"][:14])

@pytest.mark.tier0_bentoml
def test_parts(subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert number != 1

@pytest.mark.tier0_bentoml
def test_with_a_late_secret(monkeypatch):
    monkeypatch.setenv("LATE_SECRET", "later-than-all")
    raise ValueError("later-than-all")
"""


@pytest.mark.parametrize("parallel", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_tests_of_any_kind_are_reported_and_tell_no_secret(tmp_path: Path, parallel: list[str]) -> None:
    (tmp_path / "test_hard.py").write_text(HARD, encoding="utf-8")

    run = report(tmp_path, *parallel, "-o", "junit_logging=all", "-rA")

    document = run.document
    assert run.status == pytest.ExitCode.TESTS_FAILED, run.output
    assert "INTERNALERROR" not in run.output
    for name, text in run.texts().items():
        assert not [secret for secret in (*SECRETS, "later-than-all", "s3cr3t/planted") if secret in text], (
            name
        )
    outcomes = [
        (test["nodeid"].partition("::")[2], test["outcome"]) for test in document["tests"] if not test["part"]
    ]
    assert outcomes == [
        ("test_a_parameter_called_check[check0]", "passed"),
        ("test_arguments_and_locals[token]", "failed"),
        ("test_expected_to_fail", "xfailed"),
        ("test_parts", "failed"),
        ("test_with_a_late_secret", "failed"),
    ]
    messages = [problem["message"].splitlines()[0] for problem in document["problems"]]
    assert messages[-1] == "ValueError: (LATE_SECRET hidden)", (
        "the cause, and not the first line of a traceback"
    )
    assert len(messages) == 4, "the part that failed, and the test that has it"


ENDINGS = {
    "status": ("pytest.exit('disk full', returncode=7)", "Inconclusive: the run was stopped (disk full", 7),
    "first": ("assert 0", "Failed", 1),
    "collected": ("pass", "Inconclusive: test_broken.py: tests could not be collected: ", 1),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_was_not_asked_to_the_end_is_no_pass(tmp_path: Path, how: str) -> None:
    does, says, status = ENDINGS[how]
    marked = (
        "@pytest.mark.tier0_bentoml\ndef test_{name}(tier0_events):\n"
        "    tier0_events.emit(Custom('mine'))\n    {does}\n\n"
    )
    code = (
        "import pytest\nfrom tier0.core.events import Custom\n\n"
        + marked.format(name="one", does="pass")
        + marked.format(name="two", does=does)
        + marked.format(name="three", does="pass")
    )
    (tmp_path / "test_it.py").write_text(code, encoding="utf-8")
    if how == "collected":
        (tmp_path / "test_broken.py").write_text("import nothing_of_that_name", encoding="utf-8")
    (tmp_path / "report.json").write_text('{"verdict": "pass"}', encoding="utf-8")

    run = report(tmp_path, "-x" if how == "first" else "--continue-on-collection-errors")

    assert run.status == status, run.output
    assert run.document["sentence"].startswith(says), run.document["sentence"]
    assert run.document["verdict"] == ("fail" if how == "first" else "inconclusive")


def test_an_earlier_report_is_not_taken_for_this_runs(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name", encoding="utf-8")
    (tmp_path / "report.json").write_text('{"verdict": "pass"}', encoding="utf-8")

    run = report(tmp_path)

    assert run.status == pytest.ExitCode.INTERRUPTED
    assert run.document["verdict"] == "inconclusive"
    assert "nothing was checked" in run.document["sentence"]


SHARED = """
import pytest, tier0
from tier0 import Deployment

@pytest.fixture(params=["green", "blue", "grey"])
def deployment(request):
    if request.param == "blue":
        raise RuntimeError("blue cannot be reached")
    if request.param == "grey":
        pytest.skip("grey is not there today")
    return Deployment.from_url("http://127.0.0.1:9")

@pytest.mark.tier0_bentoml
@tier0.parametrize_with_checks(["health.ready"])
def test_serving(deployment, check):
    check(deployment)
"""


def test_two_tests_of_one_check_do_not_hide_each_other(tmp_path: Path) -> None:
    (tmp_path / "test_shared.py").write_text(SHARED, encoding="utf-8")

    run = report(tmp_path)

    assert [(check["status"], check["asked"]) for check in run.document["checks"]] == [
        ("error", False),
        ("error", False),
        ("not_judged", False),
    ]
    assert [problem["message"].partition(":")[0] for problem in run.document["problems"]] == [
        "nothing responds at http",
        "RuntimeError",
    ]
    assert "grey is not there today" in run.document["checks"][-1]["message"]


def test_with_xdist_the_report_is_whole(tmp_path: Path, reported: dict[str, Reported]) -> None:
    for name in ("services.py", "golden.json"):
        (tmp_path / name).write_bytes((reported["passes"].folder / name).read_bytes())
    judged = [
        "--tier0-service",
        "services.py:Wrong",
        "--tier0-golden",
        "golden.json",
        "--tier0-groups",
        "identity,parity",
    ]

    run = report(tmp_path, "-n", "2", "--pyargs", "tier0.suite", "-m", "tier0_bentoml", *judged)

    alone = {check["id"]: check["status"] for check in reported["fails"].document["checks"]}
    together = {check["id"]: check["status"] for check in run.document["checks"]}
    assert together == {check: status for check, status in alone.items() if check in together}, run.output
    assert len(together) == sum(check.group in {"identity", "parity"} for check in CATALOGUE)
    starts = [span["start"] for span in run.document["timeline"] if span["name"] == "starting"]
    assert len(starts) == 2
    assert all(0 < start < run.document["run"]["seconds"] for start in starts), (
        "one time axis for both workers"
    )
    assert not [secret for secret in SECRETS for text in run.texts().values() if secret in text]


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n@pytest.mark.tier0_bentoml\ndef test_it(tier0_events):\n    assert 1",
        encoding="utf-8",
    )

    refused = report(tmp_path, "--tier0-report", str(tmp_path))
    (tmp_path / "report.json").mkdir()
    told = report(tmp_path, "--tier0-report", "nowhere/report.json")
    unwritten = report(tmp_path, "--tier0-report", "other.json", GITHUB_STEP_SUMMARY="/proc/no/such")

    assert refused.status == told.status == pytest.ExitCode.USAGE_ERROR
    assert f"invalid value '{tmp_path}' for --tier0-report" in refused.output
    assert "invalid value 'nowhere/report.json' for --tier0-report" in told.output
    assert "GITHUB_STEP_SUMMARY, /proc/no/such" in unwritten.output


def test_a_run_without_the_marker_tells_nobody(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert 1", encoding="utf-8")

    run = report(tmp_path)

    assert run.status == 0, run.output
    assert run.document["sentence"] == "Inconclusive; nothing was checked.", "it was asked for"
    assert not (tmp_path / "summary.md").exists()
    assert "nothing was checked" not in run.output + run.page.read_text(encoding="utf-8")


def test_diff_says_what_became_worse(reported: dict[str, Reported]) -> None:
    good, bad = (str(reported[name].folder / "report.json") for name in ("passes", "fails"))

    assert diff(good, good) == (0, "no difference\n")
    status, said = diff(good, bad)
    assert status == 1
    assert said.startswith("   worse  verdict: passed → failed\n")
    assert "   worse  parity.golden_rows: passed → failed" in said
    _, said = diff(bad, good)
    assert "  better  parity.golden_rows: failed → passed" in said
    assert not [line for line in said.splitlines() if line.startswith("   worse") and "latency" not in line]


def diff(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tier0.cli", "diff", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_ctrl_c_is_a_signal_that_this_process_takes() -> None:
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN, (
        "a shell started this in the background: its children ignore Ctrl-C, too"
    )


def test_planted_secrets_are_such_that_hiding_them_can_fail() -> None:
    values: list[Any] = list(PLANTED.values())
    assert any(secret in value for secret in SECRETS for value in values)
