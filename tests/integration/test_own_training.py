"""Validation and measurement of the result of a user's training function."""

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
from syrupy.assertion import SnapshotAssertion

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
    """A model that is not an estimator."""

    def predict(self, rows: Any) -> Any:
        return rows


def raise_key_error() -> Any:
    raise KeyError("region")


def exit_python() -> Any:
    raise SystemExit("no licence")


INVALID: dict[str, Any] = {
    "no_function": 7,
    "raises": raise_key_error,
    "exits": exit_python,
    "no_tuple": lambda: FITTED,
    "tuple_of_2": lambda: (FITTED, FEATURES),
    "no_estimator": lambda: (Booster(), FEATURES, LABELS),
    "features_of_one_dimension": lambda: (FITTED, FEATURES[0], LABELS),
    "short_target": lambda: (FITTED, FEATURES, LABELS[:5]),
    "target_of_two_dimensions": lambda: (FITTED, FEATURES, LABELS[:, None]),
    "one_row": lambda: (FITTED, FEATURES[:1], LABELS[:1]),
    "missing_target": lambda: (FITTED, FEATURES, [None, *LABELS[1:]]),
    "absent_class": lambda: (FITTED, FEATURES[LABELS == "no"], LABELS[LABELS == "no"]),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_training_function_is_rejected(case: str, snapshot: SnapshotAssertion) -> None:
    with pytest.raises(Tier0Error) as rejected:
        call_user_training(INVALID[case], "mine:train")

    assert re.sub(r"\(\S*/(\w+\.py), line \d+\)", r"(\1, line …)", str(rejected.value)) == snapshot


@pytest.mark.parametrize(
    ("model", "target", "task", "metrics"),
    [
        (FITTED, LABELS, "classification", {"auc_roc", "brier", "accuracy"}),
        (LinearSVC().fit(FEATURES, LABELS), LABELS, "classification", {"accuracy", "recall_minority"}),
        (LinearRegression().fit(FEATURES, NUMBERS), NUMBERS, "regression", {"r2", "mae"}),
    ],
)
@pytest.mark.parametrize("wrap", [np.asarray, lambda rows: pd.DataFrame(rows, columns=["a", "b", "target"])])
def test_a_users_model_is_measured_and_analysed(
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


def test_a_useless_model_is_rejected() -> None:
    model = DummyClassifier(strategy="prior").fit(FEATURES, LABELS)
    own = call_user_training(lambda: (model, FEATURES, LABELS), "mine:train")

    with pytest.raises(UselessModelError, match="DummyClassifier of train"):
        measure_user_model(own.model, own.dataset, 7, EventLog())


@pytest.mark.parametrize("name", ["dataset", "algorithms", "hpo_trials", "url"])
def test_options_that_select_data_or_algorithms_are_rejected(name: str) -> None:
    value = {"dataset": "wine", "algorithms": "linear", "hpo_trials": "3", "url": "http://127.0.0.1:1"}[name]

    with pytest.raises(SettingsError) as raised:
        merge_settings({"pipeline": "mine:train", name: value}, {})
    assert raised.value.setting == name
