"""The table of the checks that detect each defect: printed, and written into the docs, by `make defects`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.defects.matrix import Finding, as_page, as_text
from tests.defects.peers import run_schemathesis
from tests.support.zoo_server import Trained, served, trained
from tier0.core.verdict import Verdict
from tier0.runs.deployment import Deployment

FOUND = pytest.StashKey[list[Finding]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FOUND] = []


@pytest.fixture(scope="session")
def zoo() -> Iterator[Trained]:
    with trained() as zoo:
        yield zoo


@pytest.fixture(scope="session")
def zoo_server(zoo: Trained, pytestconfig: pytest.Config, with_peers: bool) -> Iterator[Deployment]:  # noqa: FBT001
    with served(zoo) as deployment:
        yield deployment
        if with_peers:  # last, since it changes the state of the server
            routes = run_schemathesis(deployment.url)
            for found in pytestconfig.stash[FOUND]:
                if found.route in routes:
                    found.peers["schemathesis"] = routes[found.route]


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Record the results of one deployment."""

    def remember(
        mutant: str,
        expected: tuple[str, ...],
        outcome: Verdict | str,
        peers: dict[str, bool] | None = None,
        route: str | None = None,
    ) -> None:
        pytestconfig.stash[FOUND].append(Finding.from_outcome(mutant, expected, outcome, peers or {}, route))

    return remember


@pytest.fixture(scope="session")
def with_peers() -> bool:
    """Whether the tests of other tools run, too; they take minutes, and show nothing about Tier0."""
    return "TIER0_DEFECTS_PAGE" in os.environ


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = config.stash[FOUND]
    page = os.environ.get("TIER0_DEFECTS_PAGE")
    if page is None or not found:
        return
    terminalreporter.section("defects")
    for line in as_text(found):
        terminalreporter.write_line(line)
    Path(page).write_text(as_page(found), encoding="utf-8")
    terminalreporter.write_line(f"written to {page}")
