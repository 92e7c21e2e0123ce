"""`tier0_client` in the event loops of pytest-asyncio and anyio, whatever their scope."""

from __future__ import annotations

import pytest

from tests.support import QUIET

STRICT = (*QUIET, "-p", "no:xdist", "-W", "error")
SCOPES = ("function", "class", "module", "package", "session")
CONFTEST = """
import pytest
from tier0.faults import FaultServer, Reply

async def predict(client):
    answer = await client.predict([[1.0]])
    assert answer["predictions"] == [1]

@pytest.fixture
def ask():
    return predict

@pytest.fixture(scope="session")
def tier0_deployment():
    with FaultServer(Reply(body={"predictions": [1]})) as server:
        yield server
"""
ASYNCIO = """
import pytest, pytest_asyncio

@pytest.mark.asyncio
async def test_in_the_default_loop(tier0_client, ask):
    await ask(tier0_client)

@pytest.mark.asyncio
class TestMethods:
    async def test_first(self, tier0_client, ask):
        await ask(tier0_client)

    async def test_second(self, tier0_client, tier0_events, ask):
        assert (await tier0_client.health_check())["status"] == "healthy"
        await ask(tier0_client)
"""
SCOPED = """
@pytest.mark.asyncio(loop_scope="{scope}")
class Test_{scope}:
    async def test_a_scope(self, tier0_client, ask):
        await ask(tier0_client)
"""
ASYNC_FIXTURE = """
import pytest, pytest_asyncio

@pytest_asyncio.fixture
async def asked(tier0_client, ask):
    await ask(tier0_client)
    yield tier0_client
    await ask(tier0_client)

def test_a_synchronous_test_with_an_asynchronous_fixture(asked):
    pass

@pytest.mark.asyncio
async def test_a_fixture_in_the_loop_of_the_test(asked, ask):
    await ask(asked)
"""
SYNCHRONOUS = """
import asyncio

def test_a_loop_that_the_test_runs(tier0_client, ask):
    async def call():
        await ask(tier0_client)
        await tier0_client.close()
    asyncio.run(call())

def test_an_unused_client(tier0_client):
    assert tier0_client.circuit_state() == "closed"
"""
OLD_CODE = """
import asyncio

def test_before():
    assert asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, "result")) == "result"

def test_client(tier0_client):
    assert tier0_client.circuit_state() == "closed"

def test_after():
    assert asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, "result")) == "result"
    asyncio.get_event_loop().close()
"""
ANYIO = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_in_the_loop_of_anyio(tier0_client, ask):
    await ask(tier0_client)
"""


@pytest.fixture(autouse=True)
def _project(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)


@pytest.mark.parametrize("fixtures", [None, "fixture-scope", *SCOPES])
def test_every_scope_of_loops(pytester: pytest.Pytester, fixtures: str | None) -> None:
    pytester.makepyfile(ASYNCIO + "".join(SCOPED.format(scope=scope) for scope in SCOPES))
    options = [] if fixtures is None else ["-o", f"asyncio_default_fixture_loop_scope={fixtures}"]

    pytester.runpytest_inprocess(*STRICT, *options).assert_outcomes(passed=3 + len(SCOPES))


@pytest.mark.parametrize("scope", SCOPES)
def test_every_default_scope_of_tests(pytester: pytest.Pytester, scope: str) -> None:
    pytester.makepyfile(test_tests=ASYNCIO, test_fixture=ASYNC_FIXTURE)
    tests = f"asyncio_default_test_loop_scope={scope}"
    fixtures = f"asyncio_default_fixture_loop_scope={scope}"

    result = pytester.runpytest_inprocess(*STRICT, "-o", tests, "-o", fixtures)

    result.assert_outcomes(passed=5)


def test_synchronous_tests_and_anyio_need_no_pytest_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_synchronous=SYNCHRONOUS, test_anyio=ANYIO)

    for options in ([], ["-p", "no:asyncio"]):
        pytester.runpytest_inprocess(*STRICT, *options).assert_outcomes(passed=3)


def test_the_automatic_mode(pytester: pytest.Pytester) -> None:
    plain = ASYNCIO.replace("@pytest.mark.asyncio\n", "")
    pytester.makepyfile(test_tests=plain, test_synchronous=SYNCHRONOUS)

    pytester.runpytest_inprocess(*STRICT, "-o", "asyncio_mode=auto").assert_outcomes(passed=5)


def test_old_code_finds_its_event_loop_after_a_test_with_a_client(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(OLD_CODE)

    pytester.runpytest_subprocess(*STRICT[:-2]).assert_outcomes(passed=3)
