"""Starting, verifying and stopping a BentoML service from asynchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tier0.client import BentoMLClient
from tier0.core.errors import PredictionMismatchError
from tier0.core.event_log import EventLog
from tier0.core.settings import Port
from tier0.golden.rows import GoldenRows, Mismatch
from tier0.runs.deployment import OwnDeployment, golden_probe
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

if TYPE_CHECKING:
    from tier0.serving.registration import (
        RegisteredModel,  # needs cloudpickle, which the base install has not
    )


async def start_bentoml_service(
    model: RegisteredModel,
    *,
    port: Port = Port(0),
    startup_timeout: float = 30.0,
    events: EventLog | None = None,
) -> Server:
    """Serve *model* with `bentoml serve`, and wait until its golden rows came back right.

    Raises:
        ServerError: it did not become ready; with the end of its log.
        PredictionMismatchError: it serves something else.
    """
    workspace = Workspace.create()
    server = Server(workspace.path / "s", port, events or EventLog(), workspace=workspace)

    def start() -> None:
        server.launch()
        server.announce({model.name: model.tag}, model.store)
        server.wait_until_ready(golden_probe(model, server.nonce), startup_timeout)

    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        await asyncio.shield(starting)
    except BaseException:
        while not starting.done():  # a thread cannot be cancelled: without its processes it ends by itself
            await asyncio.to_thread(server.stop)
            await asyncio.wait([starting], timeout=0.2)
        await asyncio.to_thread(server.stop)
        raise
    return server


async def stop_bentoml_service(server: Server) -> float:
    """Stop the server, prove that nothing of it is left, and return the seconds that it took.

    Raises:
        ServerError: a process or the port remained.
    """
    return await asyncio.to_thread(server.stop)


async def verify_bentoml_predictions(client: BentoMLClient, deployment: OwnDeployment) -> Mapping[str, Any]:
    """Ask for the golden rows together and each alone, and compare every answer with the in-memory model's.

    Returns:
        The answer to all rows together.

    Raises:
        PredictionMismatchError: an answer differs, or another model gave it.
        ClientError: there was none.
    """
    kept = deployment.model.golden
    golden = kept.examples
    as_asked, otherwise = (
        kept.tolerances(same_arithmetic=True, same_batch=same_batch) for same_batch in (True, False)
    )
    together = await client.predict(golden.body())
    if together.get("model_tag") != deployment.model.tag:
        raise PredictionMismatchError(
            f"{deployment.url} answers as {together.get('model_tag')!r}, and {deployment.model.tag!r} was asked to serve"
        )
    _refuse(deployment, golden, golden.compare(together, tolerance=as_asked))
    if edge_cases := kept.edge_cases:
        _refuse(
            deployment,
            edge_cases,
            edge_cases.compare(await client.predict(edge_cases.body()), tolerance=as_asked),
        )
    for index in range(len(golden)):
        alone = golden.take([index])
        _refuse(deployment, alone, alone.compare(await client.predict(alone.body()), tolerance=otherwise))
    return together


def _refuse(deployment: OwnDeployment, golden: GoldenRows, mismatch: Mismatch | None) -> None:
    if mismatch is not None:
        raise PredictionMismatchError(deployment.explain(mismatch, golden))
