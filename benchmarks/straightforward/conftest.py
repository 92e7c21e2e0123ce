"""The peer of the main job: the same work, written in the simplest way, one step after another.

Data, selection, training, registration, service and tests are the same. But MLflow finds the requirements
itself, as it does by default, `bentoml serve` is started after its model is registered, and waiting means
polling once a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import mlflow
import mlflow.sklearn
import pytest

from tier0.core.settings import Settings
from tier0.pipeline.candidates import candidates_for
from tier0.pipeline.data import load_dataset, split
from tier0.pipeline.selection import select
from tier0.pipeline.training import Training, train
from tier0.runs.deployment import golden_probe
from tier0.runs.session import Session, Trained, saver_of
from tier0.serving.registration import RegisteredModel
from tier0.serving.server import Probe, Server

POLL = 1.0
pytest_plugins = ["tier0.pytest_plugin"]


class NaiveServer(Server):
    """A server whose readiness is polled once a second."""

    def wait_until_ready(self, probe: Probe, timeout: float) -> Mapping[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            time.sleep(POLL)
            launch = self._check_launched()
            launch.workers = launch.worker_pids
            self.url = launch.find_url() or ""
            try:
                if self.url and httpx.get(f"{self.url}/readyz", timeout=1).status_code == 200:
                    return probe(self.url, 10)
            except httpx.HTTPError:
                continue
        raise self._failed("too late")


def log_as_mlflow_does_by_default(training: Training, folder: Path) -> tuple[str, str]:
    """Log to a new SQLite store, with the requirements that MLflow finds."""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment("tier0", (folder / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_metrics(training.metrics)
        mlflow.sklearn.log_model(training.model, name="model", serialization_format="cloudpickle")
    return run.info.run_id, f"runs:/{run.info.run_id}/model"


@pytest.fixture(scope="session")
def naive_session(tier0_settings: Settings) -> Iterator[Session]:
    session = Session(tier0_settings)
    yield session
    session.close()


@pytest.fixture(scope="session")
def tier0_trained(naive_session: Session) -> Trained:
    settings, events = naive_session.settings, naive_session.events
    dataset = load_dataset(settings)
    parts = split(dataset, settings.seed)
    selection = select(
        dataset,
        parts["train"],
        candidates_for(dataset, settings.algorithms, settings.seed),
        settings.seed,
        events,
    )
    training = train(dataset, parts, selection.winner, settings.hpo_trials, settings.seed, events)
    logged: Future[tuple[str, str]] = Future()
    logged.set_result(log_as_mlflow_does_by_default(training, naive_session.workspace.path))
    return Trained(
        training,
        selection.scores[0].mean,
        selection.reason,
        saver_of(training),
        mlflow.get_tracking_uri(),
        logged,
        is_kept=False,
    )


@pytest.fixture(scope="session")
def tier0_model(naive_session: Session, tier0_trained: Trained) -> RegisteredModel:
    return naive_session.register(tier0_trained, naive_session.store)


@pytest.fixture(scope="session")
def tier0_server(naive_session: Session, tier0_model: RegisteredModel) -> Server:
    server = NaiveServer(naive_session.workspace.folder("s"))
    naive_session.servers.append(server)
    server.launch()
    server.announce({tier0_model.name: tier0_model.tag}, tier0_model.store)
    server.wait_until_ready(golden_probe(tier0_model, server.nonce), 60)
    return server
