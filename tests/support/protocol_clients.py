"""Clients of model servers' protocols as applications write them with httpx, and a mutant of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx

from tier0.client import ModelClient

ROWS = [[1.0, 2.0]]
DECLARED: dict[str, Any] = {
    "attempts": 1, "timeout": 3.0, "data": ROWS, "options": {"timeout": 3.0}
}  # fmt: skip


class RefusedError(Exception):
    """The response is an error, or has no prediction."""


class ProtocolClient:
    """A client with one attempt per call, which reads exactly what its protocol prescribes.

    Args:
        url: URL of the server.
        timeout: seconds per call.
    """

    health_route = "/ping"

    def __init__(self, url: str, *, timeout: float) -> None:
        self.http = httpx.AsyncClient(base_url=url.rstrip("/"), timeout=timeout, trust_env=False)
        self.timeout = timeout

    def request(self, rows: list[Any], model: str) -> tuple[str, Any]:
        """Return the route and the body of a request for rows."""
        raise NotImplementedError

    def read(self, content: Any) -> list[Any]:
        """Return the predictions of a response."""
        return list(content["predictions"])

    def message(self, content: Any) -> str:
        """Return the message of an error."""
        return str(content["error"])

    def is_healthy(self, response: httpx.Response) -> bool:
        """Return whether a response with status 200 to a health check is that of a healthy server."""
        return response.content == b"\n"

    async def predict(self, rows: list[Any], model: str = "m") -> list[Any]:
        """Return the predictions for rows."""
        route, body = self.request(rows, model)
        response = await self.post(route, json=body)
        if response.is_success:
            predictions = self.read(response.json())
            if len(predictions) != len(rows):
                raise RefusedError(f"{len(predictions)} predictions for {len(rows)} rows")
            return predictions
        if response.is_client_error:
            raise RefusedError(self.message(response.json()))
        raise RefusedError(f"status {response.status_code}")

    async def post(self, route: str, **content: Any) -> httpx.Response:
        """Return the whole response to a request, or raise TimeoutError after the declared timeout."""
        async with asyncio.timeout(self.timeout):  # that of httpx limits each read, and not the call
            return await self.http.post(route, **content)

    async def predict_batch(self, rows: list[Any]) -> list[Any]:
        """Return the predictions for rows."""
        return await self.predict(rows)

    async def health(self) -> bool:
        """Return whether the server is healthy."""
        try:
            response = await self.http.get(self.health_route, timeout=2.0)
            return response.is_success and self.is_healthy(response)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False

    async def close(self) -> None:
        """Close all connections."""
        await self.http.aclose()


class V2(ProtocolClient):
    """A client of version 2 that reads the metadata of its model before the first call."""

    health_route = "/v2/models/m/ready"
    width = 0
    """Rows in the shape beyond those that are sent."""
    name: str | None = None

    def request(self, rows: list[Any], model: str) -> tuple[str, Any]:
        shape = [len(rows) + self.width, len(rows[0])]
        values = [value for row in rows for value in row]
        tensor = {"name": self.name, "shape": shape, "datatype": "FP64", "data": values}
        return f"/v2/models/{quote(model, safe='')}/infer", {"inputs": [tensor]}

    def read(self, content: Any) -> list[Any]:
        (output,) = content["outputs"]
        if output["shape"][0] != len(output["data"]):
            raise RefusedError("the shape is not that of the data")
        return list(output["data"])

    def is_healthy(self, response: httpx.Response) -> bool:
        return response.json()["ready"] is True

    async def predict(self, rows: list[Any], model: str = "m") -> list[Any]:
        if self.name is None:
            metadata = await self.http.get(f"/v2/models/{quote(model, safe='')}")
            self.name = metadata.json()["inputs"][0]["name"]
        return await super().predict(rows, model)


class V1(ProtocolClient):
    """A client of version 1, as it calls TensorFlow Serving."""

    health_route = "/v1/models/m"
    field = "instances"

    def request(self, rows: list[Any], model: str) -> tuple[str, Any]:
        return f"/v1/models/{quote(model, safe='')}:predict", {self.field: rows}

    def is_healthy(self, response: httpx.Response) -> bool:
        states = response.json()["model_version_status"]
        return any(state["state"] == "AVAILABLE" for state in states)


class MLflow(ProtocolClient):
    """A client of MLflow's scoring server."""

    field = "dataframe_split"

    def request(self, rows: list[Any], _: str) -> tuple[str, Any]:
        return "/invocations", {self.field: {"columns": ["age", "income"], "data": rows}}

    def message(self, content: Any) -> str:
        return f"{content['error_code']}: {content['message']}"


class SageMaker(ProtocolClient):
    """A client of a container for SageMaker that sends and reads CSV."""

    route = "/invocations"

    async def predict(self, rows: list[Any], model: str = "m") -> list[Any]:
        lines = "\n".join(",".join(map(repr, row)) for row in rows)
        headers = {"Content-Type": "text/csv", "X-Model": model}
        response = await self.post(self.route, content=lines, headers=headers)
        if not response.is_success or not response.headers["content-type"].startswith("text/csv"):
            raise RefusedError(response.text)
        values = [float(line) for line in response.text.splitlines()]
        if len(values) != len(rows):
            raise RefusedError(response.text)
        return values


class OpenAPI(ProtocolClient):
    """A client of a FastAPI application."""

    health_route = "/health"

    def request(self, rows: list[Any], _: str) -> tuple[str, Any]:
        return "/predict", {"features": rows}

    def message(self, content: Any) -> str:
        detail = content["detail"]
        return detail if isinstance(detail, str) else str(detail[0]["msg"])

    def is_healthy(self, response: httpx.Response) -> bool:
        return bool(response.json()["status"] == "healthy")


class BentoML(OpenAPI):
    """A client of a BentoML service."""

    health_route = "/readyz"

    def message(self, content: Any) -> str:
        return str(content["error"])


class V2WrongShape(V2):
    """It sends a shape that its tensor does not have."""

    width = 1


class V1OtherField(V1):
    """It sends its rows under the name that another protocol has for them."""

    field = "features"


class MLflowOfVersion1(MLflow):
    """It sends the body that MLflow accepted before version 2."""

    field = "data"


class SageMakerElsewhere(SageMaker):
    """It asks a route that containers do not have."""

    route = "/predict"


class OpenAPIForgiving(OpenAPI):
    """It takes the description of an invalid request for predictions."""

    async def predict(self, rows: list[Any], model: str = "m") -> list[Any]:
        response = await self.http.post("/predict", json={"features": rows, "model": model})
        content = response.json()
        return list(content.get("predictions", content.get("detail")))


class BentoMLPersistent(BentoML):
    """It sends a request again that is invalid."""

    async def predict(self, rows: list[Any], model: str = "m") -> list[Any]:
        try:
            return await super().predict(rows, model)
        except RefusedError:
            return await super().predict(rows, model)


HEALTHY: dict[str, Callable[..., Any]] = {
    "bentoml": BentoML, "openapi": OpenAPI, "mlflow": MLflow, "v2": V2, "v1": V1, "sagemaker": SageMaker,
}  # fmt: skip
MUTANTS: dict[str, tuple[Callable[..., Any], str]] = {
    "bentoml": (BentoMLPersistent, "retry.callers_mistakes"),
    "openapi": (OpenAPIForgiving, "retry.callers_mistakes"),
    "mlflow": (MLflowOfVersion1, "wire.one_request"),
    "v2": (V2WrongShape, "wire.one_request"),
    "v1": (V1OtherField, "wire.one_request"),
    "sagemaker": (SageMakerElsewhere, "wire.one_request"),
}
"""A mutant of each, and the check that it has to fail."""


async def model_client(url: str, **options: Any) -> ModelClient:
    """Create Tier0's client, which finds the protocol by itself."""
    return await ModelClient.for_service(url, declared={"predictions": "predictions"}, **options)


async def model_client_of_v2(url: str, **options: Any) -> ModelClient:
    """Create Tier0's client of a server of version 2."""
    return await ModelClient.for_service(url, declared={"predictions": "outputs.predict"}, **options)
