"""Hooks of ``mkdocs.yml``: pages of the top folder, links between both folders, the project's addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TOP_PAGES = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages that are not in docs/."""
LINK = re.compile(r"(?<=\]\()(\.\./|docs/)(?=[^):\s]+\))")


def on_config(config: Any) -> Any:
    """Take the addresses of the site and its source from pyproject.toml, once they are filled in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    urls = project.get("urls", {})
    config["site_url"] = urls.get("Documentation", "")
    config["repo_url"] = urls.get("Source")
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the top folder."""
    for name in TOP_PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to the same page, which is in one folder here; and a search find the changelog last."""
    if page.file.src_uri == "CHANGELOG.md":
        page.meta["search"] = {"boost": 0.1}
    return LINK.sub("", markdown)
