from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier

from tests.support import ROOT
from tier0 import register_model_for_serving
from tier0.core.errors import ModelChangedError, RegistrationError
from tier0.serving.entry import Entry
from tier0.serving.registration import ModelSaver, RegisteredModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
Y = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")


@pytest.mark.slow
def test_a_forest_with_many_threads_has_the_same_golden_rows_every_time() -> None:
    model = RandomForestClassifier(n_estimators=60, n_jobs=4, min_samples_leaf=3, random_state=0).fit(X, Y)

    captured = [ModelSaver(model, "m", None, X).golden for _ in range(5)]

    # How much the model differs from itself is measured in limited time, on as many rows as that allows.
    assert len({str(replace(golden, seconds=None, spreads={})) for golden in captured}) == 1
    assert model.n_jobs == 4


def test_a_model_that_cannot_be_pickled_is_refused(tmp_path: Path) -> None:
    model = LinearRegression().fit(X, X[:, 0])
    model.lock = __import__("threading").Lock()

    with pytest.raises(RegistrationError, match="pickled"):
        asyncio.run(register_model_for_serving(model, "m", examples=X[:3], store=tmp_path))


def test_a_relative_store_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    registered = asyncio.run(
        register_model_for_serving(LinearRegression().fit(X, X[:, 0]), "m", examples=X[:3], store="store")
    )

    assert registered.path.is_relative_to(tmp_path / "store")
    assert (registered.path / "saved_model.pkl").exists()


def test_a_registered_model_is_proven_in_a_fresh_interpreter_and_carries_everything(tmp_path: Path) -> None:
    model = XGBClassifier(n_estimators=5, missing=-999.0).fit(
        np.where(X > 2, -999.0, X), (Y == "yes").astype(int)
    )
    store = tmp_path / "store"

    registered = asyncio.run(
        register_model_for_serving(model, "m", {"team": "t"}, examples=X[:10], threshold=0.3, store=store)
    )

    entry = Entry.read(registered.path)
    assert entry.load_model().missing == -999.0
    assert (entry.framework, entry.metadata["team"], entry.signature.threshold) == ("xgboost", "t", 0.3)
    assert entry.versions.keys() == {"numpy", "sklearn", "xgboost"}
    assert entry.golden_rows() == registered.golden
    assert registered.tag.startswith("m:")


class Forgetful(LogisticRegression):  # type: ignore[misc]
    """Loses what it learned when it is saved."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "coef_": np.zeros_like(self.coef_)}


def test_a_model_that_comes_back_changed_is_refused_and_not_left_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    with pytest.raises(ModelChangedError, match=r"row \d+: .*5 of 10 rows differ"):
        asyncio.run(register_model_for_serving(Forgetful().fit(X, Y), "m", examples=X[:10], store=tmp_path))

    assert not list((tmp_path / "models").glob("m/*/model.yaml"))


class Unloadable(LogisticRegression):  # type: ignore[misc]
    def __setstate__(self, state: dict[str, Any]) -> None:
        raise OSError("the licence server does not answer")


def test_a_model_that_cannot_be_loaded_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelChangedError, match="OSError: the licence server does not answer"):
        asyncio.run(register_model_for_serving(Unloadable().fit(X, Y), "m", examples=X[:10], store=tmp_path))


def test_a_transformer_of_ones_own_module_travels_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_doubling.py").write_text(
        """
from sklearn.base import BaseEstimator, TransformerMixin

def doubled(X):
    return X * 2.0

class Doubling(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return doubled(X)
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = __import__("own_doubling")
    model = make_pipeline(own.Doubling(), LogisticRegression()).fit(X, Y)

    registered = asyncio.run(
        register_model_for_serving(model, "m", examples=X[:10], store=tmp_path / "store")
    )

    assert registered.golden.probabilities is not None


def test_two_registrations_at_once_get_an_entry_each(tmp_path: Path) -> None:
    first, second = LogisticRegression().fit(X, Y), LogisticRegression(C=0.01).fit(X, Y)

    async def both() -> list[RegisteredModel]:
        return await asyncio.gather(
            *(
                register_model_for_serving(model, "m", examples=X[:10], store=tmp_path)
                for model in (first, second)
            )
        )

    registered = asyncio.run(both())

    assert len({model.tag for model in registered}) == 2
    assert [Entry.read(model.path).golden_rows().compare(vars(model.golden)) for model in registered] == [
        None,
        None,
    ]
    assert [model.golden.tag for model in registered] == [model.tag for model in registered]
