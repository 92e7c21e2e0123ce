"""What becomes of each kind of feature, in training and in a request."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tier0.core.event_log import EventLog
from tier0.golden.capture import infer_signature, make_golden_rows
from tier0.pipeline.candidates import candidates_for
from tier0.pipeline.data import Dataset
from tier0.pipeline.evaluation import Predictions, evaluate, metric_lines, uncertainty_note
from tier0.pipeline.preprocessing import DateFeatures, TextFeatures, TimeFeatures
from tier0.pipeline.selection import folds_of, select

ROWS = 240
WORDS = ["good", "bad", "ugly", "fine", "awful", "great", "slow", "fast", "broken", "nice"]
KINDS: dict[str, Any] = {
    "age": "number",
    "vip": "boolean",
    "plan": "category",
    "city": "category",
    "note": "text",
    "since": "date",
    "town": "misspelled",
    "at": "time",
}


def table() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    since = pd.Series(pd.date_range("2020-01-01", periods=ROWS).strftime("%d.%m.%Y"))
    return pd.DataFrame(
        {
            "age": draw.normal(40, 10, ROWS),
            "vip": pd.Series(draw.choice(np.array([True, False, np.nan], dtype=object), ROWS), dtype=object),
            "plan": pd.Series(draw.choice(["a", "b", "c"], ROWS)),
            "city": pd.Series([f"city {number}" for number in draw.integers(0, 120, ROWS)]),
            "note": pd.Series([" ".join(draw.choice(WORDS, 6)) for _ in range(ROWS)]),
            "since": since.where(draw.random(ROWS) > 0.1),
            "town": pd.Series([f"town{'abc'[row % 3] * (row % 5)}" for row in range(ROWS)]).where(
                draw.random(ROWS) > 0.1
            ),
            "at": pd.Series([f"{row % 24}:{row % 60:02d}" for row in range(ROWS)]).where(
                draw.random(ROWS) > 0.1
            ),
        }
    )


def data(names: list[str], task: str) -> Dataset:
    frame = table()
    score = frame["note"].str.count("good") - frame["note"].str.count("bad") + frame["age"] / 20 - 2
    targets = {
        "two": np.where(score > 0, "yes", "None"),
        "three": np.array(["a", "b", "None"])[np.digitize(score, [-0.5, 0.5])],
        "number": score.to_numpy(),
    }
    kind = "regression" if task == "number" else "classification"
    kinds = {name: KINDS[name] for name in names}
    missing = {"since": ("", "?")} if "since" in names else {}
    return Dataset("d", frame[names], names, targets[task], "y", kind, missing_texts=missing, kinds=kinds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("algorithm", "task"),
    [
        ("linear", "two"),
        ("hist_gradient_boosting", "three"),
        ("lightgbm", "number"),
    ],
)
def test_every_kind_is_prepared_in_a_request_as_in_training(algorithm: str, task: str) -> None:
    dataset = data(list(KINDS), task)
    (candidate,) = candidates_for(dataset, (algorithm,), 7)
    model = candidate.build().fit(dataset.features[:200], dataset.target[:200])
    rows = dataset.features[200:].reset_index(drop=True)

    signature = infer_signature(model, rows, None)
    golden = make_golden_rows(model, signature, rows[:20])
    sent = json.loads(rows.astype(object).where(rows.notna(), None).to_json(orient="records"))
    received = signature.to_container(signature.parse(sent))
    loaded = pickle.loads(pickle.dumps(model))

    assert len(golden.examples.rows) == 20
    assert np.array_equal(loaded.predict(received), model.predict(rows))
    assert model.score(rows, dataset.target[200:]) > 0.5


@pytest.mark.parametrize("name", ["note", "city", "since", "vip", "town", "at"])
@pytest.mark.parametrize("algorithm", ["linear", "hist_gradient_boosting"])
def test_a_table_of_one_column_trains(name: str, algorithm: str) -> None:
    dataset = data([name], "three")
    (candidate,) = candidates_for(dataset, (algorithm,), 7)

    model = candidate.build().fit(dataset.features, dataset.target)

    assert set(model.predict(dataset.features)) <= {"a", "b", "None"}
    assert all(
        str(column).partition("__")[2].startswith(name) for column in model[:-1].get_feature_names_out()
    )


def test_many_categories_do_not_become_as_many_columns() -> None:
    dataset = data(["city"], "two")
    (candidate,) = candidates_for(dataset, ("linear",), 7)

    assert len(candidate.build().fit(dataset.features, dataset.target)[:-1].get_feature_names_out()) == 1


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-02-03", (2024, 2, 3)),
        ("2024-02-03T10:00:00+00:00", (2024, 2, 3)),
        ("03.02.2024", (2024, 2, 3)),
        ("02/14/2024", (2024, 2, 14)),
        ("20240203", (2024, 2, 3)),
        (20240203, (2024, 2, 3)),
        (1706918400, (2024, 2, 3)),
        (1706918400000.0, (2024, 2, 3)),
        ("1706918400", (2024, 2, 3)),
        ("1706918400000", (2024, 2, 3)),
        (pd.Timestamp(2024, 2, 3), (2024, 2, 3)),
        ("Feb 3, 2024", (2024, 2, 3)),
        ("2024-02", (2024, 2, 1)),
    ],
)
def test_a_date_is_read_however_it_is_written(written: Any, expected: tuple[int, int, int]) -> None:
    column = pd.DataFrame({"at": [written, written]})

    parts = DateFeatures().fit(column)

    found = dict(zip(parts.get_feature_names_out(), parts.transform(column)[0], strict=True))
    assert tuple(found[f"at_{part}"] for part in ("year", "month", "day")) == expected


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("06:30", 6.5),
        ("6:30", 6.5),
        (" 18:00:36 ", 18.01),
        ("18:00:36,0", 18.01),
        ("6:30 PM", 18.5),
        ("12:15 a.m.", 0.25),
        ("12:15 pm", 12.25),
        ("00:00", 0),
        ("24:00", 24),
        ("24:01", None),
        ("26:15", None),
        ("soon", None),
        (None, None),
    ],
)
def test_a_time_of_the_day_is_the_hour_and_its_place_in_the_day(written: Any, hour: float | None) -> None:
    column = pd.DataFrame({"at": ["06:30", written]}, dtype=object)

    parts = TimeFeatures().fit(column)
    found = parts.transform(column)[1]

    assert parts.get_feature_names_out().tolist() == ["at_hour", "at_sine", "at_cosine"]
    if hour is None:
        assert np.isnan(found).all()
    else:
        angle = hour / 24 * 2 * np.pi
        assert found == pytest.approx([hour, np.sin(angle), np.cos(angle)])


def test_a_misspelled_category_is_near_to_the_right_one() -> None:
    column = pd.DataFrame({"town": ["Berlin", "Hamburg", "Munich", "Cologne", "Leipzig"] * 9})
    asked = pd.DataFrame({"town": ["Berlin", "BERLIN ", "Berln", "Hamburg"]})

    parts = TextFeatures(dense=True, parts_of_words=True).fit(column)
    right, shouted, wrong, other = parts.transform(asked)

    assert shouted == pytest.approx(right)
    assert right @ wrong > 0.3 > right @ other


def test_numbers_that_are_no_dates_are_missing() -> None:
    parts = DateFeatures().fit(pd.DataFrame({"at": [1706918400.0, 1716918400.5]}))
    compact = DateFeatures().fit(pd.DataFrame({"at": [20240203, 20240301]}))

    for kind in (parts, compact):
        assert np.isnan(kind.transform(pd.DataFrame({"at": [1e300, np.inf, np.nan]}))).all()


def test_days_first_are_recognised_by_a_day_above_twelve() -> None:
    column = pd.DataFrame({"at": ["01/02/2024", "31/01/2024"]})

    assert DateFeatures().fit_transform(column)[0].tolist()[:3] == [2024, 2, 1]


def test_an_unreadable_or_missing_date_is_missing() -> None:
    known = pd.DataFrame({"at": ["2024-02-03", "2024-02-04"]})
    parts = DateFeatures().fit(known)

    unread = parts.transform(pd.DataFrame({"at": [None, "soon", ""]}, dtype=object))

    assert np.isnan(unread).all()


@pytest.mark.parametrize("texts", [["", None], ["!!", "??"], ["今日は晴れ", "明日は雨"]])
def test_texts_without_words_are_no_error(texts: list[Any]) -> None:
    column = pd.DataFrame({"note": pd.Series(texts, dtype=object)})

    for dense in (True, False):
        vectors = TextFeatures(dense=dense).fit(column).transform(column)
        assert vectors.shape[0] == 2


def test_folds_follow_the_time() -> None:
    dates = np.datetime64("2024-01-01") + np.random.default_rng(0).permutation(ROWS).astype("timedelta64[D]")
    dataset = replace(data(["age"], "two"), dates=dates)

    folds = folds_of(dataset, np.arange(ROWS), 7)

    assert len(folds) == 5
    assert all(dates[fit].max() < dates[score].min() for fit, score in folds)


def test_the_metric_of_the_selection_can_be_chosen() -> None:
    dataset = data(["age", "note"], "two")
    candidates = candidates_for(dataset, ("linear",), 7)

    selection = select(dataset, np.arange(ROWS), candidates, 7, EventLog(), chosen_metric="log_loss")

    assert selection.metric == "-log_loss"
    assert -1 < selection.scores[0].mean < 0


def test_seven_rows_are_too_few_to_tell() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1, 1])
    probabilities = np.column_stack([1.0 - labels, labels])

    few = evaluate(Predictions(labels, labels, probabilities, np.array([0, 1]), 1), 7)
    repeated = np.repeat(labels, 20)
    likely = np.repeat(probabilities, 20, axis=0)
    many = evaluate(Predictions(repeated, repeated, likely, np.array([0, 1]), 1), 7)

    assert "too few to tell" in uncertainty_note(few)
    assert "± 0.000" not in "".join(metric_lines(few) + metric_lines(many))
    assert few.intervals["accuracy"][0] == pytest.approx(0.646, abs=0.001)
    assert "too few" not in uncertainty_note(many)
    assert [row.f1 for row in many.classes] == [1, 1]


def test_residuals_and_calibration_are_those_of_the_predictions() -> None:
    draw = np.random.default_rng(0)
    chance = draw.random(2000)
    labels = (draw.random(2000) < chance).astype(int)
    made = Predictions(labels, (chance > 0.5).astype(int), np.column_stack([1 - chance, chance]),
                       np.array([0, 1]), 1)  # fmt: skip

    bins = evaluate(made, 7).calibration
    numbers = evaluate(Predictions(chance, chance + 1), 7)

    assert len(bins) == 10
    assert all(abs(one.predicted - one.observed) < 0.12 for one in bins)
    assert numbers.residuals["quantile_0.5"] == pytest.approx(1)


@pytest.mark.parametrize("task", ["two", "three", "number"])
def test_catboost_is_a_candidate(task: str) -> None:
    pytest.importorskip("catboost")
    dataset = data(["age", "plan"], task)
    (candidate,) = candidates_for(dataset, ("catboost",), 7)

    model = candidate.build(iterations=20).fit(dataset.features, dataset.target)

    assert model.predict(dataset.features).shape == (ROWS,)


def test_a_column_without_a_number_in_the_rows_of_the_fit_is_fitted() -> None:
    numbers = pd.DataFrame({"x": np.arange(40.0), "sparse": [1.0, *[np.nan] * 39]})
    sparse = Dataset("sparse", numbers, ["x", "sparse"], np.arange(40) % 2, "y", "classification")
    (candidate,) = candidates_for(sparse, ("hist_gradient_boosting",), 0)

    fitted = candidate.build().fit(numbers[1:], sparse.target[1:])

    assert np.isfinite(fitted.predict_proba(numbers)).all()
    assert list(fitted[0].get_feature_names_out()) == ["numbers__x", "numbers__sparse"]
