"""What a caller of the routes is told, for each way in which a model does not answer."""

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
ASKED = "/api/models/predict/churn"
ROWS = [{"age": 1.0}]


async def answer_of(reply: Reply, faults: Faults, **knobs: Any) -> httpx.Response:
    async with (
        BentoMLClient(faults.server(reply).url, **{"max_attempts": 1, **knobs}) as client,
        api(client) as http,
    ):
        return await http.post(ASKED, json=ROWS)


def api(client: BentoMLClient) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(make_router(client))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


@pytest.mark.parametrize(
    ("reply", "knobs", "status", "error", "retry_after"),
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
    knobs: dict[str, Any],
    status: int,
    error: str,
    retry_after: str | None,
) -> None:
    answer = await answer_of(reply, tier0_faults, **knobs)

    assert (answer.status_code, answer.json()["detail"]["error"], answer.headers.get("Retry-After")) == (
        status,
        error,
        retry_after,
    )
    assert answer.json()["detail"]["message"]
    assert len(answer.json()["detail"]["request_id"]) == 32


async def test_half_a_character_harms_no_answer(tier0_faults: Faults) -> None:
    refused = await answer_of(
        Reply(422, b'{"error": {"field": "age", "message": "is \\ud800", "remedy": ""}}'), tier0_faults
    )
    failed = await answer_of(Reply(200, b'{"predictions": ["\\ud800"]}'), tier0_faults)
    async with (
        BentoMLClient(
            tier0_faults.server(Reply(200, {})).url, contract=Contract(style="records", columns=None)
        ) as client,
        api(client) as http,
    ):
        mistaken = await http.post(
            ASKED, content=b'[{"\\ud800": 1}, {"b": 1}]', headers={"Content-Type": "application/json"}
        )

    assert [answer.status_code for answer in (refused, failed, mistaken)] == [422, 502, 422]
    assert refused.json()["detail"]["message"] == "age is ?"


async def test_a_runtime_error_is_no_answer_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    async with BentoMLClient("http://127.0.0.1:9") as client, api(client) as http:
        for name in ("predict", "predict_batch", "model_info", "health_check"):
            monkeypatch.setattr(client, name, fail)
        for ask in (http.post(ASKED, json=ROWS), http.post(f"{ASKED}/batch", json=ROWS)):
            with pytest.raises(RuntimeError, match="a bug"):
                await ask
        for route in ("info", "health"):
            with pytest.raises(RuntimeError, match="a bug"):
                await http.get(f"/api/models/churn/{route}")


async def test_the_routes_ask_once(tier0_faults: Faults) -> None:
    server = tier0_faults.server(Reply(503))
    async with BentoMLClient(server.url, max_attempts=1) as client, api(client) as http:
        await http.post(ASKED, json=ROWS)
        await http.post(f"{ASKED}/batch", json=ROWS)
        await http.get("/api/models/churn/info")
    assert len(server.arrivals) == 3


async def test_a_full_pool_is_503(tier0_faults: Faults) -> None:
    server = tier0_faults.server(Reply.hang())
    async with (
        BentoMLClient(server.url, timeout=0.3, max_connections=1, max_attempts=1) as client,
        api(client) as http,
    ):
        busy = asyncio.ensure_future(client.predict(ROWS, timeout=60))
        assert await asyncio.to_thread(server.log.wait_for, lambda log: len(log.arrivals) == 1, 10)
        answer = await http.post(ASKED, json=ROWS)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)

    assert (answer.status_code, answer.json()["detail"]["error"]) == (503, "PoolSaturatedError")
