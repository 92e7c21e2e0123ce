"""Output of code that is not ours, but runs in the process of a command: a client, and its log messages."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tier0.cli.application import SECRETS
from tier0.core import display


@contextmanager
def shown_as_data() -> Iterator[None]:
    """Show each line that is printed in this block on standard error, as `tier0.core.display.terminal` does.

    Each begins with ``client:``. `say` still prints to the original streams, so that nothing of a client can
    be taken for a result.
    """
    streams = sys.stdout, sys.stderr
    lines = [_Lines(stream, sys.stderr) for stream in streams]
    sys.stdout, sys.stderr = lines
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream in lines:
            stream.end()


class _Lines(io.TextIOBase):
    """A stream that passes on complete lines.

    Args:
        own_stream: stream that it replaces, which is for our own text.
        stream: stream of the terminal or of the CI job.
    """

    def __init__(self, own_stream: TextIO, stream: TextIO) -> None:
        self.own_stream = own_stream
        self._stream = stream
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # that of the stream
        """The encoding of the stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Show the lines that *text* completes; the rest waits for the end of its line."""
        whole, line_end, self._begun = (self._begun + text).rpartition("\n")
        if line_end:
            self._show(whole + line_end)
        elif len(self._begun) > display.MAX_LINE:
            self.end()
        return len(text)

    def flush(self) -> None:
        """Flush the complete lines."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the number of the stream's file, for child processes."""
        return self._stream.fileno()

    def end(self) -> None:
        """Show what was printed of a line."""
        begun, self._begun = self._begun, ""
        self._show(f"{begun}\n" if begun else "")

    def _show(self, text: str) -> None:
        shown = display.terminal(text, SECRETS.hide)
        self._stream.write("".join(f"client: {line}" for line in shown.splitlines(keepends=True)))
        self._stream.flush()
