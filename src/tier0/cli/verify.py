"""``tier0 verify``: check a running service."""

from __future__ import annotations

from typing import Annotated

import typer

from tier0.cli.application import app, examples, refuse, say
from tier0.cli.foreign_output import shown_as_data
from tier0.cli.output import catalogue_table
from tier0.cli.parameters import GivenSettings, Verbose, import_from_here, takes_settings
from tier0.core.interruption import raise_on_interrupt

EXAMPLES = examples(
    "tier0 verify http://127.0.0.1:3000 --golden golden.json",
    "tier0 verify https://models.example --golden golden.json --header 'Authorization: @token.txt'",
    "tier0 verify https://models.example --model churn:latest --wait 120 --html tier0.html --junit tier0.xml",
)


@app.command(epilog=EXAMPLES)
@takes_settings("verify")
def verify(
    given: GivenSettings,
    *,
    verbose: Verbose = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the table of checks and exit.")] = False,
) -> None:
    """Check a running service. By default it is safe in production: few requests, all of them valid.

    Golden rows are input rows with the trained model's outputs, written by tier0 golden. With them (--golden,
    or --model for a model that Tier0 registered) it verifies that the served model is the trained model.
    Without golden rows the run is inconclusive, unless --without-golden accepts that.

    Exit status: 0 all checks passed, 1 a check failed, 2 inconclusive (no response, no golden rows, an
    error).
    """
    if list_:
        say(catalogue_table())
        return
    files = given.begin_report()
    settings = given.merge()
    if settings.url is None:
        refuse("no URL given. Example: tier0 verify http://127.0.0.1:3000 --golden golden.json")
    from tier0.cli.reporting import recorded
    from tier0.core.events import TargetDescribed
    from tier0.runs.deployment import Deployment, judging_options
    from tier0.runs.verify import check_serving

    raise_on_interrupt()
    if settings.client is not None:
        import_from_here()
    with recorded(
        files, settings.describe_changed(), settings.url, history=settings.history, verbose=verbose
    ) as report:
        report.events.emit(TargetDescribed({"url": settings.url.rstrip("/")}))  # also if nothing responds
        deployment = Deployment.from_url(
            settings.url,
            golden=settings.golden,
            model=settings.model[0] if settings.model else None,
            store=settings.store,
            protocol=settings.protocol,
            contract=settings.contract,
            headers=settings.header,
            ca=settings.ca,
            **judging_options(settings),
        )
        if settings.model and deployment.golden is None:
            say(
                f"tier0: the store entry of {deployment.tag} contains no golden rows, since Tier0 did not "
                "register it: pass --golden FILE, too",
                err=True,
            )
        with shown_as_data():  # a client may print and log
            check_serving(
                deployment,
                on_fail="return",
                groups=settings.groups,
                tell=report.tell,
                timeout=settings.timeout,
                report=lambda line: say(f"tier0: {line}", err=True),
                events=report.events,
            )
    raise typer.Exit(report.exit_status)
