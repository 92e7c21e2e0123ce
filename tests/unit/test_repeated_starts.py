"""A server that does not start, for the same reason in each test, is reported once and shortly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tier0.core.errors import SERVER_NOT_READY, ServerError, Tier0Error
from tier0.pytest_plugin import _is_the_same
from tier0.pytest_reporting import shorten

TRACE = "  | Traceback (most recent call last)\n  |   File 'a.py', line 1\n  |     load()\n  | {exception}"


def not_ready(worker: int, exception: str) -> ServerError:
    log = "\n".join([*(f"  | line {number} of {worker}" for number in range(60)), TRACE])
    what = f"worker {worker} died.\nThe end of its log (/tmp/{worker}/server.log):\n{log}"
    return ServerError(f"{SERVER_NOT_READY}: {what}".replace("{exception}", exception))


def test_the_same_exception_is_reported_once() -> None:
    first = not_ready(1, "ImportError: no module x")

    assert _is_the_same(not_ready(2, "ImportError: no module x"), first)
    assert not _is_the_same(not_ready(2, "ImportError: no module y"), first)
    assert not _is_the_same(not_ready(2, ""), not_ready(3, "")), "without an exception, nothing is known"
    assert not _is_the_same(Tier0Error("nothing responds"), Tier0Error("nothing responds"))
    assert _is_the_same(first, first)


@pytest.mark.parametrize(("verbosity", "is_short"), [(0, True), (-1, True), (1, False)])
def test_the_log_is_shown_on_request(verbosity: int, is_short: bool) -> None:  # noqa: FBT001
    report: Any = SimpleNamespace(longrepr="all of it")

    try:
        raise not_ready(1, "ImportError: no module x")
    except ServerError as problem:
        shorten(report, problem, verbosity)

    if not is_short:
        assert report.longrepr == "all of it"
        return
    shown = str(report.longrepr)
    assert shown.count("ImportError: no module x") == 1
    assert "worker 1 died" in shown
    assert "line 59" not in shown
    assert len(shown.splitlines()) <= 4
    assert report.longrepr.reprcrash.message.startswith("tier0.core.errors.ServerError: the server did not")
