"""Output of the commands that check: at most 60 lines of a run that failed, the worst cause first."""

from __future__ import annotations

import io
import tomllib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tier0.cli import application
from tier0.cli.reporting import print_report, print_result
from tier0.contract.contract import as_toml
from tier0.core.catalogue import CATALOGUE
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.event_log import EventLog
from tier0.core.events import CheckDone, RunFailed, RunStarted, TargetDescribed
from tier0.core.verdict import CheckResult
from tier0.report.cut_short import CutShort
from tier0.report.document import document_of
from tier0.report.markdown import as_markdown
from tier0.report.page import as_page
from tier0.report.terminal import MAX_LINES, terminal_lines

URL = "http://127.0.0.1:3000"
NO_GOLDEN = "no golden rows: pass --golden or --model"
NEGATIVE = "served predictions: 4 of 4 rows differ: each number is the negative of the model's"
LOG = "\n".join(f"  | line {number}" for number in range(80))
TRACE = (
    '  | Traceback (most recent call last)\n  |   File "a.py", line 1\n  |     load()\n  | ImportError: no x'
)
NOT_READY = f"the server did not become ready: it ended.\nThe end of its log (a.log):\n{LOG}\n{TRACE}"
STARTED = RunStarted("tier0 verify", "", "2026-01-01T00:00:00+00:00", "3.11", {}, "0123456789abcdef", "main")


def document(*results: CheckResult, failed: str = "", ended: CutShort | None = None) -> dict[str, Any]:
    events = EventLog()
    events.emit(STARTED)
    for result in results:
        events.emit(CheckDone.of(result, "Is it so?"))
    if failed:
        events.emit(RunFailed(URL, failed, "error"))
    events.emit(TargetDescribed({"url": URL, "model": "churn:1"}))
    return document_of(events.events, cut_short=ended)


def wrong(check: str, message: str = NEGATIVE, **more: Any) -> CheckResult:
    causes = ["the inverse of the target's transformation is missing: save the whole model"]
    return CheckResult(check, "fail", message, **{"causes": causes, "reproduce": f"curl {URL}", **more})


def passed() -> list[CheckResult]:
    return [CheckResult(check.id, "pass") for check in CATALOGUE if check.group != "parity"]


def left_out() -> list[CheckResult]:
    return [CheckResult(f"contract.c{number}", "not_judged", f"reason {number}") for number in range(30)]


TIMELINE = [f"{number:>8}.0 ms  request {number} arrived" for number in range(200)]
KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "wrong predictions, and what follows from them": lambda: document(
        *passed(), *(wrong(check.id) for check in CATALOGUE if check.group == "parity")
    ),
    "all checks, each with a cause of its own": lambda: document(
        *(wrong(check.id, f"{check.id} fails in its own way") for check in CATALOGUE)
    ),
    "a server that does not start": lambda: document(CheckResult("health.ready", "error", NOT_READY)),
    "a client, with a long timeline": lambda: document(
        wrong("breaker.opens", "a request was sent", evidence={"timeline": TIMELINE})
    ),
    "all checks of a client, each with a timeline": lambda: document(
        *(wrong(check.id, f"{check.id} fails", evidence={"timeline": TIMELINE}) for check in CLIENT_CATALOGUE)
    ),
    "no response": lambda: document(CheckResult("health.ready", "error", "no response", code="network")),
    "a message of many lines": lambda: document(wrong("parity.golden_rows", "\n".join(["a row"] * 300))),
    "long messages": lambda: document(*(wrong(check.id, "x" * 5000) for check in CATALOGUE)),
    "many reasons not to check": lambda: document(wrong("parity.golden_rows"), *left_out(), *passed()),
    "an error in the middle": lambda: document(*passed(), failed="the connection broke\nin the middle"),
    "an interruption": lambda: document(*passed(), ended=CutShort("interrupted")),
    "no golden rows": lambda: document(
        *passed(), CheckResult("parity.golden_rows", "not_judged", NO_GOLDEN, code="no_golden")
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_failed_takes_at_most_60_lines(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(KINDS[kind](), URL, verbose=False)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MAX_LINES
    assert all(len(line) <= 700 for line in lines)
    assert lines[-1].startswith((f"{URL}: failed: ", f"{URL}: inconclusive: "))


@pytest.mark.parametrize(
    "kind",
    [
        "wrong predictions, and what follows from them",
        "a server that does not start",
        "a client, with a long timeline",
        "all checks, each with a cause of its own",
        "an interruption",
        "no golden rows",
    ],
)
def test_the_cause_is_in_the_first_lines(kind: str, snapshot: SnapshotAssertion) -> None:
    lines = [line.text for line in terminal_lines(KINDS[kind](), URL)]

    assert "\n".join([*lines[:15], "…", *lines[-3:]]) == snapshot


@pytest.mark.parametrize("verbosity", ["short", "verbose"])
def test_a_model_that_was_named_and_cannot_be_compared_is_told_once(verbosity: str) -> None:
    unnamed = CheckResult(
        "identity.expected_model", "not_judged", "the response does not name its model", code="not_offered"
    )
    many = [
        replace(unnamed, id=f"contract.c{number}", message=f"reason {number % 9}") for number in range(30)
    ]
    content = document(*many, *passed()[:1], unnamed)

    shown = [line.text for line in terminal_lines(content, URL, verbose=verbosity == "verbose")]

    assert sum(unnamed.message in line for line in shown) == 1
    assert sum(unnamed.id in line for line in shown) == 1


def test_tables_in_markdown_name_their_columns() -> None:
    for kind in KINDS.values():
        lines = as_markdown(kind()).splitlines()
        heads = [before for before, line in pairwise(lines) if line.startswith("|---")]
        assert heads
        assert all(cell.strip() for head in heads for cell in head.strip("|").split("|"))


def test_every_cause_is_named_in_the_short_form(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("all checks, each with a cause of its own", "all checks of a client, each with a timeline"):
        content = KINDS[kind]()
        print_report(content, URL, verbose=False)

        output = capsys.readouterr().out
        assert not [cause["check"] for cause in content["causes"] if cause["check"] not in output]


def test_the_exception_of_a_log_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(KINDS["a server that does not start"](), URL, verbose=False)

    output = capsys.readouterr().out
    assert output.count("ImportError: no x") == 1
    assert "line 79" not in output


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_out_on_request(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = KINDS[kind]()
    print_report(content, URL, verbose=True)

    output = capsys.readouterr().out
    assert not [check["id"] for check in content["checks"] if check["status"] in {"fail", "error"}
                and check["id"] not in output]  # fmt: skip
    timelines = [check["evidence"].get("timeline", []) for check in content["checks"]]
    assert all(TIMELINE[100].strip() in output for timeline in timelines if timeline)
    assert ("line 79" in output) == ("not start" in kind)


def test_checks_that_were_not_checked_for_one_reason_have_one_line(
    capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    parity = [
        CheckResult(f"parity.{name}", "not_judged", NO_GOLDEN, code="no_golden")
        for name in ("golden_rows", "rows_alone", "shuffled", "repeated", "columns_by_name", "missing_values")
    ]
    other = CheckResult("resilience.slow_requests", "not_judged", "this check disturbs the service (load)")
    results = [CheckResult("health.ready", "pass", evidence={"seconds": 0.25}), *parity, other]

    for result in results:
        print_result(result)
    print_report(document(*results), URL, verbose=True)

    output = capsys.readouterr().out
    assert output.count(NO_GOLDEN) == 1
    assert all(result.id in output for result in results)
    assert output == snapshot


LABELS = {f"label {number}": f"kept #{number}" for number in range(12)}
DECLARED = {"schema": 1, "predictions": "result", "labels": LABELS}
UNDECLARED = f"the response has labels of its own. Declare them in a file:\n{as_toml(DECLARED)}"


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize(
    "results",
    [
        [CheckResult("parity.golden_rows", "not_judged", UNDECLARED, code="undeclared")],
        [
            CheckResult("parity.golden_rows", "not_judged", UNDECLARED, code="undeclared"),
            wrong("health.ready", "it failed"),
        ],
        [wrong("parity.golden_rows", UNDECLARED)],
        [CheckResult("health.ready", "error", UNDECLARED)],
    ],
    ids=["the reason", "beside a failure", "in a failure", "in an error"],
)
def test_lines_of_a_file_to_declare_are_shown_once_and_complete(
    results: list[CheckResult], *, verbose: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(document(*passed(), *results), URL, verbose=verbose)

    lines = capsys.readouterr().out.splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.strip() == "schema = 1"]
    last = max(number for number, line in enumerate(lines) if line.strip().startswith('"label 11" = '))
    assert tomllib.loads("\n".join(lines[first : last + 1])) == DECLARED


def test_a_suspicion_about_the_model_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    events = EventLog()
    events.emit(CheckDone.of(CheckResult("a.b", "pass"), ""))
    events.emit(TargetDescribed({"suspicions": ["'paid' may give the target away"]}))

    print_report(document_of(events.events), URL, verbose=False)

    assert "warning: 'paid' may give the target away" in capsys.readouterr().out


def test_what_was_assumed_is_shown_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    events = EventLog()
    events.emit(CheckDone.of(CheckResult("a.b", "pass"), ""))
    events.emit(TargetDescribed({"assumed": "confirmed, but not declared: decimals = 2"}))
    document = document_of(events.events)

    print_report(document, URL, verbose=False)

    for text in (capsys.readouterr().out, as_page(document), as_markdown(document)):
        assert "confirmed, but not declared: decimals = 2" in text


def test_the_origin_of_a_model_of_mlflow_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    events = EventLog()
    events.emit(CheckDone.of(CheckResult("a.b", "pass"), ""))
    events.emit(TargetDescribed({"origin": "models:/churn/3 (version 3, run 9f)"}))

    print_report(document_of(events.events), URL, verbose=False)

    assert "model of MLflow: models:/churn/3 (version 3, run 9f)" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "has_colours"),
    [
        (Terminal, {}, True),
        (Terminal, {"NO_COLOR": "1"}, False),
        (Terminal, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (Terminal, {"NO_COLOR": ""}, True),
        (io.StringIO, {}, False),
        (io.StringIO, {"FORCE_COLOR": "1"}, True),
        (io.StringIO, {"FORCE_COLOR": "0"}, False),
    ],
)
def test_colours_are_for_terminals(
    stream: type[io.StringIO],
    variables: dict[str, str],
    *,
    has_colours: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    out = stream()
    monkeypatch.setattr("sys.stdout", out)

    application.say("it \x1b[31mfailed\x1b[0m", style={"fg": "red"})

    plain = "it failed\n"
    assert out.getvalue() == ("\x1b[31mit failed\x1b[0m\n" if has_colours else plain)
