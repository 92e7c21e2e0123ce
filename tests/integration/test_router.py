"""Responses of the routes for each failure of a model."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI

from tier0.client import BentoMLClient
from tier0.contract.contract import Contract
from tier0.faults import Faults, Reply
from tier0.integrations.router import make_router

pytestmark = pytest.mark.asyncio
ROUTE = "/api/models/predict/churn"
ROWS = [{"age": 1.0}]


async def response_for(reply: Reply, faults: Faults, **options: Any) -> httpx.Response:
    async with (
        BentoMLClient(faults.server(reply).url, **{"max_attempts": 1, **options}) as client,
        api(client) as http,
    ):
        return await http.post(ROUTE, json=ROWS)


def api(client: BentoMLClient) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(make_router(client))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


@pytest.mark.parametrize(
    ("reply", "options", "status", "error", "retry_after"),
    [
        (Reply(429, headers={"Retry-After": "7"}), {}, 429, "RateLimitedError", "7"),
        (Reply(503, headers={"Retry-After": "3"}), {}, 502, "ServiceFailedError", "3"),
        (Reply(500), {}, 502, "ServiceFailedError", None),
        (Reply(302, headers={"Location": "http://127.0.0.1:9/"}), {}, 502, "CallerError", None),
        (
            Reply(422, {"error": {"field": "age", "message": "is text", "remedy": "Send a number"}}),
            {},
            422,
            "CallerError",
            None,
        ),
        (Reply(401), {}, 502, "CallerError", None),
        (
            Reply(404, {"error": {"field": "", "message": "no such model", "remedy": ""}}),
            {},
            404,
            "CallerError",
            None,
        ),
        (Reply(200, {}), {}, 502, "InvalidAnswerError", None),
        (Reply.broken("reset"), {}, 502, "TransportError", None),
        (Reply.hang(), {"timeout": 0.2}, 504, "TimedOutError", None),
    ],
)
async def test_each_failure_has_its_status(
    tier0_faults: Faults,
    reply: Reply,
    options: dict[str, Any],
    status: int,
    error: str,
    retry_after: str | None,
) -> None:
    response = await response_for(reply, tier0_faults, **options)

    assert (
        response.status_code,
        response.json()["detail"]["error"],
        response.headers.get("Retry-After"),
    ) == (
        status,
        error,
        retry_after,
    )
    assert response.json()["detail"]["message"]
    assert len(response.json()["detail"]["request_id"]) == 32


async def test_unpaired_surrogates_are_replaced_in_error_responses(tier0_faults: Faults) -> None:
    rejected = await response_for(
        Reply(422, b'{"error": {"field": "age", "message": "is \\ud800", "remedy": ""}}'), tier0_faults
    )
    failed = await response_for(Reply(200, b'{"predictions": ["\\ud800"]}'), tier0_faults)
    async with (
        BentoMLClient(
            tier0_faults.server(Reply(200, {})).url, contract=Contract(style="records", columns=None)
        ) as client,
        api(client) as http,
    ):
        invalid = await http.post(
            ROUTE, content=b'[{"\\ud800": 1}, {"b": 1}]', headers={"Content-Type": "application/json"}
        )

    assert [response.status_code for response in (rejected, failed, invalid)] == [422, 502, 422]
    assert rejected.json()["detail"]["message"] == "age is ?"


async def test_runtime_errors_are_not_converted_to_http_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    async with BentoMLClient("http://127.0.0.1:9") as client, api(client) as http:
        for name in ("predict", "predict_batch", "model_info", "health_check"):
            monkeypatch.setattr(client, name, fail)
        for request in (http.post(ROUTE, json=ROWS), http.post(f"{ROUTE}/batch", json=ROWS)):
            with pytest.raises(RuntimeError, match="a bug"):
                await request
        for route in ("info", "health"):
            with pytest.raises(RuntimeError, match="a bug"):
                await http.get(f"/api/models/churn/{route}")


async def test_routes_send_one_request(tier0_faults: Faults) -> None:
    server = tier0_faults.server(Reply(503))
    async with BentoMLClient(server.url, max_attempts=1) as client, api(client) as http:
        await http.post(ROUTE, json=ROWS)
        await http.post(f"{ROUTE}/batch", json=ROWS)
        await http.get("/api/models/churn/info")
    assert len(server.arrivals) == 3


async def test_saturated_pool_is_503(tier0_faults: Faults) -> None:
    server = tier0_faults.server(Reply.hang())
    async with (
        BentoMLClient(server.url, timeout=0.3, max_connections=1, max_attempts=1) as client,
        api(client) as http,
    ):
        busy = asyncio.ensure_future(client.predict(ROWS, timeout=60))
        assert await asyncio.to_thread(server.log.wait_for, lambda log: len(log.arrivals) == 1, 10)
        response = await http.post(ROUTE, json=ROWS)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)

    assert (response.status_code, response.json()["detail"]["error"]) == (503, "PoolSaturatedError")
