"""Files of the report beside the page: JUnit XML, annotations of a CI job, and where a run took place."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_display import is_harmless
from tier0.core.display import github_annotation
from tier0.core.errors import Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.events import CheckDone, RunFailed, RunStarted, TargetDescribed, TestDone
from tier0.core.named_file import require_creatable, write_text
from tier0.core.provenance import ci_job
from tier0.core.secrets import Secrets
from tier0.core.verdict import CheckResult, Status
from tier0.report.annotations import MAX_ANNOTATIONS, annotations_of
from tier0.report.cut_short import CutShort
from tier0.report.document import document_of
from tier0.report.files import ReportFiles
from tier0.report.junit import as_junit

TOKEN = "tok-0123456789-abcdef"
RESULTS: list[tuple[str, Status, str]] = [
    ("health.ready", "pass", ""),
    ("parity.golden_rows", "fail", "4 of 4 rows differ\nrow 0: expected 1, got 2"),
    ("parity.rows_alone", "error", f"no response of \x1b[31m{TOKEN}\x00 ]]> <b>&</b> \udcff \ufffe"),
    ("parity.shuffled", "not_judged", "no golden rows\nat all"),
    ("performance.latency", "pass", ""),
]
OUTCOMES = {"skipped": {"message"}, "error": {"message", "type"}, "failure": {"message", "type"}}


def document(*, ended: CutShort | None = None, results: Any = RESULTS) -> dict[str, Any]:
    events = EventLog(hide=Secrets({"A_TOKEN": TOKEN}).hide)
    ci = {"name": "GitLab CI", "url": "https://ci.example/jobs/7"}
    events.emit(
        RunStarted("tier0 verify", "", "2026-01-01T00:00:00+00:00", "3.11", {}, "0123abc", "main", ci)
    )
    for check, status, message in results:
        result = CheckResult(check, status, message, {"timeline": ["0 ms"]}, ["a"], "curl", seconds=0.25)
        events.emit(CheckDone.of(result, "Is it?"))
    events.emit(TargetDescribed({"url": "http://127.0.0.1:1", "model": "churn:1"}))
    return document_of(events.events, cut_short=ended)


def require_valid(text: str) -> ET.Element:
    """Check the rules that the schemas of Jenkins and of Ant's JUnit task have in common."""
    assert re.search(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text) is None
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    assert root.attrib.keys() <= {"name", "time", "tests", "failures", "errors", "disabled"}
    for suite in root:
        assert suite.tag == "testsuite"
        assert suite.attrib.keys() == {
            "id",
            "name",
            "package",
            "hostname",
            "timestamp",
            "tests",
            "failures",
            "errors",
            "skipped",
            "time",
        }
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
        tags = [child.tag for child in suite]
        cases = suite.findall("testcase")
        assert tags == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
        assert all(one.keys() == ["name", "value"] for one in suite.iterfind("properties/*"))
        outcomes = []
        for case in cases:
            assert case.attrib.keys() == {"classname", "name", "time"}
            assert float(case.get("time", "")) >= 0
            assert len(case) <= 1
            outcomes += [child.tag for child in case]
            assert all(child.keys() == sorted(OUTCOMES[child.tag]) for child in case)
        for name, tag in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
            assert int(suite.get(name, "")) == outcomes.count(tag)
        assert int(suite.get("tests", "")) == len(cases)
    for name in ("tests", "failures", "errors"):
        assert int(root.get(name, "")) == sum(int(suite.get(name, "")) for suite in root)
    return root


def test_junit_has_a_suite_a_group_and_a_case_a_check() -> None:
    root = require_valid(as_junit(document()))

    assert [suite.get("name") for suite in root] == ["health", "parity", "performance"]
    found = {case.get("name"): case for case in root.iter("testcase")}
    assert list(found) == [check for check, _, _ in RESULTS]
    failure = found["parity.golden_rows"][0]
    assert (failure.tag, failure.get("type"), failure.get("message")) == (
        "failure", "critical", "4 of 4 rows differ",
    )  # fmt: skip
    assert all(part in (failure.text or "") for part in ("row 0", "likely cause: a", "curl", "0 ms"))
    skipped = found["parity.shuffled"][0]
    assert (skipped.tag, skipped.get("message")) == ("skipped", "no golden rows at all")
    assert found["parity.rows_alone"].get("classname") == "tier0.parity"
    assert found["parity.rows_alone"].get("time") == "0.250"
    facts = {one.get("name"): one.get("value") for one in root.iterfind("testsuite[1]/properties/property")}
    assert facts.items() >= {
        "tier0.service": "http://127.0.0.1:1", "tier0.tag": "churn:1", "tier0.verdict": "fail",
        "tier0.commit": "0123abc", "tier0.branch": "main", "tier0.ci": "https://ci.example/jobs/7",
    }.items()  # fmt: skip


def test_junit_has_no_secret_and_no_control_character() -> None:
    text = as_junit(document())

    require_valid(text)
    assert TOKEN not in text
    assert "(A_TOKEN hidden)" in text
    assert is_harmless(text)


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_text_makes_valid_junit(message: str, name: str) -> None:
    require_valid(
        as_junit(document(results=[("parity.golden_rows", "fail", message), (name, "error", message)]))
    )


def test_junit_has_what_is_no_check() -> None:
    events = EventLog()
    test = TestDone(
        "test_a.py::test_it", None, "it is\nwrong", "trace", None, "", "call", "failed", 0.5, part=False
    )
    events.emit(test)
    events.emit(RunFailed("http://127.0.0.1:1", "nothing responds", "error"))

    root = require_valid(as_junit(document_of(events.events, cut_short=CutShort("interrupted"))))

    outcomes = {case.get("name"): case[0].tag for case in root.iter("testcase")}
    assert outcomes == {
        "test_a.py::test_it": "failure", "http://127.0.0.1:1": "error", "the end of the run": "error",
    }  # fmt: skip
    require_valid(as_junit(document_of([])))


GITHUB = {"GITHUB_ACTIONS": "true"}


def test_annotations_are_for_github_only_and_name_the_worst_cause_first() -> None:
    lines = annotations_of(document(), GITHUB)

    assert lines[0].startswith(
        "::error title=Tier0%3A Wrong predictions (parity.golden_rows)::4 of 4 rows differ"
    )
    assert "%0Alikely cause: a" in lines[0]
    assert not [line for line in lines if TOKEN in line or "\n" in line]
    for environ in ({}, {"GITHUB_ACTIONS": "false"}, {"GITLAB_CI": "true"}):
        assert annotations_of(document(), environ) == []
    assert annotations_of(document(results=[("health.ready", "pass", "")]), GITHUB) == []
    (line,) = annotations_of(document(results=[], ended=CutShort("interrupted")), GITHUB)
    assert "the run was interrupted" in line
    many = [(f"parity.x{number}", "fail", f"wrong {number}") for number in range(40)]
    assert len(annotations_of(document(results=many), GITHUB)) == MAX_ANNOTATIONS


@given(st.text(max_size=60), st.text(max_size=60))
def test_an_annotation_is_one_command_whatever_its_text(title: str, text: str) -> None:
    line = github_annotation("error", title, f"{text}\n::set-output name=x::planted")

    assert line.splitlines() == [line]
    name, _, data = line[2:].partition("::")
    assert re.fullmatch(r"error title=[^:,\r\n]*", name)
    assert data.endswith("%0A::set-output name=x::planted")


JOBS = [
    (
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": "a/b",
            "GITHUB_RUN_ID": "7",
            "GITHUB_SHA": "c0",
            "GITHUB_REF_NAME": "12/merge",
            "GITHUB_HEAD_REF": "fix",
        },
        ("GitHub Actions", "https://github.example/a/b/actions/runs/7", "c0", "fix"),
    ),
    (
        {
            "GITLAB_CI": "true",
            "CI_JOB_URL": "https://lab/-/jobs/7",
            "CI_COMMIT_SHA": "c0",
            "CI_COMMIT_REF_NAME": "m",
        },
        ("GitLab CI", "https://lab/-/jobs/7", "c0", "m"),
    ),
    (
        {
            "JENKINS_URL": "https://j/",
            "BUILD_URL": "https://j/job/7/",
            "GIT_COMMIT": "c0",
            "GIT_BRANCH": "origin/m",
        },
        ("Jenkins", "https://j/job/7/", "c0", "origin/m"),
    ),
    (
        {
            "TF_BUILD": "True",
            "SYSTEM_COLLECTIONURI": "https://dev.azure.example/o/",
            "SYSTEM_TEAMPROJECT": "My App",
            "BUILD_BUILDID": "7",
            "BUILD_SOURCEVERSION": "c0",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/fix",
        },
        ("Azure Pipelines", "https://dev.azure.example/o/My%20App/_build/results?buildId=7", "c0", "fix"),
    ),
    (
        {
            "BUILDKITE": "true",
            "BUILDKITE_BUILD_URL": "https://b/7",
            "BUILDKITE_COMMIT": "c0",
            "BUILDKITE_BRANCH": "m",
        },
        ("Buildkite", "https://b/7", "c0", "m"),
    ),
    (
        {"CIRCLECI": "true", "CIRCLE_BUILD_URL": "https://c/7", "CIRCLE_SHA1": "c0", "CIRCLE_TAG": "v1"},
        ("CircleCI", "https://c/7", "c0", "v1"),
    ),
]


@pytest.mark.parametrize(("environ", "job"), JOBS)
def test_a_ci_system_is_known_by_its_variables(environ: dict[str, str], job: tuple[str, ...]) -> None:
    assert ci_job(environ) == job


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@b/7", "https://b/7"),
        ("javascript:alert(1)", ""),
        ("https://b/7\n::error::x", ""),
        ('https://b/"><script>', ""),
        ("", ""),
    ],
)
def test_an_address_of_a_job_is_a_plain_link(url: str, shown: str) -> None:
    job = ci_job({"BUILDKITE": "true", "BUILDKITE_BUILD_URL": url})

    assert job is not None
    assert job.url == shown
    assert ci_job({"GITLAB_CI": "", "TF_BUILD": "False", "CI": "true"}) is None


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tier0.json"
    path.write_text("before", encoding="utf-8")
    path.chmod(0o640)
    (link := tmp_path / "link").symlink_to(path)

    write_text(link, "after")

    assert (path.read_text(encoding="utf-8"), link.is_symlink()) == ("after", True)
    assert path.stat().st_mode & 0o777 == 0o640

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "never")
    assert path.read_text(encoding="utf-8") == "after"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "tier0.json"]


def test_a_file_that_cannot_be_replaced_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tier0.json"
    path.write_text("a longer text before", encoding="utf-8")

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")  # a file that is mounted into a container

    monkeypatch.setattr(Path, "replace", busy)
    write_text(path, "after")

    assert path.read_text(encoding="utf-8") == "after"
    assert [one.name for one in tmp_path.iterdir()] == ["tier0.json"]


def test_what_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    require_creatable(tmp_path / "new.json")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="tier0"):
        require_creatable(Path("/proc/tier0.json"))
    for files in (ReportFiles(junit=Path("/proc/tier0.xml")), ReportFiles(html=Path("/proc/tier0.html"))):
        with pytest.raises(Tier0Error, match=r"cannot write the report /proc/tier0\."):
            files.begin()


def test_one_file_cannot_have_two_forms(tmp_path: Path) -> None:
    (older := tmp_path / "tier0").write_text("of an earlier run", encoding="utf-8")

    with pytest.raises(Tier0Error, match="two forms"):
        ReportFiles(json=older, junit=older).begin()
    assert not older.exists()
    ReportFiles(json=Path("/dev/null"), junit=Path("/dev/null")).begin()


def test_older_files_are_removed_first(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.html", "a.json", "a.xml", "a.md")]
    for path in paths:
        path.write_text("of an earlier run", encoding="utf-8")

    files = ReportFiles(*paths)
    files.begin()
    assert not list(tmp_path.iterdir())
    assert files.write(document()) == []

    assert all(path.stat().st_size > 500 for path in paths)
    assert TOKEN not in "".join(path.read_text(encoding="utf-8") for path in paths)
    page = paths[0].read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
