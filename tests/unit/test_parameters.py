"""Parameters of the commands, made from the table of settings."""

from __future__ import annotations

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from tier0.cli import app
from tier0.cli.parameters import GivenSettings, takes_settings
from tier0.core.settings import rows_for

WITH_SETTINGS = ("verify", "contract", "check-client", "run", "serve", "build")
NO_VARIABLES = {row.variable: None for command in WITH_SETTINGS for row in rows_for(command)}


def given(command: str, *arguments: str, **environ: str) -> GivenSettings:
    """Return what a command gets for these arguments."""
    received: list[GivenSettings] = []

    @takes_settings(command)
    def record(given: GivenSettings, *, other: bool = False) -> None:
        assert not other
        received.append(given)

    application = typer.Typer()
    application.command()(record)
    result = CliRunner().invoke(application, arguments, env={**NO_VARIABLES, **environ})
    assert result.exit_code == 0, result.output
    return received[0]


@pytest.mark.parametrize("command", WITH_SETTINGS)
def test_a_command_has_a_parameter_for_each_of_its_settings(command: str) -> None:
    parameters = {parameter.name: parameter for parameter in get_command(app).commands[command].params}  # type: ignore[attr-defined]

    for row in rows_for(command):
        parameter = parameters[row.name]
        is_argument = command in row.argument_of
        assert parameter.param_type_name == ("argument" if is_argument else "option")
        assert is_argument or row.spelling(command) in parameter.opts
        assert row.help in parameter.help
        assert row.variable in parameter.help


def test_what_is_not_given_is_none() -> None:
    assert set(given("verify").texts.values()) == {None}


@pytest.mark.parametrize(
    ("arguments", "name", "text"),
    [
        (["http://127.0.0.1:3000"], "url", "http://127.0.0.1:3000"),
        (["--mask"], "mask", "true"),
        (["--no-mask"], "mask", "false"),
        (["--header", "A: 1", "--header", "B: 2"], "header", "A: 1\nB: 2"),
        (["--golden", ""], "golden", ""),
        (["--json", "tier0.json"], "report", "tier0.json"),
    ],
)
def test_values_are_passed_as_text(arguments: list[str], name: str, text: str) -> None:
    texts = given("verify", *arguments).texts

    assert {key: value for key, value in texts.items() if value is not None} == {name: text}


def test_an_option_takes_precedence_over_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NO_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIER0_MASK", "true")
    monkeypatch.setenv("TIER0_RETRIES", "5")

    settings = given("verify", "--no-mask").merge()

    assert (settings.mask, settings.retries) == (False, 5)
    assert (settings.sources["mask"], settings.sources["retries"]) == (
        "--mask",
        "environment variable TIER0_RETRIES",
    )
