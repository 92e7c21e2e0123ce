"""A server that cannot become ready fails soon, with the reason, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tier0.core.errors import PortInUseError, PredictionMismatchError, ServerError, StartTimeoutError
from tier0.core.settings import Port
from tier0.runs.deployment import golden_probe
from tier0.serving.launch import STOP_WITHIN
from tier0.serving.processes import accepts_connections, processes_marked
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    workspace = Workspace.create()
    yield workspace
    workspace.close()
    assert not workspace.path.exists()


def save(workspace: Workspace, slope: float) -> RegisteredModel:
    rows = np.array([[float(number), slope * number] for number in range(-10, 10)])
    model = LogisticRegression().fit(rows, (rows[:, 0] * slope > 1).astype(int))
    return ModelSaver(model, "tiny", {}, rows[:6])(
        workspace, EntryWriter(workspace, workspace.store), prove=False
    )


@pytest.fixture(scope="module")
def model(workspace: Workspace) -> RegisteredModel:
    return save(workspace, 1.0)


@pytest.fixture
def server(workspace: Workspace) -> Iterator[Server]:
    server = Server(workspace.folder("s"))
    yield server
    seconds = server.stop()
    assert seconds <= STOP_WITHIN
    assert processes_marked(server.nonce) == []


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def test_a_missing_model_fails_with_the_end_of_the_log(server: Server, model: RegisteredModel) -> None:
    server.launch()
    (server.home / "models").mkdir(parents=True)
    server.announcement.write_text('{"models": {"tiny": "tiny:nowhere"}, "nonce": "x"}', encoding="utf-8")
    start = time.monotonic()

    with pytest.raises(ServerError, match="traceback") as failure:
        server.wait_until_ready(golden_probe(model, server.nonce), 60)

    assert "tiny:nowhere" in str(failure.value)
    assert time.monotonic() - start < 30


def test_a_supervisor_that_exits_fails_at_once(server: Server, model: RegisteredModel) -> None:
    server.launch()
    wait_for(lambda: server.pids)
    os.kill(server.pids[0], signal.SIGKILL)
    start = time.monotonic()

    with pytest.raises(ServerError, match="bentoml serve exited with status 137"):
        server.wait_until_ready(golden_probe(model, server.nonce), 60)

    assert time.monotonic() - start < 10


def test_a_worker_that_dies_fails_within_a_second(server: Server, model: RegisteredModel) -> None:
    server.launch()
    failures: list[Exception] = []

    def wait() -> None:
        try:
            server.wait_until_ready(golden_probe(model, server.nonce), 60)
        except ServerError as failure:
            failures.append(failure)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for(lambda: server._launch is not None and server._launch.workers)
    os.kill(server.worker_pids[0], signal.SIGKILL)
    start = time.monotonic()
    waiting.join(20)

    assert time.monotonic() - start < 10
    assert "died" in str(failures[0])


def test_an_unresponsive_server_fails_at_the_startup_timeout(server: Server, model: RegisteredModel) -> None:
    server.launch()
    start = time.monotonic()

    with pytest.raises(StartTimeoutError, match=r"within 1 s \(startup-timeout\)") as failure:
        server.wait_until_ready(golden_probe(model, server.nonce), 1)

    assert failure.value.exit_status == 2, "the machine may be slow"
    assert time.monotonic() - start < 10


def test_another_model_is_not_ready(server: Server, workspace: Workspace, model: RegisteredModel) -> None:
    other = save(workspace, -1.0)
    server.launch()
    server.announce({"tiny": other.tag}, other.store)

    with pytest.raises(PredictionMismatchError, match="another server"):
        server.wait_until_ready(golden_probe(model, server.nonce), 60)


@pytest.mark.slow
def test_another_server_is_not_ready(server: Server, model: RegisteredModel) -> None:
    server.launch()
    server.announce({"tiny": model.tag}, model.store)

    with pytest.raises(PredictionMismatchError, match="another server"):
        server.wait_until_ready(golden_probe(model, "the nonce of another run"), 60)


@pytest.mark.slow
def test_a_changed_model_file_is_not_loaded(server: Server, workspace: Workspace) -> None:
    changed = save(workspace, 2.0)
    with (changed.path / "saved_model.pkl").open("ab") as file:
        file.write(b"x")
    server.launch()
    server.announce({"tiny": changed.tag}, changed.store)

    with pytest.raises(ServerError, match="its SHA-256 differs"):
        server.wait_until_ready(golden_probe(changed, server.nonce), 60)


@pytest.mark.slow
def test_another_library_version_is_not_served(server: Server, workspace: Workspace) -> None:
    trained = save(workspace, 3.0)
    description = trained.path / "tier0.json"
    text = description.read_text(encoding="utf-8")
    description.write_text(text.replace('"sklearn": "', '"sklearn": "0.'), encoding="utf-8")
    server.launch()
    server.announce({"tiny": trained.tag}, trained.store)

    with pytest.raises(ServerError, match=r"trained with sklearn 0\."):
        server.wait_until_ready(golden_probe(trained, server.nonce), 60)


def test_a_port_in_use_names_its_owner_and_the_next_one_can_be_requested(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        server.port = Port(number)
        with pytest.raises(
            PortInUseError, match=rf"port {number} is in use by pid {os.getpid()} .*--tier0-port {number}\+"
        ):
            server.launch()

        server.port = Port(number, or_next=True)
        server.launch()
        wait_for(lambda: any(accepts_connections(port) for port in range(number + 1, number + 5)))


def test_a_port_taken_during_the_start_names_its_owner(server: Server, model: RegisteredModel) -> None:
    """Another process can take the port while bentoml serve does its imports."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server.port = Port(taken.getsockname()[1])
        taken.close()
        server.launch()
        with (
            socket.create_server(("127.0.0.1", server.port.number)),
            pytest.raises(PortInUseError, match="is in use by pid"),
        ):
            server.wait_until_ready(golden_probe(model, server.nonce), 60)


@pytest.mark.slow
def test_a_lost_port_is_replaced_by_the_next_one_if_allowed(server: Server, model: RegisteredModel) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
    server.port = Port(number, or_next=True)
    server.launch()
    server.announce({"tiny": model.tag}, model.store)
    with socket.create_server(("127.0.0.1", number)):
        server.wait_until_ready(golden_probe(model, server.nonce), 60)

    assert number < int(server.url.rpartition(":")[2]) < number + 10


@pytest.mark.slow
def test_the_requested_port_is_used(server: Server, model: RegisteredModel) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    server.port = Port(number)
    server.launch()
    server.announce({"tiny": model.tag}, model.store)
    server.wait_until_ready(golden_probe(model, server.nonce), 60)

    assert server.url == f"http://127.0.0.1:{number}"


@pytest.mark.slow
def test_the_worker_loads_no_library_that_its_model_does_not_need(
    server: Server, model: RegisteredModel
) -> None:
    server.launch()
    server.announce({"tiny": model.tag}, model.store)
    server.wait_until_ready(golden_probe(model, server.nonce), 60)

    loaded = Path(f"/proc/{server.worker_pids[0]}/maps").read_text(encoding="utf-8")
    assert "sklearn" in loaded
    assert not [name for name in ("xgboost", "lightgbm", "mlflow", "optuna", "matplotlib") if name in loaded]


@pytest.mark.slow
def test_a_different_prediction_is_reported_with_the_row_and_a_curl_command(
    server: Server, model: RegisteredModel
) -> None:
    different = replace(
        model, golden=replace(model.golden, predictions=[1 - label for label in model.golden.predictions])
    )
    server.launch()
    server.announce({"tiny": model.tag}, model.store)

    with pytest.raises(
        PredictionMismatchError,
        match=r"6 of \d+ rows differ: .*\nrow 0: prediction: expected 1, got 0\nReproduce with: curl",
    ) as failure:
        server.wait_until_ready(golden_probe(different, server.nonce), 60)

    command = str(failure.value).partition("Reproduce with: ")[2]
    answer = json.loads(subprocess.run(command, shell=True, capture_output=True, check=True).stdout)
    assert answer["predictions"] == [0]


@pytest.mark.slow
def test_a_hanging_worker_is_stopped(workspace: Workspace, model: RegisteredModel) -> None:
    server = Server(workspace.folder("s"))
    server.launch()
    server.announce({"tiny": model.tag}, model.store)
    server.wait_until_ready(golden_probe(model, server.nonce), 60)
    os.kill(server.worker_pids[0], signal.SIGSTOP)
    start = time.monotonic()

    server.stop()

    assert time.monotonic() - start <= STOP_WITHIN
    assert processes_marked(server.nonce) == []


def test_folders_of_temporary_files_are_private(workspace: Workspace) -> None:
    assert Path(workspace.path).stat().st_mode & 0o777 == 0o700
