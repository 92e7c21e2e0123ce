"""Where a user's service comes from: how `bentoml serve` finds it, and what its modules can import.

A service is named by a file, by a module as `bentoml serve` takes it, or by a folder with a build file. A
folder before the module is the one in which it runs. The file is read, but nothing of it is imported here:
its imports show from which folders it is meant to run.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tier0.core.errors import Tier0Error
from tier0.core.named_file import MIB, read_bytes, read_text

FORMS = "path/to/file.py:Class, package.module:Class, or a folder with bentofile.yaml or service.py"
BUILD_FILES = ("bentofile.yaml", "bento.yaml", "service.py")
MAX_BYTES = 16 * MIB
"""Size of a source file or a project file."""
PROJECT_FILES = (".git", "pyproject.toml", "setup.py", "setup.cfg", "bentofile.yaml")
SOURCES = "src"
"""Folder of a project that contains its packages, and is not a package itself."""


@dataclass(frozen=True)
class ServiceSource:
    """A service as it is passed to `bentoml serve`.

    Attributes:
        name: argument of `bentoml serve`.
        folder: folder in which it is started, which BentoML also imports from.
        import_path: further folders to import from.
    """

    name: str
    folder: Path
    import_path: tuple[Path, ...] = ()

    @classmethod
    def find(cls, service: str) -> ServiceSource:
        """Find a service by its file, its module or its folder.

        Raises:
            Tier0Error: there is no such service, or the text has none of these forms.
        """
        folder = Path(service).expanduser().absolute()
        if service and folder.is_dir():
            return _of_folder(service, folder)
        place, _, attribute = service.rpartition(":")
        if not place or not _is_dotted_name(attribute):
            raise Tier0Error(f"invalid service {service!r}: expected {FORMS}")
        if place.endswith(".py"):
            return _of_file(service, Path(place).expanduser().absolute(), attribute)
        base, _, module = place.rpartition("/")
        if _is_dotted_name(module):
            return _of_module(service, Path(base).expanduser().absolute(), module, attribute)
        raise Tier0Error(f"invalid service {service!r}: expected {FORMS}")


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _of_folder(service: str, folder: Path) -> ServiceSource:
    has_build_file = any((folder / name).is_file() for name in BUILD_FILES)
    if not has_build_file and not _builds_bento(folder / "pyproject.toml"):
        raise Tier0Error(
            f"service {service!r}: {folder} contains neither {', '.join(BUILD_FILES[:2])}, a pyproject.toml "
            "with [tool.bentoml.build], nor service.py"
        )
    return ServiceSource(".", folder, _existing(folder / SOURCES))


def _builds_bento(path: Path) -> bool:
    try:
        document = tomllib.loads(read_text(path, max_bytes=MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    tool = document.get("tool")
    bentoml = tool.get("bentoml") if isinstance(tool, dict) else None
    return isinstance(bentoml, dict) and "build" in bentoml


def _of_module(service: str, folder: Path, module: str, attribute: str) -> ServiceSource:
    top, *parts = module.split(".")
    installed = {Path(sysconfig.get_path(scheme)) for scheme in ("purelib", "platlib")}
    name = f"{module}:{attribute}"
    for base in (folder, folder / SOURCES, *map(Path, filter(None, sys.path))):
        if _is_module(base / top, parts):
            return ServiceSource(name, folder, () if base in {folder, *installed} else (base,))
    spec = find_spec(top)  # without an import; finds what an editable installation has by other means
    if spec is not None and any(_is_module(Path(at), parts) for at in spec.submodule_search_locations or ()):
        return ServiceSource(name, folder)
    raise Tier0Error(
        f"service {service!r}: module {module} not found in {folder}, in its folder {SOURCES}, or among the "
        "installed packages"
    )


def _is_module(top: Path, parts: Sequence[str]) -> bool:
    """Return True if *parts* name a module in the package *top*, or if *top* is one and there are none."""
    path = top.joinpath(*parts)
    return path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file()


def _of_file(service: str, path: Path, attribute: str) -> ServiceSource:
    if not path.is_file():
        raise Tier0Error(f"service {service!r}: file {path} not found")
    if not path.stem.isidentifier():
        raise Tier0Error(
            f"service {service!r}: {path.name} is not a valid module name in Python; rename the file"
        )
    imports = _Imports.of(path)
    root = path.parent
    for _ in range(_depth_in_packages(path, imports.levels)):
        root = root.parent
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    folder = root.parent if root.name == SOURCES and root != path.parent else root
    found = [root, *_folders_with(imports.names, path.parent, root)]
    extra = tuple(dict.fromkeys(base for base in found if base != folder))
    return ServiceSource(f"{module}:{attribute}", folder, extra)


def _depth_in_packages(path: Path, levels: int) -> int:
    """Return the number of packages around a module: folders with ``__init__.py``, or as its imports require.

    Relative imports also work in folders without ``__init__.py``.
    """
    depth = 0
    for folder in path.parents:
        is_package = depth < levels or (folder / "__init__.py").is_file()
        if not is_package or not folder.name.isidentifier():
            break
        depth += 1
    return depth


def _folders_with(names: set[str], beside: Path, root: Path) -> Iterator[Path]:
    """Yield the folders of the project from which the imported *names* come.

    They are looked for beside the service, and in the folders around it up to that of the project, each with
    its folder ``src``.
    """
    around = [place for folder in _up_to_project(root) for place in (folder, folder / SOURCES)]
    candidates = around if root == beside else [beside, *around]
    for name in sorted(names):
        if found := next((place for place in candidates if _has_module(place, name)), None):
            yield found


def _up_to_project(folder: Path) -> Iterator[Path]:
    """Yield a folder and those around it, up to the working directory or the first with a project's files.

    Without either, only the next one around it is included.
    """
    chain = [folder, *folder.parents]
    ends = [
        position
        for position, around in enumerate(chain)
        if around == Path.cwd() or any((around / name).exists() for name in PROJECT_FILES)
    ]
    yield from chain[: (ends[0] if ends else 1) + 1]


def _has_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or any((folder / name).glob("*.py"))


def _existing(*folders: Path) -> tuple[Path, ...]:
    return tuple(folder for folder in folders if folder.is_dir())


@dataclass(frozen=True)
class _Imports:
    """The imports of a module and of the modules beside it that it imports.

    Attributes:
        names: absolute imports by their first name, without the standard library.
        levels: the most leading dots of its own relative imports.
    """

    names: set[str]
    levels: int

    @classmethod
    def of(cls, path: Path) -> _Imports:
        names: set[str] = set()
        levels = 0
        queue, seen = [path], {path}
        while queue:
            current = queue.pop()
            for level, name in _imported_by(current):
                if current == path:
                    levels = max(levels, level)
                if level == 0:
                    names.add(name)
                beside = current.parent / f"{name}.py"
                if level <= 1 and beside not in seen and beside.is_file():
                    seen.add(beside)
                    queue.append(beside)
        return cls(names - sys.stdlib_module_names, levels)


def _imported_by(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of leading dots and the first name of each import; none if the file is not Python."""
    try:
        tree = ast.parse(read_bytes(path, max_bytes=MAX_BYTES))
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return  # BentoML reports it with its traceback
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            first = (node.module or node.names[0].name).partition(".")[0]
            yield node.level, first
