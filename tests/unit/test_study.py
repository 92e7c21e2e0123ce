"""Steps 1, 2, 3 and 6: the statement of the problem, the data's quality, the cohort, and what the model goes by."""

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

from tier0.core.errors import DatasetError, MissingDependencyError, SettingsError
from tier0.core.settings import merge_settings
from tier0.pipeline.analysis import analyse
from tier0.pipeline.candidates import candidates_for
from tier0.pipeline.cohort import choose_cohort, make_rarer
from tier0.pipeline.data import Dataset, load_dataset, make_patients, split
from tier0.pipeline.quality import assess
from tier0.pipeline.study import Criterion, DataRules, Scope, Study, StudyError, read_study

PATIENTS = make_patients(7)
ROWS = 400


def study_of(tmp_path: Path, text: str) -> Study:
    (tmp_path / "study.toml").write_text(f"schema = 1\n{text}", encoding="utf-8")
    return read_study(tmp_path / "study.toml")


def test_a_whole_statement_is_read(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[scop]", r"scop is no field of it"),
        ('[scope]\nmetric = "auc"', "metric = 'auc' is not measured: give one of auc_roc"),
        (
            '[scope]\nmetric = "auc_roc"\nsuccess = 0.3',
            "success = 0.3 cannot be asked of auc_roc: give 0.5 to 1",
        ),
        ('[scope]\nmetric = "auc_roc"\nsuccess = 1.0', "asks for a auc_roc that is perfect"),
        ("[scope]\nsuccess = 0.5", "success = 0.5 says how much, and not of what: add metric"),
        ("[scope]\nminimum_rows = 5", "scope.minimum_rows = 5"),
        ("[scope]\nminimum_of_each_class = 80", "raise the second to 160"),
        ("[data]\nmost_missing = 3", r"data.most_missing = 3: input should be less than or equal to 1"),
        ("[data.columns.a]\nleast = 3\nmost = 2", "no value is both"),
        ('[data.columns.a]\nleast = 3\nallowed = ["x"]', "keep one of them"),
        ('[[cohort]]\ncolumn = "a"', "this one has none: give one of at_least"),
        ('[[cohort]]\ncolumn = "a"\nat_least = 1\nat_most = 3', "this one has at_least, at_most"),
        (
            '[[cohort]]\ncolumn = "a"\nat_least = 3\n[[cohort]]\ncolumn = "a"\nat_most = 2',
            "leave nobody in the cohort",
        ),
        ('[data]\npandera = "a b"', "data.pandera = 'a b'"),
        ("schema = 2", "cannot be read"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(StudyError) as refused:
        study_of(tmp_path, text)

    assert says in str(refused.value)


def test_good_data_has_no_problem() -> None:
    quality = assess(PATIENTS, DataRules())

    assert quality.problems == quality.notes == ()
    assert [column.name for column in quality.columns] == [*PATIENTS.names, "discontinuation_flag"]
    assert quality.columns[2].missing == pytest.approx(0.08, abs=0.03)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (
            {"columns": {"region": {"allowed": ["south", "west"]}}},
            "'region' has values that are not allowed, in 244 rows: 'northeast', 'midwest'",
        ),
        ({"columns": {"hcp_visits": {"most": 5}}}, "'hcp_visits' goes up to 11, and most is 5"),
        ({"columns": {"hcp_visits": {"least": 1}}}, "'hcp_visits' goes down to 0, and least is 1"),
        ({"columns": {"region": {"kind": "number"}}}, "and a number is asked for"),
        ({"columns": {"region": {"least": 0}}}, "and least or most is asked of it"),
        ({"columns": {"hcp_visits": {"most_missing": 0.01}}}, "'hcp_visits' is missing in"),
        ({"most_missing": 0.0}, "most_missing is 0%"),
    ],
)
def test_data_that_breaks_a_rule_is_told(rules: dict[str, Any], says: str) -> None:
    assert any(says in problem for problem in assess(PATIENTS, DataRules(**rules)).problems)


def test_numbers_that_should_be_whole_duplicates_constants_and_ids_are_told() -> None:
    frame = pd.DataFrame({"x": [0.5, 1, 1, 2] * 25, "same": 1.0, "id": np.arange(100)})
    dataset = Dataset("d", frame, list(frame.columns), np.array([0, 1, 1, 0] * 25), "y", "classification")

    quality = assess(dataset, DataRules(columns={"x": {"kind": "whole"}}))  # type: ignore[dict-item]  # pydantic makes a rule of it
    assert any("not whole, such as 0.5, and kind is 'whole'" in problem for problem in quality.problems)
    as_category = assess(dataset, DataRules(columns={"x": {"kind": "category"}, "id": {"kind": "category"}}))  # type: ignore[dict-item]
    assert [problem for problem in as_category.problems if "kind is 'category'" in problem] == [
        "'x' has numbers that are not whole, such as 0.5, and kind is 'category'"
    ]
    assert quality.notes == ("'same' is the same in every row", "'id' is different in every row, as ids are")
    without_ids = replace(dataset, features=frame[["x", "same"]], names=["x", "same"])
    assert any(
        "97% of the rows are the same" in problem for problem in assess(without_ids, DataRules()).problems
    )


def test_old_data_is_told() -> None:
    day = datetime.now(UTC).date() - timedelta(days=40)
    dated = replace(PATIENTS, dates=np.full(len(PATIENTS), np.datetime64(day)))

    assert assess(dated, DataRules(newest_within_days=50)).problems == ()
    assert assess(dated, DataRules(newest_within_days=30)).problems == (
        "the newest row is 40 days old, and newest_within_days is 30",
    )
    ahead = replace(PATIENTS, dates=np.full(len(PATIENTS), np.datetime64(day + timedelta(days=50))))
    assert assess(ahead, DataRules(newest_within_days=30)).problems == (
        "the newest row is of 10 days from now, and newest_within_days asks how old it is",
    )
    with pytest.raises(StudyError, match="no column says that: name it with --date"):
        assess(PATIENTS, DataRules(newest_within_days=30))


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"columns": {"reign": {}}}, "data.columns.reign is about no column"),
        ({"pandera": "nowhere:schema"}, "data.pandera = 'nowhere:schema' cannot be imported"),
    ],
)
def test_rules_that_cannot_be_used_are_refused(rules: dict[str, Any], says: str) -> None:
    pytest.importorskip("pandera")
    with pytest.raises(StudyError, match=says):
        assess(PATIENTS, DataRules(**rules))


def test_pandera_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandera.errors", None)
    with pytest.raises(MissingDependencyError, match="pip install pandera"):
        assess(PATIENTS, DataRules(pandera="nowhere:schema"))


def test_a_pandera_schema_holds_or_says_where_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pandera = pytest.importorskip("pandera.pandas")
    column, check = pandera.Column, pandera.Check
    schemas = types.ModuleType("schemas_of_patients")
    schemas.holds = pandera.DataFrameSchema({"hcp_visits": column(float, check.ge(0), nullable=True)})  # type: ignore[attr-defined]
    schemas.fails = pandera.DataFrameSchema(  # type: ignore[attr-defined]
        {
            "hcp_visits": column(float, check.le(3), nullable=True),
            "region": column(object, check.isin(["south"])),
            "height": column(float),
        }
    )
    monkeypatch.setitem(sys.modules, "schemas_of_patients", schemas)

    assert assess(PATIENTS, DataRules(pandera="schemas_of_patients:holds")).problems == ()
    problems = assess(PATIENTS, DataRules(pandera="schemas_of_patients:fails")).problems
    assert len(problems) == 3
    assert all(
        problem.startswith("the pandera schema schemas_of_patients:fails does not hold: ")
        for problem in problems
    )
    assert any("less_than_or_equal_to(3) fails for hcp_visits" in problem for problem in problems), problems
    assert any("fails for region" in problem for problem in problems), problems
    assert any("height" in problem for problem in problems), problems


def test_a_cohort_says_how_many_each_criterion_removed() -> None:
    visited = Criterion(column="hcp_visits", at_least=1, name="seen")
    cohort = choose_cohort(PATIENTS, (visited, Criterion(column="age_group", not_one_of=("65+",))), Scope())

    assert [(one.criterion, one.before, one.left) for one in cohort.attrition] == [
        ("seen", 600, 539),
        ("age_group not one of 65+", 539, 333),
    ]
    assert len(cohort.dataset) == sum(cohort.classes.values()) == 333
    assert cohort.problems == ()
    assert cohort.dataset.frame()["hcp_visits"].min() >= 1


def test_a_cohort_that_is_too_small_says_so() -> None:
    cohort = choose_cohort(PATIENTS, (Criterion(column="hcp_visits", at_least=9),), Scope())

    assert any("rows are left, and minimum_rows is 100" in problem for problem in cohort.problems)
    assert any("minimum_of_each_class is 20" in problem for problem in cohort.problems)


@given(least=st.integers(0, 12), keep=st.booleans())
def test_every_row_stays_or_is_counted_once(least: int, keep: bool) -> None:  # noqa: FBT001
    criterion = Criterion(column="hcp_visits", at_least=least, where_missing="keep" if keep else "exclude")
    visits = PATIENTS.frame()["hcp_visits"]

    cohort = choose_cohort(PATIENTS, (criterion, Criterion(column="hcp_visits", present=True)), Scope())

    assert cohort.attrition[0].removed + cohort.attrition[1].removed + len(cohort.dataset) == len(PATIENTS)
    assert len(cohort.dataset) == (visits >= least).sum()


@pytest.mark.parametrize(
    ("criterion", "says"),
    [
        (
            Criterion(column="visits", at_least=1),
            "is about 'visits', which is no column. There are: days_on_therapy",
        ),
        (Criterion(column="region", at_least=1), "cannot be asked of 'region'"),
    ],
)
def test_criteria_that_cannot_be_asked_are_refused(criterion: Criterion, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        choose_cohort(PATIENTS, (criterion,), Scope())


def test_a_class_can_be_made_rarer() -> None:
    rarer = make_rarer(PATIENTS, 0.1, 7)

    assert rarer.target.mean() == pytest.approx(0.1, abs=0.005)
    assert (rarer.target == 0).sum() == (PATIENTS.target == 0).sum()
    assert np.array_equal(rarer.target, make_rarer(PATIENTS, 0.1, 7).target)
    for dataset, share in ((PATIENTS, 0.49), (load_dataset(merge_settings({"dataset": "wine"}, {})), 0.1)):
        with pytest.raises(StudyError, match="imbalanced = "):
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
def test_by_time_no_part_knows_the_future(tmp_path: Path, group: str | None) -> None:
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


@pytest.mark.parametrize(
    ("dates", "says"),
    [
        (["2026-01-01"] * ROWS, "would be empty: too many rows have the same date"),
        (["yesterday"] * ROWS, r"date = 'day' of .* holds what is no date"),
        ([""] + ["2026-01-01"] * (ROWS - 1), "is missing in 1 of 400 rows"),
    ],
)
def test_dates_that_cannot_be_used_are_refused(tmp_path: Path, dates: list[str], says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        split(
            load_dataset(
                merge_settings({"dataset": dated_file(tmp_path, dates), "target": "y", "date": "day"}, {})
            ),
            7,
        )


def test_a_date_of_a_built_in_data_set_is_refused() -> None:
    with pytest.raises(SettingsError, match="date = 'day'"):
        merge_settings({"date": "day"}, {})


def test_importances_rank_what_matters_and_a_feature_that_is_the_answer_is_told() -> None:
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
        assert [warning.split()[0] for warning in analysis.warnings] == ["'left'"]
        assert analysis == analyse(leaky, parts, model, 7)
    honest = split(PATIENTS, 7)
    assert (
        analyse(
            PATIENTS,
            honest,
            candidates_for(PATIENTS, ("linear",), 7)[0].build().fit(*PATIENTS.take(honest["train"])),
            7,
        ).warnings
        == ()
    )
