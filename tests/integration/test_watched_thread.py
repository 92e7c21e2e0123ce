"""The thread of an event loop: its results and errors arrive, and a loop that stands still is abandoned."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tier0.core.errors import Tier0Error
from tier0.runs import watched_thread
from tier0.runs.watched_thread import run_watched


def test_a_loop_that_stands_still_is_abandoned_and_the_place_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    async def blocks() -> None:
        release.wait()

    monkeypatch.setattr(watched_thread, "MAX_SILENCE", 0.3)
    with pytest.raises(Tier0Error, match=r"their client .*test_watched_thread\.py:\d+"):
        run_watched(blocks(), "their client")
    release.set()


def test_results_and_errors_arrive_inside_and_outside_a_loop() -> None:
    async def gives(value: str) -> str:
        await asyncio.sleep(0)
        return value

    async def fails() -> None:
        raise TimeoutError("theirs")

    async def inside() -> str:
        return run_watched(gives("inside"), "x")

    assert run_watched(gives("outside"), "x") == "outside"
    assert asyncio.run(inside()) == "inside"
    with pytest.raises(TimeoutError, match="theirs"):
        run_watched(fails(), "x")
