"""Waiting for a user's service: the outcome of the last request tells why it is not ready."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tier0.core.errors import Tier0Error
from tier0.runs.deployment import Deployment, users_probe
from tier0.serving.server import Server

SCHEMA = b'{"routes": [{"route": "/v1/predict"}]}'


@contextmanager
def service(statuses: dict[str, int], needs: str = "") -> Iterator[str]:
    """Serve routes with a status each, and others with 404; without the header *needs*, all with 401."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refused = bool(needs) and needs not in self.headers
            self.send_response(401 if refused else statuses.get(self.path, 404))
            self.end_headers()
            self.wfile.write(SCHEMA if self.path == "/schema.json" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def wait(tmp_path: Path, url: str, described: Deployment, timeout: float) -> Server:
    server = Server(tmp_path)
    users_probe(server, described)(url, timeout)
    return server


@pytest.mark.parametrize(
    ("statuses", "contract"),
    [
        ({"/readyz": 200}, None),
        ({"/v1/readyz": 200, "/schema.json": 200}, None),
        ({"/ready": 200, "/readyz": 503}, {"ready": "/ready"}),
    ],
)
def test_the_readiness_route_is_found(
    tmp_path: Path, statuses: dict[str, int], contract: dict[str, str] | None
) -> None:
    with service(statuses) as url:
        server = wait(tmp_path, url, Deployment(url, contract=contract), 5)

    assert (server.url, server.certificate) == (url, "")


@pytest.mark.parametrize(
    ("statuses", "needs", "noted"),
    [
        ({"/readyz": 503}, "", "/readyz returned 503"),
        ({"/v1/readyz": 500, "/schema.json": 200}, "", "/v1/readyz returned 500"),
        ({}, "", "/readyz returned 404"),
        ({"/readyz": 200}, "X-Key", "/readyz returned 401: the service requires credentials"),
    ],
)
def test_the_last_response_is_noted(tmp_path: Path, statuses: dict[str, int], needs: str, noted: str) -> None:
    server = Server(tmp_path)
    for seconds in (1.5, 6.0, 24.0):  # a slow machine may need more time to ask a second route
        with service(statuses, needs) as url, pytest.raises(Tier0Error, match="did not return 200"):
            users_probe(server, Deployment(url))(url, seconds)
        if server._last_response.startswith(noted):
            break

    assert server._last_response.startswith(noted)


def test_the_headers_are_sent(tmp_path: Path) -> None:
    with service({"/readyz": 200}, "X-Key") as url:
        assert wait(tmp_path, url, Deployment(url, headers={"X-Key": "1"}), 5).url == url
