"""What tests of Tier0 print, log, warn of and raise, in pytest's own output and in JUnit XML."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

import pytest

from tests.integration.test_display import HOSTILE, ORDINARY, require_harmless
from tests.support import QUIET
from tests.support.pytest_run import Run

SECRET = "wrong horse/battery & <staple>"
TESTS = f"""
import logging, sys, warnings
import pytest

HOSTILE, ORDINARY, SECRET = {HOSTILE[:2000]!r}, {ORDINARY!r}, {SECRET!r}

@pytest.fixture
def deployment():
    return [SECRET]

def act():
    print("printed", ORDINARY, SECRET, HOSTILE)
    print("on stderr", SECRET, HOSTILE, file=sys.stderr)
    logging.getLogger("theirs").warning("logged %s %s %s", ORDINARY, SECRET, HOSTILE)
    warnings.warn(f"warned {{ORDINARY}} {{SECRET}} {{HOSTILE}}")

@MARK
def test_raises(deployment, record_property):
    act()
    record_property("noted", SECRET + HOSTILE)
    raise RuntimeError(f"raised {{ORDINARY}} {{SECRET}} {{HOSTILE}}")

@MARK
def test_compares(deployment):
    assert deployment == [ORDINARY + HOSTILE]

@MARK
def test_fails():
    pytest.fail(HOSTILE, pytrace=False)

@MARK
def test_skips():
    pytest.skip(f"{{SECRET}} {{HOSTILE}}")
"""


@pytest.mark.parametrize(
    "more", [[], ["-vv", "--showlocals", "--color=yes", "-n1"]], ids=["plain", "workers"]
)
def test_hostile_text_of_a_test_is_harmless(run: Run, more: list[str]) -> None:
    code = TESTS.replace("@MARK", "@pytest.mark.tier0_bentoml")
    (run.folder / "test_it.py").write_text(code, encoding="utf-8")
    summary = run.folder / "summary.md"
    options = [
        "-m",
        "tier0_bentoml",
        "-ra",
        "--junitxml=junit.xml",
        "-ojunit_logging=all",
        "--tier0-report=report.json",
        *more,
    ]

    environment = {"A_TOKEN": SECRET, "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTIONS": ""}
    assert run.finish(*QUIET, *options, env=environment) == 1

    junit = (run.folder / "junit.xml").read_text(encoding="utf-8")
    properties = "".join(
        text
        for element in ET.fromstring(junit).iter()
        for text in (element.text or "", *element.attrib.values())
    )
    output = run.output
    if "--color=yes" in more:  # pytest's own colours
        assert "\x1b[2J" not in output
        output = "".join(part.partition("m")[2] for part in f"m{output}".split("\x1b["))
    reports = [(run.folder / "report.json").read_text(encoding="utf-8"), summary.read_text(encoding="utf-8")]
    for text in (output, junit, properties, *reports):
        require_harmless(text)
        assert "wrong" not in text
        assert "staple" not in text
        assert base64.b64encode(SECRET.encode()).decode() not in text
    for text in (output, properties):
        assert all(f"{does} {ORDINARY} (A_TOKEN hidden)" in text for does in ("printed", "logged", "raised"))
    assert f"warned {ORDINARY} (A_TOKEN hidden)" in output


def test_other_tests_are_left_alone(run: Run) -> None:
    code = "def test_theirs():\n    print('\\x1b[2J very-secret-value')\n    assert 0\n"
    (run.folder / "test_it.py").write_text(code, encoding="utf-8")

    assert run.finish(*QUIET, env={"A_TOKEN": "very-secret-value"}) == 1
    assert "\x1b[2J very-secret-value" in run.output
