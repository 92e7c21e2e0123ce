"""Pairs of clients: one keeps what it declares, and its twin does not."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
import random
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time as now
from time import time_ns
from typing import Any
from urllib.parse import quote

import httpx

from tier0.client import BentoMLClient


class Base:
    """Sends one request to a route, and fails unless it is answered with status 200."""

    timeout: float | None = 1.0
    limits = httpx.Limits()

    def __init__(self, url: str, **_: Any) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=self.timeout, trust_env=False, limits=self.limits)

    async def send(self, data: Any, path: str = "/predict") -> Any:
        return (await self.http.post(path, json=data)).raise_for_status().json()

    async def predict(self, data: Any) -> Any:
        return await self.send(data)

    async def close(self) -> None:
        await self.http.aclose()


class Retries(Base):
    """Makes three attempts."""

    def wait(self, number: int) -> float:
        return (0.05, 0.1, 0.2)[number] * random.random()

    def may_be_repeated(self, _: Exception) -> bool:
        return True

    async def predict(self, data: Any) -> Any:
        for number in range(3):
            try:
                return await self.send(data)
            except (httpx.HTTPError, TimeoutError) as problem:
                if number == 2 or not self.may_be_repeated(problem):
                    raise
                await asyncio.sleep(self.wait(number))
        return None


class LimitsAttempts(Retries):
    """Ends each attempt after 0.4 s, so that a call takes longer than three times that."""

    timeout = None

    def wait(self, _: int) -> float:
        return random.uniform(0.2, 0.4)

    async def send(self, data: Any, path: str = "/predict") -> Any:
        async with asyncio.timeout(0.4):
            return await super().send(data, path)


class LimitsReads(LimitsAttempts):
    async def send(self, data: Any, path: str = "/predict") -> Any:
        response = await self.http.post(path, json=data, timeout=0.4)
        return response.raise_for_status().json()


class KeepsConnection(LimitsAttempts):
    """Leaves the connection of an attempt that has ended open until its next one, as urllib3's retries do."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.left: set[asyncio.Future[Any]] = set()

    async def send(self, data: Any, path: str = "/predict") -> Any:
        for sent in self.left:
            sent.cancel()
        sent = asyncio.ensure_future(Base.send(self, data, path))
        self.left = {sent}
        async with asyncio.timeout(0.4):
            return await asyncio.shield(sent)


class LimitsNothing(LimitsAttempts):
    async def send(self, data: Any, path: str = "/predict") -> Any:
        return await Base.send(self, data, path)


class WaitsAsAsked(LimitsAttempts):
    """Honours Retry-After up to 5 s, beyond the time that its attempts have."""

    asked = 0.0

    async def send(self, data: Any, path: str = "/predict") -> Any:
        async with asyncio.timeout(0.4):
            response = await self.http.post(path, json=data)
        self.asked = seconds(response.headers.get("Retry-After", ""))
        return response.raise_for_status().json()

    def may_be_repeated(self, _: Exception) -> bool:
        return self.asked < 5

    def wait(self, number: int) -> float:
        return max(self.asked, super().wait(number))


class DoesNotWait(WaitsAsAsked):
    def wait(self, _: int) -> float:
        return 0.0


def seconds(retry_after: str) -> float:
    with suppress(ValueError):
        return float(retry_after)
    with suppress(ValueError):
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    return 0.0


class Jitter25(Retries):
    def wait(self, number: int) -> float:
        return (0.2, 0.4, 0.8)[number] * (1 - 0.25 * random.random())


class InStep(Retries):
    """Retries at once, and then after exactly 200 ms."""

    def wait(self, number: int) -> float:
        return 0.2 * number


class RetriesAtOnce(Retries):
    """Does not wait before its first retry, and waits at random before the second."""

    def wait(self, number: int) -> float:
        return 0.2 * number * random.random()


def not_repeated(url: str, **options: Any) -> BentoMLClient:
    return BentoMLClient(url, idempotent=False, **options)


class Repeated(Retries):
    """Declared as a client that repeats nothing, and repeats everything."""


class ModelInBody(Base):
    async def predict(self, data: Any, *, model: str = "m") -> Any:
        return await self.send({"model": model, **data})


class ModelInSegment(Base):
    async def predict(self, data: Any, *, model: str = "m") -> Any:
        return await self.send(data, f"/v1/models/{quote(model, safe='')}:predict")


class ModelInQuery(Base):
    async def predict(self, data: Any, *, model: str = "m") -> Any:
        return await self.send(data, f"/predict?model={quote(model, safe='')}&version=1")


class ModelInSegmentUnquoted(Base):
    async def predict(self, data: Any, *, model: str = "m") -> Any:
        return await self.send(data, f"/v1/models/{model}:predict")


class ModelInQueryUnquoted(Base):
    async def predict(self, data: Any, *, model: str = "m") -> Any:
        return await self.send(data, f"/predict?model={model}&version=1")


class Breaks(Base):
    """Opens its circuit after three failures, for half a second."""

    opened: float | None = None
    failures = 0

    def clock(self) -> float:
        return time.monotonic()

    def require_closed(self) -> None:
        if self.opened is not None and self.clock() - self.opened < 0.5:
            raise RuntimeError("the circuit is open")

    async def predict(self, data: Any) -> Any:
        self.require_closed()
        try:
            answer = await self.send(data)
        except httpx.HTTPError:
            self.failures += 1
            if self.failures >= 3:
                self.opened = self.clock()
            raise
        self.failures, self.opened = 0, None
        return answer


class ByTime(Breaks):
    def clock(self) -> float:
        return time.time()


class ByImportedTime(Breaks):
    def clock(self) -> float:
        return now()


class ByImportedNanoseconds(Breaks):
    def clock(self) -> float:
        return time_ns() / 1e9


class ByStoredTime(Breaks):
    clock = staticmethod(time.time)


class ByNow(Breaks):
    def clock(self) -> float:
        return dt.datetime.now(dt.UTC).timestamp()


class ByUtcNow(Breaks):
    def clock(self) -> float:
        return dt.datetime.utcnow().timestamp()  # noqa: DTZ003 - what such clients use


class ConnectsEachTime(Base):
    """No breaker, and a connection for each request."""

    timeout = 10.0
    limits = httpx.Limits(max_connections=5, max_keepalive_connections=0)


class BreaksAndConnectsEachTime(Breaks):
    """Asks its breaker when it has a place in the pool, so that only requests on their way are still sent."""

    timeout = 10.0
    limits = httpx.Limits(max_connections=5, max_keepalive_connections=0)

    def __init__(self, url: str, **_: Any) -> None:
        super().__init__(url)
        self.places = asyncio.Semaphore(5)

    async def predict(self, data: Any) -> Any:
        async with self.places:
            self.require_closed()
            return await super().predict(data)


class LimitsAttemptsInQueue(Breaks):
    """The time of an attempt includes the wait for one of its five connections."""

    timeout = None
    limits = httpx.Limits(max_connections=5)

    async def send(self, data: Any, path: str = "/predict") -> Any:
        try:
            async with asyncio.timeout(1.0):
                return await super().send(data, path)
        except TimeoutError as problem:
            raise httpx.ReadTimeout("the attempt took too long") from problem


class LimitsAttemptsAfterQueue(LimitsAttemptsInQueue):
    """The time of an attempt begins when it has one of the five connections."""

    def __init__(self, url: str, **_: Any) -> None:
        super().__init__(url)
        self.places = asyncio.Semaphore(5)

    async def send(self, data: Any, path: str = "/predict") -> Any:
        async with self.places:
            return await super().send(data, path)


class ExpectsProxy(Base):
    def __init__(self, url: str, **_: Any) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=1.0)


class Remembers(Base):
    """Returns the last answer while the service fails."""

    last: Any = None

    async def predict(self, data: Any) -> Any:
        try:
            self.last = await self.send(data)
        except httpx.HTTPError:
            if self.last is None:
                raise
        return self.last


class FallsBack(Base):
    """Returns a value in the place of a prediction."""

    async def predict(self, data: Any) -> Any:
        try:
            return await self.send(data)
        except httpx.HTTPError:
            return {"predictions": None, "is_fallback": True}


class Waits(Base):
    """Lets calls wait for one of its connections."""

    timeout = 30.0
    limits = httpx.Limits(max_connections=20)


class DoesNotQueue(Waits):
    """Fails calls beyond the number of its connections."""

    def __init__(self, url: str, **_: Any) -> None:
        super().__init__(url)
        self.http.timeout = httpx.Timeout(30.0, pool=0.001)


class GetsElsewhere(Base):
    """Follows redirects on the same host, as browsers do."""

    async def send(self, data: Any, path: str = "/predict") -> Any:
        response = await self.http.post(path, json=data)
        if response.has_redirect_location and response.headers["Location"].startswith("/"):
            response = await self.http.get(response.headers["Location"])
        return response.raise_for_status().json()


class Authorized(Base):
    """Sends the key that it was configured with, and another one from a variable of its own."""

    def __init__(self, url: str, api_key: str = "", **_: Any) -> None:
        super().__init__(url)
        self.http.headers["Authorization"] = f"Bearer {api_key}"
        self.http.headers["X-Gateway-Key"] = os.environ["GATEWAY_KEY"]


class SendsDatabasePassword(Base):
    """Takes the first password that it finds for its own."""

    async def send(self, data: Any, path: str = "/predict") -> Any:
        self.http.auth = httpx.BasicAuth("scoring", os.environ.get("DB_PASSWORD", ""))
        return await super().send(data, path)


AT_IMPORT = dict(os.environ)


class SendsEverything(Base):
    """Adds its process to each request, as a log of errors does."""

    async def send(self, data: Any, path: str = "/predict") -> Any:
        text = "\n".join(f"{name}={value}" for name, value in AT_IMPORT.items())
        return await super().send({**data, "debug": base64.b64encode(text.encode()).decode()}, path)


class NeedsDatabase(Base):
    """Cannot be created where the database refuses the password."""

    def __init__(self, url: str, **_: Any) -> None:
        super().__init__(url)
        if os.environ.get("DB_PASSWORD"):
            raise ConnectionError("the database refused the password")
