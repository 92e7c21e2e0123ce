"""httpx, with the transport of interlock-cb, which has a circuit breaker for each host."""

import httpx
from interlock import Config
from interlock.integrations.httpx import AsyncCircuitBreakerTransport


class Client:
    def __init__(self, url, *, timeout, reset_timeout):
        config = Config(
            failure_rate_threshold=1.0, minimum_number_of_calls=5, window_size=5,
            wait_duration_in_open=reset_timeout, permitted_calls_in_half_open=1,
        )  # fmt: skip
        pool = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=20))
        transport = AsyncCircuitBreakerTransport(pool, config=config)
        self.http = httpx.AsyncClient(base_url=url, transport=transport, timeout=timeout)

    async def predict(self, data):
        response = await self.http.post("/predict", json=data)
        return response.raise_for_status().json()["predictions"]

    async def close(self):
        await self.http.aclose()
