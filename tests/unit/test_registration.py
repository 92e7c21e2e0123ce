from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from syrupy.assertion import SnapshotAssertion
from xgboost import DMatrix, XGBClassifier
from xgboost import train as train_booster

from tier0.core.errors import RegistrationError
from tier0.golden.capture import golden_rows
from tier0.golden.prediction import package_of
from tier0.golden.rows import Origin
from tier0.serving.formats.choice import format_of
from tier0.serving.registration import ModelSaver

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
Y = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")
BOOSTER = train_booster({"nthread": 1}, DMatrix(X, X[:, 0]), 2)


def saver(model: Any, examples: Any = X[:10], **options: Any) -> ModelSaver:
    return ModelSaver(model, "m", options.pop("metadata", None), examples, **options)


def test_golden_rows_have_the_outputs_of_the_model_in_memory() -> None:
    model = LogisticRegression().fit(X, Y)

    golden = saver(model).golden

    assert (golden.probabilities or [])[:10] == model.predict_proba(X[:10]).tolist()
    assert golden.predictions[:10] == model.predict(X[:10]).tolist()
    assert golden.origins[:10] == [Origin("example")] * 10
    assert golden.classes == ["no", "yes"]


def test_a_threshold_decides_the_golden_labels() -> None:
    model = LogisticRegression().fit(X, Y)

    golden = saver(model, threshold=0.99).golden

    assert golden.probabilities is not None
    assert golden.predictions == ["yes" if row[1] >= 0.99 else "no" for row in golden.probabilities]
    assert golden.predictions[:10] != model.predict(X[:10]).tolist()


def test_accepted_missing_values_are_found_by_calling_the_model() -> None:
    tolerant, strict = HistGradientBoostingClassifier(max_iter=5).fit(X, Y), LogisticRegression().fit(X, Y)

    assert all(feature.accepts_missing for feature in saver(tolerant).signature.features)
    assert not any(feature.accepts_missing for feature in saver(strict).signature.features)


def test_a_preprocessor_becomes_part_of_the_model() -> None:
    scaler = StandardScaler().fit(X)
    model = LogisticRegression().fit(scaler.transform(X), Y)

    golden = saver(model, preprocessor=scaler).golden

    assert (golden.probabilities or [])[:10] == model.predict_proba(scaler.transform(X[:10])).tolist()


def test_columns_of_a_frame_keep_their_kinds() -> None:
    frame = pd.DataFrame(
        {
            "n": X[:, 0],
            "i": np.arange(120),
            "c": pd.Categorical(np.where(X[:, 1] > 0, "a", "b")),
            "b": X[:, 2] > 0,
        }
    )
    model = make_pipeline(OrdinalEncoder(), RandomForestClassifier(n_estimators=5)).fit(frame, Y)

    features = saver(model, frame[:10]).signature.features

    assert [(feature.kind, feature.categories) for feature in features] == [
        ("number", None),
        ("integer", None),
        ("text", ("a", "b")),
        ("boolean", None),
    ]


@pytest.mark.parametrize(
    ("model", "format_", "framework"),
    [
        (LogisticRegression(), "pickle", "sklearn"),
        (XGBClassifier(), "pickle", "xgboost"),
        (LGBMClassifier(), "pickle", "lightgbm"),
        (make_pipeline(StandardScaler(), LGBMClassifier()), "pickle", "lightgbm"),
        (BOOSTER, "xgboost", "xgboost"),
    ],
)
def test_the_format_and_the_framework_are_found_from_the_object(
    model: Any, format_: str, framework: str
) -> None:
    assert format_of(model) == format_
    assert package_of(model) == framework


@pytest.mark.parametrize(
    ("model", "format_"),
    [
        ("models:/churn/3", "mlflow"),
        ("models:/churn@champion", "mlflow"),
        ("runs:/0123/model", "mlflow"),
        ("folder/model.onnx", "onnx"),
        (Path("model.onnx"), "onnx"),
    ],
)
def test_the_format_is_found_from_a_place(model: Any, format_: str) -> None:
    assert format_of(model) == format_


def test_a_classifier_without_probabilities_and_a_regressor_have_none() -> None:
    assert saver(LinearSVC().fit(X, Y)).golden.probabilities is None
    regression = saver(LinearRegression().fit(X, X[:, 0]))
    assert (regression.golden.probabilities, regression.signature.task, regression.golden.classes) == (
        None,
        "regression",
        [],
    )


FITTED = LogisticRegression().fit(X, Y)
INVALID: dict[str, Callable[[], object]] = {
    "booster_in_a_pipeline": lambda: saver(Pipeline([("scale", StandardScaler()), ("model", BOOSTER)])),
    "booster_with_a_preprocessor": lambda: saver(BOOSTER, preprocessor=StandardScaler().fit(X)),
    "build_of_an_estimator": lambda: saver(FITTED, build=LogisticRegression),
    "path_of_a_pickle": lambda: saver("model.pkl"),
    "missing_onnx_file": lambda: saver("missing.onnx"),
    "missing_examples": lambda: saver(FITTED, None),
    "no_estimator": lambda: saver(object()),
    "name_with_capitals": lambda: ModelSaver(FITTED, "My Model", None, X[:3]),
    "name_with_code": lambda: ModelSaver(FITTED, "x'); import os", None, X[:3]),
    "no_examples": lambda: saver(FITTED, X[:0]),
    "too_many_examples": lambda: saver(FITTED, np.tile(X, (2, 1))),
    "examples_of_one_dimension": lambda: saver(FITTED, X[0]),
    "threshold_above_1": lambda: saver(FITTED, threshold=1.5),
    "threshold_of_a_regressor": lambda: saver(LinearRegression().fit(X, X[:, 0]), threshold=0.5),
    "too_few_feature_names": lambda: saver(FITTED, metadata={"feature_names": ["a"]}),
    "equal_feature_names": lambda: saver(FITTED, metadata={"feature_names": ["a", "a", "b"]}),
    "metadata_not_json": lambda: saver(FITTED, metadata={"when": object()}),
    "infinite_example": lambda: saver(
        HistGradientBoostingClassifier(max_iter=2).fit(X, Y), np.array([[1.0, np.inf, 0.0]])
    ),
    "column_name_not_text": lambda: saver(FITTED, pd.DataFrame(X[:3])),
    "column_of_durations": lambda: saver(FITTED, pd.DataFrame({"a": pd.timedelta_range("1D", periods=3)})),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_registration_is_rejected(case: str, snapshot: SnapshotAssertion) -> None:
    with pytest.raises(RegistrationError) as rejected:
        INVALID[case]()

    assert str(rejected.value) == snapshot


class SeesTheIndex(BaseEstimator):  # type: ignore[misc]
    """Predictions depend on the index of the input, which a request does not contain."""

    def predict(self, frame: pd.DataFrame) -> Any:
        return frame.index.to_numpy(float)


def test_examples_that_json_would_change_are_rejected() -> None:
    examples = pd.DataFrame({"a": [1.0, 2.0]}, index=[1, 0])

    with pytest.raises(RegistrationError, match=r"row 0: prediction: expected 1, got 0"):
        saver(SeesTheIndex(), examples)


def test_pandas_missing_values_of_every_kind_are_missing() -> None:
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None, 3], dtype="Int64"),
            "s": pd.array(["a", None, "c"], dtype="string"),
            "o": ["a", float("nan"), None],
        }
    )
    model = make_pipeline(
        FunctionTransformer(lambda frame: frame.notna().to_numpy(float)), LinearRegression()
    ).fit(frame, [1.0, 2.0, 3.0])

    assert saver(model, frame[:2]).golden.rows[:2] == [[1, "a", "a"], [None, None, None]]


def test_whole_numbers_in_an_object_column_are_whole_numbers() -> None:
    frame = pd.DataFrame({"i": pd.Series([1, 2, 2**40], dtype=object)})
    model = make_pipeline(FunctionTransformer(lambda frame: frame.to_numpy(float)), LinearRegression()).fit(
        frame, [1.0, 2.0, 3.0]
    )

    assert saver(model, frame).golden.rows == [[1], [2], [2**40], [2**53 + 1]]


def test_edge_cases_are_found_by_calling_the_model() -> None:
    frame = pd.DataFrame(
        {"age": X[:, 0], "region": np.where(X[:, 1] > 0, "north", "south"), "id": 2**53 + 2 * np.arange(120)}
    )
    frame.loc[3, "age"] = None
    encode = ColumnTransformer(
        [("region", OneHotEncoder(handle_unknown="ignore"), ["region"])], remainder="passthrough"
    )
    model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=10)).fit(frame, Y)

    golden = saver(model, frame[:20]).golden
    rows = dict(zip(golden.origins, golden.rows, strict=True))

    assert rows[Origin("missing", "age")][0] is None
    assert rows[Origin("unseen", "region")][1] == "tier0-unseen"
    assert rows[Origin("large_integer", "id")][2] == 2**53 + 1
    below, above = (rows[Origin("boundary", "age", side)][0] for side in ("below", "above"))
    assert below < above
    assert np.isclose(below, above, rtol=1e-8)
    assert np.float32(below) == np.float32(above), "a service that casts to float32 cannot tell them apart"
    assert golden.categories == {"region": ["north", "south"]}
    assert (golden.seconds or 0) > 0


def test_a_model_without_jumps_has_no_boundaries_and_one_decision() -> None:
    golden = saver(LogisticRegression().fit(X, Y)).golden

    assert not golden.with_origin("boundary")
    after = golden.origins.index(Origin("decision", side="after"))
    assert golden.predictions[after - 1] != golden.predictions[after]


def test_synthetic_golden_rows_are_not_given_rows() -> None:
    frame = pd.DataFrame(
        {"age": X[:, 0], "name": [f"team {number % 9}" for number in range(120)], "visits": np.arange(120)}
    )
    encode = ColumnTransformer(
        [("name", OneHotEncoder(handle_unknown="ignore"), ["name"])], remainder="passthrough"
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(frame, Y)

    golden = golden_rows(model, frame[:50], synthetic=12)

    assert golden.origins[:12] == [Origin("synthetic")] * 12
    given = frame[:50].to_numpy().tolist()
    assert not [row for row in golden.rows if row in given]
    assert all(X[:50, 0].min() <= row[0] <= X[:50, 0].max() for row in golden.rows[:12])
    assert (
        golden.predictions[:12]
        == model.predict(pd.DataFrame(golden.rows[:12], columns=golden.columns)).tolist()
    )


def test_texts_that_may_be_names_are_not_repeated_in_synthetic_rows() -> None:
    frame = pd.DataFrame({"age": X[:, 0], "name": [f"person {number}" for number in range(120)]})
    encode = ColumnTransformer(
        [("name", OneHotEncoder(handle_unknown="ignore"), ["name"])], remainder="passthrough"
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(frame, Y)

    with pytest.raises(RegistrationError, match=r"column 'name' .* 50 "):
        golden_rows(model, frame[:50], synthetic=12)


def test_a_pipeline_that_corrects_spelling_itself_has_no_vocabulary() -> None:
    frame = pd.DataFrame({"region": np.where(X[:, 0] > 0, "North", "South")})
    lower = FunctionTransformer(
        lambda frame: frame.apply(lambda column: column.str.lower()), feature_names_out="one-to-one"
    )
    model = make_pipeline(lower, OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(frame, Y)

    assert saver(model, frame[:10]).signature.features[0].vocabulary is None


def test_a_sparse_matrix_and_float32_keep_their_types() -> None:
    sparse = csr_matrix(np.where(np.abs(X) > 0.5, X, 0.0))
    narrow = X.astype(np.float32)

    of_sparse = saver(LogisticRegression().fit(sparse, Y), sparse[:10])
    of_narrow = saver(HistGradientBoostingClassifier(max_iter=5).fit(narrow, Y), narrow[:10])

    assert of_sparse.signature.container == "csr"
    assert of_sparse.golden.rows[0] == sparse[0].toarray()[0].tolist()
    assert of_narrow.signature.array_dtype == "float32"
