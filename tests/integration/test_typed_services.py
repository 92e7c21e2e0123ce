"""Services that describe their requests in OpenAPI, in the forms that teams write with FastAPI."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pandas as pd
import pytest
from fastapi import APIRouter, Body, FastAPI, Form, Header, HTTPException, Request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.in_process import serving
from tests.support.model_servers import DEFECTS, GOLDEN, healthy
from tests.support.wrong_models import UNDECLARED, Answers
from tier0 import Deployment, check_serving
from tier0.contract.contract import ContractError
from tier0.core.verdict import Verdict
from tier0.runs.examination import Examination

Predict = Callable[[pd.DataFrame], Answers]
SAMPLE = ("columns permuted", "labels swapped")
"""The defects of `make test`; the others are for `make test-all`."""
FEW = ("columns permuted", "labels swapped", "a constant", UNDECLARED)


UNTOUCHED = ("/train", "/feedback", "/outcomes", "/explain")
"""Routes that get no request: three change something, and one does not predict."""
MAX_GETS = 25


class Customer(BaseModel):
    age: float
    income: float | None = None
    seen: float


class Customers(BaseModel):
    customers: list[Customer]


class Labelled(Customers):
    labels: list[int]


class Rows(BaseModel):
    rows: list[list[float | None]] | list[Customer]


class Region(StrEnum):
    north = "north"
    south = "south"


class Counted:
    """An application, and the requests that it got."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.requests = app, set[tuple[str, str]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.requests.add((scope["method"], scope["path"]))
        await self.app(scope, receive, send)


def table(customers: list[Customer]) -> pd.DataFrame:
    if not customers:
        raise HTTPException(400, "no customer was sent")
    return pd.DataFrame([customer.model_dump() for customer in customers]).astype(float)


def one(predict: Predict, customer: Customer) -> dict[str, Any]:
    return {"prediction": predict(table([customer]))[0][0]}


def many(predict: Predict, customers: list[Customer]) -> dict[str, Any]:
    return {"predictions": predict(table(customers))[0]}


def put(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.put("/predict")
    def respond(customers: list[Customer]) -> dict[str, Any]:
        return many(predict, customers)

    return app


def one_or_many(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(body: Customer | list[Customer]) -> dict[str, Any]:
        return many(predict, body if isinstance(body, list) else [body])

    return app


def lists_or_records(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(body: Rows) -> dict[str, Any]:
        records = [
            row
            if isinstance(row, Customer)
            else Customer.model_validate(dict(zip(Customer.model_fields, row, strict=True)))
            for row in body.rows
        ]
        return many(predict, records)

    return app


def only_choice(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/models/{model}/predict")
    def respond(
        model: Literal["churn"], mode: Literal["label"], customers: list[Customer], limit: int = 9
    ) -> dict[str, Any]:
        return {"model": model, "mode": mode, "limit": limit, **many(predict, customers)}

    return app


def inherited(predict: Predict) -> Starlette:
    """A description as springdoc writes it: version 3.0, allOf, nullable, and a place of its own."""
    number = {"type": "number", "format": "double"}
    schemas = {
        "Person": {"type": "object", "properties": {"age": number}, "required": ["age"]},
        "Customer": {
            "allOf": [
                {"$ref": "#/components/schemas/Person"},
                {
                    "type": "object",
                    "properties": {"income": {**number, "nullable": True}, "seen": number},
                    "required": ["seen"],
                },
            ]
        },
    }
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Customer"}}
    body = {"content": {"application/json": {"schema": rows}}}
    document = {
        "openapi": "3.0.1",
        "servers": [{"url": "http://localhost:8080"}],
        "paths": {"/api/score": {"post": {"requestBody": body, "responses": {}}}},
        "components": {"schemas": schemas},
    }

    async def respond(request: Request) -> JSONResponse:
        customers = [Customer.model_validate(customer) for customer in await request.json()]
        return JSONResponse(many(predict, customers))

    return Starlette(
        routes=[
            Route("/v3/api-docs", lambda _: JSONResponse(document)),
            Route("/api/score", respond, methods=["POST"]),
        ]
    )


def renamed_description(predict: Predict) -> FastAPI:
    app = FastAPI(openapi_url="/internal/description.json")
    app.include_router(router(predict), prefix="/shop/v3")
    return app


def prefixed(predict: Predict) -> FastAPI:
    app = FastAPI(openapi_url="/api/v1/openapi.json", docs_url=None)
    app.include_router(router(predict), prefix="/api/v1")
    return app


def router(predict: Predict) -> APIRouter:
    made = APIRouter()

    @made.post("/predict")
    def respond(customers: list[Customer]) -> dict[str, Any]:
        return many(predict, customers)

    @made.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok"}

    return made


def mounted(predict: Predict) -> FastAPI:
    app, inner = FastAPI(), FastAPI()
    inner.include_router(router(predict))
    app.mount("/ml", inner)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok"}

    return app


def many_routes(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/train")
    def train(body: Labelled) -> None:
        raise NotImplementedError

    @app.post("/predictions/feedback")
    def feedback(body: Customers) -> dict[str, Any]:
        return many(predict, body.customers)

    @app.post("/outcomes", description="Stores outcomes, for the next training.")
    def outcomes(body: Customers) -> dict[str, Any]:
        return many(predict, body.customers)

    @app.post("/score", description="Scores customers, and stores the scores.")
    def score(body: Customers) -> dict[str, Any]:
        return many(predict, body.customers)

    @app.post("/explain")
    def explain(body: Customers) -> dict[str, Any]:
        return {"explanations": [0.0 for _ in body.customers]}

    return app


def single_and_batch(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/v1/predict", deprecated=True)
    def old(body: Customer) -> dict[str, Any]:
        return {"label": 7}

    @app.post("/v2/predict/single")
    def single(body: Annotated[Customer, Body(embed=True)]) -> dict[str, Any]:
        return one(predict, body)

    @app.post("/v2/predict/batch")
    def batch(body: Customers) -> dict[str, Any]:
        return many(predict, body.customers)

    return app


class Identified(Customer):
    id: UUID
    batch_id: int


class Options(BaseModel):
    limit: float = 0.5


class WithOptions(BaseModel):
    options: Options = Options()
    customers: list[dict[str, float | None]]
    parameters: dict[str, Any] | None = None
    request_id: UUID
    timestamp: datetime


def optional_beside_rows(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(body: WithOptions) -> dict[str, Any]:
        return many(predict, [Customer.model_validate(customer) for customer in body.customers])

    return app


def ids_in_rows(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(customers: list[Identified]) -> list[dict[str, Any]]:
        rows = [Customer(**customer.model_dump(include=set(Customer.model_fields))) for customer in customers]
        labels = many(predict, rows)["predictions"]
        return [
            {"id": customer.id, "prediction": label}
            for customer, label in zip(customers, labels, strict=True)
        ]

    return app


class Found(NamedTuple):
    """A service that is found without a contract.

    Attributes:
        make: makes the application of a model.
        path: path of the URL that the user passes.
    """

    make: Callable[[Predict], ASGIApp]
    path: str = ""


FOUND = [
    Found(put),
    Found(one_or_many),
    Found(lists_or_records),
    Found(only_choice),
    Found(inherited),
    Found(renamed_description),
    Found(prefixed),
    Found(prefixed, "/api/v1"),
    Found(prefixed, "/api/v1/predict"),
    Found(renamed_description, "/shop/v3"),
    Found(mounted),
    Found(mounted, "/ml"),
    Found(mounted, "/ml/predict"),
    Found(many_routes),
    Found(single_and_batch),
    Found(optional_beside_rows),
    Found(ids_in_rows),
]


def named(case: Found) -> str:
    return case.make.__name__ + case.path.replace("/", "-")


@contextmanager
def running(case: Found, predict: Predict) -> Iterator[tuple[str, Counted]]:
    """Serve the application, and yield the user's URL and the application."""
    app = Counted(case.make(predict))
    with serving([Mount("/", app)]) as url:
        yield url + case.path, app


def verdict_of(url: str, contract: dict[str, Any] | None = None, *groups: str) -> Verdict:
    deployment = Deployment.from_url(url, golden=GOLDEN, contract=contract, retries=0)
    return check_serving(deployment, groups=groups or ("parity.golden_rows", "health"), on_fail="return")


@pytest.mark.parametrize("case", FOUND, ids=named)
def test_it_is_found_without_a_contract(case: Found) -> None:
    with running(case, healthy) as (url, app):
        verdict = verdict_of(url)

    assert verdict.exit_status == 0, verdict.reason
    assert "parity.golden_rows" in {result.id for result in verdict.with_status("pass")}
    asked = [path for method, path in app.requests if method != "GET"]
    assert not [path for path in asked if path.endswith(UNTOUCHED)]
    assert sum(method == "GET" for method, _ in app.requests) <= MAX_GETS


def is_sampled(case: Found, defect: str) -> bool:
    return defect == SAMPLE[0] or (defect in SAMPLE and not case.path)


@pytest.mark.parametrize(
    ("case", "defect"),
    [
        pytest.param(
            case,
            defect,
            id=f"{named(case)}-{defect}",
            marks=[] if is_sampled(case, defect) else pytest.mark.slow,
        )
        for case in FOUND
        for defect in FEW
    ],
)
def test_a_defect_behind_it_does_not_pass(case: Found, defect: str) -> None:
    with running(case, DEFECTS[defect]()) as (url, _):
        verdict = verdict_of(url, None, "parity.golden_rows")

    is_assumed = case.make in {optional_beside_rows, ids_in_rows}  # which only matching rows confirm
    assert verdict.exit_status == (2 if defect == UNDECLARED or is_assumed else 1)


@pytest.mark.parametrize("path", ["", "/api/v1", "/api/v1/predict"])
def test_the_drafted_contract_fits_the_same_url(path: str) -> None:
    with running(Found(prefixed, path), healthy) as (url, _):
        draft = Examination(Deployment.from_url(url, golden=GOLDEN)).draft()
        verdict = verdict_of(url, draft.declared)

    assert draft.matches
    assert verdict.exit_status == 0


def test_a_draft_has_no_health_route_that_was_not_found() -> None:
    with running(Found(put), healthy) as (without, _), running(Found(mounted), healthy) as (with_health, _):
        drafts = [
            Examination(Deployment.from_url(url, golden=GOLDEN)).draft() for url in (without, with_health)
        ]

    assert ["health" in draft.declared for draft in drafts] == [False, True]


def in_the_url(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.get("/predict")
    def respond(age: float, seen: float, income: float | None = None) -> dict[str, Any]:
        return one(predict, Customer(age=age, income=income, seen=seen))

    return app


def in_the_query_of_a_post(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(age: float, seen: float, income: float | None = None) -> dict[str, Any]:
        return one(predict, Customer(age=age, income=income, seen=seen))

    return app


def form(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(age: Annotated[float, Form()], seen: Annotated[float, Form()]) -> dict[str, Any]:
        return one(predict, Customer(age=age, seen=seen))

    return app


def untyped(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    async def respond(request: Request) -> dict[str, Any]:
        body = Customers.model_validate(await request.json())
        return many(predict, body.customers)

    return app


def query(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(region: Region, customers: list[Customer]) -> dict[str, Any]:
        return {"region": region, **many(predict, customers)}

    return app


def placeholder(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/{region}/predict")
    def respond(region: Region, customers: list[Customer]) -> dict[str, Any]:
        return {"region": region, **many(predict, customers)}

    return app


def header(predict: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def respond(x_tenant: Annotated[str, Header()], customers: list[Customer]) -> dict[str, Any]:
        return {"tenant": x_tenant, **many(predict, customers)}

    return app


def only_training(_: Predict) -> FastAPI:
    app = FastAPI()

    @app.post("/train")
    def train(body: Labelled) -> None:
        raise NotImplementedError

    return app


DECLARED = {"features": "customers", "style": "records", "predictions": "predictions"}
ASKED: list[tuple[Callable[[Predict], ASGIApp], str, dict[str, Any] | None]] = [
    (in_the_url, "takes its input in the URL", None),
    (in_the_query_of_a_post, "takes its input in the URL", None),
    (form, "takes application/x-www-form-urlencoded", None),
    (untyped, "does not show its body", {"route": "/predict", **DECLARED}),
    (
        query,
        r"region \(north or south\).*route = \"/predict\?region=north\"",
        {"route": "/predict?region=north"},
    ),
    (
        placeholder,
        r"region \(north or south\).*\[placeholders\]\s*region = \"north\"",
        {"route": "/{region}/predict", "placeholders": {"region": "south"}},
    ),
    (header, r"needs a header \(x-tenant\).*\[headers\]", {"headers": {"x-tenant": "a"}}),
    (only_training, "not clear which route predicts", None),
]


@pytest.mark.parametrize(
    ("make", "reason", "declared"), ASKED, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_missing_is_asked_for(
    make: Callable[[Predict], ASGIApp], reason: str, declared: dict[str, Any] | None
) -> None:
    with running(Found(make), healthy) as (url, app):
        try:
            verdict = verdict_of(url)
            told = "\n".join(result.message for result in verdict.checks)
            assert verdict.exit_status == 2
        except ContractError as problem:
            told = str(problem)
        assert not {path for method, path in app.requests if method != "GET" and path.endswith(UNTOUCHED)}
        if declared is not None:
            assert verdict_of(url, declared).exit_status == 0

    assert re.search(reason, told, re.DOTALL)
