"""A reader who follows a page: writes its files, runs its commands, and keeps its services running."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import QUIET
from tests.support.snippets import Block, Command
from tier0.serving.processes import start_guard

PORTS = re.compile(r"\b300[0-9]\b")
SERVES = re.compile(r"(env (\S+=\S+ )+)?(\S+/)?((tier0|bentoml|mlflow models) serve|mlserver start|uvicorn) ")
PORT = re.compile(r"(?:--port |-p |HTTP_PORT=)(\d+)")
READY = ("/readyz", "/healthz", "/ping", "/v2/health/ready")
"""Routes, of which one of each server returns 200 when it is ready."""
READY_WITHIN = 180.0
COMMAND_WITHIN = 600.0
RUN_SESSION = """
import ast, asyncio, inspect, sys
source = open(sys.argv[1], encoding="utf-8").read()
code = compile(source, sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
async def main():
    await eval(code, {"__name__": "session"})
if code.co_flags & inspect.CO_COROUTINE:
    asyncio.run(main())
else:
    exec(code, {"__name__": "session"})
"""


@dataclass
class Reader:
    """Follows one page in a folder, which is also the reader's home.

    Attributes:
        folder: where the reader is.
        instead: what is run in the place of what a page can only name: a host that is not ours.
        statuses: exit statuses other than 0, by command.
        variables: of the environment, beside those that every reader has.
        grows: files that are there already, and to which the page adds.
        first_port: what port 3000 is in this run, 3001 the next one, and so on.
    """

    folder: Path
    instead: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    grows: Collection[str] = ()
    first_port: int = field(default_factory=lambda: free_ports(10))
    _exported: list[str] = field(default_factory=list)
    _services: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._services.close()

    def write(self, blocks: Sequence[Block]) -> None:
        """Write the files of a page; one may come in parts, and one that is there may grow, or be changed."""
        files: dict[str, str] = defaultdict(str)
        for block in blocks:
            if block.file:
                files[block.file] += self._as_run(block.text)
            elif block.language == "diff":
                subprocess.run(
                    ["patch", "-p1", "--no-backup-if-mismatch"],
                    cwd=self.folder,
                    input=block.text,
                    text=True,
                    check=True,
                )
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if name in self.grows else "w", encoding="utf-8") as file:
                file.write(content)

    def type(self, command: Command) -> str:
        """Type a command, and return what it printed; a service goes on running."""
        text = self._as_run(command.text)
        if SERVES.match(text):
            return self._serve(text)
        if text.startswith("export "):
            self._exported.append(text)
        done = subprocess.run(
            ["bash", "-c", "; ".join([*self._exported, text])],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_WITHIN,
        )
        assert done.returncode == self.statuses.get(command.plain, 0), f"$ {text}\n{done.stdout}"
        for line in command.shown:
            assert re.search(_as_pattern(line), done.stdout), (
                f"the page shows {line!r}, and this came:\n$ {text}\n{done.stdout}"
            )
        return done.stdout

    def run_session(self, blocks: Sequence[str], before: str) -> None:
        """Run Python that stands in no file, as one session; with an event loop where it awaits something."""
        script = self.folder / "session.py"
        script.write_text(self._as_run("\n".join([before, *blocks])), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", RUN_SESSION, str(script)],
            cwd=self.folder,
            env={**self.environment(), "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_WITHIN,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        """A reader's: a home of their own, and this very Python first on the path."""
        others = ("TIER0_", "PYTEST_", "BENTOML_", "MLFLOW_", "COV_", "GITHUB_", "CI_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        ours = {
            "PYTEST_ADDOPTS": shlex.join(QUIET),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        return {**kept, **ours, "HOME": str(self.folder), "PATH": path, **self.variables}

    def _as_run(self, text: str) -> str:
        for told, run in self.instead.items():
            text = text.replace(told, run)
        return PORTS.sub(lambda port: str(self.first_port + int(port[0]) - 3000), text)

    def _serve(self, command: str) -> str:
        """Start a service, which goes on running, and wait until it answers."""
        log = self.folder / f"{os.urandom(4).hex()}.log"
        log.touch()
        order = {"command": ["bash", "-c", f"exec {command}"], "cwd": str(self.folder), "log": str(log)}
        guard = start_guard(
            os.getpid(), env=self.environment(), **order
        )  # nothing is left, also where this test is killed
        self._services.callback(guard.wait)
        self._services.callback(guard.terminate)
        port = None if "tier0 serve" in command else PORT.search(command)
        deadline = time.monotonic() + READY_WITHIN
        while not (is_ready(port[1]) if port else "Ctrl-C stops" in log.read_text(encoding="utf-8")):
            assert guard.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")  # noqa: PT018
            time.sleep(0.05)
        return log.read_text(encoding="utf-8")


def is_ready(port: str) -> bool:
    """Whether a service on loopback says so."""
    for route in READY:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}{route}", timeout=5) as answer,
        ):
            return bool(answer.status == 200)
    return False


def free_ports(count: int) -> int:
    """The first of *count* ports in a row that are free now."""
    while True:
        with ExitStack() as sockets:
            first = int(sockets.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])
            with suppress(OSError, OverflowError):
                for port in range(first + 1, first + count):
                    sockets.enter_context(socket.create_server(("127.0.0.1", port)))
                return first


def _as_pattern(line: str) -> str:
    """What a shown line stands for: numbers and blanks may differ, … is anything."""
    pattern = re.sub(r"\\?\s+", r"\\s+", re.escape(line.strip()))
    return re.sub(r"\d+(?:\\\.\d+)*", r"[\\d.]+", pattern).replace("…", ".*")
