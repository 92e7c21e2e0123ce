"""httpx, with the circuit breaker of aiobreaker."""

from datetime import timedelta

import httpx
from aiobreaker import CircuitBreaker


class Client:
    def __init__(self, url, *, timeout, reset_timeout):
        self.http = httpx.AsyncClient(base_url=url, timeout=timeout, limits=httpx.Limits(max_connections=20))
        self.breaker = CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=reset_timeout))

    async def predict(self, data):
        return await self.breaker.call_async(self.send, data)

    async def send(self, data):
        response = await self.http.post("/predict", json=data)
        return response.raise_for_status().json()["predictions"]

    async def close(self):
        await self.http.aclose()
