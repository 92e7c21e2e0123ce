"""A reader who follows a page: writes its files, types its commands, and has the services run that it starts."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from snippets import Block, Command

PORTS = re.compile(r"\b300[0-9]\b")
SERVES = re.compile(r"(tier0|bentoml) serve ")
READY_WITHIN = 180.0
COMMAND_WITHIN = 600.0
RUN_SESSION = """
import ast, asyncio, inspect, sys
code = compile(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
async def main():
    done = eval(code, {"__name__": "session"})
    if inspect.iscoroutine(done):
        await done
asyncio.run(main())
"""


@dataclass
class Reader:
    """Follows one page in a folder, which is also the reader's home.

    Attributes:
        folder: where the reader is.
        instead: what is run in the place of what a page can only name: a host that is not ours.
        statuses: exit statuses other than 0, by command.
    """

    folder: Path
    instead: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    _ports: dict[str, str] = field(default_factory=dict)
    _services: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._services.close()

    def write(self, blocks: Sequence[Block]) -> None:
        """Write the files of a page; one may come in parts."""
        files: dict[str, str] = defaultdict(str)
        for block in blocks:
            if block.file:
                files[block.file] += self._as_run(block.text)
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    def type(self, command: Command) -> str:
        """Type a command, and return what it printed; a service goes on running."""
        text = self._as_run(command.text)
        if SERVES.match(text):
            return self._serve(text)
        done = subprocess.run(
            ["bash", "-c", text], cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=COMMAND_WITHIN,
        )  # fmt: skip
        assert done.returncode == self.statuses.get(command.plain, 0), f"$ {text}\n{done.stdout}"
        for line in command.shown:
            assert re.search(_as_pattern(line), done.stdout), f"the page shows {line!r}, and this came:\n$ {text}\n{done.stdout}"
        return done.stdout

    def run_session(self, blocks: Sequence[str], before: str) -> None:
        """Run Python that stands in no file, as one session with an event loop."""
        script = self.folder / "session.py"
        script.write_text(self._as_run("\n".join([before, *blocks])), encoding="utf-8")
        ast.parse(script.read_text(encoding="utf-8"))
        done = subprocess.run(
            [sys.executable, "-c", RUN_SESSION, str(script)], cwd=self.folder, env={**self.environment(), "PYTHONPATH": str(self.folder)},
            capture_output=True, text=True, check=False, timeout=COMMAND_WITHIN,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        """A reader's: a home of their own, and this very Python first on the path."""
        others = ("TIER0_", "PYTEST_", "BENTOML_", "MLFLOW_", "COV_", "GITHUB_", "CI_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        ours = {"PYTEST_ADDOPTS": "-p no:opik -p no:hypothesispytest -p no:cacheprovider", "BENTOML_DO_NOT_TRACK": "True"}
        return {**kept, **ours, "HOME": str(self.folder), "PATH": path, **self.more}

    def _as_run(self, text: str) -> str:
        for told, run in self.instead.items():
            text = text.replace(told, run)
        return PORTS.sub(lambda port: self._ports.setdefault(port[0], str(free_port())), text)

    def _serve(self, command: str) -> str:
        """Start a service in the place of the one before it, and wait until it answers."""
        self._services.close()
        log = self.folder / "served.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment(), stdout=output, stderr=output)
        self._services.callback(end, process)
        port = re.search(r"--port (\d+)", command)
        deadline = time.monotonic() + READY_WITHIN
        while not (is_ready(port[1]) if command.startswith("bentoml") and port else "Ctrl-C stops" in log.read_text(encoding="utf-8")):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")  # noqa: PT018
            time.sleep(0.05)
        return log.read_text(encoding="utf-8")


def is_ready(port: str) -> bool:
    """Whether a service on loopback says so."""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C, and see that all of it goes."""
    with suppress(psutil.NoSuchProcess):
        tree = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        _, left = psutil.wait_procs(tree, timeout=10)
        for one in left:
            one.kill()


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _as_pattern(line: str) -> str:
    """What a shown line stands for: numbers and blanks may differ, … is anything."""
    pattern = re.sub(r"\\?\s+", r"\\s+", re.escape(line.strip()))
    return re.sub(r"\d+(?:\\\.\d+)*", r"[\\d.]+", pattern).replace("…", ".*")


def copy_of(project: Path, folder: Path) -> None:
    """Copy a project into a folder that is there."""
    shutil.copytree(project, folder, dirs_exist_ok=True, symlinks=True)
