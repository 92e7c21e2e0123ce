"""``tier0 compare``: compare a new service with an old one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tier0.cli.application import app, examples, refuse, say
from tier0.cli.parameters import GivenSettings, Verbose, takes_settings
from tier0.core.comparison_catalogue import COMPARISON_CATALOGUE
from tier0.core.interruption import raise_on_interrupt

EXAMPLES = examples(
    "tier0 compare http://127.0.0.1:3000 http://127.0.0.1:3001 --rows sample.csv",
    "tier0 compare churn:1 churn:2 --allow-flips 0.5% --allow-difference 1e-3",
    "tier0 compare golden.json http://127.0.0.1:3001 --json tier0.json",
)
LEVELS = ("none", "malformed")
QUESTIONS = {check.id: check.question for check in COMPARISON_CATALOGUE}


@app.command(epilog=EXAMPLES)
@takes_settings("compare")
def compare(
    given: GivenSettings,
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="Known side: a URL, a file of golden rows, a tag of a registered model or a Bento, "
            "FILE.py:CLASS, a folder of a service, or a model URI of MLflow.",
        ),
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Side that is compared with it, in the same forms.")
    ],
    *,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="FILE",
            help="Rows to ask both sides: a CSV file with a header, or a .jsonl file with the body of one "
            "request per line. By default the golden rows, or rows drafted from the description of OLD.",
            show_default=False,
        ),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(
            "--limits", metavar="FILE", help="TOML file of limits, also by slice of rows.", show_default=False
        ),
    ] = None,
    allow_flips: Annotated[
        str | None,
        typer.Option(
            "--allow-flips",
            metavar="SHARE",
            help="Share of the rows whose decision may differ, such as 0.5%; none by default.",
            show_default=False,
        ),
    ] = None,
    allow_difference: Annotated[
        str | None,
        typer.Option(
            "--allow-difference",
            metavar="NUMBER",
            help="Absolute difference of a number that does not count, such as 1e-3; by default that of "
            "another order of additions.",
            show_default=False,
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Compare a new service with an old one: both are asked the same rows, at the same time.

    Reported are rows that only one side answers, changed fields, types and statuses for bad input, flipped
    decisions, differences of scores, latencies, and in which slices of the rows the differences are. The old
    side is asked some rows twice: what differs between its own answers is noise.

    Exit status: 0 no difference beyond the limits, 1 a difference, 2 the sides could not be compared.
    """
    files = given.begin_report()
    settings = given.merge()
    if settings.disturb not in {"", *LEVELS}:
        refuse(f"--disturb {settings.disturb} has no effect on a comparison: choose {' or '.join(LEVELS)}")
    from tier0.cli.reporting import recorded
    from tier0.core.events import CheckDone, TargetDescribed
    from tier0.runs.compare import compare as compare_sides

    raise_on_interrupt()
    what = f"{new}, compared with {old}"
    with recorded(
        files, settings.describe_changed(), what, history=settings.history, verbose=verbose
    ) as report:
        report.events.emit(TargetDescribed({"old": old, "new": new, "url": new}))  # also if nothing responds
        verdict = compare_sides(
            old,
            new,
            rows=rows,
            golden=settings.golden,
            limits=limits,
            allow_flips=allow_flips,
            allow_difference=allow_difference,
            on_fail="return",
            store=settings.store,
            disturb=cast("Any", settings.disturb or "malformed"),
            mask=settings.mask,
            startup_timeout=settings.startup_timeout,
            tell=report.tell,
            report=lambda line: say(f"tier0: {line}", err=True),
            contract=settings.contract,
            protocol=settings.protocol,
            headers=settings.header,
            ca=settings.ca,
            retries=settings.retries,
            wait=settings.wait,
            rate=settings.rate,
        )
        for result in verdict.checks:
            report.events.emit(CheckDone.of(result, QUESTIONS[result.id]))
        report.events.emit(TargetDescribed(verdict.target))
    raise typer.Exit(report.exit_status)
