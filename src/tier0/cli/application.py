"""The application: its global options, and what becomes of errors."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
import typer.core

from tier0.core import display
from tier0.core.bug_report import internal_error
from tier0.core.errors import Tier0Error, missing_extra
from tier0.core.fields import shown
from tier0.core.interruption import INTERRUPTED, forget_interrupt
from tier0.core.secrets import Secrets

INCONCLUSIVE = 2
HEADERS: dict[str, str] = {}
"""The headers that the user gave to this command: their values are never printed."""
SECRETS = Secrets(os.environ, HEADERS)
PLAIN: Mapping[str, Any] = {}
"""The style of text without colours."""
EXTRA_OF = {"run": "pipeline", "golden": "service", "serve": "service", "build": "service"}
"""The extra that a command as a whole needs, if it needs more than the base."""
EXTRA = "tier0.extra"
"""Key in the context of a command for the extra that it needs with its options."""


class _Commands(typer.core.TyperGroup):
    """The group of commands. An error never ends a command with status 1, which means that a check failed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in (self, *self.commands.values()):
            command.help = _flowing(command.help or "")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that *args* name, if it can work in this process's working directory."""
        name, command, rest = super().resolve_command(ctx, args)
        if name != "doctor":  # which reports a deleted directory among its findings
            _require_working_directory()
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; turn an exception into a message and an exit status."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # texts of a service need not be encodable
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Tier0Error as problem:
            refuse(str(problem))
        except KeyboardInterrupt:
            forget_interrupt()
            say("\nstopped", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except SystemExit as problem:  # typer's own are other exceptions
            if isinstance(problem.__context__, BrokenPipeError):  # rich's: the help was piped to head
                raise typer.Exit(INCONCLUSIVE) from None
            refuse(f"code that this command ran ended the process: sys.exit({shown(problem.code)})")
        except Exception as problem:
            if type(problem).__module__.startswith(("click.", "typer.")):  # a mistake on the command line
                raise
            _refuse_unexpected(ctx, problem)


def _refuse_unexpected(ctx: Any, problem: Exception) -> NoReturn:
    """End a command that lacks a package, or that raised an error that Tier0 did not expect."""
    extra = ctx.meta.get(EXTRA) or EXTRA_OF.get(ctx.invoked_subcommand, "bentoml")
    if missing := missing_extra(problem, extra):
        refuse(str(missing))
    if ctx.params["debug"]:
        say("".join(traceback.format_exception(problem)), err=True, nl=False)
        refuse(internal_error(problem))
    hint = f"run `tier0 --debug {ctx.invoked_subcommand} …` for the traceback"
    refuse(internal_error(problem, hint))


def _flowing(text: str) -> str:
    """Return a docstring with one line for each paragraph, which the terminal breaks."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
)


def _print_version(value: bool) -> None:
    if value:
        say(f"tier0 {import_module('tier0').__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="TIER0_DEBUG",
            help="Print the traceback of an unexpected error; before the command: tier0 --debug verify …",
        ),
    ] = False,
) -> None:
    """Verify that a served model is the model that was trained.

    Start with tier0 golden, which keeps the outputs of your model in memory as golden rows, and tier0 verify,
    which compares the responses of a running service with them.

    Exit status of the commands that check: 0 all checks passed, 1 a check failed, 2 inconclusive (the
    checks could not be run, or what they need is missing), 130 stopped with Ctrl-C.
    """


def _require_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        refuse("the working directory was deleted: change to a directory that exists")


def say(text: str, *, err: bool = False, nl: bool = True, style: Mapping[str, Any] = PLAIN) -> None:
    """Print *text*, which may contain text of a service, a client or a file, for a terminal or a CI log.

    Args:
        text: text to print.
        err: whether to print it on standard error.
        nl: whether to end the line.
        style: arguments of `typer.style`, for a terminal with colours.
    """
    stream = sys.stderr if err else sys.stdout
    own_stream = getattr(stream, "own_stream", stream)  # while other code prints to the stream as well
    shown = display.terminal(text, SECRETS.hide)
    if style and shown and _has_colours(own_stream):
        typer.echo(typer.style(shown, **style), file=own_stream, nl=nl, color=True)
    else:
        typer.echo(shown, file=own_stream, nl=nl)


def _has_colours(stream: TextIO) -> bool:
    """Return whether to print in colour: on a terminal, unless NO_COLOR or FORCE_COLOR says otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return is_terminal or os.environ.get("FORCE_COLOR", "0") not in {"", "0"}


def refuse(message: str) -> NoReturn:
    """Print why the command cannot do its work, and exit with status 2."""
    say(f"tier0: {message}", err=True)
    raise typer.Exit(INCONCLUSIVE)


def examples(*commands: str) -> str:
    """Return the end of a command's help: one example per line."""
    return "\n\n".join(["Examples:", *commands])
