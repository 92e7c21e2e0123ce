r"""Text of others on its way to an output: one function for each medium.

What a service, a client, a file or a log contains is data. It must not move the cursor of a terminal, be a
command to a CI system, be markup in a report, look like another text, or be of any length. What is readable
stays as it is; what is invisible is shown as an escape such as ``\u001b`` or ``\u202e``. Colours (SGR
sequences) are removed, so that a coloured log stays readable.

Secrets are hidden after invisible characters have been replaced, and before a text is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

Hide = Callable[[Any], Any]
"""A function that removes secrets from a text, or from JSON types, such as `Secrets.hide`."""
MAX_TEXT = 20_000
"""Maximum number of characters of a text with several lines; its end is shown, too."""
MAX_LINE = 2_000
"""Maximum number of characters of a text on one line."""
MAX_MARKDOWN = 600
"""Maximum number of characters of a text in a summary for a pull request."""
LAST_OF_FOUR = 0xFFFF
"""The last character whose number is written with four digits, as in TOML, JSON and Python."""
MAX_DEPTH = 50
"""Maximum depth of a structure in a report."""

_EMOJI = "\u2122-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_JOINING = "\u0620-\u070e\u0710-\u18af"
"""Letters from Arabic to Mongolian, among which a joiner changes how a word is written."""
_KEPT = (
    f"(?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])"  # within a word
    f"|(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])"  # an emoji that is made of several
    f"|(?<=[{_EMOJI}\xa9\xae\u203c\u2049])[\ufe0e\ufe0f]"  # an emoji, or a sign, in text
    "|(?<=[0-9#*])\ufe0f(?=\u20e3)"  # the emoji of a key
    "|(?<=[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\ufe00-\ufe02\U000e0100-\U000e01ef]"  # of a name
    "|(?<=\U0001f3f4)\U000e0067\U000e0062[\U000e0061-\U000e007a]{3}\U000e007f"  # the flags of Britain
)
_DROPPED = "(?:\x1b\\[|\x9b)[0-9;:]*m|\r(?=\n)"
"""Colours, and the first half of the line ends of Windows."""
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufdd0-\ufdef\ud800-\udfff"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
)
_UNSEEN = re.compile(f"(?P<kept>{_KEPT})|(?P<dropped>{_DROPPED})|[{_INVISIBLE}]")
_COMMAND = re.compile(r"^[^\S\n]*(?=::)", re.MULTILINE)
"""Start of a line that GitHub would take for a workflow command; it skips white space before it."""
_OLD_COMMAND = re.compile(r"##(?=\w*\[)")
"""Start of a command of Azure Pipelines, TeamCity, or GitHub's first form, which are found within a line."""
_WORD = re.compile(r"[^\s|`<>]+")
_PUNCTUATION = "()[]{}'\".,;:!?"
"""Characters that begin or end a word without being part of an address."""
_ACTIVE = re.compile(r"://|www\.|@|#\d", re.IGNORECASE)
"""Part of a word that GitHub turns into a link or a notification, although it is not written as a link."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MARKUP = re.compile(r"[\\`*_\[\]<>|#~&$]|^(?:[-+=:]|\d+(?=[.)]))")


def _unchanged(value: Any) -> Any:
    return value


def text_of(value: object, form: Callable[[object], str] = str) -> str:
    """Return the text of a value of others, or the name of its type if its own code cannot give one.

    Args:
        value: a value or an exception of a client or a model.
        form: `str` or `repr`.
    """
    try:
        return form(value)
    except Exception:  # noqa: BLE001 - the code of others may raise anything
        return f"<{type(value).__name__}, whose text cannot be read>"


def visible(text: str) -> str:
    """Return *text* without control characters, escape sequences and invisible characters.

    Line breaks and tabs stay, and so do the joiners and variants that letters and emoji are made of.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    if found["kept"]:
        return found[0]
    return "" if found["dropped"] else _number(found[0])


def _number(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) <= LAST_OF_FOUR else f"\\U{ord(letter):08x}"


def terminal(text: str, hide: Hide = _unchanged, limit: int = MAX_TEXT) -> str:
    """Return *text* for a terminal, the log of a CI job, or pytest's report, also as JUnit XML.

    No line of it is a workflow command.
    """
    return _without_commands(_cut(hide(visible(text)), limit, "\n"))


def line(text: str, hide: Hide = _unchanged, limit: int = MAX_LINE) -> str:
    """Return *text* for one line of a terminal or a file."""
    return _without_commands(_cut(_flat(hide(visible(text))), limit, " "))


def _flat(text: str) -> str:
    return re.sub(r"[ \t]*\n[ \t\n]*|\t", " ", text.strip("\n"))


def _without_commands(text: str) -> str:
    return _OLD_COMMAND.sub(r"#\\#", _COMMAND.sub(r"\g<0>\\", text))


def _cut(text: str, limit: int, separator: str) -> str:
    """Return the start and the end of a text that is too long, and the number of characters between them."""
    if len(text) <= limit:
        return text
    end = limit // 4
    note = f"… {len(text) - limit} characters left out …"
    return separator.join([text[: limit - end], note, text[len(text) - end :]])


def markdown(text: str, limit: int = MAX_MARKDOWN) -> str:
    """Return *text* for Markdown on one line, also in a table.

    Addresses and names that GitHub would link become code.
    """
    flat = _cut(_flat(visible(text)).strip(), limit, " ")
    parts, end = [], 0
    for word in _WORD.finditer(flat):
        if not _ACTIVE.search(active := word[0].strip(_PUNCTUATION)):
            continue
        start = flat.index(active, word.start())
        parts += [_escaped(flat[end:start], at_start=end == 0), f"`{_without_commands(active)}`"]
        end = start + len(active)
    return "".join([*parts, _escaped(flat[end:], at_start=end == 0)])


def _escaped(text: str, *, at_start: bool) -> str:
    def escape_it(found: re.Match[str]) -> str:
        if not at_start and found.start() == 0 and found[0] not in "\\`*_[]<>|#~&$":
            return found[0]
        return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"

    return _MARKUP.sub(escape_it, text)


def markdown_code(text: str, limit: int = MAX_LINE) -> str:
    """Return *text* as code on one line of Markdown, also with backticks; not for use in a table."""
    flat = _without_commands(_cut(_flat(visible(text)), limit, " ").strip())
    if not flat:
        return ""
    fence = "`" * (1 + max(map(len, re.findall("`+", flat)), default=0))
    return f"{fence} {flat} {fence}" if "`" in flat else f"`{flat}`"


def github_annotation(level: str, title: str, text: str) -> str:
    """Return a workflow command that shows *text* beside the job on GitHub; print it on a line of its own.

    Args:
        level: ``error``, ``warning`` or ``notice``.
        title: heading of the annotation.
        text: its text, also with several lines.
    """
    shown = _cut(visible(text), MAX_LINE, "\n").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    heading = _cut(_flat(visible(title)), MAX_MARKDOWN, " ")
    for letter in "%\r\n:,":
        heading = heading.replace(letter, f"%{ord(letter):02X}")
    return f"::{level} title={heading}::{shown}"


def toml(text: str) -> str:
    """Return *text* as a string of TOML, which stays the same text for a reader of TOML."""

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found["kept"] else _number(found[0][0]) + found[0][1:]

    return _OLD_COMMAND.sub(r"#\\u0023", _UNSEEN.sub(escaped, json.dumps(text, ensure_ascii=False)))


def toml_key(name: str) -> str:
    """Return a name as a key of TOML."""
    return name if _BARE_KEY.fullmatch(name) else toml(name)


def html(text: str) -> str:
    """Return *text* for an element or a quoted attribute of HTML or SVG."""
    return escape(_cut(visible(text), MAX_TEXT, "\n"))


def as_json(value: Any, hide: Hide = _unchanged) -> Any:
    """Return *value* as JSON types, each text in it visible and not too long.

    Args:
        value: any value; other types than those of JSON become text.
        hide: removes secrets from JSON types.
    """
    return _each_text(hide(_as_types(value, MAX_DEPTH)))


def _as_types(value: Any, depth: int) -> Any:
    if value is None or type(value) in {bool, int, float}:
        return value
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        items = ((name if isinstance(name, str) else str(name), item) for name, item in value.items())
        return {visible(name): _as_types(item, depth - 1) for name, item in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_as_types(item, depth - 1) for item in value]
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:  # a scalar of numpy
        return _as_types(item(), depth - 1)
    return visible(value if isinstance(value, str) else text_of(value))


def _each_text(value: Any) -> Any:
    """Return JSON types with each text cut."""
    if isinstance(value, str):
        return _cut(value, MAX_TEXT, "\n")
    if isinstance(value, dict):
        return {_each_text(name): _each_text(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_each_text(item) for item in value]
    return value
