"""The private folder of a run, which is deleted when the run ends, even if it is killed."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from tier0.core.errors import Tier0Error
from tier0.serving.processes import start_guard


def temporary_directory() -> Path:
    """Return the system's directory for temporary files.

    Raises:
        Tier0Error: there is none that can be written.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as problem:
        reason = problem.strerror or problem
        raise Tier0Error(
            f"cannot write temporary files: {reason}. Set TMPDIR to a directory that you can write to"
        ) from problem


@dataclass
class Workspace:
    """A folder that only its owner can access, with a guard that deletes it when the process *watch* dies.

    Attributes:
        path: the folder; a short path, since BentoML creates sockets in it.
        keep: whether the folder is kept.
        watch: pid of the process whose end deletes the folder; another process if several share the folder.
        controller: pid of a process whose end also kills this one: xdist's workers outlive their controller
            by many seconds.
    """

    path: Path
    keep: bool = False
    watch: int = field(default_factory=os.getpid)
    controller: int | None = None
    _guard: Popen[bytes] | None = None
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def create(cls, *, keep: bool = False, controller: int | None = None) -> Workspace:
        """Create a new folder in the system's folder for temporary files.

        Raises:
            Tier0Error: there is none that can be written.
        """
        path = temporary_directory() / f"tier0-{os.urandom(5).hex()}"
        return cls(path, keep=keep, controller=controller).open()

    def open(self) -> Workspace:
        """Create the folder, unless a process that shares it already did, and start its guard.

        Raises:
            Tier0Error: the folder belongs to another user, or others can access it.
        """
        controller = [] if self.controller is None else [self.controller]
        self._guard = start_guard(
            self.watch,
            *controller,
            mark=f"TMPDIR={self.path}{os.sep}",
            remove=[] if self.keep else [str(self.path)],
            kill=[os.getpid()] if controller else [],
        )
        self.path.mkdir(mode=0o700, exist_ok=self.watch != os.getpid())
        found = self.path.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Tier0Error(
                f"refusing to use {self.path}: it must belong to the current user with mode 0700 (owner "
                f"{found.st_uid}, mode {found.st_mode & 0o777:04o})"
            )
        return self

    @property
    def store(self) -> Path:
        """The BentoML home of this run, with the models that it registered."""
        return self.path / "store"

    def folder(self, name: str) -> Path:
        """Create a new private folder; pid and number make its name unique among the sharing processes."""
        path = self.path / f"{name}{os.getpid()}-{next(self._numbers)}"
        path.mkdir(mode=0o700)
        return path

    def close(self) -> None:
        """Delete the folder, unless it is kept or belongs to another process."""
        if self.watch != os.getpid():
            return
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._guard is not None:
            self._guard.send_signal(signal.SIGUSR1)
            self._guard.wait()
