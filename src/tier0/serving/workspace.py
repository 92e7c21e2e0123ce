"""The private folder of a run: gone when the run ends, however it ends."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from tier0.core.errors import Tier0Error
from tier0.serving.processes import start_guard


@dataclass
class Workspace:
    """A folder that only its owner may enter, with a guard that deletes it when the process *watch* dies.

    Attributes:
        path: the folder; short, since BentoML puts sockets below it.
        keep: leave the folder where it is.
        watch: the pid with which it ends; another one than ours where several processes share the folder.
        controller: a process without which ours has no reason to live on, either: xdist's workers outlive theirs by many seconds.
    """

    path: Path
    keep: bool = False
    watch: int = field(default_factory=os.getpid)
    controller: int | None = None
    _guard: Popen[bytes] | None = None
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def create(cls, *, keep: bool = False, controller: int | None = None) -> Workspace:
        """Make a new folder under the system's folder for temporary files."""
        return cls(
            Path(tempfile.gettempdir()) / f"tier0-{os.urandom(5).hex()}", keep=keep, controller=controller
        ).open()

    def open(self) -> Workspace:
        """Make the folder, unless another process that shares it was first, and have it guarded."""
        if not self.keep:
            controller = [] if self.controller is None else [self.controller]
            self._guard = start_guard(
                self.watch, *controller, remove=[str(self.path)], kill=[os.getpid()] if controller else []
            )
        self.path.mkdir(mode=0o700, exist_ok=self.watch != os.getpid())
        found = self.path.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Tier0Error(
                f"{self.path} is not ours alone (owner {found.st_uid}, mode {found.st_mode & 0o777:o}): nothing in it is to be trusted"
            )
        return self

    @property
    def store(self) -> Path:
        """The BentoML home of this run, which holds the models that it registered."""
        return self.path / "store"

    def folder(self, name: str) -> Path:
        """Make a new folder, numbered so that it is this process' own."""
        path = self.path / f"{name}{os.getpid()}-{next(self._numbers)}"
        path.mkdir()
        return path

    def close(self) -> None:
        """Delete the folder, unless it is to be kept or still shared."""
        if self.keep or self.watch != os.getpid():
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self._guard is not None:
            self._guard.terminate()
            self._guard.wait()
