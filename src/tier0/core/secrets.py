"""What no report, log or message may show: secrets of the environment, and of headers that were given."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

SECRET_NAME = re.compile(r"token|secret|passw|passphrase|credential|api_?key|access_?key|private_?key|(?:^|_)(?:key|pwd|auth|dsn)$", re.IGNORECASE)
IN_A_URL = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
SHORTEST = 6
"""Characters. Something shorter, such as ``true``, stands in too many places that are no secret."""
LONG_LINE = 16
"""Characters of a line of a secret of several lines, such as a key in PEM, from which it is hidden by itself."""


class Secrets:
    """Finds secrets in text, and puts their names in their place.

    Args:
        environ: variables whose name says that they are secret, and passwords within URLs.
        headers: all of their values, and the words of those that have some, such as ``Bearer …``.
    """

    def __init__(self, environ: Mapping[str, str], headers: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._headers = headers or {}

    @cached_property
    def _names(self) -> dict[str, str]:
        """Every form of every secret, the longest first, and what is shown in its place."""
        forms: dict[str, str] = {}
        for name, value in self._found():
            for part in (value, *(line.strip() for line in value.splitlines() if len(line.strip()) >= LONG_LINE)):
                for form in (part, json.dumps(part)[1:-1], quote(part, safe="")):
                    if len(form) >= SHORTEST:
                        forms.setdefault(form, f"({name} hidden)")
        return dict(sorted(forms.items(), key=lambda form: -len(form[0])))

    def _found(self) -> Iterator[tuple[str, str]]:
        for name, value in self._environ.items():
            if SECRET_NAME.search(name) and not os.path.exists(value):  # noqa: PTH110 - any text, also what no path may hold
                yield name, value
            for password in IN_A_URL.findall(value):
                yield f"password of {name}", password
        for name, value in self._headers.items():
            yield name, value
            yield from ((name, word) for word in value.split()[1:])

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self._names))) if self._names else None

    def hide(self, value: Any) -> Any:
        """Return *value* without secrets: text, or lists, tuples and mappings of it; anything else as it is."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self._pattern.sub(lambda found: self._names[found[0]], value)
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide(item) for item in value]
        return value
