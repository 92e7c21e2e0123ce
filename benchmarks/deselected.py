"""Overhead of the plugin for a run that does not use it: `pytest -m "not tier0_bentoml"` with and without it.

Target: no difference above the noise. The second table is the import alone, for which the budget is 5 ms.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = int(os.environ.get("RUNS", "15"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)  # users have compiled files
IMPORT = """
import importlib, sys, time, pytest
start = time.perf_counter(); importlib.import_module("{module}"); print((time.perf_counter() - start) * 1000)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_many.py").write_text(
            "import pytest\n@pytest.mark.parametrize('n', range(200))\ndef test_it(n):\n    pass\n",
            encoding="utf-8",
        )
        without = ["-m", "not tier0_bentoml"]
        with_plugin = ["-p", "tier0.pytest_plugin", *without]
        pairs = [(seconds(folder, with_plugin), seconds(folder, without)) for _ in range(RUNS + 1)][1:]
    print(f"{'a run, seconds':28}{'min':>8}{'median':>8}{'max':>8}")
    print_row("with the plugin", [pair[0] for pair in pairs])
    print_row("without", [pair[1] for pair in pairs])
    print_row("ratio", [pair[0] / pair[1] for pair in pairs])
    print(f"{'an import, milliseconds':28}{'min':>8}{'median':>8}{'max':>8}")
    print_row("tier0.pytest_plugin", [milliseconds("tier0.pytest_plugin") for _ in range(RUNS + 1)][1:])
    print_row("xdist.plugin, as a peer", [milliseconds("xdist.plugin") for _ in range(RUNS)])


def seconds(folder: Path, arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - start


def milliseconds(module: str) -> float:
    command = [sys.executable, "-c", IMPORT.format(module=module)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_row(name: str, values: list[float]) -> None:
    print(f"{name:28}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")


if __name__ == "__main__":
    main()
