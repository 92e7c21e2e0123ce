"""Duration of `pytest -m tier0_bentoml` for one model, compared with a straightforward version of that work.

Both run the same three test files, in turn, in separate processes. Target: at most 0.6 of the peer's time,
ideally 0.5.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ("test_health.py", "test_predictions.py", "test_circuit_breaker.py")
RUNS = int(os.environ.get("RUNS", "5"))


def main() -> None:
    """Print the durations of both, and their ratios pair by pair."""
    with tempfile.TemporaryDirectory() as name:
        folders = {"tier0": Path(name) / "tier0", "straightforward": Path(name) / "straightforward"}
        for peer, folder in folders.items():
            folder.mkdir()
            for test in TESTS:
                shutil.copy(ROOT / "tests" / "e2e" / test, folder)
            conftest = ROOT / "benchmarks" / "straightforward" / "conftest.py"
            (folder / "conftest.py").write_text(
                conftest.read_text(encoding="utf-8")
                if peer == "straightforward"
                else 'pytest_plugins = ["tier0.pytest_plugin"]\n',
                encoding="utf-8",
            )
        for folder in folders.values():
            seconds(folder)  # warms the caches of the disk and of Python
        pairs = [{peer: seconds(folder) for peer, folder in folders.items()} for _ in range(RUNS)]
    print(f"{'':16}{'min':>8}{'median':>8}{'max':>8}")
    for peer in folders:
        print_row(peer, [pair[peer] for pair in pairs])
    print_row("ratio", [pair["tier0"] / pair["straightforward"] for pair in pairs])


def seconds(folder: Path) -> float:
    """Run the tests in *folder*, and return the wall time of the process in seconds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    disabled = ["-p", "no:opik", "-p", "no:hypothesispytest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *disabled, "-m", "tier0_bentoml"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return elapsed


def print_row(name: str, values: list[float]) -> None:
    """Print one row of the table."""
    print(f"{name:16}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")


if __name__ == "__main__":
    main()
