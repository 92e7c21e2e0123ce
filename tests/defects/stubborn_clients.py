"""Clients whose calls never return: they exit the process, block the event loop, or retry for ever."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import httpx


def exits(_: str) -> Any:
    sys.exit(0)


class Exits:
    def __init__(self, _: str) -> None: ...

    def predict(self, _: Any) -> Any:
        sys.exit(0)


class ExitsLater(Exits):
    async def predict(self, _: Any) -> Any:
        await asyncio.sleep(0)
        sys.exit(0)


class Blocks:
    """A synchronous HTTP client in a coroutine, without a timeout."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=None, trust_env=False)

    async def predict(self, data: Any) -> Any:
        return self.http.post("/predict", json=data).raise_for_status().json()


class ForEver:
    """Retries until there is a response."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=0.2, trust_env=False)

    def predict(self, data: Any) -> Any:
        while True:
            try:
                return self.http.post("/predict", json=data).raise_for_status().json()
            except Exception:  # noqa: BLE001 - the defect
                time.sleep(0.1)


class ForEverAsync:
    """Retries until there is a response, and treats a cancellation as a failure."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=0.2, trust_env=False)

    async def predict(self, data: Any) -> Any:
        while True:
            try:
                response = await self.http.post("/predict", json=data)
                return response.raise_for_status().json()
            except BaseException:  # noqa: BLE001 - the defect
                await self.rest()

    async def rest(self) -> None:
        try:
            await asyncio.sleep(0.1)
        except BaseException:  # noqa: BLE001
            return
