"""Healthy services in the forms that teams use do not fail, and no mutant of them passes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import tier0
from tests.strangers import models
from tests.strangers.cases import GOLDEN, SMALL, STRANGERS, Healthy, Parts, expected, golden
from tests.strangers.mutant_cases import MUTANTS, Mutant
from tests.support.gateway import FAULTS, Fault, Gateway, HangsUpAfter500
from tier0.contract.contract import ContractError
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckResult, Verdict
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment
from tier0.runs.examination import Examination

pytestmark = [pytest.mark.server, pytest.mark.timeout(200)]
HERE = Path(__file__).parent
GROUPS = ["health", "identity", "contract", "parity"]
SAMPLE = {"WithHealth"}
"""Services of few routes that `make test` starts; `make test-all` starts all."""


EACH = 8
"""One route of so many is asked by `make test`; `make test-all` asks all."""


def cases(of: tuple[Any, ...]) -> list[Any]:
    return [
        pytest.param(case, id=case.name, marks=[] if number % EACH == 0 else pytest.mark.slow)
        for number, case in enumerate(of)
    ]


@pytest.fixture(scope="session")
def strangers() -> Iterator[Deployment]:
    with Deployment.from_service(f"{HERE / 'services.py'}:Strangers", startup_timeout=90) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def mutants() -> Iterator[Deployment]:
    with Deployment.from_service(f"{HERE / 'mutants.py'}:Mutants", startup_timeout=90) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=30) as http:
        yield http


def judged(deployment: Deployment, case: Healthy, **how: Any) -> Verdict:
    deployment = replace(
        deployment, golden=golden(case.golden), contract={"route": case.route}, disturb="malformed"
    )
    return tier0.check_serving(replace(deployment, **how), on_fail="return", groups=GROUPS)


def result_of(verdict: Verdict, check: str) -> CheckResult:
    return next(result for result in verdict.checks if result.id == check)


def failures(verdict: Verdict) -> dict[str, str]:
    return {
        result.id: result.explain() for status in ("fail", "error") for result in verdict.with_status(status)
    }


def examples(name: str) -> GoldenRows:
    """Return the golden rows that are examples: what any caller may send."""
    rows = golden(name)
    return rows.take([index for index, origin in enumerate(rows.origins) if origin.kind == "example"])


def differences(found: Parts, memory: Parts, within: float) -> list[str]:
    """Return the parts that are not what the model in memory gives."""
    if within:
        return [
            name
            for name, values in found.items()
            if not np.allclose(values, memory[name], rtol=0, atol=within)
        ]
    return [name for name, values in found.items() if values != memory[name]]


# -- the test bed itself: healthy services are healthy, and mutants are not ----------------------------------


@pytest.mark.parametrize("case", cases(STRANGERS))
def test_a_stranger_gives_what_the_model_in_memory_gives(
    strangers: Deployment, http: httpx.Client, case: Healthy
) -> None:
    rows = examples(case.golden)

    found = case.ask(http, strangers.url, rows)

    if case.name == "image":
        assert found == {"pictures": [0]}
    else:
        assert found
        assert all(len(values) == len(rows) for values in found.values())
        assert differences(found, expected(rows), case.within) == []


@pytest.mark.parametrize("mutant", cases(MUTANTS))
def test_a_mutant_does_not(mutants: Deployment, http: httpx.Client, mutant: Mutant) -> None:
    rows = examples(mutant.golden)

    found = mutant.as_asked.ask(http, mutants.url, rows)

    assert differences(found, expected(rows), 0.0) or not found


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_rows_are_those_of_the_model_in_memory(name: str) -> None:
    model, rows, _ = GOLDEN[name]

    kept = examples(name)

    assert len(kept) == models.ROWS == len(rows)
    assert kept.predictions == np.asarray(model.predict(rows)).tolist()


def test_every_route_is_in_the_tables(strangers: Deployment, mutants: Deployment, http: httpx.Client) -> None:
    for deployment, routes in (
        (strangers, {case.route for case in STRANGERS}),
        (mutants, {f"/{mutant.name}" for mutant in MUTANTS}),
    ):
        schema = http.get(f"{deployment.url}/schema.json").json()
        assert {route["route"] for route in schema["routes"]} == routes


# -- Tier0's judgements --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases(STRANGERS))
def test_a_stranger_is_not_accused(strangers: Deployment, case: Healthy) -> None:
    try:
        verdict = judged(strangers, case)
    except ContractError:
        assert case.meaning not in {"structure", "assumed"}
        return  # inconclusive, with what to declare

    accused = failures(verdict)
    assert not accused.keys() - set(case.lax), accused
    compared = result_of(verdict, "parity.golden_rows")
    if case.meaning in {"structure", "assumed"}:
        assert compared.status == "pass", compared.explain()
        assert ("assumed" in verdict.target) == (case.meaning == "assumed")
    elif case.meaning == "either":
        assert compared.status == "pass" or (compared.status == "not_judged" and compared.message)
    else:
        assert compared.status == "not_judged", "this cannot be read without a person's declaration"
        assert compared.message


@pytest.mark.parametrize("mutant", cases(MUTANTS))
def test_a_mutant_never_passes(mutants: Deployment, mutant: Mutant) -> None:
    try:
        verdict = judged(mutants, mutant.as_asked)
    except Tier0Error:
        if mutant.visible:
            raise
        return  # it was not understood, which is no pass

    assert result_of(verdict, "parity.golden_rows").status != "pass"
    assert verdict.verdict != "pass"
    if mutant.visible:
        assert verdict.with_status("fail"), [result.explain() for result in verdict.checks]


def is_sampled(case: Healthy) -> bool:
    return case.service in SAMPLE


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.service, marks=[] if is_sampled(case) else pytest.mark.slow)
        for case in SMALL
    ],
)
def test_the_route_that_predicts_is_found(http: httpx.Client, case: Healthy) -> None:
    with Deployment.from_service(f"{HERE / 'services.py'}:{case.service}", startup_timeout=90) as deployment:
        rows = examples(case.golden)
        assert differences(case.ask(http, deployment.url, rows), expected(rows), case.within) == []
        if case.meaning == "either":
            try:
                verdict = judged(deployment, case, contract=None)
            except Tier0Error as problem:
                advised = re.findall(r'route = "([^"]*)"', str(problem))  # it may be found, or asked for
                routes = {
                    route["route"] for route in http.get(f"{deployment.url}/schema.json").json()["routes"]
                }
                assert advised, problem  # noqa: PT017 - likewise
                assert set(advised) <= routes, "it advises a route that is not there"
                return
        else:
            verdict = judged(deployment, case, contract=None)

    assert not failures(verdict).keys() - set(case.lax), failures(verdict)
    assert result_of(verdict, "parity.golden_rows").status == "pass"
    assert verdict.target["route"] == case.route


# -- gateways between Tier0 and the service ------------------------------------------------------------------


FEW, MANY, SEED = 0.04, 0.12, 1
STEADY = next(case for case in STRANGERS if case.name == "rows_lists")


@pytest.mark.parametrize(
    "faults", [pytest.param((fault,), id=fault) for fault in FAULTS] + [pytest.param(FAULTS, id="all")]
)
@pytest.mark.parametrize("share", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_stranger_behind_a_gateway_that_fails_now_and_then_is_not_accused(
    strangers: Deployment, faults: tuple[Fault, ...], share: float
) -> None:
    with Gateway(strangers.url, share, faults, SEED) as gateway:
        verdict = judged(strangers, STEADY, url=gateway.url, server=None)

    assert gateway.failed.total(), "the gateway did not fail once: choose another seed"
    assert gateway.failed.keys() <= set(faults)
    assert failures(verdict) == {}
    if share == FEW:
        assert result_of(verdict, "parity.golden_rows").status == "pass"


@pytest.mark.parametrize("name", ["labels_permuted", "one_row_off", "classes_permuted"])
def test_a_mutant_behind_that_gateway_is_still_caught(mutants: Deployment, name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    with Gateway(mutants.url, MANY, seed=SEED) as gateway:
        verdict = judged(mutants, mutant.as_asked, url=gateway.url, server=None)

    assert gateway.failed.total()
    assert verdict.verdict == "fail"
    assert [check for check in failures(verdict) if check.startswith("parity.")]
    statuses = {result.evidence.get("status") for result in verdict.with_status("fail")}
    assert not statuses & {502, 503, 504}, "a failure of the gateway counts as a failure of the service"


def test_a_gateway_that_never_fails_passes_everything_on(strangers: Deployment, http: httpx.Client) -> None:
    rows = examples(STEADY.golden)
    with Gateway(strangers.url, 0.0) as gateway:
        assert STEADY.ask(http, gateway.url, rows) == STEADY.ask(http, strangers.url, rows)
        refused = http.post(f"{gateway.url}{STEADY.route}", json={"rows": "none"})

    assert (gateway.passed, gateway.failed.total()) == (2, 0)
    assert refused.status_code == 400


@pytest.mark.parametrize("fault", FAULTS)
def test_a_gateway_fails_as_it_is_told(strangers: Deployment, fault: Fault) -> None:
    with Gateway(strangers.url, 1.0, [fault]) as gateway, httpx.Client(trust_env=False, timeout=30) as caller:
        if fault == "reset_reused":
            assert caller.get(f"{gateway.url}/livez").status_code == 200
        if fault.startswith("reset"):
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                caller.get(f"{gateway.url}/livez")
        else:
            response = caller.get(f"{gateway.url}/livez")
            assert str(response.status_code) == fault
            assert response.headers.get("Retry-After") == ("0" if fault == "429" else None)

    assert gateway.failed == {fault: 1}


def predict(body: Any) -> dict[str, list[int]]:
    """Predict as a team does that leaves bad input to the model; the schema of the rows is asked first."""
    if set(body) != {"rows"} or not all(
        type(value) in {int, float, type(None)} for row in body["rows"] for value in row
    ):
        raise TypeError("rows of numbers are expected")
    predictions: list[int] = models.IRIS.predict(np.array(body["rows"], dtype=float)).tolist()
    return {"predictions": predictions}


def test_what_hangs_up_after_a_500_is_not_taken_for_a_crash() -> None:
    contract = {
        "route": "/predict",
        "features": "rows",
        "style": "rows",
        "predictions": "predictions",
        "health": "/livez",
    }
    with HangsUpAfter500(predict) as server:
        deployment = Deployment.from_url(
            server.url, golden=golden("iris"), contract=contract, disturb="malformed"
        )
        verdicts = [
            tier0.check_serving(deployment, on_fail="return", groups=[*GROUPS, "security"]) for _ in range(5)
        ]

    assert server.hung_up
    accused = [failures(verdict) for verdict in verdicts]
    failed = [result for verdict in verdicts for result in verdict.with_status("fail")]
    assert failed
    assert {result.evidence.get("status") for result in failed} == {500}, "a failure without a response"
    assert not [check for found in accused for check in found if check.startswith(("parity.", "health."))], (
        accused
    )
    assert len({frozenset(found) for found in accused}) == 1, "five runs accuse it of different things"


def test_hanging_up_after_a_500_is_done_as_uvicorn_does_it() -> None:
    with HangsUpAfter500(predict) as server:
        (
            refused,
            answered,
        ) = (  # on a connection each: one that is used again may be closed before the request, or during it
            httpx.post(f"{server.url}/predict", json={"rows": rows}, trust_env=False, timeout=30)
            for rows in ("none", models.IRIS_ROWS[:2].tolist())
        )

    assert refused.status_code == 500
    assert "connection" not in refused.headers
    assert answered.json() == {"predictions": models.IRIS.predict(models.IRIS_ROWS[:2]).tolist()}
    assert server.hung_up == 1


# -- declarations --------------------------------------------------------------------------------------------


UNREADABLE = {
    "margins",
    "percent_text",
    "risk_band",
    "constant_field",
}
"""What no contract of today can declare: it stays not checked."""
DRAFTED = [
    case
    for case in STRANGERS
    if case.meaning in {"assumed", "declaration", "either"} and case.name not in UNREADABLE
]
TWINS = {
    "names_swapped": "names",
    "names_permuted": "names",
    "name_of_one_swapped": "one_name",
    "booleans_inverted": "booleans",
    "yes_no_swapped": "yes_no",
    "negative_array": "positive_array",
    "negative_named": "positive_named",
    "negative_percent": "percent",
    "negative_scores": "scores",
    "positive_one_off": "positive_numbers",
    "confidence_of_another_row": "confidence",
    "triples_of_another_row": "triples",
    "rounded_price_of_another": "price_rounded_list",
    "quantiles_shifted": "quantiles",
    "other_names_swapped": "other_names",
    "request_id_of_another_row": "request_id",
    "one_hot_permuted": "one_hot",
    "scores_of_predicted": "scores",
    "rounded_of_another_model": "rounded_one",
    "price_text_of_another": "price_text",
    "thousands_of_another_row": "price_thousands",
    "file_of_another_order": "file",
    "items_in_another_order": "items_with_ids",
}
"""A mutant, and the healthy route whose contract a team has committed."""


def drafted(deployment: Deployment, case: Healthy) -> dict[str, Any]:
    """Return the contract that Tier0 drafts of a healthy route, as a team would read it from the file."""
    examination = Examination(replace(deployment, golden=golden(case.golden), contract={"route": case.route}))
    draft = examination.draft()
    assert draft.matches, draft.as_text("URL")
    declared = tomllib.loads(draft.as_text("URL"))
    return {name: value for name, value in declared.items() if name != "schema"}


@pytest.mark.parametrize("case", cases(tuple(DRAFTED)))
def test_a_drafted_contract_is_what_is_missing(strangers: Deployment, case: Healthy) -> None:
    verdict = judged(strangers, case, contract=drafted(strangers, case))

    assert not failures(verdict).keys() - set(case.lax), failures(verdict)
    assert result_of(verdict, "parity.golden_rows").status == "pass"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "names_swapped" else pytest.mark.slow) for name in TWINS]
)
def test_a_mutant_of_what_was_declared_fails(strangers: Deployment, mutants: Deployment, name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    twin = next(case for case in STRANGERS if case.name == TWINS[name])
    contract = {**drafted(strangers, twin), "route": f"/{name}"}

    assert (
        result_of(judged(mutants, mutant.as_asked, contract=contract), "parity.golden_rows").status == "fail"
    )
