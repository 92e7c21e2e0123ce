"""Steps 4 and 5 on a real Dask cluster of two worker processes have the same results as in one process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0
pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]
OPTIONS = ["--step", "4,5", "--dataset", "wine", "--algorithms", "linear,xgboost", "--hpo-trials", "6"]


def start(stack: ExitStack, log: Path, *arguments: str, python_path: str) -> None:
    environment = {**os.environ, "PYTHONPATH": python_path, "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, stdout=output, stderr=output, cwd=log.parent
        )
    stack.callback(process.wait)
    stack.callback(process.kill)


def wait_for_line(log: Path, pattern: str) -> re.Match[str]:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text(encoding="utf-8")):
            return found
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler that has no workers."""
    pytest.importorskip("distributed")
    log = tmp_path_factory.mktemp("dask") / "scheduler.log"
    with ExitStack() as stack:
        start(
            stack,
            log,
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            python_path=str(ROOT / "src"),
        )
        yield wait_for_line(log, r"Scheduler at: +(tcp://127\.0\.0\.1:\d+)")[1]


def start_workers(
    stack: ExitStack, scheduler: str, folder: Path, number: int, python_path: str = str(ROOT / "src")
) -> None:
    worker = [
        "distributed.cli.dask_worker",
        scheduler,
        "--host",
        "127.0.0.1",
        "--nthreads",
        "1",
        "--no-dashboard",
        "--no-nanny",
    ]
    for one in range(number):
        start(
            stack,
            folder / f"worker{one}.log",
            *worker,
            "--local-directory",
            str(folder),
            python_path=python_path,
        )
    for one in range(number):
        wait_for_line(folder / f"worker{one}.log", "Registered to")


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "tier0.cli", "run", "--output-dir", str(folder / "runs"), *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def outcome(report: Path) -> dict[str, Any]:
    done = json.loads(report.read_text(encoding="utf-8"))["done"]
    chosen, trained = done["selection"]["facts"], done["training"]["facts"]
    scores = {one["algorithm"]: (one["mean"], one["spread"]) for one in chosen["scores"]}
    return {
        "scores": scores,
        **{name: trained[name] for name in ("algorithm", "parameters", "validation_score", "metrics")},
    }


@pytest.mark.slow
def test_two_workers_have_the_results_of_one_process(scheduler: str, tmp_path: Path) -> None:
    from distributed import Client

    local = run(tmp_path, *OPTIONS, "--json", str(tmp_path / "local.json"))
    with ExitStack() as stack:
        start_workers(stack, scheduler, tmp_path, 2)
        on_cluster = run(tmp_path, *OPTIONS, "--dask", scheduler, "--json", str(tmp_path / "cluster.json"))
        with Client(scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            fits = client.run(lambda dask_worker: dask_worker.state.executed_count)

    assert (local[0], on_cluster[0]) == (0, 0), (local[1], on_cluster[1])
    assert len(fits) == 2
    assert all(fits.values()), fits
    assert outcome(tmp_path / "local.json") == outcome(tmp_path / "cluster.json")


def test_a_cluster_without_workers_is_rejected(scheduler: str, tmp_path: Path) -> None:
    status, output = run(tmp_path, *OPTIONS, "--dask", scheduler)

    assert status == 2, output
    assert f"dask worker {scheduler}" in output
    assert not (tmp_path / "runs").exists()


def test_workers_with_another_version_are_rejected(scheduler: str, tmp_path: Path) -> None:
    other = tmp_path / "other" / "numpy-0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n", encoding="utf-8")
    with ExitStack() as stack:
        start_workers(stack, scheduler, tmp_path, 1, f"{other.parent}{os.pathsep}{ROOT / 'src'}")
        status, output = run(tmp_path, *OPTIONS, "--dask", scheduler)

    assert status == 2, output
    assert re.search(r"tcp://127\.0\.0\.1:\d+ has numpy 0\.1", output), output


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "tcp://127.0.0.1:1"])
def test_an_address_without_a_scheduler_is_rejected(address: str, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    status, output = run(tmp_path, *OPTIONS, "--dask", address)

    assert status == 2, output
    assert "Dask scheduler" in output
    assert address in output
