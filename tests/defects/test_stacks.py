"""Client stacks from released packages, each with its own declaration: the known checks fail, no others.

`make stacks` installs the packages of `tests/defects/stacks/requirements.txt`, and writes the results to
docs/client-stacks.md. Without these packages, in these versions, a stack is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pytest

import tier0
from tests.defects.pages import collected
from tests.support import ROOT
from tier0.core.verdict import CheckResult, Verdict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(290),
    pytest.mark.filterwarnings("ignore"),  # of the packages; the checks detect what they leave open
]
FOLDER = ROOT / "tests" / "defects" / "stacks"
ASKED_AGAIN = 2
PINNED = dict(
    line.split("==")
    for line in (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
)


class Stack(NamedTuple):
    """A client stack.

    Attributes:
        module: name of its adapter's module in `FOLDER`.
        packages: packages of which it consists, the one that the table shows first.
        failing: checks that it fails.
        factory: name of the factory in its module.
        declaration: name of its declaration; by default, that of its module.
    """

    module: str
    packages: tuple[str, ...]
    failing: set[str]
    factory: str = "Client"
    declaration: str = ""

    @property
    def adapter(self) -> Path:
        """File of the adapter."""
        return FOLDER / f"{self.module}.py"

    @property
    def promises(self) -> Path:
        """File of the declaration."""
        return FOLDER / f"{self.declaration or self.module}.toml"


READS = {"deadline.dripping_body", "deadline.attempt"}
"""Checks that a timeout of each read, and not of the attempt, fails."""
PROXY = {"hygiene.proxy_environment"}
BREAKER = {"breaker.counts_hangs", "breaker.burst", "breaker.rate_limits", "breaker.sequences"}
"""Checks that a breaker fails which counts status 429, and is not asked again by calls that wait."""
MISTAKES = {"retry.callers_mistakes", "breaker.closes"}
"""Checks that a client fails which takes status 400 for a failure of the service."""
STACKS = {
    "requests with urllib3's Retry": Stack(
        "requests_urllib3",
        ("requests", "urllib3"),
        READS
        | PROXY
        | {
            "wire.redirects",
            "retry.retry_after",
            "retry.broken_connections",
            "retry.spread",
            "hygiene.closed",
        },
    ),
    "aiohttp-retry": Stack(
        "aiohttp_retry_client",
        ("aiohttp-retry", "aiohttp"),
        {"wire.redirects", "retry.broken_connections", "retry.spread"},
        factory="make_client",
    ),
    "httpx-retries": Stack(
        "httpx_retries_client", ("httpx-retries", "httpx"), READS | {"retry.broken_connections"}
    ),
    "httpx-retries with total_timeout": Stack(
        "httpx_retries_client",
        ("httpx-retries", "httpx"),
        READS | {"retry.broken_connections", "deadline.own_queue"},
        declaration="httpx_retries_total",
    ),
    "stamina with httpx": Stack("stamina_httpx", ("stamina", "httpx"), READS | PROXY),
    "backoff with aiohttp": Stack(
        "backoff_aiohttp", ("backoff", "aiohttp"), {"wire.redirects"}, factory="make_client"
    ),
    "openai": Stack("openai_sdk", ("openai",), READS | PROXY | {"wire.redirects"}),
    "interlock-cb, pipeline": Stack(
        "interlock_pipeline",
        ("interlock-cb", "httpx", "tenacity"),
        BREAKER | MISTAKES | PROXY | {"pool.own_queue"},
    ),
    "interlock-cb, httpx transport": Stack(
        "interlock_transport",
        ("interlock-cb", "httpx"),
        BREAKER | READS | {"breaker.counts_bodies", "breaker.counts_failures"},
    ),
    "pyresilience": Stack(
        "pyresilience_httpx",
        ("pyresilience", "httpx"),
        BREAKER | MISTAKES | PROXY | {"breaker.late_results", "pool.own_queue"},
    ),
    "aiobreaker": Stack(
        "aiobreaker_httpx",
        ("aiobreaker", "httpx"),
        BREAKER
        | MISTAKES
        | READS
        | PROXY
        | {"breaker.one_probe", "breaker.clock_steps", "breaker.late_results"},
    ),
    "tritonclient.http.aio": Stack(
        "triton_http",
        ("tritonclient",),
        {"wire.redirects", "health.never_raises", "health.while_saturated", "hygiene.quoted_models"},
        factory="make_client",
    ),
    "mlflow.deployments": Stack(
        "mlflow_deployments",
        ("mlflow",),
        READS
        | PROXY
        | {"wire.redirects", "retry.broken_connections", "retry.spread", "hygiene.quoted_models"},
    ),
    "boto3 sagemaker-runtime": Stack(
        "sagemaker_runtime",
        ("boto3",),
        READS | PROXY | {"retry.broken_connections", "pool.bounded", "hygiene.closed"},
    ),
}


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Verdict]]:
    """Collect the verdicts, and write them to the file in TIER0_STACKS_PAGE, if that is set."""
    with collected(STACKS, "TIER0_STACKS_PAGE", as_page) as verdicts:
        yield verdicts


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_fails_the_checks_that_it_is_known_to_fail(name: str, verdicts: dict[str, Verdict]) -> None:
    stack = STACKS[name]
    _require(stack.packages)
    verdict = verdicts[name] = _verdict_on(stack)

    busy = {result.id for result in verdict.checks if result.code == "busy"}
    failing = {result.id: result.message for result in verdict.with_status("fail")}
    assert failing.keys() - busy == stack.failing - busy, failing
    assert not verdict.with_status("error"), verdict.with_status("error")


def _verdict_on(stack: Stack) -> Verdict:
    """Check a stack, and ask again what the machine was too busy for."""
    factory = f"tests.defects.stacks.{stack.module}:{stack.factory}"
    verdict = tier0.check_client(factory, stack.promises, on_fail="return")
    for _ in range(ASKED_AGAIN):
        if busy := [result.id for result in verdict.checks if result.code == "busy"]:
            again = tier0.check_client(factory, stack.promises, only=busy, on_fail="return")
            decided = {result.id: result for result in again.checks if result.id in busy}
            verdict = replace(verdict, checks=[decided.get(one.id, one) for one in verdict.checks])
    return verdict


def _require(packages: tuple[str, ...]) -> None:
    """Skip the test unless *packages* are installed in the versions of the list."""
    for package in packages:
        try:
            installed = version(package)
        except PackageNotFoundError:
            installed = "none"
        if installed != _pinned(package):
            pytest.skip(f"needs {package} {_pinned(package)}, and {installed} is installed: run make stacks")


def _pinned(package: str) -> str:
    return next(number for name, number in PINNED.items() if name.partition("[")[0] == package)


def as_page(verdicts: dict[str, Verdict]) -> str:
    """Return the page of the documentation."""
    rows = [f"| {name} | {_cells(STACKS[name], verdict)} |" for name, verdict in verdicts.items()]
    lines = [
        "# Client stacks compared",
        "",
        "Written by `make stacks`. Each stack comes from its released packages, is used as their",
        "documentation shows, through the adapter below, and is checked with a declaration of what they",
        "promise with that configuration.",
        "",
        "This is not a ranking. Some packages do on purpose what an application's call to its model server",
        "should not do, such as following redirects or obeying HTTP_PROXY: a failed check is what remains to",
        "be configured, added or declared. What was not checked was not declared, needs a method that the",
        "adapter does not have, or has a failed prerequisite.",
        "",
        "| stack | packages | passed | failed | not checked | failed checks |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    shown: set[Path] = set()
    for name, verdict in verdicts.items():
        stack = STACKS[name]
        lines += ["", f"## {name}", ""]
        if stack.adapter not in shown:
            lines += _block("python", stack.adapter)
        shown.add(stack.adapter)
        lines += _block("toml", stack.promises)
        lines += [f"- `{result.id}`: {_seen(result)}" for result in verdict.with_status("fail")]
    return "\n".join(lines).rstrip() + "\n"


def _block(language: str, file: Path) -> list[str]:
    return [f"```{language}", f"# {file.name}", file.read_text(encoding="utf-8").rstrip(), "```", ""]


def _cells(stack: Stack, verdict: Verdict) -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in stack.packages)
    counts = [str(len(verdict.with_status(status))) for status in ("pass", "fail", "not_judged")]
    failed = ", ".join(f"`{result.id}`" for result in verdict.with_status("fail"))
    return " | ".join([packages, *counts, failed])


def _seen(result: CheckResult) -> str:
    """Return the message of a failed check without the port of the run."""
    return " ".join(result.message.partition(" for url")[0].split())
