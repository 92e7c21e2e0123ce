"""Servers and proxies that end together: what the fixture `tier0_faults` gives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tier0.faults.log import FaultLog
from tier0.faults.proxy import FaultProxy
from tier0.faults.server import FaultServer, Reply, Script


class Faults:
    """Makes fault servers and proxies, and closes them all at its end.

    Attributes:
        logs: of what was made: what was injected, and what arrived.
    """

    def __init__(self) -> None:
        self._made = ExitStack()
        self.logs: list[FaultLog] = []

    def server(self, script: Reply | Sequence[Reply] | Script) -> FaultServer:
        """Start a server that answers as *script* says."""
        server = self._made.enter_context(FaultServer(script))
        self.logs.append(server.log)
        return server

    def proxy(self, target: str, *, seed: int = 7) -> FaultProxy:
        """Start a proxy before the server *target*, a URL or ``host:port``."""
        proxy = self._made.enter_context(FaultProxy(target, seed=seed))
        self.logs.append(proxy.log)
        return proxy

    def close(self) -> None:
        """Close what was made, the last one first."""
        self._made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
