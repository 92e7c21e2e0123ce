"""Models of every kind are saved, loaded in a fresh interpreter, and predict as they did in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRegressor

import tier0
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import OwnDeployment
from tier0.serving.entry import Entry
from tier0.serving.predictor import Predictor
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel, save_models
from tier0.serving.workspace import Workspace

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
Y = (X[:, 0] + 0.5 * RNG.normal(size=90) > 0).astype(int)
THREE = Y + (X[:, 1] > 0.5)
SIGNS = (X[:, :3] + 0.3 * RNG.normal(size=(90, 3)) > 0).astype(int)
MIXED = np.column_stack([Y, THREE])
NUMBERS = X[:, :2] @ RNG.normal(size=(2, 2))
WORDS = np.array(["north", "south", "west"])[THREE]
FRAME = pd.DataFrame(X, columns=list("abc")).assign(
    small=pd.Series(THREE).astype("int8").astype("category"),
    ordered=pd.Categorical(WORDS, ["west", "south", "north"], ordered=True),
)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(5, n_jobs=-1, max_depth=4, random_state=0)


def reg_forest() -> RandomForestRegressor:
    return RandomForestRegressor(5, n_jobs=-1, max_depth=4, random_state=0)


class Committee(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A user's own meta-estimator: what it fitted is in a dict of lists and tuples."""

    def fit(self, rows: Any, y: Any) -> Committee:
        self.classes_ = np.unique(y)
        self.members_ = {"first": [forest().fit(rows, y)], "second": (forest().fit(rows, y), None)}
        return self

    def predict_proba(self, rows: Any) -> Any:
        first, (second, _) = self.members_["first"][0], self.members_["second"]
        return (first.predict_proba(rows) + second.predict_proba(rows)) / 2

    def predict(self, rows: Any) -> Any:
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


AROUND_A_FOREST: dict[str, Callable[[], Any]] = {
    "grid": lambda: GridSearchCV(forest(), {"max_depth": [3]}, cv=2).fit(X, Y),
    "nested": lambda: make_pipeline(
        StandardScaler(), GridSearchCV(make_pipeline(StandardScaler(), forest()), {}, cv=2)
    ).fit(X, Y),
    "calibrated": lambda: CalibratedClassifierCV(forest(), cv=2).fit(X, Y),
    "bagging": lambda: BaggingClassifier(forest(), 3, random_state=0).fit(X, Y).set_params(n_jobs=2),
    "stacking": lambda: StackingClassifier([("f", forest()), ("l", LogisticRegression())], cv=2).fit(X, Y),
    "one_vs_rest": lambda: OneVsRestClassifier(forest()).fit(X, THREE),
    "target": lambda: TransformedTargetRegressor(reg_forest(), func=np.arcsinh, inverse_func=np.sinh).fit(
        X, NUMBERS[:, 0]
    ),
    "own": lambda: Committee().fit(X, Y),
}
SEVERAL_OUTPUTS: dict[str, Callable[[], Any]] = {
    "forest": lambda: forest().fit(X, MIXED),
    "forest_of_text": lambda: forest().fit(X, np.column_stack([WORDS, np.where(Y, "yes", "no")])),
    "forest_of_numbers": lambda: reg_forest().fit(X, NUMBERS),
    "multi_output": lambda: MultiOutputClassifier(LogisticRegression()).fit(X, MIXED),
    "multi_output_lightgbm": lambda: MultiOutputClassifier(LGBMClassifier(n_estimators=3, verbose=-1)).fit(
        X, SIGNS
    ),
    "linear": lambda: LinearRegression().fit(X, NUMBERS),
    "chain": lambda: ClassifierChain(LogisticRegression(), random_state=0).fit(X, SIGNS),
    "one_vs_rest": lambda: OneVsRestClassifier(LogisticRegression()).fit(X, SIGNS),
    "one_vs_rest_sparse": lambda: OneVsRestClassifier(LogisticRegression()).fit(X, csr_matrix(SIGNS)),
    "network": lambda: MLPClassifier((4,), tol=1.0, n_iter_no_change=2, random_state=0).fit(X, SIGNS),
    "neighbours": lambda: KNeighborsClassifier().fit(X, MIXED),
    "ridge": lambda: RidgeClassifier().fit(X, SIGNS),
    "xgboost_two": lambda: XGBClassifier(n_estimators=3).fit(X, SIGNS[:, :2]),
    "xgboost_three": lambda: XGBClassifier(n_estimators=3).fit(X, SIGNS),
    "xgboost_numbers": lambda: XGBRegressor(n_estimators=3).fit(X, NUMBERS),
}
OF_FRAMES: dict[str, Callable[[], Any]] = {
    "xgboost": lambda: XGBClassifier(n_estimators=3, enable_categorical=True).fit(FRAME, Y),
    "lightgbm": lambda: LGBMClassifier(n_estimators=3, verbose=-1).fit(FRAME, Y),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype").fit(
        FRAME, Y
    ),
}
CASES = {
    **{f"around_a_forest.{name}": (fit, X[:6]) for name, fit in AROUND_A_FOREST.items()},
    **{f"several_outputs.{name}": (fit, X[:6]) for name, fit in SEVERAL_OUTPUTS.items()},
    **{f"of_frames.{name}": (fit, FRAME[:6]) for name, fit in OF_FRAMES.items()},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RegisteredModel]]:
    """All models, saved and proven by one worker process."""
    savers = [ModelSaver(fit(), name, {"owner": None}, examples) for name, (fit, examples) in CASES.items()]
    workspace = Workspace.create()
    writer = EntryWriter(workspace, tmp_path_factory.mktemp("store"))
    models = save_models(savers, workspace, writer, prove=True)
    yield dict(zip(CASES, models, strict=True))
    workspace.close()


def respond(model: RegisteredModel, golden: GoldenRows) -> dict[str, Any]:
    """Return the response of the loaded model, after its way through JSON."""
    entry = Entry.read(model.path)
    predictor = Predictor(model.tag, entry.load_model(), entry)
    rows = predictor.parse_rows(orjson.dumps(golden.body()))
    response: dict[str, Any] = orjson.loads(orjson.dumps(predictor.response(predictor.predict(rows), 0.0)))
    return response


def permuted(golden: GoldenRows) -> GoldenRows:
    """Return golden rows with the outputs of each row in another order."""
    probabilities = golden.probabilities
    return replace(
        golden,
        predictions=[[*row[1:], row[0]] for row in golden.predictions],
        probabilities=probabilities and [[*row[1:], row[0]] for row in probabilities],
    )


@pytest.mark.parametrize("name", CASES)
def test_a_saved_model_responds_as_in_memory(saved: dict[str, RegisteredModel], name: str) -> None:
    golden = saved[name].golden.examples

    response = respond(saved[name], golden)

    tolerance = golden.tolerances(same_arithmetic=False, same_batch=False)
    assert golden.compare(response, tolerance=tolerance) is None
    assert response["classes"] == golden.classes


def test_a_number_that_is_too_large_for_the_model_is_the_requests_fault(
    saved: dict[str, RegisteredModel],
) -> None:
    model = saved["several_outputs.forest"]
    entry = Entry.read(model.path)
    predictor = Predictor(model.tag, entry.load_model(), entry)
    ordinary = model.golden.examples.rows
    too_large = [*ordinary, [1e39, *ordinary[0][1:]]]
    with pytest.raises(ValueError, match="too large") as raised, np.errstate(over="ignore"):
        predictor.predict(too_large)

    reason = predictor.reason_in_rows(too_large, raised.value)
    assert reason is not None
    assert (reason.status, reason.field) == (422, f"features[{len(ordinary)}].{entry.signature.names[0]}")
    assert predictor.reason_in_rows(ordinary, raised.value) is None
    assert predictor.reason_in_rows(too_large, RuntimeError("the model's own")) is None


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("several_outputs")])
def test_outputs_in_another_order_are_another_response(saved: dict[str, RegisteredModel], name: str) -> None:
    golden = saved[name].golden.examples

    response = respond(saved[name], golden)

    tolerance = golden.tolerances(same_arithmetic=False, same_batch=False)
    assert permuted(golden).compare({**response, "classes": None}, tolerance=tolerance) is not None


@pytest.mark.server
def test_a_served_model_with_several_outputs_passes_and_a_permutation_fails(
    saved: dict[str, RegisteredModel],
) -> None:
    model = saved["several_outputs.multi_output"]
    server = asyncio.run(tier0.start_bentoml_service(model))
    try:
        deployment = OwnDeployment.from_server(server, model)
        judge = {"on_fail": "return", "groups": ["contract", "parity"]}
        verdict = tier0.check_serving(deployment, **judge)  # type: ignore[arg-type]
        other = tier0.check_serving(replace(deployment, golden=permuted(model.golden)), **judge)  # type: ignore[arg-type]
    finally:
        asyncio.run(tier0.stop_bentoml_service(server))

    assert (verdict.verdict, verdict.with_status("fail")) == ("pass", [])
    assert "parity.golden_rows" in {result.id for result in other.with_status("fail")}
