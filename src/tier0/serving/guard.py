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
- ``mark``: beginning of a variable, as ``NAME=value``, in the environment of every process that is started
  under the guard;
- ``remove``: folders to delete if a watched process has ended.

On Linux the guard is a subreaper: orphans of the command become its children, so that none of them escapes.
On other systems it finds descendants with ``ps``.

A guard can be killed, too, even together with the test process. It therefore has a twin, which waits for the
end of the guard: it kills what is left of the command, or takes over if there is none. A twin that was killed
is replaced. If both are killed at once, Linux sends SIGTERM to the command; other systems do nothing, and
the command lives until the watched process stops it or a guard of folders finds its mark.
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
    from collections.abc import Callable
    from typing import Any  # importing typing would double the start-up time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL = 0.05
REMOVE_FOR = 0.6  # longer than other guards take to kill processes that still write there
REMOVE_WITHIN = 3.0  # for what is slow to end
OTHERS_KILL_FOR = 0.45  # other guards end their command meanwhile, with its grace period
KILL_FOR = 1.0
REPLACEMENTS = 10  # of a twin
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT)
GUARD_WAS_KILLED = b"tier0: the guard process of this server was killed, and therefore the server as well\n"


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
    _handle_signals(order)
    watched = {pid: _open_watch(pid) for pid in order["watch"]}
    if session := order.pop("twin_of", None):
        while os.read(0, 1):  # until the guard has ended
            pass
        if order.get("command"):
            _end_orphans(order, session)
            return 0
    return _guard(order, watched, wake)


def _guard(order: dict[str, Any], watched: dict[int, int | None], wake: int) -> int:
    _become_subreaper()
    descriptors = [descriptor for descriptor in watched.values() if descriptor is not None]
    timeout = None if len(descriptors) == len(watched) else POLL
    twin = _Twin(order)
    child = _start(order) if order.get("command") else None
    while not (StopRequest.received or _any_has_ended(watched) or (child and child.poll() is not None)):
        twin.replace_if_ended()
        ready, _, _ = select.select([wake, *descriptors], [], [], timeout)
        if wake in ready:
            os.read(wake, 512)
    if child:
        _end(child, order, watched, twin)
    if _any_has_ended(watched):
        for pid in order.get("kill", []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if "remove" in order:
            _remove(order)
    twin.end()
    if child is None or StopRequest.received:
        return 0
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


class _Twin:
    """A process that does the guard's work if the guard is killed.

    Its standard input is a pipe from the guard, and ends with it. Its environment lacks the mark.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = {**order, "twin_of": os.getsid(0)}
        self._left = REPLACEMENTS
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        mark = self._order.get("mark", "=")
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", __file__, json.dumps(self._order)],
            env={name: value for name, value in os.environ.items() if not f"{name}={value}".startswith(mark)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def replace_if_ended(self) -> None:
        if self._process.poll() is not None and self._left:
            self._left -= 1
            self._process = self._start()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def _handle_signals(order: dict[str, Any]) -> None:
    """Let requests to stop through; the command would inherit it if other signals were ignored.

    A guard of folders alone is only stopped with SIGUSR1, so that none of the usual signals ends it.
    """
    stops = {signal.SIGUSR1}
    if order.get("command"):
        stops = set() if "twin_of" in order else {signal.SIGTERM, signal.SIGUSR1}
    for number in {*IGNORED, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}:
        signal.signal(number, _stop if number in stops else lambda *_: None)


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
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with_guard() -> Callable[[], object] | None:
    """Return what the command calls before it begins, so that it gets SIGTERM when this process ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # the lock of an import may be held when a process forks
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


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
            order["command"],
            cwd=order["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_guard(),  # noqa: PLW1509 - this process has one thread
        )


def _end(
    child: subprocess.Popen[bytes], order: dict[str, Any], watched: dict[int, int | None], twin: _Twin
) -> None:
    """Terminate the child, wait for the grace period, and kill the rest of its process tree."""
    if child.poll() is None:
        child.terminate()
    start = time.monotonic()
    while child.poll() is None and time.monotonic() - start < _grace(order, watched):
        time.sleep(0.01)
    deadline = time.monotonic() + KILL_FOR
    while (pids := [pid for pid in _descendants() if pid != twin.pid]) and time.monotonic() < deadline:
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


def _end_orphans(order: dict[str, Any], session: int) -> None:
    """Kill what is left of the command of a guard that was killed, and say so in its log."""
    with contextlib.suppress(OSError), open(order["log"], "ab") as log:  # noqa: PTH123
        log.write(GUARD_WAS_KILLED)
    deadline = time.monotonic() + KILL_FOR
    found_none = 0
    while found_none < 2 and time.monotonic() < deadline:
        found_none = 0 if _kill(lambda pid: _is_in(pid, session) or _has_mark(pid, order)) else found_none + 1
        time.sleep(0.02)


def _kill(is_meant: Callable[[int], bool]) -> int:
    """Kill the processes that are meant, and return how many there were."""
    pids = [pid for pid, _ in _processes() if pid != os.getpid() and is_meant(pid)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def _is_in(pid: int, session: int) -> bool:
    """Return whether a process is in a session, which has the guard's pid, and is not a zombie."""
    try:
        return os.getsid(pid) == session and not _is_zombie(pid)
    except OSError:
        return False


def _is_zombie(pid: int) -> bool:
    if sys.platform != "linux":
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123
        return stat.read().rpartition(")")[2].split()[0] == "Z"


def _has_mark(pid: int, order: dict[str, Any]) -> bool:
    """Return whether the environment of a process has the mark; on Linux only."""
    if sys.platform != "linux" or "mark" not in order:
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:  # noqa: PTH123
            return (b"\0" + environment.read()).find(b"\0" + os.fsencode(order["mark"])) >= 0
    except OSError:
        return False


def _remove(order: dict[str, Any]) -> None:
    """Delete the folders, repeatedly for a while: a process that is ending may still write to them.

    Processes with the mark that no other guard has ended meanwhile are killed.
    """
    start = time.monotonic()
    left = 0
    while (seconds := time.monotonic() - start) < REMOVE_FOR or (left and seconds < REMOVE_WITHIN):
        for folder in order["remove"]:
            shutil.rmtree(folder, ignore_errors=True)
        left = sum(map(os.path.lexists, order["remove"]))
        if seconds > OTHERS_KILL_FOR:
            left += _kill(lambda pid: _has_mark(pid, order))
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
