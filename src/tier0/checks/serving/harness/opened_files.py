"""Counts of how often the files in a folder are opened, by any process; by inotify, which Linux has."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPENED, CLOSED, IS_FOLDER = 0x20, 0x08 | 0x10, 0x40000000
"""Bits of inotify's events; equal events in a row are reported as one, so that closing is watched, too."""
EVENT = struct.Struct("iIII")
BUFFER = 65_536
MAX_FOLDERS = 200


class OpenedFiles:
    """Number of times that files were opened since this object exists.

    Args:
        queue: file descriptor of an inotify instance, which does not block.
    """

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self._count = 0

    @property
    def count(self) -> int:
        """Number of times so far; a lower bound if several processes open a file at the same time."""
        while True:
            try:
                events = os.read(self._queue, BUFFER)
            except BlockingIOError:
                return self._count
            position = 0
            while position < len(events):
                _, mask, _, length = EVENT.unpack_from(events, position)
                self._count += bool(mask & OPENED) and not mask & IS_FOLDER
                position += EVENT.size + length


@contextmanager
def opened_files(folder: Path) -> Iterator[OpenedFiles | None]:
    """Watch the files in *folder* and in the folders in it, also those that are links.

    Yields:
        Their count; None where the files cannot be watched.
    """
    libc = ctypes.CDLL(None)
    queue = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(libc, "inotify_init1") else -1
    if queue < 0:
        yield None
        return
    try:
        watched = [
            libc.inotify_add_watch(queue, os.fsencode(path), OPENED | CLOSED) for path in _folders(folder)
        ]
        yield OpenedFiles(queue) if watched and min(watched) >= 0 else None
    finally:
        os.close(queue)


def _folders(folder: Path) -> list[Path]:
    found = []
    for path, _, _ in os.walk(folder, followlinks=True):
        found.append(Path(path))
        if len(found) == MAX_FOLDERS:
            break
    return found
