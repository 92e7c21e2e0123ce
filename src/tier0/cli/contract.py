"""``tier0 contract``: draft the contract of a running service."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tier0.cli.application import app, examples, refuse, say
from tier0.cli.parameters import GivenSettings, require_new, takes_settings
from tier0.core import display
from tier0.core.interruption import raise_on_interrupt
from tier0.core.named_file import write_text

EXAMPLE = "tier0 contract http://127.0.0.1:3000 --golden golden.json"


@app.command(epilog=examples(f"{EXAMPLE} --output contract.toml"))
@takes_settings("contract")
def contract(
    given: GivenSettings,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write the contract to, none is overwritten; standard output by default.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draft the contract of a running service: the format of its requests and of its responses.

    Sends the golden rows in the formats that the service's schema allows. The draft is TOML with comments:
    what was found, what was assumed and must be confirmed, and what is open. --contract FILE declares the
    parts that you know already. Read the draft, commit it, and pass it to tier0 verify --contract FILE.

    Exit status: 0 the golden rows match with that contract, 1 they do not match, 2 no contract could be
    drafted.
    """
    settings = given.merge()
    has_rows = settings.golden is not None or bool(settings.model)
    missing = [*(["no URL"] if settings.url is None else []), *([] if has_rows else ["no golden rows"])]
    if settings.url is None or missing:
        refuse(f"{' and '.join(missing)} given. Example: {EXAMPLE}")
    if output is not None:
        require_new("--output", output)
    from tier0.runs.deployment import Deployment
    from tier0.runs.examination import Examination

    raise_on_interrupt()
    model = settings.model[0] if settings.model else None
    deployment = Deployment.from_url(
        settings.url,
        golden=settings.golden,
        model=model,
        store=settings.store,
        protocol=settings.protocol,
        contract=settings.contract,
        headers=settings.header,
        ca=settings.ca,
    )
    if deployment.golden is None:
        refuse(f"the store entry of {model} contains no golden rows: pass --golden FILE")
    drafted = Examination(deployment).draft()
    text = drafted.as_text(settings.url)
    if output is None:
        typer.echo(text, nl=False)  # a file of TOML, complete, in which every text is written for display
    else:
        try:
            write_text(output, text)
        except OSError as problem:
            refuse(f"cannot write the contract {output}: {problem.strerror}")
        first, *others = drafted.compared
        say(f"{output} was written. {first}")
        for text in others:
            say(display.line(f"  {text}"))
        url, path = shlex.quote(settings.url), shlex.quote(str(output))
        say(f"Read it, then run: tier0 verify {url} {deployment.rows_option} --contract {path}")
    raise typer.Exit(0 if drafted.matches else 1)
