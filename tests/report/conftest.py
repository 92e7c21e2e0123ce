"""Three real runs with every form of the report: passed, failed in three places, server not started."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.reporting_run import CASES, GROUPS, Reported, report, write_golden


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reported]:
    """The three runs, by name."""
    runs = {}
    for name, service in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        write_golden(folder)
        shutil.copy(Path(__file__).with_name("services.py"), folder)
        judged = [
            "--tier0-service",
            f"services.py:{service}",
            "--tier0-golden",
            "golden.json",
            "--tier0-groups",
            GROUPS,
            "--tier0-startup-timeout",
            "120",
        ]
        secret = ["--tier0-header", "Authorization: Bearer planted-bearer-token", "--tier0-disturb", "load"]
        runs[name] = report(folder, "--pyargs", "tier0.suite", "-m", "tier0_bentoml", *judged, *secret)
    return runs
