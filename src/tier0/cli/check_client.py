"""``tier0 check-client``: check how a client handles failures."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tier0.cli.application import INCONCLUSIVE, app, examples, refuse, say
from tier0.cli.end import end_soon
from tier0.cli.foreign_output import shown_as_data
from tier0.cli.output import client_catalogue_table
from tier0.cli.parameters import GivenSettings, Verbose, import_from_here, names_in, takes_settings
from tier0.core.catalogue import select_checks
from tier0.core.client_catalogue import CLIENT_CATALOGUE, CLIENT_GROUPS
from tier0.core.interruption import INTERRUPTED, raise_on_interrupt

QUESTIONS = {check.id: check.question for check in CLIENT_CATALOGUE}
EXAMPLE = "tier0 check-client mypkg.client:make_client --declare client.toml"


@app.command(epilog=examples(EXAMPLE, f"{EXAMPLE} --protocol v2 --only breaker,retry"))
@takes_settings("check-client")
def check_client(
    given: GivenSettings,
    *,
    only: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Groups of checks, or single checks, separated by commas; all by default: "
            f"{', '.join(CLIENT_GROUPS)}",
            rich_help_panel="Checks",
        ),
    ] = "",
    skip: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Groups of checks, or single checks, to leave out, separated by commas",
            rich_help_panel="Checks",
        ),
    ] = "",
    verbose: Verbose = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the table of checks and exit.")] = False,
) -> None:
    """Test how any client handles failures, against servers that misbehave on purpose.

    Takes about ten seconds with timeouts of one second; no running service is needed. The function that
    creates the client is called with a URL and the declared options. Nothing is read from the client's
    attributes: what counts is which requests arrive at the servers, and when. A failure is shown with its
    timeline.

    Exit status: 0 all checks passed, 1 a check failed, 2 inconclusive (the client cannot be created, an
    error).
    """
    if list_:
        say(client_catalogue_table())
        return
    files = given.begin_report()
    settings = given.merge()
    if settings.client is None:
        refuse(f"no client given. Example: {EXAMPLE}")
    from tier0.checks.client.harness.printed import hide_own_events
    from tier0.cli.reporting import CommandReport, recorded
    from tier0.core.events import CheckDone, TargetDescribed
    from tier0.core.verdict import CheckResult
    from tier0.runs.check_client import check_client as run_checks
    from tier0.runs.check_client import expected_duration

    def tell(report: CommandReport, result: CheckResult) -> None:
        report.events.emit(CheckDone.of(result, QUESTIONS[result.id]))
        report.tell(result)

    raise_on_interrupt()
    import_from_here()
    hide_own_events()
    status = INCONCLUSIVE
    try:
        with recorded(
            files, settings.describe_changed(), settings.client, history=settings.history, verbose=verbose
        ) as report:
            report.events.emit(TargetDescribed({"client": settings.client}))  # also if it cannot be created
            with shown_as_data():
                select_checks(CLIENT_CATALOGUE, [*names_in(only), *names_in(skip)])  # refuses unknown names
                duration = expected_duration(settings.declare, settings.protocol)
                say(f"checking {settings.client} against servers that misbehave: {duration}", err=True)
                verdict = run_checks(
                    settings.client,
                    settings.declare,
                    protocol=settings.protocol,
                    only=names_in(only),
                    skip=names_in(skip),
                    on_fail="return",
                    tell=partial(tell, report),
                )
            report.events.emit(TargetDescribed(verdict.target))
        status = report.exit_status
    except KeyboardInterrupt:
        status = INTERRUPTED
        raise
    finally:
        end_soon(status)
    raise typer.Exit(status)
