"""The examples pass, and their broken twins fail; tests/docs/test_pages.py also serves them."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support import ROOT

SERVICE, CLIENT = ROOT / "examples" / "service", ROOT / "examples" / "client"


@pytest.mark.parametrize(("module", "status"), [("clients", 0), ("broken_clients", 1)])
def test_a_client_is_judged_by_its_declaration(module: str, status: int) -> None:
    checks = "wire.one_request,deadline.dripping_body,hygiene.proxy_environment"
    command = ["check-client", f"{module}:make_client", "--declare", "client.toml", "--only", checks]

    done = subprocess.run(
        [sys.executable, "-m", "tier0", *command],
        cwd=CLIENT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status, done.stdout + done.stderr


@pytest.mark.parametrize(("file", "is_red"), [("tier0.yml", True), ("broken-tier0.yml", False)])
def test_a_job_has_the_status_of_the_checks(tmp_path: Path, file: str, is_red: bool) -> None:  # noqa: FBT001
    steps = yaml.safe_load((SERVICE / file).read_text(encoding="utf-8"))["jobs"]["served"]["steps"]
    (checks,) = [step["run"] for step in steps if "pytest --pyargs" in step.get("run", "")]
    failing = tmp_path / "pytest"
    failing.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    failing.chmod(0o700)

    done = subprocess.run(  # as GitHub runs a step
        ["bash", "-e", "-c", checks],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        check=False,
    )

    assert (done.returncode != 0) is is_red


def test_the_broken_service_differs_in_one_step() -> None:
    healthy, broken = (
        (SERVICE / name).read_text(encoding="utf-8").splitlines()[2:]
        for name in ("service.py", "broken_service.py")
    )

    changed = [line for line in difflib.ndiff(healthy, broken) if line.startswith(("- ", "+ "))]

    assert len(changed) == 2
    assert changed[1] == f"+{changed[0][1:]}[-1]"
