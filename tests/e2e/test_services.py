"""Three services, by kind of model, over one core: what each of them serves is what was trained."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

import tier0
from tier0.core.errors import MissingDependencyError
from tier0.runs import services as module
from tier0.runs.services import Services
from tier0.serving.processes import is_free

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
NAMES = ("churn", "conversion", "ltv_90", "ltv_365", "training_effect")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "churn" else pytest.mark.slow) for name in NAMES]
)
def test_no_check_accuses_it(three_services: Services, name: str) -> None:
    if name not in three_services.urls():
        pytest.skip("the extra 'causal' is not installed")
    deployment = three_services.deployment(name)
    for _ in range(3):
        verdict = tier0.check_serving(deployment, disturb="malformed", on_fail="return")

        assert verdict.verdict == "pass", [
            result.explain() for result in [*verdict.with_status("fail"), *verdict.with_status("error")]
        ]
    judged = {result.id for result in verdict.with_status("pass")}
    assert "parity.golden_rows" in judged
    assert ("contract.intervals" in judged) == (name not in {"churn", "conversion"})


def test_each_server_has_a_home_of_its_own(three_services: Services) -> None:
    homes = {server.home for server in three_services.servers.values()}

    assert len(homes) == len(three_services.servers)
    for kind, server in three_services.servers.items():
        assert sorted(path.name for path in (server.home / "models").iterdir()) == sorted(
            model.name for model in three_services.models[kind]
        )


def test_a_model_of_another_horizon_is_another_model(three_services: Services) -> None:
    """What the one answers is not what the other was trained to."""
    near, far = three_services.deployment("ltv_90"), three_services.deployment("ltv_365")
    assert near.golden is not None
    assert far.golden is not None

    assert near.golden.compare(vars(far.golden)) is not None


def test_registered_models_are_served_from_a_store_without_training(three_services: Services) -> None:
    store = three_services.models["regression"][0].store

    with Services.from_store(store, ["ltv_365", "churn:latest"], first_port=0) as services:
        assert sorted(services.urls()) == ["churn", "ltv_365"]
        (server,) = services.servers.values()
        tag = next(model.tag for model in three_services.models["classification"] if model.name == "churn")
        assert httpx.get(f"{server.url}/health", trust_env=False).json()["models"]["churn"] == tag


@pytest.mark.slow
def test_each_kind_has_a_port_of_its_own_and_another_where_that_is_taken(three_services: Services) -> None:
    ports = dict(zip(module.KINDS, range(module.FIRST_PORT, module.FIRST_PORT + 3), strict=True))
    if taken := [port for port in ports.values() if not is_free(port)]:
        pytest.skip(f"port {taken[0]} is in use")
    with (
        socket.create_server(("127.0.0.1", ports["regression"])),
        Services.from_store(three_services.models["regression"][0].store) as services,
    ):
        given = {kind: int(server.url.rpartition(":")[2]) for kind, server in services.servers.items()}

    assert list(ports.values()) == [3001, 3002, 3003]
    assert given.keys() == three_services.servers.keys(), "some kinds need an extra"
    assert given.pop("regression") not in ports.values()
    assert given == {kind: ports[kind] for kind in given}


@pytest.mark.slow
def test_the_command_serves_until_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(tier0.__file__).parents[1]),
        "TMPDIR": str(tmp_path / "t"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        sys.executable,
        "-m",
        "tier0.cli",
        "serve",
        "--all",
        "--kinds",
        "regression",
        "--first-port",
        "0",
    ]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            # as a script's shell does for a command with &
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
        )
    try:
        deadline = time.monotonic() + 150
        while "Ctrl-C stops the service" not in (said := (tmp_path / "output").read_text()):
            assert time.monotonic() < deadline, said
            assert process.poll() is None, said
            time.sleep(0.05)
        processes = psutil.Process(process.pid).children(recursive=True)
        url = re.search(r"ltv_90 +(http://\S+)/predict", said)
        assert url is not None
        assert httpx.get(f"{url[1]}/health", trust_env=False).json()["status"] == "healthy"

        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 0, (tmp_path / "output").read_text()
    finally:
        process.kill()
        process.wait()
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert list((tmp_path / "t").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected either tags of models or --all"),
        (["churn", "--store", "nowhere"], "no model 'churn' in"),
        (
            ["--all", "--kinds", "clustering"],
            "unknown kind of service 'clustering' in --kinds",
        ),
        (["--all", "--store", "nowhere"], "no model registered by Tier0"),
        (["churn", "--port", "http"], "invalid value 'http' for --port"),
        (["churn", "--first-port", "3001"], "--first-port has no effect without --all"),
        (["--all", "--store", "nowhere", "--seed", "3"], "--seed has no effect here"),
    ],
)
def test_what_cannot_be_served_is_refused_with_status_2(arguments: list[str], says: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(tier0.__file__).parents[1])}
    command = [sys.executable, "-m", "tier0.cli", "serve", *arguments]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert says in done.stderr


def test_an_extra_that_is_missing_is_told_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "econml" else name)

    with pytest.raises(
        MissingDependencyError,
        match=r"pip install 'pytest-tier0\[causal\]', or omit the service: --kinds regression",
    ):
        Services.from_examples(["regression", "causal"])
