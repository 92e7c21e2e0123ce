"""The report as Markdown, short enough for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tier0.core.verdict import WORDS, Outcome, Status

SIGNS: Mapping[Outcome, str] = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
COLUMNS: tuple[Status, ...] = ("pass", "fail", "error", "not_judged")
MAX_PROBLEMS = 10
MAX_LINE_LENGTH = 600


def as_markdown(document: Mapping[str, Any]) -> str:
    """Return a summary of the report as Markdown, with all data escaped."""
    verdict = document["verdict"]
    lines = [f"## {SIGNS[verdict]} Tier0: {WORDS[verdict]}", "", plain(document["sentence"]), ""]
    for problem in document["problems"][:MAX_PROBLEMS]:
        lines += [f"- **{plain(problem['what'])}**: {plain(problem['message'][:MAX_LINE_LENGTH])}"]
        lines += [f"  - likely cause: {plain(cause)}" for cause in problem.get("causes", ())]
        lines += [f"  - reproduce with: {as_code(problem['reproduce'])}"] if problem.get("reproduce") else []
    if (left := len(document["problems"]) - MAX_PROBLEMS) > 0:
        lines.append(f"- and {left} more")
    facts = _facts(document)
    if facts:
        lines += ["", "| | |", "|---|---|", *(f"| {plain(name)} | {plain(value)} |" for name, value in facts)]
    if document["checks"]:
        lines += ["", *_groups(document["checks"])]
    return "\n".join(lines) + "\n"


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, target, latency = document["model"], document["target"], document["latency"]
    facts: list[tuple[str, str]] = []
    if model is not None:
        metrics = ", ".join(f"{name} {_metric(metric)}" for name, metric in model["metrics"].items())
        facts.append(("model", f"{model['algorithm']} on {model['dataset']}: {model['why']}"))
        facts.append(("metrics", metrics))
    facts += [
        (name, str(target[key]))
        for name, key in (("tag", "model"), ("endpoint", "url"), ("golden rows", "golden_rows"))
        if target.get(key)
    ]
    if latency is not None:
        percentiles = [f"{name} {latency[f'{name}_ms']:.2f} ms" for name in ("p50", "p95", "p99")]
        facts.append(("single-row latency", ", ".join(percentiles)))
    return facts


def _metric(metric: Mapping[str, Any]) -> str:
    spread = metric["spread"]
    return f"{metric['value']:.3f}" if spread is None else f"{metric['value']:.3f} ± {spread:.3f}"


def _groups(checks: list[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"| checks | {' | '.join(WORDS[status] for status in COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
    ]
    for group in dict.fromkeys(check["group"] for check in checks):
        counts = [
            sum(check["group"] == group and check["status"] == status for check in checks)
            for status in COLUMNS
        ]
        lines.append(f"| {group} | {' | '.join(str(count or '') for count in counts)} |")
    return lines


def plain(text: str) -> str:
    """Return text with Markdown escaped, on one line."""
    flat = " ".join(text.split()).replace(
        "@", "@\u200b"
    )  # a name in the data must not notify a user of GitHub
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#~" else letter for letter in flat)


def as_code(text: str) -> str:
    """Return text as inline code on one line, also if it contains backticks; not for use in a table."""
    flat = " ".join(text.splitlines())
    fence = "`" * (1 + max(map(len, re.findall("`+", flat)), default=0))
    return f"{fence} {flat} {fence}" if "`" in flat else f"`{flat}`"
