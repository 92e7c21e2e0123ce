from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tier0.core.errors import RegistrationError
from tier0.serving.metadata import origin_in
from tier0.serving.mlflow_source import MlflowSaver, name_for
from tier0.serving.workspace import Workspace


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("models:/churn/3", "churn"),
        ("models:/churn@champion", "churn"),
        ("models:/Lifetime Value/latest", "lifetime_value"),
        ("models:/catalog.schema.churn/1", "catalog.schema.churn"),
        ("runs:/0123abcd/model", "model"),
        ("runs:/0123abcd/folder/Ranker", "ranker"),
        ("models:/モデル/1", "model"),
    ],
)
def test_a_model_is_named_like_the_model_of_mlflow(uri: str, name: str) -> None:
    assert name_for(uri) == name


@pytest.mark.parametrize("uri", ["models:/", "runs:/0123abcd", "runs:/"])
def test_a_uri_without_a_model_is_refused(uri: str) -> None:
    with pytest.raises(RegistrationError, match="names no model: expected models:/NAME/VERSION"):
        name_for(uri)


@pytest.mark.parametrize(
    ("metadata", "origin"),
    [
        ({"mlflow": {"uri": "models:/m/3", "version": "3", "run_id": "r"}}, "models:/m/3 (version 3, run r)"),
        ({"mlflow": {"uri": "runs:/r/model"}}, "runs:/r/model"),
        ({"mlflow": "a text of the user"}, ""),
        ({}, ""),
    ],
)
def test_the_origin_of_a_model_is_told_in_one_line(metadata: dict[str, Any], origin: str) -> None:
    assert origin_in(metadata) == origin


@pytest.fixture
def without_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Enter a folder without a store of MLflow; refusals use nothing of the workspace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    return Workspace(tmp_path)


def test_a_missing_store_is_refused_and_not_created(
    without_store: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RegistrationError, match=r"no MLflow store is named, .* set MLFLOW_TRACKING_URI"):
        MlflowSaver("models:/m/1", "m", None, None, None, without_store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///missing.db")
    with pytest.raises(RegistrationError, match=r"sqlite:///.*missing\.db does not exist"):
        MlflowSaver("models:/m/1", "m", None, None, None, without_store)

    assert not list(without_store.path.iterdir())


def test_metadata_cannot_replace_the_origin(without_store: Workspace) -> None:
    with pytest.raises(RegistrationError, match=r"metadata\['mlflow'\] .* use another key"):
        MlflowSaver("models:/m/1", "m", {"mlflow": {"uri": "models:/other/1"}}, None, None, without_store)
