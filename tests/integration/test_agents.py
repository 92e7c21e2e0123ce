"""What stands on the client for agents, beside models that answer oddly or not at all."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tier0.client import BentoMLClient, ClientError, InvalidAnswerError
from tier0.faults import Faults, Reply
from tier0.integrations.agents import HTTPModelClient, ModelInferenceTool, ModelOrchestrator

pytestmark = pytest.mark.asyncio
WELL = {"predictions": [1], "probabilities": [[0.25, 0.75]], "classes": ["no", "yes"], "model_tag": "well:1"}
INFO = {"signature": {"features": [{"name": "age"}]}}


@pytest.mark.parametrize(
    "odd",
    [
        {"predictions": [1], "intervals": []},
        {"predictions": [1], "model_tag": 5},
        {"predictions": [1], "model_tag": "another:1"},
        {"predictions": {"0": 1}},
        {"predictions": [1], "probabilities": 0.5},
        {"answer": 1},
        "odd",
    ],
)
async def test_an_odd_answer_takes_nothing_away_from_the_others(odd: Any, tier0_faults: Faults) -> None:
    endpoints = {
        "well": tier0_faults.server(Reply(200, WELL)).url,
        "odd": tier0_faults.server(Reply(200, odd)).url,
    }
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1) as client:
        synthesis = await ModelOrchestrator(
            [HTTPModelClient(client, "well"), HTTPModelClient(client, "odd")]
        ).predict("e", {"well": {"age": 1.0}, "odd": {"age": 1.0}})

    assert synthesis.answers["well"].probabilities == {"no": 0.25, "yes": 0.75}
    assert isinstance(synthesis.failures["odd"], InvalidAnswerError)


async def test_a_tool_is_made_of_the_models_that_say_what_they_take(
    caplog: pytest.LogCaptureFixture, tier0_faults: Faults
) -> None:
    endpoints = {"dead": "http://127.0.0.1:9", "well": tier0_faults.server(Reply(200, INFO)).url}
    endpoints |= {
        "mute": tier0_faults.server(Reply(200, {"model_tag": "mute:1"})).url,
        "gone": "http://127.0.0.1:9",
    }
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1) as client:
        with caplog.at_level(logging.WARNING, "tier0"):
            tool = await ModelInferenceTool.discover(client, list(endpoints))
        assert tool.definition()["inputSchema"]["properties"]["model"]["enum"] == ["well"]
        assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
            "dead",
            "mute",
            "gone",
        ]
        with pytest.raises(ClientError):
            await ModelInferenceTool.discover(client, ["dead", "gone"])


async def test_an_agent_is_told_what_is_wrong_and_not_where_the_services_are(tier0_faults: Faults) -> None:
    refusal = {"error": {"field": "age", "message": "is text", "remedy": "Send a number"}}
    endpoints = {"dead": "http://127.0.0.1:9", "strict": tier0_faults.server(Reply(422, refusal)).url}
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1) as client:
        tool = ModelInferenceTool(client, {"dead": ["age"], "strict": ["age"]})
        said = {
            model: (await tool.call({"model": model, "rows": [{"age": "x"}]}))["error"] for model in endpoints
        }
        nothing = await tool.call(None)  # type: ignore[arg-type]  # an agent's mistake

    assert said["dead"]["kind"] == "TransportError"
    assert "127.0.0.1" not in said["dead"]["message"]
    assert said["strict"]["message"] == "age is text Send a number"
    assert nothing["error"]["kind"] == "InvalidArguments"


async def test_a_dead_service_takes_nothing_away_from_others_through_the_tool(tier0_faults: Faults) -> None:
    endpoints = {
        "dead": "http://127.0.0.1:9",
        "stuck": tier0_faults.server(Reply.hang()).url,
        "well": tier0_faults.server(Reply(200, WELL)).url,
    }
    async with BentoMLClient(
        "http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1, timeout=2.0
    ) as client:
        tool = ModelInferenceTool(client, {model: ["age"] for model in endpoints})
        dead, stuck, well = await asyncio.gather(
            *(tool.call({"model": model, "rows": [{"age": 1.0}]}) for model in endpoints)
        )

    assert (dead["error"]["kind"], stuck["error"]["kind"], well["predictions"]) == (
        "TransportError",
        "TimedOutError",
        [1],
    )


async def test_models_are_asked_at_once(tier0_faults: Faults) -> None:
    servers = {name: tier0_faults.server(Reply.hang()) for name in ("a", "b", "c")}
    endpoints = {name: server.url for name, server in servers.items()}
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints) as client:
        orchestrator = ModelOrchestrator([HTTPModelClient(client, name) for name in servers])
        asking = asyncio.ensure_future(
            orchestrator.predict("e", {name: {"age": 1.0} for name in servers}, timeout=120.0)
        )
        for server in servers.values():
            assert await asyncio.to_thread(server.log.wait_for, lambda log: len(log.arrivals) == 1, 10), (
                "all, before any has answered"
            )
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_agents_and_the_tool_ask_once(tier0_faults: Faults) -> None:
    server = tier0_faults.server(Reply(503))
    async with BentoMLClient(server.url, max_attempts=1) as client:
        await ModelOrchestrator([HTTPModelClient(client, "well")]).predict("e", {"well": {"age": 1.0}})
        await ModelInferenceTool(client, {"well": ["age"]}).call({"model": "well", "rows": [{"age": 1.0}]})
        with pytest.raises(ClientError):
            await ModelInferenceTool.discover(client, ["well"])
    assert len(server.arrivals) == 3
