"""``tier0 serve``: serve registered models until Ctrl-C."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from tier0.cli.application import EXTRA, app, examples, refuse, say
from tier0.cli.parameters import GivenSettings, ModelTags, names_in, takes_settings, was_given
from tier0.core.interruption import forget_interrupt, raise_on_interrupt, raise_on_terminate

POLL_SECONDS = 1.0
EXAMPLES = examples(
    "tier0 serve churn:latest",
    "tier0 serve models:/churn@champion",
    "tier0 serve --all",
    "tier0 serve --all --store bentoml",
)


@app.command(epilog=EXAMPLES)
@takes_settings("serve")
def serve(
    given: GivenSettings,
    context: typer.Context,
    models: ModelTags = None,
    *,
    all_: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Start one service per kind of model: with example models trained here, or with the latest "
            "models in --store.",
        ),
    ] = False,
    first_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65533,
            metavar="PORT",
            help="With --all, port of the first service; 0 for any free port.",
        ),
    ] = 3001,
    kinds: Annotated[
        str,
        typer.Option(metavar="LIST", help="With --all, kinds of models to serve, separated by commas."),
    ] = "classification,regression,causal",
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes of each service.")] = 1,
) -> None:
    """Serve registered models on loopback until Ctrl-C, each verified with its golden rows.

    Models are registered in a BentoML store by tier0 run and by tier0.register_model_for_serving.

    An MLflow model is named by its URI, such as models:/churn/3, models:/churn@champion or runs:/ID/model. It
    is registered in a private store first, with the outputs of the loaded original for its input example.

    With --all there are three services, each with a BentoML home of its own: classification on port 3001,
    regression on 3002 and causal on 3003. Without --store they serve examples, which are trained first:
    churn, conversion, ltv_90, ltv_365 and training_effect.

    Exit status: 0 stopped with Ctrl-C or SIGTERM, 2 a service did not start, or exited.
    """
    if bool(models) == all_:
        refuse("expected either tags of models or --all, which starts one service per kind of model")
    settings = given.merge()
    trains = all_ and settings.store is None
    _check_used(given, context, by_kind=all_, trains=trains)
    if trains:
        context.meta[EXTRA] = "pipeline"
    from tier0.core.event_log import EventLog
    from tier0.runs.deployment import default_store
    from tier0.runs.services import Services

    raise_on_interrupt()
    raise_on_terminate()
    events = EventLog(listeners=[lambda event: say(f"tier0: {event.message}") if event.message else None])
    options: dict[str, Any] = {
        "first_port": first_port,
        "startup_timeout": settings.startup_timeout,
        "workers": workers,
        "events": events,
    }
    if models:
        options["port"] = settings.port
    services = None
    try:
        if trains:
            services = Services.from_examples(names_in(kinds), seed=settings.seed, **options)
        else:
            store = (settings.store or default_store()).absolute()
            services = Services.from_store(store, models or (), **options)
        for name, url in services.urls().items():
            say(f"{name:20} {url}/predict   (health, model_info)")
        say("Ctrl-C stops " + ("all services" if len(services.servers) > 1 else "the service"))
        while not (ended := services.ended()):
            time.sleep(POLL_SECONDS)
        log_end = services.servers[ended[0]].log_end()
        refuse(f"the {ended[0]} service exited unexpectedly; the end of its log:\n{log_end}")
    except KeyboardInterrupt:
        forget_interrupt()
        say("")
    finally:
        if services is not None:
            services.close()


def _check_used(given: GivenSettings, context: typer.Context, *, by_kind: bool, trains: bool) -> None:
    """Exit with status 2 if an option is given that has no effect together with the others."""
    options = {
        name
        for name in ("port", "first_port", "kinds", "seed")
        if given.texts.get(name) is not None or was_given(context, name)
    }
    if by_kind and "port" in options:
        refuse("--port has no effect with --all: use --first-port")
    if not by_kind and "first_port" in options:
        refuse("--first-port has no effect without --all: use --port")
    if not trains and "kinds" in options:
        refuse(
            "--kinds has no effect unless example models are trained: use it with --all and without --store"
        )
    if not trains and "seed" in options:
        refuse("--seed has no effect here: no model is trained")
