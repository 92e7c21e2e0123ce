"""Run the eight steps from a checkout that is not installed: `tier0 run`, with the same options."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tier0.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:]])
