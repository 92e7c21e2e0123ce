"""The user's process is the same after the checks of a service, and nothing is left when pytest ends."""

from __future__ import annotations

import pytest

from tests.support import QUIET

WITHOUT_XDIST = (*QUIET, "-p", "no:xdist")
CONFTEST = """
import threading

import pytest
from tier0.faults import FaultServer, Reply
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

CONTRACT = {"route": "/predict", "predictions": "predictions"}

@pytest.fixture(scope="session")
def tier0_deployment():
    golden = GoldenRows(["a", "b"], [[1.0, 2.0]], [1], None, [])
    with FaultServer(Reply(body={"predictions": [1]})) as server:
        yield Deployment.from_url(server.url, golden=golden, contract=CONTRACT, disturb="load")

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    with open("threads.txt", "w") as file:
        file.write(" ".join(thread.name for thread in threading.enumerate()))
"""
CHECKS = """
import asyncio, gc, locale, logging, multiprocessing, os, random, signal, socket, sys, threading, warnings

import numpy
import pytest
import tier0

BEFORE = {}


def state():
    umask = os.umask(0)
    os.umask(umask)
    return {
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "working directory": os.getcwd(),
        "umask": umask,
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "warnings": list(warnings.filters),
        "handlers": [one for one in logging.root.handlers if "pytest" not in type(one).__module__],
        "levels": {
            name: (logger.level, logger.disabled, logger.propagate, list(logger.handlers))
            for name, logger in logging.root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger) and name in BEFORE.get("levels", [name])
        },
        "level": (logging.root.level, logging.root.manager.disable),
        "path": list(sys.path),
        "locale": locale.setlocale(locale.LC_ALL),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "random": random.getstate(),
        "numpy": (numpy.geterr(), numpy.get_printoptions(), numpy.random.get_state()[1].tolist()),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "timeout": socket.getdefaulttimeout(),
        "garbage": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "policy": asyncio.get_event_loop_policy(),
        "threads": {thread.name for thread in threading.enumerate()} - {"tier0-examination"},
    }


def test_before(tier0_deployment):
    BEFORE.update(state())


@pytest.mark.tier0_bentoml
@tier0.parametrize_with_checks(["health", "parity", "concurrency"])
def test_serving(tier0_deployment, check):
    check(tier0_deployment)


def test_after():
    after = state()
    assert not [name for name in BEFORE if after[name] != BEFORE[name]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and 3.13 warn of the creation
        loop = asyncio.get_event_loop()
    assert loop.run_until_complete(asyncio.sleep(0, "result")) == "result"
    loop.close()
"""


def test_the_process_is_the_same_after_the_checks_of_a_service(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(CHECKS)

    result = pytester.runpytest_subprocess(*WITHOUT_XDIST, "-W", "error", "-rA")

    result.stdout.fnmatch_lines(
        ["PASSED *::test_before", "PASSED *parity.golden_rows*", "PASSED *::test_after"]
    )
    assert (pytester.path / "threads.txt").read_text(encoding="utf-8") == "MainThread"
