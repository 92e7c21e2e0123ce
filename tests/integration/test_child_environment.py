"""Variables that steer our processes have the effect that the user wants, or none, and that is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tier0.core.child_environment import SWITCHES, child_environment, service_environment, withheld

TMP = Path("a-folder")
STEERS = {
    "PYTHONWARNINGS": "error",
    "PYTHONDEVMODE": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONTRACEMALLOC": "10",
    "PYTHONMALLOC": "debug",
    "PYTHONMALLOCSTATS": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONDEBUG": "1",
    "PYTHONINSPECT": "1",
    "PYTHONSTARTUP": "start.py",
    "PYTHONIOENCODING": "ascii",
    "BENTOML_DEBUG": "1",
    "BENTOML_HOST": "0.0.0.0",
    "BENTOML_PORT": "1",
    "BENTOML_RESULT_STORE": "tasks.db",
    "BENTOML_RUNNER_MAP": "{}",
    "BENTOML_SERVE_RUNNER_MAP": "{}",
    "BENTOML_SERVE_RUNNER_NAME": "a",
    "BENTOML_SERVE_SERVICE_NAME": "a",
    "BENTOML_SERVE_DEPENDS": "a=b",
    "BENTOCLOUD_DEPLOYMENT_URL": "https://cloud.example",
}
HARMLESS = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONHASHSEED": "7",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONMALLOC": "malloc",
    "PORT": "8080",
    "OMP_PROC_BIND": "true",
}


@pytest.fixture(autouse=True)
def nothing_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*STEERS, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BENTOML_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_table_has_no_variable_without_a_case() -> None:
    assert STEERS.keys() == SWITCHES.keys()


@pytest.mark.parametrize("name", SWITCHES)
def test_a_variable_that_would_change_our_processes_is_withheld(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, STEERS[name])

    assert name not in child_environment(TMP)
    assert name not in service_environment(TMP)
    for is_users in (True, False):
        assert withheld({name: STEERS[name]}, is_users=is_users, one_thread=True).keys() == {name}
        assert not withheld({name: ""}, is_users=is_users, one_thread=True)


@pytest.mark.parametrize("name", HARMLESS)
def test_other_variables_have_their_effect(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, HARMLESS[name])

    assert child_environment(TMP)[name] == service_environment(TMP)[name] == HARMLESS[name]
    assert not withheld({name: HARMLESS[name]}, is_users=False, one_thread=True)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ("ignore", "ignore"),
        ("err", None),
        ("error::DeprecationWarning,ignore::UserWarning:numpy", "ignore::UserWarning:numpy"),
        ("default,error", "default"),
    ],
)
def test_warnings_are_no_errors_in_our_processes(
    monkeypatch: pytest.MonkeyPatch, filters: str, kept: str | None
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", filters)

    assert child_environment(TMP).get("PYTHONWARNINGS") == kept
    assert bool(withheld({"PYTHONWARNINGS": filters}, is_users=True, one_thread=False)) == (filters != kept)


def test_a_users_service_gets_the_configuration_of_bentoml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_CONFIG", "bentoml.yaml")
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "traffic.timeout=3")
    monkeypatch.setenv("BENTOML_HOME", "mine")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    given = service_environment(TMP, BENTOML_HOME="the server's")

    assert given["BENTOML_CONFIG"] == str(Path.cwd() / "bentoml.yaml"), "the service runs in another folder"
    assert given["BENTOML_CONFIG_OPTIONS"] == "traffic.timeout=3"
    assert given["OMP_NUM_THREADS"] == "3"
    assert given["BENTOML_HOME"] == "the server's"


def test_tier0s_own_service_gets_none_of_it_and_that_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("BENTOML_CONFIG", "bentoml.yaml"),
        ("OMP_NUM_THREADS", "3"),
        ("BENTOML_HOME", "mine"),
    ):
        monkeypatch.setenv(name, value)
    given = {"BENTOML_CONFIG": "bentoml.yaml", "OMP_NUM_THREADS": "3", "BENTOML_HOME": "mine"}

    environment = child_environment(TMP)

    assert "BENTOML_CONFIG" not in environment
    assert environment["OMP_NUM_THREADS"] == "1"
    assert withheld(given, is_users=False, one_thread=True).keys() == {"BENTOML_CONFIG", "OMP_NUM_THREADS"}
    assert not withheld(given, is_users=True, one_thread=False)
