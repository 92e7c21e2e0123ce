"""Several services at once, one for each kind of model, over one shared core; and one service for models that are named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tier0.client import BentoMLClient
from tier0.contract.contract import Contract
from tier0.core.errors import MissingDependencyError, Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.events import RegistrationDone, ServerPortTaken
from tier0.core.settings import Port
from tier0.runs.deployment import OwnDeployment, golden_probe
from tier0.serving.entry import DESCRIPTION_FILE, Entry, find_entry
from tier0.serving.processes import is_free, owner_of
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel, save_models
from tier0.serving.server import Probe, Server
from tier0.serving.workspace import Workspace

KINDS = ("classification", "regression", "causal")
FIRST_PORT = 3001
"""Of the first kind; the others follow."""
SKLEARN = ("sklearn.pipeline", "sklearn.compose", "tier0.serving.predictor")
PRELOAD = {
    "classification": (*SKLEARN, "lightgbm"),
    "regression": (*SKLEARN, "sklearn.ensemble"),
    "causal": (*SKLEARN, "econml.dml"),
}
"""What the workers can import while their models are trained."""
NEEDED = {"causal": ("econml", "causaldata")}


@dataclass
class Services:
    """Servers that run together; `close` stops them all.

    Attributes:
        events: what happened.
        servers: by kind.
        models: those that each of them serves, the first one also without its name in the path.
    """

    events: EventLog = field(default_factory=EventLog)
    servers: dict[str, Server] = field(default_factory=dict)
    models: dict[str, list[RegisteredModel]] = field(default_factory=dict)
    _workspace: Workspace = field(default_factory=Workspace.create)

    @classmethod
    def of_examples(
        cls,
        kinds: Sequence[str] = KINDS,
        *,
        first_port: int = FIRST_PORT,
        startup_timeout: float = 60.0,
        workers: int = 1,
        seed: int = 7,
        events: EventLog | None = None,
    ) -> Services:
        """Train models of each kind (see `tier0.pipeline.examples`), register them and serve them; imports, training and proof overlap.

        Args:
            kinds: some of `KINDS`.
            first_port: of classification, the others follow; 0 for any free ones.
            startup_timeout: seconds for each of them, from the end of the training.
            workers: processes that answer, of each service.
            seed: the same seed gives the same models.
            events: where the phases are told.

        Raises:
            MissingDependencyError: an extra is not installed; nothing was started.
            Tier0Error: a model could not be trained or registered, or a server did not become ready.
        """
        _refuse_missing(kinds)
        services = cls(events or EventLog())
        with ThreadPoolExecutor(len(kinds)) as threads, services._closed_on_error() as endings:
            writer = EntryWriter(services._workspace, services._workspace.store)
            endings.callback(writer.close)
            for kind in kinds:
                services._launch(kind, first_port, workers, PRELOAD[kind])
            waiting = []
            for kind in kinds:
                services._register_examples(kind, writer, seed, close_after=kind == kinds[-1])
                waiting.append(threads.submit(services._announce_and_wait, kind, startup_timeout))
            for ready in waiting:
                ready.result()
        return services

    @classmethod
    def of_store(
        cls,
        store: Path,
        tags: Sequence[str] = (),
        *,
        port: Port | None = None,
        first_port: int = FIRST_PORT,
        startup_timeout: float = 60.0,
        workers: int = 1,
        events: EventLog | None = None,
    ) -> Services:
        """Serve models that are registered already: those that are named, by one service, or the latest of each, by one a kind.

        Args:
            store: the BentoML home that has them; it is only read.
            tags: ``name:version``, ``name:latest`` or ``name``; without any, the latest of every name.
            port: for models that are named.
            first_port: for services by kind, see `of_examples`.
            startup_timeout: seconds for each of them.
            workers: processes that answer, of each service.
            events: where the phases are told.

        Raises:
            RegistrationError: there is no such model, or Tier0 did not register it.
            Tier0Error: a server did not become ready.
        """
        services = cls(events or EventLog(), models=registered_by_kind(store, tags))
        with services._closed_on_error():
            for kind in services.models:
                services._launch(kind, first_port, workers, port=port)
            with ThreadPoolExecutor(len(services.servers)) as threads:
                for ready in [
                    threads.submit(services._announce_and_wait, kind, startup_timeout)
                    for kind in services.servers
                ]:
                    ready.result()
        return services

    def deployment(self, name: str, **how: Any) -> OwnDeployment:
        """Describe one of the models that are served, under its name, for the checks."""
        kind, model = next(
            (kind, model) for kind, models in self.models.items() for model in models if model.name == name
        )
        contract = Contract(f"/{name}/predict", health=f"/{name}/health")
        return OwnDeployment.of(
            self.servers[kind],
            model,
            **{"contract": contract, "client": lambda url: BentoMLClient(f"{url}/{name}"), **how},
        )

    def urls(self) -> dict[str, str]:
        """Return where each model is asked: its name, and the base of its routes."""
        return {
            model.name: f"{self.servers[kind].url}/{model.name}"
            for kind, models in self.models.items()
            for model in models
        }

    def ended(self) -> list[str]:
        """Return the kinds whose server has ended by itself."""
        return [kind for kind, server in self.servers.items() if not server.pids]

    def close(self) -> None:
        """Stop every server at once, and delete what was made for them.

        Raises:
            ServerError: a process or a port remained.
        """
        with ExitStack() as endings:
            endings.callback(self._workspace.close)
            if self.servers:
                with ThreadPoolExecutor(len(self.servers)) as threads:
                    for stopped in [threads.submit(server.stop) for server in self.servers.values()]:
                        stopped.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _closed_on_error(self) -> ExitStack:
        stack = ExitStack()
        stack.push(lambda kind, *_: self.close() if kind is not None else None)
        return stack

    def _launch(
        self, kind: str, first_port: int, workers: int, preload: Sequence[str] = (), port: Port | None = None
    ) -> None:
        number = 0 if first_port == 0 or kind not in KINDS else first_port + KINDS.index(kind)
        if number and port is None and not is_free(number):
            taken = f"port {number} of the {kind} service belongs to {owner_of(number)}; taking another one"
            self.events.emit(ServerPortTaken(wanted=number), taken)
            number = 0
        server = Server(
            self._workspace.folder("s"), port or Port(number), self.events, preload, workers=workers
        )
        self.servers[kind] = server
        server.launch()

    def _register_examples(self, kind: str, writer: EntryWriter, seed: int, *, close_after: bool) -> None:
        from tier0.pipeline.examples import TRAINERS  # noqa: PLC0415 - seconds of imports, while the workers do theirs

        trained = TRAINERS[kind](seed)
        savers = [
            ModelSaver(one.model, one.name, one.metadata, one.examples, threshold=one.threshold)
            for one in trained
        ]
        for example, model in zip(
            trained,
            save_models(savers, self._workspace, writer, prove=False, close_after=close_after),
            strict=True,
        ):
            self.models.setdefault(example.kind, []).append(model)
            done = RegistrationDone(tag=model.tag, golden_rows=len(model.golden))
            self.events.emit(done, f"registered {model.tag} with {len(model.golden)} golden rows")

    def _announce_and_wait(self, kind: str, timeout: float) -> None:
        """Tell a server its models, and wait until it has given the golden rows of each of them."""
        models, server = self.models[kind], self.servers[kind]
        server.announce({model.name: model.tag for model in models}, models[0].store)
        server.wait_until_ready(self._probe(kind), timeout)

    def _probe(self, kind: str) -> Probe:
        return in_turn(
            [golden_probe(model, self.servers[kind].nonce, model.name) for model in self.models[kind]]
        )


def in_turn(probes: Sequence[Probe]) -> Probe:
    """Return a probe that asks all of *probes*, and gives the answer to the first."""

    def probe(url: str, timeout: float) -> Mapping[str, Any]:
        answers = [ask(url, timeout) for ask in probes]
        return answers[0]

    return probe


def registered_by_kind(store: Path, tags: Sequence[str] = ()) -> dict[str, list[RegisteredModel]]:
    """Return the models that are named, as ``models``; without any, the latest of every name in *store*, by their kind.

    Raises:
        RegistrationError: there is no such model, or Tier0 did not register it.
        Tier0Error: there is none at all, or one is named in two versions.
    """
    named = tags or sorted(path.parent.name for path in store.glob("models/*/latest"))
    found = [
        _registered(tag, store)
        for tag in named
        if tags or (find_entry(tag, store)[1] / DESCRIPTION_FILE).exists()
    ]
    if not found:
        raise Tier0Error(
            f"there is no model in {store} that Tier0 registered. Use register_model_for_serving, or name another --store."
        )
    names = [model.name for model in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Tier0Error(
            f"{twice[0]} is named in two versions, and is served under its name: name one of them"
        )
    models: dict[str, list[RegisteredModel]] = {}
    for model in found:
        models.setdefault("models" if tags else _kind_of(model), []).append(model)
    return models


def _refuse_missing(kinds: Sequence[str]) -> None:
    if not kinds or len(set(kinds)) != len(kinds):
        raise Tier0Error(
            f"kinds = {','.join(kinds)!r}: name each kind of service once, of {', '.join(KINDS)}"
        )
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise Tier0Error(
            f"kinds = {unknown[0]!r}: there is no such kind of service. There are: {', '.join(KINDS)}"
        )
    for kind in kinds:
        if missing := [name for name in NEEDED.get(kind, ()) if find_spec(name) is None]:
            raise MissingDependencyError(
                f"the {kind} service needs {missing[0]}, which is not installed: pip install 'pytest-tier0[{kind}]', "
                f"or leave it out: --kinds {','.join(other for other in kinds if other != kind) or 'classification'}"
            )


def _registered(tag: str, store: Path) -> RegisteredModel:
    exact, path = find_entry(tag, store)
    entry = Entry.read(path)
    return RegisteredModel(exact, store, path, entry.signature, entry.golden_rows())


def _kind_of(model: RegisteredModel) -> str:
    said = json.loads((model.path / DESCRIPTION_FILE).read_text(encoding="utf-8"))["metadata"].get("kind")
    return said if said in KINDS else model.signature.task
