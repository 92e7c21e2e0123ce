"""Which processes of a server handle requests."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from tier0.serving.launch import Launch
from tier0.serving.server_log import ServerLog

SUPERVISOR = """
import os, signal, socket
listening = socket.create_server(("127.0.0.1", 0))
os.fork()
signal.pause()
"""
GUARD = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def test_a_forked_copy_of_the_supervisor_is_no_worker(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    guard = subprocess.Popen([sys.executable, "-c", GUARD, SUPERVISOR])
    launch = Launch(guard, ServerLog(log), 0, traceback_is_fatal=False)
    try:
        deadline = time.monotonic() + 20
        while len(launch.pids) < 2:
            assert time.monotonic() < deadline

        copy = psutil.Process(launch.pids[1])
        assert [each.status for each in copy.net_connections(kind="tcp")] == [psutil.CONN_LISTEN]
        assert launch.worker_pids == []
        assert launch.find_problem() is None
        assert launch.find_url() is None
    finally:
        for pid in launch.pids:
            psutil.Process(pid).kill()
        guard.wait()
