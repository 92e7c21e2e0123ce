"""The layout of an environment: which interpreter runs, and where its packages come from."""

from __future__ import annotations

import importlib.metadata
import json
import os
import site
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

OVERLAY = "_uv_ephemeral_overlay.pth"
"""File with which ``uv run --with`` adds an environment below its own; observed with uv 0.13."""


@dataclass(frozen=True)
class Layout:
    """The places that an interpreter imports packages from.

    Attributes:
        prefix: folder of the environment.
        base: folder of the Python that the environment was made with; *prefix* if it is none.
        site_packages: the environment's folder of packages.
        user_site: the user's folder of packages; None if the interpreter does not use it.
        python_path: entries of PYTHONPATH that the interpreter heeds.
        packages: number of the examined packages in each folder.
        editable: packages that are installed in editable mode.
    """

    prefix: Path
    base: Path
    site_packages: Path
    user_site: Path | None
    python_path: tuple[Path, ...]
    packages: Mapping[Path, int]
    editable: tuple[str, ...] = ()

    @classmethod
    def here(cls, names: Iterable[str]) -> Layout:
        """Return the layout of this process, from the places of the named distributions."""
        variable = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
        distributions = {name: found for name in names if (found := _distribution(name)) is not None}
        folders = Counter(Path(str(found.locate_file(""))) for found in distributions.values())
        return cls(
            Path(sys.prefix),
            Path(sys.base_prefix),
            Path(sysconfig.get_path("purelib")),
            Path(site.getusersitepackages()) if site.ENABLE_USER_SITE else None,
            tuple(Path(os.path.realpath(entry)) for entry in variable.split(os.pathsep) if entry),
            folders,
            tuple(sorted(name for name, found in distributions.items() if _is_editable(found))),
        )

    def __str__(self) -> str:
        places = [
            f"{count} in {self._place(folder)}"
            for folder, count in sorted(self.packages.items(), key=lambda item: -item[1])
        ]
        editable = f"; editable: {', '.join(self.editable)}" if self.editable else ""
        return f"{self._interpreter()}; packages: {', '.join(places) or 'none'}{editable}"

    def _interpreter(self) -> str:
        if (self.prefix / "conda-meta").is_dir():
            return f"conda environment {self.prefix}"
        if self.prefix == self.base:
            return f"Python in {self.prefix}, without a virtual environment"
        if (self.site_packages / OVERLAY).is_file():
            return f"overlay of uv {self.prefix}"
        try:
            settings = (self.prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
        except OSError:
            settings = ""
        shared = "include-system-site-packages=true" in settings.lower().replace(" ", "")
        return f"virtual environment {self.prefix}" + (f" with the packages of {self.base}" if shared else "")

    def _place(self, folder: Path) -> str:
        if folder.resolve() in self.python_path:
            return f"{folder} (PYTHONPATH)"
        if folder == self.user_site:
            return f"{folder} (the user's, as of pip --user)"
        if folder == self.site_packages:
            return "its own folder"
        if folder.name == "dist-packages":
            return f"{folder} (Debian's)"
        return f"{folder} (added by a .pth file or a program)"


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_editable(distribution: importlib.metadata.Distribution) -> bool:
    try:
        source = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return bool(source.get("dir_info", {}).get("editable"))
