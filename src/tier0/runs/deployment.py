"""A deployment of ours: a registered model, the server that serves it, and the questions that prove it."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tier0.client import BentoMLClient
from tier0.core.errors import PredictionMismatchError
from tier0.core.events import EventLog
from tier0.core.golden import ROW_ALONE_TOLERANCE, GoldenRows, Mismatch
from tier0.core.settings import Port
from tier0.serving.registration import RegisteredModel
from tier0.serving.server import Probe, Server
from tier0.serving.workspace import Workspace

Result = TypeVar("Result")


@dataclass(frozen=True)
class Deployment:
    """What can be asked: where, which model it must be, and the server if it is ours.

    Attributes:
        url: of the service.
        model: the registered model, with its golden rows.
        server: the processes, which belong to this run.
    """

    url: str
    model: RegisteredModel
    server: Server

    def explain(self, mismatch: Mismatch, golden: GoldenRows) -> str:
        """Return what was expected, what came, and how to see it again, with the one row that proves it."""
        return f"{self.model.tag} at {self.url}: {mismatch}\nReproduce with: {curl(self.url, golden.take([mismatch.row]))}"


def curl(url: str, golden: GoldenRows) -> str:
    """Return the command that asks the service at *url* for *golden* from a shell."""
    return f"curl -sS {url}/predict -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(golden.body()))}"


async def start_bentoml_service(
    model: RegisteredModel, *, port: Port = Port(0), startup_timeout: float = 30.0, events: EventLog | None = None
) -> Server:
    """Serve *model* with `bentoml serve`, and wait until its golden rows came back right.

    Raises:
        ServerError: it did not become ready; with the end of its log.
        PredictionMismatchError: it serves something else.
    """
    workspace = Workspace.create()
    server = Server(workspace.path / "s", port, events or EventLog())

    def start() -> None:
        server.launch()
        server.announce({model.name: model.tag}, model.store)
        server.wait_until_ready(golden_probe(model, server.nonce), startup_timeout)

    try:
        await asyncio.to_thread(start)
    except BaseException:
        server.stop()
        workspace.close()
        raise
    return server


async def stop_bentoml_service(server: Server) -> float:
    """Stop the server, prove that nothing of it is left, and return the seconds that it took.

    Raises:
        ServerError: a process or the port remained.
    """
    return await asyncio.to_thread(server.stop)


async def verify_bentoml_predictions(client: BentoMLClient, deployment: Deployment) -> Mapping[str, Any]:
    """Ask for the golden rows together and each alone, and compare every answer with the in-memory model's.

    Returns:
        The answer to all rows together.

    Raises:
        PredictionMismatchError: an answer differs, or another model gave it.
        ClientError: there was none.
    """
    golden = deployment.model.golden
    together = await client.predict(golden.body())
    if together.get("model_tag") != deployment.model.tag:
        raise PredictionMismatchError(f"{deployment.url} answers as {together.get('model_tag')!r}, and {deployment.model.tag!r} was asked to serve")
    _refuse(deployment, golden, golden.compare(together))
    for index in range(len(golden)):
        alone = golden.take([index])
        _refuse(deployment, alone, alone.compare(await client.predict(alone.body()), tolerance=ROW_ALONE_TOLERANCE))
    return together


def _refuse(deployment: Deployment, golden: GoldenRows, mismatch: Mismatch | None) -> None:
    if mismatch is not None:
        raise PredictionMismatchError(deployment.explain(mismatch, golden))


def golden_probe(model: RegisteredModel, nonce: str, route: str | None = None) -> Probe:
    """Return what a server asks itself ready with: all golden rows at once, then who it is.

    Args:
        model: what must answer.
        nonce: of the server that must answer.
        route: the model's name in the path, where the server has several.
    """

    def probe(url: str, timeout: float) -> Mapping[str, Any]:
        async def ask(client: BentoMLClient) -> Mapping[str, Any]:
            answer = await client.predict(model.golden.body(), model=route)
            health = await client.health_check(route)
            mismatch = model.golden.compare(answer)
            if answer.get("model_tag") != model.tag or health.get("run") != nonce:
                raise PredictionMismatchError(
                    f"{url} answers as {answer.get('model_tag')!r} of run {health.get('run')!r}, "
                    f"and {model.tag!r} of run {nonce!r} was started: it is another server"
                )
            if mismatch is not None:
                row = model.golden.take([mismatch.row])
                raise PredictionMismatchError(f"{url} serves {model.tag} wrong: {mismatch}\nReproduce with: {curl(url, row)}")
            return answer

        return with_client(url, ask, timeout=timeout, attempt_timeout=timeout, max_attempts=1)

    return probe


def with_client(url: str, ask: Callable[[BentoMLClient], Awaitable[Result]], **knobs: Any) -> Result:
    """Run *ask* with a client of its own, on an event loop of its own."""

    async def run() -> Result:
        async with BentoMLClient(url, **knobs) as client:
            return await ask(client)

    return asyncio.run(run())
