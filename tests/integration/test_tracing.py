"""Traces that the real Opik SDK sends to a recording server, and spans in an application's OpenTelemetry."""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import ROOT, SOURCE
from tests.support.recording_opik import Recording, recording_opik
from tier0.client import (
    BentoMLClient,
    CallerError,
    CircuitOpenError,
    ClientError,
    InvalidAnswerError,
    ServiceFailedError,
    opik_tracer,
)
from tier0.client.opik_tracer import OpikTracer
from tier0.client.tracing import CallTrace, new_trace_id
from tier0.faults import Faults, FaultServer, Reply

OK = Reply(200, {"predictions": [1], "probabilities": None})
DOWN = Reply(503, b'{"error": {"field": "age", "message": "is 424242.125", "remedy": "wait"}}')
SECRET = 424242.125


@pytest.fixture
def opik_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Recording]:
    with recording_opik() as recording:
        for name, value in settings(recording.url, tmp_path).items():
            monkeypatch.setenv(name, value)
        yield recording


def settings(url: str, home: Path) -> dict[str, str]:
    return {
        "OPIK_URL_OVERRIDE": url,
        "OPIK_WORKSPACE": "default",
        "OPIK_ANALYTICS_ENABLE": "false",
        "OPIK_SENTRY_ENABLE": "false",
        "HOME": str(home),
    }


async def no_wait(_: float) -> None:
    await asyncio.sleep(0)


def one_call() -> CallTrace:
    return CallTrace(new_trace_id(), None, "/predict", "http://127.0.0.1", None, 1, time.time(), time.time())


def client_of(server: FaultServer, tracer: Any, **options: Any) -> BentoMLClient:
    return BentoMLClient(server.url, tracer=tracer, sleep=no_wait, **options)


@pytest.mark.asyncio
async def test_every_outcome_of_a_call_is_one_complete_trace(
    opik_server: Recording, tier0_faults: Faults
) -> None:
    tracer = OpikTracer(project_name="tests")
    server = tier0_faults.server([OK, DOWN, DOWN, DOWN, DOWN, OK])
    async with client_of(server, tracer, failure_threshold=4) as client:
        await client.predict([[SECRET]])
        with pytest.raises(ServiceFailedError):
            await client.predict([[SECRET]], model="churn")
        with pytest.raises(ServiceFailedError):
            await client.predict([[SECRET]], model="churn")
        with pytest.raises(CircuitOpenError):
            await client.predict([[SECRET]], model="churn")
    server = tier0_faults.server(Reply.hang())
    async with client_of(server, tracer) as client:
        calling = asyncio.ensure_future(client.predict([[SECRET]]))
        assert await asyncio.to_thread(server.log.wait_for, lambda log: bool(log.arrivals))
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    server = tier0_faults.server(Reply(200, b'{"predictions": [null]}'))
    async with client_of(server, tracer) as client:
        with pytest.raises(InvalidAnswerError):
            await client.predict([[SECRET]])
    tracer.close()

    opik_server.wait_for(lambda seen: len(seen.traces) == 6)
    traces = sorted(
        opik_server.traces, key=lambda trace: str(trace["start_time"])
    )  # Opik may send them in any order
    assert [(trace["metadata"]["outcome"], len(opik_server.spans_of(trace))) for trace in traces] == [
        ("answered", 1),
        ("ServiceFailedError", 3),
        ("ServiceFailedError", 1),
        ("CircuitOpenError", 0),
        ("cancelled", 1),
        ("InvalidAnswerError", 3),
    ]
    for trace in traces:
        assert trace["start_time"] <= trace["end_time"]
        assert ("error_info" in trace) == (trace["metadata"]["outcome"] != "answered")
        for span in opik_server.spans_of(trace):
            assert trace["start_time"] <= span["start_time"] <= span["end_time"] <= trace["end_time"]
    failed = traces[1]
    assert [span["metadata"]["status"] for span in opik_server.spans_of(failed)] == [503] * 3
    assert (failed["metadata"]["model"], failed["metadata"]["rows"], failed["name"]) == (
        "churn",
        1,
        "churn /predict",
    )
    assert traces[3]["metadata"]["circuit"] == "open"
    assert not [content for content in opik_server.content if b"424242" in content], (
        "values of rows must not be sent"
    )


@pytest.mark.asyncio
async def test_trace_and_requests_share_one_id(opik_server: Recording, tier0_faults: Faults) -> None:
    tracer = OpikTracer()
    server = tier0_faults.server([DOWN, DOWN, OK])
    async with client_of(server, tracer) as client:
        await client.predict([[1.0]])
    tracer.close()

    opik_server.wait_for(lambda seen: seen.traces and len(seen.spans) == 3)
    (trace,) = opik_server.traces
    sent = [request.headers["traceparent"].split("-") for request in server.arrivals]
    assert {parts[1] for parts in sent} == {uuid.UUID(trace["id"]).hex}
    assert [parts[2] for parts in sent] == [
        span["metadata"]["span_id"] for span in opik_server.spans_of(trace)
    ]
    assert len({parts[2] for parts in sent}) == 3
    assert {request.headers["x-request-id"] for request in server.arrivals} == {uuid.UUID(trace["id"]).hex}


@pytest.mark.asyncio
async def test_closing_the_client_sends_all_traces(opik_server: Recording, tier0_faults: Faults) -> None:
    tracer = OpikTracer()
    server = tier0_faults.server(OK)
    async with client_of(server, tracer) as client:
        for _ in range(10):
            await asyncio.gather(*(client.predict([[1.0]]) for _ in range(20)))

    assert (len(opik_server.traces), len(opik_server.spans), tracer.lost) == (200, 200, 0), (
        "the tracer itself stays open"
    )
    tracer.close()


@pytest.mark.asyncio
@pytest.mark.slow
async def test_features_are_sent_only_with_the_option(opik_server: Recording, tier0_faults: Faults) -> None:
    tracer = OpikTracer(with_features=True)
    server = tier0_faults.server(OK)
    async with client_of(server, tracer) as client:
        await client.predict([[SECRET]])
    tracer.close()

    assert opik_server.traces[0]["input"] == {"features": [[SECRET]]}
    assert opik_server.traces[0]["output"]["predictions"] == [1]


@pytest.mark.slow
def test_simultaneous_flushes_each_get_their_own_result(opik_server: Recording) -> None:
    tracer = OpikTracer()
    tracer.record(one_call())

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(tracer.flush, [5, 5.0, 5, 5.0])) == [True] * 4
    assert len(opik_server.traces) == 1
    tracer.close()
    tracer.record(one_call())

    assert tracer.lost == 1, "calls after close are counted as lost"
    assert not tracer.flush(1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.slow
def test_forked_process_warns_that_it_does_not_trace(opik_server: Recording) -> None:
    tracer = OpikTracer()
    messages = multiprocessing.get_context("fork").SimpleQueue()

    def trace_in_a_fork() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(opik_tracer.LOG, "warning", lambda message, **_: messages.put(message))
            for _ in range(3):
                tracer.record(one_call())
        tracer.close()
        messages.put(str(tracer.lost))

    forked = multiprocessing.get_context("fork").Process(target=trace_in_a_fork)
    forked.start()
    forked.join(10)

    assert "after the fork" in messages.get()
    assert messages.get() == "3"
    tracer.record(one_call())
    tracer.close()
    opik_server.wait_for(lambda recording: len(recording.traces) == 1)


@pytest.mark.parametrize(
    "kind",
    ["hanging", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("down", "misconfigured"))],
)
def test_unresponsive_opik_does_not_delay_calls_or_the_end_of_the_process(tmp_path: Path, kind: str) -> None:
    """The script runs in a separate process, which ends without closing the tracer."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "opik_that_does_not_answer.py"), kind],
        env={**os.environ, **settings("", tmp_path), "PYTHONPATH": str(SOURCE)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    ended = time.time()

    assert done.returncode == 0, done.stderr
    predictions, last_call = done.stdout.split()[-2:]
    assert int(predictions) == 50
    assert ended - float(last_call) < 2.5, "two seconds, and the end of the interpreter"


@pytest.mark.slow
def test_sentry_and_environment_of_the_application_are_unchanged(tmp_path: Path) -> None:
    script = """
import os, sentry_sdk
class Kept(sentry_sdk.Transport):
    def capture_envelope(self, envelope): pass
sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Kept, release="the application's")
before, environment = sentry_sdk.get_client(), dict(os.environ)
from tier0.client.opik_tracer import OpikTracer
OpikTracer().close()
assert sentry_sdk.get_client() is before
assert dict(os.environ) == environment, set(os.environ.items()) ^ set(environment.items())
import sys
assert "opik" not in sys.modules
"""
    environment = {**os.environ, **settings("http://127.0.0.1:9/api", tmp_path), "PYTHONPATH": str(SOURCE)}
    del environment["OPIK_SENTRY_ENABLE"], environment["OPIK_ANALYTICS_ENABLE"]

    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)


def test_client_does_not_import_tracing_libraries() -> None:
    script = """
import sys, tier0.client
unwanted = {"opik", "opentelemetry", "pytest", "bentoml", "sklearn", "numpy", "pandas"}
unwanted |= {"fastapi", "mlflow", "xgboost", "lightgbm", "optuna", "psutil", "typer"}
assert not unwanted & set(sys.modules), sorted(unwanted & set(sys.modules))
"""
    subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True, timeout=60
    )


@pytest.mark.parametrize("traced", ["", "from opentelemetry import trace"])
def test_nothing_is_imported_during_a_call(traced: str) -> None:
    script = f"""
import asyncio, sys
from tier0.client import BentoMLClient, ClientError
{traced}
from tier0.faults import FaultServer, Reply
replies = [Reply(200, {{"predictions": [1]}}), Reply(503), Reply(429), Reply.broken(), Reply(200, b"text")]
async def main():
    with FaultServer(replies) as server:
        async with BentoMLClient(server.url, max_attempts=2) as client:
            before = set(sys.modules)
            await client.predict([[1.0]])
            for _ in range(2):
                try:
                    await client.predict([[1.0]])
                except ClientError:
                    pass
            assert set(sys.modules) == before, sorted(set(sys.modules) - before)
    assert len(server.arrivals) == 5
asyncio.run(main())
"""
    subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True, timeout=60
    )


@pytest.mark.asyncio
async def test_context_of_the_application_is_propagated(
    tier0_faults: Faults,
) -> None:
    from opentelemetry import baggage, context, trace
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("application")
    server = tier0_faults.server(OK)
    async with BentoMLClient(server.url) as client:
        with tracer.start_as_current_span("request") as span:
            token = context.attach(baggage.set_baggage("tenant", "north"))
            await client.predict([[1.0]])
            context.detach(token)
        await client.predict([[1.0]])

    inside, outside = (request.headers for request in server.arrivals)
    ids = span.get_span_context()
    assert inside["traceparent"] == f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}"
    assert inside["baggage"] == "tenant=north"
    assert (
        outside["traceparent"].split("-")[1] == outside["x-request-id"] != trace.format_trace_id(ids.trace_id)
    )


@pytest.mark.asyncio
async def test_each_attempt_is_a_span_in_the_trace_of_the_application(
    tier0_faults: Faults, kept_traces: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exported = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    while_sending: list[Any] = []
    send = httpx.AsyncClient.send

    def spied(*arguments: Any, **options: Any) -> Any:
        while_sending.append(
            trace.get_current_span().get_span_context()
        )  # instrumentation of httpx begins its span here
        return send(*arguments, **options)

    monkeypatch.setattr(httpx.AsyncClient, "send", spied)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    server = tier0_faults.server([DOWN, OK, DOWN, Reply(422)])
    address = server.url.replace("//", "//name:p@ssword@")
    async with BentoMLClient(address, tracer=kept_traces, sleep=no_wait) as client:
        with trace.get_tracer("application").start_as_current_span("request") as request:
            await client.predict([[SECRET]])
            with pytest.raises(CallerError):
                await client.predict([[SECRET]])

    *attempts, last = exported.get_finished_spans()
    assert last.name == "request"
    sent = [arrival.headers["traceparent"].split("-")[1:3] for arrival in server.arrivals]
    assert sent == [[f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"] for span in attempts]
    assert sent == [
        [call.parent_id, attempt.span_id] for call in kept_traces.traces for attempt in call.attempts
    ]
    assert while_sending == [span.context for span in attempts]
    assert len({span_id for _, span_id in sent}) == 4
    for span, status, error, resends in zip(
        attempts,
        (503, 200, 503, 422),
        ("ServiceFailedError", None, "ServiceFailedError", "CallerError"),
        (0, 1, 0, 1),
        strict=True,
    ):
        assert span.attributes is not None
        assert span.parent == request.get_span_context()
        assert (span.kind, span.status.status_code) == (
            trace.SpanKind.CLIENT,
            trace.StatusCode.ERROR if error else trace.StatusCode.UNSET,
        )
        assert span.attributes.get("error.type") == error
        assert {
            "http.response.status_code": status,
            "http.request.resend_count": resends,
        }.items() <= span.attributes.items()
        assert str(SECRET) not in span.to_json()
        assert "ssword" not in span.to_json()


@pytest.mark.asyncio
async def test_call_records_the_trace_id_of_the_application(tier0_faults: Faults, kept_traces: Any) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("application")
    async with client_of(tier0_faults.server([DOWN, OK]), kept_traces) as client:
        with tracer.start_as_current_span("request") as span:
            await client.predict([[1.0]])

    (call,) = kept_traces.traces
    assert call.parent_id == trace.format_trace_id(span.get_span_context().trace_id) != call.trace_id
    assert [attempt.status for attempt in call.attempts] == [503, 200]


def test_opentelemetry_that_is_imported_late_is_used(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from tier0.client import BentoMLClient
from tier0.faults import FaultServer, Reply
async def main():
    with FaultServer(Reply(200, {"predictions": [1]})) as server:
        async with BentoMLClient(server.url) as client:
            await client.predict([[1.0]])
            assert "opentelemetry.trace" not in sys.modules
            from opentelemetry.sdk.trace import TracerProvider
            with TracerProvider().get_tracer("application").start_as_current_span("request") as span:
                await client.predict([[1.0]])
    sent = [request.headers["traceparent"].split("-")[1] for request in server.arrivals]
    assert sent[1] == f"{span.get_span_context().trace_id:032x}" != sent[0]
asyncio.run(main())
"""
    subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True, timeout=60
    )


@pytest.mark.asyncio
@pytest.mark.slow
async def test_several_clients_of_a_tracer_close_within_two_seconds_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tier0_faults: Faults
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        for name, value in settings(f"http://127.0.0.1:{hanging.getsockname()[1]}/api", tmp_path).items():
            monkeypatch.setenv(name, value)
        tracer = OpikTracer()
        clients = [client_of(tier0_faults.server(OK), tracer) for _ in range(3)]
        for client in clients:
            await client.predict([[1.0]])
        started = time.monotonic()
        for client in clients:
            await client.close()
        tracer.close()
        assert time.monotonic() - started < 3.5, "two seconds, and the delays of a busy machine"


SLOW = """
import json, signal, sys, time
print("ready", flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "flush" in message:
        time.sleep(1.2)
        print(message["number"], "flushed", flush=True)
signal.alarm(60)
signal.pause()
"""
"""Replacement of Opik's process whose flushes succeed slowly, and which does not end by itself."""
MUTE = """
import signal
print("ready", flush=True)
signal.alarm(60)
signal.pause()
"""
"""Replacement of Opik's process that never reports anything."""


@pytest.fixture
def replace_opik_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def replace(script: str) -> None:
        (tmp_path / "process.py").write_text(script)
        monkeypatch.setattr(opik_tracer, "PROCESS", tmp_path / "process.py")

    return replace


def test_flush_and_close_share_two_seconds_and_report_only_lost_traces(
    replace_opik_process: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    replace_opik_process(SLOW)
    sent, left = OpikTracer(), OpikTracer()
    for tracer in (sent, left):
        tracer.record(one_call())
    started = time.monotonic()
    assert sent.flush(1.8)
    sent.close()
    assert time.monotonic() - started < 3.5, "two seconds, and the delays of a busy machine"
    assert not caplog.records
    assert left.flush(1.8)
    left.record(one_call())
    left.close()
    assert ["remaining traces" in record.message for record in caplog.records] == [True], (
        "one call was recorded after the flush"
    )


def test_simultaneous_flushes_wait_for_one_flush_and_lose_nothing(
    replace_opik_process: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    replace_opik_process(SLOW)
    tracer = OpikTracer()
    tracer.record(one_call())
    started = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(tracer.flush, [1.8] * 3)) == [True] * 3
    tracer.close()
    assert time.monotonic() - started < 3.5, "two seconds, and the delays of a busy machine"
    assert not caplog.records


def test_flushes_after_a_failed_flush_fail_at_once(
    replace_opik_process: Callable[[str], None],
) -> None:
    replace_opik_process(MUTE)
    tracer = OpikTracer()
    started = time.monotonic()
    for _ in range(3):
        tracer.record(one_call())
        assert not tracer.flush(1.5)
    tracer.record(one_call())
    tracer.close()
    assert time.monotonic() - started < 3.5, "two seconds, and the delays of a busy machine"


class Failing:
    def record(self, trace: CallTrace) -> None:
        raise RuntimeError(trace.route)

    def flush(self, timeout: float) -> bool:
        return timeout > 0


@pytest.mark.asyncio
async def test_error_of_the_tracer_does_not_affect_the_prediction(
    caplog: pytest.LogCaptureFixture, tier0_faults: Faults
) -> None:
    server = tier0_faults.server(OK)
    async with client_of(server, Failing()) as client:
        assert (await client.predict([[1.0]]))["predictions"] == [1]
        assert (await client.predict([[1.0]]))["predictions"] == [1]

    assert [record.levelname for record in caplog.records if record.name.startswith("tier0")] == [
        "WARNING"
    ], "only the first error is a warning"


class KeepsTraces(Failing):
    def __init__(self) -> None:
        self.traces: list[CallTrace] = []

    def record(self, trace: CallTrace) -> None:
        self.traces.append(trace)

    def flush(self, timeout: float) -> bool:
        return timeout < 0


@pytest.mark.asyncio
async def test_trace_has_the_status_and_close_warns_of_unsent_traces(
    caplog: pytest.LogCaptureFixture, tier0_faults: Faults
) -> None:
    tracer = KeepsTraces()
    async with client_of(tier0_faults.server(Reply(201, {"predictions": [1]})), tracer) as client:
        await client.predict([[1.0]])

    assert (tracer.traces[0].status, tracer.traces[0].attempts[0].status) == (201, 201)
    assert "did not send all traces" in caplog.text


class FailsToFlush(KeepsTraces):
    def flush(self, timeout: float) -> bool:
        raise RuntimeError(f"not within {timeout} s")


@pytest.mark.asyncio
async def test_failed_flush_is_logged_and_the_client_is_closed(
    caplog: pytest.LogCaptureFixture, tier0_faults: Faults
) -> None:
    async with client_of(tier0_faults.server(OK), FailsToFlush()) as client:
        await client.predict([[1.0]])

    (warning,) = [record for record in caplog.records if record.name.startswith("tier0")]
    assert "flushing the tracer" in warning.message
    assert warning.exc_info is not None
    assert isinstance(warning.exc_info[1], RuntimeError)


def test_ids_are_uuids_of_version_7() -> None:
    ids = [uuid.UUID(new_trace_id()) for _ in range(1000)]

    assert {(uid.version, uid.variant) for uid in ids} == {(7, uuid.RFC_4122)}
    assert len(set(ids)) == 1000
    assert abs((ids[0].int >> 80) / 1000 - time.time()) < 60


@pytest.mark.asyncio
async def test_errors_have_the_trace_id(tier0_faults: Faults) -> None:
    server = tier0_faults.server(DOWN)
    async with BentoMLClient(server.url, max_attempts=1) as client:
        with pytest.raises(ClientError) as caught:
            await client.predict([[1.0]])

    assert server.arrivals[0].headers["traceparent"].split("-")[1] == caught.value.request_id


@pytest.mark.slow
def test_pipeline_run_is_one_trace_with_a_span_for_each_step(opik_server: Recording, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tier0.cli",
        "run",
        "--step",
        "1-6,8",
        "--algorithms",
        "linear",
        "--hpo-trials",
        "1",
        "--json",
        "run.json",
    ]
    environ = {**os.environ, **settings(opik_server.url, tmp_path), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    opik_server.wait_for(lambda it: it.traces and len(it.spans) == 7)
    (trace,) = opik_server.traces
    facts = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["done"]["observability"]["facts"]
    assert trace["id"].replace("-", "") == facts["opik"]["trace_id"]
    assert trace["metadata"]["tier0.mlflow_run"] == facts["run_id"]
    spans = opik_server.spans_of(trace)
    assert [str(span["name"]) for span in spans] == [
        "1 scope", "2 data", "3 cohort", "4 selection", "5 training", "6 features", "8 observability",
    ]  # fmt: skip
    assert all(before["end_time"] <= after["start_time"] for before, after in itertools.pairwise(spans))


@pytest.mark.slow
def test_unreachable_opik_does_not_fail_the_run(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tier0.cli",
        "run",
        "--step",
        "4,5,8",
        "--algorithms",
        "linear",
        "--hpo-trials",
        "1",
    ]
    environ = {**os.environ, **settings("http://127.0.0.1:1", tmp_path), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Opik: the trace was not sent" in done.stdout
