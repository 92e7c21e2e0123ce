"""A run of our tests that is killed or interrupted leaves no process, though a test started it by hand."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.pytest_run import Run

STARTS_A_SERVER = """
import subprocess, sys, time

def test_it():
    subprocess.Popen([sys.executable, "server.py"], start_new_session=True)
    time.sleep(600)
"""

SERVER = """
import subprocess, sys, time

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("up", "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "workers", [pytest.param([], id="alone"), pytest.param(["-n", "1"], id="xdist", marks=pytest.mark.slow)]
)
def test_no_process_that_a_test_started_is_left(
    tmp_path: Path, workers: list[str], end: signal.Signals
) -> None:
    folder, tmp = tmp_path / "project", tmp_path / "t"
    folder.mkdir()
    tmp.mkdir()
    (folder / "test_it.py").write_text(STARTS_A_SERVER, encoding="utf-8")
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    run = Run(folder, tmp)
    process = run.start(
        "-p", "no:opik", "-p", "tests.support.process_sweep", *workers, env={"PYTHONPATH": str(ROOT)}
    )
    run.wait_for((folder / "up").exists)
    run.wait_for(lambda: len(run.processes()) >= 3)  # the run, a server and the server's worker

    process.send_signal(end)
    process.wait()

    run.assert_gone_within(20)
