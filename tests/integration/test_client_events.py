"""What a client logs, and passes to its hook, when a real service fails."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import run_cli
from tier0.client import (
    BentoMLClient,
    CircuitOpenError,
    ClientError,
    ClientEvent,
    SyncBentoMLClient,
)
from tier0.faults import Arrival, Faults, FaultServer, Reply
from tier0.faults.server import Script

OK = Reply(200, {"predictions": [1], "probabilities": None})
DOWN = Reply(503, b'{"error": {"field": "age", "message": "424242.125 is\\nnot allowed", "remedy": "wait"}}')
ROW = [[424242.125]]
STANDARD = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}
CHANGES = ("circuit_opened", "circuit_half_open", "circuit_closed")


class Clock:
    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Lines(logging.Handler):
    """The records of the client's loggers."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.message = record.getMessage()
        self.records.append(record)

    def kinds(self) -> list[tuple[str, int]]:
        return [(vars(record)["tier0_kind"], record.levelno) for record in self.records]

    def extras(self, kind: str) -> dict[str, Any]:
        """Return the extras of the only record of a kind."""
        (record,) = [record for record in self.records if vars(record).get("tier0_kind") == kind]
        extras = {name: value for name, value in vars(record).items() if name not in STANDARD}
        assert all(name.startswith("tier0_") for name in extras)
        json.dumps(extras)
        return {name.removeprefix("tier0_"): value for name, value in extras.items()}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines, logger = Lines(), logging.getLogger("tier0.client")
    monkeypatch.setattr(logger, "handlers", [lines])
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    logger.manager._clear_cache()  # type: ignore[attr-defined]  # which level is enabled
    return lines


@asynccontextmanager
async def client_of(
    script: Reply | list[Reply] | Script, **options: Any
) -> AsyncIterator[tuple[BentoMLClient, FaultServer]]:
    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    with FaultServer(script) as server:
        async with BentoMLClient(server.url, **{"sleep": sleep, **options}) as client:
            yield client, server


async def error_of(client: BentoMLClient, **options: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await client.predict(ROW, **options)
    return caught.value


@pytest.mark.asyncio
async def test_calls_that_succeed_log_nothing(lines: Lines) -> None:
    events: list[ClientEvent] = []
    async with client_of(OK, on_event=events.append) as (client, _):
        await client.predict(ROW)
        await client.predict_batch(ROW, model="churn")
        await client.health_check()

    assert (lines.records, events) == ([], [])


@pytest.mark.asyncio
async def test_a_caller_error_logs_nothing(lines: Lines) -> None:
    async with client_of(Reply(422)) as (client, _):
        await error_of(client)

    assert lines.records == []


@pytest.mark.asyncio
async def test_each_retry_is_logged_with_its_failure(lines: Lines) -> None:
    events: list[ClientEvent] = []
    async with client_of([DOWN, DOWN, OK], on_event=events.append, rng=lambda: 0.5) as (client, server):
        await client.predict(ROW, model="churn")

    assert lines.kinds() == [("retry", logging.INFO)] * 2
    first, second = lines.records
    assert first.name.startswith("tier0.client")
    assert first.message == (
        f"{server.url}/churn/predict: attempt 1 failed: ServiceFailedError (status 503); retry in 0.05 s"
    )
    assert (
        vars(second).items()
        >= {
            "tier0_url": f"{server.url}/churn/predict",
            "tier0_model": "churn",
            "tier0_error": "ServiceFailedError",
            "tier0_status": 503,
            "tier0_request_id": server.arrivals[0].headers["x-request-id"],
            "tier0_attempts": 2,
            "tier0_delay": 0.1,
            "tier0_rejections": None,
        }.items()
    )
    assert [(event.kind, event.attempts) for event in events] == [("retry", 1), ("retry", 2)]
    assert events[0].failure is not None
    assert events[0].failure.server_message == "age 424242.125 is\nnot allowed wait"


@pytest.mark.parametrize(
    ("reply", "summary"),
    [
        (Reply.broken("reset"), "TransportError (ReadError)"),
        (Reply.hang(), "TimedOutError"),
        (Reply(200, b"nothing"), "InvalidAnswerError (status 200)"),
        (Reply(429), "RateLimitedError (status 429)"),
    ],
)
@pytest.mark.asyncio
async def test_a_line_names_the_failure_of_a_retry(lines: Lines, reply: Reply, summary: str) -> None:
    async with client_of([reply, OK], attempt_timeout=0.2) as (client, _):
        await client.predict(ROW)

    assert f" failed: {summary}; " in lines.records[0].message


@pytest.mark.asyncio
async def test_a_circuit_is_logged_from_its_opening_to_its_recovery(lines: Lines) -> None:
    clock = Clock()
    events: list[ClientEvent] = []
    options = {"failure_threshold": 2, "max_attempts": 1, "clock": clock, "on_event": events.append}
    async with client_of([DOWN, DOWN, OK], **options) as (client, server):
        for _ in range(2):
            await error_of(client, model="churn")
        rejections = await asyncio.gather(*(error_of(client, model="churn") for _ in range(100)))
        clock.ahead += 30
        await client.predict(ROW, model="churn")

    assert lines.kinds() == [
        ("circuit_opened", logging.WARNING),
        ("call_rejected", logging.WARNING),
        ("circuit_half_open", logging.WARNING),
        ("circuit_closed", logging.WARNING),
    ]
    failed = server.arrivals[1].headers["x-request-id"]
    of_all = {"url": f"{server.url}/churn/", "model": "churn", "error": "ServiceFailedError", "status": 503}
    assert lines.extras("circuit_opened") == {
        **of_all,
        "kind": "circuit_opened",
        "request_id": failed,
        "attempts": 1,
        "delay": 30.0,
        "rejections": 0,
    }
    rejected = lines.extras("call_rejected")
    assert rejected.items() >= {**of_all, "attempts": 0, "rejections": 1}.items()
    assert rejected["request_id"] == rejections[0].request_id
    assert rejected["delay"] == rejections[0].retry_after
    assert lines.extras("circuit_half_open").items() >= {**of_all, "rejections": 100, "delay": None}.items()
    assert (
        lines.extras("circuit_closed").items() >= {**of_all, "rejections": 100, "request_id": failed}.items()
    )
    assert [event.kind for event in events].count("call_rejected") == 100, "the hook counts every rejection"
    assert [event.rejections for event in events if event.kind == "call_rejected"] == [*range(1, 101)]
    assert all("ServiceFailedError (status 503)" in record.message for record in lines.records)


@pytest.mark.asyncio
async def test_each_opening_has_one_line_of_rejections(lines: Lines) -> None:
    clock = Clock()
    async with client_of(DOWN, failure_threshold=1, max_attempts=1, clock=clock) as (client, _):
        for _ in range(3):
            await error_of(client)
            for _ in range(10):
                assert isinstance(await error_of(client), CircuitOpenError)
            clock.ahead += 30

    kinds = [kind for kind, _ in lines.kinds()]
    again = ["circuit_half_open", "circuit_opened", "call_rejected"]
    assert kinds == ["circuit_opened", "call_rejected", *again, *again]
    assert [vars(record)["tier0_rejections"] for record in lines.records] == [0, 1, 10, 0, 1, 10, 0, 1]


@pytest.mark.parametrize("script", [DOWN, Reply.broken("reset"), Reply(200, b"nothing")])
@pytest.mark.asyncio
async def test_fifty_concurrent_calls_open_a_circuit_once(lines: Lines, script: Reply) -> None:
    events: list[ClientEvent] = []
    async with client_of(script, failure_threshold=5, max_attempts=3, on_event=events.append) as (client, _):
        await asyncio.gather(*(error_of(client) for _ in range(50)))
        assert client.circuit_state() == "open"

    kinds = [kind for kind, _ in lines.kinds() if kind != "retry"]
    assert kinds.count("circuit_opened") == 1
    assert kinds.count("call_rejected") <= 1
    assert [event.kind for event in events].count("circuit_opened") == 1


@pytest.mark.asyncio
async def test_twenty_calls_at_the_reset_have_one_probe_in_the_log(lines: Lines) -> None:
    clock = Clock()
    async with client_of([DOWN, OK], failure_threshold=1, max_attempts=1, clock=clock) as (client, _):
        await error_of(client)
        clock.ahead += 30
        await asyncio.gather(*(client.predict(ROW) for _ in range(20)), return_exceptions=True)

    kinds = [kind for kind, _ in lines.kinds()]
    assert kinds == ["circuit_opened", "circuit_half_open", "call_rejected", "circuit_closed"]
    assert lines.extras("circuit_closed")["rejections"] == 19


@pytest.mark.asyncio
async def test_a_call_cancelled_late_opens_a_circuit_with_a_failure(lines: Lines) -> None:
    clock = Clock()
    async with client_of(Reply.hang(), failure_threshold=1, clock=clock) as (client, server):
        call = asyncio.ensure_future(client.predict(ROW))
        assert await asyncio.to_thread(server.log.wait_for, lambda log: bool(log.arrivals), 10)
        clock.ahead += 4.5
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    opened = lines.extras("circuit_opened")
    assert (opened["error"], opened["status"], opened["attempts"]) == ("TimedOutError", None, 1)


@pytest.mark.asyncio
async def test_models_have_events_of_their_own(lines: Lines) -> None:
    def answer(arrival: Arrival) -> Reply:
        return DOWN if "/dead/" in arrival.path else OK

    async with client_of(answer, failure_threshold=1, max_attempts=1) as (client, server):
        await error_of(client, model="dead")
        await client.predict(ROW, model="alive")

    assert [vars(record)["tier0_url"] for record in lines.records] == [f"{server.url}/dead/"]


@pytest.mark.asyncio
async def test_a_rejection_carries_the_failure_that_opened_the_circuit() -> None:
    clock = Clock()
    hang = [DOWN, Reply.hang()]
    async with client_of(hang, failure_threshold=1, max_attempts=1, clock=clock) as (client, server):
        failure = await error_of(client)
        rejected = await error_of(client)
        clock.ahead += 30
        probe = asyncio.ensure_future(client.predict(ROW))
        assert await asyncio.to_thread(server.log.wait_for, lambda log: len(log.arrivals) == 2, 10)
        beside_a_probe = await error_of(client)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)

    for rejection in (rejected, beside_a_probe):
        assert isinstance(rejection, CircuitOpenError)
        last = rejection.last_failure
        assert last is rejection.__cause__
        assert type(last) is type(failure)
        assert (str(last), vars(last)) == (str(failure), vars(failure))
        assert last.__traceback__ is None, "its frames would keep the body of a request"
        assert "ServiceFailedError (status 503)" in str(rejection)
        assert "424242.125" not in str(rejection), "it may be a row of another caller"


@pytest.mark.asyncio
async def test_no_line_contains_a_secret_or_a_row(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    with FaultServer([Reply.broken("reset"), DOWN, DOWN, DOWN, OK]) as server:
        url = server.url.replace("http://", "http://user:hunter2@")
        async with BentoMLClient(url, failure_threshold=3, backoff_base=0, clock=clock) as client:
            await error_of(client, model="a\nWARNING:root:forged?key=planted")
            await error_of(client, model="a\nWARNING:root:forged?key=planted")
            clock.ahead += 30
            await error_of(client, model="a\nWARNING:root:forged?key=planted")
            await client.predict(ROW)
            await client.health_check()

    ours = [record for record in caplog.records if record.name.startswith(("tier0", "httpx"))]
    assert {record.name for record in ours} == {"tier0.client.events", "httpx"}
    for record in ours:
        line = record.getMessage()
        for secret in ("hunter2", "424242", "key=planted", "\n", "Authorization", "Basic "):
            assert secret not in line
        if record.name != "httpx":
            assert "hunter2" not in json.dumps({k: v for k, v in vars(record).items() if k[:6] == "tier0_"})
    assert all(request.headers["authorization"].startswith("Basic ") for request in server.arrivals)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError()])
@pytest.mark.asyncio
async def test_an_error_of_the_hook_is_logged_once_and_changes_no_call(
    lines: Lines, error: BaseException
) -> None:
    clock = Clock()
    seen: list[str] = []

    def on_event(event: ClientEvent) -> None:
        seen.append(event.kind)
        raise error

    options = {"failure_threshold": 2, "max_attempts": 2, "clock": clock, "on_event": on_event}
    async with client_of([DOWN, DOWN, DOWN, OK], **options) as (client, server):
        failure = await error_of(client)
        assert isinstance(await error_of(client), CircuitOpenError)
        clock.ahead += 30
        await error_of(client)
        clock.ahead += 30
        assert (await client.predict(ROW))["predictions"] == [1]
        assert client.circuit_state() == "closed"

    assert (failure.status, failure.attempts, len(server.arrivals)) == (503, 2, 4)
    assert len(seen) == 7
    of_hook = [record for record in lines.records if not hasattr(record, "tier0_kind")]
    assert [(record.levelno, bool(record.exc_info)) for record in of_hook] == [(logging.WARNING, True)]


def test_the_hook_of_a_synchronous_client_is_called(lines: Lines, tier0_faults: Faults) -> None:
    events: list[ClientEvent] = []
    server = tier0_faults.server([DOWN, OK])
    with SyncBentoMLClient(server.url, on_event=events.append, backoff_base=0) as client:
        client.predict(ROW)

    assert [event.kind for event in events] == ["retry"]
    assert lines.kinds() == [("retry", logging.INFO)]


def test_a_check_of_the_client_does_not_print_its_events(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text(
        "schema = 1\nthreshold = 5\n[options]\ntimeout = 1.0\n", encoding="utf-8"
    )
    client = "tier0.client:BentoMLClient"

    done = run_cli(
        "check-client", client, "--declare", "client.toml", "--only", "breaker.opens", cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"checking {client}")


async def asynchronous(_: ClientEvent) -> None: ...


@pytest.mark.parametrize("hook", [asynchronous, "print"])
def test_a_hook_that_cannot_be_called_is_rejected(hook: Any) -> None:
    with pytest.raises(ValueError, match="on_event"):
        BentoMLClient("http://127.0.0.1:3000", on_event=hook)


@pytest.mark.parametrize("kind", CHANGES)
def test_an_event_has_no_text_of_the_service_in_its_repr(kind: Any) -> None:
    failure = ClientError("424242.125 is not allowed", status=503)

    event = ClientEvent(kind=kind, url="http://127.0.0.1:3000/", failure=failure)

    assert "424242" not in repr(event)
    with pytest.raises(AttributeError):
        event.status = 1  # type: ignore[misc]
