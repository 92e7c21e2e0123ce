"""Importing what a user names: ``module:name``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tier0.core.errors import Tier0Error


def import_named(setting: str, named: str, what: str) -> Any:
    """Return what *named*, ``module:name``, stands for.

    Args:
        setting: the option that holds it, for messages.
        named: as the user wrote it.
        what: it should be, for messages.

    Raises:
        Tier0Error: it is no such name, or cannot be imported.
    """
    module, colon, name = named.partition(":")
    if not colon or not all(map(str.isidentifier, [*module.split("."), name])):
        raise Tier0Error(f"{setting} = {named!r}: give module:name, {what}")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as problem:
        raise Tier0Error(
            f"{setting} = {named!r} cannot be imported: {problem}. Is its folder on PYTHONPATH?"
        ) from problem
    except (Exception, SystemExit) as problem:
        raise Tier0Error(
            f"{setting} = {named!r} cannot be imported: its module raised {type(problem).__name__}: {problem}"
        ) from problem
