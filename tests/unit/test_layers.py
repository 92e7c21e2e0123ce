"""The layers around a request that we exchange for others: they do the same, and leave less behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import httpx
import pytest

pytest.importorskip("bentoml")

from bentoml._internal.context import trace_context
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tier0.serving import service
from tier0.serving.layers import lighten

pytestmark = pytest.mark.asyncio
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def told(span: Any, scope: object) -> None:
    """What BentoML hands to OpenTelemetry."""
    if span.context is not None:
        trace_context.request_id = span.context.span_id


belongings: ContextVar[object] = ContextVar("belongings")


async def ids(request: Request) -> Response:
    context = trace.get_current_span().get_span_context()
    return PlainTextResponse(f"{trace_context.trace_id:032x} {trace_context.span_id} {trace_context.request_id} {context.trace_flags:d}")


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


def application(*, exporter: InMemorySpanExporter | None = None, timeout: float = 0.05) -> Starlette:
    provider = TracerProvider()
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    layers = [
        Middleware(OpenTelemetryMiddleware, server_request_hook=told, tracer_provider=provider),
        Middleware(TimeoutMiddleware, timeout=timeout),
    ]
    app = Starlette(
        routes=[Route(f"/{one.__name__}", one) for one in (ids, state, hang, stubborn, fails_late, own_timeout, slow_to_end)], middleware=layers
    )
    app.middleware_stack = app.build_middleware_stack()
    lighten(app.middleware_stack)
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


async def test_the_callers_tracestate_goes_on() -> None:
    answer = await ask(application(), "/state", {"traceparent": PARENT, "tracestate": "vendor=1"})
    assert answer.text == "vendor=1"


async def test_without_a_caller_with_a_trace_every_request_has_one_of_its_own() -> None:
    app = application()
    first, second = [(await ask(app, "/ids")).text.split() for _ in range(2)]
    assert int(first[0], 16) != int(second[0], 16) != 0
    assert first[3] == "0"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_whoever_exports_spans_keeps_opentelemetrys_own_layer() -> None:
    exporter = InMemorySpanExporter()
    await ask(application(exporter=exporter), "/ids", {"traceparent": PARENT})
    assert [f"{span.context.trace_id:032x}" for span in exporter.get_finished_spans() if span.kind == trace.SpanKind.SERVER] == [TRACE]


async def test_what_does_not_answer_in_time_is_504() -> None:
    answer = await ask(application(), "/hang")
    assert (answer.status_code, answer.json()) == (504, {"error": "Not able to process the request in 0.05 seconds"})


async def test_what_ends_late_and_answers_all_the_same_is_504() -> None:
    answer = await ask(application(), "/stubborn")
    assert answer.status_code == 504


async def test_what_fails_as_it_is_given_up_is_504_and_told_in_the_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    assert (await ask(application(), "/fails_late")).status_code == 504
    assert "as it was given up" in caplog.text


async def test_a_timeout_of_the_models_own_is_its_own() -> None:
    with pytest.raises(TimeoutError, match="the model's own"):
        await ask(application(), "/own_timeout")


async def test_an_answer_that_has_begun_may_take_longer() -> None:
    assert (await ask(application(), "/slow_to_end")).text == "ab"


async def test_nothing_of_a_request_is_kept_until_its_time_would_be_over() -> None:
    kept = []

    class Belongings:
        pass

    async def call(client: httpx.AsyncClient) -> None:
        mine = Belongings()
        belongings.set(mine)
        kept.append(weakref.ref(mine))
        await client.get("/ids")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(application(timeout=600)), base_url="http://here") as client:
        for _ in range(300):
            await asyncio.create_task(call(client))
    gc.collect()
    assert sum(one() is not None for one in kept) <= 101  # an event loop sweeps out its cancelled timers when there are more than a hundred


async def test_metrics_are_counted_as_by_bentoml_itself_and_their_labels_are_looked_up_once() -> None:
    registry = CollectorRegistry()
    labels = {"endpoint": "/ids", "service_name": "s"}
    counted = Counter("asked", "…", [*labels], registry=registry)
    layer = type("RunnerTrafficMetricsMiddleware", (), {})()
    layer.app, layer.metrics_request_total = ids, counted
    lighten(type("Outer", (), {"app": layer})())
    child = layer.metrics_request_total.labels(**labels)
    child.inc()
    assert layer.metrics_request_total.labels(**labels) is child is counted.labels(**labels)
    layer.metrics_request_total.labels(**labels | {"endpoint": "/other"}).inc(2)
    assert [registry.get_sample_value("asked_total", labels | {"endpoint": endpoint}) for endpoint in ("/ids", "/other")] == [1, 2]


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
    found = service._named_in(path)
    assert found == (None if route is None else (model, service.ROUTES[route]))


async def started(app: Starlette) -> Starlette:
    """Start an application as a server does, up to the message that it has started."""
    messages = asyncio.Queue[Any]()
    told = asyncio.Queue[Any]()
    await messages.put({"type": "lifespan.startup"})
    task = asyncio.create_task(app({"type": "lifespan", "app": app, "asgi": {"version": "3.0"}}, messages.get, told.put))
    assert (await asyncio.wait_for(told.get(), 5))["type"] == "lifespan.startup.complete"
    await messages.put({"type": "lifespan.shutdown"})
    await asyncio.wait_for(task, 5)
    return app


@pytest.mark.parametrize("root", ["", "/behind"])
async def test_browsers_get_their_headers_where_the_service_has_cors(monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    monkeypatch.setattr(service._State, "nonce", "n", raising=False)
    cors = Middleware(CORSMiddleware, allow_origins=["http://page"], allow_methods=["POST"])
    app = await started(Starlette(middleware=[Middleware(service.Routes), cors]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, root_path=root), base_url="http://here") as client:
        asks = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
        preflight = await client.options(f"{root}/predict", headers=asks)
        refused = await client.delete(f"{root}/predict", headers=asks)

    assert (preflight.status_code, refused.status_code) == (200, 405)
    assert preflight.headers["access-control-allow-origin"] == refused.headers["access-control-allow-origin"] == "http://page"
    assert refused.headers["allow"] == "POST"


async def test_layers_are_exchanged_when_the_application_has_started() -> None:
    app = await started(Starlette(middleware=[Middleware(TimeoutMiddleware, timeout=1), Middleware(service.Routes)]))
    assert type(app.middleware_stack.app).__name__ == "_TimeLimit"  # type: ignore[union-attr]  # it is built
