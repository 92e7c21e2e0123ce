"""Reader of the TOML files that users write, each with a schema number."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error


def read_document(path: Path, what: str, schema: int, error: type[Tier0Error]) -> dict[str, Any]:
    """Return the content of a TOML file, without its schema number.

    Args:
        path: file to read.
        what: name of the content for messages, such as ``the contract``.
        schema: required schema number.
        error: class of the error to raise.

    Raises:
        Tier0Error: an *error*: the file cannot be read, is not TOML, or has another schema number.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{what} {path} cannot be read: {problem}") from problem
    if (found := document.pop("schema", None)) != schema:
        raise error(f"{what} {path} must have schema = {schema}, got {found!r}")
    return document
