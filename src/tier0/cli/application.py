"""The application: its global options, and what becomes of errors."""

from __future__ import annotations

import io
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

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


class _Commands(typer.core.TyperGroup):
    """The group of commands. An error never ends a command with status 1, which means that a check failed."""

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
            refuse(f"code that this command ran ended the process: sys.exit({shown(problem.code)})")
        except Exception as problem:
            if type(problem).__module__.startswith(("click.", "typer.")):  # a mistake on the command line
                raise
            if missing := missing_extra(problem):
                refuse(str(missing))
            if ctx.params["debug"]:
                say("".join(traceback.format_exception(problem)), err=True, nl=False)
                refuse(internal_error(problem))
            hint = f"run `tier0 --debug {ctx.invoked_subcommand} …` for the traceback"
            refuse(internal_error(problem, hint))


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

    Exit status of the commands that check: 0 all checks passed, 1 a check failed, 2 inconclusive (the
    checks could not be run, or what they need is missing), 130 stopped with Ctrl-C.
    """


def _require_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        refuse("the working directory was deleted: change to a directory that exists")


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print *text*, which may contain text of a service, a client or a file, for a terminal or a CI log."""
    stream = sys.stderr if err else sys.stdout
    own_stream = getattr(stream, "own_stream", stream)  # while other code prints to the stream as well
    typer.echo(display.terminal(text, SECRETS.hide), file=own_stream, nl=nl)


def refuse(message: str) -> NoReturn:
    """Print why the command cannot do its work, and exit with status 2."""
    say(f"tier0: {message}", err=True)
    raise typer.Exit(INCONCLUSIVE)


def examples(*commands: str) -> str:
    """Return the end of a command's help: one example per line."""
    return "\n\n".join(["Examples:", *commands])
