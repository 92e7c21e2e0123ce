"""Routes of a FastAPI application that bring models to its callers."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Depends, HTTPException

from tier0.client import BentoMLClient, ClientError
from tier0.integrations import is_bug, to_http_error

Answer = TypeVar("Answer")


def make_router(
    client: BentoMLClient, *, authorize: Callable[..., Any] | None = None, prefix: str = "/api/models"
) -> APIRouter:
    """Make the routes; the application closes the client when it ends.

    - ``POST {prefix}/predict/{model_name}`` and ``…/batch``: a body as the service takes it, or records; the service's answer.
    - ``GET {prefix}/{model_name}/health`` (503 if it is not), ``…/info`` (what it takes and gives), ``…/status`` (its circuit).

    What the service refuses keeps its status and its message, unless it refuses the application (401, 403, 405, 407). 429 and 503 carry
    Retry-After where it is known; 502 means that the service failed or refused the application, 504 that it was too slow.

    Args:
        client: asks the services.
        authorize: a dependency of FastAPI that raises where a caller may not ask; everybody may by default.
        prefix: of all routes.
    """
    router = APIRouter(
        prefix=prefix, tags=["models"], dependencies=[] if authorize is None else [Depends(authorize)]
    )

    @router.post("/predict/{model_name}")
    async def predict(model_name: str, data: Annotated[Any, Body()]) -> Any:
        return await _answered(client.predict(data, model=model_name))

    @router.post("/predict/{model_name}/batch")
    async def predict_batch(model_name: str, data: Annotated[Any, Body()]) -> Any:
        return await _answered(client.predict_batch(data, model=model_name))

    @router.get("/{model_name}/health")
    async def health(model_name: str) -> Any:
        said = await _answered(client.health_check(model_name))
        if said["status"] != "healthy":
            raise HTTPException(503, {"error": "unhealthy", "message": f"the model {model_name} is not well"})
        return said

    @router.get("/{model_name}/info")
    async def info(model_name: str) -> Any:
        return await _answered(client.model_info(model_name))

    @router.get("/{model_name}/status")
    async def status(model_name: str) -> dict[str, str]:
        circuit = await _answered(_state_of(client, model_name))
        return {
            "model": model_name,
            "circuit": circuit,
            "status": "unavailable" if circuit == "open" else "available",
        }

    return router


async def _state_of(client: BentoMLClient, model_name: str) -> str:
    return client.circuit_state(model_name)


async def _answered(call: Awaitable[Answer]) -> Answer:
    """Wait for a call, and tell its caller what went wrong; what is nobody's answer, such as a bug of ours, is not dressed up as one."""
    try:
        return await call
    except ClientError as problem:
        if is_bug(problem):
            raise
        raise _as_http(problem) from problem


def _as_http(problem: ClientError) -> HTTPException:
    status, message = to_http_error(problem)
    waits = problem.retry_after is not None and math.isfinite(problem.retry_after)
    headers = {"Retry-After": str(math.ceil(problem.retry_after or 0.0))} if waits else {}
    detail = {
        "error": type(problem).__name__,
        "message": message,
        "request_id": problem.request_id,
        "attempts": problem.attempts,
    }
    return HTTPException(status, detail, headers)
