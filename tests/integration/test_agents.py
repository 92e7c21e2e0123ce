"""Integrations for agents, with models that return invalid responses or none."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tier0.client import BentoMLClient, ClientError, InvalidAnswerError
from tier0.faults import Faults, Reply
from tier0.integrations.agents import HTTPModelClient, ModelInferenceTool, ModelOrchestrator

pytestmark = pytest.mark.asyncio
VALID = {
    "predictions": [1],
    "probabilities": [[0.25, 0.75]],
    "classes": ["no", "yes"],
    "model_tag": "valid:1",
}
INFO = {"signature": {"features": [{"name": "age"}]}}


@pytest.mark.parametrize(
    "response",
    [
        {"predictions": [1], "intervals": []},
        {"predictions": [1], "model_tag": 5},
        {"predictions": [1], "model_tag": "another:1"},
        {"predictions": {"0": 1}},
        {"predictions": [1], "probabilities": 0.5},
        {"answer": 1},
        "response",
    ],
)
async def test_invalid_response_of_one_model_does_not_affect_the_others(
    response: Any, tier0_faults: Faults
) -> None:
    endpoints = {
        "valid": tier0_faults.server(Reply(200, VALID)).url,
        "invalid": tier0_faults.server(Reply(200, response)).url,
    }
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1) as client:
        synthesis = await ModelOrchestrator(
            [HTTPModelClient(client, "valid"), HTTPModelClient(client, "invalid")]
        ).predict("e", {"valid": {"age": 1.0}, "invalid": {"age": 1.0}})

    assert synthesis.answers["valid"].probabilities == {"no": 0.25, "yes": 0.75}
    assert isinstance(synthesis.failures["invalid"], InvalidAnswerError)


async def test_tool_contains_the_models_whose_features_can_be_read(
    caplog: pytest.LogCaptureFixture, tier0_faults: Faults
) -> None:
    endpoints = {"dead": "http://127.0.0.1:9", "valid": tier0_faults.server(Reply(200, INFO)).url}
    endpoints |= {
        "undescribed": tier0_faults.server(Reply(200, {"model_tag": "undescribed:1"})).url,
        "gone": "http://127.0.0.1:9",
    }
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1) as client:
        with caplog.at_level(logging.WARNING, "tier0"):
            tool = await ModelInferenceTool.discover(client, list(endpoints))
        assert tool.definition()["inputSchema"]["properties"]["model"]["enum"] == ["valid"]
        assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
            "dead",
            "undescribed",
            "gone",
        ]
        with pytest.raises(ClientError):
            await ModelInferenceTool.discover(client, ["dead", "gone"])


async def test_errors_for_agents_explain_the_problem_without_service_addresses(tier0_faults: Faults) -> None:
    refusal = {"error": {"field": "age", "message": "is text", "remedy": "Send a number"}}
    endpoints = {"dead": "http://127.0.0.1:9", "strict": tier0_faults.server(Reply(422, refusal)).url}
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1) as client:
        tool = ModelInferenceTool(client, {"dead": ["age"], "strict": ["age"]})
        errors = {
            model: (await tool.call({"model": model, "rows": [{"age": "x"}]}))["error"] for model in endpoints
        }
        no_arguments = await tool.call(None)  # type: ignore[arg-type]  # an agent's mistake

    assert errors["dead"]["kind"] == "TransportError"
    assert "127.0.0.1" not in errors["dead"]["message"]
    assert errors["strict"]["message"] == "age is text Send a number"
    assert no_arguments["error"]["kind"] == "InvalidArguments"


async def test_dead_service_does_not_affect_the_others_through_the_tool(tier0_faults: Faults) -> None:
    endpoints = {
        "dead": "http://127.0.0.1:9",
        "stuck": tier0_faults.server(Reply.hang()).url,
        "valid": tier0_faults.server(Reply(200, VALID)).url,
    }
    async with BentoMLClient(
        "http://127.0.0.1:9", model_endpoints=endpoints, max_attempts=1, timeout=2.0
    ) as client:
        tool = ModelInferenceTool(client, {model: ["age"] for model in endpoints})
        dead, stuck, valid = await asyncio.gather(
            *(tool.call({"model": model, "rows": [{"age": 1.0}]}) for model in endpoints)
        )

    assert (dead["error"]["kind"], stuck["error"]["kind"], valid["predictions"]) == (
        "TransportError",
        "TimedOutError",
        [1],
    )


async def test_models_are_called_at_once(tier0_faults: Faults) -> None:
    servers = {name: tier0_faults.server(Reply.hang()) for name in ("a", "b", "c")}
    endpoints = {name: server.url for name, server in servers.items()}
    async with BentoMLClient("http://127.0.0.1:9", model_endpoints=endpoints) as client:
        orchestrator = ModelOrchestrator([HTTPModelClient(client, name) for name in servers])
        calling = asyncio.ensure_future(
            orchestrator.predict("e", {name: {"age": 1.0} for name in servers}, timeout=120.0)
        )
        for server in servers.values():
            assert await asyncio.to_thread(server.log.wait_for, lambda log: len(log.arrivals) == 1, 10), (
                "all are called before any has responded"
            )
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


async def test_agents_and_the_tool_send_one_request(tier0_faults: Faults) -> None:
    server = tier0_faults.server(Reply(503))
    async with BentoMLClient(server.url, max_attempts=1) as client:
        await ModelOrchestrator([HTTPModelClient(client, "valid")]).predict("e", {"valid": {"age": 1.0}})
        await ModelInferenceTool(client, {"valid": ["age"]}).call({"model": "valid", "rows": [{"age": 1.0}]})
        with pytest.raises(ClientError):
            await ModelInferenceTool.discover(client, ["valid"])
    assert len(server.arrivals) == 3
