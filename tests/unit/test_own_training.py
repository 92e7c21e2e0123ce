"""A training function of a user's own: what it may return, and what each mistake is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from tier0.core.errors import SettingsError, Tier0Error, UselessModelError
from tier0.core.event_log import EventLog
from tier0.core.settings import merge_settings
from tier0.pipeline.analysis import analyse
from tier0.pipeline.user_training import call_user_training, measure_user_model

RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(60, 3))
LABELS = np.where(FEATURES[:, 0] + 0.3 * RNG.normal(size=60) > 0, "yes", "no")
NUMBERS = FEATURES @ np.array([1.0, 2.0, 0.0])
FITTED = LogisticRegression().fit(FEATURES, LABELS)


class Booster:
    """Predicts, and is no estimator."""

    def predict(self, rows: Any) -> Any:
        return rows


def breaks() -> Any:
    raise KeyError("region")


def ends() -> Any:
    raise SystemExit("no licence")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (7, "is a int, and no function that trains"),
        (breaks, r"raised KeyError: 'region' \(.*test_own_training.py, line \d+\)"),
        (ends, r"raised SystemExit: no licence \(.*test_own_training.py, line \d+\)"),
        (
            lambda: FITTED,
            r"returned a LogisticRegression: return \(fitted estimator, held-out features, held-out target\)",
        ),
        (lambda: (FITTED, FEATURES), "returned a tuple of 2"),
        (lambda: (Booster(), FEATURES, LABELS), "a Booster as its model, which has not the interface"),
        (lambda: (FITTED, FEATURES[0], LABELS), r"features of shape \(3,\)"),
        (
            lambda: (FITTED, FEATURES, LABELS[:5]),
            r"the target has shape \(5,\), and the features have 60 rows",
        ),
        (lambda: (FITTED, FEATURES, LABELS[:, None]), r"the target has shape \(60, 1\)"),
        (lambda: (FITTED, FEATURES[:1], LABELS[:1]), "1 rows prove nothing"),
        (lambda: (FITTED, FEATURES, [None, *LABELS[1:]]), "the target is missing in 1 of 60 rows"),
        (
            lambda: (FITTED, FEATURES[LABELS == "no"], LABELS[LABELS == "no"]),
            "no row has the class 'yes' that the model knows",
        ),
    ],
)
def test_a_mistake_is_told(function: Any, told: str) -> None:
    with pytest.raises(Tier0Error, match=told) as problem:
        call_user_training(function, "mine:train")
    assert "'mine:train'" in str(problem.value)


@pytest.mark.parametrize(
    ("model", "target", "task", "metrics"),
    [
        (FITTED, LABELS, "classification", {"auc_roc", "brier", "accuracy"}),
        (LinearSVC().fit(FEATURES, LABELS), LABELS, "classification", {"accuracy", "recall_minority"}),
        (LinearRegression().fit(FEATURES, NUMBERS), NUMBERS, "regression", {"r2", "mae"}),
    ],
)
@pytest.mark.parametrize("wrap", [np.asarray, lambda rows: pd.DataFrame(rows, columns=["a", "b", "target"])])
def test_it_is_measured_and_analysed(
    model: Any, target: Any, task: str, metrics: set[str], wrap: Callable[[Any], Any]
) -> None:
    own = call_user_training(
        lambda: (model.fit(wrap(FEATURES), target), wrap(FEATURES), pd.Series(target, name="target")),
        "mine:Train_It",
    )
    training = measure_user_model(own.model, own.dataset, 7, EventLog())
    rows = np.arange(len(own.dataset))

    assert training.task == task
    assert metrics <= training.metrics.keys()
    assert training.rows == {"test": 60}
    assert own.dataset.name == "train_it"
    assert own.dataset.target_name not in own.dataset.names
    analysis = analyse(own.dataset, {"test": rows, "holdout": rows}, own.model, 7)
    assert {one.feature for one in analysis.importances} == set(own.dataset.names)
    assert analysis.importances[-1].mean <= analysis.importances[0].mean


def test_a_useless_one_is_refused() -> None:
    model = DummyClassifier(strategy="prior").fit(FEATURES, LABELS)
    own = call_user_training(lambda: (model, FEATURES, LABELS), "mine:train")

    with pytest.raises(UselessModelError, match=re.escape("DummyClassifier of train is useless")):
        measure_user_model(own.model, own.dataset, 7, EventLog())


@pytest.mark.parametrize("name", ["dataset", "algorithms", "hpo_trials", "url"])
def test_what_chooses_data_or_algorithm_is_refused_beside_it(name: str) -> None:
    value = {"dataset": "wine", "algorithms": "linear", "hpo_trials": "3", "url": "http://127.0.0.1:1"}[name]

    with pytest.raises(SettingsError) as raised:
        merge_settings({"pipeline": "mine:train", name: value}, {})
    assert raised.value.setting == name
