"""Worker processes: what their parent learns when they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tier0.core.errors import Tier0Error
from tier0.core.worker_process import WorkerProcess


def worker(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> WorkerProcess:
    (folder / "project").mkdir()
    (folder / "project" / "works.py").write_text(f"def prepare():\n    {lines}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder / "project"))
    return WorkerProcess("works", folder)


@pytest.mark.parametrize(
    ("lines", "reported"),
    [
        ("raise ValueError('unusable')", "ValueError: unusable"),
        ("raise ModuleNotFoundError(name='mlflow')", r"pytest-tier0\[pipeline\]"),
        ("import os; os.write(2, b'last words'); os._exit(3)", "status 3: last words"),
    ],
)
def test_a_worker_that_ended_before_its_task_reports_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, reported: str
) -> None:
    process = worker(tmp_path, monkeypatch, lines)
    process._process.wait(60)

    with pytest.raises(Tier0Error, match=reported):
        process.execute({"number": 1})


def test_a_worker_that_takes_too_long_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = worker(tmp_path, monkeypatch, "import threading; threading.Event().wait()")

    with pytest.raises(Tier0Error, match=r"within 0\.1 s"):
        process.execute({}, timeout=0.1)

    assert process._process.returncode is not None
