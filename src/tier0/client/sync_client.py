"""The synchronous client, which runs the asynchronous one in a thread."""

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

Result = TypeVar("Result")


class SyncBentoMLClient:
    """`BentoMLClient` for synchronous code.

    The client runs an event loop in its own thread. Several threads may use it at the same time, and share
    its circuits and connections. A process that forks must create a client in each child, after the fork.

    Args:
        base_url: as for `BentoMLClient`.
        options: as for `BentoMLClient`.
    """

    def __init__(self, base_url: str | None = None, **options: Any) -> None:
        self._client = BentoMLClient(base_url, **options)
        self._pid = os.getpid()
        self._closed = False
        self._closing, self._submitting = threading.Lock(), threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tier0-client", daemon=True)
        self._thread.start()

    @classmethod
    def for_service(
        cls, base_url: str | None = None, *, declared: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """See `BentoMLClient.for_service`."""
        client = cls(base_url, **options)
        try:
            other = client._run(lambda: BentoMLClient.for_service(base_url, declared=declared, **options))
        except BaseException:
            client.close()
            raise
        client._client.contract = other.contract
        return client

    def predict(self, data: Any, *, model: str | None = None, timeout: float | None = None) -> Prediction:
        """See `BentoMLClient.predict`."""
        return self._run(lambda: self._client.predict(data, model=model, timeout=timeout))

    def predict_batch(
        self, rows: Any, *, model: str | None = None, timeout: float | None = None
    ) -> Prediction:
        """See `BentoMLClient.predict_batch`."""
        return self._run(lambda: self._client.predict_batch(rows, model=model, timeout=timeout))

    def model_info(self, model: str | None = None) -> dict[str, Any]:
        """See `BentoMLClient.model_info`."""
        return self._run(lambda: self._client.model_info(model))

    def health_check(self, model: str | None = None) -> dict[str, Any]:
        """See `BentoMLClient.health_check`."""
        return self._run(lambda: self._client.health_check(model))

    def circuit_state(self, model: str | None = None) -> State:
        """See `BentoMLClient.circuit_state`."""
        return self._client.circuit_state(model)

    def close(self) -> None:
        """Close all connections and end the thread; later calls raise ClientUsageError.

        In a child process that was forked with this client, nothing is done.
        """
        if self._pid != os.getpid():  # the thread exists only in the parent
            return
        with self._closing:
            with self._submitting:
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
        """Close the client, and cancel the calls of other threads that have not ended."""
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

    def _run(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        if self._pid != os.getpid():
            raise ClientUsageError(
                "the client was created before this process was forked: create a client in each process, "
                "after the fork"
            )
        if threading.current_thread() is self._thread:
            raise ClientUsageError(
                "the client cannot be used in its own thread: use BentoMLClient in asynchronous code"
            )
        with self._submitting:  # so that `close` ends every call that was submitted
            if self._closed:
                raise ClientUsageError("the client is closed: create a new one")
            future = asyncio.run_coroutine_threadsafe(call(), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClientUsageError("the client was closed while this call was waiting") from None
        except BaseException:
            future.cancel()  # e.g. Ctrl-C: the caller no longer waits
            raise
