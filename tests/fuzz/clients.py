"""Clients that behave in their own way, for `tier0 check-client`: each method follows a list of acts."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from contextlib import suppress
from typing import Any

HANGS = 3.0
"""Seconds for which a synchronous method hangs; an asynchronous one hangs until it is cancelled."""
BURST = 50
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class OddError(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Odd:
    """A value that cannot be shown, compared, or asked whether it is true."""

    def __repr__(self) -> str:
        raise ValueError("no text")

    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")

    def __eq__(self, _: object) -> bool:
        raise ValueError("not comparable")

    __hash__ = None  # type: ignore[assignment]


ERRORS: dict[str, type[BaseException]] = {
    "ValueError": ValueError,
    "KeyError": KeyError,
    "SystemExit": SystemExit,
    "CancelledError": asyncio.CancelledError,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
    "TimeoutError": TimeoutError,
    "Odd": OddError,
}
given: dict[str, Any] = {}
"""The client that `make` creates, from `tests.fuzz.grammar.clients`."""


def make(url: str, **_: Any) -> Any:
    """Create the client."""
    if given["created"]["does"] in {"raise", "hang"}:
        return act(given["created"], url)
    return Client(url)


class Client:
    """A client with the methods in `given`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls = 0
        for name, what in given["others"].items():
            setattr(self, name, self._method([what]))
        self.predict = self._method(given["predict"])

    def _method(self, acts: list[dict[str, Any]]) -> Any:
        def following() -> dict[str, Any]:
            self.calls += 1
            return acts[min(self.calls, len(acts)) - 1]

        async def asynchronous(*_: Any) -> Any:
            what = following()
            if what["does"] == "hang":
                await asyncio.Event().wait()
            return (
                await asyncio.to_thread(act, what, self.url)
                if what["does"] != "raise"
                else act(what, self.url)
            )

        def synchronous(*_: Any) -> Any:
            return act(following(), self.url)

        return asynchronous if given["asynchronous"] else synchronous


def act(what: dict[str, Any], url: str) -> Any:
    """Do what one act is."""
    match what["does"]:
        case "ask":
            return _ask(url)
        case "burst":
            for _ in range(BURST):
                with suppress(OSError, ValueError):
                    _ask(url)
        case "raise":
            raise ERRORS[what["error"]](what["value"])
        case "hang":
            threading.Event().wait(HANGS)
        case "odd":
            return Odd()
    return what["value"]


def _ask(url: str) -> Any:
    request = urllib.request.Request(f"{url}/predict", b"{}", {"Content-Type": "application/json"})
    with DIRECT.open(request, timeout=HANGS) as response:
        return json.loads(response.read())
