"""Public clients, checked with one declaration; `make defects` writes the results to docs/clients.md."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest

import tier0
from tests.defects.pages import collected
from tests.defects.public_clients import CLIENTS, DECLARED
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.declaration import read_declaration
from tier0.core.verdict import Verdict

LEAKS = "ignore::pytest.PytestUnraisableExceptionWarning"
"""Warnings about connections that clients leave open, which the checks detect themselves."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings(LEAKS),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PACKAGES = ("httpx", "tenacity", "requests", "pybreaker", "circuitbreaker", "purgatory", "bentoml")
CELLS = {"pass": "passed", "fail": "**failed**", "not_judged": "", "error": "error"}


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Verdict]]:
    """Collect the verdicts, and write them to the file in TIER0_CLIENTS_PAGE, if that is set."""
    with collected(CLIENTS, "TIER0_CLIENTS_PAGE", as_page) as verdicts:
        yield verdicts


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_fails_if_its_declaration_promises_too_much(name: str, verdicts: dict[str, Verdict]) -> None:
    factory: Any = CLIENTS[name]
    verdict = verdicts[name] = tier0.check_client(factory, DECLARED, on_fail="return")

    assert not verdict.with_status("error"), verdict.with_status("error")
    assert verdict.verdict == ("pass" if name == "Tier0" else "fail"), verdict.with_status("fail")


def as_page(verdicts: dict[str, Verdict]) -> str:
    """Return the page of the documentation."""
    statuses = {
        name: {result.id: result.status for result in verdict.checks} for name, verdict in verdicts.items()
    }
    checks = [check.id for check in CLIENT_CATALOGUE]
    checks = [id_ for id_ in checks if any(found[id_] != "not_judged" for found in statuses.values())]
    rows = [[f"`{id_}`", *(CELLS[found[id_]] for found in statuses.values())] for id_ in checks]
    promised = read_declaration(DECLARED).promised
    lines = [
        "# Seven clients compared",
        "",
        "Written by `make defects`. Each client comes from its released package, is used as its",
        "documentation shows, through the adapters in `tests/defects/public_clients.py`, and is checked with",
        "the same declaration:",
        f"{', '.join(f'{name} = {value}'.lower() for name, value in promised.items())}.",
        "",
        "This is not a ranking: most of these packages do not promise all of that. A breaker does not retry,",
        "and a library for retries has no breaker. The table shows what remains to be done when a client is",
        "built from them. An empty cell was not checked: the client does not have the required method, or a",
        "prerequisite failed.",
        "",
        ", ".join(f"{package} {version(package)}" for package in PACKAGES) + ".",
        "",
        f"| check | {' | '.join(verdicts)} |",
        "|---|" + "---|" * len(verdicts),
        *(f"| {' | '.join(row)} |" for row in rows),
        f"| failed | {' | '.join(str(len(verdict.with_status('fail'))) for verdict in verdicts.values())} |",
        "",
        "The messages of the failed checks:",
    ]
    for name, verdict in verdicts.items():
        failed = verdict.with_status("fail")
        lines += ["", f"**{name}**" + ("" if failed else ": none."), ""]
        lines += [f"- `{result.id}`: {_without_url(result.message)}" for result in failed]
    return "\n".join(lines).rstrip() + "\n"


def _without_url(message: str) -> str:
    """Return the message without the port of the run."""
    return " ".join(message.partition(" for url")[0].split())
