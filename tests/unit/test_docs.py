"""What the documentation says is true: pages that are made are what makes them, and snippets run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(?:python|toml)\n# (\S+\.(?:py|toml))\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("page", "made_by"),
    [
        ("settings.md", ["docs/settings.py"]),
        ("client-checks.md", ["-m", "tier0.cli", "check-client", "--list"]),
    ],
)
def test_a_page_that_is_made_is_what_makes_it(page: str, made_by: list[str]) -> None:
    assert run(*made_by).stdout.strip() in (DOCS / page).read_text(encoding="utf-8"), f"make it again: {' '.join(made_by)}"


def write_files(page: str, folder: Path) -> None:
    """Write the files of a page's snippets; each begins with a comment that holds its name, and may come in parts."""
    files: dict[str, str] = defaultdict(str)
    for name, content in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        files[name] += content
    assert files
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("client", "declaration"),
    [("Adapter", "client.toml"), ("with_httpx", "client.toml"), ("with_requests", "client.toml"), ("of_bentoml", "bentoml.toml")],
)
def test_the_adapters_of_the_documentation_are_judged(tmp_path: Path, client: str, declaration: str) -> None:
    write_files("check-client.md", tmp_path)

    done = run("-m", "tier0.cli", "check-client", f"adapters:{client}", "--declare", declaration, "--only", "wire,hygiene.one_slash", folder=tmp_path)

    assert re.search(r"holds +wire.one_request", done.stdout), done.stdout + done.stderr
    assert done.returncode in {0, 1}, done.stdout + done.stderr


def test_the_study_of_the_documentation_fits_the_patients(tmp_path: Path) -> None:
    write_files("run.md", tmp_path)

    done = run("-m", "tier0.cli", "run", "--study", "study.toml", "--step", "1-3", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "left after: seen by a professional" in done.stdout


def test_the_tests_of_the_documentation_run(tmp_path: Path) -> None:
    write_files("check-client.md", tmp_path)
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", (DOCS / "faults.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "test_faults.py").write_text(snippet, encoding="utf-8")

    done = run("-m", "pytest", "-p", "no:cacheprovider", "-q", "test_client.py", "test_faults.py", folder=tmp_path)

    assert re.search(r"1 failed, 5 passed, 3 skipped", done.stdout), done.stdout + done.stderr
    assert "deadline.dripping_body" in done.stdout
