"""A deployment of ours: a registered model, the server that serves it, and the questions that prove it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tier0.client import BentoMLClient
from tier0.core.contract import Contract, read_contract
from tier0.core.errors import PredictionMismatchError, Tier0Error
from tier0.core.events import EventLog
from tier0.core.golden import ROW_ALONE_TOLERANCE, GoldenRows, Mismatch
from tier0.core.settings import Port
from tier0.serving.entry import Entry, find_entry
from tier0.serving.registration import RegisteredModel
from tier0.serving.server import Probe, Server
from tier0.serving.workspace import Workspace

Result = TypeVar("Result")


@dataclass(frozen=True)
class Deployment:
    """What checks are asked of: where it is, what it must answer, and how it is asked.

    Attributes:
        url: of the service.
        golden: rows with what the model in memory gave for them; None if there are none.
        tag: the exact tag that must answer; None if it is not known.
        contract: how it is asked; None to find that out from the service.
        headers: sent with every request, and shown nowhere.
    """

    url: str
    golden: GoldenRows | None = None
    tag: str | None = None
    contract: Contract | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        golden: Path | GoldenRows | None = None,
        model: str | None = None,
        store: Path | None = None,
        contract: Path | Contract | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Deployment:
        """Describe a running service.

        Args:
            url: of the service.
            golden: golden rows, or a file of them.
            model: a tag in *store*, ``name:version`` or ``name:latest``; its entry holds golden rows if Tier0 registered it.
            store: a BentoML home; ``BENTOML_HOME`` or ``~/bentoml`` by default. It is only read.
            contract: or a file with one.
            headers: sent with every request.

        Raises:
            Tier0Error: a file or the model cannot be read.
        """
        if not url.startswith(("http://", "https://")):
            raise Tier0Error(f"url = {url!r} is no URL of a service: give one such as http://127.0.0.1:3000")
        tag = None
        if model is not None:
            tag, path = find_entry(model, store or Path(os.environ.get("BENTOML_HOME", "~/bentoml")).expanduser())
            golden = golden or Entry.read(path).golden_rows()
        if isinstance(golden, Path):
            golden = GoldenRows.read(golden)
        if isinstance(contract, Path):
            contract = read_contract(contract)
        return cls(url.rstrip("/"), golden, tag, contract, headers or {})


@dataclass(frozen=True)
class OwnDeployment(Deployment):
    """A deployment whose model was registered, and whose server was started, by this run.

    Attributes:
        model: the registered model.
        server: its processes.
    """

    model: RegisteredModel = field(kw_only=True)
    server: Server = field(kw_only=True)

    @classmethod
    def of(cls, server: Server, model: RegisteredModel) -> OwnDeployment:
        """Describe what *server* serves."""
        return cls(server.url, model.golden, model.tag, Contract(), model=model, server=server)

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
    golden = deployment.model.golden
    together = await client.predict(golden.body())
    if together.get("model_tag") != deployment.model.tag:
        raise PredictionMismatchError(f"{deployment.url} answers as {together.get('model_tag')!r}, and {deployment.model.tag!r} was asked to serve")
    _refuse(deployment, golden, golden.compare(together))
    for index in range(len(golden)):
        alone = golden.take([index])
        _refuse(deployment, alone, alone.compare(await client.predict(alone.body()), tolerance=ROW_ALONE_TOLERANCE))
    return together


def _refuse(deployment: OwnDeployment, golden: GoldenRows, mismatch: Mismatch | None) -> None:
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
            if health["status"] != "healthy":
                raise PredictionMismatchError(f"{url} predicts, and says that it is not well: {health['reason']}")
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
