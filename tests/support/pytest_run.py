"""Real pytest runs in real processes, each with a folder for temporary files of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

from tests.support import FAST_START, QUIET

FAST = [*QUIET, "--tier0-algorithms", "linear", "--tier0-hpo-trials", "1"]
Found = TypeVar("Found")


@dataclass
class Run:
    """A pytest run that can be watched, and asked what it left behind."""

    folder: Path
    tmp: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[str] | None = None

    def start(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        python: str = sys.executable,
        before: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TIER0_", "PYTEST_", "COV_", "MLFLOW_"))
        }
        own = {
            "TMPDIR": str(self.tmp),
            "TIER0_TEST_MARK": self.mark,
            "PYTEST_ADDOPTS": shlex.join(FAST_START),
        }
        environment |= {**own, **(env or {})}
        with (self.folder / "output.txt").open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [*before, python, "-m", "pytest", *arguments],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return self.process

    def finish(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        python: str = sys.executable,
        before: Sequence[str] = (),
    ) -> int:
        return self.start(*arguments, env=env, python=python, before=before).wait(180)

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    def wait_for(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            ended = self.process is not None and self.process.poll() is not None
            assert time.monotonic() < deadline and not ended, f"it did not come to that:\n{self.output}"  # noqa: PT018
            time.sleep(0.01)

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started by this run, wherever it is in the tree."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.environ().get("TIER0_TEST_MARK") == self.mark
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def left(self) -> list[str]:
        """What is left of the run: processes, and temporary files other than pytest's own."""
        files = [path.name for path in self.tmp.iterdir() if not path.name.startswith("pytest-of-")]
        return [command for process in self.processes() if (command := _command(process))] + files

    def gone_within(self, seconds: float) -> list[str]:
        """Wait until nothing is left, and return what is."""
        return _found_after(self.left, seconds)

    def processes_after(self, seconds: float) -> list[psutil.Process]:
        """Wait until no process of the run is left, and return those that are."""
        return _found_after(self.processes, seconds)

    def assert_gone_within(self, seconds: float) -> None:
        left = self.gone_within(seconds)
        assert not left, left


def _found_after(find: Callable[[], list[Found]], seconds: float) -> list[Found]:
    """Wait until nothing is found, and return what is."""
    deadline = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""
