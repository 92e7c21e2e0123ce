"""The table of settings: precedence, validation, and where each setting applies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.core.errors import SettingsError
from tier0.core.settings import TABLE, IniValue, Port, merge_settings, read_setting, rows_for

COMMANDS = ("pytest", "verify", "contract", "check-client", "run", "serve", "build", "compare")
INVALID = [
    ("dataset", "iris"),
    ("dataset", "/nowhere/rows.csv"),
    ("dataset", "~nobody-at-all/rows.csv"),
    ("store", "~nobody-at-all"),
    ("store", "/dev/null"),
    ("history", "/dev/null"),
    ("algorithms", "xgboost,magic"),
    ("algorithms", ","),
    ("hpo_trials", "0"),
    ("hpo_trials", "many"),
    ("seed", "-1"),
    ("startup_timeout", "inf"),
    ("startup_timeout", "soon"),
    ("port", "65536"),
    ("port", "-1"),
    ("groups", "magic"),
    ("disturb", "everything"),
    ("golden", "/nowhere/golden.json"),
    ("report", "/nowhere/tier0.json"),
    ("report", "/"),
    ("keep", "perhaps"),
    ("header", "secret"),
    ("header", "Name: @/nowhere/secret"),
    ("header", "Name: secrét"),
]


def in_file(**values: Any) -> dict[str, IniValue]:
    return {name: IniValue(value, "pytest.toml", Path("/project")) for name, value in values.items()}


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
        in_file(seed="4", hpo_trials="5", port="3001+"),
    )

    settings = merge_settings(options, environ, ini)

    assert (settings.seed, settings.hpo_trials, settings.port) == (1, 3, Port(3001, or_next=True))
    changed = {name: source for name, source in settings.sources.items() if source != "default"}
    assert changed == {
        "seed": "--tier0-seed",
        "hpo_trials": "environment variable TIER0_HPO_TRIALS",
        "port": "ini key tier0_port in pytest.toml",
    }
    assert [part.partition(" ")[0] for part in settings.describe_changed().split(", ")] == [
        "hpo-trials=3",
        "seed=1",
        "port=3001+",
    ]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_an_invalid_value_is_rejected_with_its_setting_its_source_and_the_remedy(
    name: str, value: str, snapshot: SnapshotAssertion
) -> None:
    row = next(row for row in TABLE if row.name == name)

    with pytest.raises(SettingsError) as raised:
        merge_settings({}, {row.variable: value})

    assert (raised.value.setting, raised.value.source) == (name, f"environment variable {row.variable}")
    message = str(raised.value)
    assert ("(hidden)" if row.is_secret else repr(value)) in message
    assert row.help in message
    assert message.partition("\n")[0] == snapshot


@pytest.mark.parametrize("command", COMMANDS)
def test_messages_name_the_option_of_the_command(command: str) -> None:
    for row in rows_for(command):
        spelling = row.spelling(command)
        texts = [text for name, text in INVALID if name == row.name]
        for text in texts:
            with pytest.raises(SettingsError) as raised:
                merge_settings({row.name: text}, {}, command=command)
            assert raised.value.source == spelling
            assert f"\n  {spelling} {row.metavar}: " in str(raised.value)


def test_variables_of_other_commands_are_ignored() -> None:
    """A shell that is set up for one command does not keep others from working."""
    environ = {
        "TIER0_GOLDEN": "/nowhere",
        "TIER0_URL": "http://127.0.0.1:1",
        "TIER0_DATASET": "no data set",
        "TIER0_KEEP": "perhaps",
    }

    settings = merge_settings({}, environ, command="serve")

    assert set(settings.sources.values()) == {"default"}
    assert (settings.golden, settings.url, settings.dataset) == (None, None, "patients")


def test_a_default_may_depend_on_the_command() -> None:
    assert merge_settings({}, {}, command="serve").port == Port(3001, or_next=True)
    assert merge_settings({}, {"TIER0_PORT": "0"}, command="serve").port == Port(0)


def test_every_setting_applies_somewhere_and_has_one_spelling_for_each_command() -> None:
    for row in TABLE:
        assert row.commands
        assert set(row.commands) <= set(COMMANDS), row.name
        assert {*row.argument_of, *row.defaults} <= set(row.commands), row.name
    for command in COMMANDS:
        spellings = [row.spelling(command) for row in rows_for(command)]
        assert len(set(spellings)) == len(spellings)


def test_one_setting_can_be_read_although_others_are_invalid(tmp_path: Path) -> None:
    environ = {"TIER0_PORT": "http", "TIER0_REPORT": str(tmp_path / "tier0.json")}

    assert read_setting("report", {}, environ) == tmp_path / "tier0.json"
    with pytest.raises(SettingsError):
        read_setting("port", {}, environ)


def test_a_file_needs_a_target_and_a_built_in_data_set_has_one(
    tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    file = tmp_path / "rows.csv"
    file.touch()

    with pytest.raises(SettingsError) as without_target:
        merge_settings({"dataset": str(file)}, {})
    with pytest.raises(SettingsError) as superfluous:
        merge_settings({"target": "y"}, {})

    assert (without_target.value.setting, superfluous.value.setting) == ("dataset", "target")
    assert merge_settings({"dataset": str(file), "target": "y"}, {}).target == "y"
    assert str(without_target.value).replace(str(tmp_path), "DIR") == snapshot
    assert str(superfluous.value) == snapshot


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"url": "http://127.0.0.1:1", "service": "/s.py:S"}, "url"),
        ({"model": "m:1"}, "model"),
        ({"header": "Name: secret"}, "header"),
        ({"pipeline": "mine:train", "algorithms": "linear"}, "algorithms"),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(
    options: dict[str, str], setting: str, snapshot: SnapshotAssertion
) -> None:
    with pytest.raises(SettingsError) as raised:
        merge_settings(options, {})

    assert raised.value.setting == setting
    assert "secret" not in str(raised.value)
    assert str(raised.value) == snapshot


@given(st.dictionaries(st.sampled_from([row.name for row in rows_for("pytest")]), st.text(max_size=12)))
def test_any_text_is_accepted_or_rejected_by_name(options: dict[str, str]) -> None:
    try:
        settings = merge_settings(options, {})
    except SettingsError as problem:
        assert problem.setting in options  # noqa: PT017
    else:
        assert settings.sources.keys() == {row.name for row in TABLE}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("mask", True, True),
        ("keep", False, False),
        ("seed", 3, 3),
        ("port", 3001, Port(3001)),
        ("retries", 0, 0),
        ("wait", 0.0, 0.0),
        ("wait", 2, 2.0),
        ("startup_timeout", 1.5, 1.5),
        ("algorithms", ["linear", "xgboost"], ("linear", "xgboost")),
        ("algorithms", "linear,\nxgboost", ("linear", "xgboost")),
        ("groups", [], ()),
        ("header", ["A: 1", "B: 2"], {"A": "1", "B": "2"}),
    ],
)
def test_native_types_of_toml_are_taken(name: str, value: Any, expected: Any) -> None:
    assert read_setting(name, {}, {}, in_file(**{name: value})) == expected


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("mask", 1, "expected true or false"),
        ("mask", ["true"], "expected true or false"),
        ("seed", True, "expected a whole number"),
        ("seed", 3.0, "expected a whole number"),
        ("wait", float("nan"), "must be positive and finite"),
        ("wait", True, "expected a number of seconds"),
        ("target", True, "expected a string"),
        ("golden", 5, "expected a string"),
        ("url", ["http://127.0.0.1:1"], "expected a string"),
        ("service", {"file": "s.py"}, "expected a string"),
        ("algorithms", [], "the list is empty"),
        ("algorithms", ["linear", 5], "expected a list of strings"),
        ("groups", 7, "expected a list of strings"),
    ],
)
def test_another_type_is_rejected_with_file_key_value_and_remedy(name: str, value: Any, remedy: str) -> None:
    with pytest.raises(SettingsError) as raised:
        merge_settings({}, {}, in_file(**{name: value}))

    assert raised.value.source == f"ini key tier0_{name} in pytest.toml"
    message = str(raised.value)
    assert repr(value) in message
    assert remedy in message


def test_paths_are_relative_to_where_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ini, here = tmp_path / "ini", tmp_path / "here"
    for folder in (ini, here):
        folder.mkdir()
        for name in ("golden.json", "rows.csv", "token"):
            (folder / name).write_text(folder.name, encoding="utf-8")
    monkeypatch.chdir(here)
    written = {
        "golden": "golden.json",
        "service": "services/churn.py:Churn",
        "store": "home",
        "report": "report.json",
        "dataset": "rows.csv",
        "header": "A: @token",
    }
    values = {name: IniValue(text, "pytest.ini", ini) for name, text in written.items()}

    def read(*sources: Any) -> dict[str, Any]:
        return {name: read_setting(name, *sources) for name in written}

    def below(folder: Path) -> dict[str, Any]:
        return {
            "golden": folder / "golden.json",
            "service": f"{folder}/services/churn.py:Churn",
            "store": folder / "home",
            "report": folder / "report.json",
            "dataset": str(folder / "rows.csv"),
            "header": {"A": folder.name},
        }

    variables = {f"TIER0_{name.upper()}": text for name, text in written.items()}
    assert read({}, {}, values) == below(ini)
    assert read({}, variables, values) == below(here)
    assert read(written, variables, values) == below(here)
    assert read_setting("golden", {}, {}, {"golden": IniValue(f"{here}/golden.json", "pytest.ini", ini)}) == (
        here / "golden.json"
    )


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:80", "udp://[fd00::1]:53", "sctp://10.0.0.1:9"])
@pytest.mark.parametrize("command", ["pytest", "serve", "run"])
def test_the_address_of_a_kubernetes_service_is_not_a_port(command: str, address: str) -> None:
    environ = {"TIER0_PORT": address, "TIER0_SERVICE_HOST": "10.0.0.1", "TIER0_PORT_80_TCP": address}

    settings = merge_settings({}, environ, command=command)

    assert settings.port == merge_settings({}, {}, command=command).port
    assert len(settings.ignored) == 1
    assert f"TIER0_PORT={address}" in settings.ignored[0]
    assert not merge_settings({"port": "3001"}, environ, command=command).ignored


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_header_is_rejected(text: str) -> None:
    for options, environ in (({"header": text}, {}), ({}, {"TIER0_HEADER": text})):
        with pytest.raises(SettingsError) as raised:
            merge_settings({"url": "http://127.0.0.1:1", **options}, environ)
        assert raised.value.setting == "header"


@pytest.mark.parametrize(("name", "value"), [("golden", "file"), ("dataset", "file.csv")])
def test_a_file_that_may_not_be_read_is_rejected(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / value).write_text("x", encoding="utf-8")
    target = {"target": "y"} if name == "dataset" else {"url": "http://127.0.0.1:1"}
    options = {name: str(tmp_path / value), **target}
    merge_settings(options, {})
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read every file

    with pytest.raises(SettingsError, match="no permission") as raised:
        merge_settings(options, {})
    assert raised.value.setting == name


def test_a_relative_path_in_a_deleted_folder_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        with pytest.raises(SettingsError, match="no longer exists"):
            merge_settings({"store": "home"}, {})
    finally:
        os.chdir(tmp_path)
