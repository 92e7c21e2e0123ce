"""A file that the user named: opened without waiting, a regular file only, of limited size; text or JSON."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

MAX_BYTES = 256 * 1024 * 1024
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a regular file, without a byte order mark.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is not a regular file, too large, or not UTF-8.
    """
    # a named pipe without a writer would otherwise wait for one
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(f"it is {KINDS.get(stat.S_IFMT(mode), 'a special file')}, not a regular file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes:,} bytes")
    return content.decode("utf-8-sig")


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is not a regular file, too large, not UTF-8, not JSON, nested too deeply, or an object
            in it has a key twice.
    """
    try:
        return json.loads(read_text(path, max_bytes=max_bytes), object_pairs_hook=_unique_keys)
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return content
