"""The site of the documentation is built from these pages, and a link that leads nowhere is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support import ROOT

TOP = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


@pytest.mark.parametrize(
    ("links", "is_built"),
    [
        ("[changes](../CHANGELOG.md) and [one](other.md#a-section)", True),
        ("[one](missing.md)", False),
        ("[one](other.md#no-section)", False),
        ("[one](../MISSING.md)", False),
    ],
)
def test_a_link_holds_or_the_site_is_refused(tmp_path: Path, links: str, is_built: bool) -> None:  # noqa: FBT001
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# One\n\n{links}\n", encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## A section\n", encoding="utf-8")
    shutil.copy(ROOT / "docs" / "site.py", tmp_path / "docs")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in TOP:
        (tmp_path / name).write_text("# A page\n\n[one](docs/other.md)\n", encoding="utf-8")
    small = {
        **settings,
        "plugins": [],
        "nav": ["index.md", "other.md", *TOP],
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(small), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=tmp_path,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) is is_built, done.stdout + done.stderr
