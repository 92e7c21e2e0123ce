"""One run of the main job: every part made when it is first asked for, and at once with whatever can be."""

from __future__ import annotations

import errno
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tier0.core.errors import PredictionMismatchError, Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.events import (
    DeploymentDescribed,
    DeploymentVerified,
    ParityCompared,
    RegistrationDone,
    RunKept,
    SelectionStart,
    TrainingLogged,
    TrainingOwn,
)
from tier0.core.import_object import import_named
from tier0.core.settings import Settings
from tier0.runs.deployment import Deployment, OwnDeployment, golden_probe, judging_options
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

if TYPE_CHECKING:  # what judging a service that runs elsewhere does not need, and the base install has not
    from tier0.pipeline.cluster import Executor
    from tier0.pipeline.data import Dataset
    from tier0.pipeline.selection import Selection
    from tier0.pipeline.tracking import Tracking
    from tier0.pipeline.training import Training
    from tier0.pipeline.user_training import UserTraining
    from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel

T = TypeVar("T")
PRELOAD = ("sklearn.pipeline", "sklearn.compose", "tier0.serving.predictor")
"""What almost any model needs, and what the worker can therefore import while training runs."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
LOCK_TIMEOUT = 600.0
TRAINS = "a function that trains, and returns the model and held-out rows"


@dataclass(frozen=True)
class Trained:
    """Steps 4 and 5: the model, how it was found, and where MLflow keeps it.

    Attributes:
        training: the fitted model and its numbers.
        selection_score: the winner's mean in the comparison; None where nothing was compared.
        reason: why it won.
        saver: the model with its golden rows, which were computed right after the training, before anything was saved.
        tracking_uri: MLflow's store.
        logged: the run's id and the model's URI, once MLflow has them.
    """

    training: Training
    selection_score: float | None
    reason: str
    saver: ModelSaver
    tracking_uri: str
    logged: Future[tuple[str, str]]

    @property
    def run_id(self) -> str:
        """The id of the MLflow run; waits until it is logged."""
        return self.logged.result()[0]

    @property
    def model_uri(self) -> str:
        """``runs:/<id>/model``; waits until it is logged."""
        return self.logged.result()[1]

    def __getstate__(self) -> dict[str, Any]:
        """Wait for MLflow, so that another process gets the outcome."""
        return {**self.__dict__, "logged": self.logged.result()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` gave."""
        logged: Future[tuple[str, str]] = Future()
        logged.set_result(state["logged"])
        self.__dict__.update({**state, "logged": logged})


@dataclass
class Session:
    """The parts of a run. `close` ends it.

    Attributes:
        settings: what was asked for.
        events: what happened.
        shared_id: names what several processes share (xdist's workers): they train and register once.
        controller: the process that started those; None where there is only ours.
        executor: runs the fits of steps 4 and 5.
        servers: that were launched.
        deployment: a service of the user's own that was started.
        failed: a test failed.
        interrupted: somebody wants us gone, and what is not done yet is dropped.
    """

    settings: Settings
    events: EventLog = field(default_factory=EventLog)
    shared_id: str | None = None
    controller: int | None = None
    executor: Executor = starmap
    _workspace: Workspace | None = None
    _shared: Workspace | None = None
    servers: list[Server] = field(default_factory=list)
    deployment: Deployment | None = None
    failed: bool = False
    interrupted: bool = False
    _marks: dict[Path, int] = field(default_factory=dict)
    _writer: EntryWriter | None = None
    _tracking: Tracking | None = None
    _trained: Trained | None = None

    @property
    def workspace(self) -> Workspace:
        """The private folder of this process."""
        if self._workspace is None:
            self._workspace = Workspace.create(keep=self.settings.keep, controller=self.controller)
            self._tell_kept(self._workspace)
        return self._workspace

    @property
    def shared(self) -> Workspace:
        """The folder of the run: this process' own, unless several share one."""
        if self.shared_id is None or self.controller is None:
            return self.workspace
        if self._shared is None:
            self._shared = Workspace(
                Path(tempfile.gettempdir()) / f"tier0-{self.shared_id}",
                keep=self.settings.keep,
                watch=self.controller,
            ).open()
            self._tell_kept(self._shared)
        return self._shared

    def _tell_kept(self, workspace: Workspace) -> None:
        if workspace.keep:
            self.events.emit(RunKept(path=str(workspace.path)), f"everything is kept in {workspace.path}")

    @property
    def store(self) -> Path:
        """The BentoML home that the model is registered in."""
        return self.settings.store or self.shared.store

    def launch(self) -> Server:
        """Start a server's processes, and return before they are ready: their imports run while the model trains."""
        watch = (
            [os.getpid()] if self.controller is None else [os.getpid(), self.controller]
        )  # xdist's workers outlive their controller by seconds
        server = Server(self.workspace.folder("s"), self.settings.port, self.events, PRELOAD, watch)
        self.servers.append(server)
        server.launch()
        return server

    def train(self) -> Trained:
        """Do steps 4 and 5.

        Raises:
            Tier0Error: of the kind that says what is wrong with the data or the model.
        """
        return self._once("trained", self._train)

    def _train(self) -> Trained:
        self.prepare(self.shared.folder("m"), self.store)
        from tier0.pipeline.data import load_dataset, split  # noqa: PLC0415 - seconds of imports, while those processes do theirs

        if self.settings.pipeline is not None:
            own = self.call_user_training()
            return self.take(own.model, own.dataset)
        dataset = load_dataset(self.settings)
        parts = split(dataset, self.settings.seed)
        return self.fit(dataset, parts, self.select(dataset, parts))

    def prepare(self, tracking: Path, store: Path) -> None:
        """Start the processes that log to MLflow and write the store's entry: they import while the model trains.

        Args:
            tracking: a folder for MLflow's store, where no other is named.
            store: the BentoML home.
        """
        from tier0.pipeline.tracking import Tracking  # noqa: PLC0415
        from tier0.serving.registration import EntryWriter  # noqa: PLC0415

        self._tracking = Tracking(tracking)
        self._writer = EntryWriter(self.workspace, store)

    def select(self, dataset: Dataset, parts: Mapping[str, Any]) -> Selection:
        """Do step 4."""
        from tier0.pipeline.candidates import candidates_for  # noqa: PLC0415
        from tier0.pipeline.selection import select  # noqa: PLC0415

        settings = self.settings
        self.events.emit(
            SelectionStart(), f"step 4 selection on {dataset.name}: {', '.join(settings.algorithms)}"
        )
        candidates = candidates_for(dataset, settings.algorithms, settings.seed)
        return select(dataset, parts["train"], candidates, settings.seed, self.events, self.executor)

    def fit(self, dataset: Dataset, parts: Mapping[str, Any], selection: Selection) -> Trained:
        """Do step 5, with the algorithm that won."""
        from tier0.pipeline.training import train  # noqa: PLC0415

        training = train(
            dataset,
            dict(parts),
            selection.winner,
            self.settings.hpo_trials,
            self.settings.seed,
            self.events,
            self.executor,
        )
        return self._log(training, selection.scores[0].mean, selection.reason)

    def call_user_training(self) -> UserTraining:
        """Call the training function that the settings name.

        Raises:
            Tier0Error: it cannot be imported or called, or returns something else.
        """
        from tier0.pipeline.user_training import call_user_training  # noqa: PLC0415

        named = self.settings.pipeline or ""
        self.events.emit(TrainingOwn(), f"steps 4 and 5: {named} trains")
        return call_user_training(import_named("pipeline", named, TRAINS), named)

    def take(self, model: Any, dataset: Dataset) -> Trained:
        """Do step 5 with a model that was trained elsewhere: measure it on rows that it has not seen.

        Raises:
            UselessModelError: the model is not worth serving.
        """
        from tier0.pipeline.user_training import measure_user_model  # noqa: PLC0415

        return self._log(
            measure_user_model(model, dataset, self.settings.seed, self.events),
            None,
            f"trained by {self.settings.pipeline}",
        )

    def _log(self, training: Training, score: float | None, reason: str) -> Trained:
        from tier0.pipeline.tracking import Tracking  # noqa: PLC0415
        from tier0.serving.registration import pickle_with_own_code  # noqa: PLC0415

        if self._tracking is None:
            self._tracking = Tracking(self.shared.folder("m"))
        logged = self._tracking.log(training, pickle_with_own_code(training.model))
        self._trained = Trained(training, score, reason, saver_of(training), self._tracking.uri, logged)
        return self._trained

    def register(self, trained: Trained, store: Path) -> RegisteredModel:
        """Register the model of *trained* in the BentoML home *store*.

        Raises:
            RegistrationError: it cannot be registered.
        """
        return self._once("registered", lambda: self._register(trained, store))

    def _register(self, trained: Trained, store: Path) -> RegisteredModel:
        from tier0.serving.registration import EntryWriter  # noqa: PLC0415

        for server in self.servers:
            server.check_alive()
        if self._writer is None or self._writer.store != store:
            self._writer = EntryWriter(self.workspace, store)
        # In a store of the user's own nothing may ever be that is not proven; in ours, the server's first answer is the proof.
        model = trained.saver(self.workspace, self._writer, prove=self.settings.store is not None)
        self._writer = None
        done = RegistrationDone(tag=model.tag, golden_rows=len(model.golden))
        self.events.emit(
            done, f"step 7 deployment: registered {model.tag} with {len(model.golden)} golden rows"
        )
        return model

    def serve(self, server: Server, model: RegisteredModel) -> OwnDeployment:
        """Have a launched server serve *model*, and wait until it proved that it does.

        Raises:
            ServerError: it did not become ready.
            PredictionMismatchError: it serves something else.
        """
        server.announce({model.name: model.tag}, model.store)
        try:
            answer = server.wait_until_ready(golden_probe(model, server.nonce), self.settings.startup_timeout)
        except PredictionMismatchError as problem:
            self._tell_compared(model, problem.answer)
            raise
        self._tell_compared(model, answer)
        verified = DeploymentVerified(
            url=server.url,
            tag=model.tag,
            predictions=[] if self.settings.mask else answer["predictions"][:3],
            probabilities=[] if self.settings.mask else (answer["probabilities"] or [])[:3],
            rows=len(model.golden.examples),
            latency_ms=answer["latency_ms"],
        )
        self.events.emit(verified, f"step 7 deployment: all {verified.rows} golden rows came back right")
        return OwnDeployment.of(server, model)

    def _tell_compared(self, model: RegisteredModel, answer: Mapping[str, Any]) -> None:
        compared = None if self.settings.mask else model.golden.examples.comparison(answer)
        if compared is not None:
            self.events.emit(ParityCompared(**compared))

    def users_deployment(self) -> Deployment:
        """Describe the service that the settings name; start it, if it is to be started.

        Raises:
            Tier0Error: a part of it cannot be read, or it did not become ready.
        """
        settings = self.settings
        how: dict[str, Any] = {
            **judging_options(settings),
            "contract": settings.contract,
            "headers": settings.header,
            "golden": settings.golden,
        }
        if settings.url:
            model = settings.model[0] if settings.model else None
            return self._described(
                Deployment.from_url(settings.url, model=model, store=settings.store, ca=settings.ca, **how)
            )
        self.deployment = Deployment.from_service(
            settings.service or "",
            model=settings.model,
            store=settings.store,
            port=settings.port,
            startup_timeout=settings.startup_timeout,
            events=self.events,
            workspace=self.workspace,
            **how,
        )
        return self._described(self.deployment)

    def _described(self, deployment: Deployment) -> Deployment:
        golden_rows = len(deployment.golden or [])
        described = DeploymentDescribed(
            url=deployment.url, model=deployment.tag, golden_rows=golden_rows, disturb=deployment.disturb
        )
        self.events.emit(described)
        return deployment

    @property
    def _writing(self) -> list[Server]:
        own = [] if self.deployment is None or self.deployment.server is None else [self.deployment.server]
        return [*self.servers, *own]

    def mark_logs(self) -> None:
        """Remember how far the servers' logs are."""
        self._marks = {
            server.log: server.log.stat().st_size for server in self._writing if server.log.exists()
        }

    @property
    def logs(self) -> list[tuple[str, str]]:
        """Where the servers of this run write, and what they wrote since `mark_logs`."""
        return [
            (str(server.log), server.log_around(self._marks.get(server.log, 0))) for server in self._writing
        ]

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """Make something, or take what another process of this run has made, or failed to make."""
        if self.shared_id is None:
            return self._made(make)
        from filelock import FileLock  # noqa: PLC0415

        made = self.shared.path / f"{name}.pickle"
        with FileLock(made.with_suffix(".lock"), timeout=LOCK_TIMEOUT):
            if not made.exists():
                try:
                    content = pickle.dumps((self._made(make), None))
                except Tier0Error as problem:
                    content = pickle.dumps((None, problem))
                except Exception as problem:  # noqa: BLE001 - every process of the run is told
                    content = pickle.dumps((None, Tier0Error(f"{type(problem).__name__}: {problem}")))
                unfinished = made.with_suffix(".unfinished")
                unfinished.write_bytes(content)
                unfinished.replace(made)
            value, failure = pickle.loads(made.read_bytes())  # noqa: S301 - from the run's own private folder
        if failure is not None:
            raise failure
        return value  # type: ignore[no-any-return]

    def _made(self, make: Callable[[], T]) -> T:
        """Make something, and say it in words where there is no room for it."""
        try:
            return make()
        except OSError as problem:
            if problem.errno not in NO_ROOM:
                raise
            raise Tier0Error(
                f"{problem.filename or self.workspace.path}: {problem.strerror}. Make room there, or set TMPDIR"
            ) from problem

    def close(self) -> None:
        """Stop every server, wait for what runs in the background, and delete this process' folder; a shared one ends with the run."""
        with ExitStack() as endings:
            if self._workspace is not None:
                endings.callback(self._workspace.close)
            if self._writer is not None:
                endings.callback(self._writer.close)
            if self._tracking is not None:
                endings.callback(self._tracking.close)
            endings.callback(self._tell_logged)
            if self.deployment is not None:
                endings.callback(self.deployment.close)
            for server in self.servers:
                endings.callback(server.stop)

    def _tell_logged(self) -> None:
        """Wait until MLflow has logged the model; not for long where something failed, and not at all where somebody wants us gone."""
        if self._trained is not None and not self.interrupted:
            try:
                uri = self._trained.logged.result(1.0 if self.failed else None)[1]
            except TimeoutError:
                return  # what failed has been told already
            self.events.emit(TrainingLogged(model_uri=uri), f"step 5 training: logged to MLflow as {uri}")


def saver_of(training: Training) -> ModelSaver:
    """Find out what the model takes, and let it answer its examples, in the process that trained it."""
    from tier0.serving.registration import ModelSaver  # noqa: PLC0415

    metadata = {
        "algorithm": training.algorithm,
        "dataset": training.dataset,
        "target": training.target,
        "metrics": training.metrics,
        "feature_names": training.names,
    }
    return ModelSaver(
        training.model, f"tier0_{training.dataset}", metadata, training.examples, threshold=training.threshold
    )
