"""The report as Markdown, short enough for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tier0.core.causes import likely_of
from tier0.core.display import markdown, markdown_code
from tier0.core.verdict import WORDS, Outcome, Status
from tier0.report.document import golden_rows_in_words, shared_by
from tier0.report.history_page import history_markdown
from tier0.report.not_checked import why_not_checked

SIGNS: Mapping[Outcome, str] = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
COLUMNS: tuple[Status, ...] = ("pass", "fail", "error", "not_judged")
MAX_CAUSES = 10
"""Causes in the summary, and likely causes of each."""


def as_markdown(document: Mapping[str, Any]) -> str:
    """Return a summary of the report as Markdown, with all data escaped."""
    verdict = document["verdict"]
    lines = [f"## {SIGNS[verdict]} Tier0: {WORDS[verdict]}", "", markdown(document["sentence"]), ""]
    for cause in document["causes"][:MAX_CAUSES]:
        lines += _cause(cause)
    if (left := len(document["causes"]) - MAX_CAUSES) > 0:
        lines.append(f"- and {left} more")
    facts = _facts(document)
    if facts:
        rows = [f"| {markdown(name)} | {markdown(value)} |" for name, value in facts]
        lines += ["", "| fact | value |", "|---|---|", *rows]
    if document["checks"]:
        lines += ["", *_groups(document["checks"])]
    lines += history_markdown(document)
    return "\n".join(lines) + "\n"


def _cause(cause: Mapping[str, Any]) -> list[str]:
    """Return a cause, the checks that share it, its likely causes, and the next step."""
    title = f"{cause['title']} ({cause['severity']}), {cause['check']}"
    lines = [f"- **{markdown(title)}**: {markdown(cause['text'])}"]
    if cause["explains"]:
        names = ", ".join(other["check"] for other in cause["explains"])
        lines.append(f"  - {shared_by(cause)}: {markdown(names)}")
    lines += [f"  - likely cause: {markdown(likely)}" for likely in likely_of(cause)[:MAX_CAUSES]]
    lines += [f"  - next step: {_coded(cause['next_step'])}"] if cause["next_step"] else []
    lines += [f"  - then repeat the check: {markdown_code(cause['repeat'])}"] if cause.get("repeat") else []
    lines += [f"  - reproduce with: {markdown_code(cause['reproduce'])}"] if cause["reproduce"] else []
    return lines


def _coded(text: str) -> str:
    """Return a text with what is between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return markdown(text)
    shown = [markdown_code(part) if index % 2 else markdown(part) for index, part in enumerate(parts)]
    return " ".join(filter(None, shown)).replace("` ;", "`;")


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, target, latency = document["model"], document["target"], document["latency"]
    facts: list[tuple[str, str]] = []
    if model is not None:
        metrics = ", ".join(f"{name} {_metric(metric)}" for name, metric in model["metrics"].items())
        facts.append(("model", f"{model['algorithm']} on {model['dataset']}: {model['why']}"))
        facts.append(("metrics", metrics))
        facts += [(f"{peer['role']} model", _peer(peer)) for peer in model["peers"]]
    facts += [
        (name, str(target[key]))
        for name, key in (
            ("tag", "model"),
            ("MLflow model", "origin"),
            ("endpoint", "url"),
            ("power of the golden rows", "power"),
            ("contract", "assumed"),
        )
        if target.get(key)
    ]
    facts += [
        (name, text)
        for name, text in (
            ("golden rows", golden_rows_in_words(target)),
            ("not checked", why_not_checked(document)),
        )
        if text
    ]
    if latency is not None:
        percentiles = [f"{name} {latency[f'{name}_ms']:.2f} ms" for name in ("p50", "p95", "p99")]
        facts.append(("single-row latency", ", ".join(percentiles)))
    return facts


def _peer(peer: Mapping[str, Any]) -> str:
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in peer["metrics"].items())
    return f"{peer['algorithm']}: {metrics}"


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
