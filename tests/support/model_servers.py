"""Model servers in this process that speak the protocols of others, healthy or with a defect.

Each is strict: what is no request of its protocol gets status 400.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import tier0
from tests.support.wrong_models import COLUMNS, Answers, answers, defects

FIRST_SEEN = 1.7e12
TEN_MINUTES = 600_000


def _customers(seed: int) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, 300).astype(float),
            "income": rng.lognormal(10, 0.6, 300).round(2),
            "seen": FIRST_SEEN + rng.integers(0, TEN_MINUTES, 300).astype(float),
        }
    )
    hurry = (frame["seen"] - FIRST_SEEN) / TEN_MINUTES
    score = frame["age"] / 20 + np.log(frame["income"]) - 4 * hurry + rng.normal(0, 0.4, 300)
    frame.loc[rng.random(300) < 0.2, "income"] = math.nan
    return frame, np.digitize(score, [9.5, 12.0])


def _fitted(seed: int) -> Any:
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), COLUMNS)
    )
    return make_pipeline(columns, LogisticRegression()).fit(*_customers(seed))


MODEL, OTHER = _fitted(1), _fitted(2)
GOLDEN = tier0.golden_rows(MODEL, _customers(1)[0].head(40))


def healthy(frame: pd.DataFrame) -> Answers:
    return answers(MODEL, frame)


DEFECTS = defects(MODEL, OTHER)


class InvalidRequestError(ValueError):
    """The body is not a request of the protocol."""


class ModelServer:
    """A server of one protocol, whose model can be replaced while it runs.

    Attributes:
        protocol: what it speaks, one of `PROTOCOLS`.
        predict: the model.
    """

    def __init__(self, protocol: str) -> None:
        self.predict: Callable[[pd.DataFrame], Answers] = healthy
        self.protocol = protocol

    def routes(self) -> list[Route]:
        return {
            "openapi": self._openapi,
            "mlflow": self._mlflow,
            "v2": self._v2,
            "v2 by column": self._v2_by_column,
            "v1": self._v1,
            "sagemaker": self._sagemaker,
        }[self.protocol]()

    def _openapi(self) -> list[Route]:
        number = {"anyOf": [{"type": "number"}, {"type": "null"}]}
        customer = {"type": "object", "properties": dict.fromkeys(COLUMNS, number), "required": COLUMNS}
        body = {
            "type": "object",
            "properties": {
                "customers": {"type": "array", "items": {"$ref": "#/components/schemas/Customer"}}
            },
            "required": ["customers"],
        }
        answer = {
            "type": "object",
            "properties": {
                "labels": {"type": "array", "items": {"type": "integer"}},
                "probabilities": {
                    "type": "array",
                    "items": {"type": "array", "items": {"type": "number"}},
                },
            },
        }

        def content(schema: Any) -> dict[str, Any]:
            return {"content": {"application/json": {"schema": schema}}}

        post = {"requestBody": content(body), "responses": {"200": content(answer)}}
        document = {
            "openapi": "3.1.0",
            "info": {"title": "customers", "version": "1"},
            "paths": {"/classify": {"post": post}, "/healthz": {"get": {"responses": {}}}},
            "components": {"schemas": {"Customer": customer}},
        }

        def classify(body: Any) -> Any:
            labels, probabilities = self.predict(_from_records(_only(body, "customers")))
            return {"labels": labels, "probabilities": probabilities}

        return [
            _page("/openapi.json", document),
            _page("/healthz", {"status": "ok"}),
            _post("/classify", classify),
        ]

    def _mlflow(self) -> list[Route]:
        def invocations(body: Any) -> Any:
            if isinstance(body, dict) and body.keys() == {"dataframe_split"}:
                split = body["dataframe_split"]
                frame = _from_rows(split.get("data"), split.get("columns"))
            else:
                frame = _from_records(_only(body, "dataframe_records"))
            return {"predictions": self.predict(frame)[0]}

        ping = Route("/ping", lambda _: PlainTextResponse("\n"))
        version = Route("/version", lambda _: PlainTextResponse("3.17.2"))
        return [ping, version, _post("/invocations", invocations)]

    def _v2(self) -> list[Route]:
        def infer(body: Any) -> Any:
            (tensor,) = _only(body, "inputs")
            if tensor.get("name") != "input-0":
                raise InvalidRequestError("input-0 is missing")
            count, width = tensor["shape"]
            values = [math.nan if value is None else value for value in tensor["data"]]
            rows = [values[start : start + width] for start in range(0, count * width, width)]
            return self._tensors(_from_rows(rows, COLUMNS), "predict", "predict_proba")

        return self.infer_routes([], infer)

    def _v2_by_column(self) -> list[Route]:
        inputs = [{"name": name.upper(), "datatype": "FP64", "shape": [-1, 1]} for name in COLUMNS]

        def infer(body: Any) -> Any:
            tensors = {tensor["name"].lower(): tensor["data"] for tensor in _only(body, "inputs")}
            return self._tensors(_from_columns(tensors), "label", "probabilities")

        return self.infer_routes(inputs, infer)

    def infer_routes(self, inputs: list[Any], infer: Callable[[Any], Any]) -> list[Route]:
        """Return the routes of a server of version 2, which says what it takes as *inputs*."""
        place = "/v2/models/customers"
        model = {"name": "customers", "platform": "", "inputs": inputs, "outputs": []}
        empty = JSONResponse({})
        return [
            _page("/v2", {"name": "small", "version": "1", "extensions": []}),
            _page(place, model),
            Route("/v2/health/ready", lambda _: empty),
            Route("/v2/health/live", lambda _: empty),
            Route(f"{place}/ready", lambda _: empty),
            _post("/v2/repository/index", lambda _: [{"name": "customers", "state": "READY"}]),
            _post(f"{place}/infer", infer),
        ]

    def _tensors(self, frame: pd.DataFrame, *names: str) -> Any:
        labels, probabilities = self.predict(frame)
        flat = [value for row in probabilities for value in row]
        outputs = [
            {"name": names[0], "shape": [len(labels), 1], "datatype": "INT64", "data": labels},
            {"name": names[1], "shape": [len(labels), 3], "datatype": "FP64", "data": flat},
        ]
        return {"model_name": "customers", "id": "1", "outputs": outputs}

    def _v1(self) -> list[Route]:
        def predict(body: Any) -> Any:
            return {"predictions": self.predict(_from_records(_only(body, "instances")))[0]}

        return [
            _page("/v1/models", {"models": ["customers"]}),
            _page("/v1/models/customers", {"name": "customers", "ready": True}),
            _post("/v1/models/customers:predict", predict),
        ]

    def _sagemaker(self) -> list[Route]:
        def invocations(body: Any) -> Any:
            return {"predictions": self.predict(_from_rows(_only(body, "instances"), COLUMNS))[0]}

        return [Route("/ping", lambda _: PlainTextResponse("")), _post("/invocations", invocations)]


PROTOCOLS = ("openapi", "mlflow", "v2", "v2 by column", "v1", "sagemaker")


def _page(path: str, content: Any) -> Route:
    return Route(path, lambda _: JSONResponse(content))


def _post(path: str, answer: Callable[[Any], Any]) -> Route:
    async def respond(request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":
            return JSONResponse({"error": "expected application/json"}, 415)
        try:
            return JSONResponse(answer(await request.json()))
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            return JSONResponse({"error": str(problem)}, 400)

    return Route(path, respond, methods=["POST"])


def _only(body: Any, name: str) -> Any:
    if not isinstance(body, dict) or body.keys() != {name} or not isinstance(body[name], list):
        raise InvalidRequestError(f"expected an object with the list {name}")
    return body[name]


def _from_rows(rows: Any, columns: Sequence[str] | None) -> pd.DataFrame:
    if any(len(row) != len(COLUMNS) for row in rows):
        raise InvalidRequestError(f"expected {len(COLUMNS)} values")
    return _checked(pd.DataFrame(rows, columns=columns))


def _from_records(records: Any) -> pd.DataFrame:
    if any(record.keys() != set(COLUMNS) for record in records):
        raise InvalidRequestError(f"expected {COLUMNS}")
    return _checked(pd.DataFrame(records, columns=COLUMNS))


def _from_columns(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    return _checked(pd.DataFrame(columns))


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns in the model's order, after a check of their values."""
    if set(frame.columns) != set(COLUMNS):
        raise InvalidRequestError(f"expected {COLUMNS}")
    frame = frame[COLUMNS]
    if not frame.map(lambda value: value is None or type(value) in {int, float}).all(axis=None):
        raise InvalidRequestError("expected numbers")
    numbers = frame.astype(float)
    if np.isinf(numbers.to_numpy()).any():
        raise InvalidRequestError("expected finite numbers")
    if numbers.empty:
        raise InvalidRequestError("expected at least one row")
    return numbers
