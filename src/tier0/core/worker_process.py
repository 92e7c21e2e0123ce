"""Orders, carried out in a process of their own: for what must not happen in ours, or takes seconds of imports first.

The process starts to import at once, and waits for an order on standard input. When that is closed instead, because we were
killed or have nothing to do, it ends at once.
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
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from tier0.core.child_environment import child_environment
from tier0.core.errors import ModelChangedError, Tier0Error

ORDER_TIMEOUT = 120.0
Handler = Callable[[dict[str, Any]], dict[str, Any]]
ERROR_LENGTH = 2000


class WorkerProcess:
    """A process that carries out orders, one after the other (see `main`).

    Args:
        module: what to import there; its ``prepare()`` does what can be done before the order, and returns what carries it out.
        folder: a private folder, where it is started and puts temporary files.
        environment: variables on top of `child_environment`.
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

    def execute(self, order: Mapping[str, Any], *, close_after: bool = True) -> dict[str, Any]:
        """Give an order, and wait for its outcome; the process ends with the last one, and with any that goes wrong.

        Raises:
            Tier0Error: with what the process said went wrong.
        """
        timer = threading.Timer(ORDER_TIMEOUT, self._process.kill)
        timer.start()
        outcome: dict[str, Any] = {}
        try:
            self._process.stdin.write(json.dumps(order) + "\n")  # type: ignore[union-attr]  # both are pipes
            self._process.stdin.flush()  # type: ignore[union-attr]
            outcome = json.loads(self._process.stdout.readline() or "{}")  # type: ignore[union-attr]
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
            if close_after or not outcome or "error" in outcome:
                self._end()
        if not outcome:
            if timer.finished.is_set() and self._process.returncode == -signal.SIGKILL:
                raise Tier0Error(f"{self._module} did not finish within {ORDER_TIMEOUT:g} s")
            said = self._errors.read_text(encoding="utf-8", errors="replace").strip()[-ERROR_LENGTH:]
            raise Tier0Error(
                f"{self._module} ended with status {self._process.returncode}: {said or 'it said nothing'}"
            )
        if "error" in outcome:
            raise (ModelChangedError if outcome.get("changed") else Tier0Error)(outcome["error"])
        return outcome

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()


def main() -> None:
    """Be the process: import and prepare, carry out orders, and write the outcome of each; the other side of `WorkerProcess`.

    Whatever is printed goes to standard error. What goes wrong becomes the outcome's ``error``, and is the last. From the very start, a
    closed standard input ends the process: whoever would give an order is gone, or has none any more.
    """
    outcome_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    try:
        handle: Handler = import_module(sys.argv[1]).prepare()
        while True:
            _write(handle(json.loads(orders.get())), outcome_stream)
    except Tier0Error as problem:
        outcome = {"error": str(problem), "changed": isinstance(problem, ModelChangedError)}
    except Exception as problem:  # noqa: BLE001 - told to whoever gave the order
        outcome = {"error": f"{type(problem).__name__}: {problem}"}
    _write(outcome, outcome_stream)
    os._exit(0)  # what was imported need not be taken down piece by piece


def _write(outcome: Mapping[str, Any], stream: IO[str]) -> None:
    stream.write(json.dumps(outcome) + "\n")
    stream.flush()


def _read_orders(orders: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        orders.put(line)
    os._exit(1)


if __name__ == "__main__":
    main()
