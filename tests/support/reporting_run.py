"""A real run of pytest, with every form of its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import QUIET, SOURCE
from tier0.golden.rows import GoldenRows

PLANTED = {"PLANTED_API_KEY": "s3cr3t/planted+value", "PLANTED_DSN": "postgres://app:pl4nt3d-pw@db/x"}
SECRETS = ("s3cr3t/planted+value", "s3cr3t%2Fplanted%2Bvalue", "pl4nt3d-pw", "planted-bearer-token")
CASES = {"passes": "Right", "fails": "Wrong", "never": "NeverReady"}
GROUPS = "health,identity,contract,parity,performance.latency,performance.many_callers"


@dataclass(frozen=True)
class Reported:
    """What a run left."""

    folder: Path
    status: int
    output: str

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    @property
    def document(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        return content

    @property
    def summary(self) -> str:
        return (self.folder / "summary.md").read_text(encoding="utf-8")

    @property
    def junit(self) -> ET.Element:
        return ET.parse(self.folder / "junit.xml").getroot()

    def texts(self) -> dict[str, str]:
        """Every form of the report, by name."""
        names = ("report.html", "report.json", "summary.md", "junit.xml")
        return {
            "terminal": self.output,
            **{name: (self.folder / name).read_text(encoding="utf-8") for name in names},
        }


def write_golden(folder: Path) -> None:
    rows = [[float(first), float(second)] for first in range(6) for second in (0.5, 2.25, 7.0)]
    golden = GoldenRows(
        ["<i>first</i>", "second"],
        rows,
        [first - second for first, second in rows],
        None,
        [],
        seconds=0.0002,
        tag="tiny:1",
    )
    golden.write(folder / "golden.json")


def report(folder: Path, *arguments: str, **environ: str) -> Reported:
    """Run pytest with every kind of report."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TIER0_", "PYTEST_", "GITHUB_"))
    }
    environment |= {
        "PYTHONPATH": str(SOURCE),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        **PLANTED,
        **environ,
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        *QUIET,
        "-p",
        "tier0.pytest_plugin",
    ]
    command += [
        "--html=report.html",
        "--self-contained-html",
        "--junitxml=junit.xml",
        "--tier0-report",
        "report.json",
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Reported(folder, done.returncode, done.stdout + done.stderr)
