"""The project's texts are plain English: phrases that they once used, with what to write instead."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BANNED = {
    r"\b(whoever|nobody|somebody|anybody)\b": "the role: caller, client, load balancer, operator, user",
    r"(?<!there )\b(is|are) no (?!longer\b|more than\b|later\b|less\b)": "'must be …', 'is not a …'",
    r"\b(it|this|that|everything|what) (holds|does not hold)\b": "passed, failed",
    r"\bit broke\b|\b\d+ broke\b": "error",
    r"\b(was|is|are) told\b|\btold to\b|\btell whether\b": "reported, printed, returned; 'return whether'",
    r"\bwhat (is|was) (served|trained|asked|said)\b": "served model, trained model, request, message",
    r"\b(may|must) not? ?go\b(?! over| below| into| through| on)": "is accepted, is rejected",
    r"\banew\b": "again",
    r"\blikewise\b": "the noun that is meant",
    r"\bbelongs? into\b": "belongs in",
    r"\b(close|shut)s? the door\b|\bthe door\b": "open circuit, closed circuit",
    r"\bstands? in\b (?!for\b|the way\b|its place\b)": "is in",
}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MODULES = sorted((ROOT / "src").rglob("*.py"))
TEMPLATES = sorted(
    path for path in (ROOT / "src").rglob("*") if path.suffix in {".html", ".md", ".yaml", ".css"}
)


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of strings and comments of a module, or of the lines of a page."""
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(content.splitlines(), 1)
        return
    middle = getattr(tokenize, "FSTRING_MIDDLE", None)  # from Python 3.12 on, an f-string is several tokens
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT, middle}:
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def banned_in(text: str) -> list[str]:
    """Return what to write instead of each banned phrase in *text*."""
    found = ((re.search(pattern, text, re.IGNORECASE), advice) for pattern, advice in BANNED.items())
    return [f"{match[0]!r} → {advice}" for match, advice in found if match]


@pytest.mark.parametrize("path", [*MODULES, *PAGES, *TEMPLATES], ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_are_plain_english(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {advice}"
        for number, line in texts_of(path)
        for advice in banned_in(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "timeout = 'x' is no number of seconds",
        "/readyz says 503: whoever routes requests keeps them away",
        "what is served is not what was trained",
        "3 hold, 1 broke",
        "Tell whether the service is ready",
    ],
)
def test_the_former_voice_is_found(text: str) -> None:
    assert banned_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no folder at that path",
        "the run is no longer active",
        "served predictions differ from the trained model",
        "the caller waits until the circuit closes",
    ],
)
def test_plain_sentences_pass(text: str) -> None:
    assert not banned_in(text)
