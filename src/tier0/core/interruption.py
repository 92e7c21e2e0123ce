"""Ctrl-C in the command line: exit at once while modules are imported, `KeyboardInterrupt` after that.

An import may turn `KeyboardInterrupt` into another error, for which a user would get a traceback. Nothing
needs to be stopped at that time, so that the process can simply exit.

SIGINT has this effect even if it was ignored when the process was started: a shell without job control does
that to each command that a script starts with ``&``, and the script may stop it with ``kill -INT``. SIGHUP
stays as it was, so that ``nohup`` has its effect.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # typing is not imported: it takes milliseconds, in which Ctrl-C would show a traceback
if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130
"""Exit status of a command that was stopped with Ctrl-C."""
STANDARD_ERROR = 2
PR_SET_PDEATHSIG = 1


def exit_on_interrupt() -> None:
    """Let Ctrl-C end this process, also if its parent ignores or blocks the signal."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # the exit status of a child would be lost
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) in {signal.default_int_handler, signal.SIG_IGN}:
        signal.signal(signal.SIGINT, _exit)


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, so that what is started from now on is stopped."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_on_terminate() -> None:
    """Let SIGTERM raise `KeyboardInterrupt`, so that it ends the process in the same way as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def interrupt_with(process: int) -> None:
    """Let the end of another *process* of this machine have the effect of Ctrl-C.

    Its later end is noticed on Linux only, and only if it is the parent of this process.
    """
    has_ended = False
    if sys.platform == "linux" and os.getppid() == process:
        import ctypes  # noqa: PLC0415 - for workers of pytest-xdist only

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        has_ended = os.getppid() != process
    if has_ended or not _exists(process):
        os.kill(os.getpid(), signal.SIGINT)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def forget_interrupt() -> None:
    """Make CPython forget that `KeyboardInterrupt` was raised in code that is executed from text.

    CPython would end the process by the signal, instead of with its exit status, although it was handled.
    """
    exec("")  # noqa: S102 - an empty text  # nosec B102


def _exit(_: int, __: FrameType | None) -> None:
    os.write(STANDARD_ERROR, b"\nstopped\n")
    os._exit(INTERRUPTED)
