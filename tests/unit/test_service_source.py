"""A service is found by its file, its module or its folder, with the folders that it imports from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tier0.core.errors import Tier0Error
from tier0.serving.service_source import ServiceSource


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def found(folder: Path, service: str) -> tuple[str, str, list[str]]:
    source = ServiceSource.find(str(folder / service))
    return (
        source.name,
        str(source.folder.relative_to(folder)),
        [str(each.relative_to(folder)) for each in source.import_path],
    )


@pytest.mark.parametrize(
    ("files", "service", "name", "runs_in", "imports_from"),
    [
        pytest.param({"a/s.py": "import b", "a/b.py": ""}, "a/s.py:S", "s:S", "a", [], id="sibling"),
        pytest.param(
            {"a/s.py": "from .b import c", "a/__init__.py": "", "a/b.py": ""}, "a/s.py:S", "a.s:S", ".", [],
            id="package",
        ),
        pytest.param(
            {"a/s.py": "from a.b import c", "a/__init__.py": "", "a/b.py": ""}, "a/s.py:S", "a.s:S", ".", [],
            id="package, absolute imports",
        ),
        pytest.param(
            {"a/s.py": "from .b import c", "a/b.py": ""}, "a/s.py:S", "a.s:S", ".", [],
            id="namespace package",
        ),
        pytest.param(
            {"a/s.py": "from a.b import c", "a/b.py": ""}, "a/s.py:S", "s:S", "a", ["."],
            id="namespace package, absolute imports",
        ),
        pytest.param(
            {"a/b/s.py": "from ..c import d", "a/c.py": ""}, "a/b/s.py:S", "a.b.s:S", ".", [],
            id="namespace packages",
        ),
        pytest.param(
            {"src/a/s.py": "", "src/a/__init__.py": ""}, "src/a/s.py:S", "a.s:S", ".", ["src"], id="src",
        ),
        pytest.param({"src/s.py": "import t", "src/t.py": ""}, "src/s.py:S", "s:S", "src", [], id="in src"),
        pytest.param(
            {"a/s.py": "import b", "a/__init__.py": "", "a/b.py": ""}, "a/s.py:S", "a.s:S", ".", ["a"],
            id="sibling in a package",
        ),
        pytest.param(
            {"pyproject.toml": "", "apps/one/s.py": "import shared.x", "src/shared/x.py": ""},
            "apps/one/s.py:S", "s:S", "apps/one", ["src"],
            id="package elsewhere in the project",
        ),
        pytest.param(
            {"pyproject.toml": "", "apps/s.py": "import b", "apps/b.py": "import shared", "shared.py": ""},
            "apps/s.py:S", "s:S", "apps", ["."],
            id="imported by a sibling",
        ),
        pytest.param(
            {"a/s.py": "import bentoml", "bentoml/models/x.txt": ""}, "a/s.py:S", "s:S", "a", [],
            id="a folder without modules",
        ),
        pytest.param({"a/s.py": "import types", "types.py": ""}, "a/s.py:S", "s:S", "a", [], id="shadowing"),
        pytest.param({"s.py": "this is no Python"}, "s.py:S", "s:S", ".", [], id="not Python"),
        pytest.param({"s.py": ""}, "s.py:S.dependency", "s:S.dependency", ".", [], id="a dependency"),
        pytest.param({"p/bentofile.yaml": "service: s:S"}, "p", ".", "p", [], id="bentofile"),
        pytest.param({"p/service.py": "", "p/src/a.py": ""}, "p", ".", "p", ["p/src"], id="folder"),
        pytest.param(
            {"p/pyproject.toml": "[tool.bentoml.build]\nservice = 's:S'"}, "p", ".", "p", [], id="pyproject"
        ),
    ],
)  # fmt: skip
def test_a_service_is_found_with_all_that_it_imports(
    tmp_path: Path, files: dict[str, str], service: str, name: str, runs_in: str, imports_from: list[str]
) -> None:
    write(tmp_path, files)

    assert found(tmp_path, service) == (name, runs_in, imports_from)


def test_a_module_runs_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a/__init__.py": "", "a/s.py": "", "src/b/s.py": "", "else/where/c/s.py": ""})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "else" / "where")])

    assert ServiceSource.find("a.s:S") == ServiceSource("a.s:S", tmp_path)
    assert ServiceSource.find("b.s:S") == ServiceSource("b.s:S", tmp_path, (tmp_path / "src",))
    assert ServiceSource.find("c.s:S") == ServiceSource("c.s:S", tmp_path, (tmp_path / "else" / "where",))
    assert ServiceSource.find("tier0.serving.service:Tier0Service").folder == tmp_path
    assert "tier0" not in sys.modules or "tier0.serving.service" not in sys.modules, "nothing is imported"


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ("", "expected path/to/file.py:Class"),
        ("service.py", "expected path/to/file.py:Class"),
        ("service.py:1", "expected path/to/file.py:Class"),
        ("some/service:S", "expected path/to/file.py:Class"),
        ("absent.service:S", "module absent.service not found"),
        ("os.absent:S", "module os.absent not found"),
        ("absent/service.py:S", "service.py not found"),
        ("with-a-dash.py:S", "not a valid module name"),
        ("empty", "contains neither bentofile.yaml"),
    ],
)
def test_a_service_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, says: str
) -> None:
    write(tmp_path, {"with-a-dash.py": "", "empty/pyproject.toml": "[tool.bentoml]"})
    monkeypatch.chdir(tmp_path)

    with pytest.raises(Tier0Error, match=says):
        ServiceSource.find(service)
