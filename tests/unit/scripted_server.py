"""An HTTP server on loopback that answers what a test says, and writes down what reached it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PREDICTION = json.dumps({"predictions": [1], "probabilities": None}).encode()


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Script:
    """What the server does with its nth request, and what it has seen."""

    act: Callable[[int, asyncio.StreamWriter], Awaitable[None]]
    received: list[Received] = field(default_factory=list)
    url: str = ""
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def arrival(self, number: int) -> None:
        """Wait until that many requests have arrived."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) >= number)


def answer(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(*replies: bytes) -> Callable[[int, asyncio.StreamWriter], Awaitable[None]]:
    """Give these answers in turn, the last one for ever."""

    async def act(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(replies[min(number, len(replies) - 1)])
        await writer.drain()

    return act


async def hang(_: int, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(_: int, writer: asyncio.StreamWriter) -> None:
    for byte in answer(200, PREDICTION):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def truncate(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, PREDICTION)[:-5])
    await writer.drain()
    writer.close()


async def close(_: int, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def scripted(act: Callable[[int, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Script]:
    script = Script(act)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split()
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                number = len(script.received)
                script.received.append(Received(method, path, headers, body, asyncio.get_running_loop().time()))
                async with script.arrived:
                    script.arrived.notify_all()
                await script.act(number, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
