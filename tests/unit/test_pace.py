"""The rate of requests: a bucket of tokens, with a clock that stands still until somebody waits."""

from __future__ import annotations

import asyncio
import math

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tier0.checks.serving.harness.pace import Pace
from tier0.checks.serving.harness.sender import WAITED, Sender
from tier0.core.errors import SettingsError
from tier0.core.settings import merge_settings
from tier0.core.verdict import NotJudgedError
from tier0.runs.deployment import judging_options


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def sent_at(rate: float, requests: int, *, at_once: bool = True, pause: float = 0.0) -> list[float]:
    """When requests are sent that come at once, or one after the other with a pause."""
    clock = Clock()
    pace = Pace(rate, clock, clock.sleep)
    moments: list[float] = []

    async def request() -> None:
        await pace.turn()
        moments.append(clock.now - 1000.0)

    async def one_by_one() -> None:
        for _ in range(requests):
            await request()
            clock.now += pause

    async def together() -> None:
        await asyncio.gather(*(request() for _ in range(requests)))

    asyncio.run(together() if at_once else one_by_one())
    return moments


def busiest_second(moments: list[float]) -> int:
    return max(sum(start <= one < start + 1 - 1e-9 for one in moments) for start in moments)


@pytest.mark.parametrize("rate", [0.5, 1, 2.5, 10, 19, 20, 150, 1000])
def test_no_second_has_more_requests_than_allowed(rate: float) -> None:
    moments = sent_at(rate, 400)

    assert len(moments) == 400
    assert busiest_second(moments) <= math.ceil(rate)
    assert moments[-1] == pytest.approx(399 / rate, rel=0.2), "and the rate is used"


@settings(max_examples=50)
@given(st.floats(0.1, 500), st.floats(0, 3), st.integers(1, 100))
def test_any_rate_is_kept_whatever_the_pauses(rate: float, pause: float, requests: int) -> None:
    assert busiest_second(sent_at(rate, requests, at_once=False, pause=pause)) <= math.ceil(rate)


def test_requests_slower_than_the_rate_do_not_wait() -> None:
    assert sent_at(10, 5, at_once=False, pause=0.2) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_low_rates_send_one_by_one_at_equal_distances() -> None:
    assert sent_at(10, 5) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_high_rates_allow_some_at_once() -> None:
    assert sent_at(140, 14) == [0.0] * 14
    Pace(140).require_at_once(14)
    with pytest.raises(NotJudgedError, match="140") as reason:
        Pace(139).require_at_once(14)
    assert reason.value.code == "rate"


def test_every_attempt_takes_its_turn_and_the_wait_is_known() -> None:
    clock = Clock()
    moments: list[float] = []

    def respond(_: httpx.Request) -> httpx.Response:
        moments.append(clock.now - 1000.0)
        return httpx.Response(503 if len(moments) < 3 else 200, headers={"Retry-After": "0"})

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
            sender = Sender("http://127.0.0.1:1", http, pace=Pace(2, clock, clock.sleep))
            return await sender.send("GET", "/readyz")

    response = asyncio.run(send())

    assert moments == pytest.approx([0.0, 0.5, 1.0])
    assert response.extensions[WAITED] == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf"])
def test_a_rate_is_a_positive_number(text: str) -> None:
    with pytest.raises(SettingsError):
        merge_settings({"rate": text}, {}, command="verify")


def test_workers_of_xdist_share_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    given_rate = merge_settings({"rate": "30"}, {}, command="verify")
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    assert judging_options(given_rate)["rate"] == 30
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    assert judging_options(given_rate)["rate"] == 10
    assert judging_options(merge_settings({}, {}, command="verify"))["rate"] is None
