"""httpx, in a pipeline of interlock-cb: retries, circuit breaker and timeout."""

import httpx
from interlock import CircuitBreaker, Config, Pipeline
from tenacity import wait_exponential_jitter


class Client:
    def __init__(self, url, *, timeout, reset_timeout):
        self.http = httpx.AsyncClient(base_url=url, timeout=None, limits=httpx.Limits(max_connections=20))
        config = Config(
            failure_rate_threshold=1.0, minimum_number_of_calls=5, window_size=5,
            wait_duration_in_open=reset_timeout, permitted_calls_in_half_open=1,
        )  # fmt: skip
        wait = wait_exponential_jitter(initial=0.05, jitter=0.1)
        pipeline = Pipeline.builder().retry(attempts=3, wait=wait)
        pipeline.circuit_breaker(CircuitBreaker(name="predict", config=config)).timeout(timeout)
        self.predict = pipeline.build()(self.send)

    async def send(self, data):
        response = await self.http.post("/predict", json=data)
        return response.raise_for_status().json()["predictions"]

    async def close(self):
        await self.http.aclose()
