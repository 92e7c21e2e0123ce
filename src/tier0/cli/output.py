"""Output of the commands: results of checks, the verdict, the tables of checks and the report."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tier0.cli.application import SECRETS, refuse, say
from tier0.core import display
from tier0.core.catalogue import CATALOGUE
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.named_file import write_text
from tier0.core.settings import remove_report
from tier0.core.verdict import WORDS, CheckResult, Verdict, count_in_words

PRINTED_LINES = 3
"""Lines of a client's output that are shown beside a check."""
WIDTH = 100
"""Number of characters in a line of names of checks."""


def print_result(result: CheckResult) -> None:
    """Print the result of one check on one line: status, check, message, and numbers that it measured.

    Checks that were not checked are left to `print_conclusion`: many of them have one reason.
    """
    if result.status != "not_judged":
        _print_result(result)


def _print_result(result: CheckResult) -> None:
    word = WORDS[result.status].upper() if result.status in {"fail", "error"} else WORDS[result.status]
    measured = [
        f"{name.replace('_', ' ')}: {value:.3g}"
        for name, value in result.evidence.items()
        if result.status == "pass" and isinstance(value, (int, float))
    ]
    details = "; ".join(filter(None, [result.message, ", ".join(measured)]))
    say(display.line(f"{word:>11}  {result.id:36} {details}", SECRETS.hide).rstrip())
    printed = result.evidence.get("printed", [])
    shown = printed[-PRINTED_LINES:]
    more = [f"({len(printed) - len(shown)} more lines in the report)"] if len(printed) > len(shown) else []
    for line in (*more, *shown):
        say(display.line(f"{'':13}the client printed: {line}", SECRETS.hide, WIDTH * 2))


def _print_not_checked(results: list[CheckResult]) -> None:
    """Print the checks that were not checked, with one line for all that have the same reason."""
    by_reason: dict[str, list[CheckResult]] = {}
    for result in results:
        by_reason.setdefault(result.message, []).append(result)
    for reason, alike in by_reason.items():
        if len(alike) == 1:
            _print_result(alike[0])
            continue
        say(display.line(f"{WORDS['not_judged']:>11}  {len(alike)} checks: {reason}", SECRETS.hide))
        names = ", ".join(result.id for result in alike)
        say(textwrap.indent(textwrap.fill(names, WIDTH, break_on_hyphens=False), " " * 13))


def print_conclusion(subject: str, verdict: Verdict) -> None:
    """Print what was not checked, the failures in detail, the repeated requests, and the verdict on one line.

    Args:
        subject: what was checked, a URL or a client.
        verdict: the results.
    """
    _print_not_checked(verdict.with_status("not_judged"))
    for result in [*verdict.with_status("fail"), *verdict.with_status("error")]:
        timeline = [f"  {line}" for line in result.evidence.get("timeline", ())]
        say("\n" + "\n".join([result.explain(), *timeline]))
    say("")
    retried: Mapping[str, int] = verdict.target.get("retried", {})
    if retried:
        reasons = ", ".join(f"{count} after {reason}" for reason, count in retried.items())
        say(f"requests sent again: {reasons}")
    if unjudged := verdict.target.get("unjudged"):
        say(f"declared, but not checked: {', '.join(unjudged)} (the reasons are given above)")
    counts = count_in_words(result.status for result in verdict.checks)
    say(f"{subject}: {WORDS[verdict.verdict]}: {counts}")
    if verdict.reason:
        say(verdict.reason)


def write_report(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write a report as JSON, if a file was named for it."""
    if path is None:
        return
    try:
        write_text(path, json.dumps(display.as_json(content, SECRETS.hide), indent=2) + "\n")
    except OSError as problem:
        remove_report(path)  # it may be half written
        refuse(f"cannot write the report {path}: {problem.strerror}. The checks themselves completed")


def catalogue_table() -> str:
    """Return the checks of a service as a Markdown table."""
    rows = [
        f"| `{check.id}` | {check.question} | {', '.join(check.needs) or '-'} | {check.disturb} |"
        for check in CATALOGUE
    ]
    return "\n".join(["| check | question | needs | disturbs |", "|---|---|---|---|", *rows])


def client_catalogue_table() -> str:
    """Return the checks of a client as a Markdown table."""
    rows = [
        f"| `{check.id}` | {check.question} | {', '.join((*check.declared, *check.methods)) or '-'} |"
        for check in CLIENT_CATALOGUE
    ]
    return "\n".join(["| check | question | needs |", "|---|---|---|", *rows])
