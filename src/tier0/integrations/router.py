"""Routes of a FastAPI application for the predictions of served models."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Depends, HTTPException

from tier0.client import BentoMLClient, ClientError
from tier0.integrations import is_bug, to_http_error

Result = TypeVar("Result")


def make_router(
    client: BentoMLClient, *, authorize: Callable[..., Any] | None = None, prefix: str = "/api/models"
) -> APIRouter:
    """Return a router; the application must close the client when it ends.

    - ``POST {prefix}/predict/{model_name}`` and ``…/batch`` accept records or a body in the service's
      format, and return the service's response.
    - ``GET {prefix}/{model_name}/health`` returns 503 for an unhealthy model.
    - ``GET {prefix}/{model_name}/info`` returns the model's inputs and outputs.
    - ``GET {prefix}/{model_name}/status`` returns the state of its circuit.

    If the service rejects the caller's request, its status and message are returned. 502 means that the
    service failed or rejected the application itself (401, 403, 405, 407), 503 that the circuit is open or
    all connections are busy, and 504 that there was no response in time. Retry-After is set if it is known.

    Args:
        client: client of the services.
        authorize: FastAPI dependency that raises an error for a caller without access; by default all
            callers have access.
        prefix: prefix of all routes.
    """
    router = APIRouter(
        prefix=prefix, tags=["models"], dependencies=[] if authorize is None else [Depends(authorize)]
    )

    @router.post("/predict/{model_name}")
    async def predict(model_name: str, data: Annotated[Any, Body()]) -> Any:
        return await _result(client.predict(data, model=model_name))

    @router.post("/predict/{model_name}/batch")
    async def predict_batch(model_name: str, data: Annotated[Any, Body()]) -> Any:
        return await _result(client.predict_batch(data, model=model_name))

    @router.get("/{model_name}/health")
    async def health(model_name: str) -> Any:
        report = await _result(client.health_check(model_name))
        if report["status"] != "healthy":
            raise HTTPException(503, {"error": "unhealthy", "message": f"model {model_name} is unhealthy"})
        return report

    @router.get("/{model_name}/info")
    async def info(model_name: str) -> Any:
        return await _result(client.model_info(model_name))

    @router.get("/{model_name}/status")
    async def status(model_name: str) -> dict[str, str]:
        circuit = await _result(_circuit_state(client, model_name))
        return {
            "model": model_name,
            "circuit": circuit,
            "status": "unavailable" if circuit == "open" else "available",
        }

    return router


async def _circuit_state(client: BentoMLClient, model_name: str) -> str:
    return client.circuit_state(model_name)


async def _result(call: Awaitable[Result]) -> Result:
    """Return the result of a call, or raise its error as an HTTP error.

    A bug in the application, such as a closed client, is raised as it is, so that it stays a 500.
    """
    try:
        return await call
    except ClientError as problem:
        if is_bug(problem):
            raise
        raise _to_http_exception(problem) from problem


def _to_http_exception(problem: ClientError) -> HTTPException:
    status, message = to_http_error(problem)
    headers = {}
    if problem.retry_after is not None and math.isfinite(problem.retry_after):
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    detail = {
        "error": type(problem).__name__,
        "message": message,
        "request_id": problem.request_id,
        "attempts": problem.attempts,
    }
    return HTTPException(status, detail, headers)
