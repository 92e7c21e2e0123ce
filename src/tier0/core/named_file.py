"""Files that a user named: opened without waiting; those to read are regular files of limited size."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from tier0.core.fields import check_depth, shown

MIB = 1 << 20
MAX_BYTES = 256 * MIB
MAX_TABLE_BYTES = 8192 * MIB
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path | str, *, max_bytes: int = MAX_BYTES) -> BinaryIO:
    """Open a regular file of limited size; a symbolic link to one is followed.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not a regular file, or too large.
    """
    # a named pipe without a writer would otherwise wait for one
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    found = os.fstat(file.fileno())
    problem = ""
    if not stat.S_ISREG(found.st_mode):
        problem = f"it is {KINDS.get(stat.S_IFMT(found.st_mode), 'a special file')}, not a regular file"
    elif found.st_size > max_bytes:
        problem = _too_large(max_bytes)
    if problem:
        file.close()
        raise ValueError(problem)
    return file


def require_regular(path: Path | str, *, max_bytes: int = MAX_BYTES) -> None:
    """Check that a library may open a file; see `open_regular`."""
    open_regular(path, max_bytes=max_bytes).close()


def read_bytes(path: Path | str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is not a regular file, or too large.
    """
    with open_regular(path, max_bytes=max_bytes) as file:
        content = file.read(max_bytes + 1)  # files of /proc have content, but no size
    if len(content) > max_bytes:
        raise ValueError(_too_large(max_bytes))
    return content


def write_text(path: Path | str, text: str) -> None:
    """Write a file; into a named pipe only if it has a reader, for which the program would wait otherwise.

    Raises:
        OSError: the file cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def _too_large(max_bytes: int) -> str:
    return f"it is larger than {max_bytes:,} bytes"


def read_text(path: Path | str, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a regular file, without a byte order mark.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is not a regular file, too large, or not UTF-8.
    """
    return read_bytes(path, max_bytes=max_bytes).decode("utf-8-sig")


def read_json(path: Path | str, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is not a regular file, too large, not UTF-8, not JSON, nested too deeply, or an object
            in it has a key twice.
    """
    try:
        value = json.loads(read_text(path, max_bytes=max_bytes), object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_depth(value)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {shown(twice)} is there twice")
    return content
