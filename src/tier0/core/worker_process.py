"""Worker processes, for tasks that must not run in the user's process, or that need seconds of imports.

A worker imports its module immediately, and then reads tasks from standard input. It ends when that is
closed, because its parent has no more tasks or was killed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from tier0.core.child_environment import child_environment, extend_import_path
from tier0.core.errors import ModelChangedError, Tier0Error, missing_extra

TASK_TIMEOUT = 120.0
Handler = Callable[[dict[str, Any]], dict[str, Any]]
ERROR_LENGTH = 2000


class WorkerProcess:
    """A process that executes tasks one after the other (see `main`).

    Args:
        module: module to import in the process; its ``prepare()`` returns the function that executes a task.
        folder: private directory for the process and its temporary files.
        environment: variables in addition to `child_environment`.
    """

    def __init__(self, module: str, folder: Path, **environment: str) -> None:
        self._module = module
        self._errors = folder / "errors.txt"
        with self._errors.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "tier0.core.worker_process", module],
                cwd=folder,
                env=child_environment(folder, **environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def execute(
        self, task: Mapping[str, Any], *, close_after: bool = True, timeout: float = TASK_TIMEOUT
    ) -> dict[str, Any]:
        """Execute a task, and return its outcome.

        Args:
            task: task as JSON types.
            close_after: end the process after the task; a failed task always ends it.
            timeout: seconds after which the process is killed.

        Raises:
            Tier0Error: the task failed; the message is from the process.
        """
        timer = threading.Timer(timeout, self._process.kill)
        timer.start()
        outcome: dict[str, Any] = {}
        try:
            with suppress(BrokenPipeError):  # the process has ended, perhaps with an outcome
                self._process.stdin.write(json.dumps(task) + "\n")  # type: ignore[union-attr]  # both are pipes
                self._process.stdin.flush()  # type: ignore[union-attr]
            outcome = json.loads(self._process.stdout.readline() or "{}")  # type: ignore[union-attr]
        finally:
            timer.cancel()
            if close_after or not outcome or "error" in outcome:
                self._end()
        if not outcome:
            if timer.finished.is_set() and self._process.returncode == -signal.SIGKILL:
                raise Tier0Error(f"{self._module} did not finish within {timeout:g} s")
            output = self._errors.read_text(encoding="utf-8", errors="replace").strip()[-ERROR_LENGTH:]
            status = self._process.returncode
            raise Tier0Error(f"{self._module} ended with status {status}: {output or 'no output'}")
        if "error" in outcome:
            raise (ModelChangedError if outcome.get("changed") else Tier0Error)(outcome["error"])
        return outcome

    def terminate(self) -> None:
        """Send SIGTERM to the process, without waiting for its end."""
        self._process.terminate()

    def close(self, timeout: float = 0.0) -> None:
        """Kill the process; before that, terminate it if it has a *timeout* in seconds to end by itself."""
        if timeout:
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self._process.kill()
        self._end()

    def _end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # a task that the ended process did not read
                    stream.close()
        self._process.wait()


def main() -> None:
    """Run the worker: import its module, execute tasks from standard input, and write the outcome of each.

    Standard output is redirected to standard error. An error becomes the outcome's ``error``, and ends the
    process.
    From its start on, closing standard input ends the process: its parent has ended, or has no more tasks.
    """
    outcome_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    extend_import_path()
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_tasks, args=(tasks,), daemon=True).start()
    try:
        handle: Handler = import_module(sys.argv[1]).prepare()
        while True:
            _write(handle(json.loads(tasks.get())), outcome_stream)
    except Tier0Error as problem:
        outcome = {"error": str(problem), "changed": isinstance(problem, ModelChangedError)}
    except Exception as problem:  # noqa: BLE001 - reported to the parent
        outcome = {"error": str(missing_extra(problem) or f"{type(problem).__name__}: {problem}")}
    _write(outcome, outcome_stream)
    os._exit(0)  # skips the teardown of the imported libraries


def _write(outcome: Mapping[str, Any], stream: IO[str]) -> None:
    stream.write(json.dumps(outcome) + "\n")
    stream.flush()


def _read_tasks(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(1)


if __name__ == "__main__":
    main()
