"""The client for code that knows no event loop: the same rules, over the same code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tier0.client.bentoml_client import BentoMLClient
from tier0.client.errors import ClientUsageError

if TYPE_CHECKING:
    from tier0.client.breaker import State
    from tier0.client.wire import Prediction

Answer = TypeVar("Answer")


class SyncBentoMLClient:
    """`BentoMLClient` for synchronous code; may be used from several threads at once, which share its circuits and connections.

    It runs an event loop in a thread of its own. A process that forks makes it afterwards, one in each child.

    Args:
        base_url: as for `BentoMLClient`.
        knobs: as for `BentoMLClient`.
    """

    def __init__(self, base_url: str | None = None, **knobs: Any) -> None:
        self._client = BentoMLClient(base_url, **knobs)
        self._pid = os.getpid()
        self._closed = False
        self._closing, self._asking = threading.Lock(), threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tier0-client", daemon=True)
        self._thread.start()

    @classmethod
    def for_service(
        cls, base_url: str | None = None, *, declared: Mapping[str, Any] | None = None, **knobs: Any
    ) -> Self:
        """See `BentoMLClient.for_service`."""
        client = cls(base_url, **knobs)
        try:
            found = client._wait(lambda: BentoMLClient.for_service(base_url, declared=declared, **knobs))
        except BaseException:
            client.close()
            raise
        client._client.contract = found.contract
        return client

    def predict(self, data: Any, *, model: str | None = None, timeout: float | None = None) -> Prediction:
        """See `BentoMLClient.predict`."""
        return self._wait(lambda: self._client.predict(data, model=model, timeout=timeout))

    def predict_batch(
        self, rows: Any, *, model: str | None = None, timeout: float | None = None
    ) -> Prediction:
        """See `BentoMLClient.predict_batch`."""
        return self._wait(lambda: self._client.predict_batch(rows, model=model, timeout=timeout))

    def model_info(self, model: str | None = None) -> dict[str, Any]:
        """See `BentoMLClient.model_info`."""
        return self._wait(lambda: self._client.model_info(model))

    def health_check(self, model: str | None = None) -> dict[str, Any]:
        """See `BentoMLClient.health_check`."""
        return self._wait(lambda: self._client.health_check(model))

    def circuit_state(self, model: str | None = None) -> State:
        """See `BentoMLClient.circuit_state`."""
        return self._client.circuit_state(model)

    def close(self) -> None:
        """Close all connections and end the thread; calls after this are errors. In a process that was forked: nothing."""
        if self._pid != os.getpid():  # the thread, which would do it, is not here
            return
        with self._closing:
            with self._asking:
                if self._closed:
                    return
                self._closed = True
            try:
                asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()

    async def _end(self) -> None:
        """Close the client, and cancel calls of other threads that still wait for something."""
        await self._client.close()
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, call: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        if self._pid != os.getpid():
            raise ClientUsageError(
                "the client was made before this process was forked, and its thread stayed behind. Make one in each process."
            )
        if threading.current_thread() is self._thread:
            raise ClientUsageError(
                "the client's own thread cannot wait for it. Use BentoMLClient in asynchronous code."
            )
        with self._asking:  # what is asked before it closes is ended by closing, and not left behind
            if self._closed:
                raise ClientUsageError("the client is closed. Make a new one.")
            answer = asyncio.run_coroutine_threadsafe(call(), self._loop)
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            raise ClientUsageError("the client was closed while this call waited.") from None
        except BaseException:
            answer.cancel()  # Ctrl-C: nobody waits for it any more
            raise
