"""Removal of secrets from reports, logs and messages: values of the environment and of the user's headers."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

SECRET_NAME = re.compile(
    r"token|secret|passw|passphrase|credential|api_?key|access_?key|private_?key|(?:^|_)(?:key|pwd|auth|dsn)$",
    re.IGNORECASE,
)
IN_A_URL = re.compile(r"://([^/\s:@]*)(?::(\S*))?@")
MIN_LENGTH = 6
"""Minimum length of a secret; a shorter value, such as ``true``, also occurs where it is not a secret."""
MIN_FRAGMENT = 12
"""Minimum length of the start or end of a secret that is recognized in a truncated message."""
MIN_LINE = 16
"""Minimum length of a line of a multi-line secret, such as a PEM key, that is also hidden by itself."""


class Secrets:
    """Replacement of secrets in text by their names.

    Secrets are the values of environment variables with a secret's name, user information in URLs, and the
    values of headers and their words after the first, such as the token in ``Bearer …``.

    Args:
        environ: environment variables; changes are noticed.
        headers: request headers of the user.
    """

    def __init__(self, environ: Mapping[str, str], headers: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._headers = headers or {}
        self._read: tuple[tuple[str, str], ...] | None = None
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def hide(self, value: Any) -> Any:
        """Return *value*, text or nested lists, tuples and mappings of text, without secrets."""
        current = tuple(self._environ.items())
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
            if len(form) <= MIN_FRAGMENT:
                continue
            text = _without_ends(_without_starts(text, form, name), form, name)
        return text

    def _forms(self) -> dict[str, str]:
        """Return every spelling of every secret, the longest first, with its replacement."""
        forms: dict[str, str] = {}
        for name, value in self._found():
            lines = [line.strip() for line in value.splitlines()]
            for part in (value, *(line for line in lines if len(line) >= MIN_LINE)):
                as_json, as_python = json.dumps(part)[1:-1], repr(part)[1:-1]
                for form in (part, as_json, as_python, quote(part, safe=""), unquote(part)):
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
                    yield f"password of {name}", password
                    yield f"password of {name}", base64.b64encode(f"{user}:{password}".encode()).decode()
                else:
                    yield f"user of {name}", user
        for name, value in self._headers.items():
            yield name, value
            yield from ((name, word) for word in value.split()[1:])


def _without_starts(text: str, secret: str, name: str) -> str:
    """Replace the start of a secret, wherever it is in a text."""
    kept: list[str] = []
    end = 0
    while (start := text.find(secret[:MIN_FRAGMENT], end)) >= 0:
        kept += [text[end:start], name]
        end = start + _common_prefix_length(secret, text[start : start + len(secret)])
    return "".join([*kept, text[end:]])


def _without_ends(text: str, secret: str, name: str) -> str:
    """Replace the end of a secret, wherever it is in a text."""
    kept: list[str] = []
    start = len(text)
    while (found := text.rfind(secret[-MIN_FRAGMENT:], 0, start)) >= 0:
        end = found + MIN_FRAGMENT
        kept += [text[end:start], name]
        start = end - _common_prefix_length(secret[::-1], text[max(0, end - len(secret)) : end][::-1])
    return "".join([text[:start], *reversed(kept)])


def _common_prefix_length(first: str, second: str) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))
