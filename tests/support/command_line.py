"""The command line in a process of its own, from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import SOURCE


def run_cli(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``tier0`` with *arguments* until it ends, and return its exit status and output."""
    return subprocess.run(
        [sys.executable, "-m", "tier0.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},  # a checkout need not be installed
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
