"""Training the zoo's models in one process, and starting its server like a user's own service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support import ROOT, SOURCE
from tier0.core.child_environment import NO_TELEMETRY, ONE_THREAD
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

ZOO = ROOT / "tests" / "defects" / "zoo"


@dataclass(frozen=True)
class Trained:
    """Results of the training: golden rows from memory, and a store."""

    folder: Path

    @property
    def store(self) -> Path:
        """The BentoML home."""
        return self.folder / "store"

    @property
    def saved(self) -> dict[str, str]:
        """Tags by the keys under which they were saved."""
        found: dict[str, str] = json.loads((self.folder / "saved.json").read_text(encoding="utf-8"))
        return found

    def golden(self, name: str) -> GoldenRows:
        """Return the golden rows of the model with this name."""
        return GoldenRows.read(self.folder / f"{name}.json")


@contextmanager
def trained() -> Iterator[Trained]:
    """Train and save the zoo's models in a separate process."""
    folder = Path(tempfile.mkdtemp(prefix="tier0-zoo-"))
    environment = {
        **os.environ,
        **NO_TELEMETRY,
        **ONE_THREAD,
        "BENTOML_HOME": str(folder / "store"),
        "PYTHONPATH": str(SOURCE),
    }
    try:
        command = [sys.executable, "-W", "ignore", str(ZOO / "train.py"), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield Trained(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def served(zoo: Trained) -> Iterator[Deployment]:
    """Start the zoo's server with the whole store as its home: several defects concern the choice of a model.

    Another command `bentoml` comes first on PATH meanwhile (PKG05).
    """
    impostor = zoo.folder / "bin" / "bentoml"
    impostor.parent.mkdir(exist_ok=True)
    impostor.write_text("#!/bin/sh\nexit 99\n", encoding="utf-8")
    impostor.chmod(0o700)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{impostor.parent}:{path}"
    try:
        deployment = Deployment.from_service(f"{ZOO / 'service.py'}:Zoo", store=zoo.store, startup_timeout=90)
    finally:
        os.environ["PATH"] = path
    with deployment:
        yield deployment


def case_in(deployment: Deployment, zoo: Trained, case: Any) -> Deployment:
    """Return one deployment of the zoo."""
    tag = None if case.tag is None else zoo.saved[case.tag]
    return replace(
        deployment, golden=zoo.golden(case.golden), tag=tag, contract=case.declared, disturb=case.disturb
    )
