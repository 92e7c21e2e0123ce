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
from tier0.core.causes import KNOWN, likely_of
from tier0.report.document import counts_of
from tier0.report.page import as_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.timeout(600)  # the first test waits for three runs
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE = 1200, 390
OFF_SCREEN = """[...document.querySelectorAll('#tier0 *')]
  .filter(one => !one.closest('.scroll') && !one.closest('pre') && !one.closest('.hidden'))
  .filter(one => one.getBoundingClientRect().right > window.innerWidth + 1)
  .map(one => one.outerHTML.slice(0, 80))"""
OVERLAPPING = """[...document.querySelectorAll(
    '#tier0 :is(header, .sides, .top, summary, dl, tr, .show, .bar, .tools)'
  )].flatMap(one => {
    const boxes = [...one.children].filter(inner => !inner.classList.contains('hidden'))
      .map(inner => [inner, inner.getBoundingClientRect()])
      .filter(([, box]) => box.width > 0 && box.height > 0);
    return boxes.flatMap(([inner, a], index) => boxes.slice(index + 1)
      .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
      .filter(() => getComputedStyle(inner).display !== 'inline')
      .map(([other]) => inner.outerHTML.slice(0, 60) + other.outerHTML.slice(0, 60)));
  })"""
"""Elements beside each other that overlap."""
SMALL_LABELS = """[...document.querySelectorAll('#tier0 svg text')]
  .filter(one => {
    const svg = one.ownerSVGElement;
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return parseFloat(getComputedStyle(one).fontSize) * scale < 10.5;
  }).map(one => one.textContent)"""
"""Labels of drawings that are smaller than 10.5 px on the screen."""
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
def opened(
    browser: Browser,
    path: Path,
    width: int = WIDE,
    scheme: str = "light",
    *,
    height: int = 900,
    scripts: bool = True,
) -> Iterator[Page]:
    """Open a report from its file, without a network; errors and warnings of the browser fail the test."""
    complaints: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        offline=True,
        java_script_enabled=scripts,
    )
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
        assert page.locator("#tier0-verdict").get_attribute("title") == document["sentence"]
        at_the_top = page.locator("#tier0 .verdict").inner_text()
        for cause in document["causes"][:1]:
            assert [
                part
                for part in (cause["title"], cause["key"], cause["next_step"].replace("`", ""))
                if part not in at_the_top
            ] == []
            assert cause["message"] not in at_the_top, "the card says it"
        assert [cause["title"] for cause in document["causes"] if cause["title"] not in at_the_top] == []
        assert counts_of(document)[1:] in at_the_top
        cards = page.locator("#tier0 > article.cause")
        assert cards.count() == len(document["causes"])
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        for number, cause in enumerate(document["causes"]):
            shown = cards.nth(number).inner_text()
            headline = cause["message"].partition(". Likely cause: ")[0]
            told = [cause["title"], cause["severity"], headline, cause["reproduce"], *likely_of(cause)]
            told += [cause["expected"], cause["got"], cause["start"]]
            told += [other["check"] for other in cause["explains"]] + cause["skipped"]
            assert [text for text in told if text not in shown] == []
        ids = page.locator("#tier0-checks .check > summary code").all_inner_texts()
        assert ids == [check["id"] for check in document["checks"]]
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


def test_cause_rows_and_next_step_are_on_the_first_screen(
    browser: Browser, reported: dict[str, Reported], tmp_path: Path
) -> None:
    document = reported["fails"].document
    page_of_its_own = tmp_path / "tier0.html"
    page_of_its_own.write_text(as_page(document), encoding="utf-8")
    lowest = {
        "#tier0-sentence": 400,
        ".verdict .next": 400,
        ".cause .headline": 800,
        ".cause .copyable": 800,
        ".cause .rows": 900,  # of the second cause
    }
    with opened(browser, page_of_its_own, height=900) as page:
        for selector, most in lowest.items():
            bottom = page.locator(f"#tier0 {selector}").first.evaluate(
                "one => one.getBoundingClientRect().bottom"
            )
            assert bottom <= most, selector
        assert document["causes"][0]["next_step"] in page.locator(".verdict .next").inner_text()


def test_a_healthy_run_fits_one_screen(
    browser: Browser, reported: dict[str, Reported], tmp_path: Path
) -> None:
    document = reported["passes"].document
    page_of_its_own = tmp_path / "tier0.html"
    page_of_its_own.write_text(as_page(document), encoding="utf-8")
    with opened(browser, page_of_its_own) as page:
        assert page.evaluate("document.documentElement.scrollHeight") <= 900


def test_only_what_fails_can_be_shown(browser: Browser, reported: dict[str, Reported]) -> None:
    run = reported["fails"]
    statuses = [check["status"] for check in run.document["checks"]]
    with opened(browser, run.page) as page:
        for choice, count in (
            ("fail", statuses.count("fail")),
            ("not_judged", statuses.count("not_judged")),
            ("pass", statuses.count("pass")),
        ):
            page.locator(f"#tier0-shown-{choice}").check()
            assert page.locator("#tier0-checks .check:visible").count() == count, choice
        failed = page.locator("input[data-test-result=passed]")
        shown = page.locator("#results-table .results-table-row").count()
        failed.uncheck()
        assert page.locator("#results-table .results-table-row").count() == shown - statuses.count("pass"), (
            "pytest-html's own filter"
        )


def test_checks_are_found_by_key_group_and_severity(browser: Browser, reported: dict[str, Reported]) -> None:
    checks = reported["fails"].document["checks"]
    visible = "#tier0-checks .check:visible > summary code"
    with opened(browser, reported["fails"].page) as page:
        page.keyboard.press("/")
        page.keyboard.type("QUOTED numbers")
        assert page.locator(visible).all_inner_texts() == ["contract.refuses_text_for_number"]
        assert page.locator("#tier0-found").inner_text() == "1 check"
        page.keyboard.press("Escape")
        page.locator("#tier0-group").select_option("identity")
        page.locator("#tier0-severity").select_option("critical")
        assert page.locator(visible).all_inner_texts() == [
            check["id"]
            for check in checks
            if check["group"] == "identity" and check["severity"] == "critical"
        ]


def test_a_command_is_copied_and_a_permalink_opens_its_check(
    browser: Browser, reported: dict[str, Reported]
) -> None:
    run = reported["fails"]
    with opened(browser, run.page) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button = page.locator("#tier0 .cause [data-copy$=-command]").first
        button.click()
        page.wait_for_function("one => one.textContent === 'Copied'", arg=button.element_handle())
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == run.document["causes"][0]["reproduce"]
        page.locator("#tier0 .cause > header [data-copy]").first.click()
        page.wait_for_function(
            "title => navigator.clipboard.readText().then(text => text.startsWith(title))",
            arg=run.document["causes"][0]["title"],
        )
        assert run.document["causes"][0]["next_step"] in page.evaluate("navigator.clipboard.readText()")
        page.goto(f"{run.page.as_uri()}#tier0-check-health.ready")
        assert page.locator("[id='tier0-check-health.ready'] .body").is_visible()


def test_it_works_without_its_script(browser: Browser, reported: dict[str, Reported], tmp_path: Path) -> None:
    page_of_its_own = tmp_path / "tier0.html"
    page_of_its_own.write_text(as_page(reported["fails"].document), encoding="utf-8")
    with opened(browser, page_of_its_own, scripts=False) as page:
        assert not page.locator("#tier0-search").is_visible()
        assert page.locator("[data-copy]:visible").count() == 0
        page.locator("#tier0-shown-fail").check()
        shown = page.locator("#tier0-checks .check:visible > summary code").all_inner_texts()
        assert shown == [
            check["id"] for check in reported["fails"].document["checks"] if check["status"] == "fail"
        ]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [PHONE, WIDE, pytest.param(1920, marks=pytest.mark.slow)])
def test_nothing_is_cut_or_off_screen(
    browser: Browser, reported: dict[str, Reported], tmp_path: Path, case: str, width: int
) -> None:
    long_names = tmp_path / "long.html"
    long_names.write_text(as_page(_with_long_names(reported[case].document)), encoding="utf-8")
    for path in (reported[case].page, long_names):
        with opened(browser, path, width) as page:
            page.evaluate("document.querySelectorAll('#tier0 details').forEach(one => one.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(OFF_SCREEN) == []
            assert page.evaluate(OVERLAPPING) == []
            smallest = page.evaluate(
                """Math.min(...[...document.querySelectorAll('#tier0 p, #tier0 td, #tier0 th, #tier0 code')]
                   .map(one => parseFloat(getComputedStyle(one).fontSize)))"""
            )
            assert smallest >= 12
            assert page.evaluate(SMALL_LABELS) == []


def test_a_label_that_is_too_small_is_found(browser: Browser, reported: dict[str, Reported]) -> None:
    with opened(browser, reported["fails"].page) as page:
        page.evaluate("document.querySelector('#tier0-parity svg').style.width = '120px'")
        assert page.evaluate(SMALL_LABELS)


@pytest.mark.parametrize("case", CASES)
def test_each_link_leads_somewhere_and_each_check_is_explained(
    browser: Browser, reported: dict[str, Reported], case: str
) -> None:
    run = reported[case]
    with opened(browser, run.page) as page:
        links = page.eval_on_selector_all("#tier0 a", "all => all.map(one => one.getAttribute('href'))")
        within = [link[1:] for link in links if link.startswith("#")]
        missing = page.evaluate("all => all.filter(one => document.getElementById(one) === null)", within)
        assert missing == []
        for check in run.document["checks"]:
            entry = page.locator(f"[id='tier0-check-{check['id']}'] .body").first
            assert KNOWN[check["id"]].remedy in (entry.text_content() or "")
        for link in page.locator("#tier0 .cause .docs").all():
            link.click()
            assert page.locator(":target .body").is_visible()


def _with_long_names(document: dict[str, Any]) -> dict[str, Any]:
    """Return a report with names and messages of any length, without a place to break a line."""
    long = "a_very_long_name" * 12
    times = {"start": 0.4, "end": 0.5, "status": "fail"}
    spans = [{"lane": lane, "name": long, **times} for lane in ("circuit", "calls", "requests")]
    target = {**document["target"], "url": f"http://{long}:3000", "model": f"{long}:{long}"}
    run = {
        **document["run"],
        "branch": long,
        "commit": "0" * 40,
        "ci": {"name": long, "url": "https://ci.test"},
    }
    checks = [
        {**check, "id": f"{check['group']}.{long}", "message": long, "question": long}
        for check in document["checks"]
    ]
    causes = [
        {
            **cause,
            "check": long,
            "title": long,
            "message": long,
            "causes": [long],
            "next_step": long,
            "evidence": {long: long, "row_number": 1, "expected": long, "got": long, "spans": spans},
            "explains": [{"check": long, "title": long, "message": long}],
        }
        for cause in document["causes"]
    ]
    return {**document, "target": target, "run": run, "checks": checks, "causes": causes, "sentence": long}


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
