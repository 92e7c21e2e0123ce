"""A service on loopback that sends the bytes that it is told to, and a record of every other address."""

from __future__ import annotations

import gzip
import socket
import struct
import sys
import threading
import zlib
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.fuzz.grammar import OTHER

PAUSE = 0.002
"""Seconds between two pieces of a response."""
HOLD = 0.1
"""Seconds for which a response that has not ended is held before the connection ends."""
BOMB = gzip.compress(b" " * 64 * 1024 * 1024)
RESET = struct.pack("ii", 1, 0)

_connected: list[Any] = []
"""Addresses of internet sockets that this process has connected to."""


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _connected.append(arguments[1][:2])
    elif event == "socket.getaddrinfo":
        _connected.append(arguments[:2])


sys.addaudithook(_note)


class Service:
    """Listens on 127.0.0.1, and on the same port of 127.0.0.2, which stands for another host.

    Args:
        replies: how it responds, from `tests.fuzz.grammar.services`.
    """

    def __init__(self, replies: dict[str, Any]) -> None:
        self._replies = replies
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.elsewhere: list[Any] = []

    def __enter__(self) -> Self:
        self._before = len(_connected)
        while True:
            here, other = socket.create_server(("127.0.0.1", 0)), socket.socket()
            try:
                other.bind(("127.0.0.2", here.getsockname()[1]))
                break
            except OSError:  # the port is used there
                here.close()
                other.close()
        other.listen()
        self._sockets = [here, other]
        self.port = here.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept, here, [])
        self._start(self._accept, other, self.elsewhere)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)
        ours = ("127.0.0.1", self.port)
        self.elsewhere += [seen for seen in _connected[self._before :] if seen != ours]

    def _start(self, function: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, noted: list[Any]) -> None:
        with suppress(OSError):
            while True:
                connection, address = listener.accept()
                noted.append(address)
                with self._lock:
                    if not self._sockets:
                        connection.close()
                        return
                    self._sockets.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection.makefile("rb") as stream:
            while self._answer(connection, stream):
                pass
        with suppress(OSError):
            connection.close()

    def _answer(self, connection: socket.socket, stream: Any) -> bool:
        """Answer one request, and return whether the connection stays open."""
        request, length = stream.readline(), 0
        if not request:
            return False
        while (line := stream.readline().lower()) not in {b"", b"\r\n"}:
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        stream.read(length)
        kind = (
            "schema" if b"schema.json" in request else "predict" if request.startswith(b"POST") else "other"
        )
        reply = self._replies[kind]
        content = _bytes_of(reply, f"127.0.0.2:{self.port}")
        size = max(1, -(-len(content) // reply["pieces"]))
        for start in range(0, len(content), size):
            connection.sendall(content[start : start + size])
            if reply["pieces"] > 1:
                threading.Event().wait(PAUSE)
        match reply["end"]:
            case "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            case "hold":
                threading.Event().wait(HOLD)
        return bool(reply["end"] == "keep" and reply["framing"] in {"length", "chunked"})


def _bytes_of(reply: dict[str, Any], other: str) -> bytes:
    body, headers = reply["body"].replace(OTHER, other).encode("latin-1"), list(reply["headers"])
    match reply["coding"]:
        case "gzip":
            body = gzip.compress(body)
        case "deflate":
            body = zlib.compress(body)
        case "broken gzip":
            body = gzip.compress(body)[:-4] + b"\x00"
        case "bomb":
            body = BOMB
    if coding := reply["coding"].split()[-1:]:
        headers.append(f"Content-Encoding: {'gzip' if coding != ['deflate'] else 'deflate'}")
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    framed = {
        "length": (f"Content-Length: {len(body)}", body),
        "none": ("X-Framing: none", body),
        "short": (f"Content-Length: {max(0, len(body) - 3)}", body),
        "long": (f"Content-Length: {len(body) + 9}", body),
        "chunked": ("Transfer-Encoding: chunked", chunk + b"0\r\n\r\n"),
        "bad chunk": ("Transfer-Encoding: chunked", b"zz\r\n" + body),
        "unfinished chunk": ("Transfer-Encoding: chunked", chunk),
        "endless chunk": ("Transfer-Encoding: chunked", b"f" * 400 + b"\r\n"),
    }
    header, content = framed[reply["framing"]]
    head: str = "\r\n".join([reply["status"], *headers, header]).replace(OTHER, other)
    return head.encode("latin-1") + b"\r\n\r\n" + content
