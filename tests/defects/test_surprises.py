"""Healthy deployments of unusual estimators, behind one server; every check runs three times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from scipy.sparse import csr_matrix
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier

import tier0
from tier0.contract.contract import Contract
from tier0.runs.deployment import Deployment, golden_probe
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.timeout(240),
]
TIMES = 3
RNG = np.random.default_rng(3)
CANCER = load_breast_cancer()
X, Y = CANCER.data[:, :6], CANCER.target
NAMES = [f"f{index}" for index in range(6)]
FRAME = pd.DataFrame(X, columns=NAMES)
TRAIN, SHOWN = slice(100, None), slice(0, 20)
WITH_GAPS = np.where(RNG.random(X.shape) < 0.2, np.nan, X)


@dataclass(frozen=True)
class Fitted:
    """A model, the rows that become golden, and how it is registered."""

    model: Any
    examples: Any
    options: dict[str, Any]


def fitted(model: Any, examples: Any, **options: Any) -> Fitted:
    return Fitted(model, examples, options)


def lightgbm_with_text_labels() -> Fitted:
    labels = np.where(Y == 1, "yes", "no")
    return fitted(LGBMClassifier(n_estimators=20, verbose=-1).fit(FRAME[TRAIN], labels[TRAIN]), FRAME[SHOWN])


def xgboost_with_a_sentinel_and_early_stopping() -> Fitted:
    lacking = np.where(np.isnan(WITH_GAPS), -999.0, X)
    model = XGBClassifier(n_estimators=200, missing=-999.0, early_stopping_rounds=5)
    model.fit(lacking[200:], Y[200:], eval_set=[(lacking[100:200], Y[100:200])], verbose=False)
    return fitted(model, lacking[SHOWN])


def calibrated() -> Fitted:
    return fitted(
        CalibratedClassifierCV(GaussianNB(), cv=3, method="isotonic").fit(X[TRAIN], Y[TRAIN]), X[SHOWN]
    )


def with_an_imputer() -> Fitted:
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(
        WITH_GAPS[TRAIN], Y[TRAIN]
    )
    return fitted(model, WITH_GAPS[SHOWN])


def twelve_classes_named_by_numbers() -> Fitted:
    digits = load_digits()
    labels = np.where(digits.target == 3, RNG.integers(10, 12, len(digits.target)), digits.target).astype(str)
    model = RandomForestClassifier(n_estimators=30, random_state=0).fit(
        digits.data[100:, 10:22], labels[100:]
    )
    assert sorted(model.classes_) == sorted(map(str, [*range(3), *range(4, 12)]))
    return fitted(model, digits.data[:20, 10:22])


def regressor() -> Fitted:
    diabetes = load_diabetes()
    model = RandomForestRegressor(n_estimators=30, n_jobs=-1, random_state=0).fit(
        diabetes.data[50:], diabetes.target[50:]
    )
    return fitted(model, diabetes.data[:20])


def without_predict_proba() -> Fitted:
    return fitted(make_pipeline(StandardScaler(), LinearSVC()).fit(X[TRAIN], Y[TRAIN]), X[SHOWN])


def with_class_weights() -> Fitted:
    return fitted(
        RandomForestClassifier(n_estimators=20, class_weight="balanced", random_state=0).fit(
            X[TRAIN], Y[TRAIN]
        ),
        X[SHOWN],
    )


def with_a_separate_threshold() -> Fitted:
    return fitted(
        LGBMClassifier(n_estimators=20, verbose=-1).fit(X[TRAIN], Y[TRAIN]), X[SHOWN], threshold=0.123
    )


def with_a_built_in_threshold() -> Fitted:
    return fitted(
        TunedThresholdClassifierCV(LogisticRegression(max_iter=5000), cv=3).fit(X[TRAIN], Y[TRAIN]), X[SHOWN]
    )


def float32_features() -> Fitted:
    narrow = X.astype(np.float32)
    return fitted(HistGradientBoostingClassifier(max_iter=20).fit(narrow[TRAIN], Y[TRAIN]), narrow[SHOWN])


def with_ids_too_large_for_a_float() -> Fitted:
    frame = FRAME.assign(id=2**53 + np.arange(len(FRAME), dtype=np.int64))
    by_parity = ColumnTransformer([("rest", "passthrough", NAMES), ("parity", StandardScaler(), ["odd"])])
    model = make_pipeline(_Parity(), by_parity, RandomForestClassifier(n_estimators=20, random_state=0)).fit(
        frame[TRAIN], frame["id"][TRAIN] % 2
    )
    return fitted(model, frame[SHOWN])


class _Parity:
    """What depends on the last digit of an id, which a float loses."""

    def fit(self, _: pd.DataFrame, __: Any = None) -> _Parity:
        return self

    def __sklearn_tags__(self) -> Any:
        return StandardScaler().__sklearn_tags__()

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(odd=(frame["id"] % 2).astype(float))

    def fit_transform(self, frame: pd.DataFrame, _: Any = None) -> pd.DataFrame:
        return self.transform(frame)


def sparse_matrix() -> Fitted:
    sparse = csr_matrix(np.where(np.median(X, axis=0) < X, X, 0.0))
    return fitted(LogisticRegression(max_iter=5000).fit(sparse[100:], Y[TRAIN]), sparse[:20])


def categorical_dtype() -> Fitted:
    frame = FRAME.assign(
        stage=pd.Categorical(np.where(X[:, 0] > 14, "late", "early"), categories=["early", "late", "never"])
    )
    return fitted(
        HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype").fit(
            frame[TRAIN], Y[TRAIN]
        ),
        frame[SHOWN],
    )


def with_text_and_an_encoder() -> Fitted:
    frame = pd.DataFrame({"region": RNG.choice(["North", "South"], len(X)), "size": X[:, 0]})
    encode = ColumnTransformer(
        [("region", OneHotEncoder(handle_unknown="ignore"), ["region"])], remainder="passthrough"
    )
    return fitted(
        make_pipeline(encode, LogisticRegression(max_iter=5000)).fit(frame[TRAIN], Y[TRAIN]), frame[SHOWN]
    )


def with_a_transformer_in_a_user_module() -> Fitted:
    folder = str(Path(__file__).parent / "own_project")
    sys.path.insert(0, folder)
    try:
        with_ratio = import_module("own_features").WithRatio
    finally:
        sys.path.remove(folder)
    return fitted(
        make_pipeline(with_ratio(), StandardScaler(), LogisticRegression()).fit(FRAME[TRAIN], Y[TRAIN]),
        FRAME[SHOWN],
    )


def nearest_neighbours() -> Fitted:
    return fitted(make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(X[TRAIN], Y[TRAIN]), X[SHOWN])


MODELS: dict[str, Callable[[], Fitted]] = {
    make.__name__: make
    for make in (
        lightgbm_with_text_labels, xgboost_with_a_sentinel_and_early_stopping, calibrated, with_an_imputer,
        twelve_classes_named_by_numbers, regressor, without_predict_proba, with_class_weights,
        with_a_separate_threshold, with_a_built_in_threshold, float32_features,
        with_ids_too_large_for_a_float, sparse_matrix, categorical_dtype, with_text_and_an_encoder,
        with_a_transformer_in_a_user_module, nearest_neighbours,
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[Server, dict[str, RegisteredModel]]]:
    workspace = Workspace.create()
    server = Server(workspace.folder("s"))
    try:
        server.launch()
        models: dict[str, RegisteredModel] = {}
        for name, make in MODELS.items():
            one = make()
            save = ModelSaver(one.model, name, {}, one.examples, **one.options)
            models[name] = save(workspace, EntryWriter(workspace, workspace.store), prove=True)
        server.announce({name: model.tag for name, model in models.items()}, workspace.store)
        server.wait_until_ready(golden_probe(next(iter(models.values())), server.nonce), 60)
        yield server, models
    finally:
        server.stop()
        workspace.close()


@pytest.mark.parametrize("name", MODELS)
def test_every_check_passes(
    gateway: tuple[Server, dict[str, RegisteredModel]], name: str, record: Callable[..., None]
) -> None:
    server, models = gateway
    contract = Contract(route=f"/{name}/predict", health=f"/{name}/health")
    deployment = Deployment(
        server.url, models[name].golden, models[name].tag, contract, disturb="malformed", server=server
    )

    for _ in range(TIMES):
        verdict = tier0.check_serving(deployment, on_fail="return")
        if verdict.verdict != "pass":
            break

    record(name, (), verdict)
    assert verdict.verdict == "pass", [
        result.explain() for result in [*verdict.with_status("fail"), *verdict.with_status("error")]
    ]


def test_the_predictions_depend_on_the_last_digit_of_an_id(
    gateway: tuple[Server, dict[str, RegisteredModel]],
) -> None:
    golden = gateway[1]["with_ids_too_large_for_a_float"].golden

    assert golden.predictions[:20] == [row[-1] % 2 for row in golden.rows[:20]]
