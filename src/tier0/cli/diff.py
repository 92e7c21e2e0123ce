"""``tier0 diff``: compare two reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tier0.cli.application import app, examples, say
from tier0.core import display


@app.command(epilog=examples("tier0 diff last.json tier0.json"))
def diff(
    old: Annotated[
        Path, typer.Argument(metavar="OLD.json", help="Report written by --json or --tier0-report.")
    ],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="Later report of the same command.")],
) -> None:
    """Show the differences between two reports: verdicts, checks, metrics, latencies, versions and models.

    A metric is worse if it lost more than its spread, which is how far it varies over resampled test rows.
    The median latency is worse if it is 1.5 times as long, and longer by more than 1 ms. A check is worse
    also if it passed before and could not be checked any more. Runs with other groups of checks are compared
    by what both were asked for; what only one was asked for is named.

    Exit status: 0 nothing is worse, 1 something is worse, 2 a report cannot be read, or the two have nothing
    in common.
    """
    from tier0.report.diff import changes_between, read_facts

    changes = changes_between(read_facts(old), read_facts(new))
    for change in changes:
        say(display.line(str(change)))
    worse = sum(change.kind == "worse" for change in changes)
    others = len(changes) - worse
    counts = f"{worse} worse, {others} other difference{'' if others == 1 else 's'}"
    say(counts if changes else "no difference")
    raise typer.Exit(1 if worse else 0)
