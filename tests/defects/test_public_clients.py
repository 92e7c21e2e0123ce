"""The clients that people have, judged with one declaration; `make defects` writes what becomes of them into the docs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from public_clients import CLIENTS, DECLARED

import tier0
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.verdict import Verdict

LEAKS = "ignore::pytest.PytestUnraisableExceptionWarning"
"""What clients leave open is found by the checks."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings(LEAKS),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PACKAGES = ("httpx", "tenacity", "requests", "pybreaker", "circuitbreaker", "purgatory", "bentoml")
MARKS = {"pass": "holds", "fail": "**fails**", "not_judged": "", "error": "?"}
SILENT = {"answer", "setup", "knobs"}


@pytest.fixture(scope="module")
def judged() -> Iterator[dict[str, Verdict]]:
    """What was found of each; written down at the end, if that is asked for."""
    found: dict[str, Verdict] = {}
    yield found
    page = os.environ.get("TIER0_CLIENTS_PAGE")
    if page is not None and found.keys() == CLIENTS.keys():
        Path(page).write_text(as_page(found), encoding="utf-8")


@pytest.mark.parametrize("name", CLIENTS)
def test_whoever_promises_what_it_does_not_do_is_told(name: str, judged: dict[str, Verdict]) -> None:
    factory: Any = CLIENTS[name]
    verdict = judged[name] = tier0.check_client(factory, DECLARED, on_fail="return")

    assert not verdict.with_status("error"), verdict.with_status("error")
    assert verdict.verdict == ("pass" if name == "ours" else "fail"), verdict.with_status("fail")


def as_page(found: dict[str, Verdict]) -> str:
    """Return the page of the documentation."""
    by_name = {name: {result.id: result for result in verdict.checks} for name, verdict in found.items()}
    promised = ", ".join(
        f"{name} = {value}".lower() for name, value in DECLARED.items() if name not in SILENT
    )
    asked = [
        check
        for check in CLIENT_CATALOGUE
        if any(results[check.id].status != "not_judged" for results in by_name.values())
    ]
    lines = [
        "# Clients, side by side",
        "",
        "Written by `make defects`, which judges each from its released package, used as its own documentation shows, through the adapters in",
        "`tests/defects/public_clients.py`, with one declaration:",
        f"{promised}.",
        "",
        "Most of them never promised all of that: a breaker does not retry, and a library of retries has no breaker. So this is no ranking; it",
        "shows what is left to do for whoever builds a client from them. An empty field was not judged: the client has no such method, or what",
        "had to be there first was missing.",
        "",
        ", ".join(f"{package} {version(package)}" for package in PACKAGES) + ".",
        "",
        "| check | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
        *(
            f"| `{check.id}` | " + " | ".join(MARKS[by_name[name][check.id].status] for name in found) + " |"
            for check in asked
        ),
        f"| fails | {' | '.join(str(len(verdict.with_status('fail'))) for verdict in found.values())} |",
        "",
        "What a user of each would suffer:",
    ]
    for name, verdict in found.items():
        wrong = verdict.with_status("fail")
        lines += ["", f"**{name}**" + ("" if wrong else ": nothing of this."), ""]
        lines += [f"- `{result.id}`: {_steady(result.message)}" for result in wrong]
    return "\n".join(lines).rstrip() + "\n"


def _steady(message: str) -> str:
    """Return it without the port of that run."""
    return " ".join(message.partition(" for url")[0].split())
