"""Where packages can come from: what a child process imports, and one real registration."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import ROOT
from tier0.core.child_environment import child_environment
from tier0.core.errors import Tier0Error

SHOWS = """
import sys
from tier0.core.child_environment import extend_import_path
extend_import_path()
import {module}
print({module}.__file__)
"""
REGISTERS = """
import asyncio
import numpy as np
from features import Doubled
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
import tier0

X = np.random.default_rng(0).normal(size=(40, 3))
model = make_pipeline(Doubled(), LogisticRegression()).fit(X, X[:, 0] > 0)
print(asyncio.run(tier0.register_model_for_serving(model, "m", examples=X[:10])).tag)
"""
FEATURES = """
from sklearn.base import BaseEstimator

class Doubled(BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        from factors import factor  # which no pickle can contain
        return X * factor
"""


def base_interpreter() -> str:
    """The interpreter that the environment was made with, which has other folders of packages."""
    return str(Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}")


def test_a_model_is_registered_where_packages_come_from_pythonpath(tmp_path: Path) -> None:
    (tmp_path / "features.py").write_text(FEATURES, encoding="utf-8")
    (tmp_path / "factors.py").write_text("factor = 2.0\n", encoding="utf-8")
    (tmp_path / "register.py").write_text(REGISTERS, encoding="utf-8")
    path = [str(ROOT / "src"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]

    done = subprocess.run(
        [base_interpreter(), "register.py"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.stdout.startswith("m:"), done.stdout + done.stderr


def imported_by_child(tmp_path: Path, module: str) -> str:
    """The file that a child process imports a module from."""
    folder = tmp_path / "child"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SHOWS.format(module=module)],
        env=child_environment(tmp_path),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def test_a_child_imports_the_same_tier0(tmp_path: Path) -> None:
    assert imported_by_child(tmp_path, "tier0") == str(ROOT / "src" / "tier0" / "__init__.py")


def test_a_child_imports_what_this_process_added_to_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "added here").mkdir()
    (tmp_path / "added here" / "added.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("added here")

    assert imported_by_child(tmp_path, "added") == str(tmp_path / "added here" / "added.py")


def test_a_child_imports_packages_from_where_this_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "last"):
        (tmp_path / name / "packaging").mkdir(parents=True)
        (tmp_path / name / "packaging" / "__init__.py").touch()
        (tmp_path / name / "packaging-99.dist-info").mkdir()
    before = imported_by_child(tmp_path, "packaging")
    (tmp_path / "child").rmdir()

    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "last")])
    appended = imported_by_child(tmp_path, "packaging")
    (tmp_path / "child").rmdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), *sys.path])

    assert appended == before
    assert imported_by_child(tmp_path, "packaging") == str(tmp_path / "first/packaging/__init__.py")


def test_the_projects_files_do_not_shadow_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "types.py").write_text("raise ImportError('shadowed')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert imported_by_child(tmp_path, "types") != str(tmp_path / "types.py")


def test_the_children_of_an_isolated_process_ignore_pythons_variables(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shows = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); from pathlib import Path;"
        "from tier0.core.child_environment import child_environment;"
        "print(sorted(name for name in child_environment(Path('.')) if name.startswith('PYTHON')),"
        "child_environment(Path('.'))['PYTHONPATH'])"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", shows],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere"), "PYTHONHOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.startswith("['PYTHONNOUSERSITE', 'PYTHONPATH']")
    assert str(tmp_path) not in done.stdout


def test_an_interpreter_that_cannot_start_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))

    with pytest.raises(Tier0Error, match="PYTHONHOME"):
        child_environment(tmp_path)
