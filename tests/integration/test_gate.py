"""The gate's page: its files are well formed, and what they start ends with the status that they map."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from tests.support import ROOT
from tests.support.scripted_service import GOLDEN, SCRIPTS
from tests.support.snippets import blocks
from tier0.cli import app
from tier0.faults import FaultServer

TEXT = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
BLOCKS = blocks(ROOT / "docs" / "gate.md")
FILES: dict[str, Any] = {
    str(block.file): yaml.safe_load(block.text) for block in BLOCKS if block.language == "yaml"
}
DOCKERFILE = next(block.text for block in BLOCKS if block.text.startswith("# Dockerfile\n"))
URL = "https://models.example:3000"
STATUSES = {"healthy": 0, "wrong": 1, "unavailable": 2}
JOBS = {
    "job.yaml": FILES["job.yaml"]["spec"],
    "cronjob.yaml": FILES["cronjob.yaml"]["spec"]["jobTemplate"]["spec"],
    "analysis.yaml": FILES["analysis.yaml"]["spec"]["metrics"][0]["provider"]["job"]["spec"],
}


def commands(name: str) -> list[str]:
    """The commands of tier0 in a file."""
    if name in JOBS:
        (container,) = JOBS[name]["template"]["spec"]["containers"]
        return [shlex.join(["tier0", *container["args"]])]
    block = next(block for block in BLOCKS if block.file == name)
    return [command.plain for command in block.commands() if command.plain.startswith("tier0 ")]


def run(command: str, url: str, folder: Path) -> tuple[int, str]:
    """Run the words of a command before any ``||`` against a service, with its files in *folder*."""
    words = shlex.split(command.partition("||")[0])[1:]
    changed = []
    for word in words:
        shown = re.sub(r"^(https://models\.example:3000|\{\{args\.url\}\})$", url, word)
        shown = re.sub(r"^/?(?:golden/)?(golden\.json|history)$", rf"{folder}/\1", shown)
        changed.append("0.1" if shown == "120" else shown)
    done = CliRunner().invoke(app, changed)
    return done.exit_code, done.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    GOLDEN.write(tmp_path / "golden.json")
    return tmp_path


def test_every_platform_has_its_file() -> None:
    assert set(FILES) == {
        ".github/workflows/gate.yml", ".gitlab-ci.yml", "job.yaml", "cronjob.yaml", "alerts.yaml",
        "analysis.yaml", "rollout-steps.yaml", "analysis-of-report.yaml",
    }  # fmt: skip
    for name in (".github/workflows/gate.yml", ".gitlab-ci.yml", *JOBS):
        assert len(commands(name)) == 1, name


@pytest.mark.parametrize("service", SCRIPTS)
@pytest.mark.parametrize("name", [".github/workflows/gate.yml", ".gitlab-ci.yml", *JOBS])
def test_its_command_ends_with_the_status_that_the_page_maps(name: str, service: str, folder: Path) -> None:
    (command,) = commands(name)
    if service == "healthy" and name not in {".gitlab-ci.yml", "job.yaml"}:
        command = command.replace("--rate 20", "--rate 100").replace("--rate 5", "--rate 100")

    with FaultServer(SCRIPTS[service]) as server:
        status, output = run(f"{command} --retries 0 --groups health,parity.golden_rows", server.url, folder)

    assert status == STATUSES[service], output
    if "--json" in command and service != "unavailable":
        report = json.loads((folder / "tier0.json").read_text(encoding="utf-8"))
        assert report["verdict"] == {0: "pass", 1: "fail", 2: "inconclusive"}[status]
    if "--history" in command:
        assert len(list((folder / "history").iterdir())) == 1


def outcome_of_job(spec: dict[str, Any], statuses: list[int]) -> tuple[str, int]:
    """What Kubernetes makes of pods that end with these statuses, in turn: the condition, and how many ran.

    The rules of a policy are tried in order; a failure that none matches counts towards the limit.
    """
    for number, status in enumerate(statuses, 1):
        if status == 0:
            return "Complete", number
        for rule in spec["podFailurePolicy"]["rules"]:
            on_exit = rule.get("onExitCodes")
            if on_exit and on_exit["operator"] == "In" and status in on_exit["values"]:
                assert rule["action"] == "FailJob"
                return "Failed: PodFailurePolicy", number
        if number > spec["backoffLimit"]:
            return "Failed: BackoffLimitExceeded", number
    raise AssertionError("the Job is still running")


@pytest.mark.parametrize("name", JOBS)
def test_a_job_fails_at_once_for_a_verdict_and_tries_again_for_anything_else(name: str) -> None:
    spec = JOBS[name]
    tries = spec["backoffLimit"] + 1

    assert outcome_of_job(spec, [0]) == ("Complete", 1)
    assert outcome_of_job(spec, [1, 0]) == ("Failed: PodFailurePolicy", 1)
    assert outcome_of_job(spec, [2, 137, 0]) == ("Complete", 3)
    assert outcome_of_job(spec, [2] * 9) == ("Failed: BackoffLimitExceeded", tries)
    assert outcome_of_job(spec, [2, 1, 0]) == ("Failed: PodFailurePolicy", 2)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_what_a_policy_of_failures_needs(name: str) -> None:
    spec = JOBS[name]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["restartPolicy"] == "Never", "else the policy is refused"
    for rule in spec["podFailurePolicy"]["rules"]:
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule), "exactly one of the two"
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] == container["name"]
            assert 0 not in rule["onExitCodes"]["values"]
    assert all(isinstance(argument, str) for argument in container["args"]), "Kubernetes takes only texts"
    assert spec["activeDeadlineSeconds"] > spec["backoffLimit"] * 120


def test_github_and_gitlab_tell_failed_from_inconclusive() -> None:
    steps = FILES[".github/workflows/gate.yml"]["jobs"]["gate"]["steps"]
    (gate,) = [step for step in steps if step.get("id") == "tier0"]
    assert gate["run"].endswith('|| echo "status=$?" >> "$GITHUB_OUTPUT"'), "a step with another status stops"
    assert [step["run"] for step in steps if "steps.tier0.outputs" in step.get("if", "")] == [
        "exit 1",
        "exit 2",
    ]
    assert FILES[".gitlab-ci.yml"]["gate"]["allow_failure"] == {"exit_codes": 2}


def test_the_shell_of_github_keeps_the_status(tmp_path: Path) -> None:
    (gate,) = [
        step
        for step in FILES[".github/workflows/gate.yml"]["jobs"]["gate"]["steps"]
        if step.get("id") == "tier0"
    ]
    output = tmp_path / "output"
    for status in (0, 1, 2):
        output.write_text("")
        line = re.sub(r"^tier0 .*? \|\|", f"(exit {status}) ||", gate["run"])
        subprocess.run(
            ["bash", "-e", "-c", line], env={**os.environ, "GITHUB_OUTPUT": str(output)}, check=True
        )
        assert output.read_text() == (f"status={status}\n" if status else "")


def test_the_report_has_the_values_that_the_web_metric_compares(folder: Path) -> None:
    (metric,) = FILES["analysis-of-report.yaml"]["spec"]["metrics"]
    assert metric["provider"]["web"]["jsonPath"] == "{$.verdict}"
    conditions = {
        name: re.fullmatch(r'result == "(\w+)"', metric[f"{name}Condition"])
        for name in ("success", "failure")
    }
    found = {}
    for service in SCRIPTS:
        with FaultServer(SCRIPTS[service]) as server:
            arguments = [
                "verify",
                server.url,
                "--golden",
                "golden.json",
                "--json",
                "tier0.json",
                "--retries",
                "0",
            ]
            CliRunner().invoke(app, [*arguments, "--groups", "parity.golden_rows"])
        path = folder / "tier0.json"
        found[service] = json.loads(path.read_text())["verdict"] if path.exists() else None
        path.unlink(missing_ok=True)

    assert {name: match[1] for name, match in conditions.items() if match} == {
        "success": "pass",
        "failure": "fail",
    }
    assert (found["healthy"], found["wrong"]) == ("pass", "fail")
    assert found["unavailable"] not in {"pass", "fail"}


def test_the_alerts_watch_the_jobs_of_the_cronjob() -> None:
    name = FILES["cronjob.yaml"]["metadata"]["name"]
    (group,) = FILES["alerts.yaml"]["spec"]["groups"]

    failed, late = (rule["expr"] for rule in group["rules"])
    assert f'job_name=~"{name}-.*"' in failed
    assert f'cronjob="{name}"' in late


def test_the_dockerfile_is_the_lean_install_and_fits_the_jobs() -> None:
    lines = dict(
        line.partition(" ")[::2] for line in DOCKERFILE.splitlines()[1:] if not line.startswith("RUN")
    )
    installs = re.findall(r"pip install .*", DOCKERFILE)

    assert installs == ["pip install --no-cache-dir pytest-tier0"], "no extras, as tests/plugin installs it"
    assert json.loads(lines["ENTRYPOINT"]) == ["tier0"]
    assert lines["USER"].isdecimal(), "runAsNonRoot can only check a number"
    _, golden = lines["COPY"].split()
    for name, spec in JOBS.items():
        (container,) = spec["template"]["spec"]["containers"]
        assert golden in container["args"], name
        assert container["image"] in TEXT.split("docker build --tag ")[1].splitlines()[0]
    group = FILES["cronjob.yaml"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"][
        "fsGroup"
    ]
    assert str(group) == lines["USER"], "else it cannot write its history"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_lines_of_the_dockerfile_work_in_an_environment_of_their_own(tmp_path: Path) -> None:
    """Without Docker: its files are below a folder, and Python is that of a new environment."""
    checkout, root = tmp_path / "checkout", tmp_path / "root"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=shutil.ignore_patterns(".venv*", ".git", ".*_cache", "reports", "build", "tests"),
    )
    (root / "etc").mkdir(parents=True)
    for name in ("passwd", "group", "shadow", "gshadow"):
        (root / "etc" / name).touch()
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    scripts = tmp_path / "venv" / "bin"
    GOLDEN.write(tmp_path / "golden.json")
    lines = [line.partition(" ")[::2] for line in DOCKERFILE.splitlines()[1:]]

    for instruction, text in lines:
        if instruction == "RUN":
            for command in text.split(" && "):
                run_line(shlex.split(command), scripts, checkout, root)
        elif instruction == "COPY":
            source, target = text.split()
            (root / target.strip("/")).parent.mkdir(parents=True)
            shutil.copy(tmp_path / source, root / target.strip("/"))

    (entry,) = json.loads(dict(lines)["ENTRYPOINT"])
    shown = subprocess.run(
        [scripts / entry, *json.loads(dict(lines)["CMD"])], check=True, capture_output=True, text=True
    )
    assert "--golden" in shown.stdout
    (container,) = JOBS["cronjob.yaml"]["template"]["spec"]["containers"]
    for service, status in STATUSES.items():
        with FaultServer(SCRIPTS[service]) as server:
            arguments = [
                re.sub(r"^/(golden/golden\.json|history)$", rf"{root}/\1", word) for word in container["args"]
            ]
            arguments = ["100" if word == "5" else word.replace(URL, server.url) for word in arguments]
            quick = ["--retries", "0", "--groups", "health,parity.golden_rows"]
            done = subprocess.run(
                [scripts / entry, *arguments, *quick], check=False, capture_output=True, text=True
            )
        assert done.returncode == status, done.stdout + done.stderr
    assert len(list((root / "history").iterdir())) == len(STATUSES)


def run_line(words: list[str], scripts: Path, checkout: Path, root: Path) -> None:
    """Run a command of the Dockerfile: this checkout is installed, and files are below *root*."""
    program, *rest = words
    if program == "pip":
        command = [
            str(scripts / "pip"),
            *(str(checkout) if word == "pytest-tier0" else word for word in rest),
        ]
    elif program == "useradd":
        if os.geteuid() or shutil.which("useradd") is None:
            return
        command = ["useradd", "--prefix", str(root), *rest]
    else:
        assert program == "install", "no other command is known"
        owner = {"gate": str(os.geteuid())}
        command = [
            program,
            *(f"{root}{word}" if word.startswith("/") else owner.get(word, word) for word in rest),
        ]
    subprocess.run(command, check=True, timeout=600)
