"""Functions that start, verify and stop a BentoML service from asynchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tier0.client import BentoMLClient, ClientError
from tier0.core.catalogue import CATALOGUE, select_checks
from tier0.core.errors import PredictionMismatchError
from tier0.core.event_log import EventLog
from tier0.core.settings import Port
from tier0.runs.deployment import OwnDeployment, golden_probe
from tier0.runs.examination import Examination
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

if TYPE_CHECKING:
    from tier0.serving.registration import RegisteredModel  # needs cloudpickle, not in the base install

CHECKS = ("identity.expected_model", "parity")
"""The checks that `verify_bentoml_predictions` runs."""


async def start_bentoml_service(
    model: RegisteredModel,
    *,
    port: Port = Port(0),
    startup_timeout: float = 30.0,
    events: EventLog | None = None,
) -> Server:
    """Serve *model* with `bentoml serve`, and wait until its responses to the golden rows are right.

    Args:
        model: registered model to serve.
        port: port to serve on; any free one by default.
        startup_timeout: seconds until the server must be ready.
        events: log that receives the events of the server.

    Raises:
        ServerError: the server did not become ready; the message has the end of its log.
        PredictionMismatchError: the served predictions differ from the trained model's.
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
        while not starting.done():  # a thread cannot be cancelled, but ends when its server's processes end
            await asyncio.to_thread(server.stop)
            await asyncio.wait([starting], timeout=0.2)
        await asyncio.to_thread(server.stop)
        raise
    return server


async def stop_bentoml_service(server: Server) -> float:
    """Stop the server, verify that no process and no open port remain, and return the seconds that it took.

    Raises:
        ServerError: a process or an open port remained.
    """
    return await asyncio.to_thread(server.stop)


async def verify_bentoml_predictions(client: BentoMLClient, deployment: OwnDeployment) -> Mapping[str, Any]:
    """Run the parity checks on a deployment and on the client through which its callers use it.

    Args:
        client: client of the deployment; its calls stay on the running event loop.
        deployment: deployment to verify.

    Returns:
        The response to the examples among the golden rows, sent together through *client*.

    Raises:
        PredictionMismatchError: a prediction differs from the trained model's, or comes from another model.
        ClientError: a request through *client* got no prediction.
        InconclusiveError: the checks could not be completed.
    """
    response = await client.predict(deployment.model.golden.examples.body())
    callers_client = _CallersClient(client, asyncio.get_running_loop())
    examination = Examination(replace(deployment, client=lambda _: callers_client))
    checks = select_checks(CATALOGUE, CHECKS)
    try:
        verdict = await asyncio.to_thread(examination.examine, checks, lambda _: None)
    finally:
        await asyncio.to_thread(examination.close)
    if callers_client.error is not None:
        raise callers_client.error
    if failed := verdict.with_status("fail"):
        raise PredictionMismatchError("\n".join(result.explain() for result in failed), response)
    verdict.raise_for_status()
    return response


class _CallersClient:
    """A client for the checks whose calls run on the event loop of the caller, to which the client belongs.

    Attributes:
        error: the first error that the client raised.
    """

    def __init__(self, client: BentoMLClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self.error: ClientError | None = None

    async def predict(self, records: list[dict[str, Any]]) -> Any:
        return await self._on_callers_loop(self._client.predict(records))

    async def predict_batch(self, records: list[dict[str, Any]]) -> Any:
        return await self._on_callers_loop(self._client.predict_batch(records))

    async def _on_callers_loop(self, call: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))
        except ClientError as error:
            self.error = self.error or error
            raise
