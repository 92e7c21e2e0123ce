"""One running `bentoml serve`, from its launch to the proof that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any

import psutil

from tier0.core.child_environment import ONE_THREAD, child_environment
from tier0.core.errors import PortInUseError, PredictionMismatchError, ServerError
from tier0.core.event_log import EventLog
from tier0.core.events import ServerKilled, ServerLaunched, ServerPortTaken, ServerReady, ServerStopped
from tier0.core.foreign_text import PORT_IN_USE, TRACEBACK
from tier0.core.settings import Port
from tier0.serving.entry import link_entry
from tier0.serving.processes import accepts_connections, is_free, owner_of, processes_marked, start_guard
from tier0.serving.workspace import Workspace

SERVICE = "tier0.serving.service:Tier0Service"
WORKER_MODULE = "_bentoml_impl.worker.service"
HOST = "127.0.0.1"
POLL = 0.02
STOP_WITHIN = 3.0
PROBE_OUTLIVES = 1.0
"""Seconds by which the probe may outlive the start-up timeout, so that it is always the timeout that ends the wait."""
LOG_LINES = 40
LINES_BEFORE = 5
BYTES_BEFORE = 4096
TRACEBACK_SETTLES = 0.3
"""Seconds in which a process that printed the start of a traceback may finish it, so that the log's end says why."""

Probe = Callable[[str, float], Mapping[str, Any]]
"""Asks the server at a URL for a golden row, within some seconds; gives its answer, raises `PredictionMismatchError`
where the answer is wrong, and anything else where there is none."""


@dataclass
class Server:
    """A `bentoml serve` with a BentoML home, a temporary folder, a log and a guard of its own.

    Attributes:
        folder: its private folder.
        port: the port to ask for.
        events: where its phases are told.
        preload: modules for the worker to import before it is told what to serve.
        workers: how many of ours serve; a user's own service says that itself.
        watch: pids with any of which the server ends; ours by default.
        workspace: a folder that belongs to this server alone, and goes with it.
        service: what to serve, as `bentoml serve` is told.
        project: the folder that a service of the user's own lives in, and is started in; None for ours, which
            waits for `announce`.
    """

    folder: Path
    port: Port = Port(0)
    events: EventLog = field(default_factory=EventLog)
    preload: Sequence[str] = ()
    workers: int = field(default=1, kw_only=True)
    watch: Sequence[int] = field(default_factory=lambda: [os.getpid()])
    workspace: Workspace | None = None
    service: str = SERVICE
    project: Path | None = None
    nonce: str = field(default_factory=lambda: os.urandom(8).hex())
    url: str = ""
    _guard: Popen[bytes] | None = None
    _workers: list[int] = field(default_factory=list)
    _probe: Probe | None = None
    _timeout: float = 30.0
    _launched: float = 0.0
    _ready: bool = False
    _asked_for: int = 0

    @property
    def log(self) -> Path:
        """The file with everything that the server's processes printed."""
        return self.folder / "server.log"

    @property
    def home(self) -> Path:
        """The BentoML home of this server alone: two servers on one home wipe each other's metrics."""
        return self.folder / "home"

    @property
    def announcement(self) -> Path:
        """The file that tells the worker what to serve."""
        return self.folder / "models.json"

    @property
    def pids(self) -> list[int]:
        """The living processes of the server."""
        if self._guard is None:
            return []
        try:
            return [process.pid for process in psutil.Process(self._guard.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def launch(self) -> None:
        """Start the processes and return at once; the worker imports meanwhile, and waits for `announce`.

        Raises:
            PortInUseError: the port that was asked for is taken.
        """
        number = self._choose_port()
        for path in (self.home, self.folder / "t", self.folder / "cwd"):
            path.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        self._launched = time.monotonic()
        self._workers = []
        self._ready = False
        self.url = ""
        command = [
            sys.executable,
            "-m",
            "bentoml",
            "serve",
            self.service,
            "--host",
            HOST,
            "--port",
            str(number),
        ]
        cwd = self.project or self.folder / "cwd"
        self._guard = start_guard(
            *self.watch, env=self._environment(), command=command, cwd=str(cwd), log=str(self.log)
        )
        self._asked_for = number
        self.events.emit(
            ServerLaunched(port=number, nonce=self.nonce),
            f"starting bentoml serve on port {number or '(any free one)'}",
        )

    def _environment(self) -> dict[str, str]:
        told = {
            "TIER0_ANNOUNCEMENT": str(self.announcement),
            "TIER0_PRELOAD": ",".join(self.preload),
            "TIER0_WORKERS": str(self.workers),
        }
        ours = told if self.project is None else {}
        tmp = self.folder / "t"  # a short path: BentoML puts sockets there
        environment = child_environment(tmp, BENTOML_HOME=str(self.home), TIER0_NONCE=self.nonce, **ours)
        if self.project is None:
            return environment
        # A user's own service gets the threads that it would have in production.
        return {
            name: value for name, value in environment.items() if name not in ONE_THREAD or name in os.environ
        } | {name: os.environ[name] for name in ONE_THREAD if name in os.environ}

    def _choose_port(self) -> int:
        wanted = self.port.number
        try:
            if wanted == 0 or is_free(wanted):
                return wanted
        except OSError as problem:
            raise PortInUseError(
                f"port {wanted} cannot be used: {problem.strerror}. Say --tier0-port 0 for any, or one from 1024 up."
            ) from problem
        if not self.port.or_next:
            raise self._port_in_use(wanted)
        free = next((number for number in range(wanted + 1, 65536) if is_free(number)), 0)
        self.events.emit(
            ServerPortTaken(wanted=wanted, taken=free),
            f"port {wanted} belongs to {owner_of(wanted)}; taking {free}",
        )
        return free

    def _port_in_use(self, number: int) -> PortInUseError:
        owner = owner_of(number) or "a process that has ended meanwhile"
        return PortInUseError(
            f"port {number} is in use by {owner}. Stop it, or say --tier0-port {number}+ for the next free one, or --tier0-port 0 for any."
        )

    def announce(self, models: Mapping[str, str], store: Path) -> None:
        """Tell the worker what to serve: model name to exact tag, of entries in the BentoML home *store*."""
        for tag in models.values():
            self.link(tag, store)
        unfinished = self.announcement.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"models": dict(models), "nonce": self.nonce}), encoding="utf-8")
        unfinished.replace(self.announcement)

    def link(self, tag: str, store: Path) -> None:
        """Put the model *tag* of the BentoML home *store* into the server's own; it becomes the latest of its name there."""
        link_entry(tag, store, self.home)

    def link_all(self, store: Path) -> None:
        """Show the server every model of the BentoML home *store*, with the latest of each as it is there."""
        for entry in sorted(store.glob("models/*/*/model.yaml")):
            link = self.home / "models" / entry.parents[1].name / entry.parent.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(entry.parent.resolve())
        for pointer in store.glob("models/*/latest"):
            copy = self.home / "models" / pointer.parent.name / "latest"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(pointer.read_bytes())

    def wait_until_ready(self, probe: Probe, timeout: float) -> Mapping[str, Any]:
        """Wait until a golden row came back right from this very server.

        Args:
            probe: asks for the row, and knows what must come back.
            timeout: in seconds, from now.

        Returns:
            What the probe returned.

        Raises:
            ServerError: the process exited, its worker was respawned, a traceback shows, the time is over, or
                the server that answers is another one; with the end of the log.
            PortInUseError: the port was taken between our look and the start, and no other one may be taken.
            PredictionMismatchError: the answer is not what the in-memory model gave.
        """
        self._probe, self._timeout = probe, timeout
        deadline = time.monotonic() + timeout
        attempt = _Attempt(probe, deadline)
        while not attempt.ended.wait(POLL):
            self.check_alive()
            if time.monotonic() > deadline:
                what = "no golden row came back" if self.project is None else "it was not ready"
                raise self._failed(f"{what} within {timeout:g} s (startup-timeout)")
            if not self.url and (url := self._find_url()):
                self.url = url
                attempt.start(url)
        answer = attempt.result(self._failed)
        self._ready = True
        ready = ServerReady(url=self.url, nonce=self.nonce)
        self.events.emit(ready, f"ready at {self.url} after {time.monotonic() - self._launched:.1f} s")
        return answer

    def _find_url(self) -> str | None:
        """Find the worker's listening socket: the one port that the service has, while the supervisor has control ports, too."""
        ports: set[int] = set()
        for pid in self._workers:  # those of services that it depends on listen on sockets in the file system
            with suppress(psutil.Error):
                listening = psutil.Process(pid).net_connections(kind="tcp")
                ports |= {
                    connection.laddr.port
                    for connection in listening
                    if connection.status == psutil.CONN_LISTEN
                }
        if not ports:
            return None
        return f"http://{HOST}:{self._asked_for if self._asked_for in ports else min(ports)}"

    def check_alive(self) -> None:
        """Look at the processes and the log, without waiting.

        Raises:
            ServerError: it will not become ready any more; with the end of the log.
            PortInUseError: somebody took the port between our look and its start, and no other one may be
                taken.
        """
        problem = self._find_problem()
        if problem is None:
            return
        if not (self._asked_for and PORT_IN_USE in self._read_log()):
            raise self._failed(problem)
        if not self.port.or_next:
            raise self._port_in_use(self._asked_for)
        self._wait_for_guard()
        self.log.unlink()
        self.launch()

    def _find_problem(self) -> str | None:
        if self._guard is None:
            return "it was not launched"
        status = self._guard.poll()
        if status is not None:
            return f"bentoml serve exited with status {status}"
        workers = self.worker_pids
        missing = [pid for pid in self._workers if pid not in workers]
        if dead := [pid for pid in missing if not _lives(pid)]:  # a walk through /proc may overlook one
            return f"worker {dead[0]} died, and was {'respawned' if set(workers) - set(self._workers) else 'not replaced'}"
        self._workers = [*workers, *missing]
        if self.project is None and TRACEBACK in self._read_log():
            time.sleep(TRACEBACK_SETTLES)
            return "a traceback shows in its log"
        return None

    def _read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def worker_pids(self) -> list[int]:
        """What answers requests now."""
        found = []
        for pid in self.pids:
            try:
                if WORKER_MODULE in psutil.Process(pid).cmdline():
                    found.append(pid)
            except psutil.Error:
                continue
        return found

    def _failed(self, what: str) -> ServerError:
        return ServerError(
            f"the server did not become ready: {what}.\nThe end of its log ({self.log}):\n{self.log_end()}"
        )

    def log_end(self) -> str:
        """Return the last lines of the log."""
        return self.log_around(0)

    def log_around(self, offset: int) -> str:
        """Return what was printed since the log had *offset* bytes, with some lines before that; its last lines where it is much."""
        if not self.log.exists():
            return "  | (the log is gone with its folder)"
        with self.log.open("rb") as file:
            start = max(0, offset - BYTES_BEFORE)
            file.seek(start)
            before = file.read(offset - start).decode(errors="replace").splitlines()
            after = file.read().decode(errors="replace").splitlines()
        lines = [*before[-LINES_BEFORE:], *after[-LOG_LINES:]]
        return "\n".join(f"  | {line}" for line in lines) or "  | (nothing was printed)"

    def kill(self) -> None:
        """Kill every process of the server at once, as a crash or the kernel would, and wait until they are gone."""
        self.events.emit(ServerKilled(part="all", nonce=self.nonce))
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._wait_for_guard()

    def kill_worker(self) -> None:
        """Kill what answers requests, as the kernel does when memory runs out; the supervisor may start it again."""
        self.events.emit(ServerKilled(part="worker", nonce=self.nonce))
        for pid in self.worker_pids:
            os.kill(pid, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """Kill the process that started the others, and nothing else."""
        self.events.emit(ServerKilled(part="supervisor", nonce=self.nonce))
        for pid in self.pids[:1]:
            os.kill(pid, signal.SIGKILL)

    def left(self) -> list[str]:
        """Return what is still there of the server: its processes by pid, and its port if anything answers there."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        answering = [f"port {port} that answers"] if port and accepts_connections(port) else []
        return [f"process {process.pid}" for process in processes_marked(self.nonce)] + answering

    def restart(self) -> None:
        """Start again on the same port, and wait until it is ready, as it was done first.

        Raises:
            ServerError: it does not become ready.
            PortInUseError: somebody else has taken the port.
        """
        if self._probe is None:
            raise self._failed("it was never asked whether it is ready")
        self._wait_for_guard()
        self.relaunch()
        self.wait_until_ready(self._probe, self._timeout)

    def relaunch(self) -> None:
        """Start again on the port that the server had; follow it by `wait_until_ready`.

        Raises:
            PortInUseError: somebody else has taken the port.
        """
        self.port = Port(int(self.url.rpartition(":")[2]))
        self.preload = ()  # the worker is told at once what to load
        self.log.unlink()
        self.launch()

    def stop(self) -> float:
        """Stop the whole tree, and prove that it is gone.

        Returns:
            The seconds it took.

        Raises:
            ServerError: a process remains, or something answers on the port.
        """
        try:
            return self.halt()
        finally:
            if self.workspace is not None:
                self.workspace.close()

    def halt(self) -> float:
        """Stop the whole tree as `stop` does, and keep the folder, so that it can be started again."""
        if self._guard is None:
            return 0.0
        start = time.monotonic()
        self._guard.send_signal(
            signal.SIGTERM if self._ready else signal.SIGUSR1
        )  # who never answered has nothing to finish
        self._wait_for_guard()
        left = self.left()
        for process in processes_marked(self.nonce):
            process.kill()
        self._guard = None
        if left:
            raise ServerError(f"after stop, there was still {', '.join(left)}")
        seconds = time.monotonic() - start
        self.events.emit(
            ServerStopped(seconds=seconds, nonce=self.nonce),
            f"stopped in {seconds:.1f} s; no process and no port is left",
        )
        return seconds

    def _wait_for_guard(self) -> None:
        if self._guard is not None:
            try:
                self._guard.wait(STOP_WITHIN)
            except TimeoutExpired:
                self._guard.kill()
                self._guard.wait()


class _Attempt:
    """The probe's call, on a thread of its own, so that the process can be watched while the call hangs."""

    def __init__(self, probe: Probe, deadline: float) -> None:
        self.ended = threading.Event()
        self._probe = probe
        self._deadline = deadline
        self._answer: Mapping[str, Any] = {}
        self._problem: Exception | None = None

    def start(self, url: str) -> None:
        threading.Thread(target=self._run, args=(url,), daemon=True, name="tier0-ready").start()

    def _run(self, url: str) -> None:
        try:
            self._answer = self._probe(url, self._deadline - time.monotonic() + PROBE_OUTLIVES)
        except Exception as problem:  # noqa: BLE001 - handed to the thread that waits
            self._problem = problem
        self.ended.set()

    def result(self, failed: Callable[[str], ServerError]) -> Mapping[str, Any]:
        """Return the probe's answer, or raise what it raised: ours as it is, anything else as a failure of the server."""
        if self._problem is None:
            return self._answer
        if isinstance(self._problem, PredictionMismatchError):
            raise self._problem
        raise failed(str(self._problem)) from self._problem


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False
