"""Files that execute code when they are loaded, such as pickles: written privately, and verified before use.

What counts is the opened file, not its path: the file is opened once, and checked and read through the same
descriptor, so that it cannot be exchanged in between.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from tier0.core.errors import UntrustedFileError

MAX_BYTES = 8 * 1024**3
READ = os.O_RDONLY | os.O_CLOEXEC
NO_WAIT = os.O_NOFOLLOW | os.O_NONBLOCK
"""A symbolic link is not followed, and a named pipe without a writer is not waited for."""
NEW = os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def read_trusted(
    path: Path,
    *,
    owners: Iterable[int] = (),
    writable_by_group: bool = False,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """Return the content of a file that `open_trusted` opens.

    Raises:
        UntrustedFileError: the file must not be loaded; the message has the reason and a remedy.
        OSError: the file cannot be opened or read.
    """
    with open_trusted(path, owners=owners, writable_by_group=writable_by_group, max_bytes=max_bytes) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def open_trusted(
    path: Path,
    *,
    owners: Iterable[int] = (),
    writable_by_group: bool = False,
    max_bytes: int = MAX_BYTES,
) -> BinaryIO:
    """Open a file that no untrusted user can have written.

    It must be a regular file. The file and its folder must belong to the current user, and neither group nor
    others may write to them.

    Args:
        path: path of the file; only its folder may be reached through symbolic links.
        owners: ids of further users who may own the file and its folder.
        writable_by_group: whether their groups may write to them.
        max_bytes: largest size of the file.

    Raises:
        UntrustedFileError: the file must not be loaded; the message has the reason and a remedy.
        OSError: the file cannot be opened.
    """
    trusted = {os.geteuid(), *owners}
    writers = stat.S_IWOTH if writable_by_group else stat.S_IWGRP | stat.S_IWOTH
    folder = os.open(path.parent, READ | os.O_DIRECTORY)
    try:
        _require_trusted(path, path.parent, os.fstat(folder), trusted, writers)
        descriptor = os.open(path.name, READ | NO_WAIT, dir_fd=folder)
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise _refusal(path, "it is a symbolic link", "Replace the link by the file") from None
        raise
    finally:
        os.close(folder)
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            mode = stat.filemode(found.st_mode)
            raise _refusal(path, f"it is not a regular file ({mode})", "Remove it, and create it again")
        _require_trusted(path, path, found, trusted, writers)
        if found.st_size > max_bytes:
            reason = f"it has {found.st_size:,} bytes, more than {max_bytes:,}"
            raise _refusal(path, reason, "Remove it, and create it again from less data")
        stack.pop_all()  # the caller closes the file
    return os.fdopen(descriptor, "rb")


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only the current user can read and write, whatever the umask; atomically.

    Raises:
        OSError: the file cannot be written.
    """
    unfinished = path.with_suffix(f"{path.suffix}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, NEW, 0o600), "wb") as file:
        file.write(content)
    unfinished.replace(path)


def _require_trusted(path: Path, part: Path, found: os.stat_result, owners: set[int], writers: int) -> None:
    """Check who may write *part*, which is the file *path* or its folder.

    Raises:
        UntrustedFileError: users who are not trusted may.
    """
    seen = f"{'it' if part == path else part} has owner {found.st_uid} and mode {found.st_mode & 0o7777:04o}"
    if found.st_uid not in owners:
        remedy = f"Create it again as the current user ({os.geteuid()}), or load it as its owner"
        raise _refusal(path, f"{seen}, and another user can have written it", remedy)
    if found.st_mode & writers:
        classes = "o" if writers == stat.S_IWOTH else "go"
        remedy = f"If you trust its content, run: chmod {classes}-w {shlex.quote(str(part))}"
        raise _refusal(path, f"{seen}, so that other users can write it", remedy)


def _refusal(path: Path, reason: str, remedy: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"refusing to load {path}, which can execute code when it is loaded: {reason}. {remedy}"
    )
