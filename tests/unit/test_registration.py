from __future__ import annotations

import asyncio
from dataclasses import replace
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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from xgboost import DMatrix, XGBClassifier
from xgboost import train as train_booster

from tier0 import register_model_for_serving
from tier0.core.errors import ModelChangedError, RegistrationError
from tier0.golden.capture import golden_rows
from tier0.golden.rows import Origin
from tier0.serving.entry import Entry
from tier0.serving.registration import ModelSaver, RegisteredModel, find_framework

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
Y = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")


def saver(model: Any, examples: Any = X[:10], **options: Any) -> ModelSaver:
    return ModelSaver(model, "m", options.pop("metadata", None), examples, **options)


def test_golden_rows_are_what_the_model_in_memory_gives() -> None:
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


def test_where_values_may_be_missing_is_found_by_asking() -> None:
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
    ("estimator", "framework"),
    [
        (LogisticRegression(), "sklearn"),
        (XGBClassifier(), "xgboost"),
        (LGBMClassifier(), "lightgbm"),
        (make_pipeline(StandardScaler(), LGBMClassifier()), "lightgbm"),
    ],
)
def test_the_framework_is_found_from_the_object(estimator: Any, framework: str) -> None:
    assert find_framework(estimator) == framework


def test_a_classifier_without_probabilities_and_a_regressor_have_none() -> None:
    assert saver(LinearSVC().fit(X, Y)).golden.probabilities is None
    regression = saver(LinearRegression().fit(X, X[:, 0]))
    assert (regression.golden.probabilities, regression.signature.task, regression.golden.classes) == (
        None,
        "regression",
        [],
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: saver(train_booster({}, DMatrix(X, X[:, 0]), 2)),
            "is a xgboost Booster, which does not follow",
        ),
        (lambda: saver(object()), "does not follow scikit-learn's interface"),
        (
            lambda: ModelSaver(LogisticRegression().fit(X, Y), "My Model", None, X[:3]),
            "model_name = 'My Model' is no name for BentoML",
        ),
        (
            lambda: ModelSaver(LogisticRegression().fit(X, Y), "x'); import os", None, X[:3]),
            "is no name for BentoML",
        ),
        (lambda: saver(LogisticRegression().fit(X, Y), X[:0]), "must have 1 to 200 rows"),
        (lambda: saver(LogisticRegression().fit(X, Y), np.tile(X, (2, 1))), "must have 1 to 200 rows"),
        (lambda: saver(LogisticRegression().fit(X, Y), X[0]), "examples must be a numeric array"),
        (
            lambda: saver(LogisticRegression().fit(X, Y), threshold=1.5),
            "threshold must be a number from 0 to 1",
        ),
        (
            lambda: saver(LinearRegression().fit(X, X[:, 0]), threshold=0.5),
            "requires a model with predict_proba and two classes",
        ),
        (
            lambda: saver(LogisticRegression().fit(X, Y), metadata={"feature_names": ["a"]}),
            "has 1 names for 3 columns",
        ),
        (
            lambda: saver(LogisticRegression().fit(X, Y), metadata={"feature_names": ["a", "a", "b"]}),
            "feature_names must be unique",
        ),
        (
            lambda: saver(LogisticRegression().fit(X, Y), metadata={"when": object()}),
            "metadata holds something that JSON cannot",
        ),
        (
            lambda: saver(
                HistGradientBoostingClassifier(max_iter=2).fit(X, Y), np.array([[1.0, np.inf, 0.0]])
            ),
            "examples must be finite",
        ),
        (
            lambda: saver(LogisticRegression().fit(X, Y), pd.DataFrame(X[:3])),
            "column names of examples must be strings",
        ),
        (
            lambda: saver(
                LogisticRegression().fit(X, Y), pd.DataFrame({"a": pd.date_range("2024", periods=3)})
            ),
            "column 'a' of examples must contain only",
        ),
    ],
)
def test_what_cannot_be_registered_is_refused(make: Any, says: str) -> None:
    with pytest.raises(RegistrationError, match=says.replace("(", r"\(").replace(")", r"\)")):
        make()


class SeesTheDtype(BaseEstimator):  # type: ignore[misc]
    """Answers by the dtype of what it is asked with, which a request cannot bring."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        return np.full(len(frame), float(frame["grade"].cat.ordered))


def test_examples_that_json_would_change_are_refused() -> None:
    examples = pd.DataFrame({"grade": pd.Categorical(["a", "b"], ordered=True)})

    with pytest.raises(RegistrationError, match=r"row 0: predictions: expected 1\.0, got 0\.0"):
        saver(SeesTheDtype(), examples)


def test_a_forest_of_many_threads_is_proven_every_time() -> None:
    model = RandomForestClassifier(n_estimators=60, n_jobs=4, min_samples_leaf=3, random_state=0).fit(X, Y)

    assert len({str(replace(saver(model, X).golden, seconds=None)) for _ in range(5)}) == 1
    assert model.n_jobs == 4


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


def test_a_model_that_cannot_be_pickled_is_refused(tmp_path: Path) -> None:
    model = LinearRegression().fit(X, X[:, 0])
    model.lock = __import__("threading").Lock()

    with pytest.raises(RegistrationError, match="the model cannot be pickled"):
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
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    with pytest.raises(ModelChangedError, match="the model that was saved is not the model in memory: row"):
        asyncio.run(register_model_for_serving(Forgetful().fit(X, Y), "m", examples=X[:10], store=tmp_path))

    assert not list((tmp_path / "models").glob("m/*/model.yaml"))


class Unloadable(LogisticRegression):  # type: ignore[misc]
    def __setstate__(self, state: dict[str, Any]) -> None:
        raise OSError("the licence server does not answer")


def test_a_model_that_cannot_be_loaded_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelChangedError, match="a fresh interpreter cannot use the saved model: OSError: the licence server"
    ):
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


def test_edge_cases_are_found_by_asking_the_model() -> None:
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


def test_synthetic_golden_rows_are_nobodys() -> None:
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


def test_a_pipeline_that_mends_spelling_itself_has_no_vocabulary_of_ours() -> None:
    frame = pd.DataFrame({"region": np.where(X[:, 0] > 0, "North", "South")})
    lower = FunctionTransformer(
        lambda frame: frame.apply(lambda column: column.str.lower()), feature_names_out="one-to-one"
    )
    model = make_pipeline(lower, OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(frame, Y)

    assert saver(model, frame[:10]).signature.features[0].vocabulary is None


def test_a_sparse_matrix_and_float32_are_asked_as_they_were_trained() -> None:
    sparse = csr_matrix(np.where(np.abs(X) > 0.5, X, 0.0))
    narrow = X.astype(np.float32)

    of_sparse = saver(LogisticRegression().fit(sparse, Y), sparse[:10])
    of_narrow = saver(HistGradientBoostingClassifier(max_iter=5).fit(narrow, Y), narrow[:10])

    assert of_sparse.signature.container == "csr"
    assert of_sparse.golden.rows[0] == sparse[0].toarray()[0].tolist()
    assert of_narrow.signature.array_dtype == "float32"
