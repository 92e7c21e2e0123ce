"""What a client prints and logs, collected for the check in which it does so."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import ContextVar
from typing import Any, TextIO

MAX_CHARACTERS = 10_000
"""Characters that are kept for a check: the last ones."""


class Printed:
    """The text that a client printed during a check."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, text: str) -> None:
        """Append *text*, and forget the beginning of a text that becomes too long."""
        self._text = (self._text + text)[-MAX_CHARACTERS:]

    @property
    def lines(self) -> list[str]:
        """The lines that are not empty."""
        return [line for line in self._text.splitlines() if line.strip()]


def hide_own_events() -> None:
    """Keep the events of Tier0's own client, which logs each change of a circuit, off the output."""
    logging.getLogger("tier0.client").addHandler(logging.NullHandler())


_CURRENT: ContextVar[Printed | None] = ContextVar("tier0_printed", default=None)


@contextmanager
def collected() -> Iterator[Printed]:
    """Collect what is printed in the context of this block, within `redirected`."""
    printed = Printed()
    token = _CURRENT.set(printed)
    try:
        yield printed
    finally:
        _CURRENT.reset(token)


@contextmanager
def redirected() -> Iterator[None]:
    """Let `collected` collect what is printed in this block; other text is printed as usual."""
    stdout: Any = _ByContext(sys.stdout)
    stderr: Any = _ByContext(sys.stderr)
    with redirect_stdout(stdout), redirect_stderr(stderr):
        yield


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect what the current check's client logs in this block, at the levels of its loggers."""
    current = _CURRENT.get()
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if _CURRENT.get() is current:
                lines.append(self.format(record))

    collector = Collector()
    logging.getLogger().addHandler(collector)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(collector)


class _ByContext:
    """A stream whose text goes to the current check, or else to the stream that it replaces."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        printed = _CURRENT.get()
        if printed is None:
            return self._stream.write(text)
        printed.add(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
