"""Which modules travel with a model, for every place that Python imports from."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
import threading
import zipfile
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pytest
import sklearn.linear_model

from tier0.core.own_code import is_own_code
from tier0.serving.formats.pickled import pickle_with_own_code


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what is imported from it is forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__in__", "/")
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def record(folder: Path, name: str, *files: str) -> None:
    """Write the metadata that pip leaves beside what it installs."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8"
    )
    (metadata / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")


@pytest.mark.parametrize(
    "module", [np, np.linalg, sklearn.linear_model, json, pytest, sys, threading, cloudpickle]
)
def test_libraries_are_not_own_code(module: ModuleType) -> None:
    assert not is_own_code(module)


def test_a_projects_module_is_own_code(project: Path) -> None:
    write(project, owned_a="", owned_b__in____init__="", owned_b__in__part="")

    assert is_own_code(importlib.import_module("owned_a"))
    assert is_own_code(importlib.import_module("owned_b"))
    assert is_own_code(importlib.import_module("owned_b.part"))


@pytest.mark.parametrize("folder", ["lib/python3.11/site-packages", "dist-packages", "other-1.0-py3.11.egg"])
def test_a_folder_of_an_installer_is_not_own_code_wherever_it_is(
    project: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project / folder, other__in____init__="", other__in__part="")
    monkeypatch.syspath_prepend(str(project / folder))

    assert not is_own_code(importlib.import_module("other.part"))


def test_the_metadata_beside_a_package_decides(project: Path) -> None:
    write(project, copied__in____init__="", copied__in__part="", single="", beside="")
    record(project, "copied", "copied/__init__.py", "copied/part.py")
    record(project, "single", "single.py")

    assert not is_own_code(importlib.import_module("copied.part"))
    assert not is_own_code(importlib.import_module("single"))
    assert is_own_code(importlib.import_module("beside"))


def test_what_a_build_leaves_in_a_source_folder_does_not_decide(project: Path) -> None:
    write(project, developed__in____init__="")
    metadata = project / "developed.egg-info"
    metadata.mkdir()
    (metadata / "SOURCES.txt").write_text("developed/__init__.py\n", encoding="utf-8")
    (metadata / "top_level.txt").write_text("developed\n", encoding="utf-8")

    assert is_own_code(importlib.import_module("developed"))


def test_an_editable_install_is_own_code(project: Path) -> None:
    site, source = project / "site-packages", project / "source"
    write(source, edited="")
    record(site, "edited", "edited.pth")
    sys.path[1:1] = [str(site), str(source)]

    assert is_own_code(importlib.import_module("edited"))


def test_a_link_into_or_out_of_a_folder_of_an_installer_is_not_own_code(project: Path) -> None:
    write(project / "cache", linked="")
    write(project / "site-packages", target="")
    (project / "site-packages" / "linked.py").symlink_to(project / "cache" / "linked.py")
    (project / "target.py").symlink_to(project / "site-packages" / "target.py")
    sys.path.insert(1, str(project / "site-packages"))

    assert not is_own_code(importlib.import_module("linked"))
    assert not is_own_code(importlib.import_module("target"))


def test_each_part_of_a_namespace_is_decided_alone(project: Path) -> None:
    write(project, company__in__own="")
    write(project / "site-packages", company__in__library="")
    sys.path.insert(1, str(project / "site-packages"))

    assert is_own_code(importlib.import_module("company.own"))
    assert not is_own_code(importlib.import_module("company.library"))
    assert not is_own_code(importlib.import_module("company"))


def test_an_archive_is_own_code_unless_its_metadata_lists_the_module(project: Path) -> None:
    for name, files in {
        "own.zip": {},
        "library.whl": {"in_library-1.0.dist-info/RECORD": "in_library.py,,\n"},
    }.items():
        with zipfile.ZipFile(project / name, "w") as archive:
            archive.writestr(f"in_{name.partition('.')[0]}.py", "")
            for path, text in files.items():
                archive.writestr(path, text)
        sys.path.insert(1, str(project / name))

    assert is_own_code(importlib.import_module("in_own"))
    assert not is_own_code(importlib.import_module("in_library"))


def test_what_has_no_file() -> None:
    made = ModuleType("made_by_a_program")
    compiled = ModuleType("compiled")
    compiled.__file__ = f"/project/compiled{EXTENSION_SUFFIXES[0]}"

    assert is_own_code(made)
    assert not is_own_code(compiled)
    assert not is_own_code(sys.modules["_frozen_importlib"])


def test_a_project_within_the_prefix_of_the_interpreter_is_own_code() -> None:
    module = ModuleType("in_prefix")
    module.__file__ = str(Path(sys.prefix) / "src" / "app" / "in_prefix.py")

    assert is_own_code(module)


def test_a_checkout_of_a_library_is_not_own_code(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, xgboost="")
    monkeypatch.delitem(sys.modules, "xgboost", raising=False)

    assert not is_own_code(importlib.import_module("xgboost"))


def test_helpers_of_other_own_modules_travel(project: Path) -> None:
    write(
        project,
        first="import second\nfrom third import add\n\ndef call():\n    return add(second.one(), 1)\n",
        second="def one():\n    return 1\n",
        third="def add(a, b):\n    return a + b\n",
    )

    content = pickle_with_own_code(importlib.import_module("first").call)
    sys.path.remove(str(project))
    for name in ("first", "second", "third"):
        del sys.modules[name]

    assert pickle.loads(content)() == 2


def test_code_that_cannot_be_pickled_by_value_is_pickled_by_reference(project: Path) -> None:
    write(
        project,
        locked="import threading\nLOCK = threading.Lock()\n\ndef call():\n    with LOCK:\n        return 1\n",
    )
    call = importlib.import_module("locked").call

    assert pickle.loads(pickle_with_own_code(call)) is call


def test_modules_that_the_user_registered_stay_registered(project: Path) -> None:
    write(project, registered="def call():\n    return 1\n")
    module = importlib.import_module("registered")
    cloudpickle.register_pickle_by_value(module)

    pickle_with_own_code(module.call)

    assert cloudpickle.list_registry_pickle_by_value() == {"registered"}
    cloudpickle.unregister_pickle_by_value(module)


def test_registrations_at_once_do_not_disturb_each_other(project: Path) -> None:
    write(project, shared="def call():\n    return 1\n")
    call = importlib.import_module("shared").call
    contents: list[Any] = []
    threads = [
        threading.Thread(target=lambda: contents.append(pickle_with_own_code([call] * 2000)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(contents) == 8
    assert len(set(contents)) == 1
    assert not cloudpickle.list_registry_pickle_by_value()
