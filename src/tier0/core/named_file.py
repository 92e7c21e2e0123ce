"""Files that a user named: opened without waiting; those to read are regular files of limited size."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from tier0.core.errors import Tier0Error
from tier0.core.fields import check_depth, shown

MIB = 1 << 20
MAX_BYTES = 256 * MIB
MAX_TABLE_BYTES = 8192 * MIB
MAX_NAME = 200
"""Characters of a file's name that the name of its unfinished copy has."""
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
    """Write a file, as a whole or not at all.

    Anything but a regular file is written in place: a device, or a named pipe, for whose reader the program
    does not wait. So is a file that cannot be replaced, such as one that is mounted into a container.

    Raises:
        OSError: the file cannot be written.
    """
    if is_stream(path):
        _write(path, os.O_APPEND, text)
        return
    target = Path(os.path.realpath(path))  # a symbolic link stays
    if target.exists() and not target.is_file():
        _write(target, os.O_NONBLOCK, text)
        return
    unfinished = target.with_name(f".{target.name[:MAX_NAME]}.{os.getpid()}.unfinished")
    try:
        _write(unfinished, os.O_EXCL, text)
        if target.exists():
            unfinished.chmod(stat.S_IMODE(target.stat().st_mode))
        unfinished.replace(target)
    except OSError as problem:
        if problem.errno == errno.ENOSPC or not target.exists():
            raise
        _write(target, os.O_TRUNC, text)
    finally:
        unfinished.unlink(missing_ok=True)


def is_stream(path: Path | str) -> bool:
    """Return whether a path is an open file of this process, such as ``/dev/stdout``.

    It may be redirected to a regular file, which must not be replaced or removed then.
    """
    text = str(path)
    return text in {"/dev/stdout", "/dev/stderr"} or text.startswith(("/dev/fd/", "/proc/"))


def _write(path: Path | str, flags: int, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o666)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def require_creatable(path: Path) -> None:
    """Check that a file can be created, or written, before the work is done whose result it will contain.

    Nothing is left of the attempt.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists():
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    path.unlink()


def require_absent(path: Path, option: str) -> None:
    """Check that nothing of the user's is overwritten: what was read, corrected and committed is lost then.

    An empty file has nothing to lose, and a device, a pipe or an open file of this process is a stream.

    Args:
        path: file or folder to write.
        option: option that names another one.

    Raises:
        Tier0Error: there is a file with content, or a folder.
    """
    is_kept = path.is_dir() or (path.is_file() and path.stat().st_size > 0)
    if is_kept and not is_stream(path):
        raise Tier0Error(f"{path} exists and is not overwritten: remove it, or choose another {option}")


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
