"""The report in a real browser: its content, its layout on a phone and in dark mode, and its accessibility.

The tests need Debian's chromium (`apt-get install chromium`), and fail with a message without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.support.reporting_run import CASES, Reported

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.timeout(180)
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE = 1200, 390
ABOUT_ALL = ["color-contrast", "svg-img-alt", "image-alt", "document-title"]
"""Rules for the entire page, including pytest-html's parts; all rules apply to Tier0's section."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for this module only: its event loop in this thread prevents tests with their own loop."""
    found = (
        os.environ.get("TIER0_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if found is None:
        pytest.fail(
            "Chromium is not installed: apt-get install chromium, or set TIER0_CHROMIUM to its path",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, width: int = WIDE, scheme: str = "light") -> Iterator[Page]:
    """Open a report from its file, without a network; errors and warnings of the browser fail the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda problem: complaints.append(str(problem)))
    page.on(
        "request",
        lambda request: (
            complaints.append(f"asks for {request.url}")
            if not request.url.startswith(("file:", "data:"))
            else None
        ),
    )
    page.goto(path.as_uri())
    yield page
    assert complaints == []
    context.close()


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_the_json_says(browser: Browser, reported: dict[str, Reported], case: str) -> None:
    run = reported[case]
    document = run.document
    with opened(browser, run.page) as page:
        assert page.locator("#tier0-sentence").inner_text() == document["sentence"]
        assert page.locator("#tier0 > article.problem").count() == len(document["problems"])
        for number, problem in enumerate(document["problems"], 1):
            shown = page.locator(f"#tier0-problem-{number}").inner_text()
            assert problem["what"] in shown
            assert problem["message"].strip().splitlines()[0] in shown
            assert (problem.get("reproduce") or "") in shown
            assert all(cause in shown for cause in problem.get("causes", ()))
        rows = page.locator("#tier0-checks tbody tr").all_inner_texts()
        assert [row.split("\t")[1].strip() for row in rows] == [check["id"] for check in document["checks"]]
        is_at_the_top = page.evaluate(
            "document.querySelector('.verdict').getBoundingClientRect().bottom < window.innerHeight / 2"
        )
        assert is_at_the_top


def test_what_was_measured_is_drawn(browser: Browser, reported: dict[str, Reported]) -> None:
    run = reported["fails"]
    parity, latency = run.document["parity"], run.document["latency"]
    with opened(browser, run.page) as page:
        assert page.locator("#tier0-parity circle").count() == len(parity["expected"])
        assert (
            page.locator("#tier0-parity circle.bad").count()
            == sum(a != b for a, b in zip(parity["expected"], parity["served"], strict=True))
            == 6
        )
        assert page.locator("#tier0-parity svg .strong").all_text_contents() == [
            f"row {row['row']}" for row in parity["worst"]
        ]
        assert f"p50 {latency['p50_ms']:.3g} ms" in page.locator("#tier0-latency svg").inner_html()
        assert page.locator("#tier0-timeline rect").count() == len(run.document["timeline"])


def test_only_what_fails_can_be_shown(browser: Browser, reported: dict[str, Reported]) -> None:
    run = reported["fails"]
    statuses = [check["status"] for check in run.document["checks"]]
    with opened(browser, run.page) as page:
        for choice, count in (
            ("fail", statuses.count("fail")),
            ("not_judged", statuses.count("not_judged")),
            ("all", len(statuses)),
        ):
            page.locator(f"#tier0-shown-{choice}").check()
            assert page.locator("#tier0-checks tbody tr:visible").count() == count, choice
        failed = page.locator("input[data-test-result=passed]")
        shown = page.locator("#results-table .results-table-row").count()
        failed.uncheck()
        assert page.locator("#results-table .results-table-row").count() == shown - statuses.count("pass"), (
            "pytest-html's own filter"
        )


@pytest.mark.parametrize("case", CASES)
def test_nothing_overflows_on_a_phone(browser: Browser, reported: dict[str, Reported], case: str) -> None:
    with opened(browser, reported[case].page, PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        wide: list[Any] = page.evaluate(
            """[...document.querySelectorAll('#tier0 *')]
               .filter(one => !one.closest('.scroll') && !one.closest('pre'))
               .filter(one => one.getBoundingClientRect().right > window.innerWidth + 1)
               .map(one => one.outerHTML.slice(0, 80))"""
        )
        assert wide == []
        smallest = page.evaluate(
            """Math.min(...[...document.querySelectorAll('#tier0 p, #tier0 td, #tier0 th, #tier0 code')]
               .map(one => parseFloat(getComputedStyle(one).fontSize)))"""
        )
        assert smallest >= 12


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_it_can_be_read_by_everybody(
    browser: Browser, reported: dict[str, Reported], case: str, scheme: str
) -> None:
    with opened(browser, reported[case].page, scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        ours = Axe().run(page, context="#tier0")
        whole = Axe().run(page, options={"runOnly": {"type": "rule", "values": ABOUT_ALL}})
        for found in (ours, whole):
            violations = [
                (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
                for one in found.response["violations"]
            ]
            assert violations == []
        drawings = page.locator("#tier0 svg")
        assert drawings.count()
        assert all(
            (drawings.nth(index).get_attribute("aria-label") or "").strip()
            for index in range(drawings.count())
        )


def test_a_page_that_is_hard_to_read_is_found(browser: Browser, reported: dict[str, Reported]) -> None:
    with opened(browser, reported["passes"].page) as page:
        page.evaluate("document.querySelector('#tier0-sentence').style.color = '#ddd'")
        page.evaluate("document.querySelector('#tier0 svg').removeAttribute('aria-label')")
        page.evaluate("document.querySelector('#tier0 svg title').remove()")
        found = {one["id"] for one in Axe().run(page, context="#tier0").response["violations"]}

    assert found == {"color-contrast", "svg-img-alt"}
