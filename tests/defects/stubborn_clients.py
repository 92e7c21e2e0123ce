"""Clients that give nothing back: they end the process, keep the event loop to themselves, or go on for ever."""

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
    """A synchronous client in a coroutine, and without a limit."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=None, trust_env=False)

    async def predict(self, data: Any) -> Any:
        return self.http.post("/predict", json=data).raise_for_status().json()


class ForEver:
    """Tries again until it is answered."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=0.2, trust_env=False)

    def predict(self, data: Any) -> Any:
        while True:
            try:
                return self.http.post("/predict", json=data).raise_for_status().json()
            except Exception:  # noqa: BLE001 - that is the defect
                time.sleep(0.1)


class ForEverAsync:
    """The same, and it takes being cancelled for one more failure."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=0.2, trust_env=False)

    async def predict(self, data: Any) -> Any:
        while True:
            try:
                response = await self.http.post("/predict", json=data)
                return response.raise_for_status().json()
            except BaseException:  # noqa: BLE001 - that is the defect
                await self.rest()

    async def rest(self) -> None:
        try:
            await asyncio.sleep(0.1)
        except BaseException:  # noqa: BLE001
            return
