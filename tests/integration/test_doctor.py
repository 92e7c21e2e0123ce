"""Each thing that `tier0 doctor` looks at, as it is when all is well, and as it is when it is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(
    python: str | Path, *arguments: str, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), "-m", "tier0.cli", "doctor", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_shows_names_and_no_values(tmp_path: Path) -> None:
    report = tmp_path / "doctor.json"
    variables = {
        "PYTHONPATH": str(ROOT / "src"),
        "BENTOML_TIMEOUT": "planted-secret",
        "PYTEST_ADDOPTS": "-p tier0.pytest_plugin",
    }

    done = run(sys.executable, "--json", str(report), folder=tmp_path, **variables)

    document = json.loads(report.read_text(encoding="utf-8"))
    assert document["schema"] == 1
    assert done.returncode == (0 if document["verdict"] == "pass" else 2), done.stdout + done.stderr
    assert [line[9:30].strip() for line in done.stdout.split("\n\n")[0].splitlines()] == [
        finding["name"] for finding in document["findings"]
    ]
    assert "BENTOML_TIMEOUT" in done.stdout
    assert "planted-secret" not in done.stdout + report.read_text(encoding="utf-8")


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from tier0.doctor import doctor; doctor.examine(doctor.Environment.here());"
        "print(sorted({'bentoml', 'numpy', 'pandas', 'sklearn', 'opik', 'mlflow', 'pytest', 'httpx'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bare_environment_is_mended_by_the_command(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=shutil.ignore_patterns(".venv*", ".git", ".*_cache", "reports", "build", "tests"),
    )
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(checkout)], check=True, timeout=600)
    report = tmp_path / "doctor.json"

    bare = run(python, "--json", str(report), folder=tmp_path)

    assert bare.returncode == 2, bare.stdout + bare.stderr
    missing = {
        finding["name"]
        for finding in json.loads(report.read_text(encoding="utf-8"))["findings"]
        if finding["status"] == "missing"
    }
    assert {"[bentoml]", "[pipeline]", "pytest-asyncio"} <= missing
    assert not missing & {"base", "Python", "the plugin"}
    assert f"{python} -m pip install 'pytest-tier0[all]'" in bare.stdout

    needed = [
        text
        for text in json.loads(report.read_text(encoding="utf-8"))["requirements"]
        if text.startswith(("orjson", "pytest-"))
    ]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *needed], check=True, timeout=600)

    less = run(python, folder=tmp_path)

    assert "pytest-asyncio is not installed" not in less.stdout
    assert "orjson is not installed" not in less.stdout
    assert "bentoml is not installed" in less.stdout
