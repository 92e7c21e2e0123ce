"""Defects that are simulated in memory, and the golden rows that are chosen because they show them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tier0.core.errors import RegistrationError
from tier0.golden import defects as simulated
from tier0.golden.capture import golden_rows
from tier0.golden.defects import MAX_DEFECTS
from tier0.golden.rows import GoldenRows, Simulation
from tier0.golden.selection import MAX_CHOSEN
from tier0.golden.simulations import MAX_COMPRESSED_BYTES, compressed

RNG = np.random.default_rng(0)
COUNT = 300
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(18, 90, COUNT),
        "score": RNG.normal(0.0, 1.0, COUNT),
        "income": RNG.normal(40_000.0, 9_000.0, COUNT),
        "city": RNG.choice(["Paris", "K\u00f6ln", "Rom"], COUNT),
        "member": RNG.random(COUNT) < 0.3,
    }
)
FRAME.loc[::7, "income"] = np.nan
RAISED = FRAME["age"] / 60 + FRAME["score"] + (FRAME["city"] == "Rom") + FRAME["member"]
LABELS = np.where(RAISED > 1.5, "yes", "no")
NUMBERS = ["age", "score", "income"]


def classifier() -> Pipeline:
    numbers = Pipeline([("impute", SimpleImputer(add_indicator=False)), ("scale", StandardScaler())])
    encode = ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("city", OneHotEncoder(handle_unknown="ignore"), ["city"])],
        remainder="passthrough",
    )
    return Pipeline([("encode", encode), ("decide", LogisticRegression(max_iter=1000))]).fit(FRAME, LABELS)


MODEL = classifier()
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(simulated, "MAX_SECONDS", 60.0)  # all are simulated, also on a busy machine
    GOLDEN = golden_rows(MODEL, FRAME[:40], threshold=0.3)
ARRAY = np.random.default_rng(1).normal(size=(COUNT, 3))
REGRESSOR = make_pipeline(StandardScaler(), LinearRegression()).fit(ARRAY, ARRAY @ [3.0, -2.0, 0.5] + 7)


@pytest.fixture(autouse=True)
def much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "MAX_SECONDS", 60.0)


def simulation(golden: GoldenRows, sentence: str) -> Simulation:
    found = {one.sentence: one for one in golden.simulations}
    assert sentence in found, sorted(found)
    return found[sentence]


def frame_of(golden: GoldenRows) -> pd.DataFrame:
    frame = pd.DataFrame(golden.rows, columns=golden.columns)
    return frame.astype({"score": float, "income": float})


def without(step: str) -> Any:
    changed = copy.deepcopy(MODEL)
    numbers = changed.named_steps["encode"].named_transformers_["numbers"]
    numbers.steps = [
        (name, "passthrough" if name == step else transformer) for name, transformer in numbers.steps
    ]
    return changed


def zero(column: str) -> Callable[[pd.DataFrame], Any]:
    return lambda frame: MODEL.predict_proba(frame.assign(**{column: 0}))


def with_column(column: str, change: Callable[[Any], Any]) -> Callable[[pd.DataFrame], Any]:
    return lambda frame: MODEL.predict_proba(frame.assign(**{column: change(frame[column])}))


def most_frequent(frame: pd.DataFrame) -> Any:
    return MODEL.predict_proba(frame.assign(city=FRAME["city"][:40].mode()[0]))


def swapped(frame: pd.DataFrame) -> Any:
    return MODEL.predict_proba(frame.assign(score=frame["income"], income=frame["score"]))


def whole(frame: pd.DataFrame) -> Any:
    return MODEL.predict_proba(frame.assign(score=np.trunc(frame["score"]), income=np.trunc(frame["income"])))


SERVICES: list[tuple[str, Callable[[pd.DataFrame], Any]]] = [
    ("column 'score' were 0", zero("score")),
    ("column 'age' were 0", zero("age")),
    ("column 'member' were false", with_column("member", lambda column: column & False)),
    ("column 'income' were missing", with_column("income", lambda column: column * np.nan)),
    ("column 'city' were always its most frequent value", most_frequent),
    ("columns 'score' and 'income' were swapped", swapped),
    ("numbers were rounded to 2 digits", with_column("score", lambda column: column.round(2))),
    ("numbers were cut to whole numbers", whole),
    ("missing numbers were 0", with_column("income", lambda column: column.fillna(0))),
    ("the step 'scale' (StandardScaler) were left out", lambda frame: without("scale").predict_proba(frame)),
    ("the probabilities were in reverse order of the classes", lambda f: MODEL.predict_proba(f)[:, ::-1]),
]


@pytest.mark.parametrize(("sentence", "service"), SERVICES, ids=[sentence for sentence, _ in SERVICES])
def test_a_simulated_defect_has_the_outputs_of_a_service_with_it(
    sentence: str, service: Callable[[pd.DataFrame], Any]
) -> None:
    complete = [index for index, row in enumerate(GOLDEN.rows) if None not in (row[0], row[1], row[4])]
    golden = GOLDEN.take(complete)
    expected = service(frame_of(golden))

    found = simulation(golden, sentence)

    assert np.allclose(found.probabilities or [], expected, atol=1e-9)
    assert found.is_distinguished
    tolerances = GOLDEN.tolerances(same_arithmetic=False, same_batch=False)
    served = {"predictions": golden.predictions, "probabilities": expected.tolist()}
    assert golden.compare(served, tolerance=tolerances) is not None
    healthy = MODEL.predict_proba(frame_of(golden)).tolist()
    assert golden.compare({**served, "probabilities": healthy}, tolerance=tolerances) is None


def test_defects_of_answers_need_no_model() -> None:
    second = [probabilities[1] for probabilities in GOLDEN.probabilities or []]

    at_half = simulation(GOLDEN, "the threshold were 0.5").predictions
    assert at_half == ["yes" if value >= 0.5 else "no" for value in second]
    swapped_labels = simulation(GOLDEN, "the two labels were swapped").predictions
    assert all(one != other for one, other in zip(swapped_labels, GOLDEN.predictions, strict=True))
    assert set(simulation(GOLDEN, "every row got the answer for the first one").predictions) == {
        GOLDEN.predictions[0]
    }


def test_a_cache_that_ignores_a_column_is_shown_by_rows_that_differ_in_it_only() -> None:
    found = simulation(GOLDEN, "a cache ignored column 'score'")
    answers: dict[str, Any] = {}
    for index, row in enumerate(GOLDEN.rows):
        answers.setdefault(str([row[0], *row[2:]]), GOLDEN.predictions[index])

    assert found.is_distinguished
    assert found.predictions == [answers[str([row[0], *row[2:]])] for row in GOLDEN.rows]


def test_the_order_of_columns_and_their_limits_are_simulated() -> None:
    golden = golden_rows(REGRESSOR, ARRAY[:20], feature_names=["c", "a", "b"])
    rows = np.array(golden.rows)

    by_name = simulation(golden, "columns were sorted by name").predictions
    assert np.allclose(by_name, REGRESSOR.predict(rows[:, [1, 2, 0]]))
    limited = simulation(golden, "column 'c' were limited to the range of the examples").predictions
    low, high = ARRAY[:20, 0].min(), ARRAY[:20, 0].max()
    assert np.allclose(limited, REGRESSOR.predict(np.c_[rows[:, 0].clip(low, high), rows[:, 1:]]))
    assert golden.with_origin("outside", "c")
    count = len(golden.simulations)
    assert golden.power == f"these {len(golden)} rows distinguish {count} of {count} simulated defects"


def test_a_target_transform_that_is_left_out_is_simulated() -> None:
    model = TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1)
    model.fit(ARRAY, np.exp(ARRAY[:, 0]))

    golden = golden_rows(model, ARRAY[:20])

    assert np.allclose(
        simulation(golden, "the target's transform were left out").predictions,
        np.log1p(golden.predictions),
    )


def test_a_scaler_that_is_fitted_on_the_request_is_simulated_for_the_request_of_the_examples() -> None:
    golden = golden_rows(REGRESSOR, ARRAY[:20])
    scaled = StandardScaler().fit_transform(ARRAY[:20])

    found = simulation(golden, "the step 'standardscaler' (StandardScaler) were fitted on the request")

    assert np.allclose(found.predictions[:20], REGRESSOR[-1].predict(scaled))
    assert found.is_distinguished


def test_the_order_of_several_outputs_is_simulated() -> None:
    model = LinearRegression().fit(ARRAY, np.c_[ARRAY[:, 0], ARRAY[:, 1]])

    golden = golden_rows(model, ARRAY[:20])

    assert simulation(golden, "the outputs were in reverse order").predictions == [
        row[::-1] for row in golden.predictions
    ]


def test_the_model_is_left_as_it_was() -> None:
    model, untouched = classifier(), classifier()

    golden_rows(model, FRAME[:20])

    assert np.array_equal(model.predict_proba(FRAME), untouched.predict_proba(FRAME))
    assert [name for name, _ in model.steps] == ["encode", "decide"]
    assert model.named_steps["encode"].transformers_[0][1].steps[1][0] == "scale"


def test_a_column_that_the_model_ignores_is_not_simulated() -> None:
    model = LinearRegression().fit(ARRAY, ARRAY[:, 0])
    model.coef_[1:] = 0.0

    columns = {one.column for one in golden_rows(model, ARRAY[:20]).simulations}

    assert columns == {None, "x0"}


def test_what_no_row_shows_is_named() -> None:
    model = RandomForestClassifier(5, random_state=0).fit(ARRAY, ARRAY[:, 0] > 0)

    golden = golden_rows(model, ARRAY[:20])

    shown = [one.sentence for one in golden.simulations if one.is_distinguished]
    assert golden.not_distinguished == [
        one.sentence for one in golden.simulations if not one.is_distinguished
    ]
    assert "numbers were cast to float32" in golden.not_distinguished, "a forest itself casts them"
    assert {sentence for sentence, rows in golden.distinguishes.items() if rows} == set(shown)


def test_rows_of_unusual_texts_are_those_that_the_model_accepts() -> None:
    texts = pd.DataFrame({"text": ["good caf\u00e9", "bad day", "good day", "no caf\u00e9"] * 10})
    select = FunctionTransformer(lambda frame: frame["text"])
    model = make_pipeline(select, TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 10)

    golden = golden_rows(model, texts[:8])
    unusual = [row[0] for row in golden.with_origin("text").rows]

    assert "" in unusual
    assert any("\n" in text for text in unusual)
    assert "good cafe\u0301" in unusual
    assert max(map(len, unusual)) > 1000

    strict = make_pipeline(
        ColumnTransformer([("text", OneHotEncoder(handle_unknown="error"), ["text"])]), LogisticRegression()
    ).fit(texts, [1, 0, 1, 0] * 10)
    assert not golden_rows(strict, texts[:8]).with_origin("text")


def test_a_text_that_ends_at_a_line_break_or_is_too_long_changes_the_output() -> None:
    texts = ["good fast", "bad slow", "good item", "bad late"] * 10
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 10)
    unusual = golden_rows(model, texts[:8]).with_origin("text")

    sent: list[str] = [row[0] for row in unusual.rows]
    for cut in ([text.split("\n")[0] for text in sent], [text[:512] for text in sent]):
        assert model.predict_proba(cut).tolist() != unusual.probabilities


def test_a_huge_output_does_not_hide_differences_in_others() -> None:
    frame = pd.DataFrame({"id": np.arange(30), "x": np.linspace(0.0, 1.0, 30)})
    golden = golden_rows(LinearRegression().fit(frame, frame["x"] + frame["id"]), frame)

    assert golden.with_origin("large_integer")
    assert golden.tolerance("predictions", same_arithmetic=False, same_batch=False).absolute < 1e-9
    off = [value + 1e-6 for value in golden.predictions]
    tolerances = golden.tolerances(same_arithmetic=False, same_batch=False)
    assert golden.compare({"predictions": off}, tolerance=tolerances) is not None


def test_a_decision_is_found_where_other_columns_keep_the_label() -> None:
    drawn = np.random.default_rng(3)
    frame = pd.DataFrame({"x": drawn.normal(size=200), "member": drawn.random(200) < 0.5})
    is_yes = frame["x"] + 6 * frame["member"] > 1
    golden = golden_rows(LogisticRegression(max_iter=1000).fit(frame, is_yes), frame[:30])

    near = golden.with_origin("decision")
    assert set(near.predictions) == {True, False}
    assert all(abs(second - 0.5) < 1e-6 for _, second in near.probabilities or ())


def test_each_column_has_a_value_outside_the_range_that_changes_the_output() -> None:
    golden = golden_rows(REGRESSOR, ARRAY[:20])

    outside = golden.with_origin("outside")
    assert {origin.column for origin in outside.origins} == set(golden.columns)


def test_a_column_that_may_lack_values_has_a_row_with_0() -> None:
    drawn = np.random.default_rng(3)
    frame = pd.DataFrame({"age": drawn.uniform(20, 80, 200), "income": drawn.uniform(1, 9, 200)})
    frame.loc[::7, "age"] = np.nan
    model = make_pipeline(SimpleImputer(), LinearRegression())
    golden = golden_rows(model.fit(frame, frame["age"].fillna(50) + frame["income"]), frame[:30])

    with_zero = [
        simulation
        for simulation in golden.simulations
        if simulation.sentence == "0 in column 'age' were missing"
    ]
    assert [simulation.is_distinguished for simulation in with_zero] == [True]
    assert 0.0 in [row[0] for row in golden.edge_cases.rows]


def test_the_rows_and_the_defects_are_limited() -> None:
    wide = np.random.default_rng(0).normal(size=(100, 40))
    golden = golden_rows(LogisticRegression().fit(wide, wide.sum(axis=1) > 0), wide)

    kinds = {one.kind for one in golden.simulations}
    assert len(golden.simulations) <= MAX_DEFECTS
    assert len(golden.edge_cases) <= MAX_CHOSEN + 24
    assert len(golden.with_origin("inside")) >= 10
    assert kinds >= {"defaulted_column", "cached_without_column", "clipped_column", "swapped_columns"}


def test_outputs_that_are_too_large_for_a_file_are_of_fewer_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tier0.golden.selection.MAX_COMPRESSED_BYTES", 4000)

    golden = golden_rows(REGRESSOR, ARRAY[:20])

    assert 0 < len(golden.simulations) < 30
    assert len(compressed(golden.simulations)) <= 4000 < MAX_COMPRESSED_BYTES


def test_without_time_nothing_is_simulated_and_the_rows_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "MAX_SECONDS", 0.0)

    golden = golden_rows(REGRESSOR, ARRAY[:20])

    assert golden.rows[:20] == ARRAY[:20].tolist()
    assert {one.kind for one in golden.simulations} <= {"constant", "cached_without_column"}


def test_a_model_that_fails_for_some_rows_has_golden_rows() -> None:
    class Careful:
        def predict(self, rows: Any) -> Any:
            if (np.abs(rows) > 2 * np.abs(ARRAY[:20]).max()).any() or (rows == 0).any():
                raise ValueError("out of range")
            return rows @ [1.0, 2.0, 3.0]

    golden = golden_rows(Careful(), ARRAY[:20])

    sentences = {one.sentence for one in golden.simulations}
    assert "column 'x0' were 0" not in sentences, "a service with it would fail"
    assert "columns 'x0' and 'x1' were swapped" in sentences


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=3, max_size=8).filter(
        lambda rows: any(one != rows[0] for one in rows)
    )
)
def test_simulated_outputs_belong_to_the_rows(rows: list[list[float]]) -> None:
    array = np.array(rows)
    model = LinearRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array([2.0, -1.0]), 1.0, 2

    golden = golden_rows(model, array)

    for one in golden.simulations:
        assert len(one.predictions) == len(golden)
        assert one.sentence in golden.distinguishes
        tolerances = golden.tolerances(same_arithmetic=False, same_batch=False)
        differs = golden.compare({"predictions": one.predictions}, tolerance=tolerances) is not None
        assert differs == one.is_distinguished
    taken = golden.take([len(golden) - 1, 0])
    assert [one.predictions for one in taken.simulations] == [
        [one.predictions[-1], one.predictions[0]] for one in golden.simulations
    ]
    assert replace(golden, simulations=()).power is None


# --- what a model's own differences allow ---


class Layer:
    """Returns something else for the examples as they are given, in columns, than for a service's array."""

    def __init__(self, *, training: bool) -> None:
        self.training = training

    def predict(self, rows: Any) -> Any:
        is_given = len(rows) == 20 and isinstance(rows, Given)
        return np.asarray(rows) @ [1.0, 2.0, 3.0] + is_given


class Given(np.ndarray):
    """An array of the user."""


def test_a_model_in_training_mode_is_refused_with_that_hint() -> None:
    given = ARRAY[:20].view(Given)

    with pytest.raises(RegistrationError, match="evaluation mode") as refusal:
        golden_rows(Layer(training=True), given)
    assert "dtypes" not in str(refusal.value)
    with pytest.raises(RegistrationError, match="dtypes") as refusal:
        golden_rows(Layer(training=False), given)
    assert "evaluation mode" not in str(refusal.value)


@pytest.mark.parametrize("seed", range(8))
def test_columns_that_are_contiguous_in_memory_change_last_bits_only(seed: int) -> None:
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({name: generator.normal(1e6, 1e3, COUNT).astype("float32") for name in "abcdefg"})
    target = frame.to_numpy(float) @ generator.normal(size=7)
    for model in (LinearRegression(), make_pipeline(StandardScaler(), LinearRegression())):
        model.fit(frame.to_numpy(), target - target.mean())

        golden = golden_rows(model, frame.to_numpy()[:30])

        assert golden.examples.rows == frame.to_numpy(float)[:30].tolist()


def test_a_model_that_needs_several_rows_is_refused_with_the_reason() -> None:
    class NeedsTwo:
        def predict(self, rows: Any) -> Any:
            if len(rows) == 1:
                raise ValueError("Expected more than 1 value per channel when training")
            return np.where(rows[:, 0] > 0, 1.0, 0.0)

    with pytest.raises(RegistrationError, match=r"fails for a single row: .*per channel.*evaluation mode"):
        golden_rows(NeedsTwo(), ARRAY[:20])


def test_edge_cases_that_the_model_cannot_predict_alone_are_left_out() -> None:
    class NeedsExamples:
        def predict(self, rows: Any) -> Any:
            if len(rows) == 1 and not (np.asarray(rows) == ARRAY[:20]).all(axis=1).any():
                raise ValueError("never seen alone")
            return np.where(rows[:, 0] > 0, 1.0, 0.0)

    golden = golden_rows(NeedsExamples(), ARRAY[:20])

    assert not golden.edge_cases
    assert golden.examples.rows == ARRAY[:20].tolist()
