"""Services that run together: one for each kind of model, or one for named models."""

from __future__ import annotations

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
from tier0.serving.entry import DESCRIPTION_FILE, Entry, find_entry, link_entry
from tier0.serving.formats.choice import is_mlflow_uri
from tier0.serving.metadata import origin_in
from tier0.serving.mlflow_source import MlflowSaver, name_for
from tier0.serving.processes import is_free, owner_of
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel, save_models
from tier0.serving.server import Probe, Server
from tier0.serving.workspace import Workspace

KINDS = ("classification", "regression", "causal")
FIRST_PORT = 3001
"""Port of the first kind; the ports of the others follow."""
SKLEARN = ("sklearn.pipeline", "sklearn.compose", "tier0.serving.predictor")
PRELOAD = {
    "classification": (*SKLEARN, "lightgbm"),
    "regression": (*SKLEARN, "sklearn.ensemble"),
    "causal": (*SKLEARN, "econml.dml"),
}
"""Kind to the modules that its worker imports while the model trains."""
NEEDED = {"causal": ("econml", "causaldata")}
"""Kind to the modules of its extra."""


@dataclass
class Services:
    """Servers that run together; `close` stops them all.

    Attributes:
        events: log of the events.
        servers: kind to its server.
        models: kind to its models; the first one is also served without its name in the path.
    """

    events: EventLog = field(default_factory=EventLog)
    servers: dict[str, Server] = field(default_factory=dict)
    models: dict[str, list[RegisteredModel]] = field(default_factory=dict)
    _workspace: Workspace = field(default_factory=Workspace.create)

    @classmethod
    def from_examples(
        cls,
        kinds: Sequence[str] = KINDS,
        *,
        first_port: int = FIRST_PORT,
        startup_timeout: float = 60.0,
        workers: int = 1,
        seed: int = 7,
        events: EventLog | None = None,
    ) -> Services:
        """Train example models of each kind (see `tier0.pipeline.examples`), register them and serve them.

        Imports, training and the comparison of golden rows overlap.

        Args:
            kinds: kinds of services, from `KINDS`.
            first_port: port of the classification service, the others follow; 0 for any free ports.
            startup_timeout: seconds from the end of the training until each service must be ready.
            workers: number of worker processes of each service.
            seed: random seed; the same seed gives the same models.
            events: log that receives the events.

        Raises:
            MissingDependencyError: an extra is not installed; nothing was started.
            Tier0Error: a model could not be trained or registered, or a server did not become ready.
        """
        _validate_kinds(kinds)
        services = cls(events or EventLog())
        with ThreadPoolExecutor(len(kinds)) as threads, services._close_on_error() as stack:
            writer = EntryWriter(services._workspace, services._workspace.store)
            stack.callback(writer.close)
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
    def from_store(
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
        """Serve registered models: named ones in one service, else the latest of each name by kind.

        Args:
            store: BentoML home with the models; it is only read.
            tags: ``name:version``, ``name:latest`` or ``name``, or URIs of MLflow models, which are
                registered in a private store; without any, the latest of every name.
            port: port of the service for named models.
            first_port: port of the first service by kind, see `from_examples`.
            startup_timeout: seconds until each service must be ready.
            workers: number of worker processes of each service.
            events: log that receives the events.

        Raises:
            RegistrationError: a model does not exist, or was not registered by Tier0.
            Tier0Error: a server did not become ready.
        """
        services = cls(events or EventLog())
        with services._close_on_error():
            if any(map(is_mlflow_uri, tags)):
                tags = services._register_from_mlflow(store, tags)
                store = services._workspace.store
            services.models = registered_by_kind(store, tags)
            for kind in services.models:
                services._launch(kind, first_port, workers, port=port)
            with ThreadPoolExecutor(len(services.servers)) as threads:
                waiting = [
                    threads.submit(services._announce_and_wait, kind, startup_timeout)
                    for kind in services.servers
                ]
                for ready in waiting:
                    ready.result()
        return services

    def deployment(self, name: str, **options: Any) -> OwnDeployment:
        """Return the deployment of one model.

        Args:
            name: name of the model.
            options: attributes of the deployment, see `OwnDeployment.from_server`.
        """
        kind, model = next(
            (kind, model) for kind, models in self.models.items() for model in models if model.name == name
        )
        contract = Contract(f"/{name}/predict", health=f"/{name}/health")
        options = {"contract": contract, "client": lambda url: BentoMLClient(f"{url}/{name}"), **options}
        return OwnDeployment.from_server(self.servers[kind], model, **options)

    def urls(self) -> dict[str, str]:
        """Return the URL below which the routes of each model are, by name."""
        return {
            model.name: f"{self.servers[kind].url}/{model.name}"
            for kind, models in self.models.items()
            for model in models
        }

    def ended(self) -> list[str]:
        """Return the kinds whose server has ended by itself."""
        return [kind for kind, server in self.servers.items() if not server.pids]

    def close(self) -> None:
        """Stop all servers concurrently, and delete their files.

        Raises:
            ServerError: a process or an open port remained.
        """
        with ExitStack() as stack:
            stack.callback(self._workspace.close)
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

    def _close_on_error(self) -> ExitStack:
        stack = ExitStack()
        stack.push(lambda kind, *_: self.close() if kind is not None else None)
        return stack

    def _launch(
        self, kind: str, first_port: int, workers: int, preload: Sequence[str] = (), port: Port | None = None
    ) -> None:
        number = 0 if first_port == 0 or kind not in KINDS else first_port + KINDS.index(kind)
        if number and port is None and not is_free(number):
            taken = f"port {number} of the {kind} service is in use by {owner_of(number)}; using another one"
            self.events.emit(ServerPortTaken(wanted=number), taken)
            number = 0
        server = Server(
            self._workspace.folder("s"), port or Port(number), self.events, preload, workers=workers
        )
        self.servers[kind] = server
        server.launch()

    def _register_examples(self, kind: str, writer: EntryWriter, seed: int, *, close_after: bool) -> None:
        # These imports take seconds, in which the workers do theirs.
        from threadpoolctl import threadpool_limits  # noqa: PLC0415

        from tier0.pipeline.examples import TRAINERS  # noqa: PLC0415

        with threadpool_limits(limits=1):  # threads that wait for each other are slow on a busy machine
            examples = TRAINERS[kind](seed)
        savers = [
            ModelSaver(
                example.model, example.name, example.metadata, example.examples, threshold=example.threshold
            )
            for example in examples
        ]
        models = save_models(savers, self._workspace, writer, prove=False, close_after=close_after)
        for example, model in zip(examples, models, strict=True):
            self.models.setdefault(example.kind, []).append(model)
            done = RegistrationDone(
                tag=model.tag,
                golden_rows=len(model.golden),
                power=model.golden.power,
                edge_cases=len(model.golden.edge_cases),
            )
            self.events.emit(done, f"registered {model.tag} with {model.golden.described}")

    def _register_from_mlflow(self, store: Path, tags: Sequence[str]) -> list[str]:
        """Register MLflow models in the private store, link the models of *store* there; return all tags."""
        found: list[str] = []
        for tag in tags:
            if is_mlflow_uri(tag):
                saver = MlflowSaver(tag, name_for(tag), None, None, None, self._workspace)
                writer = EntryWriter(self._workspace, self._workspace.store)
                model = save_models([saver], self._workspace, writer, prove=False)[0]
                done = RegistrationDone(
                    tag=model.tag,
                    golden_rows=len(model.golden),
                    power=model.golden.power,
                    edge_cases=len(model.golden.edge_cases),
                )
                origin = origin_in(saver.metadata)
                self.events.emit(done, f"registered {model.tag} from {origin} with {model.golden.described}")
                found.append(model.tag)
            else:
                exact, _ = find_entry(tag, store)
                link_entry(exact, store, self._workspace.store)
                found.append(exact)
        return found

    def _announce_and_wait(self, kind: str, timeout: float) -> None:
        """Announce its models to a server, and wait until the golden rows of each of them match."""
        models, server = self.models[kind], self.servers[kind]
        server.announce({model.name: model.tag for model in models}, models[0].store)
        server.wait_until_ready(self._probe(kind), timeout)

    def _probe(self, kind: str) -> Probe:
        nonce = self.servers[kind].nonce
        return sequential_probe([golden_probe(model, nonce, model.name) for model in self.models[kind]])


def sequential_probe(probes: Sequence[Probe]) -> Probe:
    """Return a probe that runs all *probes* in order, and returns the result of the first."""

    def probe(url: str, timeout: float) -> Mapping[str, Any]:
        results = [run(url, timeout) for run in probes]
        return results[0]

    return probe


def registered_by_kind(store: Path, tags: Sequence[str] = ()) -> dict[str, list[RegisteredModel]]:
    """Return registered models by the service that serves them.

    Args:
        store: BentoML home with the models.
        tags: models to return under the key ``models``; without any, the latest of every name, by kind.

    Raises:
        RegistrationError: a model does not exist, or was not registered by Tier0.
        Tier0Error: *store* has no model, or *tags* name two versions of one.
    """
    named = tags or sorted(path.parent.name for path in store.glob("models/*/latest"))
    found = [
        _registered(tag, store)
        for tag in named
        if tags or (find_entry(tag, store)[1] / DESCRIPTION_FILE).exists()
    ]
    if not found:
        raise Tier0Error(
            f"no model registered by Tier0 found in {store}: register one with register_model_for_serving, "
            "or choose another --store"
        )
    names = [model.name for model in found]
    if duplicates := [name for name in names if names.count(name) > 1]:
        raise Tier0Error(
            f"two versions of {duplicates[0]} are named, but a service can only have one: omit the other"
        )
    models: dict[str, list[RegisteredModel]] = {}
    for model in found:
        models.setdefault("models" if tags else _kind_of(model), []).append(model)
    return models


def _validate_kinds(kinds: Sequence[str]) -> None:
    """Check that *kinds* can be served.

    Raises:
        MissingDependencyError: an extra is not installed.
        Tier0Error: a kind is unknown or repeated, or there is none.
    """
    all_kinds = ", ".join(KINDS)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise Tier0Error(f"unknown kind of service {unknown[0]!r} in --kinds: choose from {all_kinds}")
    if not kinds or len(set(kinds)) != len(kinds):
        raise Tier0Error(
            f"--kinds must name each kind of service at most once, from {all_kinds}: got {kinds!r}"
        )
    for kind in kinds:
        if missing := [name for name in NEEDED.get(kind, ()) if find_spec(name) is None]:
            others = ",".join(other for other in kinds if other != kind) or "classification"
            raise MissingDependencyError(
                f"the {kind} service needs {missing[0]}, which is not installed: "
                f"pip install 'pytest-tier0[{kind}]', or omit the service: --kinds {others}"
            )


def _registered(tag: str, store: Path) -> RegisteredModel:
    exact, path = find_entry(tag, store)
    entry = Entry.read(path)
    entry.open_model().close()  # refused here, and not only in the process that would load it
    return RegisteredModel(exact, store, path, entry.signature, entry.golden_rows())


def _kind_of(model: RegisteredModel) -> str:
    kind = Entry.read(model.path).metadata.get("kind")
    return kind if isinstance(kind, str) and kind in KINDS else model.signature.task
