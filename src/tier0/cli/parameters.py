"""Parameters of the commands, made from the table of settings."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tier0.cli.application import HEADERS, refuse, say
from tier0.core.named_file import require_absent
from tier0.core.settings import (
    Setting,
    Settings,
    merge_settings,
    read_setting,
    remove_report,
    rows_for,
    why_ignored,
)

if TYPE_CHECKING:
    from tier0.report.files import ReportFiles

ModelTags = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TAG]...", help="Tags of registered models, which one service will serve."),
]
"""The models of `tier0 serve` and `tier0 build`."""

Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Print all results, and all of the report.", rich_help_panel="Report"
    ),
]
"""Whether a command that checks prints all, instead of at most 60 lines."""


class GivenSettings(NamedTuple):
    """The settings on the command line of one command.

    Attributes:
        command: name of the command.
        texts: their texts, by the names of `Settings`; None for an option that was not given.
    """

    command: str
    texts: Mapping[str, str | None]

    def merge(self) -> Settings:
        """Return the settings, from the command line and the environment.

        Raises:
            SettingsError: a value is invalid.
        """
        settings = merge_settings(self.texts, os.environ, command=self.command)
        HEADERS.update(settings.header)
        return settings

    def read(self, name: str) -> Any:
        """Return one setting, even if others are invalid.

        Raises:
            SettingsError: the value is invalid.
        """
        return read_setting(name, self.texts, os.environ, command=self.command)

    def begin_report(self) -> ReportFiles:
        """Return the files for the report; remove those that an earlier run wrote.

        Raises:
            SettingsError: a path is invalid.
            ReportError: a file cannot be written.
        """
        from tier0.report.files import ReportFiles

        files = ReportFiles.named_by(self.read)
        files.begin()
        return files


def takes_settings(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a parameter for each setting that applies to it.

    Args:
        command: name of the command. Its function has an argument ``given``, which gets a `GivenSettings`.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        rows = rows_for(command)
        own = [
            parameter
            for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
            if name != "given"
        ]

        def with_settings(**arguments: Any) -> None:
            texts = {row.name: _as_text(arguments.pop(row.name)) for row in rows}
            for row in rows:
                if texts[row.name] is None and (reason := why_ignored(row, os.environ)):
                    say(f"tier0: {reason}", err=True)
            function(given=GivenSettings(command, texts), **arguments)

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in [*(_parameter(row, command) for row in rows), *own]
        ]
        with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        with_settings.__name__, with_settings.__doc__ = function.__name__, function.__doc__
        return with_settings

    return decorate


def _parameter(row: Setting, command: str) -> inspect.Parameter:
    """Return the parameter of one setting."""
    spelling = row.spelling(command)
    how: dict[str, Any] = {"help": _help(row, command), "show_default": False}
    if row.choices:
        how["autocompletion"] = _completion(row.choices)
    kind: Any = str | None
    if row.is_switch:
        kind = bool | None
        spelling = f"{spelling}/--no-{spelling.removeprefix('--')}"
    elif row.is_repeatable:
        kind = list[str] | None
    if command in row.argument_of:
        info = typer.Argument(metavar=row.metavar, **how)
    elif row.is_switch:
        info = typer.Option(spelling, rich_help_panel=row.section, **how)
    else:
        info = typer.Option(spelling, metavar=row.metavar, rich_help_panel=row.section, **how)
    return inspect.Parameter(
        row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info]
    )


def _help(row: Setting, command: str) -> str:
    """Return the help of a setting, with its default and its variable."""
    default = "" if row.is_switch else row.default_for(command)
    facts = [f"Default: {default}."] if default else []
    return " ".join([f"{row.help}.", *facts, f"Variable: {row.variable}."])


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        *before, last = incomplete.split(",")
        return [",".join([*before, choice]) for choice in choices if choice.startswith(last)]

    return complete


def _as_text(value: Any) -> str | None:
    """Return the text of an option, as a variable would give it; None if the option was not given."""
    if value is None or value == []:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):  # one that is empty makes the setting invalid, even among others
        return "\n".join(value) if all(item.strip() for item in value) else ""
    return str(value)


def names_in(text: str) -> list[str]:
    """Return the names in a list that is separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def was_given(context: typer.Context, name: str) -> bool:
    """Return whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def import_from_here() -> None:
    """Let modules of the current directory be imported, as ``python -m`` does."""
    sys.path.insert(0, "")


def require_writable(option: str, path: Path | None) -> None:
    """Exit with status 2 unless a file can be created at *path*."""
    if path is None:
        return
    try:
        directory = path.absolute().parent
    except FileNotFoundError:
        reason = "the working directory was deleted; use an absolute path"
        refuse(f"invalid value {str(path)!r} for {option}: {reason}")
    if not directory.is_dir():
        refuse(f"invalid value {str(path)!r} for {option}: directory not found: {directory}")
    if path.is_dir():
        refuse(f"invalid value {str(path)!r} for {option}: it is a directory; name a file in it")


def require_new(option: str, path: Path) -> None:
    """Exit with status 2 unless a file can be created at *path* in which nothing is overwritten."""
    require_writable(option, path)
    require_absent(path, option)


def remove_old_report(path: Path | None) -> None:
    """Remove the report of an earlier run; if this run ends early, it must not be taken for this run's."""
    try:
        if path is not None:
            remove_report(path)
    except OSError as problem:
        refuse(f"cannot remove the older report {path}: {problem.strerror}")
