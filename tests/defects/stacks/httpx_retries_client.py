"""httpx, with the transport of httpx-retries."""

import httpx
from httpx_retries import Retry, RetryTransport


class Client:
    def __init__(self, url, *, timeout, total_timeout=None):
        retry = Retry(total=2, backoff_factor=0.1, allowed_methods=["POST"], total_timeout=total_timeout)
        pool = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=20))
        transport = RetryTransport(transport=pool, retry=retry)
        self.http = httpx.AsyncClient(base_url=url, transport=transport, timeout=timeout)

    async def predict(self, data):
        response = await self.http.post("/predict", json=data)
        response.raise_for_status()
        return response.json()["predictions"]

    async def close(self):
        await self.http.aclose()
