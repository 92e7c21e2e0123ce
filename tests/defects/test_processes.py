"""Defects of processes, with real servers: orphans, unread output, shared homes, incomplete stops."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

import tier0
from tests.support.in_process import GOLDEN
from tier0.core.child_environment import NO_TELEMETRY
from tier0.runs import examination
from tier0.runs.deployment import Deployment, OwnDeployment
from tier0.serving.processes import accepts_connections
from tier0.serving.server import Server

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
STARTS = Path(__file__).parent / "starts"
TAG = "tiny:1"


@dataclass
class Naive:
    """A server that is started and stopped in the naive way."""

    home: Path
    tag: str = TAG
    port: int = 0
    stdout: int = subprocess.DEVNULL
    process: subprocess.Popen[bytes] | None = None
    seen: list[psutil.Process] = field(default_factory=list)
    certificate: str = ""
    planted: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> Naive:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        environment = {
            **os.environ,
            **NO_TELEMETRY,
            "BENTOML_HOME": str(self.home),
            "TINY_TAG": self.tag,
            "TMPDIR": str(self.home),
        }
        command = [
            sys.executable,
            "-m",
            "bentoml",
            "serve",
            "tiny:Tiny",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self.process = subprocess.Popen(
            command, cwd=STARTS, env=environment, stdout=self.stdout, stderr=subprocess.STDOUT
        )
        if wait:
            wait_for(self.is_ready)
            self.seen = [
                psutil.Process(self.process.pid),
                *psutil.Process(self.process.pid).children(recursive=True),
            ]
        return self

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.seen if process.is_running()]

    def kill_supervisor(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_worker(self) -> None:
        raise NotImplementedError

    def halt(self) -> float:
        """Send SIGTERM, wait a second, and look at nothing."""
        assert self.process is not None
        self.process.terminate()
        time.sleep(1)  # the defect
        return 1.0

    def left(self) -> list[str]:
        alive = [
            process
            for process in self.seen
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]
        return [f"process {process.pid}" for process in alive] + (
            [f"port {self.port} that answers"] if accepts_connections(self.port) else []
        )

    def restart(self) -> None:
        self.kill_all()
        self.start()

    def kill_all(self) -> None:
        for process in self.seen:
            if process.is_running():
                process.kill()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
        psutil.wait_procs(self.seen, 5)
        wait_for(lambda: not accepts_connections(self.port))


def wait_for(condition: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def naive(tmp_path: Path) -> Iterator[Callable[..., Naive]]:
    started: list[Naive] = []

    def make(**how: Any) -> Naive:
        home = how.pop("home", tmp_path / f"h{len(started)}")
        home.mkdir(exist_ok=True)
        started.append(Naive(home, **how))
        return started[-1]

    yield make
    for one in started:
        one.kill_all()


def deployment_of(naive: Naive, **more: Any) -> Deployment:
    return Deployment(
        naive.url,
        GOLDEN,
        TAG,
        {"route": "/predict", "predictions": "predictions", "model_tag": "model_tag"},
        **more,
    )


def test_an_orphaned_worker_that_responds_to_a_later_run_fails(
    naive: Callable[..., Naive], record: Callable[..., None]
) -> None:
    old = naive(tag="tiny:old").start()
    old.kill_supervisor()  # the worker survives, and keeps the socket
    new = naive(port=old.port).start(wait=False)
    assert new.process is not None
    assert new.process.wait(30) == 1, "the address is in use"
    assert new.is_ready(), "a health check passes, against the old model"

    verdict = tier0.check_serving(deployment_of(new), on_fail="return")

    record("TDN01", ("identity.expected_model",), verdict)
    assert [result.id for result in verdict.with_status("fail")] == ["identity.expected_model"]
    assert verdict.with_status("fail")[0].evidence == {"expected": "tiny:1", "got": "tiny:old"}


@pytest.mark.slow
def test_a_second_server_with_the_same_home_fails(
    naive: Callable[..., Naive], record: Callable[..., None]
) -> None:
    first = naive().start()
    assert tier0.check_serving(deployment_of(first), groups=["observability"]).verdict == "pass"
    naive(home=first.home).start()

    verdict = tier0.check_serving(deployment_of(first), groups=["observability"], on_fail="return")

    record("OBS05", ("observability.counts_requests",), verdict)
    assert "observability.counts_requests" in {result.id for result in verdict.with_status("fail")}


@pytest.mark.slow
def test_an_output_that_is_not_read_fails(
    naive: Callable[..., Naive], record: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "REQUEST_TIMEOUT", 5.0)
    server = naive(stdout=subprocess.PIPE).start()

    verdict = tier0.check_serving(
        deployment_of(server, disturb="load"), groups=["parity", "performance"], on_fail="return"
    )

    record("TDN03", ("performance.latency", "performance.many_callers"), verdict)
    failed = {result.id: result for result in verdict.with_status("fail")}
    assert failed.keys() & {"performance.latency", "performance.many_callers"}
    assert "the server's output is not read" in str([result.causes for result in failed.values()])


@pytest.mark.slow
def test_an_incomplete_stop_fails(naive: Callable[..., Naive], record: Callable[..., None]) -> None:
    server = naive().start()
    deployment = deployment_of(server, disturb="faults", server=cast("Server", server))

    killed = tier0.check_serving(deployment, groups=["teardown.ends_with_its_supervisor"], on_fail="return")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/hangs", json={"rows": [[1.0, 2.0]]}, timeout=0.5, trust_env=False)
    stopped = tier0.check_serving(deployment, groups=["teardown.stops"], on_fail="return")

    record("TDN10", ("teardown.ends_with_its_supervisor",), killed)
    record("TDN04", ("teardown.stops",), stopped)
    assert [result.id for result in killed.with_status("fail")] == ["teardown.ends_with_its_supervisor"]
    assert [result.id for result in stopped.with_status("fail")] == ["teardown.stops"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    store = tmp_path_factory.mktemp("store")
    (store / "models").mkdir()
    contract = {"route": "/predict", "predictions": "predictions", "model_tag": "model_tag"}
    with Deployment.from_service(
        f"{STARTS / 'tiny.py'}:Tiny", store=store, golden=GOLDEN, contract=contract, disturb="faults"
    ) as deployment:
        yield replace(deployment, tag=TAG)


@pytest.mark.slow
def test_a_service_that_was_started_here_passes_when_killed_and_stopped(
    tiny: Deployment, record: Callable[..., None]
) -> None:
    verdict = tier0.check_serving(tiny, on_fail="return")

    record("small service, killed and stopped", (), verdict)
    assert verdict.verdict == "pass", [result.explain() for result in verdict.with_status("fail")]
    statuses = {result.id: result.status for result in verdict.checks}
    asked = (
        "resilience.worker_is_replaced",
        "teardown.stops",
        "teardown.ends_with_its_supervisor",
        "performance.memory",
        "security.loopback_only",
    )
    assert {check: statuses[check] for check in asked} == dict.fromkeys(asked, "pass")


@pytest.mark.slow
def test_a_worker_that_a_request_crashes_fails(tiny: Deployment, record: Callable[..., None]) -> None:
    deployment = replace(tiny, contract={"route": "/dies"}, disturb="none")

    verdict = tier0.check_serving(deployment, groups=["health"], on_fail="return")

    record("STA11", ("health.can_predict",), verdict)
    assert [result.id for result in verdict.with_status("fail")] == ["health.can_predict"]


@pytest.mark.slow
def test_two_equal_workers_pass(tmp_path: Path, record: Callable[..., None]) -> None:
    (tmp_path / "models").mkdir()
    contract = {"route": "/predict", "predictions": "predictions", "model_tag": "model_tag"}
    with Deployment.from_service(
        f"{STARTS / 'two_workers.py'}:Two", store=tmp_path, golden=GOLDEN, contract=contract
    ) as deployment:
        for _ in range(3):
            verdict = tier0.check_serving(replace(deployment, tag=TAG), on_fail="return")
            if verdict.verdict != "pass":
                break

    record("service with two workers", (), verdict)
    assert verdict.verdict == "pass", [result.explain() for result in verdict.with_status("fail")]


@pytest.mark.slow
def test_the_own_deployment_passes_when_killed_and_stopped(record: Callable[..., None]) -> None:
    rows = np.array([[float(number), 2.0 * number] for number in range(-10, 10)])
    model = LogisticRegression().fit(rows, (rows[:, 0] > 1).astype(int))
    registered = asyncio.run(tier0.register_model_for_serving(model, "own", examples=rows[:6]))
    server = asyncio.run(tier0.start_bentoml_service(registered))
    try:
        verdict = tier0.check_serving(
            OwnDeployment.from_server(server, registered, disturb="faults"), on_fail="return"
        )
    finally:
        server.stop()

    record("Tier0's own service, killed and stopped", (), verdict)
    assert verdict.verdict == "pass", [
        result.explain() for result in [*verdict.with_status("fail"), *verdict.with_status("error")]
    ]
    statuses = {result.id: result.status for result in verdict.checks}
    assert {statuses[f"teardown.{name}"] for name in ("stops", "ends_with_its_supervisor")} == {"pass"}
