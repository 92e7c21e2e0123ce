"""A server whose responses have no end, or stand for far more than they are."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MIB = 1 << 20
Write = Callable[[bytes], Any]
DRIP_INTERVAL = 0.05


@cache
def compress(data: bytes, times: int, wbits: int = 31) -> bytes:
    """Return *data* compressed, repeated *times* times before."""
    packed = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(packed.compress(data) for _ in range(times)) + packed.flush()


class HostileServer(ThreadingHTTPServer):
    """Answers paths from a table; the others with 404.

    Attributes:
        answers: by path, the headers of the response, and a function that writes its body.
        requests: method, path and headers of each request.
        stopped: set when the server stops, which ends what has no end.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.answers: dict[str, tuple[dict[str, str], Callable[[Write], Any]]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_port}"  # type: ignore[str-bytes-safe]

    def json(self, path: str, value: Any) -> None:
        """Answer *path* with a JSON value."""
        self.body(path, json.dumps(value).encode())

    def body(self, path: str, body: bytes, **headers: str) -> None:
        """Answer *path* with a body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = ({"Content-Length": str(len(body)), **named}, lambda write: write(body))

    def endless(self, path: str, piece: bytes = b" " * 65_536) -> None:
        """Answer *path* with *piece* again and again, as fast as it is read."""

        def repeat(write: Write) -> None:
            while not self.stopped.is_set():
                write(piece)

        self.answers[path] = ({}, repeat)

    def drip(self, path: str) -> None:
        """Answer *path* with a blank again and again, slowly."""

        def repeat(write: Write) -> None:
            while not self.stopped.wait(DRIP_INTERVAL):
                write(b" ")

        self.answers[path] = ({}, repeat)

    def bomb(self, path: str, size: int, layers: int = 1) -> None:
        """Answer *path* with a compressed body that is *size* MiB of blanks."""
        body = compress(b" " * MIB, size)
        for _ in range(layers - 1):
            body = compress(body, 1)
        self.body(path, body, Content_Encoding=", ".join(["gzip"] * layers))


class _Handler(BaseHTTPRequestHandler):
    server: HostileServer

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        headers, write = self.server.answers.get(self.path, ({"Content-Length": "0"}, lambda _: None))
        self.send_response(200 if self.path in self.server.answers else 404)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            write(self.wfile.write)
        except OSError:
            self.close_connection = True

    do_POST = do_GET  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hostile_server(host: str = "127.0.0.1") -> Iterator[HostileServer]:
    """Run a `HostileServer` in a thread."""
    with HostileServer(host) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.stopped.set()
        server.shutdown()
