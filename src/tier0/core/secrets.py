"""What no report, log or message may show: secrets of the environment, and of headers that were given."""

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
"""Characters. Something shorter, such as ``true``, stands in too many places that are no secret."""
TELLING = 12
"""Characters at the start or the end of a secret by which it is known where a message was cut off in the middle of it."""
LONG_LINE = 16
"""Characters of a line of a secret of several lines, such as a key in PEM, from which it is hidden by itself."""


class Secrets:
    """Finds secrets in text, and puts their names in their place.

    Args:
        environ: variables whose name says that they are secret, and what stands before the @ of a URL; read anew whenever it changes.
        headers: all of their values, and the words of those that have some, such as ``Bearer …``.
    """

    def __init__(self, environ: Mapping[str, str], headers: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._headers = headers or {}
        self._read: tuple[tuple[str, str], ...] | None = None
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def hide(self, value: Any) -> Any:
        """Return *value* without secrets: text, or lists, tuples and mappings of it; anything else as it is."""
        now = tuple(self._environ.items())
        if now != self._read:
            self._read = now
            self._names = self._forms()
            self._pattern = re.compile("|".join(map(re.escape, self._names))) if self._names else None
        return value if self._pattern is None else self._hidden(value, self._pattern)

    def _hidden(self, value: Any, pattern: re.Pattern[str]) -> Any:
        if isinstance(value, str):
            return self._without_cut(pattern.sub(lambda found: self._names[found[0]], value))
        if isinstance(value, Mapping):
            return {self._hidden(key, pattern): self._hidden(item, pattern) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hidden(item, pattern) for item in value]
        return value

    def _without_cut(self, text: str) -> str:
        """Hide what is left of a secret where a text was cut off within it."""
        for form, name in self._names.items():
            if len(form) <= TELLING:
                continue
            start = 0
            while (start := text.find(form[:TELLING], start)) >= 0:
                text = text[:start] + name + text[start + _alike(form, text[start:]) :]
                start += len(name)
            end = len(text)
            while (found := text.rfind(form[-TELLING:], 0, end)) >= 0:
                end = found + TELLING
                length = _alike(form[::-1], text[:end][::-1])
                text = text[: end - length] + name + text[end:]
                end -= length
        return text

    def _forms(self) -> dict[str, str]:
        """Return every form of every secret, the longest first, and what is shown in its place."""
        forms: dict[str, str] = {}
        for name, value in self._found():
            for part in (
                value,
                *(line.strip() for line in value.splitlines() if len(line.strip()) >= LONG_LINE),
            ):
                for form in (
                    part,
                    json.dumps(part)[1:-1],
                    repr(part)[1:-1],
                    quote(part, safe=""),
                    unquote(part),
                ):
                    if len(form) >= MIN_LENGTH:
                        forms.setdefault(form, f"({name} hidden)")
        return dict(sorted(forms.items(), key=lambda form: -len(form[0])))

    def _found(self) -> Iterator[tuple[str, str]]:
        for name, value in self._environ.items():
            if SECRET_NAME.search(name) and not (os.path.isabs(value) and os.path.exists(value)):  # noqa: PTH110, PTH117 - any text
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


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their start."""
    return next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
