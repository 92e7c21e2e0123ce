"""``tier0 build``: build Bentos of registered models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tier0.cli.application import app, examples, refuse, say
from tier0.cli.parameters import GivenSettings, ModelTags, takes_settings
from tier0.core.errors import Tier0Error
from tier0.core.interruption import raise_on_interrupt


@app.command(epilog=examples("tier0 build churn:latest", "tier0 build --all --output-dir build"))
@takes_settings("build")
def build(
    given: GivenSettings,
    models: ModelTags = None,
    *,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="Build one Bento for each kind of model, of the latest models in the store."
        ),
    ] = False,
    output_dir: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Directory for the Bentos and the compose file; nothing in it is overwritten."
        ),
    ] = Path("tier0-build"),
    port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65533,
            metavar="PORT",
            help="Port of the first service in the compose file; the others follow.",
        ),
    ] = 3001,
) -> None:
    """Build Bentos of registered models, with Dockerfile and compose file, and verify them.

    Models are registered in a BentoML store by tier0 run and by tier0.register_model_for_serving.

    Each Bento is started, and must return correct predictions for the golden rows. With --all there is one
    Bento for each kind of model: classification on port 3001, regression on 3002 and causal on 3003.

    Exit status: 0 built and verified, 1 a Bento does not serve the models correctly, 2 it could not be built.
    """
    if bool(models) == all_:
        refuse("expected either tags of models or --all, which builds one Bento per kind of model")
    settings = given.merge()
    from tier0.core.event_log import EventLog
    from tier0.core.events import BentoBuilding, BentoBuilt
    from tier0.runs.build import build as build_bentos
    from tier0.runs.deployment import default_store

    raise_on_interrupt()
    shown = (BentoBuilding, BentoBuilt)
    events = EventLog(
        listeners=[lambda event: say(f"tier0: {event.message}") if isinstance(event.event, shown) else None]
    )
    try:
        built = build_bentos(
            (settings.store or default_store()).absolute(),
            models or (),
            output=output_dir.absolute(),
            first_port=port,
            startup_timeout=settings.startup_timeout,
            events=events,
        )
    except Tier0Error as problem:
        say(f"tier0: {problem}", err=True)
        raise typer.Exit(problem.exit_status) from None
    for bento in built:
        say(f"{bento.name:20} bentoml serve {output_dir.absolute() / bento.name}")
    say(f"{'all of them':20} docker compose -f {output_dir / 'compose.yaml'} up --build")
