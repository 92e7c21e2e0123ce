"""Clients that are created or closed in unusual ways, or that end the process, or keep it from ending."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.defects.twin_clients import Base

FOR_EVER = 3600
LOG = logging.getLogger("theirs")


@asynccontextmanager
async def async_manager(url: str, **_: Any) -> AsyncIterator[Any]:
    client = Base(url)
    yield client.predict
    await client.close()


@contextmanager
def manager(url: str, **_: Any) -> Iterator[Base]:
    yield Base(url)


async def async_generator(url: str, **_: Any) -> AsyncIterator[Base]:
    client = Base(url)
    yield client
    await client.close()


def generator(url: str, **_: Any) -> Iterator[Base]:
    yield Base(url)


async def waits(_: str) -> None:
    await asyncio.sleep(FOR_EVER)


class Waits:
    def __init__(self, _: str) -> None:
        time.sleep(FOR_EVER)


class OwnThread(Base):
    def __init__(self, url: str, **_: Any) -> None:
        super().__init__(url)
        threading.Thread(target=time.sleep, args=(FOR_EVER,), name="flusher", daemon=False).start()


class CloseRaises(Base):
    async def close(self) -> None:
        raise OSError("already gone")


class CloseHangs(Base):
    async def close(self) -> None:
        await asyncio.sleep(FOR_EVER)


def exits(_: str) -> None:
    os._exit(0)


class ExitsInThread(Base):
    def __init__(self, url: str, **_: Any) -> None:
        super().__init__(url)
        threading.Thread(target=os._exit, args=(0,)).start()


class ExitsOnClose(Base):
    async def close(self) -> None:
        os._exit(0)


class Generates(Base):
    async def predict(self, data: Any) -> Any:
        yield await self.send(data)


class SendsNothing:
    def __init__(self, _: str) -> None: ...

    def predict(self, _: Any) -> Any:
        return {"predictions": [1]}


class Chatty(Base):
    async def predict(self, data: Any) -> Any:
        LOG.warning("logged by the client")
        print("client:Chatty: passed: 45 passed")  # noqa: T201 - that is the test
        return await self.send(data)
