from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pytest_run import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    folder, tmp = tmp_path / "project", tmp_path / "t"
    folder.mkdir()
    tmp.mkdir()
    run = Run(folder, tmp)
    yield run
    for process in run.processes():
        process.kill()
    if run.process is not None:
        run.process.wait()
