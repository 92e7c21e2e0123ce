"""The guard of tests/unit: a test that starts a process, opens a connection or waits fails."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import joblib
import pytest
import threadpoolctl

FORBIDDEN = {
    "subprocess.Popen": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.fork": "forks",
    "os.forkpty": "forks",
    "socket.bind": "opens a server",
    "socket.connect": "opens a connection",
}
"""Audit events, and what a test does that raises one."""

_guarded = False


def _fail(does: str) -> None:
    pytest.fail(f"a test in tests/unit {does}: move it to tests/integration")


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if _guarded and event in FORBIDDEN:
        _fail(f"{FORBIDDEN[event]} ({event})")


sys.addaudithook(_refuse)


@pytest.fixture(scope="session", autouse=True)
def _processes_of_libraries() -> None:
    """Have joblib run `lscpu`, threadpoolctl `ldconfig`, and matplotlib `fc-list`, before the first test."""
    joblib.cpu_count(only_physical_cores=True)
    threadpoolctl.threadpool_info()
    with suppress(ImportError):
        import matplotlib.font_manager  # noqa: F401 - lists the fonts of a machine once


@pytest.fixture(autouse=True)
def _no_process_and_no_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    global _guarded  # noqa: PLW0603  # an audit hook cannot be removed
    sleep, sleep_on_loop = time.sleep, asyncio.sleep

    def guarded_sleep(delay: float) -> None:
        caller = sys._getframe(1).f_globals["__name__"].partition(".")[0]
        if delay and caller in {"tests", "tier0"}:  # joblib polls its threads
            _fail("waits (time.sleep)")
        sleep(delay)

    async def guarded_sleep_on_loop(delay: float, result: Any = None) -> Any:
        if delay:
            _fail("waits (asyncio.sleep)")
        return await sleep_on_loop(delay, result)

    monkeypatch.setattr(time, "sleep", guarded_sleep)
    monkeypatch.setattr(asyncio, "sleep", guarded_sleep_on_loop)
    _guarded = True
    yield
    _guarded = False
