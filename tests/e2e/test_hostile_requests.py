"""Hostile requests at a real service: no 5xx, no memory, and other clients notice nothing."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from tests.support.hostile import attack, post

if TYPE_CHECKING:
    from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]
NUMBER = 1500
PATHS = 3000
"""Unknown paths, each of which took 55 kB."""
MAX_GROWN = 30e6
SLOW = 200
HEADS = (
    b"",
    b"GET /health HTTP/1.1\r\nHost: slow\r\nX-Slow: ",
    b"POST /predict HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: slow\r\nContent-Length: 9999\r\n\r\n",
)
"""What slow clients send at once: nothing, half a head, the head of a body, and one that is responded to."""


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


def memory(deployment: OwnDeployment) -> int:
    rss = [psutil.Process(pid).memory_info().rss for pid in deployment.server.worker_pids]
    return sum(rss)


def server_errors(http: httpx.Client, url: str) -> list[str]:
    """Return the server's own counts of 5xx, which include those that no client waited for."""
    text = http.get(f"{url}/metrics").text
    counts: list[str] = re.findall(
        r'^\w+_request_total\{.*http_response_code="5\d\d".*\} [1-9].*$', text, re.MULTILINE
    )
    return counts


def assert_well(http: httpx.Client, deployment: OwnDeployment) -> None:
    golden = deployment.model.golden.examples
    assert golden.compare(http.post(f"{deployment.url}/predict", json=golden.body()).json()) is None


def test_generated_requests_cause_no_5xx_no_traceback_and_no_growth(
    tier0_deployment: OwnDeployment, http: httpx.Client
) -> None:
    url, good = tier0_deployment.url, tier0_deployment.model.golden.examples.body()
    workers = tier0_deployment.server.worker_pids
    _, failed = attack(url, good, seed=0, number=NUMBER // 4)
    before = memory(tier0_deployment)
    statuses, more_failed = attack(url, good, seed=1, number=NUMBER)

    assert [*failed, *more_failed] == []
    assert {200, 400, 404, 405, 415, 422} <= {*statuses}, "the requests are too uniform"
    assert server_errors(http, url) == []
    assert "Traceback" not in tier0_deployment.server.log.read_text(encoding="utf-8")
    assert tier0_deployment.server.worker_pids == workers
    assert memory(tier0_deployment) - before < MAX_GROWN
    assert_well(http, tier0_deployment)


def test_any_number_of_unknown_paths_takes_no_memory(
    tier0_deployment: OwnDeployment, http: httpx.Client
) -> None:
    url = tier0_deployment.url
    http.get(f"{url}/p-{'z' * 200}")
    before = memory(tier0_deployment)
    for number in range(PATHS):
        assert http.get(f"{url}/p{number}-{'z' * 200}").status_code == 404

    seconds = []
    for _ in range(5):
        start = time.monotonic()
        text = http.get(f"{url}/metrics").text
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 0.2
    assert "zzz" not in text
    assert re.search(r'_request_total\{endpoint="unknown",http_response_code="404"', text)
    assert memory(tier0_deployment) - before < MAX_GROWN


class SlowClients(threading.Thread):
    """Connections that send a byte per second after their heads; the statuses and ends of each."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.open = [(HEADS[n % len(HEADS)], socket.create_connection(address)) for n in range(SLOW)]
        self.received = Counter[tuple[bytes, bytes]]()
        for head, connection in self.open:
            connection.settimeout(0)
            connection.send(head)

    def run(self) -> None:
        while not self.stopped.wait(1):
            self.open = [
                (head, connection) for head, connection in self.open if self._is_open(head, connection)
            ]

    def _is_open(self, head: bytes, connection: socket.socket) -> bool:
        with suppress(OSError):  # the server may close it at any time, also between the two calls
            if self._is_waiting(head, connection):
                connection.send(b"x" if head else b"")
                return True
        connection.close()
        return False

    def _is_waiting(self, head: bytes, connection: socket.socket) -> bool:
        """Read what has arrived, and return whether the connection is still open."""
        try:
            while received := connection.recv(65536):
                if received.startswith(b"HTTP/1.1 "):  # the body may arrive apart
                    self.received[head, received[9:12]] += 1
        except BlockingIOError:
            return True
        return False


@contextmanager
def slow_clients(address: tuple[str, int]) -> Iterator[SlowClients]:
    clients = SlowClients(address)
    clients.start()
    try:
        yield clients
    finally:
        clients.stopped.set()
        clients.join()
        for _, connection in clients.open:
            connection.close()


def upload_slowly(address: tuple[str, int], body: bytes, seconds: float) -> bytes:
    """Send a body in pieces over some seconds; return the first line of the response."""
    request = post(body)
    head, pieces = request[: -len(body)], [body[n : n + 1] for n in range(len(body))]
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head)
        start = time.monotonic()
        for number, piece in enumerate(pieces):
            pause = start + number * seconds / len(pieces) - time.monotonic()
            threading.Event().wait(max(pause, 0))
            connection.sendall(piece)
        return connection.makefile("rb").readline()


def test_slow_connections_leave_room_for_others_and_are_closed(
    tier0_deployment: OwnDeployment, http: httpx.Client
) -> None:
    url, golden = tier0_deployment.url, tier0_deployment.model.golden.examples
    parts = httpx.URL(url)
    address = parts.host, parts.port or 80
    responses: list[bytes] = []
    uploader = threading.Thread(
        target=lambda: responses.append(
            upload_slowly(address, json.dumps(golden.take([0]).body()).encode(), 6)
        )
    )

    def seconds_of_a_request() -> float:
        start = time.monotonic()
        assert_well(http, tier0_deployment)
        return time.monotonic() - start

    def typical() -> float:
        """Return the median of some requests, measured in less time than slow connections have."""
        start, seconds = time.monotonic(), [seconds_of_a_request() for _ in range(3)]
        while len(seconds) < 15 and time.monotonic() - start < 4:
            seconds.append(seconds_of_a_request())
        return median(seconds)

    before = typical()
    with slow_clients(address) as slow:
        uploader.start()
        meanwhile = typical()
        assert len(slow.open) == SLOW
        deadline = time.monotonic() + 40
        while slow.open and time.monotonic() < deadline:
            slow.stopped.wait(0.1)
        assert slow.open == []
    uploader.join()

    assert meanwhile < 5 * max(before, typical()) + 0.1  # other load of the machine may have begun meanwhile
    assert slow.received == {(HEADS[2], b"408"): SLOW // len(HEADS), (HEADS[3], b"200"): SLOW // len(HEADS)}
    assert responses[0].startswith(b"HTTP/1.1 200"), "a slow upload that ends is accepted"
    assert server_errors(http, url) == []
