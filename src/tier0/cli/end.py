"""The end of a command in whose process foreign code has run, which may keep the process from ending."""

from __future__ import annotations

import os
import sys
import threading

from tier0.cli.application import say

ENDS_WITHIN = 2.0
"""Seconds for the threads of foreign code, and for what it has registered for the end of the process."""


def end_soon(status: int) -> None:
    """End this process with *status* if it does not end within two seconds after its main thread."""

    def end() -> None:
        threading.main_thread().join()
        if not threading.Event().wait(ENDS_WITHIN):
            names = [
                thread.name
                for thread in threading.enumerate()
                if not thread.daemon and thread is not threading.main_thread()
            ]
            say(
                f"tier0: the client would keep its process from ending ({', '.join(names) or 'at exit'}): "
                "let close end its threads, or make them daemons",
                err=True,
            )
            sys.stdout.flush()
            os._exit(status)

    threading.Thread(target=end, name="tier0-end", daemon=True).start()
