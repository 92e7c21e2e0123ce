"""An Opik server on loopback that records the requests of the real SDK."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Recording:
    """Received traces and spans as JSON, and the bodies of all requests.

    Attributes:
        url: URL of the server.
        traces: traces in the order of arrival.
        spans: spans in the order of arrival.
        content: decompressed body of each request.
    """

    url: str = ""
    traces: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)

    def wait_for(self, condition: Callable[[Recording], object], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition(self):
            assert time.monotonic() < deadline, (
                f"received {len(self.traces)} traces and {len(self.spans)} spans"
            )
            time.sleep(0.01)

    def spans_of(self, trace: dict[str, Any]) -> list[dict[str, Any]]:
        return sorted(
            (span for span in self.spans if span["trace_id"] == trace["id"]),
            key=lambda span: str(span["name"]),
        )


@contextmanager
def recording_opik() -> Iterator[Recording]:
    recording = Recording()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(200, b"{}")

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                content = gzip.decompress(content)
            recording.content.append(content)
            for kind in ("traces", "spans"):
                if self.path.endswith(f"/{kind}/batch"):
                    getattr(recording, kind).extend(json.loads(content)[kind])
            self.reply(204, b"")

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        recording.url = f"http://127.0.0.1:{server.server_address[1]}/api"
        yield recording
        server.shutdown()
        thread.join()
