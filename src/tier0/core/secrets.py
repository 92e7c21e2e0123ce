"""Removal of secrets from reports, logs and messages: values of the environment and of the user's headers."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from tier0.core.display import visible

SECRET_NAME = re.compile(
    r"token|secret|passw|passphrase|credential|api_?key|access_?key|private_?key|(?:^|_)(?:key|pwd|auth|dsn)$",
    re.IGNORECASE,
)
IN_A_URL = re.compile(r"://([^/\s:@]*)(?::(\S*))?@")
MIN_LENGTH = 6
"""Minimum length of a secret; a shorter value, such as ``true``, also occurs where it is not a secret.

A password that is shorter is hidden together with its user name, as ``user:password``.
"""
MIN_FRAGMENT = 12
"""Minimum length of the start or end of a secret that is recognized in a truncated message.

Beside a mark of the truncation, `MIN_LENGTH` is enough.
"""
TRUNCATED = ("...", "…", " …", "\n…")
"""Marks of a truncated text, of pytest and of Tier0."""
MIN_CODE = 12
"""Minimum length of a secret that is recognized in base64 together with a text before it."""
MIN_LINE = 16
"""Minimum length of a line of a multi-line secret, such as a PEM key, that is also hidden by itself."""


class Secrets:
    """Replacement of secrets in text by their names.

    Secrets are the values of environment variables with a secret's name, user information in URLs, and the
    values of headers and their words after the first, such as the token in ``Bearer …``.

    Args:
        environ: environment variables; changes are noticed.
        headers: request headers of the user; changes are noticed.
    """

    def __init__(self, environ: Mapping[str, str], headers: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._headers = {} if headers is None else headers
        self._read: tuple[tuple[str, str], ...] | None = None
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def hide(self, value: Any) -> Any:
        """Return *value*, text or nested lists, tuples and mappings of text, without secrets."""
        current = (*self._environ.items(), *self._headers.items())
        if current != self._read:
            self._read = current
            self._names = self._forms()
            self._pattern = re.compile("|".join(map(re.escape, self._names))) if self._names else None
        return value if self._pattern is None else self._hidden(value, self._pattern)

    def _hidden(self, value: Any, pattern: re.Pattern[str]) -> Any:
        if isinstance(value, str):
            return self._without_fragments(pattern.sub(lambda found: self._names[found[0]], value))
        if isinstance(value, Mapping):
            return {self._hidden(key, pattern): self._hidden(item, pattern) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hidden(item, pattern) for item in value]
        return value

    def _without_fragments(self, text: str) -> str:
        """Hide the start or the end of a secret in a text that was truncated within it."""
        for form, name in self._names.items():
            if form[:MIN_LENGTH] in text:
                text = _without_starts(text, form, name)
            if form[-MIN_LENGTH:] in text:
                backwards = _without_starts(text[::-1], form[::-1], name[::-1])
                text = backwards[::-1]
        return text

    def _forms(self) -> dict[str, str]:
        """Return every spelling of every secret, the longest first, with its replacement."""
        forms: dict[str, str] = {}
        for name, value in self._found():
            lines = [line.strip() for line in value.splitlines()]
            for part in (value, *(line for line in lines if len(line) >= MIN_LINE)):
                if len(part) < MIN_LENGTH:
                    continue
                for form in _spellings(part):
                    if len(form) >= MIN_LENGTH:
                        forms.setdefault(form, f"({name} hidden)")
        return dict(sorted(forms.items(), key=lambda form: -len(form[0])))

    def _found(self) -> Iterator[tuple[str, str]]:
        for name, value in self._environ.items():
            is_path = os.path.isabs(value) and os.path.exists(value)  # noqa: PTH110, PTH117 - value is any text
            if SECRET_NAME.search(name) and not is_path:
                yield name, value
            for user, password in IN_A_URL.findall(value):
                if password:
                    yield from ((f"password of {name}", part) for part in (password, f"{user}:{password}"))
                else:
                    yield f"user of {name}", user
        for name, value in self._headers.items():
            yield name, value
            scheme, *words = value.split() or [""]
            yield from ((name, word) for word in words)
            if scheme.lower() == "basic":
                yield from ((name, part) for word in words for part in _user_and_password(word))


def _spellings(text: str) -> Iterator[str]:
    """Yield the forms in which software repeats a text."""
    encoded = text.encode("utf-8", "surrogatepass")
    yield text
    yield visible(text)
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    yield text.replace("'", "'\"'\"'")  # within the quotes of a shell command
    yield from (repr(text)[1:-1], repr(encoded)[2:-1], encoded.decode("latin-1"))
    yield from (escape(text, quote=False), escape(text))
    yield escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")  # as markupsafe does
    for quoted in (quote(encoded, safe=""), quote(encoded), quote_plus(encoded)):
        yield from (quoted, re.sub("%..", lambda code: code[0].lower(), quoted))
    yield unquote(text)
    yield from (encoded.hex(), encoded.hex().upper())
    yield from _in_base64(encoded)


def _in_base64(content: bytes) -> Iterator[str]:
    """Yield *content* in base64, also as a part of a longer text, such as ``user:password``."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield from (encode(content).decode(), encode(content).decode().rstrip("="))
        if len(content) < MIN_CODE:
            continue
        for before in range(3):  # the bytes of a text before it in the first group of three
            whole = len(content) - (len(content) + before) % 3  # the last group has other bytes, too
            first = -(-before * 8 // 6)
            yield encode(b" " * before + content[:whole]).decode().rstrip("=")[first:]


def _user_and_password(credentials: str) -> Iterator[str]:
    """Yield the parts of the credentials of a Basic header; none if they are not in base64."""
    try:
        decoded = base64.b64decode(credentials.replace("-", "+").replace("_", "/") + "==")
    except (binascii.Error, ValueError):
        return
    text = decoded.decode("utf-8", "surrogateescape")
    yield text
    yield from text.partition(":")[::2]


def _without_starts(text: str, form: str, name: str) -> str:
    """Hide the starts of *form*: long ones, and shorter ones at which the text was visibly truncated."""
    parts: list[str] = []
    done = at = 0
    while (at := text.find(form[:MIN_LENGTH], at)) >= 0:
        end = at + _common_prefix_length(form, text[at : at + len(form)])
        if end - at >= MIN_FRAGMENT or text.startswith(TRUNCATED, end):
            parts += [text[done:at], name]
            done = at = end
        else:
            at += 1
    return "".join([*parts, text[done:]])


def _common_prefix_length(first: str, second: str) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))


ENVIRONMENT = Secrets(os.environ)
"""The secrets in the environment of this process."""
