from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.core.errors import SettingsError
from tier0.core.settings import TABLE, Port, merge_settings


def test_defaults_need_nothing() -> None:
    settings = merge_settings({}, {})

    assert (settings.dataset, settings.hpo_trials, settings.startup_timeout, settings.port) == (
        "patients",
        5,
        30.0,
        Port(0),
    )
    assert settings.describe_changed() == ""


def test_option_wins_over_environment_and_environment_over_ini() -> None:
    options, environ, ini = (
        {"seed": "1"},
        {"TIER0_SEED": "2", "TIER0_HPO_TRIALS": "3"},
        {"seed": "4", "hpo_trials": "5", "port": "3001+"},
    )

    settings = merge_settings(options, environ, ini)

    assert (settings.seed, settings.hpo_trials, settings.port) == (1, 3, Port(3001, or_next=True))
    assert (
        settings.describe_changed()
        == "hpo-trials=3 (environment TIER0_HPO_TRIALS), seed=1 (--tier0-seed), port=3001+ (ini tier0_port)"
    )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("dataset", "iris", "is neither a built-in data set"),
        ("dataset", "nowhere.csv", "does not exist"),
        ("dataset", "~nobody-at-all/rows.csv", "begins with the home of a user who is not known here"),
        ("store", "~nobody-at-all", "begins with the home of a user who is not known here"),
        ("algorithms", "xgboost,magic", "names no known algorithm: magic"),
        ("algorithms", ",", "names no known algorithm"),
        ("hpo_trials", "0", "is less than 1"),
        ("hpo_trials", "many", "is not a whole number"),
        ("seed", "-1", "is less than 0"),
        ("startup_timeout", "inf", "is not a positive, finite number of seconds"),
        ("startup_timeout", "soon", "is not a number of seconds"),
        ("port", "65536", "is not a port"),
        ("port", "-1", "is not a port"),
        ("keep", "perhaps", "is neither true nor false"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_its_source_and_the_remedy(
    name: str, value: str, says: str
) -> None:
    row = next(row for row in TABLE if row.name == name)

    with pytest.raises(SettingsError) as refusal:
        merge_settings({}, {row.variable: value})

    message = str(refusal.value)
    assert says in message
    assert f"environment {row.variable} = {value!r}" in message
    assert row.help in message


def test_a_file_needs_a_target_and_a_built_in_data_set_has_one(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.touch()

    with pytest.raises(SettingsError, match="Add --tier0-target COLUMN"):
        merge_settings({"dataset": str(file)}, {})
    with pytest.raises(SettingsError, match=r"target = 'y' \(from --tier0-target\) has no meaning"):
        merge_settings({"target": "y"}, {})
    assert merge_settings({"dataset": str(file), "target": "y"}, {}).target == "y"


@given(st.dictionaries(st.sampled_from([row.name for row in TABLE]), st.text(max_size=12)))
def test_any_text_is_taken_or_refused_by_name(options: dict[str, str]) -> None:
    try:
        settings = merge_settings(options, {})
    except SettingsError as refusal:
        assert any(name.replace("_", "-") in str(refusal) or name in str(refusal) for name in options)  # noqa: PT017
    else:
        assert settings.sources.keys() == {row.name for row in TABLE}
