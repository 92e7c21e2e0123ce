from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_settings_page_is_the_table_of_settings() -> None:
    printed = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "settings.py")], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True
    ).stdout

    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == printed, "run: python docs/settings.py > docs/settings.md"
