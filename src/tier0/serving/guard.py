"""A process that outlives its test process by less than a second, and takes everything along that it was given.

Run as a script with ``python -I -S``, so that it starts in milliseconds: standard library only, and nothing
of tier0. Its only argument is a JSON object:

- ``watch``: the pids; when one of them dies, everything ends (normally the test process');
- ``command``, ``cwd``, ``log``: what to run as a child (optional); its exit status becomes ours;
- ``stop_grace``: seconds between SIGTERM and SIGKILL when we are told to stop (SIGTERM; with SIGUSR1, none);
- ``orphan_grace``: the same when the watched process died;
- ``kill``: pids to kill when a watched process died;
- ``remove``: folders to delete when a watched process died.

It is a subreaper (Linux): orphans of the command become its children, so that none escapes. Elsewhere it
finds what it can through ``ps``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # typing would double the time that this process takes to start

PR_SET_CHILD_SUBREAPER = 36
POLL = 0.05
REMOVE_FOR = 0.6  # longer than the guards of servers take to kill whoever may still write there
KILL_FOR = 1.0


class StopRequest:
    """Set by SIGTERM, and by SIGUSR1: then without any grace."""

    asked = False
    at_once = False


def _stop(number: int, _: object) -> None:
    StopRequest.asked = True
    StopRequest.at_once = number == signal.SIGUSR1


def main() -> int:
    """Guard until the command ends, we are told to stop, or the watched process is gone."""
    order = json.loads(sys.argv[1])
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGUSR1, _stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _become_subreaper()
    watched = {pid: _open_watch(pid) for pid in order["watch"]}
    descriptors = [descriptor for descriptor in watched.values() if descriptor is not None]
    timeout = None if len(descriptors) == len(watched) else POLL
    child = _start(order) if order.get("command") else None
    while not (StopRequest.asked or _any_is_gone(watched) or (child and child.poll() is not None)):
        ready, _, _ = select.select([wake, *descriptors], [], [], timeout)
        if wake in ready:
            os.read(wake, 512)
    if child:
        _end(child, order, watched)
    orphaned = _any_is_gone(watched)
    if orphaned:
        for pid in order.get("kill", []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if orphaned and "remove" in order:
        _remove(order["remove"])
    if child is None or StopRequest.asked:
        return 0
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _open_watch(pid: int) -> int | None:
    """Return a descriptor that becomes readable when *pid* ends; None where the system has no such thing."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _any_is_gone(watched: dict[int, int | None]) -> bool:
    return any(_is_gone(pid, descriptor) for pid, descriptor in watched.items())


def _is_gone(pid: int, descriptor: int | None) -> bool:
    if descriptor is not None:
        return bool(select.select([descriptor], [], [], 0)[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _start(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    with open(order["log"], "ab") as log:  # noqa: PTH123 - pathlib would double the time that this process takes to start
        return subprocess.Popen(  # noqa: S603
            order["command"], cwd=order["cwd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _end(child: subprocess.Popen[bytes], order: dict[str, Any], watched: dict[int, int | None]) -> None:
    """Terminate the child, wait for it as long as its grace lasts, and kill what is left of its tree."""
    if child.poll() is None:
        child.terminate()
    start = time.monotonic()
    while child.poll() is None:
        grace = (
            0
            if StopRequest.at_once
            else order["orphan_grace"]
            if _any_is_gone(watched)
            else order["stop_grace"]
        )
        if time.monotonic() - start >= grace:
            break
        time.sleep(0.01)
    deadline = time.monotonic() + KILL_FOR
    while (pids := _descendants()) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if pid != child.pid:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        child.poll()
        time.sleep(0.005)


def _descendants() -> list[int]:
    """Return the pids of all descendants of this process.

    Zombies count: while threads of a killed process still end, its first thread is a zombie already, and its
    port is still open.
    """
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [os.getpid()]
    while queue:
        for pid in children.get(queue.pop(), []):
            found.append(pid)
            queue.append(pid)
    return found


def _processes() -> list[tuple[int, int]]:
    if sys.platform == "linux":
        return [entry for name in os.listdir("/proc") if name.isdigit() and (entry := _read_stat(name))]  # noqa: PTH208
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)  # noqa: S607
    rows = (line.split(None, 2) for line in listing.stdout.splitlines())
    return [
        (int(pid), int(parent)) for pid, parent, command in rows if not command.endswith("ps")
    ]  # ps lists itself


def _read_stat(name: str) -> tuple[int, int] | None:
    try:
        with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123
            parent = stat.read().rpartition(")")[2].split()[1]
    except OSError:
        return None
    return int(name), int(parent)


def _remove(folders: list[str]) -> None:
    """Delete the folders, again if a dying process writes into them once more."""
    deadline = time.monotonic() + REMOVE_FOR
    while time.monotonic() < deadline:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
