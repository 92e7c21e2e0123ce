"""Attempts of a client to end the process of the checks: they are errors of the client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from tier0.checks.client.harness.call import ExitedError


@contextmanager
def refused_exits() -> Iterator[list[str]]:
    """Let `os._exit` raise `ExitedError` in this block, except in child processes of the client.

    Yields:
        A description of each attempt, which a client may have made in a thread of its own.
    """
    real, process = os._exit, os.getpid()
    attempts: list[str] = []

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:  # a fork ends like this
            real(status)
        attempts.append(f"os._exit({status!r})")
        raise ExitedError(f"the client called {attempts[-1]}")

    os._exit = refuse
    try:
        yield attempts
    finally:
        os._exit = real
