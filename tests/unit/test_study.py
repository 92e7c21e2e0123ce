"""Steps 1, 2, 3 and 6: the study, the quality of the data, the cohort, and the importances of features."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.core.errors import DatasetError, MissingDependencyError, SettingsError
from tier0.core.settings import merge_settings
from tier0.pipeline.analysis import analyse
from tier0.pipeline.candidates import candidates_for
from tier0.pipeline.cohort import choose_cohort, make_rarer
from tier0.pipeline.data import Dataset, load_dataset, split
from tier0.pipeline.patients import make_patients
from tier0.pipeline.quality import assess
from tier0.pipeline.study import Criterion, DataRules, Scope, Study, StudyError, read_study
from tier0.runs.plan import RunError, make_plan

PATIENTS = make_patients(7)
ROWS = 400


def study_of(tmp_path: Path, text: str) -> Study:
    (tmp_path / "study.toml").write_text(f"schema = 1\n{text}", encoding="utf-8")
    return read_study(tmp_path / "study.toml")


def test_a_study_is_read(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        """
        [scope]
        problem = "who stops"
        metric = "brier"
        success = 0.25
        [data.columns.region]
        allowed = ["south", "west"]
        [[cohort]]
        column = "hcp_visits"
        at_least = 1
        """,
    )

    assert study.scope.reached({"brier": 0.2})
    assert not study.scope.reached({"brier": 0.3})
    assert study.data.columns["region"].allowed == ("south", "west")
    assert str(study.cohort[0]) == "hcp_visits at least 1.0"
    assert Scope().reached({}) is None


INVALID = {
    "unknown_field": "[scop]",
    "unknown_field_of_a_column": "[data.columns.a]\nmin = 1",
    "unknown_field_of_a_criterion": '[[cohort]]\ncolumn = "a"\nat_leest = 1',
    "unknown_metric": '[scope]\nmetric = "auc"',
    "success_below_chance": '[scope]\nmetric = "auc_roc"\nsuccess = 0.3',
    "perfect_success": '[scope]\nmetric = "auc_roc"\nsuccess = 1.0',
    "success_without_metric": "[scope]\nsuccess = 0.5",
    "few_rows": "[scope]\nminimum_rows = 5",
    "more_rows_of_a_class_than_rows": "[scope]\nminimum_rows = 100\nminimum_of_each_class = 80",
    "share_above_1": "[data]\nmost_missing = 3",
    "least_above_most": "[data.columns.a]\nleast = 3\nmost = 2",
    "least_with_allowed": '[data.columns.a]\nleast = 3\nallowed = ["x"]',
    "no_condition": '[[cohort]]\ncolumn = "a"',
    "two_conditions": '[[cohort]]\ncolumn = "a"\nat_least = 1\nat_most = 3',
    "empty_cohort": '[[cohort]]\ncolumn = "a"\nat_least = 3\n[[cohort]]\ncolumn = "a"\nat_most = 2',
    "pandera_no_name": '[data]\npandera = "a b"',
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_study_is_rejected(tmp_path: Path, case: str, snapshot: SnapshotAssertion) -> None:
    with pytest.raises(StudyError) as rejected:
        study_of(tmp_path, INVALID[case])

    assert str(rejected.value).replace(str(tmp_path), "…") == snapshot


def test_a_study_that_is_not_toml_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"study\.toml"):
        study_of(tmp_path, "schema = 2")


def test_good_data_has_no_problem() -> None:
    quality = assess(PATIENTS, DataRules())

    assert quality.problems == quality.notes == ()
    assert [column.name for column in quality.columns] == [*PATIENTS.names, "discontinuation_flag"]
    assert quality.columns[2].missing == pytest.approx(0.08, abs=0.03)


VIOLATED: dict[str, dict[str, Any]] = {
    "allowed": {"columns": {"region": {"allowed": ["south", "west"]}}},
    "most": {"columns": {"hcp_visits": {"most": 5}}},
    "least": {"columns": {"hcp_visits": {"least": 1}}},
    "kind": {"columns": {"region": {"kind": "number"}}},
    "least_of_text": {"columns": {"region": {"least": 0}}},
    "missing_in_a_column": {"columns": {"hcp_visits": {"most_missing": 0.01}}},
    "missing_in_any_column": {"most_missing": 0.0},
}


@pytest.mark.parametrize("case", VIOLATED)
def test_violated_rules_are_reported(case: str, snapshot: SnapshotAssertion) -> None:
    assert assess(PATIENTS, DataRules(**VIOLATED[case])).problems == snapshot


def test_fractions_duplicates_constants_and_identifiers_are_reported(snapshot: SnapshotAssertion) -> None:
    frame = pd.DataFrame({"x": [0.5, 1, 1, 2] * 25, "same": 1.0, "id": np.arange(100)})
    dataset = Dataset("d", frame, list(frame.columns), np.array([0, 1, 1, 0] * 25), "y", "classification")

    whole = DataRules(columns={"x": {"kind": "whole"}})  # type: ignore[dict-item]  # pydantic makes a rule of it
    categories = DataRules(columns={"x": {"kind": "category"}, "id": {"kind": "category"}})  # type: ignore[dict-item]
    without_ids = replace(dataset, features=frame[["x", "same"]], names=["x", "same"])

    quality = assess(dataset, whole)
    assert (quality.problems, quality.notes) == snapshot
    assert assess(dataset, categories).problems == snapshot
    assert assess(without_ids, DataRules(most_duplicates=0.1)).problems == snapshot


def test_old_data_is_reported(snapshot: SnapshotAssertion) -> None:
    day = datetime.now(UTC).date() - timedelta(days=40)
    old = replace(PATIENTS, dates=np.full(len(PATIENTS), np.datetime64(day)))
    ahead = replace(PATIENTS, dates=np.full(len(PATIENTS), np.datetime64(day + timedelta(days=50))))

    assert assess(old, DataRules(newest_within_days=50)).problems == ()
    assert assess(old, DataRules(newest_within_days=30)).problems == snapshot
    assert assess(ahead, DataRules(newest_within_days=30)).problems == snapshot
    with pytest.raises(StudyError, match=r"newest_within_days .* --date"):
        assess(PATIENTS, DataRules(newest_within_days=30))


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"columns": {"reign": {}}}, "data.columns.reign"),
        ({"pandera": "nowhere:schema"}, "data.pandera = 'nowhere:schema'"),
    ],
)
def test_unusable_rules_are_rejected(rules: dict[str, Any], field: str) -> None:
    pytest.importorskip("pandera")
    with pytest.raises(StudyError, match=field):
        assess(PATIENTS, DataRules(**rules))


def test_a_missing_pandera_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandera.errors", None)
    with pytest.raises(MissingDependencyError, match="pip install pandera"):
        assess(PATIENTS, DataRules(pandera="nowhere:schema"))


def test_a_pandera_schema_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    pandera = pytest.importorskip("pandera.pandas")
    column, check = pandera.Column, pandera.Check
    schemas = types.ModuleType("schemas_of_patients")
    schemas.passing = pandera.DataFrameSchema({"hcp_visits": column(float, check.ge(0), nullable=True)})  # type: ignore[attr-defined]
    schemas.failing = pandera.DataFrameSchema(  # type: ignore[attr-defined]
        {
            "hcp_visits": column(float, check.le(3), nullable=True),
            "region": column(object, check.isin(["south"])),
            "height": column(float),
        }
    )
    monkeypatch.setitem(sys.modules, "schemas_of_patients", schemas)

    assert assess(PATIENTS, DataRules(pandera="schemas_of_patients:passing")).problems == ()
    problems = assess(PATIENTS, DataRules(pandera="schemas_of_patients:failing")).problems
    assert len(problems) == 3
    assert all("schemas_of_patients:failing" in problem for problem in problems), problems
    for check in ("less_than_or_equal_to(3)", "region", "height"):
        assert any(check in problem for problem in problems), problems


def test_a_cohort_counts_the_rows_that_each_criterion_removed() -> None:
    visited = Criterion(column="hcp_visits", at_least=1, name="seen")
    cohort = choose_cohort(PATIENTS, (visited, Criterion(column="age_group", not_one_of=("65+",))), Scope())

    assert [(one.criterion, one.before, one.left) for one in cohort.attrition] == [
        ("seen", 600, 544),
        ("age_group not one of 65+", 544, 346),
    ]
    assert len(cohort.dataset) == sum(cohort.classes.values()) == 346
    assert cohort.problems == ()
    assert cohort.dataset.frame()["hcp_visits"].min() >= 1


def test_a_cohort_that_is_too_small_is_reported(snapshot: SnapshotAssertion) -> None:
    visited = (Criterion(column="hcp_visits", at_least=7),)
    twice = (*visited, Criterion(column="region", equals="west"))

    assert choose_cohort(PATIENTS, visited, Scope(minimum_rows=100)).problems == snapshot
    assert choose_cohort(PATIENTS, visited, Scope(minimum_of_each_class=30)).problems == snapshot
    assert choose_cohort(PATIENTS, visited, Scope()).problems == ()
    assert choose_cohort(PATIENTS, twice, Scope()).problems == snapshot


def test_what_no_rule_forbids_is_noted(snapshot: SnapshotAssertion) -> None:
    frame = pd.DataFrame({"gaps": [np.nan, np.nan, 1.0] * 20, "few": [0.0, 1.0] * 30})
    dataset = Dataset("d", frame, list(frame.columns), np.array([0, 1, 1] * 20), "y", "classification")

    quality = assess(dataset, DataRules())

    assert quality.problems == ()
    assert quality.notes == snapshot
    assert assess(dataset, DataRules(most_missing=0.5, most_duplicates=0.5)).problems == snapshot


def classes_of(counts: dict[Any, int], **changes: Any) -> Dataset:
    target = np.repeat(np.array(list(counts)), list(counts.values()))
    frame = pd.DataFrame({"x": np.arange(len(target)) * 0.5, "plan": ["a", "b"] * (len(target) // 2)})
    return replace(Dataset("d", frame, ["x", "plan"], target, "kind", "classification"), **changes)


def test_classes_that_cannot_be_split_are_left_out_with_their_count() -> None:
    dataset = classes_of({"common": 60, "other": 31, "rare": 7, "rarer": 2})

    cohort = choose_cohort(dataset, (), Scope())

    assert cohort.classes == {"common": 60, "other": 31}
    assert cohort.attrition[-1].removed == 9
    assert "'rare' (7)" in cohort.attrition[-1].criterion
    assert cohort.problems == ()
    with pytest.raises(DatasetError, match=r"class 'rarer' of 'kind' .* not_one_of = \[\"rarer\"\]"):
        split(dataset, 7)


def test_a_class_of_10_rows_is_in_every_part() -> None:
    for counts in ({"common": 90, "rare": 10}, {"one": 12, "two": 14}):
        dataset = classes_of(counts)
        parts = split(dataset, 7)

        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(dataset)))
        for indices in parts.values():
            assert set(dataset.target[indices]) == set(counts)
        assert not any((one == other) for one, other in zip(parts["test"], parts["validation"], strict=False))


def test_a_class_is_excluded_by_a_criterion_on_the_target() -> None:
    dataset = classes_of({0: 60, 1: 30, 2: 10})

    cohort = choose_cohort(dataset, (Criterion(column="kind", not_one_of=(2,)),), Scope())

    assert cohort.classes == {"0": 60, "1": 30}
    assert cohort.problems == ()
    only = choose_cohort(dataset, (Criterion(column="kind", one_of=(0,)),), Scope())
    assert "only the class '0' of 'kind'" in only.problems[0]


@pytest.mark.parametrize(
    ("criterion", "part"),
    [
        (Criterion(column="kind", equals="2"), "without quotation marks"),
        (Criterion(column="plan", equals=1), "in quotation marks"),
        (Criterion(column="plan", at_least=1), "--types plan=number"),
        (Criterion(column="Plan", equals="a"), "did you mean 'plan'"),
    ],
)
def test_a_criterion_that_cannot_apply_says_how_to_write_it(criterion: Criterion, part: str) -> None:
    with pytest.raises(StudyError, match=part):
        choose_cohort(classes_of({0: 60, 1: 40}), (criterion,), Scope())


def test_a_value_of_a_criterion_that_no_row_has_is_noted() -> None:
    cohort = choose_cohort(PATIENTS, (Criterion(column="region", not_one_of=("West", "south")),), Scope())

    assert len(cohort.notes) == 1
    assert "did you mean 'west'" in cohort.notes[0]


@given(least=st.integers(0, 12), keep=st.booleans())
def test_every_row_stays_or_is_counted_once(least: int, keep: bool) -> None:  # noqa: FBT001
    criterion = Criterion(column="hcp_visits", at_least=least, where_missing="keep" if keep else "exclude")
    visits = PATIENTS.frame()["hcp_visits"]

    cohort = choose_cohort(PATIENTS, (criterion, Criterion(column="hcp_visits", present=True)), Scope())

    assert cohort.attrition[0].removed + cohort.attrition[1].removed + len(cohort.dataset) == len(PATIENTS)
    assert len(cohort.dataset) == (visits >= least).sum()


@pytest.mark.parametrize(
    "criterion", [Criterion(column="visits", at_least=1), Criterion(column="region", at_least=1)]
)
def test_inapplicable_criteria_are_rejected(criterion: Criterion) -> None:
    with pytest.raises(StudyError, match=f"cohort: .*'{criterion.column}'"):
        choose_cohort(PATIENTS, (criterion,), Scope())


@pytest.mark.parametrize("share", [0, 0.5, -0.1, float("nan")])
def test_a_share_of_the_rarer_class_is_less_than_half(share: float) -> None:
    with pytest.raises(StudyError, match=r"imbalanced .*0\.5"):
        read_study(None, imbalanced=share)


def test_a_study_may_make_a_class_rarer(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text("schema = 1\n[scope]\nimbalanced = 0.2\n", encoding="utf-8")

    assert read_study(path).scope.imbalanced == 0.2
    assert read_study(path, imbalanced=0.1).scope.imbalanced == 0.1


def test_a_class_can_be_made_rarer() -> None:
    rarer = make_rarer(PATIENTS, 0.1, 7)

    assert rarer.target.mean() == pytest.approx(0.1, abs=0.005)
    assert (rarer.target == 0).sum() == (PATIENTS.target == 0).sum()
    assert np.array_equal(rarer.target, make_rarer(PATIENTS, 0.1, 7).target)
    for dataset, share in ((PATIENTS, 0.49), (load_dataset(merge_settings({"dataset": "wine"}, {})), 0.1)):
        with pytest.raises(StudyError, match="--imbalanced"):
            make_rarer(dataset, share, 7)


def dated_file(tmp_path: Path, dates: list[str]) -> str:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=ROWS),
            "z": rng.normal(size=ROWS),
            "who": rng.integers(0, 120, ROWS),
            "day": dates,
        }
    )
    frame["y"] = (frame["x"] + rng.normal(size=ROWS) > 0).astype(int)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return str(tmp_path / "rows.csv")


@pytest.mark.parametrize("group", [None, "who"])
def test_parts_are_in_the_order_of_time(tmp_path: Path, group: str | None) -> None:
    days = [
        str(datetime(2026, 1, 1, tzinfo=UTC).date() + timedelta(days=int(day)))
        for day in np.random.default_rng(2).permutation(ROWS)
    ]
    path = dated_file(tmp_path, days)
    dataset = load_dataset(
        merge_settings({"dataset": path, "target": "y", "date": "day", "group": group}, {})
    )

    parts = split(dataset, 7)

    assert "day" not in dataset.names
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(ROWS))
    assert dataset.dates is not None
    newest = [dataset.dates[parts[name]].max() for name in ("train", "validation", "test", "holdout")]
    assert newest == sorted(newest)
    if group is None:
        oldest = [dataset.dates[parts[name]].min() for name in ("train", "validation", "test", "holdout")]
        assert all(before < after for before, after in zip(newest, oldest[1:], strict=False))
    else:
        assert dataset.groups is not None
        for name, indices in parts.items():
            assert not {*dataset.groups[indices]} & {*np.delete(dataset.groups, indices)}, name


UNUSABLE_DATES = {
    "equal": ["2026-01-01"] * ROWS,
    "text": ["yesterday"] * ROWS,
    "missing": [""] + ["2026-01-01"] * (ROWS - 1),
}


@pytest.mark.parametrize(
    ("case", "part"), [("equal", "would be empty"), ("text", "--date day"), ("missing", "would be empty")]
)
def test_unusable_dates_are_rejected(tmp_path: Path, case: str, part: str) -> None:
    path = dated_file(tmp_path, UNUSABLE_DATES[case])
    settings = merge_settings({"dataset": path, "target": "y", "date": "day"}, {})

    with pytest.raises(DatasetError, match=part):
        split(load_dataset(settings), 7)


def test_a_date_of_a_built_in_data_set_is_rejected() -> None:
    with pytest.raises(SettingsError) as rejected:
        merge_settings({"date": "day"}, {})
    assert (rejected.value.setting, rejected.value.source) == ("date", "--tier0-date")


def test_importances_are_ranked() -> None:
    leaky = replace(
        PATIENTS,
        features=PATIENTS.features.assign(left=PATIENTS.target * 2.0),
        names=[*PATIENTS.names, "left"],
    )
    parts = split(leaky, 7)
    for candidate in candidates_for(leaky, ("linear", "lightgbm"), 7):
        model = candidate.build().fit(*leaky.take(parts["train"]))

        analysis = analyse(leaky, parts, model, 7)

        assert analysis.importances[0].feature == "left"
        assert analysis.importances[0].mean > 0.2
        assert analysis.rows == len(parts["test"])
        assert analysis == analyse(leaky, parts, model, 7)


def test_the_order_of_the_rows_does_not_decide_what_is_explained() -> None:
    target = np.repeat([0, 1], 2000)
    size = np.where(target, np.random.default_rng(0).normal(2, 1, 4000), 0.0)
    by_target = Dataset("d", size[:, None], ["size"], target, "y", "classification")
    parts = split(by_target, 7)
    (candidate,) = candidates_for(by_target, ("linear",), 7)
    model = candidate.build().fit(*by_target.take(parts["train"]))

    (importance,) = analyse(by_target, parts, model, 7).importances

    assert importance.shap is not None
    assert importance.shap > 0.1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('types = { a = "numbr" }', "did you mean 'number'"),
        ('types = { a = "index" }', "choose one of number"),
        ('drop = ["a"]\nkeep = ["a"]', "in both drop and keep"),
        ('types = { a = "id" }\nkeep = ["a"]', "says? that it is an id"),
        ('separator = ";;"', "expected one character"),
        ('separator = ","\ndecimal = ","', "both ','"),
        ('decimal = "x"', "decimal"),
        ('encoding = "latin-99"', "unknown encoding 'latin-99'"),
        ('encoding = "hex"', "unknown encoding 'hex'"),
        ('drop = "a"', "expected a TOML array"),
        ("types = 1", "expected a TOML table"),
    ],
)
def test_what_a_study_says_about_columns_is_checked(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "study.toml").write_text(f"schema = 1\n[data]\n{text}\n", encoding="utf-8")

    with pytest.raises(StudyError, match=found):
        read_study(tmp_path / "study.toml")


def test_options_add_columns_to_those_of_the_study_and_replace_its_values(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'schema = 1\n[scope]\ntask = "regression"\n'
        '[data]\ndrop = ["a"]\nseparator = "\\\\t"\ndecimal = ","\ntypes = { b = "text", c = "id" }\n',
        encoding="utf-8",
    )

    study = read_study(
        path,
        task="classification",
        drop=("d",),
        keep_columns=("e",),
        types={"b": "date"},
        decimal=".",
        allow=(),
    )

    assert study.scope.task == "classification"
    assert study.data == DataRules(
        drop=("a", "d"), keep=("e",), types={"b": "date", "c": "id"}, decimal=".", separator="\t"
    )
    assert not study.data.has_rules


def test_how_a_file_is_read_is_said_only_of_a_file() -> None:
    with pytest.raises(RunError, match=r"drop in .data. is about the columns of a file"):
        make_plan({}, None, {"drop": ("region",)}, "1-2", serve=False)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"target": " left"}, "column ' left' .*did you mean 'left'"),
        ({"target": "Left"}, "did you mean 'left'"),
        ({"drop": ("left",)}, "'left' is in drop, but it is the target"),
        ({"drop": ("agee",)}, "--drop.*did you mean 'age'"),
        ({"types": {"agee": "number"}}, "--types.*did you mean 'age'"),
        ({"task": "regression"}, "regression .*'left' contains values such as 'no'"),
    ],
)
def test_columns_that_a_study_names_are_those_of_the_file(
    tmp_path: Path, options: dict[str, Any], found: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,left\n" + "1,no\n2,yes\n" * 30, encoding="utf-8")
    target = options.pop("target", "left")
    study = read_study(None, **options)
    settings = merge_settings({"dataset": str(path), "target": target}, {})

    with pytest.raises(DatasetError, match=found):
        load_dataset(settings, study.data, study.scope.task)


def test_what_a_study_drops_is_no_feature_and_its_task_decides(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,size,rooms\n" + "1,5,2\n2,6,3\n" * 30, encoding="utf-8")
    settings = merge_settings({"dataset": str(path), "target": "rooms"}, {})

    dataset = load_dataset(settings, DataRules(drop=("size",)), "regression")

    assert dataset.names == ["age"]
    assert dataset.task == "regression"
    assert load_dataset(settings).task == "classification"
    assert load_dataset(settings).kinds == {"age": "number", "size": "number"}
