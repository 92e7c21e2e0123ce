"""The report as Markdown, short enough for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tier0.core.display import markdown, markdown_code
from tier0.core.verdict import WORDS, Outcome, Status

SIGNS: Mapping[Outcome, str] = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
COLUMNS: tuple[Status, ...] = ("pass", "fail", "error", "not_judged")
MAX_PROBLEMS = 10
MAX_CAUSES = 10


def as_markdown(document: Mapping[str, Any]) -> str:
    """Return a summary of the report as Markdown, with all data escaped."""
    verdict = document["verdict"]
    lines = [f"## {SIGNS[verdict]} Tier0: {WORDS[verdict]}", "", markdown(document["sentence"]), ""]
    for problem in document["problems"][:MAX_PROBLEMS]:
        lines += [f"- **{markdown(problem['what'])}**: {markdown(problem['message'])}"]
        lines += [f"  - likely cause: {markdown(cause)}" for cause in problem.get("causes", ())[:MAX_CAUSES]]
        if problem.get("reproduce"):
            lines.append(f"  - reproduce with: {markdown_code(problem['reproduce'])}")
    if (left := len(document["problems"]) - MAX_PROBLEMS) > 0:
        lines.append(f"- and {left} more")
    facts = _facts(document)
    if facts:
        rows = [f"| {markdown(name)} | {markdown(value)} |" for name, value in facts]
        lines += ["", "| | |", "|---|---|", *rows]
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
        lines.append(f"| {markdown(group)} | {' | '.join(str(count or '') for count in counts)} |")
    return lines
