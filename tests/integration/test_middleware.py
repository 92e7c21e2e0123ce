"""The middleware that replaces BentoML's has the same effects, and keeps no objects of a request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import re
import time
import weakref
from collections.abc import AsyncIterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("bentoml")

from bentoml._internal.context import trace_context
from bentoml._internal.log import DATE_FORMAT, SERVER_LOGGING_CONFIG, TraceRecordFilter
from bentoml._internal.server.http.access import AccessLogMiddleware
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from tier0.serving import service
from tier0.serving.bentoml_internals import iter_middleware
from tier0.serving.middleware import MAX_FIELD, observe, replace_middleware
from tier0.serving.path_labels import UNKNOWN_PATH, hide_unknown_paths

pytestmark = pytest.mark.asyncio
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def request_hook(span: Any, scope: object) -> None:
    """The hook that BentoML passes to OpenTelemetry."""
    if span.context is not None:
        trace_context.request_id = span.context.span_id


belongings: ContextVar[object] = ContextVar("belongings")


async def ids(request: Request) -> Response:
    context = trace.get_current_span().get_span_context()
    own = f"{trace_context.trace_id:032x} {trace_context.span_id:016x} {trace_context.request_id:016x}"
    return PlainTextResponse(f"{own} {context.trace_flags:d}")


async def state(request: Request) -> Response:
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return PlainTextResponse(headers["tracestate"])


async def hang(request: Request) -> None:
    await asyncio.Event().wait()


async def stubborn(request: Request) -> Response:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return PlainTextResponse("too late")


async def fails_late(request: Request) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("as it was given up")


async def own_timeout(request: Request) -> None:
    raise TimeoutError("the model's own")


async def slow_to_end(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a", b"b"):
            yield piece
            await asyncio.sleep(0.06)

    return StreamingResponse(pieces())


async def goes_on(request: Request) -> Response:
    return PlainTextResponse("done", background=BackgroundTask(asyncio.sleep, 0.04))


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type=request.headers["content-type"])


ROUTES: list[BaseRoute] = [
    Route(f"/{one.__name__}", one)
    for one in (ids, state, hang, stubborn, fails_late, own_timeout, slow_to_end, goes_on)
]
ROUTES += [
    Route("/echo", echo, methods=["POST"]),
    Route("/livez", plain),
    Mount("/files", Starlette(routes=[Route("/{name:path}", plain)])),
]


def tracing(exporter: InMemorySpanExporter | None) -> list[Middleware]:
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(0))  # as BentoML's
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    return [Middleware(OpenTelemetryMiddleware, server_request_hook=request_hook, tracer_provider=provider)]


def application(
    layers: list[Middleware] | None = None,
    *,
    timeout: float = 0.05,
    body_timeout: float = 5,
    replaced: bool = True,
) -> Starlette:
    app = Starlette(
        routes=ROUTES, middleware=layers or [*tracing(None), Middleware(TimeoutMiddleware, timeout=timeout)]
    )
    app.middleware_stack = app.build_middleware_stack()
    if replaced:
        replace_middleware(app.middleware_stack, body_timeout=body_timeout)
    return app


async def ask(app: Starlette, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        return await client.get(path, headers=headers)


async def test_the_callers_trace_is_continued_and_a_request_has_an_id_of_its_own() -> None:
    app = application()
    first, second = [(await ask(app, "/ids", {"traceparent": PARENT})).text.split() for _ in range(2)]
    assert first[0] == second[0] == TRACE
    assert first[1] == first[2] != second[1]
    assert first[3] == "1"


async def test_the_callers_tracestate_is_continued() -> None:
    response = await ask(application(), "/state", {"traceparent": PARENT, "tracestate": "vendor=1"})
    assert response.text == "vendor=1"


async def test_without_a_callers_trace_every_request_gets_a_new_one() -> None:
    app = application()
    first, second = [(await ask(app, "/ids")).text.split() for _ in range(2)]
    assert int(first[0], 16) != int(second[0], 16) != 0
    assert first[3] == "0"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_with_an_exporter_opentelemetrys_middleware_is_kept() -> None:
    exporter = InMemorySpanExporter()
    await ask(application(tracing(exporter)), "/ids", {"traceparent": PARENT})
    assert [
        f"{span.context.trace_id:032x}"
        for span in exporter.get_finished_spans()
        if span.kind == trace.SpanKind.SERVER
    ] == [TRACE]


async def test_a_late_response_is_504() -> None:
    response = await ask(application(), "/hang")
    assert (response.status_code, response.json()) == (
        504,
        {"error": "Not able to process the request in 0.05 seconds"},
    )


async def test_a_response_in_spite_of_cancellation_is_504() -> None:
    response = await ask(application(), "/stubborn")
    assert response.status_code == 504


async def test_a_failure_during_cancellation_is_504_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    assert (await ask(application(), "/fails_late")).status_code == 504
    assert "as it was given up" in caplog.text


async def test_a_timeout_of_the_models_own_is_its_own() -> None:
    with pytest.raises(TimeoutError, match="the model's own"):
        await ask(application(), "/own_timeout")


async def test_a_response_that_has_begun_is_not_limited() -> None:
    assert (await ask(application(), "/slow_to_end")).text == "ab"


async def test_no_object_of_a_request_is_kept_until_its_timeout() -> None:
    kept = []

    class Belongings:
        pass

    async def call(client: httpx.AsyncClient) -> None:
        mine = Belongings()
        belongings.set(mine)
        kept.append(weakref.ref(mine))
        await client.get("/ids")

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(timeout=600)), base_url="http://here"
    ) as client:
        for _ in range(300):
            await asyncio.create_task(call(client))
    deadline = time.monotonic() + 10  # much less than the timeout
    while any(one() for one in kept) and time.monotonic() < deadline:
        await asyncio.sleep(0)
        gc.collect()  # does nothing while a collection in another thread runs a finalizer
    assert not any(one() for one in kept)


class InstrumentedApp:
    """An application with all of BentoML's middleware, its log lines and its metric samples."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        replaced: bool,
        exporter: InMemorySpanExporter | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.lines = io.StringIO()
        made = logging.StreamHandler(self.lines)
        made.setFormatter(
            logging.Formatter(SERVER_LOGGING_CONFIG["formatters"]["traced"]["format"], DATE_FORMAT)
        )
        made.addFilter(TraceRecordFilter())
        logger = logging.getLogger("bentoml")
        for name, value in {"handlers": [made], "level": logging.INFO, "propagate": False}.items():
            monkeypatch.setattr(logger, name, value)
        logger.manager._clear_cache()  # type: ignore[attr-defined]  # of which levels are on
        flags = dict.fromkeys(
            (f"has_{side}_content_{part}" for side in ("request", "response") for part in ("type", "length")),
            True,
        )
        skipped = ["/metrics", "/livez"]
        self.app = application(
            [
                Middleware(RunnerTrafficMetricsMiddleware, namespace="bentoml_service", skip_paths=skipped),
                *tracing(exporter),
                Middleware(AccessLogMiddleware, skip_paths=skipped, **flags),
                Middleware(TimeoutMiddleware, timeout=0.05),
            ],
            replaced=False,
        )
        (metrics,) = [
            layer
            for _, layer in iter_middleware(self.app.middleware_stack)
            if isinstance(layer, RunnerTrafficMetricsMiddleware)
        ]
        client = {
            kind.__name__: partial(kind, registry=self.registry)
            for kind in (Counter, Gauge, Histogram, Summary)
        }
        metrics._setup(metrics_client=SimpleNamespace(**client), duration_buckets=(0.04, 0.2, 5.0))
        if replaced:
            replace_middleware(self.app.middleware_stack)

    async def after(
        self, *requests: tuple[str, str, dict[str, str], bytes]
    ) -> tuple[list[str], dict[str, float]]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            for method, path, headers, body in requests:
                await client.request(method, path, headers=headers, content=body)
        await asyncio.sleep(0)  # one turn of the event loop, in which log and metrics are written
        lines = [
            re.sub(rf"^\S+T\S+|[0-9.]+ms|span=\w+|trace=(?!{TRACE})\w+", "*", line)
            for line in self.lines.getvalue().splitlines()
        ]
        samples = {
            f"{sample.name} {sorted(sample.labels.items())}": sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if not sample.name.endswith(("_sum", "_created", "_timestamp_seconds"))
        }
        return lines, samples

    def last_request(self) -> float:
        (metric,) = [
            metric for metric in self.registry.collect() if metric.name.endswith("_timestamp_seconds")
        ]
        return metric.samples[0].value if metric.samples else 0.0


REQUESTS = [
    ("GET", "/ids", {"traceparent": PARENT}, b""),
    ("GET", "/ids", {}, b""),
    ("POST", "/echo", {"content-type": "application/json"}, b"[1, 2]"),
    ("POST", "/echo", {"traceparent": PARENT, "content-type": "text/plain; charset=utf-8"}, b"x" * 100),
    ("HEAD", "/ids", {}, b""),
    ("GET", "/slow_to_end", {}, b""),
    ("GET", "/hang", {}, b""),
    ("GET", "/metrics", {}, b""),
    ("GET", "/livez", {}, b""),
    ("GET", "/nowhere", {}, b""),
    ("DELETE", "/ids", {}, b""),
]


@pytest.mark.parametrize("exports", [False, True])
async def test_log_and_metrics_are_bentomls(monkeypatch: pytest.MonkeyPatch, *, exports: bool) -> None:
    found = []
    for replaced in (False, True):
        app = InstrumentedApp(
            monkeypatch, replaced=replaced, exporter=InMemorySpanExporter() if exports else None
        )
        found.append(await app.after(*REQUESTS))
        assert time.time() - 30 < app.last_request() <= time.time()
    (lines, samples), (our_lines, our_samples) = found

    assert our_lines == lines
    # The one difference: a path without a route is not a label.
    assert our_samples == {name.replace("/nowhere", UNKNOWN_PATH): value for name, value in samples.items()}
    assert our_samples != samples
    assert len(lines) == len(REQUESTS) - 2  # which are skipped
    assert f"trace={TRACE}" in lines[0]


@pytest.mark.parametrize(
    "paths",
    [
        [f"/p{number}" for number in range(300)],
        [f"/files/{number}" for number in range(300)],
        [f"/ids/{number}" for number in range(300)],
        [f"/livez{number}" for number in range(300)],
        [f"/metrics/{number}" for number in range(300)],
    ],
    ids=["nowhere", "in a folder", "below a route", "after a skipped path", "below the metrics"],
)
async def test_paths_that_clients_invent_share_one_label(
    monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    numbers = {}
    for replaced in (False, True):
        app = InstrumentedApp(monkeypatch, replaced=replaced)
        _, few = await app.after(*(("GET", path, {}, b"") for path in paths[:2]))
        _, many = await app.after(*(("GET", path, {}, b"") for path in paths))
        numbers[replaced] = len(few), len(many)
    assert numbers[True][0] == numbers[True][1]
    assert numbers[False][1] > 100 * numbers[True][1], "BentoML bounds them itself: this is not needed"


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_zero_byte_in_a_path_does_not_reach_the_files(replaced: bool) -> None:  # noqa: FBT001
    """Starlette before version 1 raises there, and the response was 500."""
    app = application(replaced=replaced)
    if not replaced:
        hide_unknown_paths(app.middleware_stack, lambda _: False)

    assert (await ask(app, "/files/%00")).status_code == 404
    assert (await ask(app, "/files/a%00b")).status_code == 404
    assert (await ask(app, "/files/a")).text == "plain"


async def test_invented_paths_share_one_label_of_bentomls_own_middleware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = InstrumentedApp(monkeypatch, replaced=False)
    hide_unknown_paths(app.app.middleware_stack, lambda path: path == "/served")
    _, few = await app.after(("GET", "/p", {}, b""), ("GET", "/ids/p", {}, b""))
    lines, many = await app.after(*(("GET", f"/p{number}", {}, b"") for number in range(100)))
    assert len(many) == len(few)
    assert "status=404" in lines[-1]

    lines, samples = await app.after(*REQUESTS[:6], ("GET", "/served", {}, b""))
    labels = {label for name in samples if (label := re.search(r"'endpoint', '(.*?)'", name))}
    assert {label[1] for label in labels} == {UNKNOWN_PATH, "/ids", "/echo", "/slow_to_end", "/served"}
    assert (await ask(app.app, "/ids/")).status_code == 307
    assert (await ask(app.app, "/files/x")).text == "plain"


async def test_paths_are_left_as_they_are_where_a_kind_of_route_is_new() -> None:
    class AnotherRoute(BaseRoute):
        """Matches paths that only it knows."""

    app = Starlette(routes=[Route("/livez", plain), AnotherRoute()])
    app.middleware_stack = app.build_middleware_stack()
    inside = app.middleware_stack.app  # type: ignore[attr-defined]  # it is built
    hide_unknown_paths(app.middleware_stack, lambda _: False)
    assert app.middleware_stack.app is inside  # type: ignore[attr-defined]  # it is built


async def test_methods_that_clients_invent_are_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    _, few = await app.after(("M", "/ids", {}, b""))
    _, many = await app.after(*((f"M{number}", "/ids", {}, b"") for number in range(100)))
    assert len(many) == len(few)


async def test_the_paths_of_served_models_are_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service._WorkerState, "predictors", {"churn": None}, raising=False)
    known = ["/predict", "/health", "/churn/predict", "/churn/model_info", "/predict/"]
    unknown = ["/", "/other/predict", "/churn/x", "//predict", "/a/churn/predict"]
    assert [path for path in (*known, *unknown) if service._is_served(path)] == known


def client_of(path: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "path": path,
        "method": "GET",
        "scheme": "http",
        "headers": [],
        "query_string": b"",
        "root_path": "",
        **more,
    }


@pytest.mark.parametrize(
    "scope",
    [
        client_of("/a\n2026-01-01T00:00:00 [INFO] forged"),
        client_of("/a\r\x1b[31m\x00\x85\u2028\u202e"),
        client_of("/" + "z" * 60_000),
        client_of("/" + "\n" * 60_000),
        client_of("/ids", method="M" * 60_000),
        client_of("/ids", client=("1\n2" * 20_000, 1)),
        client_of("/ids", headers=[(b"content-type", b"a\x85b" * 20_000)]),
        client_of("/ids", headers=[(b"content-length", b"0" * 60_000)]),
    ],
    ids=["newline", "controls", "long", "long newlines", "method", "address", "type", "length"],
)
async def test_a_request_is_one_line_of_limited_length(
    monkeypatch: pytest.MonkeyPatch, scope: dict[str, Any]
) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    await app.app(scope, asyncio.Queue[Any]().get, AsyncMock())
    await asyncio.sleep(0)
    (line,) = app.lines.getvalue().splitlines()
    assert line.isprintable()
    assert len(line) < 12 * MAX_FIELD
    assert "status=" in line


async def test_an_ordinary_long_path_is_logged_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    app, path = InstrumentedApp(monkeypatch, replaced=True), "/€" + "z" * (2 * MAX_FIELD)
    await app.app(client_of(path), asyncio.Queue[Any]().get, AsyncMock())
    await asyncio.sleep(0)
    assert f"path={path}," in app.lines.getvalue()


async def exchange(app: Starlette, *chunks: bytes, pause: float = 0.0, is_finished: bool = True) -> Any:
    """Send a body in pieces; return the status and the headers of the response."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = not is_finished
    sent: list[Any] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        await asyncio.sleep(pause)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"text/plain"), (b"content-length", b"100")]
    await app(client_of("/echo", method="POST", headers=headers), receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


async def test_an_unfinished_body_is_408_and_the_connection_is_closed() -> None:
    status, headers = await exchange(application(body_timeout=0.05), b"a", b"b", is_finished=False)
    assert (status, headers[b"connection"]) == (408, b"close")


async def test_a_slow_body_that_ends_is_accepted() -> None:
    # It takes longer than a response may, but no longer than a body may.
    status, _ = await exchange(application(timeout=0.05, body_timeout=5), b"a", b"b", b"c", pause=0.03)
    assert status == 200


async def test_the_time_limit_begins_after_the_body() -> None:
    async def read_and_hang(request: Request) -> None:
        await request.body()
        await asyncio.Event().wait()

    app = Starlette(
        routes=[Route("/echo", read_and_hang, methods=["POST"])],
        middleware=[Middleware(TimeoutMiddleware, timeout=0.05)],
    )
    app.middleware_stack = app.build_middleware_stack()
    replace_middleware(app.middleware_stack, body_timeout=600)
    status, headers = await exchange(app, b"a", b"b")
    assert status == 504
    assert b"connection" not in headers


@pytest.mark.parametrize(
    ("length", "is_more"),
    [
        ("", False),
        ("0", False),
        ("10", False),
        ("0000000000000000000000000000010", False),
        ("11", True),
        ("9" * 5000, True),
        ("-11", False),
        ("1e9", False),
        ("²²²", False),
    ],
)
async def test_an_announced_length_is_compared_with_the_limit(length: str, *, is_more: bool) -> None:
    assert service._announces_more(length, 10) is is_more


async def test_skipped_paths_do_not_set_the_last_request(monkeypatch: pytest.MonkeyPatch) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    await app.after(("GET", "/livez", {}, b""))
    assert app.last_request() == 0


async def test_a_request_is_in_progress_while_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    asking = asyncio.create_task(app.after(("GET", "/hang", {}, b"")))

    def in_progress() -> list[float]:
        return [
            one.value
            for metric in app.registry.collect()
            for one in metric.samples
            if one.name.endswith("in_progress")
        ]

    await asyncio.sleep(0.02)  # of the 0.05 s that it takes
    assert in_progress() == [1]
    await asking
    assert in_progress() == [0]


async def test_additional_log_handlers_get_the_same_records(monkeypatch: pytest.MonkeyPatch) -> None:
    app = InstrumentedApp(monkeypatch, replaced=False)
    own: list[str] = []

    class Mine(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            own.append(record.getMessage())

    monkeypatch.setattr(
        logging.getLogger("bentoml"), "handlers", [*logging.getLogger("bentoml").handlers, Mine()]
    )
    replace_middleware(app.app.middleware_stack)
    lines, _ = await app.after(REQUESTS[0])
    assert len(own) == len(lines) == 1
    assert own[0] in app.lines.getvalue()


async def test_an_unwritable_log_fails_no_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    app.lines.close()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.app), base_url="http://here") as client:
        assert (await client.get("/ids")).status_code == 200
        assert (await client.get("/ids")).status_code == 200
    await asyncio.sleep(0)
    assert "I/O operation on closed file" in capsys.readouterr().err


async def test_unwritable_metrics_fail_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Counter, "inc", full)
        assert (await ask(app.app, "/ids")).status_code == 200
    lines, samples = await app.after(REQUESTS[0])
    assert len([line for line in lines if "path=/ids" in line]) == 2
    assert "metrics could not be written" in app.lines.getvalue()
    assert [value for name, value in samples.items() if "request_total" in name or "in_progress" in name] == [
        1,
        0,
    ]


async def test_an_unencodable_line_is_escaped_and_others_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    (handler,) = logging.getLogger("bentoml").handlers
    assert isinstance(handler, logging.StreamHandler)
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(handler, "stream", stream)
        await asyncio.gather(*(ask(app.app, f"/{name}") for name in ("a", "€", "b")))
        await asyncio.sleep(0)
    assert re.findall(r"path=(\S+?),", (tmp_path / "log").read_text(encoding="ascii")) == [
        "/a",
        "/\\u20ac",
        "/b",
    ]


async def test_a_line_is_written_before_background_tasks_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    answered = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            answered.set()

    scope = {
        "type": "http",
        "path": "/goes_on",
        "method": "GET",
        "scheme": "http",
        "headers": [],
        "query_string": b"",
        "root_path": "",
    }
    asking = asyncio.create_task(app.app(scope, asyncio.Queue[Any]().get, send))
    await answered.wait()
    await asyncio.sleep(0.01)
    assert "path=/goes_on" in app.lines.getvalue()
    assert not asking.done()
    await asking


async def test_a_websocket_passes_through_bentomls_own_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for replaced in (False, True):
        app = InstrumentedApp(monkeypatch, replaced=replaced)
        scope = {
            "type": "websocket",
            "path": "/nowhere",
            "scheme": "ws",
            "headers": [],
            "query_string": b"",
            "root_path": "",
            "subprotocols": [],
        }
        messages = asyncio.Queue[Any]()
        await messages.put({"type": "websocket.connect"})
        await app.app(scope, messages.get, AsyncMock())
        found.append(await app.after())
    (lines, samples), ours = found
    # The one difference: a path without a route is neither a label nor in the log.
    assert ours == (
        [line.replace("/nowhere", UNKNOWN_PATH) for line in lines],
        {name.replace("/nowhere", UNKNOWN_PATH): value for name, value in samples.items()},
    )
    assert "Connection closed" in lines[-1]


async def test_a_disabled_log_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    app = InstrumentedApp(monkeypatch, replaced=True)
    logging.getLogger("bentoml").setLevel(logging.WARNING)
    lines, _ = await app.after(REQUESTS[0])
    assert lines == []


async def test_other_middleware_in_between_still_runs() -> None:
    class Between:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["path"])
            await self.app(scope, receive, send)

    seen: list[str] = []
    response = await ask(
        application([*tracing(None), Middleware(Between), Middleware(TimeoutMiddleware, timeout=0.05)]),
        "/hang",
    )
    assert (response.status_code, seen) == (504, ["/hang"])


@given(st.lists(st.floats(0, 10) | st.sampled_from([0.1, 1.0, 5.0])))
async def test_amounts_are_observed_together_as_one_by_one(amounts: list[float]) -> None:
    together, one_by_one = (
        Histogram("seconds", "…", registry=None, buckets=(0.1, 1.0, 5.0)) for _ in range(2)
    )
    observe(together, amounts)
    for amount in amounts:
        one_by_one.observe(amount)
    pairs = zip(together._child_samples(), one_by_one._child_samples(), strict=True)
    assert all(ours.value == pytest.approx(theirs.value) for ours, theirs in pairs if ours.name != "_created")


@pytest.mark.parametrize(
    ("path", "model", "route"),
    [
        ("/predict", "", "predict"),
        ("/churn/health", "churn", "health"),
        ("/churn/model_info/", "churn", "model_info"),
        ("//predict", None, None),
        ("/a/b/predict", None, None),
        ("predict", None, None),
        ("xhealth", None, None),
        ("/readyz", None, None),
        ("/", None, None),
    ],
)
async def test_a_path_names_a_model_and_a_route(path: str, model: str | None, route: str | None) -> None:
    found = service._find_route(path)
    assert found == (None if route is None else (model, service.ROUTES[route]))


async def started(app: Starlette) -> Starlette:
    """Start an application as a server does, up to the message that it has started."""
    messages = asyncio.Queue[Any]()
    sent = asyncio.Queue[Any]()
    await messages.put({"type": "lifespan.startup"})
    task = asyncio.create_task(
        app({"type": "lifespan", "app": app, "asgi": {"version": "3.0"}}, messages.get, sent.put)
    )
    assert (await asyncio.wait_for(sent.get(), 5))["type"] == "lifespan.startup.complete"
    await messages.put({"type": "lifespan.shutdown"})
    await asyncio.wait_for(task, 5)
    return app


@pytest.mark.parametrize("root", ["", "/behind"])
async def test_browsers_get_their_headers_where_the_service_has_cors(
    monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setattr(service._WorkerState, "nonce", "n", raising=False)
    cors = Middleware(CORSMiddleware, allow_origins=["http://page"], allow_methods=["POST"])
    app = await started(Starlette(middleware=[Middleware(service.Routes), cors]))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, root_path=root), base_url="http://here"
    ) as client:
        asks = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
        preflight = await client.options(f"{root}/predict", headers=asks)
        refused = await client.delete(f"{root}/predict", headers=asks)

    assert (preflight.status_code, refused.status_code) == (200, 405)
    assert (
        preflight.headers["access-control-allow-origin"]
        == refused.headers["access-control-allow-origin"]
        == "http://page"
    )
    assert refused.headers["allow"] == "POST"


async def test_middleware_is_replaced_when_the_application_has_started() -> None:
    app = await started(
        Starlette(middleware=[Middleware(TimeoutMiddleware, timeout=1), Middleware(service.Routes)])
    )
    assert type(app.middleware_stack.app).__name__ == "_CombinedMiddleware"  # type: ignore[union-attr]  # it is built


async def test_a_rejection_is_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = SimpleNamespace(tag="m:1")
    for name, value in {
        "nonce": "n",
        "predictors": {"m": predictor},
        "batchers": {"m:1": SimpleNamespace(is_full=lambda: True)},
    }.items():
        monkeypatch.setattr(service._WorkerState, name, value, raising=False)
    start = time.monotonic()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service.Routes(Starlette())), base_url="http://here"
    ) as client:
        answers = await asyncio.gather(*(client.post("/predict", json={}) for _ in range(3)))
    assert [(one.status_code, one.headers["retry-after"]) for one in answers] == [(429, "1")] * 3
    assert time.monotonic() - start >= service.REJECTED_AFTER


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A served model that accepts everything, and limits of some bytes."""

    async def predict(rows: object) -> tuple[object, float]:
        return rows, 0.0

    predictor = SimpleNamespace(tag="m:1", parse_rows=len, response=lambda length, _: {"length": length})
    batcher = SimpleNamespace(is_full=lambda: False, predict=predict)
    for name, value in {"nonce": "n", "predictors": {"m": predictor}, "batchers": {"m:1": batcher}}.items():
        monkeypatch.setattr(service._WorkerState, name, value, raising=False)
    for name, number in {"PARSED_INLINE": 10, "HELD_LIMIT": 100, "REJECTED_AFTER": 0.0}.items():
        monkeypatch.setattr(service, name, number)


async def upload(size: int, ends: asyncio.Event) -> int:
    """Send a body to the service, whose end arrives when *ends* is set; return the status."""
    sent: list[Any] = []

    async def receive() -> Any:
        if not sent:
            sent.append(None)
            return {"type": "http.request", "body": b"x" * size, "more_body": True}
        await ends.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = client_of("/predict", method="POST", headers=[(b"content-type", b"application/json")])
    await service.Routes(Starlette())(scope, receive, send)
    status: int = sent[1]["status"]
    return status


@pytest.mark.usefixtures("small_limits")
async def test_large_bodies_together_are_bounded_and_small_ones_pass() -> None:
    never, at_once = asyncio.Event(), asyncio.Event()
    at_once.set()
    assert await upload(90, at_once) == 200
    first = asyncio.create_task(upload(60, never))
    await asyncio.sleep(0)

    assert await upload(60, at_once) == 429
    assert await asyncio.gather(*(upload(10, at_once) for _ in range(50))) == [200] * 50
    assert await upload(30, at_once) == 200
    never.set()
    assert await first == 200
    assert await upload(90, at_once) == 200


@pytest.mark.usefixtures("small_limits")
async def test_a_body_that_is_given_up_no_longer_counts() -> None:
    never, at_once = asyncio.Event(), asyncio.Event()
    at_once.set()
    uploads = [asyncio.create_task(upload(60, never))]
    await asyncio.sleep(0)
    assert await upload(60, at_once) == 429
    uploads[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await uploads[0]

    assert await upload(60, at_once) == 200
    assert service._LargeBody.total == 0
