"""One launch of a server: its processes, its listening port, and signs of a failed start."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from subprocess import Popen, TimeoutExpired

import psutil

from tier0.core.foreign_text import PORT_IN_USE, TRACEBACK
from tier0.serving.bentoml_internals import WORKER_MODULE
from tier0.serving.processes import GUARD
from tier0.serving.server_log import ServerLog

HOST = "127.0.0.1"
STOP_WITHIN = 3.0
"""Seconds after which a guard that was asked to stop is killed."""
TRACEBACK_SETTLES = 0.3
"""Seconds that a process gets to finish a traceback, so that the end of the log shows the exception."""


@dataclass
class Launch:
    """The processes of one `bentoml serve`, or of the command of another server.

    Attributes:
        guard: their guard, the parent of the supervisor.
        log: the file that they print to.
        port: the port that it was started with; 0 for any free one, which only BentoML finds by itself.
        traceback_is_fatal: whether a traceback in the log means that the service cannot become ready.
        name: the command, for messages.
        is_bentoml: whether it is a `bentoml serve`; of any other command, the processes that listen on the
            port are the workers, except the first one if there are several.
        workers: pids of the workers that `find_problem` has seen.
        is_ready: whether the server has become ready.
        started: time of the launch, as `time.monotonic`.
    """

    guard: Popen[bytes]
    log: ServerLog
    port: int
    traceback_is_fatal: bool
    name: str = "bentoml serve"
    is_bentoml: bool = True
    workers: list[int] = field(default_factory=list)
    is_ready: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def pids(self) -> list[int]:
        """The living processes below the guard other than its twin, the supervisor first."""
        try:
            below = [process.pid for process in psutil.Process(self.guard.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        return [pid for pid in below if str(GUARD) not in _command_of(pid)]

    @property
    def worker_pids(self) -> list[int]:
        """The processes that handle requests.

        If no process runs the module of BentoML's workers, which another version may call otherwise, these
        are the processes below the supervisor that listen. One with the supervisor's own command does not
        count: it has been forked, still has all sockets of the supervisor, and runs another program soon.
        """
        if not self.is_bentoml:
            listening = [pid for pid in self.pids if self.port in _listening_ports(pid)]
            return listening[1:] or listening
        commands = {pid: _command_of(pid) for pid in self.pids}
        supervisor = next(iter(commands.values()), [])
        return [pid for pid, command in commands.items() if WORKER_MODULE in command] or [
            pid
            for pid, command in commands.items()
            if command not in ([], supervisor) and _listening_ports(pid)
        ]

    def find_problem(self) -> str | None:
        """Return why the server cannot become ready any more, by its processes and its log, or None."""
        status = self.guard.poll()
        if status is not None:
            return f"{self.name} exited with status {status}"
        current = self.worker_pids
        missing = [pid for pid in self.workers if pid not in current]
        # A walk through /proc may miss a living process.
        if dead := [pid for pid in missing if not _is_alive(pid)]:
            outcome = "respawned" if set(current) - set(self.workers) else "not replaced"
            return f"worker {dead[0]} died, and was {outcome}"
        self.workers = [*current, *missing]
        if self.traceback_is_fatal and TRACEBACK in self.log.read():
            time.sleep(TRACEBACK_SETTLES)
            return "its log contains a traceback"
        return None

    def lost_port(self) -> bool:
        """Return True if another process took the requested port before BentoML could."""
        return bool(self.port) and PORT_IN_USE.casefold() in self.log.read().casefold()

    def find_url(self) -> str | None:
        """Return the service's URL, from the worker's listening port; None if it does not listen yet.

        The supervisor listens on control ports of its own, and the workers of services that it depends on
        listen on sockets in the file system.
        """
        ports = set().union(*map(_listening_ports, self.workers))
        if not ports:
            return None
        return f"http://{HOST}:{self.port if self.port in ports else min(ports)}"

    def kill(self) -> None:
        """Kill every process at once, and wait until they have ended."""
        _kill(self.pids)
        self.wait()

    def kill_workers(self) -> None:
        """Kill the processes that handle requests; the supervisor may start new ones."""
        _kill(self.worker_pids)

    def kill_supervisor(self) -> None:
        """Kill the process that started the others, and no other."""
        _kill(self.pids[:1])

    def stop(self) -> None:
        """Let the guard end all processes (without grace if the server was never ready), and wait for it."""
        self.guard.send_signal(signal.SIGTERM if self.is_ready else signal.SIGUSR1)
        self.wait()

    def wait(self) -> None:
        """Wait for the end of the guard, which ends after all processes below it."""
        try:
            self.guard.wait(STOP_WITHIN)
        except TimeoutExpired:
            self.guard.kill()
            self.guard.wait()


def _command_of(pid: int) -> list[str]:
    try:
        command: list[str] = psutil.Process(pid).cmdline()
    except psutil.Error:
        return []
    return command


def _listening_ports(pid: int) -> set[int]:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False
