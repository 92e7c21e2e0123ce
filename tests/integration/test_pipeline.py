from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from syrupy.assertion import SnapshotAssertion

from tier0.core.errors import DatasetError, UselessModelError
from tier0.core.event_log import EventLog
from tier0.core.events import SelectionScore
from tier0.core.settings import ALGORITHMS, merge_settings
from tier0.pipeline.candidates import candidates_for
from tier0.pipeline.data import PARTS, Classes, Dataset, load_dataset, split
from tier0.pipeline.metrics import (
    Chance,
    auc_roc,
    choose_threshold,
    classification_metrics,
    minority_class,
    regression_metrics,
    require_useful,
)
from tier0.pipeline.patients import make_patients
from tier0.pipeline.selection import FOLDS_OF_SAMPLE, MAX_ROWS, select
from tier0.pipeline.study import DataRules
from tier0.pipeline.training import train


def load(path: Path, target: str = "y", **options: str) -> Dataset:
    return load_dataset(merge_settings({"dataset": str(path), "target": target, **options}, {}))


def write(path: Path, **columns: Any) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_patients_are_as_documented() -> None:
    dataset = make_patients(7)

    assert len(dataset) == 600
    assert dataset.names == ["days_on_therapy", "region", "hcp_visits", "prior_treatments", "age_group"]
    assert 0.2 < dataset.target.mean() < 0.5
    missing = dataset.features.isna().mean()
    assert (missing[["days_on_therapy", "hcp_visits", "age_group"]] > 0.02).all()
    assert (missing[["region", "prior_treatments"]] == 0).all()
    pd.testing.assert_frame_equal(dataset.features, make_patients(7).features)


@pytest.mark.parametrize("seed", range(10))
def test_patients_stop_for_reasons_that_a_model_finds(seed: int) -> None:
    from sklearn.model_selection import cross_val_score

    dataset = make_patients(seed)
    (candidate,) = candidates_for(dataset, ("linear",), seed)

    frame = dataset.frame()
    numbers = frame[["days_on_therapy", "hcp_visits", "prior_treatments"]]
    signs = np.sign(numbers.corrwith(frame["discontinuation_flag"]))
    stopped = frame.groupby("age_group")["discontinuation_flag"].mean()
    auc = cross_val_score(candidate.build(), dataset.features, dataset.target, cv=5, scoring="roc_auc")
    assert signs.tolist() == [-1, -1, 1]
    assert stopped["65+"] > max(stopped["40-64"], stopped["18-39"])
    assert 0.83 < auc.mean() < 0.88


@pytest.mark.parametrize("name", ["patients", "breast_cancer", "wine", "diabetes"])
def test_parts_are_disjoint_and_have_their_shares(name: str) -> None:
    dataset = load_dataset(merge_settings({"dataset": name}, {}))

    parts = split(dataset, 7)

    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(dataset)))
    for part, share in {"train": 0.60, "validation": 0.20, "test": 0.15, "holdout": 0.05}.items():
        assert abs(len(parts[part]) / len(dataset) - share) < 0.02
    if dataset.task == "classification":
        for label in np.unique(dataset.target):
            shares = [
                np.mean(dataset.target[parts[part]] == label) for part in ("train", "validation", "test")
            ]
            assert max(shares) - min(shares) < 0.05, "stratified"
    for part, indices in split(dataset, 7).items():
        np.testing.assert_array_equal(indices, parts[part])


@settings(max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_group_is_never_split(seed: int, size: int) -> None:
    groups = np.repeat(np.arange(100), size)
    rows = len(groups)
    target = np.arange(rows) % 2
    dataset = Dataset("d", np.zeros((rows, 1)), ["x"], target, "y", "classification", groups=groups)

    parts = split(dataset, seed)

    owner: dict[int, str] = {}
    for part, indices in parts.items():
        for group in dataset.groups[indices]:  # type: ignore[index]
            assert owner.setdefault(group, part) == part
    assert parts.keys() == PARTS.keys()


UNUSABLE: dict[str, dict[str, Any]] = {
    "too_few_rows": {"x": range(10), "y": [0.5] * 10},
    "rare_class": {"x": range(100), "y": ["a"] * 97 + ["b"] * 3},
    "no_features": {"y": [0, 1] * 50},
    "empty_column": {"x": [None] * 100, "y": [0, 1] * 50},
    "missing_target": {"x": range(100), "y": [None] * 100},
    "no_target": {"x": range(100), "z": [0, 1] * 50},
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_data_is_rejected(tmp_path: Path, case: str, snapshot: SnapshotAssertion) -> None:
    with pytest.raises(DatasetError) as rejected:
        split(load(write(tmp_path / "rows.csv", **UNUSABLE[case])), 7)

    assert str(rejected.value).replace(str(tmp_path), "…") == snapshot


def test_dates_are_no_target_and_no_features_and_a_row_without_a_group_is_its_own(tmp_path: Path) -> None:
    rows = {"x": range(50), "y": pd.date_range("2024-01-01", periods=50), "who": [None, None, *range(48)]}
    pd.DataFrame({**rows, "z": [0.5, 1.5] * 25}).to_parquet(tmp_path / "rows.parquet")

    with pytest.raises(DatasetError, match="'y' contains dates"):
        load(tmp_path / "rows.parquet", target="y")

    dataset = load(tmp_path / "rows.parquet", target="x", group="who")
    assert dataset.names == ["z"]
    assert dataset.groups is not None
    assert len(set(dataset.groups)) == 50
    assert any("--date y" in note for note in dataset.notes)


def test_the_name_of_a_file_becomes_one_that_a_store_takes(tmp_path: Path) -> None:
    assert load(write(tmp_path / "Ärzte 2026.csv", x=range(100), y=[0, 1] * 50)).name == "rzte_2026"
    assert load(write(tmp_path / "患者.csv", x=range(100), y=[0, 1] * 50)).name == "data"


def test_a_single_class_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UselessModelError, match="'y' is 1 in all 100 rows"):
        load(write(tmp_path / "rows.csv", x=range(100), y=[1] * 100))


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"PAR1 not really"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_unreadable_file_is_rejected(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(content)

    with pytest.raises(DatasetError):
        load(path)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1] * 50, "classification"),
        ([0.0, 1.0] * 50, "classification"),
        (["a", "b"] * 50, "classification"),
        ([True, False] * 50, "classification"),
        (range(100), "regression"),
        ([0.5, 1.0] * 50, "regression"),
    ],
)
def test_the_task_is_inferred_from_the_target(tmp_path: Path, values: Any, task: str) -> None:
    assert load(write(tmp_path / "rows.csv", x=range(100), y=values)).task == task


def test_whole_numbers_that_a_float_cannot_represent_stay_integers(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", id=[2**53 + number for number in range(100)], y=[0, 1] * 50)

    dataset = load_dataset(merge_settings({"dataset": str(path), "target": "y"}, {}), DataRules(keep=("id",)))

    assert str(dataset.features["id"].dtype) == "int64"


@pytest.mark.parametrize(
    ("target", "minority"),
    [([0, 0, 1], 1), ([0, 1, 1], 0), ([0, 1], 1), (["b", "a", "b"], "a"), ([2, 2, 1, 1, 0], 0)],
)
def test_minority_class(target: list[Any], minority: Any) -> None:
    assert minority_class(np.array(target)) == minority


def f1_at(
    threshold: float, target: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any], minority: int
) -> float:
    predicted = (probabilities >= threshold).astype(int)
    hits = int(np.sum((predicted == minority) & (target == minority)))
    return 2 * hits / max(int(np.sum(predicted == minority) + np.sum(target == minority)), 1)


@given(
    arrays.arrays(float, st.integers(2, 30), elements=st.floats(0, 1, width=16)),
    st.sampled_from([0, 1]),
    st.integers(0, 2**30),
)
def test_no_threshold_between_two_rows_is_better_than_the_chosen_one(
    probabilities: np.ndarray[Any, Any], minority: int, seed: int
) -> None:
    target = np.random.default_rng(seed).integers(0, 2, len(probabilities))

    chosen = choose_threshold(target, probabilities, np.array([0, 1]), minority)

    values = np.unique(probabilities)
    best = max(
        (f1_at(threshold, target, probabilities, minority) for threshold in (values[1:] + values[:-1]) / 2),
        default=None,
    )
    if best is None:
        assert chosen == 0.5
    else:
        assert math.isclose(f1_at(chosen, target, probabilities, minority), best)
        assert chosen not in probabilities


def test_metrics_of_two_classes_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    target = np.array([0, 0, 1, 1, 0, 1, 0, 0])
    second = np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.9, 0.6, 0.3])
    predictions = (second >= 0.5).astype(int)

    got = classification_metrics(
        target, predictions.tolist(), np.column_stack([1 - second, second]), np.array([0, 1]), 1
    )

    assert got == pytest.approx(
        {
            "auc_roc": metrics.roc_auc_score(target, second),
            "average_precision": metrics.average_precision_score(target, second),
            "brier": metrics.brier_score_loss(target, second),
            "log_loss": metrics.log_loss(target, second),
            "accuracy": 6 / 8,
            "recall_minority": 2 / 3,
            "precision_minority": 2 / 3,
        }
    )


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("digits", [1, 6])
def test_ranking_metrics_are_those_of_scikit_learn_also_with_equal_scores(classes: int, digits: int) -> None:
    from sklearn import metrics

    draw = np.random.default_rng(classes)
    target = np.array(["a", "b", "c", "d"])[:classes][draw.integers(0, classes, 300)]
    labels = np.unique(target)
    probabilities = (draw.random((300, classes)) + (target[:, None] == labels)).round(digits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)

    got = classification_metrics(target, target, probabilities, labels, labels[1])

    one_hot = (target[:, None] == labels).astype(int)
    measured = slice(None) if classes > 2 else 1
    expected = {
        "auc_roc": metrics.roc_auc_score(one_hot[:, measured], probabilities[:, measured]),
        "average_precision": metrics.average_precision_score(
            one_hot[:, measured], probabilities[:, measured]
        ),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert auc_roc(target, probabilities, labels) == pytest.approx(expected["auc_roc"], abs=1e-12)


def test_metrics_of_a_class_without_rows_are_not_a_score() -> None:
    target, classes = np.array([0, 0, 0]), np.array([0, 1])
    got = classification_metrics(target, target, np.full((3, 2), 0.5), classes, 1)
    assert np.isnan(got["auc_roc"])
    assert (got["average_precision"], got["recall_minority"]) == (0, 0)


def test_probabilities_that_are_no_numbers_are_refused() -> None:
    target = np.array([0, 1, 0])
    with pytest.raises(ValueError, match="NaN"):
        classification_metrics(target, target, np.full((3, 2), np.nan), np.array([0, 1]), 1)


def test_metrics_of_three_classes() -> None:
    target = np.array(["a", "b", "c", "a", "b", "a"])
    classes = np.array(["a", "b", "c"])
    perfect = (target[:, None] == classes[None, :]).astype(float)

    got = classification_metrics(target, target.tolist(), perfect, classes, "c")

    assert got == {
        "auc_roc": 1,
        "average_precision": 1,
        "brier": 0,
        "log_loss": 0,
        "accuracy": 1,
        "recall_minority": 1,
        "precision_minority": 1,
    }


def test_metrics_of_a_regression() -> None:
    assert regression_metrics(np.array([1.0, 2.0, 3.0]), [1.0, 2.0, 5.0]) == pytest.approx(
        {"r2": -1.0, "mae": 2 / 3, "rmse": math.sqrt(4 / 3)}
    )


AUC_CHANCE = Chance("auc_roc", 0.5, 0.06, 90)


@pytest.mark.parametrize(
    ("metrics", "chance", "words"),
    [
        ({"auc_roc": 0.49}, AUC_CHANCE, "auc_roc is 0.490, but 0.500 ± 0.060 by chance on 90 test rows"),
        ({"auc_roc": 0.55}, AUC_CHANCE, "90 rows are too few to tell"),
        ({"auc_roc": 0.3}, Chance("auc_roc", 0.5, 0.27, 7), "7 rows are too few to tell"),
        ({"r2": -0.1}, Chance("r2", -0.001, 0.002, 90), "r2 is -0.100"),
        ({"r2": math.nan}, Chance("r2", -0.001, 0.002, 90), "r2 is nan"),
    ],
)
def test_a_model_no_better_than_chance_is_rejected(
    metrics: dict[str, float], chance: Chance, words: str
) -> None:
    with pytest.raises(UselessModelError, match=words):
        require_useful(metrics, chance, "Ridge on x")


def test_a_better_model_is_accepted() -> None:
    assert require_useful({"auc_roc": 0.63, "recall_minority": 0.01}, AUC_CHANCE, "") == ""
    assert "too few to tell" in require_useful({"auc_roc": 0.6}, AUC_CHANCE, "")
    assert "too few to tell" in require_useful({"auc_roc": 0.6}, Chance("auc_roc", 0.5, 0.27, 7), "")


def test_selection_picks_the_highest_mean_with_a_reason() -> None:
    events = EventLog()
    dataset = make_patients(7)
    parts = split(dataset, 7)

    selection = select(dataset, parts["train"], candidates_for(dataset, ALGORITHMS, 7), 7, events)

    means = [score.mean for score in selection.scores]
    assert means == sorted(means, reverse=True)
    assert len(means) == len(ALGORITHMS)
    assert selection.scores[0].candidate.estimator in selection.reason
    assert "above" in selection.reason
    assert len(events.with_type(SelectionScore)) == len(ALGORITHMS)


def test_of_many_rows_only_the_leading_algorithms_are_measured_on_all_folds() -> None:
    draw = np.random.default_rng(7)
    numbers = draw.normal(size=(MAX_ROWS + 2000, 4))
    target = (numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + draw.logistic(size=len(numbers)) > 0).astype(
        int
    )
    dataset = Dataset("made", numbers, list("abcd"), target, "y", "classification")
    names = ("linear", "hist_gradient_boosting", "lightgbm")

    selection = select(dataset, np.arange(len(dataset)), candidates_for(dataset, names, 7), 7, EventLog())

    assert [score.folds for score in selection.scores] == [FOLDS_OF_SAMPLE, FOLDS_OF_SAMPLE, 1]
    assert selection.scores[-1].candidate.name == "linear"
    assert selection.drawn
    assert "on one fold" in selection.reason


def test_the_classes_of_a_target_are_those_of_numpy() -> None:
    for target in (np.array(["b", "a", "b"]), np.array(["b", "a"], dtype=object), np.array([3, 1, 3, 2])):
        found = Classes.of(target)
        labels, codes, counts = np.unique(target, return_inverse=True, return_counts=True)
        assert found.labels.tolist() == labels.tolist()
        assert found.labels.dtype == target.dtype
        assert (found.codes.tolist(), found.counts.tolist()) == (codes.tolist(), counts.tolist())


def test_a_budget_limits_the_search_for_hyperparameters(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(seconds)))
    monkeypatch.setattr("tier0.pipeline.training.time", clock)
    dataset = load_dataset(merge_settings({"dataset": "wine"}, {}))
    parts = split(dataset, 3)
    (candidate,) = candidates_for(dataset, ("linear",), 3)

    within = train(dataset, parts, candidate, 100, 3, EventLog(), budget=3.0)
    spent = train(dataset, parts, candidate, 100, 3, EventLog(), budget=0.0)

    assert 0 < within.trials < 100
    assert (spent.trials, spent.parameters) == (0, {})


@pytest.mark.parametrize("name", ["patients", "wine", "diabetes"])
def test_training_twice_with_one_seed_gives_one_model(name: str) -> None:
    dataset = load_dataset(merge_settings({"dataset": name}, {}))
    parts = split(dataset, 3)
    (candidate,) = candidates_for(dataset, ("lightgbm",), 3)

    first, second = (train(dataset, parts, candidate, 3, 3, EventLog()) for _ in range(2))

    assert (first.parameters, first.threshold, first.metrics) == (
        second.parameters,
        second.threshold,
        second.metrics,
    )
    assert (first.threshold is not None) == (name == "patients")
    features = dataset.take(parts["test"])[0]
    ask = "predict" if name == "diabetes" else "predict_proba"
    np.testing.assert_array_equal(getattr(first.model, ask)(features), getattr(second.model, ask)(features))


def test_the_test_part_is_never_trained_on() -> None:
    """Wrong labels in the test part must not change the model."""
    dataset = make_patients(7)
    parts = split(dataset, 7)
    flipped = dataset.target.copy()
    some = parts["test"][::9]
    flipped[some] = 1 - flipped[some]
    other = Dataset("patients", dataset.features, dataset.names, flipped, "y", "classification")
    (candidate,) = candidates_for(dataset, ("linear",), 7)

    models = [train(data, parts, candidate, 2, 7, EventLog()).model for data in (dataset, other)]

    features = dataset.features
    np.testing.assert_array_equal(models[0].predict_proba(features), models[1].predict_proba(features))


def test_a_fold_without_a_class_is_rejected() -> None:
    target = np.array([0] * 100 + [1] * 100)
    groups = np.array([*np.arange(100), *([200] * 100)])
    dataset = Dataset(
        "d", np.random.default_rng(0).normal(size=(200, 2)), ["a", "b"], target, "y", "classification", groups
    )

    with pytest.raises(DatasetError, match=r"LogisticRegression .* only one class"):
        select(dataset, np.arange(200), candidates_for(dataset, ("linear", "lightgbm"), 7), 7, EventLog())


def test_ten_thousand_rows_give_fifty_examples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=10_000)
    dataset = load(write(tmp_path / "rows.csv", x=x, y=(x + rng.normal(size=10_000) > 0).astype(int)))
    (candidate,) = candidates_for(dataset, ("linear",), 7)

    assert len(train(dataset, split(dataset, 7), candidate, 1, 7, EventLog()).examples) == 50
