"""The address of an MLflow store, and what is shown of it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tier0.core.errors import Tier0Error
from tier0.core.tracking_store import TrackingStore, ineffective_variables

HOME = Path("/home/ann/a project")


@pytest.mark.parametrize(
    ("uri", "absolute", "base"),
    [
        ("sqlite:///mlflow.db", "sqlite:////home/ann/a project/mlflow.db", HOME),
        ("sqlite:///./mlflow.db", "sqlite:////home/ann/a project/mlflow.db", HOME),
        ("sqlite:///../data/m.db?timeout=9", "sqlite:////home/ann/data/m.db?timeout=9", "/home/ann/data"),
        ("sqlite:////data/m.db", "sqlite:////data/m.db", "/data"),
        ("sqlite+pysqlite:///m.db", "sqlite+pysqlite:////home/ann/a project/m.db", HOME),
        ("sqlite:///file:m.db?uri=true", "sqlite:///file:/home/ann/a{0}20project/m.db?uri=true", HOME),
        ("sqlite:///100{0}/m.db", "sqlite:////home/ann/a project/100{0}/m.db", HOME / "100%"),
        ("mlruns", "file:///home/ann/a%20project/mlruns", HOME),
        ("./mlruns/", "file:///home/ann/a%20project/mlruns", HOME),
        ("file:mlruns", "file:///home/ann/a%20project/mlruns", HOME),
        ("file:./sub/mlruns", "file:///home/ann/a%20project/sub/mlruns", HOME / "sub"),
        ("file:///data/mlruns", "file:///data/mlruns", "/data"),
        ("/data/mlruns", "file:///data/mlruns", "/data"),
        ("postgresql+psycopg2://ann@db/mlflow", "postgresql+psycopg2://ann@db/mlflow", HOME),
        ("http://localhost:5000", "http://localhost:5000", None),
        ("databricks", "databricks", None),
        ("databricks://profile", "databricks://profile", None),
        ("databricks-uc", "databricks-uc", None),
        ("plugin:something", "plugin:something", None),
    ],
)
def test_a_relative_address_is_relative_to_the_users_folder(
    uri: str, absolute: str, base: Path | str | None
) -> None:
    encodes = tuple(map(int, version("sqlalchemy").split(".")[:2])) >= (2, 1)
    uri, absolute = (text.format("%25" if encodes else "%") for text in (uri, absolute))
    store = TrackingStore.named(uri, HOME)

    assert (store.uri, store.base) == (absolute, base and Path(base))
    assert TrackingStore.named(store.uri, Path("/elsewhere")).uri == absolute


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:m?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(uri: str) -> None:
    with pytest.raises(Tier0Error):
        TrackingStore.named(uri, HOME)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://ann:pw@mlflow.example:5000/base", "http://mlflow.example:5000/base"),
        ("https://pw@mlflow.example", "https://mlflow.example"),
        ("http://ann:p/w@mlflow.example/base", "http://mlflow.example/base"),
        ("postgresql://ann:p@w@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("postgresql:///mlflow?user=ann&password=pw", "postgresql:///mlflow"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3Dpw", "mssql+pyodbc:///"),
        ("http://mlflow.example:5000/a@b", "http://mlflow.example:5000/a@b"),
        ("sqlite:////data/a@b.db?timeout=9", "sqlite:////data/a@b.db?timeout=9"),
    ],
)
def test_credentials_are_not_shown(uri: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # contains the address
    store = TrackingStore.named(uri, HOME)

    assert store.shown == shown
    assert store.without_secrets(f"cannot open {uri}") == f"cannot open {shown}"


def test_credentials_are_not_shown_in_another_form_of_the_address() -> None:
    store = TrackingStore.named("http://ann:pw@mlflow.example", HOME)

    message = store.without_secrets("API request to http://ann:pw@mlflow.example/api/2.0/mlflow failed")

    assert message == "API request to http://mlflow.example/api/2.0/mlflow failed"


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("http://mlflow.example", ("mlflow.example", 80)),
        ("https://ann:pw@mlflow.example/base", ("mlflow.example", 443)),
        ("postgresql://db/mlflow", ("db", 5432)),
        ("mysql+pymysql://ann:pw@db:3307/mlflow", ("db", 3307)),
        ("postgresql://one:5432,two:5432/mlflow", None),
        ("postgresql:///mlflow?host=/run/postgresql", None),
        ("sqlite:////data/m.db", None),
        ("databricks", None),
    ],
)
def test_the_server_of_a_store(
    uri: str, server: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert TrackingStore.named(uri, HOME).server == server


def test_a_server_behind_a_proxy_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "mlflow.internal")

    assert TrackingStore.named("http://mlflow.example", HOME).server is None
    assert TrackingStore.named("http://mlflow.internal", HOME).server == ("mlflow.internal", 80)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_RUN_ID", "0123"),
        ("MLFLOW_ACTIVE_MODEL_ID", "m-1"),
        ("MLFLOW_REGISTRY_URI", "sqlite:///registry.db"),
        ("MLFLOW_ENABLE_ASYNC_LOGGING", "True"),
        ("MLFLOW_DEFAULT_ARTIFACT_ROOT", "/data"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "/data"),
    ],
)
def test_a_variable_without_effect_is_reported(name: str, value: str) -> None:
    (sentence,) = ineffective_variables({name: value, "MLFLOW_EXPERIMENT_ID": "1"}, is_named=True)

    assert sentence.startswith(f"{name}: ")


def test_variables_with_effect_are_not_reported() -> None:
    environ = {
        "MLFLOW_EXPERIMENT_NAME": "mine",
        "MLFLOW_TRACKING_TOKEN": "token",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    }

    assert ineffective_variables(environ, is_named=False) == []


def test_an_experiment_of_another_store_is_reported() -> None:
    (sentence,) = ineffective_variables({"MLFLOW_EXPERIMENT_ID": "1"}, is_named=False)

    assert "MLFLOW_TRACKING_URI" in sentence
