"""httpx, with the decorator of pyresilience: retries, timeout and circuit breaker."""

import httpx
from pyresilience import CircuitBreakerConfig, RetryConfig, TimeoutConfig, resilient


class Client:
    def __init__(self, url, *, timeout, reset_timeout):
        self.http = httpx.AsyncClient(base_url=url, timeout=None, limits=httpx.Limits(max_connections=20))
        self.predict = resilient(
            retry=RetryConfig(max_attempts=3, delay=0.1),
            timeout=TimeoutConfig(seconds=timeout),
            circuit_breaker=CircuitBreakerConfig(
                failure_threshold=5, recovery_timeout=reset_timeout, success_threshold=1
            ),
        )(self.send)

    async def send(self, data):
        response = await self.http.post("/predict", json=data)
        return response.raise_for_status().json()["predictions"]

    async def close(self):
        await self.http.aclose()
