"""`check_client` does not change the process of its caller: event loop, environment, garbage collector."""

from __future__ import annotations

import pytest

from tests.support import QUIET

WITHOUT_XDIST = (*QUIET, "-p", "no:xdist")
CLIENT = """
import asyncio, gc, os, tracemalloc, warnings
import httpx, pytest, tier0

QUICK = ["wire.one_request"]
INTRUSIVE = ["wire.one_request", "hygiene.proxy_environment", "hygiene.another_loop", "hygiene.memory"]


class Client:
    def __init__(self, url):
        self.http = httpx.AsyncClient(base_url=url, trust_env=False)

    async def predict(self, data):
        assert os.environ["OPIK_TRACK_DISABLE"] == "true"
        response = await self.http.post("/predict", json=data)
        response.raise_for_status()
        return response.json()["predictions"]

    async def close(self):
        await self.http.aclose()


def state():
    return dict(os.environ), gc.get_freeze_count(), gc.isenabled(), tracemalloc.is_tracing()


def check(only=QUICK):
    before = state()
    verdict = tier0.check_client(Client, only=only, on_fail="return")
    assert verdict.verdict == "pass", verdict.checks
    assert state() == before
"""
FRESH = """
def test_a_first_event_loop_can_still_be_created():
    check(INTRUSIVE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and 3.13 warn of the creation
        loop = asyncio.get_event_loop()
    assert loop.run_until_complete(asyncio.sleep(0, "result")) == "result"
    loop.close()
"""
SET = """
@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


def test_the_event_loop_of_the_user_is_still_set(loop):
    check()
    assert asyncio.get_event_loop() is loop
    assert not loop.is_closed()


def test_allocations_are_still_traced():
    tracemalloc.start()
    check(["hygiene.memory"])
    assert tracemalloc.is_tracing()
    tracemalloc.stop()
"""
ASYNCIO = """
@pytest.mark.asyncio
async def test_the_checks_run_inside_a_running_loop():
    loop = asyncio.get_running_loop()
    check()
    assert asyncio.get_running_loop() is loop
    assert await asyncio.sleep(0, "result") == "result"


def test_the_checks_run_between_asynchronous_tests():
    check()


@pytest.mark.asyncio
async def test_a_later_asynchronous_test_runs():
    assert await asyncio.sleep(0, "result") == "result"


@tier0.parametrize_with_client_checks(only=["wire.one_request"])
def test_a_parametrized_check(check):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    check(Client)
    assert asyncio.get_event_loop() is loop
    asyncio.set_event_loop(None)
    loop.close()
"""


@pytest.mark.parametrize(
    ("scenario", "passed"), [(FRESH, 1), (SET, 2), (ASYNCIO, 4)], ids=["fresh", "loop-set", "pytest-asyncio"]
)
def test_the_process_is_unchanged_after_the_checks(
    pytester: pytest.Pytester, scenario: str, passed: int
) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(CLIENT + scenario)

    result = pytester.runpytest_subprocess(*WITHOUT_XDIST, "-W", "error")

    result.assert_outcomes(passed=passed)
