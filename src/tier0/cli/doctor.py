"""``tier0 doctor``: what is missing in this environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tier0.cli.application import app, examples, say
from tier0.cli.output import write_report
from tier0.cli.parameters import remove_old_report, require_writable
from tier0.core import display


@app.command(epilog=examples("tier0 doctor", "tier0 doctor --json doctor.json"))
def doctor(
    json_: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE.json", help="File for the findings as JSON.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what is missing in this environment, what it is needed for, and the one command that installs it.

    It also shows where packages come from, and registers a small model in a private folder, which is deleted
    afterwards. Values of environment variables are never shown.

    Exit status: 0 models can be registered and served, 2 something that this needs is missing. What only
    other uses need, such as the libraries for training, is listed, but does not change the status.
    """
    require_writable("--json", json_)
    remove_old_report(json_)
    from tier0.doctor import doctor as diagnosis

    environment = diagnosis.Environment.here()
    findings = diagnosis.examine(environment)
    for finding in findings:
        say(display.line(str(finding)))
    seconds = diagnosis.TRIAL_TIMEOUT
    say(f"registering a small model in a private folder (at most {seconds:g} s) …", err=True)
    for finding in (tried := diagnosis.try_out(environment, findings)):
        say(display.line(str(finding)))
    findings += tried
    say(diagnosis.conclusion(environment, findings))
    write_report(json_, diagnosis.as_document(environment, findings))
    raise typer.Exit(diagnosis.exit_status(findings))
