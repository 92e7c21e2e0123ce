"""What the pages of the documentation tell a reader to run, taken from their fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from tests.support import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\S+\.(?:py|toml|yml|yaml|ini))\n")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


class Command(NamedTuple):
    """A line that a reader types, and the lines that are shown as its answer."""

    text: str
    shown: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """Without the comment behind it, on one line."""
        return re.sub(r"\s+", " ", re.sub(r"\s{2,}# .*", "", self.text.replace("\\\n", " "))).strip()


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is, by its first line."""
        named = NAMED.match(self.text)
        return named[1] if named else None

    def commands(self) -> list[Command]:
        """What a shell is told in it: all of a console, the steps of a workflow."""
        if self.language == "console":
            return list(_typed(self.text))
        if self.language == "yaml":
            return [Command(line) for line in _steps(yaml.safe_load(self.text))]
        return []


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(language, text) for language, text in FENCE.findall(page.read_text(encoding="utf-8"))]


def inline_commands(page: Path) -> list[str]:
    """Commands that stand within a sentence."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [span for span in INLINE.findall(prose) if re.match(r"(tier0|pytest) ", span)]


def _typed(text: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        length = next(number for number, line in enumerate(lines, 1) if not line.endswith("\\"))
        yield Command("\n".join(lines[:length]), tuple(line for line in lines[length:] if line.strip()))


def _steps(workflow: Any) -> Iterator[str]:
    """The shell commands of a GitHub workflow or a GitLab pipeline, in the order in which they are run."""
    if isinstance(workflow, dict):
        for key, value in workflow.items():
            if key == "run":
                yield from value.splitlines()
            elif key in {"script", "before_script"}:
                yield from value
            else:
                yield from _steps(value)
    elif isinstance(workflow, list):
        for value in workflow:
            yield from _steps(value)
