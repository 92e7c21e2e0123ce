"""Responses without an end, and routes that lead elsewhere: every reader ends, and stays small."""

from __future__ import annotations

import gc
import gzip
import json
import resource
import ssl
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import tier0
from tests.support.hostile_server import MIB, HostileServer, compress, hostile_server
from tier0.checks.serving.harness import sender
from tier0.checks.serving.harness.sender import UnansweredError
from tier0.client import BentoMLClient, bentoml_client
from tier0.client.errors import InvalidAnswerError, TimedOutError, TransportError
from tier0.client.transport import RESPONSE_BYTES, BoundedTransport, ResponseTooLargeError
from tier0.contract.contract import ContractError
from tier0.core.address import AddressError
from tier0.core.errors import Tier0Error
from tier0.core.verdict import DoesNotHoldError
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

GOLDEN = GoldenRows(["a", "b"], [[1.0, 2.0], [3.0, 4.0]], [0, 1], None, [0, 1])
INPUT = {
    "properties": {"features": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}}
}
OUTPUT = {"type": "object", "properties": {"predictions": {"type": "array", "items": {}}}}
SCHEMA = {"routes": [{"route": "/predict", "input": {"type": "object", **INPUT}, "output": OUTPUT}]}
MEMORY = 200 * MIB


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        server.json("/schema.json", SCHEMA)
        server.json("/readyz", {})
        server.json("/livez", {})
        server.json("/predict", {"predictions": [0, 1]})
        yield server


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Check the highest resident memory in the block; Linux forgets the highest so far on request."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _highest_memory()
    yield
    assert _highest_memory() - before < MEMORY


def _highest_memory() -> int:
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


WIDE = '{"predictions": [0, 1], "text": "\U0001f600'.encode() + b"x" * (31 * MIB) + b'"}'
HOSTILE: dict[str, Callable[[HostileServer, str], None]] = {
    "endless": lambda server, path: server.endless(path),
    "endless brackets": lambda server, path: server.endless(path, b"[" * 65_536),
    "a bomb": lambda server, path: server.bomb(path, 400),
    "a bomb in a bomb": lambda server, path: server.bomb(path, 400, layers=2),
    "a bomb of deflate": lambda server, path: server.body(
        path, compress(b" " * MIB, 400, zlib.MAX_WBITS), Content_Encoding="deflate"
    ),
    "as many objects as fit": lambda server, path: server.body(
        path, b'[{"":0}' + b',{"":0}' * 4_000_000 + b"]"
    ),
    "as many numbers as fit": lambda server, path: server.body(path, b"[0" + b",0" * 15_000_000 + b"]"),
    "as many wide characters as fit": lambda server, path: server.body(
        path, WIDE, Content_Type="application/json; charset=utf-8"
    ),
    "as much text as fits beside an escaped wide character": lambda server, path: server.body(
        path, WIDE.replace("\U0001f600".encode(), b"\\ud83d\\ude00")
    ),
    "codings on top of each other": lambda server, path: server.body(
        path, b"{}", Content_Encoding=", ".join(["gzip"] * 1000)
    ),
}


@pytest.mark.parametrize("answer", HOSTILE)
@pytest.mark.parametrize("path", ["/schema.json", "/predict"])
def test_verify_ends_and_stays_small(server: HostileServer, path: str, answer: str) -> None:
    HOSTILE[answer](server, path)

    with bounded_memory(), pytest.raises((ContractError, UnansweredError, DoesNotHoldError)):
        tier0.check_serving(
            Deployment.from_url(server.url, golden=GOLDEN, retries=0), groups=["health", "parity"], timeout=30
        )


def test_an_endless_prediction_is_a_failure_of_the_service(server: HostileServer) -> None:
    server.endless("/predict")

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN), groups=["parity.golden_rows"], on_fail="return"
    )

    (result,) = verdict.checks
    assert result.status == "fail"
    assert "larger than 32 MiB" in result.message


def test_a_description_that_drips_is_given_up_at_the_deadline(server: HostileServer) -> None:
    server.drip("/schema.json")
    start = time.monotonic()

    with pytest.raises(UnansweredError, match="--timeout"):
        tier0.check_serving(Deployment.from_url(server.url, golden=GOLDEN), timeout=1)

    assert time.monotonic() - start < 10


def test_what_is_not_reached_by_the_deadline_is_not_checked(server: HostileServer) -> None:
    server.drip("/readyz")

    verdict = tier0.check_serving(
        Deployment.from_url(
            server.url, golden=GOLDEN, contract={"route": "/predict", "features": "features"}
        ),
        groups=["health", "parity"],
        timeout=2,
        on_fail="return",
    )

    late = [check for check in verdict.checks if check.code == "timeout"]
    assert {check.status for check in late} == {"not_judged"}
    assert "parity.golden_rows" in {check.id for check in late}
    assert verdict.verdict == "inconclusive"
    assert "--timeout" in verdict.reason


def test_without_a_deadline_a_request_ends_by_itself(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_SECONDS", 0.3)
    server.drip("/schema.json")

    with pytest.raises(UnansweredError):
        tier0.check_serving(Deployment.from_url(server.url, golden=GOLDEN, retries=0))


@pytest.mark.parametrize("depth", [90_000, 500, 101])
def test_deep_json_is_not_json(server: HostileServer, depth: int) -> None:
    server.body("/predict", b"[" * depth + b"]" * depth)

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN), groups=["parity.golden_rows"], on_fail="return"
    )

    assert [check.status for check in verdict.checks] == ["fail"]


def test_a_long_answer_is_read(server: HostileServer) -> None:
    server.json("/predict", {"predictions": [0, 1], "explanations": "x" * (5 * MIB)})

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN), groups=["parity.golden_rows"], on_fail="return"
    )

    assert [check.status for check in verdict.checks] == ["pass"]


async def get_text(server: HostileServer, content: bytes, charset: str) -> str:
    server.body("/text", content, Content_Type=f"text/plain; charset={charset}")
    transport = BoundedTransport([server.url], MIB, trust=ssl.create_default_context(), limits=httpx.Limits())
    async with httpx.AsyncClient(transport=transport) as http:
        return (await http.get(f"{server.url}/text")).text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("charset", "text"),
    [("latin-1", "é"), ("utf-8", "\ufffd"), ("idna", "\ufffd"), ("undefined", "\ufffd"), ("none", "\ufffd")],
)
async def test_a_charset_that_is_not_of_text_is_not_used(
    server: HostileServer, charset: str, text: str
) -> None:
    assert await get_text(server, b"\xe9", charset) == text


@pytest.mark.asyncio
async def test_the_limit_of_one_request_can_be_lower(server: HostileServer) -> None:
    server.body("/text", b"x" * 5000)
    transport = BoundedTransport([server.url], MIB, trust=ssl.create_default_context(), limits=httpx.Limits())
    async with httpx.AsyncClient(transport=transport) as http:
        assert len((await http.get(f"{server.url}/text")).content) == 5000
        with pytest.raises(ResponseTooLargeError, match="1000 bytes"):
            await http.get(f"{server.url}/text", extensions={RESPONSE_BYTES: 1000})


@pytest.mark.asyncio
async def test_a_charset_does_not_decompress(server: HostileServer) -> None:
    content = compress(b" " * MIB, 400, zlib.MAX_WBITS)

    with bounded_memory():
        assert len(await get_text(server, content, "zlib")) <= len(content)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
def test_a_coding_that_was_not_accepted_is_no_wrong_prediction(server: HostileServer, coding: str) -> None:
    server.body("/predict", b"\x0b\x0b\x80", Content_Encoding=coding)

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN, retries=0),
        groups=["parity.golden_rows"],
        on_fail="return",
    )

    (result,) = verdict.checks
    assert result.status == "error"
    assert "did not accept" in result.message


@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate without a header", "x-gzip", "none", "utf-8"])
def test_ordinary_codings_are_read(server: HostileServer, coding: str) -> None:
    body = b'{"predictions": [0, 1]}'
    match coding:
        case "gzip" | "x-gzip":
            server.body("/predict", gzip.compress(body), Content_Encoding=coding)
        case "deflate":
            server.body("/predict", zlib.compress(body), Content_Encoding=coding)
        case "deflate without a header":
            server.body("/predict", compress(body, 1, -zlib.MAX_WBITS), Content_Encoding="deflate")
        case "utf-8":
            server.body("/predict", body, Content_Encoding="utf-8")
        case _:
            server.body("/predict", body)

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN), groups=["parity.golden_rows"], on_fail="return"
    )

    assert [check.status for check in verdict.checks] == ["pass"]


ELSEWHERE = [
    "@{}/predict",
    "predict@{}/predict",
    "//{}/predict",
    "http://{}/predict",
    "\\\\{}\\predict",
    "?@{}/",
]


@pytest.mark.parametrize("route", ELSEWHERE)
def test_nothing_is_sent_where_a_schema_points_to(server: HostileServer, route: str) -> None:
    with hostile_server("127.0.0.2") as other:
        other.json("/predict", {"predictions": [0, 1]})
        path = route.format(other.url.removeprefix("http://"))
        server.json("/schema.json", {"routes": [{**SCHEMA["routes"][0], "route": path}]})
        deployment = Deployment.from_url(server.url, golden=GOLDEN, headers={"X-Api-Key": "secret"})

        with pytest.raises((Tier0Error, DoesNotHoldError)):
            tier0.check_serving(deployment, timeout=30)

        assert other.requests == []


def test_a_redirect_is_not_followed(server: HostileServer) -> None:
    with hostile_server("127.0.0.2") as other:
        server.body("/predict", b"", Location=f"{other.url}/predict")

        with pytest.raises((Tier0Error, DoesNotHoldError)):
            tier0.check_serving(Deployment.from_url(server.url, golden=GOLDEN), timeout=30)

        assert other.requests == []


@pytest.mark.asyncio
async def test_a_transport_sends_to_its_servers_only(server: HostileServer) -> None:
    with hostile_server("127.0.0.2") as other:
        transport = BoundedTransport(
            [server.url], MIB, trust=ssl.create_default_context(), limits=httpx.Limits()
        )
        async with httpx.AsyncClient(transport=transport) as http:
            assert (await http.get(f"{server.url}/readyz")).status_code == 200
            with pytest.raises(AddressError):
                await http.get(f"{other.url}/readyz")
        assert other.requests == []


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", ["endless", "a bomb", "a bomb in a bomb"])
async def test_the_client_does_not_read_without_an_end(server: HostileServer, answer: str) -> None:
    HOSTILE[answer](server, "/predict")

    async with BentoMLClient(server.url, max_attempts=1) as client:
        with (
            bounded_memory(),
            pytest.raises(TransportError, match=r"larger than 32 MiB \(max_response_bytes\)"),
        ):
            await client.predict({"features": [[1.0, 2.0]]})


@pytest.mark.asyncio
async def test_the_limit_of_the_client_can_be_raised(server: HostileServer) -> None:
    large: dict[str, Any] = {"predictions": [0], "text": "x" * (33 * MIB)}
    server.json("/predict", large)

    async with BentoMLClient(server.url, max_response_bytes=64 * MIB) as client:
        answer = await client.predict({"features": [[1.0, 2.0]]})

    assert answer["predictions"] == [0]


@pytest.mark.asyncio
async def test_a_health_check_of_the_client_is_bounded(server: HostileServer) -> None:
    server.endless("/health")

    async with BentoMLClient(server.url) as client:
        health = await client.health_check()

    assert health["status"] == "unhealthy"
    assert "larger than 1 MiB" in health["reason"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("as many objects as fit", "more than 500,000 lists and objects"),
        ("as many numbers as fit", "more than 3,000,000 values"),
        ("as many wide characters as fit", "more than 8 MiB, with characters beyond"),
        ("as much text as fits beside an escaped wide character", "more than 8 MiB, with characters beyond"),
    ],
)
async def test_what_takes_too_much_memory_is_not_parsed(
    server: HostileServer, what: str, message: str
) -> None:
    HOSTILE[what](server, "/predict")

    async with BentoMLClient(server.url, max_attempts=1) as client:
        with bounded_memory(), pytest.raises(InvalidAnswerError, match=message):
            await client.predict({"features": [[1.0, 2.0]]})


@pytest.mark.asyncio
async def test_as_many_usual_numbers_as_fit_are_read(server: HostileServer) -> None:
    server.body("/predict", b'{"predictions": [0.12345678' + b",0.12345678" * 2_990_000 + b"]}")

    async with BentoMLClient(server.url, max_attempts=1) as client:
        with bounded_memory(), pytest.raises(InvalidAnswerError, match="expected 1, got 2990001"):
            await client.predict({"features": [[1.0, 2.0]]})


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["\u4e2d" + "x" * (31 * MIB), "\U0001f600" + "x" * (7 * MIB)])
async def test_a_long_text_in_any_script_is_read(server: HostileServer, text: str) -> None:
    server.body("/predict", json.dumps({"predictions": [0], "text": text}, ensure_ascii=False).encode())

    async with BentoMLClient(server.url, max_attempts=1) as client:
        with bounded_memory():
            answer = await client.predict({"features": [[1.0, 2.0]]})

    assert answer["predictions"] == [0]


@pytest.mark.asyncio
async def test_all_descriptions_together_are_given_up_in_time(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bentoml_client, "SCHEMA_TIMEOUT", 1.0)
    server.body("/schema.json", b"not a description")
    for path in ("/openapi.json", "/docs.json", "/v2", "/v2/health/ready", "/ping", "/version"):
        server.drip(path)
    start = time.monotonic()

    with pytest.raises(TimedOutError, match="no description within 1 s"):
        await BentoMLClient.for_service(server.url)

    assert time.monotonic() - start < 1.8


@pytest.mark.asyncio
async def test_large_descriptions_are_not_in_memory_together(server: HostileServer) -> None:
    blanks = b" " * (30 * MIB)
    for path in ("/schema.json", "/openapi.json", "/v2", "/v1/models", "/ping", "/version"):
        server.body(path, blanks)

    with bounded_memory(), pytest.raises((InvalidAnswerError, ContractError)):
        await BentoMLClient.for_service(server.url)


@pytest.mark.asyncio
async def test_a_response_is_freed_when_its_call_ends(server: HostileServer) -> None:
    def responses() -> int:
        return sum(isinstance(found, httpx.Response) for found in gc.get_objects())

    async with BentoMLClient(server.url) as client:
        gc.collect()
        gc.disable()
        try:
            before = responses()
            await client.predict({"features": [[1.0, 2.0], [3.0, 4.0]]})
            assert responses() == before
        finally:
            gc.enable()
