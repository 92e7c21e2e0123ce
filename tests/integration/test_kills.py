"""Any two processes of a run may be killed at once: nothing of the run is left afterwards.

The processes are a run's own, except that the server is a small one which ignores requests to stop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import execnet
import psutil
import pytest

from tests.support import QUIET
from tests.support.pytest_run import Run
from tier0.core.event_log import EventLog
from tier0.pytest_plugin import pytest_configure_node
from tier0.pytest_recorder import EVENTS_KEY
from tier0.serving.processes import GUARD

SERVER = """
import signal, socket, subprocess, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, __file__])
else:
    listening = socket.create_server(("127.0.0.1", 0))
    with open("port", "w") as port:
        port.write(str(listening.getsockname()[1]))
while True:
    signal.pause()
"""
OBEDIENT = SERVER.replace(
    "    subprocess.Popen([sys.executable, __file__])",
    """    worker = subprocess.Popen([sys.executable, __file__])
    signal.signal(signal.SIGTERM, lambda *_: (worker.kill(), sys.exit()))""",
)
"""The same server, which does stop when it is asked to."""
RUN = """
import pathlib, sys
from concurrent.futures import ThreadPoolExecutor
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

workspace = Workspace.create(keep="keep" in sys.argv)
server = Server(workspace.folder("s"), service="it:It", project=pathlib.Path.cwd(), is_users=True)
with ThreadPoolExecutor(1) as threads:  # the server must outlive the thread that started it
    threads.submit(server.launch).result()
print("launched", flush=True)
sys.stdin.readline()
try:
    server.stop()
finally:
    workspace.close()
"""
WITHIN = 20.0
"""Seconds; on an idle machine it takes less than one."""
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT]
TEST, GUARDED, TWIN, FOLDERS, FOLDERS_TWIN, SUPERVISOR, WORKER = PARTS = (
    "test",
    "server's guard",
    "its twin",
    "folder's guard",
    "the twin of that",
    "supervisor",
    "worker",
)
PAIRS = [*combinations(PARTS, 2)]
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems do not tell a process that its parent ended"
)


def part_of(command: list[str]) -> str:
    """Return what a process of the run is."""
    if str(GUARD) in command:
        order = json.loads(command[-1])
        if "command" in order:
            return TWIN if "twin_of" in order else GUARDED
        return FOLDERS_TWIN if "twin_of" in order else FOLDERS
    if command[1] == "-c":
        return TEST
    return SUPERVISOR if "serve" in command else WORKER


class Killed(Run):
    """A run of which parts are killed."""

    def start_server(self, *arguments: str, server: str = SERVER) -> None:
        package = self.folder / "bentoml"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(server, encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.tmp), "TIER0_TEST_MARK": self.mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.wait_for(lambda: set(PARTS) <= set(self.parts()) and self.port)

    @property
    def output(self) -> str:
        return "" if self.process is None or self.process.poll() is None else self.process.communicate()[0]

    @property
    def port(self) -> int:
        path = self.folder / "port"
        return int(path.read_text(encoding="utf-8") or 0) if path.exists() else 0

    def parts(self) -> dict[str, psutil.Process]:
        found = {}
        for process in self.processes():
            with suppress(psutil.Error):
                if command := process.cmdline():  # it has none while it starts another program, or ends
                    found[part_of(command)] = process
        return found

    def kill(self, *parts: str, how: signal.Signals = signal.SIGKILL) -> None:
        found = self.parts()
        for part in parts:
            found[part].send_signal(how)

    def wait_for_end_of_server(self) -> None:
        self.wait_for(lambda: not {SUPERVISOR, WORKER} & set(self.parts()), WITHIN)

    def end(self) -> tuple[int, str]:
        """Let the test process go on to its end, and return its status and output."""
        assert self.process is not None
        output, _ = self.process.communicate("\n", timeout=WITHIN)
        return self.process.returncode, output


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Killed]:
    folder, tmp = tmp_path / "project", tmp_path / "t"
    folder.mkdir()
    tmp.mkdir()
    run = Killed(folder, tmp)
    yield run
    for process in run.processes():
        process.kill()
    if run.process is not None:
        run.process.communicate()


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[" and ".join(pair) for pair in PAIRS])
def test_nothing_is_left_when_any_two_are_killed(run: Killed, one: str, other: str) -> None:
    run.start_server()

    run.kill(one, other)
    if TEST not in {one, other}:
        if {one, other} & {GUARDED, SUPERVISOR} and {one, other} != {GUARDED, TWIN}:
            run.wait_for_end_of_server()
        run.end()

    assert run.gone_within(WITHIN) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", SIGNALS[1:], ids=lambda how: how.name)
@pytest.mark.parametrize("other", [GUARDED, FOLDERS, SUPERVISOR])
def test_it_may_be_any_signal(run: Killed, other: str, how: signal.Signals) -> None:
    run.start_server()

    run.kill(other, TEST, how=how)

    assert run.gone_within(WITHIN) == []


def test_a_server_that_ends_because_its_guard_was_killed_says_so(run: Killed) -> None:
    run.start_server("keep")

    run.kill(GUARDED)
    run.wait_for_end_of_server()
    run.end()

    (log,) = run.tmp.glob("tier0-*/s*/server.log")
    assert "guard process of this server was killed" in log.read_text(encoding="utf-8")
    assert run.processes_after(WITHIN) == []


def test_a_server_without_guards_is_stopped_and_reported(run: Killed) -> None:
    run.start_server()

    run.kill(TWIN, how=signal.SIGSTOP)  # else it may end the server between the two kills
    run.kill(GUARDED, TWIN)
    status, output = run.end()

    assert status == 1
    assert "did not shut down cleanly" in output
    assert run.gone_within(WITHIN) == []


@linux_only
def test_a_server_that_stops_when_asked_does_not_outlive_guard_and_twin(run: Killed) -> None:
    run.start_server(server=OBEDIENT)

    run.kill(TWIN, how=signal.SIGSTOP)  # it can do nothing for the server, and is not replaced
    run.kill(GUARDED)

    run.wait_for_end_of_server()
    run.kill(TWIN)


def test_a_twin_that_was_killed_is_replaced(run: Killed) -> None:
    run.start_server()
    replaced = run.parts()[TWIN]

    run.kill(TWIN)
    run.wait_for(lambda: (now := run.parts().get(TWIN)) and now != replaced, WITHIN)
    run.kill(TEST, GUARDED)

    assert run.gone_within(WITHIN) == []


def test_a_run_that_is_not_killed_ends_with_all_of_its_guards(run: Killed) -> None:
    run.start_server()

    status, output = run.end()

    assert (status, output) == (0, "launched\n")
    assert run.left() == []


KEEPS = """
import signal, sys
from tier0.serving.workspace import Workspace
print(Workspace.create(keep=True, controller=int(sys.argv[1])).path, flush=True)
signal.pause()
"""


def test_a_run_that_keeps_its_folder_ends_with_its_controller(tmp_path: Path) -> None:
    controller = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with subprocess.Popen(
        [sys.executable, "-c", KEEPS, str(controller.pid)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        kept = Path(worker.stdout.readline().strip())

        controller.kill()
        controller.communicate()

        assert worker.wait(WITHIN) == -signal.SIGKILL
        assert kept.is_dir()


XDIST = """
import os, pathlib, signal

def wait():
    pathlib.Path(os.environ["PYTEST_XDIST_WORKER"]).write_text(str(os.getpid()))
    signal.pause()

if "PYTEST_XDIST_WORKER" in os.environ and MOMENT == "collection":
    wait()

def test_one(): wait()
def test_other(): wait()
"""


@linux_only
@pytest.mark.parametrize(
    ("moment", "how"), [("collection", signal.SIGHUP), ("a test without fixtures", signal.SIGKILL)]
)
@pytest.mark.slow
def test_a_worker_of_xdist_does_not_outlive_its_controller_and_the_other_worker(
    run: Killed, moment: str, how: signal.Signals
) -> None:
    """Before anything of Tier0 has been started, such as a guard."""
    (run.folder / "test_it.py").write_text(f"MOMENT = {moment!r}{XDIST}", encoding="utf-8")
    controller = run.start(*QUIET, "-n", "2")
    pids = [run.folder / "gw0", run.folder / "gw1"]
    run.wait_for(lambda: all(path.exists() and path.read_text(encoding="utf-8") for path in pids))

    for pid in (controller.pid, int(pids[0].read_text(encoding="utf-8"))):
        os.kill(pid, how)
    controller.wait(WITHIN)

    assert run.gone_within(2.0) == []


LATE = """
import sys
from tier0.core.interruption import interrupt_with
try:
    interrupt_with(int(sys.argv[1]))
    print("goes on")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_worker_that_starts_after_the_end_of_its_controller_is_interrupted() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    said = {
        pid: subprocess.run(
            [sys.executable, "-c", LATE, str(pid)], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
        for pid in (ended.pid, os.getpid(), 1)
    }
    assert said == {ended.pid: "interrupted", os.getpid(): "goes on", 1: "goes on"}


@pytest.mark.parametrize(
    ("spec", "is_told"),
    [("popen", True), ("popen//python=python3", True), ("ssh=host", False), ("popen//via=a", False)],
)
def test_only_a_worker_on_this_machine_is_told_its_controller(spec: str, *, is_told: bool) -> None:
    config = SimpleNamespace(stash=pytest.Stash())
    config.stash[EVENTS_KEY] = EventLog()
    node = SimpleNamespace(config=config, workerinput={}, gateway=SimpleNamespace(spec=execnet.XSpec(spec)))

    pytest_configure_node(node)

    assert node.workerinput["tier0_run"][1] == (os.getpid() if is_told else None)
