"""The log file of a server, and excerpts of it for messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LINES = 40
LINES_BEFORE = 5
BYTES_BEFORE = 4096


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
        """Return the last lines of the text after the first *offset* bytes, and a few lines before it."""
        if not self.path.exists():
            return "  | (the log was deleted with its folder)"
        with self.path.open("rb") as file:
            start = max(0, offset - BYTES_BEFORE)
            file.seek(start)
            before = file.read(offset - start).decode(errors="replace").splitlines()
            after = file.read().decode(errors="replace").splitlines()
        lines = [*before[-LINES_BEFORE:], *after[-LINES:]]
        return "\n".join(f"  | {line}" for line in lines) or "  | (the log is empty)"
