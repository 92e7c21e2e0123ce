"""The session of a run: it trains, registers and serves a model, concurrently where possible."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tier0.core.errors import PredictionMismatchError, Tier0Error, require_bentoml
from tier0.core.event_log import EventLog
from tier0.core.events import (
    DataNoted,
    DeploymentVerified,
    LeakSuspected,
    ParityCompared,
    RegistrationDone,
    RunKept,
    SelectionStart,
    TrackingNoted,
    TrainingLogged,
    TrainingOwn,
)
from tier0.core.import_object import import_named
from tier0.core.settings import Settings
from tier0.core.trusted_file import read_trusted, write_private
from tier0.runs.deployment import SUSPICIONS, Deployment, OwnDeployment, golden_probe, judging_options
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace, temporary_directory

if TYPE_CHECKING:  # not in the base install, which checks services that are already running
    from tier0.pipeline.cluster import Executor
    from tier0.pipeline.data import Dataset
    from tier0.pipeline.selection import Selection
    from tier0.pipeline.tracking import Tracking
    from tier0.pipeline.training import Training
    from tier0.pipeline.user_training import UserTraining
    from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel

T = TypeVar("T")
PRELOAD = ("sklearn.pipeline", "sklearn.compose", "tier0.serving.predictor")
"""Modules that almost any model needs, which the worker imports while the model trains."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
LOCK_TIMEOUT = 600.0
TRAINS = "a function that trains a model and returns it with held-out rows"
"""Description of the function that --pipeline names, for messages."""


@dataclass(frozen=True)
class Trained:
    """The result of steps 4 and 5.

    Attributes:
        training: fitted model and its metrics.
        selection_score: mean score of the winner in the comparison; None without a comparison.
        reason: why the algorithm was selected.
        saver: model with its golden rows, which were computed before anything was saved.
        tracking_uri: URI of MLflow's store: absolute, and without credentials.
        logged: id of the MLflow run and URI of the logged model, once MLflow has them.
        is_kept: whether the store still exists after the run.
    """

    training: Training
    selection_score: float | None
    reason: str
    saver: ModelSaver
    tracking_uri: str
    logged: Future[tuple[str, str]]
    is_kept: bool

    @property
    def run_id(self) -> str:
        """The id of the MLflow run; waits until the model is logged."""
        return self.logged.result()[0]

    @property
    def model_uri(self) -> str:
        """The URI of the logged model, ``runs:/<id>/model``; waits until the model is logged."""
        return self.logged.result()[1]

    def __getstate__(self) -> dict[str, Any]:
        """Wait for MLflow, so that another process gets the id and the URI."""
        return {**self.__dict__, "logged": self.logged.result()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state that `__getstate__` returned."""
        logged: Future[tuple[str, str]] = Future()
        logged.set_result(state["logged"])
        self.__dict__.update({**state, "logged": logged})


@dataclass
class Session:
    """The parts of a run; `close` ends it.

    Attributes:
        settings: settings of the run.
        events: log of the events.
        shared_id: id of the run, whose processes (pytest-xdist) train and register once; None in one process.
        controller: pid of the process that started the others; None in one process.
        executor: runs the fits of steps 4 and 5; None for threads of this process.
        servers: launched servers.
        deployment: started service of the user.
        suspicions: sentences about columns that may give the target away.
        failed: whether a test failed.
        interrupted: whether the run was interrupted, so that unfinished work is dropped.
        folder: working folder of the user, to which a relative MLFLOW_TRACKING_URI is relative.
    """

    settings: Settings
    events: EventLog = field(default_factory=EventLog)
    shared_id: str | None = None
    controller: int | None = None
    executor: Executor | None = None
    _workspace: Workspace | None = None
    _shared: Workspace | None = None
    servers: list[Server] = field(default_factory=list)
    deployment: Deployment | None = None
    suspicions: tuple[str, ...] = ()
    failed: bool = False
    interrupted: bool = False
    folder: Path = field(default_factory=Path.cwd)
    _marks: dict[Path, int] = field(default_factory=dict)
    _writer: EntryWriter | None = None
    _tracking: Tracking | None = None
    _trained: Trained | None = None

    @property
    def workspace(self) -> Workspace:
        """The private folder of this process; created on first use."""
        if self._workspace is None:
            self._workspace = Workspace.create(keep=self.settings.keep, controller=self.controller)
            self._report_kept(self._workspace)
        return self._workspace

    @property
    def shared(self) -> Workspace:
        """The folder of the run: shared by the workers of pytest-xdist, else that of this process."""
        if self.shared_id is None or self.controller is None:
            return self.workspace
        if self._shared is None:
            self._shared = Workspace(
                temporary_directory() / f"tier0-{self.shared_id}",
                keep=self.settings.keep,
                watch=self.controller,
            ).open()
            self._report_kept(self._shared)
        return self._shared

    def _report_kept(self, workspace: Workspace) -> None:
        if workspace.keep:
            self.events.emit(RunKept(path=str(workspace.path)), f"keeping all files in {workspace.path}")

    @property
    def store(self) -> Path:
        """The BentoML home in which the model is registered."""
        return self.settings.store or self.shared.store

    def launch(self) -> Server:
        """Start the processes of a server without waiting: they import while the model trains."""
        require_bentoml("pipeline")
        watch = [os.getpid()]
        if self.controller is not None:  # workers of pytest-xdist outlive their controller by seconds
            watch.append(self.controller)
        server = Server(self.workspace.folder("s"), self.settings.port, self.events, PRELOAD, watch)
        self.servers.append(server)
        server.launch()
        return server

    def train(self) -> Trained:
        """Run steps 4 and 5.

        Raises:
            Tier0Error: the data or the model cannot be used.
        """
        return self._once("trained", self._train)

    def _train(self) -> Trained:
        self.prepare(self.shared.folder("m"), self.store)
        # These imports take seconds, in which the processes above do theirs.
        from tier0.pipeline.cohort import without_rare_classes  # noqa: PLC0415
        from tier0.pipeline.data import load_dataset, split  # noqa: PLC0415
        from tier0.pipeline.leaks import find_leaks  # noqa: PLC0415
        from tier0.pipeline.study import read_study  # noqa: PLC0415

        if self.settings.pipeline is not None:
            own = self.call_user_training()
            return self.use_model(own.model, own.dataset)
        study = read_study(self.settings.study)
        dataset = load_dataset(self.settings, study.data, study.scope.task)
        for note in dataset.notes:
            self.events.emit(DataNoted(note), f"note: {note}")
        dataset, rare = without_rare_classes(dataset)
        if rare is not None:
            note = f"{rare.removed} rows are left out: {rare.criterion}"
            self.events.emit(DataNoted(note), f"note: {note}")
        for leak in find_leaks(dataset, study.data.allow, self.settings.seed):
            self.suspicions += (str(leak),)
            self.events.emit(LeakSuspected(leak.column, leak.reason, leak.remedy), f"suspicion: {leak}")
        parts = split(dataset, self.settings.seed)
        return self.fit(dataset, parts, self.select(dataset, parts))

    def prepare(self, tracking: Path, store: Path | None) -> None:
        """Start the processes for MLflow and the store entry, which import while the model trains.

        Args:
            tracking: folder for MLflow's store, unless ``MLFLOW_TRACKING_URI`` names another store.
            store: BentoML home for the model; None if it will not be registered.
        """
        from tier0.pipeline.tracking import Tracking  # noqa: PLC0415
        from tier0.serving.registration import EntryWriter  # noqa: PLC0415

        self._tracking = Tracking(tracking, self.folder)
        if store is not None:
            self._writer = EntryWriter(self.workspace, store)
        if notes := self._tracking.notes:
            self.events.emit(TrackingNoted(notes=notes), f"note: {'; '.join(notes)}")

    def _require_tracking(self) -> None:
        """Check before the training that MLflow's store can be used, if the user named one.

        Raises:
            Tier0Error: the store cannot be used.
        """
        if self._tracking is not None:
            self._tracking.require_usable()

    def select(self, dataset: Dataset, parts: Mapping[str, Any], metric: str | None = None) -> Selection:
        """Run step 4, with *metric* in place of AUC-ROC or R²."""
        from tier0.pipeline.candidates import candidates_for  # noqa: PLC0415
        from tier0.pipeline.selection import select  # noqa: PLC0415

        self._require_tracking()
        settings = self.settings
        self.events.emit(
            SelectionStart(), f"step 4 selection on {dataset.name}: {', '.join(settings.algorithms)}"
        )
        candidates = candidates_for(dataset, settings.algorithms, settings.seed)
        return select(dataset, parts["train"], candidates, settings.seed, self.events, self.executor, metric)

    def fit(
        self, dataset: Dataset, parts: Mapping[str, Any], selection: Selection, metric: str | None = None
    ) -> Trained:
        """Run step 5 with the selected algorithm, and with *metric* in place of AUC-ROC or R²."""
        from tier0.pipeline.training import train  # noqa: PLC0415

        self._require_tracking()
        settings = self.settings
        training = train(
            dataset,
            dict(parts),
            selection.winner,
            settings.hpo_trials,
            settings.seed,
            self.events,
            self.executor,
            settings.budget,
            metric,
        )
        return self._log(training, selection.scores[0].mean, selection.reason)

    def call_user_training(self) -> UserTraining:
        """Call the training function of the user.

        Raises:
            Tier0Error: the function cannot be imported or called, or its result is invalid.
        """
        from tier0.pipeline.user_training import call_user_training  # noqa: PLC0415

        self._require_tracking()
        named = self.settings.pipeline or ""
        self.events.emit(TrainingOwn(), f"steps 4 and 5: training with {named}")
        return call_user_training(import_named("pipeline", named, TRAINS), named)

    def use_model(self, model: Any, dataset: Dataset) -> Trained:
        """Run step 5 with a model that the user trained: measure it on held-out rows.

        Raises:
            UselessModelError: the model does not beat the baseline.
        """
        from tier0.pipeline.user_training import measure_user_model  # noqa: PLC0415

        training = measure_user_model(model, dataset, self.settings.seed, self.events)
        return self._log(training, None, f"trained by {self.settings.pipeline}")

    def _log(self, training: Training, score: float | None, reason: str) -> Trained:
        from tier0.pipeline.tracking import Tracking  # noqa: PLC0415
        from tier0.serving.formats.pickled import pickle_with_own_code  # noqa: PLC0415

        if self._tracking is None:
            self._tracking = Tracking(self.shared.folder("m"), self.folder)
        tracking = self._tracking
        is_temporary = not tracking.is_named and tracking.folder.is_relative_to(self.shared.path)
        logged = tracking.log(training, pickle_with_own_code(training.model), self.suspicions)
        self._trained = Trained(
            training,
            score,
            reason,
            saver_of(training, self.suspicions),
            tracking.uri,
            logged,
            is_kept=self.settings.keep or not is_temporary,
        )
        return self._trained

    def register(self, trained: Trained, store: Path) -> RegisteredModel:
        """Register the model of *trained* in the BentoML home *store*.

        Raises:
            RegistrationError: the model cannot be registered.
        """
        return self._once("registered", lambda: self._register(trained, store))

    def _register(self, trained: Trained, store: Path) -> RegisteredModel:
        from tier0.serving.registration import EntryWriter  # noqa: PLC0415

        for server in self.servers:
            server.check_alive()
        if self._writer is None or self._writer.store != store:
            self._writer = EntryWriter(self.workspace, store)
        # An entry in the user's store is verified before it appears there; in the run's own store, the first
        # response of the server verifies it.
        model = trained.saver(self.workspace, self._writer, prove=self.settings.store is not None)
        self._writer = None
        done = RegistrationDone(
            tag=model.tag,
            golden_rows=len(model.golden),
            power=model.golden.power,
            edge_cases=len(model.golden.edge_cases),
        )
        self.events.emit(done, f"step 7 deployment: registered {model.tag} with {model.golden.described}")
        return model

    def serve(self, server: Server, model: RegisteredModel) -> OwnDeployment:
        """Serve *model* with a launched server, and wait until its responses to the golden rows are right.

        Raises:
            ServerError: the server did not become ready.
            PredictionMismatchError: the served predictions differ from the trained model's.
        """
        server.announce({model.name: model.tag}, model.store)
        try:
            answer = server.wait_until_ready(golden_probe(model, server.nonce), self.settings.startup_timeout)
        except PredictionMismatchError as problem:
            self._report_comparison(model, problem.answer)
            raise
        self._report_comparison(model, answer)
        verified = DeploymentVerified(
            url=server.url,
            tag=model.tag,
            predictions=[] if self.settings.mask else answer["predictions"][:3],
            probabilities=[] if self.settings.mask else (answer["probabilities"] or [])[:3],
            rows=len(model.golden.examples),
            latency_ms=answer["latency_ms"],
        )
        matching = model.golden.part_in_words(model.golden.examples)
        self.events.emit(verified, f"step 7 deployment: {matching} match")
        return OwnDeployment.from_server(server, model)

    def _report_comparison(self, model: RegisteredModel, answer: Mapping[str, Any]) -> None:
        compared = None if self.settings.mask else model.golden.examples.comparison(answer)
        if compared is not None:
            self.events.emit(ParityCompared(**compared))

    def users_deployment(self) -> Deployment:
        """Return the service that the settings name, and start it if it is not running yet.

        Raises:
            Tier0Error: a setting cannot be used, or the service did not become ready.
        """
        settings = self.settings
        options: dict[str, Any] = {
            **judging_options(settings),
            "protocol": settings.protocol,
            "contract": settings.contract,
            "headers": settings.header,
            "golden": settings.golden,
        }
        if settings.url:
            model = settings.model[0] if settings.model else None
            store, ca = settings.store, settings.ca
            deployment = Deployment.from_url(settings.url, model=model, store=store, ca=ca, **options)
            return self._emit_described(deployment)
        start = partial(Deployment.from_service, settings.service or "")
        if settings.command:
            start = partial(Deployment.from_command, settings.command)
        self.deployment = start(
            model=settings.model,
            store=settings.store,
            port=settings.port,
            startup_timeout=settings.startup_timeout,
            events=self.events,
            workspace=self.workspace,
            **options,
        )
        return self._emit_described(self.deployment)

    def _emit_described(self, deployment: Deployment) -> Deployment:
        self.events.emit(deployment.described())
        return deployment

    @property
    def _logging_servers(self) -> list[Server]:
        own = [] if self.deployment is None or self.deployment.server is None else [self.deployment.server]
        return [*self.servers, *own]

    def mark_logs(self) -> None:
        """Mark the current end of the servers' logs."""
        self._marks = {
            server.log: server.log.stat().st_size for server in self._logging_servers if server.log.exists()
        }

    @property
    def logs(self) -> list[tuple[str, str]]:
        """The path of each server's log, and its lines since `mark_logs`."""
        return [
            (str(server.log), server.log_around(self._marks.get(server.log, 0)))
            for server in self._logging_servers
        ]

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """Call *make* in one process of the run; the other processes get its result or its error."""
        if self.shared_id is None:
            return self._call(make)
        from filelock import FileLock  # noqa: PLC0415

        made = self.shared.path / f"{name}.pickle"
        with FileLock(made.with_suffix(".lock"), timeout=LOCK_TIMEOUT):
            if not made.exists():
                try:
                    content = pickle.dumps((self._call(make), None))
                except Tier0Error as problem:
                    content = pickle.dumps((None, problem))
                except Exception as problem:  # noqa: BLE001 - every process gets the error
                    content = pickle.dumps((None, Tier0Error(f"{type(problem).__name__}: {problem}")))
                write_private(made, content)
            content = read_trusted(made)
        try:
            value, failure = pickle.loads(content)  # noqa: S301 - only we can have written it  # nosec B301
        except Exception as problem:
            raise Tier0Error(f"{made} is damaged ({problem!r}): start the run again") from problem
        if failure is not None:
            raise failure
        return value  # type: ignore[no-any-return]

    def _call(self, make: Callable[[], T]) -> T:
        """Call *make*; a full disk becomes a `Tier0Error` that names the remedy."""
        try:
            return make()
        except OSError as problem:
            if problem.errno not in NO_ROOM:
                raise
            path = problem.filename or self.workspace.path
            raise Tier0Error(
                f"cannot write {path}: {problem.strerror}. Free space, or set TMPDIR to another folder"
            ) from problem

    def close(self) -> None:
        """Stop all servers, wait for background work, and delete the folder of this process.

        A shared folder is deleted when the last process of the run has ended.
        """
        with ExitStack() as stack:  # calls back in reverse order: servers are stopped first
            if self._workspace is not None:
                stack.callback(self._workspace.close)
            if self._writer is not None:
                stack.callback(self._writer.close)
            if self._tracking is not None:
                stack.callback(self._tracking.close)
            stack.callback(self._report_logged)
            if self.deployment is not None:
                stack.callback(self.deployment.close)
            for server in self.servers:
                stack.callback(server.stop)
            if self._tracking is not None and self.interrupted:
                stack.callback(self._tracking.stop)  # it ends while the servers stop

    def _report_logged(self) -> None:
        """Wait until MLflow has logged the model: for 1 s after a failure, not at all after Ctrl-C."""
        trained = self._trained
        if trained is None or self.interrupted:
            return
        try:
            uri = trained.logged.result(1.0 if self.failed else None)[1]
        except TimeoutError:
            return  # the failure has been reported
        address = f"as {uri} in {trained.tracking_uri}"
        if not trained.is_kept:
            address = "in a store that is deleted with this run; set MLFLOW_TRACKING_URI to keep the model"
        done = TrainingLogged(model_uri=uri, tracking_uri=trained.tracking_uri, is_kept=trained.is_kept)
        self.events.emit(done, f"step 5 training: logged to MLflow {address}")


def saver_of(training: Training, suspicions: Sequence[str] = ()) -> ModelSaver:
    """Return a saver for a model, with signature and golden rows, computed in the process that trained it."""
    from tier0.serving.registration import ModelSaver  # noqa: PLC0415

    metadata = {
        "algorithm": training.algorithm,
        "dataset": training.dataset,
        **({"data_sha256": training.digest} if training.digest else {}),
        "target": training.target,
        "metrics": training.metrics,
        "feature_names": training.names,
        **({SUSPICIONS: list(suspicions)} if suspicions else {}),
    }
    return ModelSaver(
        training.model, f"tier0_{training.dataset}", metadata, training.examples, threshold=training.threshold
    )
