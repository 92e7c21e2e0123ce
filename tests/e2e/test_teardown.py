"""A stopped server leaves nothing behind, and another one keeps running."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import pytest

import tier0
from tier0.serving.launch import STOP_WITHIN
from tier0.serving.processes import accepts_connections, processes_marked

if TYPE_CHECKING:
    from tier0.runs.deployment import OwnDeployment
    from tier0.serving.server import Server

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120)]


def assert_gone(server: Server) -> None:
    left = processes_marked(server.nonce)
    assert left == [], (
        f"processes of the server were expected to be gone, and {left} are there; see them with: ps -ef"
    )
    assert not server.folder.exists()


@pytest.mark.asyncio
async def test_a_stopped_server_leaves_no_process_no_port_and_no_folder(
    tier0_deployment: OwnDeployment,
) -> None:
    server = await tier0.start_bentoml_service(tier0_deployment.model)
    port = int(server.url.rpartition(":")[2])
    assert server.url != tier0_deployment.url
    assert len(server.pids) >= 2

    seconds = await tier0.stop_bentoml_service(server)

    assert seconds <= STOP_WITHIN
    assert not accepts_connections(port), (
        f"port {port} was expected to refuse; see it with: curl -v http://127.0.0.1:{port}/livez"
    )
    assert_gone(server)
    assert accepts_connections(int(tier0_deployment.url.rpartition(":")[2])), (
        "the other server is not touched"
    )


@pytest.mark.asyncio
async def test_a_cancelled_start_leaves_nothing(tier0_deployment: OwnDeployment) -> None:
    before = {process.pid for process in processes_of_ours()}
    starting = asyncio.ensure_future(tier0.start_bentoml_service(tier0_deployment.model))
    await asyncio.to_thread(wait_until, lambda: processes_of_ours_since(before))

    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)

    assert processes_of_ours_since(before) == set()


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_of_ours() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(os.getpid()).children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE
    ]


def processes_of_ours_since(before: set[int]) -> set[int]:
    return {process.pid for process in processes_of_ours()} - before
