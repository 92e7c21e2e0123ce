"""aiohttp, with the retries of aiohttp-retry."""

import aiohttp
from aiohttp_retry import ExponentialRetry, RetryClient


class Client:
    def __init__(self, url, session):
        self.url = url.rstrip("/")
        self.http = RetryClient(session, retry_options=ExponentialRetry(attempts=3), raise_for_status=True)

    async def predict(self, data):
        async with self.http.post(f"{self.url}/predict", json=data) as response:
            return (await response.json())["predictions"]

    async def close(self):
        await self.http.close()


async def make_client(url, *, timeout):
    limit = aiohttp.TCPConnector(limit=20)
    return Client(url, aiohttp.ClientSession(connector=limit, timeout=aiohttp.ClientTimeout(total=timeout)))
