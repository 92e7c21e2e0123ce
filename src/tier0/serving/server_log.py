"""The log file of a server, and excerpts of it for messages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tier0.core import display
from tier0.core.secrets import ENVIRONMENT

LINES = 40
LINES_BEFORE = 5
MAX_LINE = 400
"""Maximum number of characters of a line in an excerpt."""
BYTES_BEFORE = 4096
MAX_BYTES = 1_000_000
"""Maximum number of bytes that are read from the end of a log for an excerpt."""


@dataclass(frozen=True)
class ServerLog:
    """The file that the server's processes print to.

    Attributes:
        path: the file.
    """

    path: Path

    def read(self) -> str:
        """Return the complete text."""
        return self.path.read_text(encoding="utf-8", errors="replace")

    def end(self) -> str:
        """Return the last `LINES` lines, indented."""
        return self.since(0)

    def since(self, offset: int) -> str:
        """Return the last lines after the first *offset* bytes, and a few lines before, for display."""
        if not self.path.exists():
            return "  | (the log was deleted with its folder)"
        with self.path.open("rb") as file:
            start = max(0, offset - BYTES_BEFORE)
            file.seek(start)
            before = file.read(offset - start).decode(errors="replace").splitlines()
            file.seek(max(offset, file.seek(0, os.SEEK_END) - MAX_BYTES))
            after = file.read(MAX_BYTES).decode(errors="replace").splitlines()
        lines = [*before[-LINES_BEFORE:], *after[-LINES:]]
        return (
            "\n".join(f"  | {display.line(line, ENVIRONMENT.hide, MAX_LINE)}" for line in lines)
            or "  | (the log is empty)"
        )
