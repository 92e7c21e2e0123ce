"""Whether a loaded module is the user's own code, or a library that is installed in the environment.

Own code is pickled together with a model: a server that is started elsewhere, or a Bento, could not import
it. A library is pickled by reference. A user's project counts as a library if a copy of it was installed, but
not if it is installed in editable mode: its files are then still those that the user works on.
"""

from __future__ import annotations

import importlib.metadata
import os
import sysconfig
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

from tier0.core.errors import EXTRAS

LIBRARIES = frozenset({"tier0", "numpy", "scipy", "joblib", *EXTRAS})
"""Libraries that Tier0 works with: also a checkout of one, or a copy without metadata, is not own code."""
SITE_FOLDERS = frozenset({"site-packages", "dist-packages"})
"""Names of folders that installers write to; Debian's is dist-packages."""


def is_own_code(module: ModuleType) -> bool:
    """Return True if a module is the user's own code and can be pickled by value.

    Libraries are found by their place (the standard library, or a folder of an installer, be it the
    environment's, the user's, or one on PYTHONPATH), or by the metadata of a distribution that lies beside
    them and lists their files, as after `pip install --target`. Compiled modules are never own code in this
    sense, because they cannot be pickled by value.
    """
    if module.__name__.partition(".")[0] in LIBRARIES:
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        # A namespace package contains no code; built-in and frozen modules have a spec. What remains was made
        # by a program, and no other process can import it.
        return getattr(module, "__spec__", None) is None and not hasattr(module, "__path__")
    if str(file).endswith(tuple(EXTENSION_SUFFIXES)):
        return False
    path = Path(file).absolute()
    return not any(_is_installed_at(place) for place in {path, path.resolve()}) and not _is_recorded(
        path, module
    )


def is_site_folder(folder: str | os.PathLike[str]) -> bool:
    """Return True if a folder is, by its name or its metadata, one that installers write to."""
    if Path(folder).name in SITE_FOLDERS:
        return True
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))  # noqa: PTH208 - names suffice
    except OSError:  # a ZIP file, or a folder that does not exist
        return False


def _is_installed_at(path: Path) -> bool:
    """Return True if a file lies in the standard library, or in a folder that installers write to."""
    if any(part in SITE_FOLDERS or part.endswith(".egg") for part in path.parts[:-1]):
        return True
    return any(place in path.parents for place in _library_folders())


@cache
def _library_folders() -> frozenset[Path]:
    """Return the folders of the standard library and of the environment's packages.

    The other paths of `sysconfig` are not among them: on a system's own Python they contain the whole prefix,
    for example /usr, and with it projects in /usr/src.
    """
    folders = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return frozenset(folders | {folder.resolve() for folder in folders})


def _is_recorded(path: Path, module: ModuleType) -> bool:
    """Return True if the metadata beside a top-level package lists a module's file as installed."""
    is_package = hasattr(module, "__path__")
    depth = module.__name__.count(".") + is_package
    if depth >= len(path.parents):
        return False
    root = path.parents[depth]
    return path.relative_to(root).as_posix() in _recorded_files(str(root))


@cache
def _recorded_files(root: str) -> frozenset[str]:
    """Return the files that distributions with metadata in *root*, a folder or a ZIP file, have installed.

    Only a RECORD counts. The ``.egg-info`` folder that a build leaves in a project's source has none.
    """
    return frozenset(
        file.as_posix()
        for distribution in importlib.metadata.distributions(path=[root])
        if distribution.read_text("RECORD") is not None
        for file in distribution.files or ()
    )
