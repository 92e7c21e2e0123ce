"""A client of the service: one request a call, a limit for the whole call, no proxy of the environment."""

import asyncio

import httpx


class Client:
    """Asks the service for predictions."""

    def __init__(self, url: str, timeout: float = 1.0) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=timeout, trust_env=False)
        self.timeout = timeout

    async def predict(self, rows: list[dict[str, float]]) -> list[str]:
        """Return a prediction for each row, or raise an error within the time limit."""
        async with asyncio.timeout(self.timeout):
            response = await self.http.post("/predict", json={"rows": rows})
        response.raise_for_status()
        predictions = response.json()["predictions"]
        if len(predictions) != len(rows):
            raise ValueError(f"{len(rows)} rows, but {len(predictions)} predictions")
        return list(predictions)

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()


make_client = Client
