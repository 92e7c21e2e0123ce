"""Fault servers and proxies: each fault affects open and new connections, and ends with its block."""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import httpx
import pytest

from tier0.faults import FaultProxy, Faults, FaultServer, Reply

OK = Reply(body={"predictions": [1]})


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(OK) as server:
        yield server


@pytest.fixture
def proxy(server: FaultServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=0.5, trust_env=False) as http:
        yield http


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def test_the_log_has_every_request(server: FaultServer, http: httpx.Client) -> None:
    http.post(f"{server.url}/a?b=1", json={"x": 1}, headers={"X-One": "1"})
    http.post(server.url, content=iter([b"in ", b"pieces"]))

    first, second = server.arrivals
    assert (first.method, first.path, first.headers["x-one"], first.body) == (
        "POST",
        "/a?b=1",
        "1",
        b'{"x":1}',
    )
    assert second.body == b"in pieces"
    assert (first.connection, second.connection) == (1, 1)
    assert server.log.wait_for(lambda log: all(one.ended == "answered" for one in log.arrivals))
    times = [noted.at for noted in server.log.noted]
    assert times == sorted(times)
    http.close()
    assert server.log.wait_for(lambda log: log.open_connections == 0)


def test_replies_are_sent_in_turn_and_the_last_is_repeated(server: FaultServer, http: httpx.Client) -> None:
    server.script = [Reply(503), Reply(429, headers={"Retry-After": "3"}), OK]

    assert [http.get(server.url).status_code for _ in range(4)] == [503, 429, 200, 200]
    server.script = lambda arrival: Reply(body={"path": arrival.path})
    assert http.get(f"{server.url}/x").json() == {"path": "/x"}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply.hang(), httpx.ReadTimeout),
        (Reply(drip=0.4, body=b"12"), None),
        (Reply.broken(), httpx.RemoteProtocolError),
        (Reply.broken("reset"), httpx.ReadError),
        (Reply(body=b"12345", cut=2, ending="close"), httpx.RemoteProtocolError),
        (Reply(body=b"12345", length=9, ending="close"), httpx.RemoteProtocolError),
        (Reply(body=b"12345", length=9), httpx.ReadTimeout),
        (Reply(raw=b"SSH-2.0-OpenSSH_9\r\n", ending="close"), httpx.RemoteProtocolError),
    ],
)
def test_a_faulty_reply_has_the_declared_fault(
    server: FaultServer, http: httpx.Client, reply: Reply, problem: type[Exception] | None
) -> None:
    server.script = [reply, OK]

    if problem is None:
        assert seconds_of(lambda: http.get(server.url)) >= 0.4
    else:
        with pytest.raises(problem):
            http.get(server.url)
    assert http.get(server.url).json() == OK.body


def test_the_response_to_head_has_no_body(server: FaultServer, http: httpx.Client) -> None:
    assert http.head(server.url).headers["content-length"] != "0"
    assert http.get(server.url).json() == OK.body


def test_the_log_has_the_disconnect_of_a_client(server: FaultServer, http: httpx.Client) -> None:
    server.script = Reply.hang()
    with pytest.raises(httpx.ReadTimeout):
        http.get(server.url)

    assert server.log.wait_for(lambda log: log.arrivals[0].ended == "given up")
    assert 0.4 < (server.arrivals[0].ended_at or 0) - server.arrivals[0].at < 2


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (lambda proxy: proxy.timeout(), httpx.ReadTimeout),
        (lambda proxy: proxy.timeout(0.1), httpx.RemoteProtocolError),
        (lambda proxy: proxy.timeout(stream="upstream"), httpx.ReadTimeout),
        (lambda proxy: proxy.reset_peer(), httpx.ReadError),
        (lambda proxy: proxy.limit_data(90), httpx.RemoteProtocolError),
        (lambda proxy: proxy.down(), httpx.TransportError),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_fault_affects_open_and_new_connections_until_its_block_ends(
    proxy: FaultProxy,
    http: httpx.Client,
    fault: Callable[[FaultProxy], AbstractContextManager[None]],
    problem: type[Exception],
    live: bool,  # noqa: FBT001
) -> None:
    if live:
        http.get(proxy.url)
    with fault(proxy), pytest.raises(problem):
        http.get(proxy.url)

    assert http.get(proxy.url).json() == OK.body
    assert [noted.what for noted in proxy.log.noted if noted.what in {"injected", "reset"}] == [
        "injected",
        "reset",
    ]


def test_latency_delays_and_keeps_the_order(proxy: FaultProxy, http: httpx.Client) -> None:
    http.get(proxy.url)
    with proxy.latency(0.4):
        assert seconds_of(lambda: http.get(proxy.url)) >= 0.4
    with proxy.latency(0.05, stream="upstream"), proxy.latency(0.1, jitter=0.05):
        assert seconds_of(lambda: http.get(proxy.url)) >= 0.1
    assert seconds_of(lambda: http.get(proxy.url)) < 0.4


def test_bandwidth_and_slices(server: FaultServer, proxy: FaultProxy, http: httpx.Client) -> None:
    server.script = Reply(body=b"x" * 20_000)

    with proxy.bandwidth(100):
        assert seconds_of(lambda: http.get(proxy.url)) >= 0.2
    server.script = Reply(body=b"x" * 200)
    with proxy.slicer(100, delay=0.05):
        assert seconds_of(lambda: http.get(proxy.url)) >= 0.1
        assert http.get(proxy.url).content == b"x" * 200


def test_a_slow_close(server: FaultServer, proxy: FaultProxy) -> None:
    server.script = Reply(headers={"Connection": "close"}, ending="close")

    async def until_closed() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"{}")
        start = time.monotonic()
        assert await reader.read() == b""
        writer.close()
        return time.monotonic() - start

    with proxy.slow_close(0.4):
        assert asyncio.run(until_closed()) >= 0.39
    assert asyncio.run(until_closed()) < 0.39


def test_the_seed_decides_which_share_of_the_connections_is_affected(server: FaultServer) -> None:
    def hit(seed: int) -> list[bool]:
        with FaultProxy(server.url, seed=seed) as proxy, proxy.reset_peer(toxicity=0.5):
            return [_is_broken(proxy.url) for _ in range(20)]

    first, again, other = hit(1), hit(1), hit(2)

    assert first == again != other
    assert 2 < sum(first) < 18


def _is_broken(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return True
    return False


def test_data_passes_unchanged_in_both_directions(
    server: FaultServer, proxy: FaultProxy, http: httpx.Client
) -> None:
    body = bytes(itertools.islice(itertools.cycle(range(256)), 3_000_000))
    server.script = lambda arrival: Reply(body=arrival.body)

    assert http.post(proxy.url, content=body, timeout=10).content == body


def test_a_closed_proxy_refuses_connections(server: FaultServer) -> None:
    with FaultProxy(server.url) as proxy:
        httpx.get(proxy.url, trust_env=False)
    with pytest.raises(httpx.ConnectError):
        httpx.get(proxy.url, trust_env=False)


@pytest.mark.parametrize("made", [lambda: FaultServer(OK), lambda: FaultProxy("http://127.0.0.1:9")])
def test_what_is_closed_can_be_closed_again(made: Callable[[], FaultServer | FaultProxy]) -> None:
    with made() as fault:
        fault.close()

    fault.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", fault.port), timeout=1)


def test_the_fixture_creates_and_closes_servers_and_proxies(tier0_faults: Faults) -> None:
    proxy = tier0_faults.proxy(tier0_faults.server(OK).url)

    assert httpx.get(proxy.url, trust_env=False).json() == OK.body
    tier0_faults.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(proxy.url, trust_env=False)


@pytest.mark.parametrize(
    ("inject", "field", "value"),
    [
        (lambda proxy: proxy.latency(0.1, stream="down"), "stream", "'down'"),
        (lambda proxy: proxy.latency(0.1, toxicity=2), "toxicity", "2"),
        (lambda proxy: proxy.bandwidth(0), "rate", "0"),
        (lambda proxy: proxy.latency(-1), "latency", "-1"),
    ],
)
def test_an_invalid_argument_is_rejected_by_name_and_value(
    proxy: FaultProxy,
    inject: Callable[[FaultProxy], AbstractContextManager[None]],
    field: str,
    value: str,
) -> None:
    with pytest.raises(ValueError, match=f"{field}.*{value}"), inject(proxy):
        pass
    assert proxy.log.noted == []


def test_a_target_without_a_port_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"target.*http://127\.0\.0\.1"):
        FaultProxy("http://127.0.0.1")


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(200, "OK"), (404, "Not Found"), (503, "Service Unavailable"), (599, "")],
)
def test_the_reason_phrase_is_that_of_the_status(
    server: FaultServer, http: httpx.Client, status: int, phrase: str
) -> None:
    server.script = Reply(status)

    assert http.get(server.url).reason_phrase == phrase


def test_a_server_that_is_down_refuses_connections_until_the_block_ends(
    server: FaultServer, http: httpx.Client
) -> None:
    http.get(server.url)
    with server.down():
        with pytest.raises(httpx.ConnectError):
            http.get(server.url)
        assert server.log.wait_for(lambda log: log.open_connections == 0)

    assert http.get(server.url).status_code == 200
    assert len(server.arrivals) == 2


def test_a_connection_that_is_accepted_while_the_server_goes_down_is_closed(server: FaultServer) -> None:
    ended = threading.Event()

    def connect(port: int) -> None:
        while not ended.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                pass

    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always", ResourceWarning)
        with FaultProxy(server.url) as proxy:
            callers = [threading.Thread(target=connect, args=[proxy.port]) for _ in range(3)]
            for caller in callers:
                caller.start()
            for _ in range(500):
                with proxy.down():
                    pass
            ended.set()
            for caller in callers:
                caller.join()
        gc.collect()

    assert [str(warning.message) for warning in unclosed] == []


def test_a_request_whose_length_is_a_lie_is_recorded(server: FaultServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")

    assert server.log.wait_for(lambda log: any(entry.what == "incomplete" for entry in log.noted))
    (entry,) = [entry for entry in server.log.noted if entry.what == "incomplete"]
    assert entry.detail == {"declared": "10", "received": 5}
    assert not server.arrivals
