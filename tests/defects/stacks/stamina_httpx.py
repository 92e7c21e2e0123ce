"""httpx, with the retries of stamina."""

import httpx
import stamina


def is_worth_a_retry(error):
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.HTTPError)


class Client:
    def __init__(self, url, *, timeout):
        self.http = httpx.AsyncClient(base_url=url, timeout=timeout, limits=httpx.Limits(max_connections=20))

    @stamina.retry(on=is_worth_a_retry, attempts=3, wait_initial=0.05, wait_jitter=0.1)
    async def predict(self, data):
        response = await self.http.post("/predict", json=data)
        response.raise_for_status()
        return response.json()["predictions"]

    async def close(self):
        await self.http.aclose()
