"""One `bentoml serve` or another server, from its launch to the check that none of its processes is left."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tier0.core.child_environment import (
    child_environment,
    production_environment,
    service_environment,
    withheld,
)
from tier0.core.errors import (
    SERVER_NOT_READY,
    PredictionMismatchError,
    ServerError,
    StartTimeoutError,
    require_bentoml,
)
from tier0.core.event_log import EventLog
from tier0.core.events import (
    ServerKilled,
    ServerLaunched,
    ServerNamesMissing,
    ServerPortTaken,
    ServerReady,
    ServerStopped,
    ServerVariablesWithheld,
)
from tier0.core.setting_parsers import PORT_PLACEHOLDER
from tier0.core.settings import Port
from tier0.serving.bentoml_internals import WARNING, missing_in_log
from tier0.serving.entry import link_entries, link_entry
from tier0.serving.launch import HOST, Launch
from tier0.serving.processes import (
    accepts_connections,
    choose_port,
    find_free_port,
    owner_of,
    port_in_use,
    processes_marked,
    start_guard,
)
from tier0.serving.server_log import ServerLog
from tier0.serving.workspace import Workspace

SERVICE = "tier0.serving.service:Tier0Service"
PLANTED = "TIER0_PLANTED_SECRET_TOKEN"
"""Variable with a text that no service has a reason to send."""
POLL = 0.02
KILLED_WITHIN = 2.0
"""Seconds that a killed process gets to end."""
PROBE_OUTLIVES = 1.0
"""Seconds that the probe gets beyond the start-up timeout, so that it is the timeout that ends the wait."""

Probe = Callable[[str, float], Mapping[str, Any]]
"""Requests a prediction of a golden row from the server at a URL, within a number of seconds.

It returns the response, and raises `PredictionMismatchError` for a wrong prediction, and another error if
there was none.
"""


@dataclass
class Server:
    """A `bentoml serve`, or another server, with its own BentoML home, temporary folder, log and guard.

    Attributes:
        folder: the server's private folder.
        port: the port to listen on.
        events: log of events, which records the server's phases.
        preload: modules that the worker imports before the models are announced.
        workers: number of workers of Tier0's service; a user's service defines its own.
        watch: pids of processes; the server is stopped when one of them ends. This process by default.
        workspace: a workspace of this server alone, closed when the server stops.
        service: the service to serve, as an argument of `bentoml serve`.
        project: folder that contains the service, and in which it is started; None for Tier0's own service
            without a Bento, which waits for `announce`.
        command: words of the command that starts another server than BentoML's, with ``{port}`` in place of
            its port; it runs in *project*.
        import_path: folders that a user's service imports from, in addition to *project*.
        is_users: whether the service is a user's.
        source: the service as its user named it, such as a file; empty for Tier0's own.
        nonce: random text in the environment of the server's processes, by which they are recognised.
        planted: random text in their environment that looks like a secret, and must not reach a response.
        url: the service's URL, empty until it listens.
        certificate: the certificate that a user's service with TLS of its own presents, in PEM; empty without
            TLS.
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
    command: Sequence[str] = field(default=(), kw_only=True)
    import_path: Sequence[Path] = field(default=(), kw_only=True)
    is_users: bool = field(default=False, kw_only=True)
    source: str = field(default="", kw_only=True)
    nonce: str = field(default_factory=lambda: os.urandom(8).hex())
    planted: str = field(default_factory=lambda: f"planted-{os.urandom(16).hex()}", kw_only=True)
    url: str = ""
    certificate: str = ""
    _launch: Launch | None = None
    _probe: Probe | None = None
    _timeout: float = 30.0
    _has_reported: bool = False
    _has_warned: bool = False
    _last_response: str = ""

    @property
    def log(self) -> Path:
        """The file that the server's processes print to."""
        return self.folder / "server.log"

    @property
    def home(self) -> Path:
        """The BentoML home of this server alone: two servers with one home delete each other's metrics."""
        return self.folder / "home"

    @property
    def model_folder(self) -> Path | None:
        """The folder with links to the files of the models; None for another server than BentoML's."""
        return None if self.command else self.home / "models"

    @property
    def announcement(self) -> Path:
        """The file that names the models to the worker."""
        return self.folder / "models.json"

    @property
    def pids(self) -> list[int]:
        """The living processes of the server, the supervisor first."""
        return [] if self._launch is None else self._launch.pids

    @property
    def worker_pids(self) -> list[int]:
        """The living processes that handle requests."""
        return [] if self._launch is None else self._launch.worker_pids

    def launch(self) -> None:
        """Start the processes and return at once; the worker does its imports, and waits for `announce`.

        Raises:
            MissingDependencyError: BentoML is not installed.
            PortInUseError: the requested port is not available.
        """
        if not self.command:
            require_bentoml("service")
        number = choose_port(self.port) or (find_free_port() if self.command else 0)
        if self.port.number not in {0, number}:
            self.events.emit(
                ServerPortTaken(wanted=self.port.number, taken=number),
                f"port {self.port.number} is in use by {owner_of(self.port.number)}; using {number}",
            )
        for path in (self.home, self.folder / "t", self.folder / "cwd"):
            path.mkdir(parents=True, exist_ok=True)
        self._report_withheld()
        self.log.touch()
        self.url = ""
        command = self._command(number)
        name = " ".join(self.command) or "bentoml serve"
        guard = start_guard(
            *self.watch,
            env=self._environment(),
            command=command,
            cwd=str(self.project or self.folder / "cwd"),
            log=str(self.log),
            mark=f"TIER0_NONCE={self.nonce}",
        )
        self._launch = Launch(
            guard,
            ServerLog(self.log),
            number,
            traceback_is_fatal=self.project is None,
            name=name,
            is_bentoml=not self.command,
        )
        self.events.emit(
            ServerLaunched(port=number, nonce=self.nonce, start=self._start(), service=self.source),
            f"starting {name} on {f'port {number}' if number else 'any free port'}",
        )

    def _command(self, port: int) -> list[str]:
        """Return the command that starts the server on *port*, for BentoML 0 for any.

        The first word of a user's command may also be a script of this interpreter's environment.
        """
        if not self.command:
            options = ["--host", HOST, "--port", str(port)]
            return [sys.executable, "-m", "bentoml", "serve", self.service, *options]
        program, *words = (word.replace(PORT_PLACEHOLDER, str(port)) for word in self.command)
        found = shutil.which(program, path=_search_path())
        if found is None:
            command = " ".join(self.command)
            raise ServerError(f"cannot start {command!r}: the program {program!r} was not found")
        return [found, *words]

    def _start(self) -> str:
        """Return the command that starts a user's service alone, with ``{port}``; empty for Tier0's own."""
        if not self.is_users or self.project is None:
            return ""
        words = self.command or ["bentoml", "serve", self.service, "--port", PORT_PLACEHOLDER]
        search = os.pathsep.join(map(str, self.import_path))
        path = f"PYTHONPATH={shlex.quote(search)} " if search else ""
        command = shlex.join(words).replace(shlex.quote(PORT_PLACEHOLDER), PORT_PLACEHOLDER)
        return f"cd {shlex.quote(str(self.project))} && {path}{command}"

    def _environment(self) -> dict[str, str]:
        tmp = self.folder / "t"  # a short path: BentoML creates sockets there
        identity = {"BENTOML_HOME": str(self.home), "TIER0_NONCE": self.nonce, PLANTED: self.planted}
        if self.is_users:
            environment = service_environment(tmp, **identity)
            search = [*map(str, self.import_path), *filter(None, environment["PYTHONPATH"].split(os.pathsep))]
            path = {"PATH": _search_path()} if self.command else {}
            return {**environment, **path, "PYTHONPATH": os.pathsep.join(search)}
        if self.project is None:
            return child_environment(
                tmp,
                **identity,
                TIER0_ANNOUNCEMENT=str(self.announcement),
                TIER0_PRELOAD=",".join(self.preload),
                TIER0_WORKERS=str(self.workers),
            )
        return production_environment(tmp, **identity)  # of a Bento

    def _report_withheld(self) -> None:
        """Report once which variables of the environment the server does not get."""
        reasons = withheld(os.environ, is_users=self.is_users, one_thread=self.project is None)
        if not reasons or self._has_reported:
            return
        self._has_reported = True
        listed = ", ".join(f"{name} ({reason})" for name, reason in sorted(reasons.items()))
        self.events.emit(
            ServerVariablesWithheld(reasons=reasons, nonce=self.nonce),
            f"not passed on to the server: {listed}",
        )

    def announce(self, models: Mapping[str, str], store: Path) -> None:
        """Name the models to the worker, which then loads and serves them.

        Args:
            models: model name to exact tag.
            store: the BentoML home that contains them.
        """
        for tag in models.values():
            self.link(tag, store)
        unfinished = self.announcement.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"models": dict(models), "nonce": self.nonce}), encoding="utf-8")
        unfinished.replace(self.announcement)

    def link(self, tag: str, store: Path) -> None:
        """Link the model *tag* of the BentoML home *store* into the server's, as the latest of its name."""
        link_entry(tag, store, self.home)

    def link_all(self, store: Path) -> None:
        """Link every model of the BentoML home *store* into the server's; the latest versions stay so."""
        link_entries(store, self.home)

    def wait_until_ready(self, probe: Probe, timeout: float) -> Mapping[str, Any]:
        """Wait until this very server has predicted a golden row correctly.

        Args:
            probe: requests and compares the prediction.
            timeout: limit in seconds, from now.

        Returns:
            The probe's result.

        Raises:
            ServerError: the process exited, its worker was respawned, its log contains a traceback, or
                another server responded; with the end of the log.
            StartTimeoutError: the timeout is over.
            PortInUseError: another process took the port before BentoML could, and the port must be that one.
            PredictionMismatchError: the prediction differs from that of the model in memory.
        """
        self._probe, self._timeout = probe, timeout
        deadline = time.monotonic() + timeout
        attempt = _ProbeThread(probe, deadline)
        while not attempt.ended.wait(POLL):
            launch = self._check_launch()
            if time.monotonic() > deadline:
                what = "no prediction of a golden row" if self.project is None else "it was not ready"
                last = f"; {self._last_response}" if self._last_response else ""
                what += f" within {timeout:g} s (startup-timeout){last}"
                raise StartTimeoutError(self._with_log(what))
            if not self.url and (url := launch.find_url()):
                self.url = url
                attempt.start(url)
        answer = attempt.result(self._failed)
        launch = self._check_launched()
        launch.is_ready = True
        seconds = time.monotonic() - launch.started
        self.events.emit(
            ServerReady(url=self.url, nonce=self.nonce), f"ready at {self.url} after {seconds:.1f} s"
        )
        self._report_missing_names()
        return answer

    def _report_missing_names(self) -> None:
        """Report once which names of BentoML were missing, so that its own middleware is used."""
        missing = [] if self.is_users else missing_in_log(ServerLog(self.log).read())
        if missing and not self._has_warned:
            self._has_warned = True
            event = ServerNamesMissing(names=missing, nonce=self.nonce)
            self.events.emit(event, f"warning: {WARNING % ', '.join(missing)}, which is slower")

    def note_response(self, outcome: str) -> None:
        """Note the outcome of the probe's last request, for the message after the startup timeout."""
        self._last_response = outcome

    def check_alive(self) -> None:
        """Check the processes and the log, without waiting; launch again if the port was lost.

        Raises:
            ServerError: the server cannot become ready any more; with the end of the log.
            PortInUseError: another process took the port before BentoML could, and the port must be that one.
        """
        self._check_launch()

    def _check_launch(self) -> Launch:
        launch = self._check_launched()
        problem = launch.find_problem()
        if problem is None:
            return launch
        if not launch.lost_port():
            raise self._failed(problem)
        if self.port.number and not self.port.or_next:
            raise port_in_use(launch.port)
        launch.wait()
        self.log.unlink()
        self.launch()
        return self._check_launched()

    def _check_launched(self) -> Launch:
        if self._launch is None:
            raise self._failed("it was not launched, or has been stopped")
        return self._launch

    def _failed(self, what: str) -> ServerError:
        return ServerError(self._with_log(what))

    def _with_log(self, what: str) -> str:
        return f"{SERVER_NOT_READY}: {what}.\nThe end of its log ({self.log}):\n{self.log_end()}"

    def log_end(self) -> str:
        """Return the last lines of the log."""
        return ServerLog(self.log).end()

    def log_around(self, offset: int) -> str:
        """Return the lines printed since the log had *offset* bytes, after some earlier lines."""
        return ServerLog(self.log).since(offset)

    def kill(self) -> None:
        """Kill every process of the server at once, as a crash would, and wait until they have ended."""
        self.events.emit(ServerKilled(part="all", nonce=self.nonce))
        if self._launch is not None:
            self._launch.kill()

    @property
    def is_supervised(self) -> bool:
        """Whether one of its processes starts new workers in the place of those that end."""
        return any(pid not in self.pids[:1] for pid in self.worker_pids)

    def kill_worker(self) -> None:
        """Kill the processes that handle requests, as the kernel does when memory runs out."""
        self.events.emit(ServerKilled(part="worker", nonce=self.nonce))
        if self._launch is not None:
            self._launch.kill_workers()

    def kill_supervisor(self) -> None:
        """Kill the process that started the others, and no other."""
        self.events.emit(ServerKilled(part="supervisor", nonce=self.nonce))
        if self._launch is not None:
            self._launch.kill_supervisor()

    def left(self) -> list[str]:
        """Return the remains of the server: its living processes, and its port if it accepts connections."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        open_port = [f"open port {port}"] if port and accepts_connections(port) else []
        return [f"process {process.pid}" for process in processes_marked(self.nonce)] + open_port

    def restart(self) -> None:
        """Launch again on the same port, and wait until ready with the earlier probe and timeout.

        Raises:
            ServerError: the server does not become ready.
            PortInUseError: another process has taken the port.
        """
        if self._probe is None:
            raise self._failed("it cannot be restarted before wait_until_ready was called")
        if self._launch is not None:
            self._launch.wait()
        self.relaunch()
        self.wait_until_ready(self._probe, self._timeout)

    def relaunch(self) -> None:
        """Launch again on the same port; call `wait_until_ready` afterwards.

        Raises:
            PortInUseError: another process has taken the port.
        """
        self.port = Port(int(self.url.rpartition(":")[2]))
        self.preload = ()  # the announcement exists already
        self.log.unlink()
        self.launch()

    def stop(self) -> float:
        """Stop all processes, verify that none is left, and delete the server's workspace.

        Returns:
            The duration in seconds.

        Raises:
            ServerError: a process is left, or the port still accepts connections.
        """
        try:
            return self.halt()
        finally:
            if self.workspace is not None:
                self.workspace.close()

    def halt(self) -> float:
        """Stop all processes as `stop` does, but keep the folder so that the server can be launched again."""
        if self._launch is None:
            return 0.0
        start = time.monotonic()
        self._launch.stop()
        left = self.left()
        remaining = processes_marked(self.nonce)
        for process in remaining:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(remaining, KILLED_WITHIN)
        self._launch = None
        if left:
            raise ServerError(f"the server did not shut down cleanly; remaining: {', '.join(left)}")
        seconds = time.monotonic() - start
        self.events.emit(
            ServerStopped(seconds=seconds, nonce=self.nonce),
            f"stopped in {seconds:.1f} s; all processes ended, port released",
        )
        return seconds


def _search_path() -> str:
    """Return the folders of programs, and last the one with the scripts of this interpreter's environment."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])


class _ProbeThread:
    """A thread that calls the probe, so that the processes can be watched while the call hangs."""

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
        except Exception as problem:  # noqa: BLE001 - raised in the waiting thread, by `result`
            self._problem = problem
        self.ended.set()

    def result(self, failed: Callable[[str], ServerError]) -> Mapping[str, Any]:
        """Return the probe's result, or raise its error.

        Raises:
            PredictionMismatchError: raised by the probe.
            ServerError: made by *failed*, for any other error of the probe.
        """
        if self._problem is None:
            return self._answer
        if isinstance(self._problem, PredictionMismatchError):
            raise self._problem
        raise failed(str(self._problem)) from self._problem
