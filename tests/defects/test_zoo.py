"""The zoo: each defect is detected by a check for it, and every healthy deployment passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import pytest

import tier0
from tests.defects.mutants import HEALTHY, MUTANTS, Case
from tests.defects.peers import ask_peers
from tests.support.zoo_server import Trained, case_in
from tier0.client import BentoMLClient
from tier0.contract.service_schema import OpenAnswerError
from tier0.golden.rows import ROW_ALONE_TOLERANCE
from tier0.runs.deployment import Deployment

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(200)]
TIMES = 3
IN_PARTS = {"predictions": "predictions", "probabilities": "probabilities"}
WHERE = {"dataframe": "*.prediction", "one_record": "prediction", "regress": ""}
WHERE |= dict.fromkeys(("ltv_90", "ltv_365", "training_effect"), "predictions")
"""Paths of the predictions in responses whose schema does not define them."""


def cases(*of: Case) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in of]


@pytest.mark.parametrize("case", cases(*HEALTHY))
def test_a_healthy_deployment_passes(
    zoo_server: Deployment,
    zoo: Trained,
    case: Case,
    record: Callable[..., None],
    with_peers: bool,  # noqa: FBT001
) -> None:
    deployment = case_in(zoo_server, zoo, case)

    for _ in range(TIMES if with_peers else 1):
        verdict = tier0.check_serving(deployment, on_fail="return")
        if verdict.verdict != "pass":
            break

    record(
        case.name, (), verdict, ask_peers(deployment, zoo, case) if with_peers else {}, case.declared["route"]
    )
    assert verdict.verdict == "pass", [
        result.explain() for result in [*verdict.with_status("fail"), *verdict.with_status("error")]
    ]
    judged = {result.id for result in verdict.with_status("pass")}
    assert {
        "parity.golden_rows",
        "parity.rows_alone",
        "health.can_predict",
        "identity.always_the_same",
    } <= judged


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in HEALTHY])
@pytest.mark.asyncio
async def test_the_client_reads_the_form_of_requests_from_the_schema(
    zoo_server: Deployment, zoo: Trained, case: Case
) -> None:
    deployment = case_in(zoo_server, zoo, case)
    assert deployment.golden is not None
    golden = deployment.golden.examples
    try:
        client = await BentoMLClient.for_service(deployment.url, declared=case.declared)
    except OpenAnswerError:
        client = await BentoMLClient.for_service(
            deployment.url,
            declared=case.declared | ({"predictions": WHERE[case.name]} if case.name in WHERE else IN_PARTS),
        )
    async with client:
        assert client.contract is not None
        if client.contract.one_row:
            golden = golden.take([0])
        rows = golden.records() if client.contract.by_name else golden.rows
        assert (await client.health_check())["status"] == "healthy"
        assert (
            golden.compare(
                await client.predict(rows), parts=client.contract.parts, tolerance=ROW_ALONE_TOLERANCE
            )
            is None
        )


@pytest.mark.parametrize("case", cases(*MUTANTS))
def test_a_defect_is_detected(
    zoo_server: Deployment,
    zoo: Trained,
    case: Case,
    record: Callable[..., None],
    with_peers: bool,  # noqa: FBT001
) -> None:
    deployment = case_in(zoo_server, zoo, case)

    verdict = tier0.check_serving(deployment, on_fail="return", groups=case.groups)

    peers = ask_peers(deployment, zoo, case) if with_peers else {}
    record(
        case.name.upper() if case.on_the_list else case.name,
        case.caught_by,
        verdict,
        peers,
        case.declared["route"],
    )
    failed = {result.id: result for result in verdict.with_status("fail")}
    assert failed.keys() & set(case.caught_by), [result.explain() for result in verdict.checks]
    caught = next(failed[check] for check in case.caught_by if check in failed)
    assert caught.message
    assert caught.causes
    if "status" in caught.evidence and caught.id != "health.ready":
        assert "body" in caught.evidence
    json.dumps(verdict.as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name)
        for case in HEALTHY
        if case.disturb == "load" or case.name == "dataframe"
    ],
)
def test_a_healthy_deployment_passes_with_one_core_busy(
    zoo_server: Deployment, zoo: Trained, case: Case
) -> None:
    with one_core_busy():
        tier0.check_serving(case_in(zoo_server, zoo, case))


@contextmanager
def one_core_busy() -> Iterator[None]:
    process = get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def test_every_mutant_of_the_list_is_in_the_table() -> None:
    from tests.defects.matrix import sorted_as

    listed = {defect.id for defect in sorted_as("mutant")}
    assert {case.name.upper() for case in MUTANTS if case.on_the_list} <= listed
