"""Signals that were ignored or blocked by the process that started ours, such as a script with ``&``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import SOURCE
from tier0.serving.processes import start_guard

COMMAND = """
import signal, sys, time
from tier0.core.interruption import (
    exit_on_interrupt, forget_interrupt, raise_on_interrupt, raise_on_terminate,
)
exit_on_interrupt()
if "imported" in sys.argv:
    raise_on_interrupt()
    raise_on_terminate()
try:
    print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    forget_interrupt()
    sys.exit(7)
"""
DISPOSITIONS = """
import json, signal, sys
left = [number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN]
print(json.dumps({"ignored": left, "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, []))}))
"""


def ignore(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)


def block(number: signal.Signals) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


@pytest.mark.parametrize(
    ("change", "inherited", "state", "sent", "status"),
    [
        (ignore, signal.SIGINT, "imported", signal.SIGINT, 7),
        (ignore, signal.SIGINT, "importing", signal.SIGINT, 130),
        (block, signal.SIGINT, "imported", signal.SIGINT, 7),
        (ignore, signal.SIGHUP, "imported", signal.SIGTERM, 7),
        (ignore, signal.SIGHUP, "importing", signal.SIGTERM, -signal.SIGTERM),
    ],
)
def test_a_command_is_stopped_whatever_it_inherits(
    change: Callable[[signal.Signals], None],
    inherited: signal.Signals,
    state: str,
    sent: signal.Signals,
    status: int,
) -> None:
    def inherit() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # this run may have been started by nohup
        change(inherited)

    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, state],
        env={"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=inherit,  # noqa: PLW1509 - no other way to start a process that ignores a signal
    )
    with process:
        assert process.stdout is not None
        hangup = process.stdout.readline()
        process.send_signal(sent)

        assert process.wait(20) == status
    assert (hangup == "True\n") == (inherited == signal.SIGHUP), "as with nohup"


def test_a_server_gets_the_default_of_every_signal(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        guard = start_guard(
            command=[sys.executable, "-c", DISPOSITIONS], cwd=str(tmp_path), log=str(tmp_path / "log")
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    assert guard.wait(20) == 0
    found = json.loads((tmp_path / "log").read_text(encoding="utf-8"))
    assert set(found["ignored"]) <= {signal.SIGPIPE, signal.SIGXFSZ}, "Python ignores them itself"
    assert found["blocked"] == []
