"""Servers with the protocols of others: found by themselves, left alone if healthy, and caught if not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from tests.support.in_process import serving
from tests.support.model_servers import DEFECTS, GOLDEN, PROTOCOLS, ModelServer, healthy
from tests.support.wrong_models import COLUMNS, UNDECLARED
from tier0 import Deployment, check_serving
from tier0.client import SyncModelClient
from tier0.contract.contract import ContractError
from tier0.core.verdict import EXIT_STATUS, Verdict
from tier0.golden.capture import golden_rows
from tier0.runs.examination import Examination

WRONG = {"fail", "error"}
ASKED = 8
"""Checks of parity that a server of any protocol can be asked."""
SAMPLE = ("columns permuted", "labels swapped")
"""The defects of `make test`; the others are for `make test-all`."""


@pytest.fixture(scope="module", params=PROTOCOLS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[ModelServer, str]]:
    """A server of each protocol, and its URL."""
    made = ModelServer(request.param)
    with serving(made.routes()) as url:
        yield made, url


def verdict_of(url: str, groups: tuple[str, ...]) -> Verdict:
    deployment = Deployment.from_url(url, golden=GOLDEN, disturb="malformed", retries=0)
    return check_serving(deployment, groups=groups, on_fail="return")


def test_a_healthy_server_is_found_and_not_accused(server: tuple[ModelServer, str]) -> None:
    verdict = verdict_of(server[1], ("parity", "identity", "contract", "health"))

    assert [(result.id, result.message) for result in verdict.checks if result.status in WRONG] == []
    passed = [result.id for result in verdict.with_status("pass") if result.id.startswith("parity.")]
    assert len(passed) >= ASKED


@pytest.mark.parametrize(
    "defect", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.slow) for name in DEFECTS]
)
def test_a_defect_is_caught(server: tuple[ModelServer, str], defect: str) -> None:
    made, url = server
    made.predict = DEFECTS[defect]()
    try:
        verdict = verdict_of(url, ("parity.golden_rows", "parity.rows_alone", "parity.missing_values"))
    finally:
        made.predict = healthy

    if defect == UNDECLARED and verdict.exit_status == EXIT_STATUS["inconclusive"]:
        assert "the probability of class 1 instead of a label" in verdict.checks[0].message
    else:
        assert verdict.exit_status == 1


def test_the_client_asks_it_by_the_same_contract(server: tuple[ModelServer, str]) -> None:
    made, url = server
    frame = pd.DataFrame(GOLDEN.examples.rows[:3], columns=COLUMNS)
    places = {"openapi": "labels", "v2": "outputs.predict", "v2 by column": "outputs.label"}
    declared = {"predictions": places.get(made.protocol, "predictions")}
    if made.protocol == "v1":  # whose rows may also be lists
        declared["style"] = "records"

    for named in ({}, {"protocol": made.protocol.partition(" ")[0]}):
        with SyncModelClient.for_service(url, declared={**declared, **named}) as client:
            assert client.predict(frame)["predictions"] == GOLDEN.examples.predictions[:3]


def test_its_contract_can_be_drafted_and_used(server: tuple[ModelServer, str]) -> None:
    made, url = server
    named = {"protocol": made.protocol.partition(" ")[0]}

    drafts = [
        Examination(Deployment.from_url(url, golden=GOLDEN, contract=declared)).draft()
        for declared in (None, named)
    ]

    assert drafts[0].declared == drafts[1].declared
    assert drafts[0].matches, drafts[0].compared
    deployment = Deployment.from_url(url, golden=GOLDEN, contract=drafts[0].declared)
    verdict = check_serving(deployment, groups=("parity",), on_fail="return")
    assert verdict.exit_status == 0, verdict.reason


def test_a_protocol_that_the_server_does_not_speak_is_an_error(server: tuple[ModelServer, str]) -> None:
    made, url = server
    other = "v1" if made.protocol != "v1" else "v2"
    deployment = Deployment.from_url(url, golden=GOLDEN, protocol=other)

    with pytest.raises(ContractError, match=f"no sign of the protocol '{other}'"):
        check_serving(deployment, groups=("parity",))


IMAGES = np.random.default_rng(0).random((9, 2, 4, 3)).astype(np.float32)
GOLDEN_IMAGES = golden_rows(lambda images: images[:, 0].sum(axis=(1, 2)), IMAGES)


def images_in(body: Any) -> Any:
    """Return the images in a request of the protocol "v2", as a strict server reads them."""
    (tensor,) = body["inputs"]
    if tensor["name"] != "pixels" or tensor["datatype"] != "FP32" or tensor["shape"][1:] != [2, 4, 3]:
        raise ValueError("expected pixels as FP32 of shape [-1, 2, 4, 3]")
    return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])


@pytest.mark.parametrize("channel", [0, 1])
def test_images_are_sent_as_tensors_of_their_own_shape(channel: int) -> None:
    inputs = [{"name": "pixels", "datatype": "FP32", "shape": [-1, 2, 4, 3]}]

    def infer(body: Any) -> Any:
        sums = images_in(body)[:, channel].sum(axis=(1, 2))
        output = {"name": "sum", "shape": [len(sums)], "datatype": "FP32", "data": sums.tolist()}
        return {"model_name": "customers", "outputs": [output]}

    with serving(ModelServer("v2").infer_routes(inputs, infer)) as url:
        deployment = Deployment.from_url(url, golden=GOLDEN_IMAGES, disturb="malformed", retries=0)
        verdict = check_serving(deployment, groups=("parity", "contract"), on_fail="return")

    failed = {result.id for result in verdict.checks if result.status in WRONG}
    assert ("parity.golden_rows" in failed) == (channel == 1)
    assert channel == 1 or failed == set()


GOLDEN_TEXTS = golden_rows(
    lambda frame: frame["text"].str.len(), pd.DataFrame({"text": ["a" * count for count in range(3, 12)]})
)


@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
@pytest.mark.parametrize("is_wrong", [False, True])
def test_texts_are_sent_in_the_shape_that_the_metadata_state(shape: list[int], *, is_wrong: bool) -> None:
    inputs = [{"name": "texts", "datatype": "BYTES", "shape": shape}]

    def infer(body: Any) -> Any:
        (tensor,) = body["inputs"]
        if tensor["shape"] != [len(tensor["data"]), *shape[1:]]:
            raise ValueError(f"expected texts of shape {shape}")
        lengths = [len(text) + is_wrong for text in tensor["data"]]
        output = {"name": "length", "shape": [len(lengths)], "datatype": "INT64", "data": lengths}
        return {"model_name": "customers", "outputs": [output]}

    with serving(ModelServer("v2").infer_routes(inputs, infer)) as url:
        deployment = Deployment.from_url(url, golden=GOLDEN_TEXTS, retries=0)
        drafted = Examination(deployment).draft()
        verdicts = [
            check_serving(replace(deployment, contract=contract), groups=("parity",), on_fail="return")
            for contract in (None, drafted.declared)
        ]

    for verdict in verdicts:
        failed = {result.id for result in verdict.checks if result.status in WRONG}
        assert ("parity.golden_rows" in failed) == is_wrong
        assert is_wrong or not failed


def test_rows_that_no_tensor_can_have_are_refused_with_the_remedy() -> None:
    golden = golden_rows(lambda rows: [len(row) for row in rows], [[1.0], [1.0, 2.0]] * 4)

    with (
        serving(ModelServer("v2").routes()) as url,
        pytest.raises(ContractError, match="no tensor can have"),
    ):
        check_serving(Deployment.from_url(url, golden=golden), groups=("parity",))


def takes_another_form(status: int, pages: dict[str, str]) -> list[Route]:
    """Return a server whose model takes the rows as ``{"inputs": {"x": …}}``, which nothing describes."""

    async def respond(request: Request) -> JSONResponse:
        try:
            rows = (await request.json())["inputs"]["x"]
            labels, _ = healthy(pd.DataFrame(rows, columns=COLUMNS).astype(float))
        except (ValueError, TypeError, KeyError) as problem:
            return JSONResponse({"error_code": "BAD_REQUEST", "message": repr(problem)}, status)
        return JSONResponse({"predictions": labels})

    routes = [Route(path, lambda _, text=text: PlainTextResponse(text)) for path, text in pages.items()]
    return [*routes, Route("/invocations", respond, methods=["POST"])]


@pytest.mark.parametrize(
    ("status", "pages"), [(400, {"/ping": "\n", "/version": "3.17.2"}), (500, {"/ping": ""})]
)
def test_a_form_that_nothing_describes_is_asked_for(status: int, pages: dict[str, str]) -> None:
    with serving(takes_another_form(status, pages)) as url:
        with pytest.raises(ContractError, match="does not describe the form of its requests"):
            check_serving(Deployment.from_url(url, golden=GOLDEN), groups=("parity",))
        declared = {"route": "/invocations", "features": "inputs.x", "style": "rows"}
        deployment = Deployment.from_url(url, golden=GOLDEN, contract=declared)
        verdict = check_serving(deployment, groups=("parity.golden_rows",), on_fail="return")

    assert verdict.exit_status == 0
