"""Public clients from their released packages, used as their documentation shows, through small adapters.

All factories take the same options, and pass on those that the client has.
"""

from __future__ import annotations

from typing import Any

import bentoml
import circuitbreaker  # type: ignore[import-untyped]
import httpx
import purgatory
import pybreaker
import requests
import tenacity

ATTEMPTS = 3
THRESHOLD = 5
ROWS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
ANSWER = {"predictions": [1], "probabilities": [[0.25, 0.75]], "classes": [0, 1], "model_tag": "m:1"}
SCHEMA = {
    "name": "m",
    "type": "service",
    "routes": [
        {
            "name": "predict",
            "route": "/predict",
            "batchable": False,
            "input": {
                "properties": {
                    "features": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
                },
                "required": ["features"],
                "type": "object",
            },
            "output": {"type": "object"},
        }
    ],
}
DECLARED: dict[str, Any] = {
    "attempts": ATTEMPTS,
    "threshold": THRESHOLD,
    "reset": 1.0,
    "probes": 1,
    "timeout": 1.0,
    "attempt_timeout": 0.5,
    "retry_after": True,
    "retries_429": True,
    "budget": 0.2,
    "connections": 20,
    "traceparent": True,
    "options": {"attempt_timeout": 0.5, "timeout": 1.0, "reset_timeout": 1.0},
    "answer": ANSWER,
    "setup": {"/schema.json": SCHEMA, "/readyz": {}},
}


class BareHttpx:
    """httpx, and nothing else."""

    def __init__(self, url: str, *, attempt_timeout: float, **_: Any) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=attempt_timeout)

    async def ask(self, data: Any) -> Any:
        response = await self.http.post("/predict", json=data)
        response.raise_for_status()
        return response.json()

    async def predict(self, data: Any) -> Any:
        return await self.ask(data)

    async def predict_batch(self, rows: Any) -> Any:
        return await self.predict({"features": rows})

    async def health(self) -> Any:
        response = await self.http.get("/readyz")
        return response.is_success

    async def close(self) -> None:
        await self.http.aclose()


class WithTenacity(BareHttpx):
    """httpx with tenacity's retries: three attempts, exponential waits with jitter."""

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=1),
        retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        reraise=True,
    )
    async def predict(self, data: Any) -> Any:
        return await self.ask(data)


class WithCircuitbreaker(BareHttpx):
    """httpx with the breaker of circuitbreaker."""

    def __init__(self, url: str, *, reset_timeout: float, **options: Any) -> None:
        super().__init__(url, **options)
        self.guarded = circuitbreaker.CircuitBreaker(THRESHOLD, reset_timeout, httpx.HTTPError, name=url)(
            self.ask
        )

    async def predict(self, data: Any) -> Any:
        return await self.guarded(data)


class WithPurgatory(BareHttpx):
    """httpx with the breaker of purgatory."""

    def __init__(self, url: str, *, reset_timeout: float, **options: Any) -> None:
        super().__init__(url, **options)
        self.breakers = purgatory.AsyncCircuitBreakerFactory(THRESHOLD, reset_timeout)

    async def predict(self, data: Any) -> Any:
        async with await self.breakers.get_breaker("predict"):
            return await self.ask(data)


class WithPybreaker:
    """requests with the breaker of pybreaker, which does not support asyncio."""

    def __init__(self, url: str, *, attempt_timeout: float, reset_timeout: float, **_: Any) -> None:
        self.url, self.limit = url, attempt_timeout
        self.http = requests.Session()
        self.breaker = pybreaker.CircuitBreaker(THRESHOLD, reset_timeout)

    def ask(self, data: Any) -> Any:
        response = self.http.post(f"{self.url}/predict", json=data, timeout=self.limit)
        response.raise_for_status()
        return response.json()

    def predict(self, data: Any) -> Any:
        return self.breaker.call(self.ask, data)

    def health(self) -> bool:
        return self.http.get(f"{self.url}/readyz", timeout=self.limit).ok

    def close(self) -> None:
        self.http.close()


class OfBentoML:
    """BentoML's own asynchronous client."""

    def __init__(self, client: bentoml.AsyncHTTPClient) -> None:
        self.client = client

    async def predict(self, data: Any) -> Any:
        return await self.client.call("predict", **data)

    async def predict_batch(self, rows: Any) -> Any:
        return await self.client.call("predict", features=rows)

    async def health(self) -> Any:
        return await self.client.is_ready()

    async def close(self) -> None:
        await self.client.close()


async def with_bentoml(url: str, *, attempt_timeout: float, **_: Any) -> OfBentoML:
    client = bentoml.AsyncHTTPClient(url, timeout=attempt_timeout, server_ready_timeout=5)
    await client.__aenter__()
    return OfBentoML(client)


def with_tier0(url: str, **options: Any) -> Any:
    from tier0.client import BentoMLClient

    return BentoMLClient(url, **options)


CLIENTS = {
    "httpx": BareHttpx,
    "httpx with tenacity": WithTenacity,
    "requests with pybreaker": WithPybreaker,
    "httpx with circuitbreaker": WithCircuitbreaker,
    "httpx with purgatory": WithPurgatory,
    "BentoML": with_bentoml,
    "Tier0": with_tier0,
}
