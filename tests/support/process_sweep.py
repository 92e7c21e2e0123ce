"""A plugin of pytest: when a run of our tests has ended or was killed, none of its processes is left.

Every process that a run starts inherits the run's mark in its environment. Another process waits for the
end of the run, and kills what has the mark. Servers that have a guard of their own have time for it.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:  # the process that waits starts without it
    import pytest

MARKS = "TESTS_OF_RUNS"
"""The environment variable with the marks of a run and of the runs around it, separated by spaces."""
GRACE = 3.0
SWEEP_FOR = 10.0


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist has inherited the mark
        return
    mark = uuid.uuid4().hex
    os.environ[MARKS] = f"{os.environ.get(MARKS, '')} {mark}".strip()
    nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    os.posix_spawn(
        sys.executable,
        [sys.executable, __file__, str(os.getpid()), mark],
        {},  # no mark of a run around this one: the sweeper ends by itself
        file_actions=nothing,
        setpgroup=0,  # signals to the run's group do not reach it
    )


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes other than this one that inherited a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and mark in process.environ().get(MARKS, "").split()
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def sweep(run: int, mark: str) -> None:
    """Wait for the end of a run, and kill what is left of it."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(run).wait()
    ended = time.monotonic()
    while time.monotonic() < ended + SWEEP_FOR and (left := marked(mark)):
        if time.monotonic() > ended + GRACE:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(0.1)


if __name__ == "__main__":
    sweep(int(sys.argv[1]), sys.argv[2])
