"""The guard of this folder works."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda: subprocess.run(["true"], check=True),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: socket.create_server(("127.0.0.1", 0)),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: time.sleep(0.001),
        lambda: asyncio.run(asyncio.sleep(0.001)),
    ],
    ids=["process", "spawn", "server", "connection", "sleep", "asyncio_sleep"],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_unit_test_that_starts_something_or_waits_fails(forbidden: Callable[[], object]) -> None:
    with pytest.raises(pytest.fail.Exception, match="move it to tests/integration"):
        forbidden()


def test_a_unit_test_may_yield() -> None:
    time.sleep(0)
    asyncio.run(asyncio.sleep(0))
