"""Services whose requests and responses a contract declares: healthy ones, and wrong ones."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any, ClassVar

import pandas as pd
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import tier0
from tests.support.in_process import serving
from tests.support.model_servers import DEFECTS, GOLDEN, healthy
from tests.support.wrong_models import COLUMNS, Answers
from tier0 import Deployment, check_serving
from tier0.client import SyncModelClient
from tier0.contract.adapter import AdapterError
from tier0.contract.contract import ContractError, check_declared, get_path
from tier0.core.verdict import NotJudgedError, Verdict

Predict = Callable[[pd.DataFrame], Answers]
REFUSED = PlainTextResponse("not a request of this service", 400)


def frame_of(rows: Any) -> pd.DataFrame | None:
    """Return rows as a table; None if they are not rows of numbers or of missing values."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        return None
    if any(len(row) != len(COLUMNS) or not all(map(is_value, row)) for row in rows):
        return None
    return pd.DataFrame(rows, columns=COLUMNS, dtype=float)


def is_value(value: Any) -> bool:
    return value is None or (type(value) in {int, float} and math.isfinite(value))


class Unusual:
    """PUT, a version in a header, status 207, and outputs in a list of named objects."""

    declared: ClassVar[dict[str, Any]] = {
        "route": "/tenants/{tenant}/score",
        "placeholders": {"tenant": "a b"},
        "method": "PUT",
        "headers": {"Accept-Version": "2"},
        "statuses": [207],
        "features": "input.rows",
        "predictions": "results[kind=label].values",
        "probabilities": "results[kind=probability].values",
        "health": "/health",
    }

    def __init__(self) -> None:
        self.predict: Predict = healthy

    def routes(self) -> list[Route]:
        return [
            Route("/tenants/a b/score", self.respond, methods=["PUT"]),
            Route("/health", lambda _: JSONResponse({"status": "ok"})),
        ]

    async def respond(self, request: Request) -> Response:
        if request.headers.get("accept-version") != "2":
            return PlainTextResponse("which version?", 406)
        try:
            body = json.loads(await request.body())
        except ValueError:
            return REFUSED
        inner = body.get("input") if isinstance(body, dict) and set(body) == {"input"} else None
        frame = frame_of(inner.get("rows")) if isinstance(inner, dict) and set(inner) == {"rows"} else None
        if frame is None:
            return REFUSED
        labels, probabilities = self.predict(frame)
        results = [{"kind": "probability", "values": probabilities}, {"kind": "label", "values": labels}]
        return JSONResponse({"results": results}, 207)


class Delimited:
    """CSV in and out, as a container for SageMaker; a missing number is an empty cell."""

    missing = ""
    declared: ClassVar[dict[str, Any]] = {"protocol": "sagemaker"}

    def __init__(self) -> None:
        self.predict: Predict = healthy

    def routes(self) -> list[Route]:
        return [
            Route("/invocations", self.respond, methods=["POST"]),
            Route("/ping", lambda _: PlainTextResponse("")),
        ]

    async def respond(self, request: Request) -> Response:
        if request.headers.get("content-type") != "text/csv":
            return PlainTextResponse("", 415)
        text = (await request.body()).decode(errors="replace")
        try:
            rows = [
                [None if cell == self.missing else float(cell) for cell in row]
                for row in csv.reader(io.StringIO(text))
                if row
            ]
        except (ValueError, csv.Error):
            return REFUSED
        frame = frame_of(rows)
        if frame is None:
            return REFUSED
        return Response("\n".join(map(str, self.predict(frame)[0])), media_type="text/csv")


class DelimitedWithNan(Delimited):
    """The same, but a missing number is nan, and an empty cell is refused."""

    missing = "nan"


class Encoded:
    """A body and a response that only an adapter can write and read."""

    declared: ClassVar[dict[str, Any]] = {
        "route": "/score",
        "adapter": f"{__name__}:Wire",
        "health": "/health",
    }

    def __init__(self) -> None:
        self.predict: Predict = healthy

    def routes(self) -> list[Route]:
        return [
            Route("/score", self.respond, methods=["POST"]),
            Route("/health", lambda _: JSONResponse({"status": "ok"})),
        ]

    async def respond(self, request: Request) -> Response:
        try:
            text = json.loads(await request.body())["text"]
            frame = frame_of([[json.loads(cell) for cell in row.split(";")] for row in text.split("|")])
        except (ValueError, TypeError, KeyError, AttributeError):
            return REFUSED
        if frame is None:
            return REFUSED
        labels, probabilities = self.predict(frame)
        return JSONResponse({"o": "|".join(map(str, labels)), "p": json.dumps(probabilities)})


class Wire:
    """The adapter of `Encoded`."""

    def body(self, columns: list[str], rows: list[list[Any]]) -> Any:
        del columns
        return {"text": "|".join(";".join(map(json.dumps, row)) for row in rows)}

    def read(self, response: Any) -> dict[str, Any]:
        labels = [int(label) for label in response["o"].split("|")]
        return {"predictions": labels, "probabilities": json.loads(response["p"])}


class Incomplete:
    """An adapter without a method."""

    def body(self, columns: list[str], rows: list[list[Any]]) -> Any:
        return [columns, rows]


class Raises(Wire):
    """An adapter that cannot read the response."""

    def read(self, response: Any) -> dict[str, Any]:
        raise KeyError(next(iter(response)))


SERVICES = [Unusual, Delimited, DelimitedWithNan, Encoded]


def verdict_of(url: str, declared: dict[str, Any], groups: tuple[str, ...]) -> Verdict:
    deployment = Deployment.from_url(url, golden=GOLDEN, contract=declared, disturb="malformed", retries=0)
    return check_serving(deployment, groups=groups, on_fail="return")


@pytest.mark.parametrize("kind", SERVICES)
def test_a_healthy_service_passes(kind: type[Any]) -> None:
    with serving(kind().routes()) as url:
        verdict = verdict_of(url, kind.declared, ("parity", "identity", "contract", "health", "concurrency"))

    assert [result.message for result in verdict.checks if result.status in {"fail", "error"}] == []
    passed = {result.id for result in verdict.with_status("pass")}
    assert {"parity.golden_rows", "parity.rows_alone", "parity.shuffled", "contract.empty_rows"} <= passed


@pytest.mark.parametrize("kind", SERVICES)
@pytest.mark.parametrize("defect", ["labels swapped", "columns permuted"])
def test_a_wrong_service_fails(kind: type[Any], defect: str) -> None:
    service = kind()
    service.predict = DEFECTS[defect]()
    with serving(service.routes()) as url:
        verdict = verdict_of(url, kind.declared, ("parity.golden_rows",))

    assert verdict.exit_status == 1


@pytest.mark.parametrize("kind", SERVICES)
def test_it_is_compared_by_its_contract(kind: type[Any]) -> None:
    service = kind()
    service.predict = DEFECTS["labels swapped"]()
    with serving(kind().routes()) as right, serving(service.routes()) as wrong:
        how: dict[str, Any] = {"golden": GOLDEN, "contract": kind.declared, "on_fail": "return"}
        same, other = tier0.compare(right, right, **how), tier0.compare(right, wrong, **how)

    assert (same.exit_status, other.exit_status) == (0, 1)


@pytest.mark.parametrize("kind", SERVICES)
def test_the_client_sends_what_the_contract_declares(kind: type[Any]) -> None:
    frame = pd.DataFrame(GOLDEN.examples.rows[:3], columns=COLUMNS)
    declared = {**kind.declared, "predictions": kind.declared.get("predictions", "")}
    if kind is Encoded:
        del declared["predictions"]
    if issubclass(kind, Delimited):
        declared |= {"features": "", "style": "csv"}
    with serving(kind().routes()) as url, SyncModelClient.for_service(url, declared=declared) as client:
        assert client.predict(frame)["predictions"] == GOLDEN.examples.predictions[:3]


def test_a_reproducing_command_names_method_and_content_type() -> None:
    service = Unusual()
    service.predict = DEFECTS["labels swapped"]()
    with serving(service.routes()) as url:
        (failed,) = verdict_of(url, Unusual.declared, ("parity.golden_rows",)).with_status("fail")

    assert f"-X PUT {url}/tenants/a%20b/score" in failed.reproduce


def test_an_adapter_that_cannot_read_the_response_is_no_verdict() -> None:
    declared = {**Encoded.declared, "adapter": f"{__name__}:Raises"}
    with (
        serving(Encoded().routes()) as url,
        pytest.raises(NotJudgedError, match="Raises cannot read the response: KeyError"),
    ):
        verdict_of(url, declared, ("parity.golden_rows",))


@pytest.mark.parametrize(
    ("adapter", "message"),
    [("Incomplete", "it has no read"), ("Nothing", "cannot be imported"), ("/x.py", "expected module:name")],
)
def test_an_unusable_adapter_is_an_error_before_any_request(adapter: str, message: str) -> None:
    declared = {"route": "/score", "adapter": f"{__name__}:{adapter}"}

    with pytest.raises((AdapterError, ContractError), match=message):
        check_declared(declared)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"route": "/a/{b}/c"}, "placeholder without a value"),
        ({"route": "/a", "placeholders": {"b": "c"}}, "does not have"),
        ({"route": "/a/{b}", "placeholders": {"b": []}}, "invalid placeholders"),
        ({"method": "GET"}, "POST, PUT, PATCH"),
        ({"statuses": [100]}, "status codes"),
        ({"headers": {"a b": "c"}}, "names of headers"),
        ({"headers": {"a": "c\n"}}, "ASCII"),
    ],
)
def test_an_invalid_declaration_names_its_key(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_declared(declared)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("items[name=b].value", 2),
        ("items.[name=b].value", 2),
        ("items[1].value", 2),
        ("items.1.value", 2),
        ("items[name=c].value", None),
        ("items[other=b].value", None),
        ("items.value[name=b]", None),
        ("*[name=b]", None),
    ],
)
def test_a_path_selects_by_position_and_by_name(path: str, expected: object) -> None:
    assert get_path({"items": [{"name": "a", "value": 1}, {"name": "b", "value": 2}]}, path) == expected
