"""The client with services of other styles, options from the environment, and the synchronous client."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tier0.client import (
    BentoMLClient,
    CircuitOpenError,
    ClientUsageError,
    InvalidAnswerError,
    InvalidDataError,
    ServiceFailedError,
    SyncBentoMLClient,
    TimedOutError,
)
from tier0.client.options import ClientOptions
from tier0.contract.contract import Contract, ContractError
from tier0.faults import Faults, FaultServer, Reply

OK = Reply(200, {"predictions": [1], "probabilities": None})
NESTED = Contract(
    "/classify",
    "input_data.features",
    "rows",
    "input_data.names",
    "label",
    "scores",
    None,
    "model.tag",
    "/readyz",
    (),
)
BARE = Contract("/predict", "", "rows", None, "", None, None, None, "/readyz", ())
NAMED = Contract("/predict", "frame", "records", None, "*.label", "*.score", "yes", None, "/readyz", ())
RECORD = Contract("/predict", "", "record", None, "label", None, None, None, "/readyz", ())
FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, np.nan]})


@pytest.mark.parametrize(
    ("contract", "data", "body"),
    [
        (NESTED, FRAME, {"input_data": {"features": [[1.0, 3.0], [2.0, None]], "names": ["a", "b"]}}),
        (NESTED, [{"a": 1, "b": 3}], {"input_data": {"features": [[1, 3]], "names": ["a", "b"]}}),
        (NESTED, {"input_data": {"features": [[7]]}}, {"input_data": {"features": [[7]]}}),
        (BARE, np.array([[1.0, 3.0]]), [[1.0, 3.0]]),
        (BARE, [[1, 3], (2, 4)], [[1, 3], [2, 4]]),
        (NAMED, FRAME, {"frame": [{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": None}]}),
        (RECORD, {"a": 1, "b": 3}, {"a": 1, "b": 3}),
        (None, FRAME, {"features": [[1.0, 3.0], [2.0, None]], "columns": ["a", "b"]}),
    ],
)
@pytest.mark.asyncio
async def test_data_is_encoded_in_the_format_of_the_contract(
    contract: Contract | None, data: Any, body: Any, tier0_faults: Faults
) -> None:
    server = tier0_faults.server(OK)
    async with BentoMLClient(server.url, contract=contract) as client:
        with suppress(InvalidAnswerError):  # another test checks the response
            await client.predict(data)

    assert json.loads(server.arrivals[0].body) == body
    assert server.arrivals[0].path == ("/predict" if contract is None else contract.route)


@pytest.mark.parametrize(
    ("contract", "reply", "predictions", "probabilities"),
    [
        (NESTED, {"label": ["x"], "scores": [[0.1, 0.9]], "model": {"tag": "m:1"}}, ["x"], [[0.1, 0.9]]),
        (BARE, [3.5], [3.5], None),
        (NAMED, [{"label": "no", "score": 0.25}], ["no"], [[0.25]]),
        (RECORD, {"label": "no"}, ["no"], None),
        (Contract(predictions=None, probabilities="", model_tag=None), [[0.1, 0.9]], None, [[0.1, 0.9]]),
    ],
)
@pytest.mark.asyncio
async def test_response_is_decoded_in_the_format_of_the_contract(
    contract: Contract, reply: Any, predictions: Any, probabilities: Any, tier0_faults: Faults
) -> None:
    server = tier0_faults.server(Reply(200, reply))
    async with BentoMLClient(server.url, contract=contract) as client:
        response = await client.predict([{"a": 1.0}])

    assert response["predictions"] == predictions
    assert response["probabilities"] == probabilities


@pytest.mark.parametrize(
    ("contract", "reply"),
    [(NESTED, {"scores": [[1.0]]}), (BARE, {"label": 1}), (NAMED, [1]), (BARE, [1, 2]), (BARE, [None])],
)
@pytest.mark.asyncio
async def test_response_that_violates_the_contract_is_an_error(
    contract: Contract, reply: Any, tier0_faults: Faults
) -> None:
    server = tier0_faults.server(Reply(200, reply))
    async with BentoMLClient(server.url, contract=contract, max_attempts=1) as client:
        with pytest.raises(InvalidAnswerError):
            await client.predict([{"a": 1.0}])


@pytest.mark.parametrize(
    ("contract", "data", "message"),
    [
        (RECORD, FRAME, "one row in each request, got 2"),
        (NAMED, [[1.0]], "names of columns"),
        (NESTED, [], "the data is empty"),
        (NESTED, "text", "type str"),
        (NAMED, [{"a": 1}, {"b": 1}], "record 1 has other columns than record 0"),
    ],
)
@pytest.mark.asyncio
async def test_data_that_violates_the_contract_is_rejected_without_a_request(
    contract: Contract, data: Any, message: str, tier0_faults: Faults
) -> None:
    server = tier0_faults.server(OK)
    async with BentoMLClient(server.url, contract=contract) as client:
        with pytest.raises(InvalidDataError, match=message):
            await client.predict(data)

    assert not server.arrivals


SCHEMA = {
    "routes": [
        {
            "route": "/classify",
            "input": {
                "properties": {
                    "input_data": {
                        "type": "object",
                        "properties": {"features": {"type": "array", "items": {"type": "array"}}},
                    }
                }
            },
            "output": {"type": "object", "properties": {"predictions": {}, "probabilities": {}}},
        }
    ]
}


@pytest.mark.asyncio
async def test_routes_and_formats_are_read_from_the_schema(tier0_faults: Faults) -> None:
    server = tier0_faults.server(
        [Reply(200, SCHEMA), Reply(200, {"predictions": [1], "probabilities": [[0.5, 0.5]]})]
    )
    async with await BentoMLClient.for_service(server.url) as client:
        await client.predict([[1.0]])

    assert [(request.method, request.path) for request in server.arrivals] == [
        ("GET", "/schema.json"),
        ("POST", "/classify"),
    ]
    assert json.loads(server.arrivals[1].body) == {"input_data": {"features": [[1.0]]}}


@pytest.mark.asyncio
async def test_missing_parts_of_a_schema_must_be_declared() -> None:
    schema = {
        "routes": [{"route": "/score", "input": SCHEMA["routes"][0]["input"], "output": {"type": "object"}}]
    }
    with FaultServer([Reply(200, schema), Reply(200, schema), Reply(200, {"out": [1]})]) as server:
        with pytest.raises(
            ContractError, match="it is not clear where the predictions are in the response of /score"
        ):
            await BentoMLClient.for_service(server.url)
        async with await BentoMLClient.for_service(server.url, declared={"predictions": "out"}) as client:
            assert (await client.predict([[1.0]]))["predictions"] == [1]


def test_defaults_match_the_documentation() -> None:
    assert ClientOptions.resolve({}) == ClientOptions(
        10.0, None, 3, 0.1, 5.0, 0.2, 5, 30.0, 20, idempotent=True
    )


def test_client_is_closed_in_its_own_event_loop() -> None:
    once = Reply(
        200, OK.body, headers={"Connection": "close"}
    )  # or else the event loop below ends with an open connection
    with FaultServer(once) as server, asyncio.Runner() as runner:
        client = BentoMLClient(server.url)
        runner.run(client.predict([[1.0]]))
        with pytest.raises(ClientUsageError, match="another event loop"):
            asyncio.run(client.close())
        runner.run(client.close())

        left = BentoMLClient(server.url)
        asyncio.run(left.predict([[1.0]]))
        asyncio.run(left.close())


def test_arguments_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "timeout": "3",
        "attempt_timeout": "1.5",
        "max_attempts": "2",
        "backoff_base": "0",
        "backoff_max": "1",
        "retry_budget": "0.5",
    }
    texts |= {"failure_threshold": "9", "reset_timeout": "7", "max_connections": "4", "idempotent": "false"}
    for name, text in texts.items():
        monkeypatch.setenv(f"TIER0_CLIENT_{name.upper()}", text)

    assert ClientOptions.resolve({}) == ClientOptions(3.0, 1.5, 2, 0.0, 1.0, 0.5, 9, 7.0, 4, idempotent=False)
    assert ClientOptions.resolve({"timeout": 8.0}).timeout == 8.0


@pytest.mark.parametrize(
    ("name", "text", "source"),
    [
        ("TIMEOUT", "soon", "TIER0_CLIENT_TIMEOUT"),
        ("TIMEOUT", "nan", "TIER0_CLIENT_TIMEOUT"),
        ("MAX_ATTEMPTS", "0", "TIER0_CLIENT_MAX_ATTEMPTS"),
        ("IDEMPOTENT", "maybe", "TIER0_CLIENT_IDEMPOTENT"),
        ("MODEL_ENDPOINTS", "churn", "TIER0_CLIENT_MODEL_ENDPOINTS, model 'churn'"),
    ],
)
def test_error_names_the_environment_variable_with_the_invalid_value(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, source: str
) -> None:
    monkeypatch.setenv(f"TIER0_CLIENT_{name}", text)

    with pytest.raises(ValueError, match=source):
        BentoMLClient("http://127.0.0.1:1")


@pytest.mark.asyncio
async def test_urls_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="BENTOML_SERVICE_URL"):
        BentoMLClient()
    with FaultServer(OK) as first, FaultServer(OK) as second:
        monkeypatch.setenv("BENTOML_SERVICE_URL", first.url)
        monkeypatch.setenv("TIER0_CLIENT_MODEL_ENDPOINTS", f"ltv={second.url}/")
        async with BentoMLClient() as client:
            await client.predict([[1.0]])
            await client.predict([[1.0]], model="ltv")

    assert [len(first.arrivals), second.arrivals[0].path] == [1, "/predict"]


def test_synchronous_client_has_the_same_rules() -> None:
    down = Reply(503)
    with (
        FaultServer([OK, down, down, down]) as server,
        SyncBentoMLClient(server.url, failure_threshold=2, backoff_base=0.0) as client,
    ):
        assert client.predict([[1.0]])["predictions"] == [1]
        with pytest.raises(ServiceFailedError) as failed:
            client.predict_batch([[1.0]])
        with pytest.raises(CircuitOpenError):
            client.predict([[1.0]])

        assert failed.value.attempts == 2
        assert client.circuit_state() == "open"
        assert client.health_check()["status"] == "unhealthy"
    assert len([request for request in server.arrivals if request.path == "/predict"]) == 3


def test_threads_share_one_synchronous_client() -> None:
    with FaultServer(OK) as server, SyncBentoMLClient(server.url) as client, ThreadPoolExecutor(8) as threads:
        answered = list(threads.map(lambda _: client.predict([[1.0]])["predictions"], range(80)))

    assert answered == [[1]] * 80


def test_synchronous_client_has_a_deadline_and_close_ends_its_thread() -> None:
    with FaultServer(Reply.hang()) as server:
        client = SyncBentoMLClient(server.url, timeout=0.2, max_attempts=1)
        start = time.monotonic()
        with pytest.raises(TimedOutError):
            client.predict([[1.0]])
        assert time.monotonic() - start < 5
        client.close()
        client.close()

        with pytest.raises(ClientUsageError, match="closed"):
            client.predict([[1.0]])
    assert not [thread for thread in threading.enumerate() if thread.name == "tier0-client"]


def test_synchronous_client_raises_an_error_after_a_fork() -> None:
    with FaultServer(OK) as server, SyncBentoMLClient(server.url) as client:
        client._pid = os.getpid() + 1  # as in a child

        with pytest.raises(ClientUsageError, match="before this process was forked"):
            client.predict([[1.0]])
        client.close()  # must not wait for the thread, which a child does not have
        client._pid = os.getpid()
        assert client.predict([[1.0]])["predictions"] == [1], "the parent can still use its client"


def test_close_ends_the_calls_of_other_threads() -> None:
    with FaultServer(Reply(503)) as server:
        client = SyncBentoMLClient(
            server.url, timeout=60.0, backoff_base=60.0, backoff_max=60.0, rng=lambda: 0.9
        )
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(client.predict, [[1.0]])
            deadline = time.monotonic() + 10
            while not server.arrivals:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            client.close()

            assert isinstance(waiting.exception(timeout=10), (ClientUsageError, ServiceFailedError))
