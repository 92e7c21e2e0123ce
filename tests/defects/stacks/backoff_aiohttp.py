"""aiohttp, with the retries of backoff."""

import aiohttp
import backoff


def is_final(error):
    return 400 <= getattr(error, "status", 500) < 500


class Client:
    def __init__(self, url, session):
        self.url, self.session = url.rstrip("/"), session

    @backoff.on_exception(
        backoff.expo, (aiohttp.ClientError, TimeoutError), max_tries=3, giveup=is_final, factor=0.1
    )
    async def predict(self, data):
        async with self.session.post(f"{self.url}/predict", json=data, raise_for_status=True) as response:
            return (await response.json())["predictions"]

    async def close(self):
        await self.session.close()


async def make_client(url, *, timeout):
    limit = aiohttp.TCPConnector(limit=20)
    return Client(url, aiohttp.ClientSession(connector=limit, timeout=aiohttp.ClientTimeout(total=timeout)))
