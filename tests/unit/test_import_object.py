"""Names of objects that users write: a path in the place of a module is an error with the right name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tier0.core.causes import causes_of
from tier0.core.errors import Tier0Error
from tier0.core.import_object import import_named
from tier0.core.verdict import CheckResult


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("adapters.py", "clients/adapters.py", "my-clients/adapters.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('imported')", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("named", "instead"),
    [
        ("adapters.py:make", "adapters:make"),
        ("./adapters.py:make", "adapters:make"),
        ("./clients/adapters.py:make", "clients.adapters:make"),
        ("clients/adapters.py", "clients.adapters:NAME"),
        ("my-clients/adapters.py:make", "adapters:make"),
        ("{here}/clients/adapters.py:make", "clients.adapters:make"),
        ("clients/missing.py:make", "no such file"),
        ("missing.py:make", "no such file"),
    ],
)
def test_a_path_is_rejected_with_the_name_of_the_module(here: Path, named: str, instead: str) -> None:
    named = named.format(here=here)

    with pytest.raises(Tier0Error) as problem:
        import_named("client", named, "a function")

    assert instead in str(problem.value)
    assert repr(named) in str(problem.value)


def test_a_directory_that_cannot_be_a_package_is_named(here: Path) -> None:
    with pytest.raises(Tier0Error, match="PYTHONPATH") as problem:
        import_named("client", "my-clients/adapters.py:make", "a function")

    assert str(here / "my-clients") in str(problem.value)


@pytest.mark.parametrize("named", ["no_such_module_at_all:make", "needs_another:make"])
def test_a_missing_module_is_not_said_in_the_words_of_a_servers_log(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report takes Python's words for those of a service that lacks a package."""
    (tmp_path / "needs_another.py").write_text("import no_such_module_at_all", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(Tier0Error, match="'no_such_module_at_all'") as problem:
        import_named("client", named, "a function")

    (cause,) = causes_of([CheckResult("health.ready", "error", str(problem.value))])
    assert not cause.likely


def test_a_name_is_imported() -> None:
    assert import_named("client", "pathlib:Path", "a class") is Path
