"""The value of the fixture `tier0_faults`: fault servers and proxies that are closed together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tier0.faults.log import FaultLog
from tier0.faults.proxy import FaultProxy
from tier0.faults.server import FaultServer, Reply, Script


class Faults:
    """Starts fault servers and proxies, and closes all of them at the end.

    Attributes:
        logs: log of each server and proxy, in the order of their creation.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.logs: list[FaultLog] = []

    def server(self, script: Reply | Sequence[Reply] | Script) -> FaultServer:
        """Start a server that responds according to *script*."""
        server = self._stack.enter_context(FaultServer(script))
        self.logs.append(server.log)
        return server

    def proxy(self, target: str, *, seed: int = 7) -> FaultProxy:
        """Start a proxy in front of the server *target*, a URL or ``host:port``."""
        proxy = self._stack.enter_context(FaultProxy(target, seed=seed))
        self.logs.append(proxy.log)
        return proxy

    def close(self) -> None:
        """Close all servers and proxies, in reverse order."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
