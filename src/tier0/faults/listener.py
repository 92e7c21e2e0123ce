"""A port on loopback whose connections are served in a thread and an event loop of their own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tier0.faults.background import BackgroundLoop
from tier0.faults.log import FaultLog

HOST = "127.0.0.1"


class Listener(ABC):
    """A listening port that can be down for a while; it is closed at the end of a ``with`` block.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self.log = FaultLog()
        self._background = BackgroundLoop(name)

    def _listen(self, port: int = 0) -> None:
        """Begin to listen; a subclass is ready for connections before it calls this."""
        self._server = self._background.run(asyncio.start_server(self._serve, HOST, port))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"

    @contextmanager
    def down(self) -> Iterator[None]:
        """Reset all connections and refuse new ones until the block ends, as if the server were down."""
        self.log.note("injected", kind="down")
        self._background.run(self._stop_listening())
        try:
            yield
        finally:
            self._listen(self.port)
            self.log.note("reset", kind="down")

    def close(self) -> None:
        """Close all connections and the port, and end the thread; it may be closed already."""
        if not self._background.loop.is_closed():
            self._close_port()
            self._background.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _stop_listening(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._server.sockets:
            loop.remove_reader(listening.fileno())
        # A connection that was accepted, but has no transport yet, would be left open by a closed server.
        await asyncio.sleep(0)
        self._server.close()
        self._reset_connections()

    @abstractmethod
    def _close_port(self) -> None:
        """Close the port, before all tasks are cancelled and the thread ends."""

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""

    @abstractmethod
    def _reset_connections(self) -> None:
        """Reset all connections."""
