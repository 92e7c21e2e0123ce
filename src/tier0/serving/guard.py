"""Guard process that ends its command and deletes folders when a watched process ends, in less than a second.

It is run as a script with ``python -I -S``, imports the standard library only, and starts in milliseconds.
Its only argument is a JSON object:

- ``watch``: pids, normally that of the test process; when one of them ends, the guard ends everything;
- ``command``, ``cwd``, ``log``: a command to run as a child (optional), whose exit status becomes the
  guard's;
- ``stop_grace``: seconds between SIGTERM and SIGKILL of the command if the guard receives SIGTERM (none with
  SIGUSR1);
- ``orphan_grace``: the same if a watched process has ended;
- ``kill``: pids to kill if a watched process has ended;
- ``remove``: folders to delete if a watched process has ended.

On Linux the guard is a subreaper: orphans of the command become its children, so that none of them escapes.
On other systems it finds descendants with ``ps``.
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
    from typing import Any  # importing typing would double the start-up time

PR_SET_CHILD_SUBREAPER = 36
POLL = 0.05
REMOVE_FOR = 0.6  # longer than other guards take to kill processes that still write there
KILL_FOR = 1.0


class StopRequest:
    """A request to stop, set by SIGTERM, or by SIGUSR1 for a stop without grace."""

    received = False
    without_grace = False


def _stop(number: int, _: object) -> None:
    StopRequest.received = True
    StopRequest.without_grace = number == signal.SIGUSR1


def main() -> int:
    """Guard until the command ends, a stop is requested, or a watched process has ended.

    Returns:
        The exit status.
    """
    order = json.loads(sys.argv[1])
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    _reset_signals()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the command would inherit it if the signal was ignored
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGUSR1, _stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _become_subreaper()
    watched = {pid: _open_watch(pid) for pid in order["watch"]}
    descriptors = [descriptor for descriptor in watched.values() if descriptor is not None]
    timeout = None if len(descriptors) == len(watched) else POLL
    child = _start(order) if order.get("command") else None
    while not (StopRequest.received or _any_has_ended(watched) or (child and child.poll() is not None)):
        ready, _, _ = select.select([wake, *descriptors], [], [], timeout)
        if wake in ready:
            os.read(wake, 512)
    if child:
        _end(child, order, watched)
    orphaned = _any_has_ended(watched)
    if orphaned:
        for pid in order.get("kill", []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if orphaned and "remove" in order:
        _remove(order["remove"])
    if child is None or StopRequest.received:
        return 0
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _reset_signals() -> None:
    """Undo what this process inherited: the command would inherit blocked and ignored signals as well.

    SIGPIPE and SIGXFSZ are ignored by Python itself, which restores them for its children.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _open_watch(pid: int) -> int | None:
    """Return a descriptor that becomes readable when *pid* ends; None if the system does not support it."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _any_has_ended(watched: dict[int, int | None]) -> bool:
    return any(_has_ended(pid, descriptor) for pid, descriptor in watched.items())


def _has_ended(pid: int, descriptor: int | None) -> bool:
    if descriptor is not None:
        return bool(select.select([descriptor], [], [], 0)[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _start(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    with open(order["log"], "ab") as log:  # noqa: PTH123 - importing pathlib would double the start-up time
        return subprocess.Popen(  # noqa: S603
            order["command"], cwd=order["cwd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _end(child: subprocess.Popen[bytes], order: dict[str, Any], watched: dict[int, int | None]) -> None:
    """Terminate the child, wait for the grace period, and kill the rest of its process tree."""
    if child.poll() is None:
        child.terminate()
    start = time.monotonic()
    while child.poll() is None and time.monotonic() - start < _grace(order, watched):
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


def _grace(order: dict[str, Any], watched: dict[int, int | None]) -> float:
    """Return the seconds between SIGTERM and SIGKILL, which can become fewer while the guard waits."""
    if StopRequest.without_grace:
        return 0.0
    return float(order["orphan_grace"] if _any_has_ended(watched) else order["stop_grace"])


def _descendants() -> list[int]:
    """Return the pids of all descendants of this process, including zombies.

    While the threads of a killed process still end, its first thread is already a zombie but its port is
    open.
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
    # ps lists itself.
    return [(int(pid), int(parent)) for pid, parent, command in rows if not command.endswith("ps")]


def _read_stat(name: str) -> tuple[int, int] | None:
    try:
        with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123
            parent = stat.read().rpartition(")")[2].split()[1]
    except OSError:
        return None
    return int(name), int(parent)


def _remove(folders: list[str]) -> None:
    """Delete the folders, repeatedly for a while: a process that is ending may still write to them."""
    deadline = time.monotonic() + REMOVE_FOR
    while time.monotonic() < deadline:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
