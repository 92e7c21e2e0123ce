"""Tier0's service, and one of a user, on the oldest BentoML that the extra allows and on the newest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TINY = ROOT / "tests" / "defects" / "starts" / "tiny.py"
UNREACHABLE = re.compile(
    r"connect|timed out|dns|resolve host|network|offline|retries exceeded", re.IGNORECASE
)
SERVES = """
import asyncio, sys
import numpy as np
import tier0
from sklearn.linear_model import LogisticRegression
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment, OwnDeployment
from tier0.serving.bentoml_internals import missing_from_bentoml
from tier0.serving.registration import EntryWriter, ModelSaver
from tier0.serving.workspace import Workspace

workspace = Workspace.create()
rows = np.array([[float(number), -float(number)] for number in range(-10, 10)])
fitted = LogisticRegression().fit(rows, rows[:, 0] > 1)
writer = EntryWriter(workspace, workspace.store)
model = ModelSaver(fitted, "tiny", {}, rows[:6])(workspace, writer, prove=True)
server = asyncio.run(tier0.start_bentoml_service(model, startup_timeout=90))
try:
    own = tier0.check_serving(OwnDeployment.from_server(server, model), disturb="faults", on_fail="return")
finally:
    asyncio.run(tier0.stop_bentoml_service(server))
golden = GoldenRows(["a", "b"], [[1.0, 2.0], [3.5, 1.0]], [-1.0, 2.5], None, [])
with Deployment.from_service(
    sys.argv[1] + ":Tiny", golden=golden, contract={"route": "/predict", "predictions": "predictions"},
    store=workspace.store, startup_timeout=90,
) as deployment:
    users = tier0.check_serving(deployment, disturb="none", on_fail="return")
workspace.close()
for name, verdict in (("own", own), ("user's", users)):
    for status in ("fail", "error"):
        for result in verdict.with_status(status):
            print(name, result.explain())
print("verdicts:", own.verdict, users.verdict)
print("missing:", *missing_from_bentoml())
"""


def oldest() -> str:
    """Return the lowest version of BentoML that the extra allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (version,) = [
        text.partition(">=")[2]
        for text in project["optional-dependencies"]["bentoml"]
        if text.startswith("bentoml>=")
    ]
    return f"bentoml=={version}"


def make_environment(folder: Path, *requirements: str) -> Path:
    """Install packages into a new environment; skip the test if no package can be fetched."""
    python = folder / "bin" / "python"
    if uv := shutil.which("uv"):
        create = [uv, "venv", "--python", sys.executable, str(folder)]
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        create = [sys.executable, "-m", "venv", str(folder)]
        install = [str(python), "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20"]
    subprocess.run(create, check=True, capture_output=True)
    done = subprocess.run([*install, *requirements], capture_output=True, text=True, check=False)
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"the package registry cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


@pytest.mark.parametrize(
    "bentoml", [pytest.param(oldest(), id="oldest"), pytest.param("bentoml", id="newest")]
)
def test_the_service_runs_on_this_bentoml(tmp_path: Path, bentoml: str) -> None:
    python = make_environment(tmp_path / "venv", bentoml, f"{ROOT}[bentoml]", "scikit-learn")
    shutil.copyfile(TINY, tmp_path / "tiny.py")
    (tmp_path / "serves.py").write_text(SERVES, encoding="utf-8")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "TIER0_", "BENTOML_"))
    }

    done = subprocess.run(
        [str(python), "serves.py", "tiny.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdicts: pass pass" in done.stdout, done.stdout + done.stderr
    assert "missing:\n" in done.stdout, "a name is missing: mend bentoml_internals before others meet it"
