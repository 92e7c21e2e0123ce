"""Defects of the application's client: the service is healthy, but the application gets wrong outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import tier0
from tests.support.in_process import CONTRACT, GOLDEN, App, running
from tier0.contract.service_schema import find_contract
from tier0.runs.deployment import Deployment

pytestmark = pytest.mark.timeout(60)
Rows = list[dict[str, float]]


class AnotherModel(App):
    """A service on the default address."""

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {"predictions": [first + second for first, second in rows], "model_tag": "other:1"}


class Client:
    """An application's client, which sends rows as this service takes them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, body: Any) -> Any:
        response = httpx.post(f"{self.url}/predict", json=body, trust_env=False)
        response.raise_for_status()
        return response.json()

    def predict(self, records: Rows) -> Any:
        return self.post({"rows": [list(record.values()) for record in records]})

    def predict_batch(self, records: Rows) -> Any:
        return self.predict(records)


class AsyncClient:
    """The same, asynchronous, and with nothing but predictions in what it returns."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, trust_env=False)

    async def predict(self, records: Rows) -> list[float]:
        response = await self.http.post(
            "/predict", json={"rows": [list(record.values()) for record in records]}
        )
        predictions: list[float] = response.json()["predictions"]
        return predictions

    async def close(self) -> None:
        await self.http.aclose()


class DefaultAddress(Client):
    default = ""

    def __init__(self, url: str) -> None:
        os.environ["BENTOML_SERVICE_URL"] = url
        super().__init__(os.environ.pop("BENTOML_URL", self.default))
        del os.environ["BENTOML_SERVICE_URL"]


class ConfiguredTooEarly(Client):
    default = ""
    current: Client | None = None

    def __init__(self, url: str) -> None:
        if ConfiguredTooEarly.current is not None:
            ConfiguredTooEarly.current.url = url
        super().__init__(self.default)


class NotWrapped(Client):
    def predict(self, records: Rows) -> Any:
        return self.post([list(record.values()) for record in records])


class ExpectsAnObject(Client):
    def predict(self, records: Rows) -> Any:
        return {
            "predictions": self.post({"rows": [list(record.values()) for record in records]})["predictions"][
                "values"
            ]
        }


class OtherEnvelopeForBatches(Client):
    def predict_batch(self, records: Rows) -> Any:
        return self.post({"instances": [list(record.values()) for record in records]})


class OrderOfKeys(Client):
    def predict(self, records: Rows) -> Any:
        return self.post(
            {"rows": [[record[name] for name in sorted(record, reverse=True)] for record in records]}
        )


MUTANTS: dict[str, tuple[type[Client], str]] = {
    "PKG12": (DefaultAddress, "parity.through_client"),
    "RES21": (ConfiguredTooEarly, "parity.through_client"),
    "CON01": (NotWrapped, "parity.through_client"),
    "CON14": (ExpectsAnObject, "parity.through_client"),
    "CON16": (OtherEnvelopeForBatches, "parity.batch_through_client"),
    "columns_in_another_order": (OrderOfKeys, "parity.through_client"),
}


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, str]]:
    with running(App()) as url, running(AnotherModel()) as other:
        yield url, other


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_is_detected(mutant: str, urls: tuple[str, str], record: Callable[..., None]) -> None:
    make, check = MUTANTS[mutant]
    if hasattr(make, "default"):
        make.default = urls[1]
    deployment = Deployment(urls[0], GOLDEN, "small:1", find_contract({}, CONTRACT), client=make)

    verdict = tier0.check_serving(deployment, on_fail="return")

    record(mutant, (check,), verdict)
    failed = {result.id for result in verdict.with_status("fail")}
    assert check in failed
    assert failed <= {"parity.through_client", "parity.batch_through_client"}, "the service itself is healthy"


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_a_correct_client_passes(make: Any, urls: tuple[str, str], record: Callable[..., None]) -> None:
    verdict = tier0.check_serving(
        Deployment(urls[0], GOLDEN, "small:1", find_contract({}, CONTRACT), client=make), on_fail="return"
    )

    record(f"application client: {make.__name__}", (), verdict)
    assert verdict.verdict == "pass"
    statuses = {result.id: result.status for result in verdict.checks}
    assert statuses["parity.through_client"] == "pass"
    assert statuses["parity.batch_through_client"] == ("pass" if make is Client else "not_judged")
