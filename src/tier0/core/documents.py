"""Reader of the TOML files that users write, each with a schema number."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error, reason_of
from tier0.core.fields import shown
from tier0.core.named_file import MIB, read_text

MAX_BYTES = 4 * MIB
"""Size of a file that a person writes."""


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
        document = tomllib.loads(read_text(path, max_bytes=MAX_BYTES))
    except RecursionError:
        raise error(f"{what} {path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as problem:
        raise error(f"{what} {path} cannot be read: {reason_of(problem)}") from problem
    if "schema" not in document:
        raise error(f"{what} {path} has no schema number: add the line schema = {schema} before all others")
    if type(found := document.pop("schema")) is not int or found != schema:
        raise error(f"{what} {path} must have schema = {schema}, got {shown(found)}")
    return document
