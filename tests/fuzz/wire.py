"""HTTP messages with faults, a service on loopback that sends them, and every address that was connected to.

A message is a mapping: ``status`` (the first line), ``headers``, ``body`` (one character per byte),
``coding`` and ``framing`` of the body, ``pieces`` in which it is sent, ``end`` (what happens afterwards), and
optionally ``fill`` (a text, and how often it is repeated in place of ``{fill}`` in the body).
"""

from __future__ import annotations

import gzip
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from types import TracebackType
from typing import Any, Self

from tests.fuzz.grammar import OTHER

PAUSE = 0.002
"""Seconds between two pieces of a message."""
HOLD = 0.1
"""Seconds for which a message that has not ended is held before the connection ends."""
BLOCK = 1 << 16
RESET = struct.pack("ii", 1, 0)
FILL = "{fill}"

_connected: list[tuple[Any, ...]] = []
"""Addresses of internet sockets that this process has connected to, and names that it has looked up."""


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _connected.append(arguments[1][:2])
    elif event == "socket.getaddrinfo":
        _connected.append(arguments[:2])


sys.addaudithook(_note)


def _bomb() -> bytes:
    """64 MiB of blanks, compressed."""
    packed = zlib.compressobj(9, wbits=31)
    return b"".join(packed.compress(b" " * BLOCK) for _ in range(1024)) + packed.flush()


BOMB = _bomb()


class Service:
    """Listens on 127.0.0.1, and on the same port of 127.0.0.2, which stands for another host.

    Args:
        replies: how it responds, from `tests.fuzz.grammar.services`.
        drips: whether a reply that has to drip does so until the connection is closed.

    Attributes:
        replies: how it responds.
        sent: replies that were sent at least once.
        elsewhere: other addresses that were connected to, known after the end.
    """

    def __init__(self, replies: dict[str, Any], *, drips: bool = True) -> None:
        self.replies = replies
        self._drips = drips
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.sent: set[str] = set()
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
        self._ended.set()
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)
        self.elsewhere += connected_since(self._before, self.port)

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
        self.sent.add(kind)
        reply = self.replies[kind]
        send(connection, reply, f"127.0.0.2:{self.port}")
        match reply["end"]:
            case "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            case "hold":
                self._ended.wait(HOLD)
            case "drip":
                while self._drips and not self._ended.wait(HOLD):
                    connection.sendall(b" ")
        return bool(reply["end"] == "keep" and reply["framing"] in {"length", "chunked"})


def connected_since(number: int, port: int) -> list[Any]:
    """Return the addresses that were connected to after the first *number*, without the given one."""
    return [seen for seen in _connected[number:] if seen != ("127.0.0.1", port)]


def number_connected() -> int:
    """Return how many addresses were connected to so far."""
    return len(_connected)


def send(connection: socket.socket, message: dict[str, Any], other: str) -> None:
    """Send a message in its pieces; *other* is the address of another host, which the message may name."""
    for content in _blocks(message, other):
        size = max(1, -(-len(content) // message["pieces"]))
        for start in range(0, len(content), size):
            connection.sendall(content[start : start + size])
            if message["pieces"] > 1:
                threading.Event().wait(PAUSE)


def _blocks(message: dict[str, Any], other: str) -> Iterator[bytes]:
    """Yield the bytes of a message; what fills its body is one block, many times."""
    body = message["body"].replace(OTHER, other).encode("latin-1")
    unit, times = message.get("fill", ["", 0])
    before, _, after = body.partition(FILL.encode()) if times else (body, b"", b"")
    per_block = BLOCK // len(unit) if unit else 1
    filling = repeat(unit.encode() * per_block, times // per_block)
    body = _coded(before, message["coding"])
    length = len(body) + len(after) + len(unit) * per_block * (times // per_block)
    header, first, last = {
        "length": (f"Content-Length: {length}", b"", b""),
        "none": ("X-Framing: none", b"", b""),
        "short": (f"Content-Length: {max(0, length - 3)}", b"", b""),
        "long": (f"Content-Length: {length + 9}", b"", b""),
        "chunked": ("Transfer-Encoding: chunked", b"%x\r\n" % length, b"\r\n0\r\n\r\n"),
        "bad chunk": ("Transfer-Encoding: chunked", b"zz\r\n", b""),
        "unfinished chunk": ("Transfer-Encoding: chunked", b"%x\r\n" % length, b"\r\n"),
        "endless chunk": ("Transfer-Encoding: chunked", b"f" * 400 + b"\r\n", b""),
    }[message["framing"]]
    codings = {"gzip": "gzip", "broken gzip": "gzip", "bomb": "gzip", "deflate": "deflate"}
    coding = [f"Content-Encoding: {codings[message['coding']]}"] if message["coding"] else []
    head: str = "\r\n".join([message["status"], *message["headers"], *coding, header]).replace(OTHER, other)
    yield head.encode("latin-1") + b"\r\n\r\n" + first + body
    yield from filling
    yield after + last


def _coded(body: bytes, coding: str) -> bytes:
    match coding:
        case "gzip":
            return gzip.compress(body)
        case "deflate":
            return zlib.compress(body)
        case "broken gzip":
            return gzip.compress(body)[:-4] + b"\x00"
        case "bomb":
            return BOMB
    return body
