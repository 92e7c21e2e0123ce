"""Every way for an application to reach its models: the same numbers, even while another service is down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import jsonschema
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI, Header, HTTPException

from tier0.client import (
    BentoMLClient,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    SyncBentoMLClient,
    TimedOutError,
)
from tier0.golden.rows import ROW_ALONE_TOLERANCE, GoldenRows
from tier0.integrations.agents import HTTPModelClient, ModelAnswer, ModelInferenceTool, ModelOrchestrator
from tier0.integrations.router import make_router
from tier0.runs.services import Services

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120)]


def golden_of(services: Services) -> dict[str, GoldenRows]:
    return {model.name: model.golden.examples for models in services.models.values() for model in models}


def as_given(said: ModelAnswer) -> dict[str, Any]:
    return {
        "predictions": [said.prediction],
        "probabilities": None if said.probabilities is None else [list(said.probabilities.values())],
        "intervals": None if said.interval is None else [said.interval],
    }


@pytest_asyncio.fixture
async def client(three_services: Services) -> AsyncIterator[BentoMLClient]:
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=three_services.urls()) as client:
        yield client


@contextlib.contextmanager
def api(client: BentoMLClient, **how: Any) -> Iterator[httpx.Client]:
    """A FastAPI application on uvicorn, on loopback, in a thread and on a loop of its own.

    It closes the client at its end, as an application does.
    """
    app = FastAPI()
    app.include_router(make_router(client, **how))
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # on others, asyncio sends 40 ms late
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", loop="asyncio"))

    async def serve() -> None:
        async with client:
            await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False, timeout=30
        ) as http:
            yield http
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def dead() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def hanging() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_api_gives_the_golden_rows_of_every_model(three_services: Services) -> None:
    with api(BentoMLClient("http://127.0.0.1:9", model_endpoints=three_services.urls())) as http:
        for name, golden in golden_of(three_services).items():
            together = http.post(f"/api/models/predict/{name}/batch", json=golden.body())
            alone = http.post(f"/api/models/predict/{name}", json=golden.records()[0])
            info = http.get(f"/api/models/{name}/info").json()

            assert golden.compare(together.json()) is None
            assert golden.take([0]).compare(alone.json(), tolerance=ROW_ALONE_TOLERANCE) is None
            assert [feature["name"] for feature in info["signature"]["features"]] == golden.columns
            assert http.get(f"/api/models/{name}/health").json()["status"] == "healthy"
            assert http.get(f"/api/models/{name}/status").json() == {
                "model": name,
                "circuit": "closed",
                "status": "available",
            }


def test_the_api_keeps_what_the_service_says_of_the_callers_mistakes(three_services: Services) -> None:
    with api(BentoMLClient("http://127.0.0.1:9", model_endpoints=three_services.urls())) as http:
        for body, says in (
            ({"features": [[1.0]]}, "features[0]"),
            ([{"tenure": 1.0}], "tenure_months"),
            ("text", "features"),
        ):
            refused = http.post("/api/models/predict/churn", json=body)

            assert 400 <= refused.status_code < 500
            assert refused.status_code not in {429, 500}
            assert says in refused.json()["detail"]["message"]
        assert http.post("/api/models/predict/churn", content=b"{").status_code == 422
        assert http.post("/api/models/predict/..%2f..%2fx", json=[{}]).status_code in {404, 502}
        assert http.get("/api/models/churn/status").json()["circuit"] == "closed"


def test_an_open_circuit_is_503_with_retry_after(dead: str) -> None:
    client = BentoMLClient(dead, failure_threshold=2, max_attempts=1, reset_timeout=20.0)
    with api(client) as http:
        statuses = [http.post("/api/models/predict/churn", json=[{"a": 1.0}]).status_code for _ in range(2)]
        rejected = http.post("/api/models/predict/churn", json=[{"a": 1.0}])

        assert statuses == [502, 502]
        assert rejected.status_code == 503
        assert 0 < int(rejected.headers["Retry-After"]) <= 20
        assert rejected.json()["detail"]["error"] == "CircuitOpenError"
        assert dead not in rejected.text, "where the services are is nobody's business"
        assert http.get("/api/models/churn/status").json() == {
            "model": "churn",
            "circuit": "open",
            "status": "unavailable",
        }
        assert http.get("/api/models/churn/health").status_code == 503


def test_the_api_asks_who_may(three_services: Services) -> None:
    def authorize(token: Annotated[str, Header()] = "") -> None:
        if token != "right":
            raise HTTPException(401)

    with api(
        BentoMLClient("http://127.0.0.1:9", model_endpoints=three_services.urls()), authorize=authorize
    ) as http:
        asked = [http.get(f"/api/models/churn/{route}") for route in ("health", "info", "status")]
        asked += [http.post(f"/api/models/predict/churn{route}", json=[{}]) for route in ("", "/batch")]
        assert {answer.status_code for answer in asked} == {401}
        assert http.get("/api/models/churn/health", headers={"token": "right"}).status_code == 200


@pytest.mark.asyncio
async def test_a_bug_is_no_answer_of_the_model(
    three_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = FastAPI(), BentoMLClient(three_services.urls()["churn"])
    app.include_router(make_router(client))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        monkeypatch.setattr(client, "predict", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await http.post("/api/models/predict/churn", json=[{}])
        monkeypatch.undo()
        await client.close()
        with pytest.raises(ClientUsageError, match="the client is closed"):
            await http.post("/api/models/predict/churn/batch", json=[{}])


@pytest.mark.asyncio
async def test_agents_get_the_golden_rows_of_every_model(
    three_services: Services, client: BentoMLClient
) -> None:
    for name, golden in golden_of(three_services).items():
        model, _, horizon = name.partition("_") if name.startswith("ltv") else (name, "", "")
        agent = HTTPModelClient(client, model)
        for index, record in enumerate(golden.records()[:5]):
            said = await agent.predict(f"entity {index}", record, int(horizon) if horizon else None)

            assert golden.take([index]).compare(as_given(said), tolerance=ROW_ALONE_TOLERANCE) is None
            assert (said.entity, said.model) == (f"entity {index}", name)


@pytest.mark.asyncio
async def test_the_tool_lists_its_models_and_gives_their_golden_rows(
    three_services: Services, client: BentoMLClient
) -> None:
    names = list(three_services.urls())
    tool = await ModelInferenceTool.discover(client, names)
    definition = json.loads(json.dumps(tool.definition()))

    jsonschema.Draft202012Validator.check_schema(definition["inputSchema"])
    jsonschema.validate({"model": "churn", "rows": [{"plan": "basic"}]}, definition["inputSchema"])
    for wrong in (
        {"model": "other", "rows": [{}]},
        {"model": "churn", "rows": []},
        {"model": "churn"},
        {"model": "churn", "rows": [{}], "more": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, definition["inputSchema"])
    assert definition["name"] == "model_inference"
    assert definition["inputSchema"]["properties"]["model"]["enum"] == names
    assert (
        "churn: tenure_months, monthly_spend"
        in definition["inputSchema"]["properties"]["rows"]["description"]
    )
    for name, golden in golden_of(three_services).items():
        assert golden.compare(await tool.call({"model": name, "rows": golden.records()})) is None
    for arguments, says in (
        ({"model": "other", "rows": [{}]}, "unknown model 'other'"),
        ({"model": "churn", "rows": []}, "invalid rows"),
        ({"model": "churn", "rows": [{"tenure": 1}]}, "missing columns: 'tenure_months'"),
        ({"model": "churn", "rows": [{}], "horizon": 3}, "unknown argument 'horizon'"),
    ):
        assert says in (await tool.call(arguments))["error"]["message"]


@pytest.mark.asyncio
async def test_several_models_at_once_and_one_dead_service_harms_nobody(
    three_services: Services, dead: str, hanging: str
) -> None:
    golden = golden_of(three_services)
    endpoints = {**three_services.urls(), "gone": dead, "stuck": hanging}
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints) as client:
        orchestrator = ModelOrchestrator(
            [HTTPModelClient(client, model) for model in ("churn", "conversion", "ltv", "gone", "stuck")]
        )
        alive = {
            "churn": golden["churn"].records()[0],
            "conversion": golden["conversion"].records()[0],
            "ltv": golden["ltv_90"].records()[0],
        }
        for _ in range(8):
            start = time.monotonic()
            synthesis = await orchestrator.predict(
                "e", {**alive, "gone": {"a": 1.0}, "stuck": {"a": 1.0}}, {"ltv": 90}, timeout=1.0
            )

            assert synthesis.answers.keys() == alive.keys()
            assert synthesis.answers["ltv"].prediction == pytest.approx(
                golden["ltv_90"].predictions[0], rel=ROW_ALONE_TOLERANCE
            )
            assert synthesis.answers["churn"].prediction == golden["churn"].predictions[0]
            assert not synthesis.complete
            assert time.monotonic() - start < 4.0, "one deadline of a second for all"
        assert isinstance(synthesis.failures["gone"], CircuitOpenError)
        assert isinstance(synthesis.failures["stuck"], (TimedOutError, CircuitOpenError))
        assert client.circuit_state("churn") == "closed"

        with pytest.raises(KeyError):
            await orchestrator.predict("e", {"unknown": {}})
    with pytest.raises(
        ClientUsageError
    ):  # it is closed: a mistake of the application, and no failure of a model
        await orchestrator.predict("e", alive, {"ltv": 90})


@pytest.mark.asyncio
async def test_several_models_at_once_give_all_their_golden_rows(
    three_services: Services, client: BentoMLClient
) -> None:
    golden = golden_of(three_services)
    horizons = {"ltv_90": 90, "ltv_365": 365}
    orchestrator = ModelOrchestrator(
        [HTTPModelClient(client, name, name_of=lambda name, _: name) for name in golden]
    )
    records = {name: rows.records() for name, rows in golden.items()}
    for index in range(min(map(len, records.values()))):
        synthesis = await orchestrator.predict(
            "e", {name: rows[index] for name, rows in records.items()}, horizons
        )

        assert synthesis.complete
        for name, said in synthesis.answers.items():
            assert (
                golden[name].take([index]).compare(as_given(said), tolerance=ROW_ALONE_TOLERANCE) is None
            ), name


def test_the_synchronous_client_gives_the_golden_rows_of_every_model(three_services: Services) -> None:
    with SyncBentoMLClient("http://127.0.0.1:9", model_endpoints=three_services.urls()) as client:
        for name, golden in golden_of(three_services).items():
            assert golden.compare(client.predict(golden.records(), model=name)) is None
            assert client.model_info(name)["model_tag"].startswith(f"{name}:")


@pytest.mark.asyncio
async def test_an_answer_of_another_horizon_is_refused(three_services: Services) -> None:
    urls = three_services.urls()
    record = golden_of(three_services)["ltv_90"].records()[0]
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints={"ltv_90": urls["ltv_365"]}) as client:
        with pytest.raises(ClientError, match=r"model ltv_90 is from ltv_365:"):
            await HTTPModelClient(client, "ltv").predict("e", record, 90)
