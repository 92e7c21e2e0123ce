"""Connections that wait for their client, or are too many, are closed; slow and idle clients are served."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

pytest.importorskip("bentoml")

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tier0.serving import bentoml_internals
from tier0.serving.protocol import (
    FOR_HEALTH,
    HEAD_LIMIT,
    MAX_CONNECTIONS,
    LimitedProtocol,
    Limits,
    connection_limit,
)

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:
    PARSERS: list[Any] = [H11Protocol]
else:
    PARSERS = [H11Protocol, HttpToolsProtocol]

pytestmark = pytest.mark.asyncio
HEAD = b"POST / HTTP/1.1\r\nHost: here\r\n"
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
WITHIN = 10.0
"""Seconds until a connection has to be closed, which has a limit of a fraction of one."""


async def echo_length(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the length of the body; to /now before it has arrived, and to /big with 64 MB."""
    length, more = 0, scope["path"] != "/now"
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"x" * 64_000_000 if scope["path"] == "/big" else f"{length:06}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Serving(NamedTuple):
    """A server's port, and its open connections."""

    port: int
    connections: set[Any]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(parser: Any, *, keep_alive: int = 60, **limits: float) -> AsyncIterator[Serving]:
    """Serve with limits of a fraction of a second."""
    members = {"head_timeout": 0.3, "read_timeout": 0.3, "sweep_seconds": 0.02, **limits}
    config = uvicorn.Config(
        echo_length,
        port=0,
        http=type("Limited", (Limits, parser), members),
        lifespan="off",
        log_config=None,
        timeout_keep_alive=keep_alive,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield Serving(server.servers[0].sockets[0].getsockname()[1], server.server_state.connections)
    finally:
        server.should_exit = server.force_exit = True
        await task


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        while await asyncio.wait_for(reader.read(65536), WITHIN):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def drip(writer: asyncio.StreamWriter, text: bytes = b"x" * 10_000) -> None:
    for number in range(len(text)):
        if writer.is_closing():
            return
        writer.write(text[number : number + 1])
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"P",
        b"\r\n",
        HEAD,
        HEAD + b"X-Slow: ",
        GET + HEAD + b"X-Slow: ",
        HEAD.replace(b"/ ", b"/now ") + b"Content-Length: 100000\r\n\r\n",
    ],
    ids=["nothing", "a letter", "an empty line", "a line", "a header", "the second head", "a rest of a body"],
)
@pytest.mark.parametrize("drips", [False, True])
async def test_a_connection_without_a_whole_head_is_closed(parser: Any, begin: bytes, *, drips: bool) -> None:
    async with serving(parser, keep_alive=60 if drips else 1) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(begin)
        dripping = asyncio.create_task(drip(writer)) if drips else None
        assert await is_closed(reader)
        if dripping is not None:
            dripping.cancel()
        writer.close()


@pytest.mark.parametrize("parser", PARSERS)
async def test_a_client_that_reads_nothing_is_disconnected(parser: Any) -> None:
    async with serving(parser) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(b"GET /big HTTP/1.1\r\nHost: here\r\n\r\n")
        await until(lambda: server.connections)
        await until(lambda: not server.connections)
        received = 0
        try:
            while piece := await asyncio.wait_for(reader.read(65536), WITHIN):
                received += len(piece)
        except ConnectionError:
            pass
        assert received < 64_000_000
        writer.close()


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 1_000_000,
        GET + b"GET /" + b"x" * 1_000_000,
        HEAD + b"X-Long: " + b"x" * 1_000_000,
        HEAD + b"X: y\r\n" * 200_000,
    ],
    ids=["path", "second path", "header", "headers"],
)
async def test_a_head_of_any_length_is_not_read(parser: Any, head: bytes) -> None:
    async with serving(parser, head_timeout=60) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head)
        assert await is_closed(reader)
        writer.close()


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "rest",
    [
        b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 200_000,
        b"2\r\n{}\r\n0\r\nX-Long: " + b"x" * 1_000_000,
        b"2;name=" + b"x" * 1_000_000,
        b"2\r\n{}\r\n0;name=" + b"x" * 1_000_000,
    ],
    ids=["trailers", "a long trailer", "an extension of a chunk", "an extension of the last chunk"],
)
@pytest.mark.parametrize("path", [b"/", b"/now"])
async def test_what_follows_a_body_in_chunks_is_not_read_at_any_length(
    parser: Any, rest: bytes, path: bytes
) -> None:
    async with serving(parser, head_timeout=60) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CHUNKED.replace(b"/ ", path + b" ") + rest)
        assert await is_closed(reader)
        writer.close()


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Send a request; return the first line of the response and its six bytes of body."""
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN)
    return head.split(b"\r\n")[0] + b" " + await reader.readexactly(6)


@pytest.mark.parametrize("parser", PARSERS)
async def test_small_chunks_and_some_trailers_are_read(parser: Any) -> None:
    async with serving(parser, head_timeout=60) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            chunks = b"1;a=b\r\nx\r\n" * 30_000 + b"0\r\n" + b"X-Sum: 1\r\n" * 50 + b"\r\n"
            assert await respond(reader, writer, CHUNKED + chunks) == b"HTTP/1.1 200 OK 030000"
        writer.close()


@pytest.mark.parametrize("parser", PARSERS)
async def test_a_body_that_was_responded_to_is_read_to_its_end(parser: Any) -> None:
    async with serving(parser, head_timeout=60) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = HEAD.replace(b"/ ", b"/now ") + b"Content-Length: 900000\r\n\r\n"
        assert await respond(reader, writer, head) == b"HTTP/1.1 200 OK 000000"
        if parser is not H11Protocol:  # which closes such a connection
            writer.write(b"x" * 900_000)
            assert await respond(reader, writer, GET) == b"HTTP/1.1 200 OK 000000"
        writer.close()


@pytest.mark.parametrize("parser", PARSERS)
async def test_with_too_many_connections_further_ones_are_for_health_only(
    parser: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    async with serving(parser, head_timeout=60, max_connections=3) as server:

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", server.port)

        first = [await connect() for _ in range(3)]
        for reader, writer in first:
            assert await respond(reader, writer, GET) == b"HTTP/1.1 200 OK 000000"
        for path in (b"/", b"/predict", b"/health/x"):
            reader, writer = await connect()
            writer.write(GET.replace(b"/ ", path + b" ", 1))
            response = await asyncio.wait_for(reader.read(), WITHIN)  # until it is closed
            assert response.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in response.lower()
            writer.close()
        for path in (b"/livez", b"/churn/health", b"/metrics"):
            reader, writer = await connect()
            response = await respond(reader, writer, GET.replace(b"/ ", path + b" ", 1))
            assert response == b"HTTP/1.1 200 OK 000000"
            writer.close()
        for reader, writer in first:
            assert await respond(reader, writer, GET) == b"HTTP/1.1 200 OK 000000"

        more = [await connect() for _ in range(FOR_HEALTH + 3)]
        closed = asyncio.gather(*(reader.read() for reader, _ in more[FOR_HEALTH:]), return_exceptions=True)
        await asyncio.wait_for(closed, WITHIN)
        assert len(server.connections) <= 3 + FOR_HEALTH
        for _, writer in [*first, *more]:
            writer.close()
        await until(lambda: not server.connections)
        reader, writer = await connect()
        assert await respond(reader, writer, GET) == b"HTTP/1.1 200 OK 000000"
        writer.close()
    warnings = [record.getMessage() for record in caplog.records if "are open" in record.getMessage()]
    assert warnings[0].startswith("3 connections")
    assert len(warnings) <= 3


@pytest.mark.parametrize(
    ("files", "limit"),
    [(resource.RLIM_INFINITY, MAX_CONNECTIONS), (1_048_576, MAX_CONNECTIONS), (1024, 832), (256, 128)],
)
async def test_connections_leave_files_for_the_worker(
    monkeypatch: pytest.MonkeyPatch, files: int, limit: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connection_limit() == limit


@pytest.mark.parametrize("parser", PARSERS)
async def test_slow_and_idle_clients_are_served(parser: Any) -> None:
    async with serving(parser, head_timeout=1.0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        # A slow head within the limit, a body that takes longer than it, and a long one after an idle time.
        await drip(writer, HEAD[:20])
        writer.write(HEAD[20:] + b"Content-Length: 75\r\n\r\n")
        await drip(writer, b"x" * 75)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN)
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(6) == b"000075"
        with pytest.raises(TimeoutError):  # an idle connection stays open for longer than a head may take
            await asyncio.wait_for(reader.read(1), 1.5)
        for _ in range(3):
            writer.write(HEAD + b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN)
            assert await reader.readexactly(6) == b"900000"
        writer.close()


@pytest.mark.parametrize("parser", PARSERS)
async def test_a_long_head_within_the_limit_is_accepted(parser: Any) -> None:
    async with serving(parser) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            writer.write(
                b"GET / HTTP/1.1\r\nHost: here\r\nX-Long: " + b"x" * (HEAD_LIMIT - 1000) + b"\r\n\r\n"
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN)
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(6)
        writer.close()


async def test_another_uvicorn_has_no_limits_and_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    monkeypatch.setattr("tier0.serving.protocol.OF_PROTOCOL", ("transport", "name_of_a_later_version"))
    async with serving(H11Protocol) as server:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()
    assert [record.args for record in caplog.records if "not limited" in record.getMessage()] == [
        ("name_of_a_later_version",)
    ]


async def test_only_a_worker_of_bentoml_gets_other_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    protocols = {"auto": "uvicorn's"}
    monkeypatch.setattr(bentoml_internals, "_protocols", lambda: protocols)
    bentoml_internals.limit_connections()
    assert protocols == {"auto": "uvicorn's"}

    worker = SimpleNamespace(__spec__=SimpleNamespace(name=bentoml_internals.WORKER_MODULE))
    monkeypatch.setitem(sys.modules, "__main__", cast("ModuleType", worker))
    bentoml_internals.limit_connections()
    module, _, name = protocols["auto"].partition(":")
    assert (module, name) == (LimitedProtocol.__module__, LimitedProtocol.__name__)
