"""Import of objects that a user names as ``module:name``."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error


def import_named(setting: str, named: str, what: str) -> Any:
    """Return the object that *named* refers to.

    Args:
        setting: name of the option, for messages, without an article.
        named: value of the option, ``module:name``.
        what: description of the expected object, for messages, such as "a function that …".

    Raises:
        Tier0Error: the value does not have this form, or cannot be imported.
    """
    module, colon, name = named.partition(":")
    if module.endswith(".py") or "/" in module or os.sep in module:
        raise Tier0Error(f"invalid {setting} {named!r}: {_instead_of_a_path(module, name, what)}")
    if not colon or not all(map(str.isidentifier, [*module.split("."), name])):
        raise Tier0Error(f"invalid {setting} {named!r}: expected module:name of {what}")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as problem:
        is_missing = isinstance(problem, ModuleNotFoundError) and problem.name
        reason = f"module {problem.name!r} was not found" if is_missing else str(problem)
        raise Tier0Error(
            f"{setting} = {named!r} cannot be imported: {reason}. Check its spelling, and that the module's "
            "directory is on PYTHONPATH"
        ) from problem
    except (Exception, SystemExit) as problem:
        raise Tier0Error(
            f"{setting} = {named!r} cannot be imported: its module raised {type(problem).__name__}: {problem}"
        ) from problem


def _instead_of_a_path(path: str, name: str, what: str) -> str:
    """Return what to write in place of the path of a file."""
    file = Path(path)
    spelled = f"module:name of {what}"
    if not file.is_file():
        return f"expected {spelled}, got a path, and there is no such file"
    relative = Path(os.path.relpath(file)).with_suffix("")
    module = ".".join(relative.parts)
    if all(map(str.isidentifier, relative.parts)):
        return f"expected {spelled}, got a path. Write {module}:{name or 'NAME'}"
    return (
        f"expected {spelled}, got a path. Write {file.stem}:{name or 'NAME'}, and put the directory of the "
        f"file on PYTHONPATH: {file.absolute().parent}"
    )
