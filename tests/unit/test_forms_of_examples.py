"""Examples in every form that a request or a data frame library has are taken, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from tier0.core.errors import InvalidRowError, RegistrationError
from tier0.golden.capture import golden_rows, infer_signature

RNG = np.random.default_rng(0)
N = 60
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(40, 10, N),
        "visits": RNG.integers(0, 9, N),
        "region": RNG.choice(["north", "south"], N),
        "member": RNG.random(N) > 0.5,
    }
)
Y = (FRAME["age"] + FRAME["visits"] > 44).astype(int)
MODEL = make_pipeline(
    make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["region"]), remainder="passthrough"),
    HistGradientBoostingClassifier(max_iter=3),
).fit(FRAME, Y)
NUMBERS = FRAME[["age", "visits"]].to_numpy()
OF_NUMBERS = LogisticRegression().fit(NUMBERS, Y)
FEW = FRAME[:6]


def pyarrow_table() -> Any:
    return pytest.importorskip("pyarrow").Table.from_pandas(FEW)


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame(FEW.to_dict("list"))


class FrameOfAnotherLibrary:
    """Like polars without pyarrow, which its ``to_pandas`` needs."""

    columns = tuple(FEW.columns)

    def to_pandas(self) -> Any:
        raise ModuleNotFoundError("No module named 'pyarrow'")

    def to_dict(self, *, as_series: bool) -> Any:
        assert not as_series
        return FEW.to_dict("list")


NAMED: dict[str, Callable[[], Any]] = {
    "frame": lambda: FEW,
    "records": lambda: FEW.to_dict("records"),
    "rows": lambda: FEW.to_numpy().tolist(),
    "tuples": lambda: tuple(map(tuple, FEW.to_numpy().tolist())),
    "columns": lambda: FEW.to_dict("list"),
    "records_in_another_order": lambda: FEW[["member", "age", "region", "visits"]].to_dict("records"),
    "pyarrow": pyarrow_table,
    "polars": polars_frame,
    "another_library": FrameOfAnotherLibrary,
}


@pytest.mark.parametrize("form", NAMED)
def test_rows_with_names_are_a_frame(form: str) -> None:
    golden = golden_rows(MODEL, NAMED[form]())

    assert golden.columns == list(FRAME.columns)
    assert golden.rows[:6] == FEW.astype(object).to_numpy().tolist()
    assert golden.predictions[:6] == MODEL.predict(FEW).tolist()
    assert (golden.probabilities or [])[:6] == MODEL.predict_proba(FEW).tolist()


def test_a_single_record_is_one_row() -> None:
    golden = golden_rows(MODEL, FEW.to_dict("records")[0])

    assert golden.examples.rows == FEW[:1].astype(object).to_numpy().tolist()


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_rows_of_numbers_are_an_array(kind: Callable[[Any], Any]) -> None:
    rows = [kind(row) for row in NUMBERS[:6].tolist()]

    golden = golden_rows(OF_NUMBERS, rows)

    assert golden.rows[:6] == NUMBERS[:6].tolist()
    # The golden rows are predicted together with others: some processors then round the last bit otherwise.
    expected = OF_NUMBERS.predict_proba(NUMBERS[:6])
    assert np.allclose((golden.probabilities or [])[:6], expected, rtol=1e-12, atol=0)


def test_whole_numbers_in_a_list_accept_fractions() -> None:
    signature = infer_signature(OF_NUMBERS, [[40, 3], [51, 2]], None)

    assert signature.parse([[40.5, 2.5]]) == [[40.5, 2.5]]


def test_none_in_a_list_is_a_missing_value() -> None:
    records = FEW.to_dict("records")
    records[0]["age"] = None

    golden = golden_rows(MODEL, records)

    assert golden.rows[0][0] is None
    assert golden.predictions[:1] == MODEL.predict(FEW[:1].assign(age=np.nan)).tolist()


REFUSED: dict[str, Callable[[], Any]] = {
    "a_flat_list": lambda: [1.0, 2.0],
    "ragged_rows": lambda: [[1.0, 2.0], [1.0]],
    "empty": list,
    "no_values": lambda: [[]],
    "texts": lambda: ["a", "b"],
    "one_text": lambda: "a",
    "nothing": lambda: None,
    "a_generator": lambda: (row for row in NUMBERS),
    "a_series": lambda: FRAME.iloc[0],
    "a_column": lambda: FRAME["age"],
    "a_vector": lambda: NUMBERS[0],
    "a_number": lambda: np.array(3.0),
    "a_masked_array": lambda: np.ma.masked_array(NUMBERS[:3]),
    "a_structured_array": lambda: FEW[["age"]].to_records(index=False),
    "two_columns_with_one_name": lambda: pd.concat([FEW[["age"]], FEW[["age"]]], axis=1),
    "columns_of_different_lengths": lambda: {"age": [1.0, 2.0], "visits": [1.0]},
    "mixed_values": lambda: [[1.0, "a"], ["b", 2.0]],
    "rows_and_records": lambda: [{"age": 1.0}, [2.0]],
    "records_with_other_keys": lambda: [{"age": 1.0, "visits": 2}, {"age": 1.0}],
    "too_many": lambda: np.tile(NUMBERS, (4, 1)).tolist(),
}


@pytest.mark.parametrize("form", REFUSED)
def test_other_forms_are_refused_by_name(form: str) -> None:
    with pytest.raises(RegistrationError, match=r"example|column"):
        golden_rows(OF_NUMBERS, REFUSED[form]())


def test_a_list_of_another_width_than_the_model_is_refused() -> None:
    with pytest.raises(RegistrationError, match="4 features"):
        golden_rows(MODEL, [[1.0, 2.0]])


def test_a_vectorizer_of_texts_needs_a_step_that_selects_the_column() -> None:
    texts = pd.DataFrame({"text": FRAME["region"]})
    bare = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts["text"], Y)
    selecting = make_pipeline(
        FunctionTransformer(lambda frame: frame["text"]), CountVectorizer(), LogisticRegression()
    )

    with pytest.raises(RegistrationError, match="one for each column"):
        golden_rows(bare, texts[:6])
    assert len(golden_rows(selecting.fit(texts, Y), texts[:6])) >= 6


WORDS = FRAME["region"]
DTYPES: dict[str, Any] = {
    "int8": FRAME["visits"].astype("int8").astype("category"),
    "float": (FRAME["visits"] / 2).astype("category"),
    "float32": (FRAME["visits"] / 4).astype("float32").astype("category"),
    "bool": FRAME["member"].astype("category"),
    "text": WORDS.astype("category"),
    "object": pd.Categorical(WORDS.astype(object), pd.Index(["north", "south"], dtype=object)),
    "ordered": pd.Categorical(WORDS, ["south", "north"], ordered=True),
    "unused": pd.Categorical(WORDS, ["north", "east", "south"]),
    "missing": pd.Categorical(WORDS.where(FRAME["visits"] > 4), ["north", "south"]),
}


class KeepsDtypes(LogisticRegression):  # type: ignore[misc]
    """Fails unless its input has exactly the dtypes of the training data."""

    def fit(self, frame: Any, y: Any) -> Any:
        self.dtypes_ = frame.dtypes
        return super().fit(self._numbers(frame), y)

    def _numbers(self, frame: Any) -> Any:
        assert frame.dtypes.equals(self.dtypes_), frame.dtypes
        return frame.assign(k=frame["k"].cat.codes).to_numpy(float)

    def predict(self, frame: Any) -> Any:
        return super().predict(self._numbers(frame))

    def predict_proba(self, frame: Any) -> Any:
        return super().predict_proba(frame if isinstance(frame, np.ndarray) else self._numbers(frame))

    def decision_function(self, frame: Any) -> Any:
        return super().decision_function(frame)


@pytest.mark.parametrize("dtype", DTYPES)
def test_categories_keep_their_dtype_and_order(dtype: str) -> None:
    frame = FRAME[["age"]].assign(k=DTYPES[dtype])
    model = KeepsDtypes().fit(frame, Y)

    golden = golden_rows(model, frame[:10])

    assert golden.predictions[:10] == model.predict(frame[:10]).tolist()
    assert [row[1] for row in golden.rows[:10]] == [
        None if pd.isna(value) else value for value in frame["k"][:10].astype(object)
    ]


@pytest.mark.parametrize(
    "categories",
    [pd.cut(FRAME["age"], 3), pd.Series(pd.to_datetime(FRAME["visits"], unit="D")).astype("category")],
    ids=["intervals", "dates"],
)
def test_categories_that_json_cannot_represent_are_refused(categories: Any) -> None:
    with pytest.raises(RegistrationError, match="categories of column 'k'"):
        golden_rows(OF_NUMBERS, pd.DataFrame({"k": categories})[:5])


@pytest.mark.parametrize(
    ("dtype", "whole"),
    [
        ("int64[pyarrow]", True),
        ("Int16", True),
        ("double[pyarrow]", False),
        ("Float32", False),
        ("float16", False),
    ],
)
def test_columns_of_numbers_keep_their_dtype(dtype: str, *, whole: bool) -> None:
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": FRAME["visits"].astype(dtype), "b": FRAME["age"]})
    model = HistGradientBoostingClassifier(max_iter=3).fit(frame, Y)

    signature = infer_signature(model, frame[:6], None)

    assert signature.to_container([[1, 2.0]]).dtypes["a"] == frame.dtypes["a"]
    assert golden_rows(model, frame[:6]).predictions[:6] == model.predict(frame[:6]).tolist()
    with pytest.raises(InvalidRowError):
        signature.parse([[2.5 if whole else 1e300 if dtype != "double[pyarrow]" else "a", 1.0]])


@pytest.mark.parametrize("dtype", ["string[pyarrow]", "large_string[pyarrow]"])
def test_texts_of_arrow_keep_their_dtype(dtype: str) -> None:
    pa = pytest.importorskip("pyarrow")
    of_arrow = pd.ArrowDtype(pa.string() if dtype == "string[pyarrow]" else pa.large_string())
    frame = pd.DataFrame({"region": WORDS.astype(of_arrow)})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(frame, Y)

    signature = infer_signature(model, frame[:6], None)

    assert signature.to_container([["north"], ["south"]]).dtypes["region"] == of_arrow


def test_sparse_columns_are_dense_in_requests() -> None:
    frame = pd.DataFrame(NUMBERS, columns=["a", "b"]).astype(pd.SparseDtype("float64", 0.0))
    model = LogisticRegression().fit(frame, Y)

    assert golden_rows(model, frame[:6]).predictions[:6] == model.predict(frame[:6]).tolist()
