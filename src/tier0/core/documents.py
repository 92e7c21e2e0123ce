"""Reading the TOML files that users write: each says which schema it follows."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error


def read_document(path: Path, what: str, schema: int, error: type[Tier0Error]) -> dict[str, Any]:
    """Return what a TOML file holds, without its schema number.

    Args:
        path: of the file.
        what: it is, for messages: ``the contract``.
        schema: the number that it must have.
        error: what is raised.

    Raises:
        Tier0Error: of the kind *error*: it cannot be read, is no TOML, or has another schema number.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{what} {path} cannot be read: {problem}") from problem
    if (found := document.pop("schema", None)) != schema:
        raise error(f"{what} {path} has schema = {found!r}: write schema = {schema}")
    return document
