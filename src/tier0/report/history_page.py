"""The history of runs in the report: sentences, a section of the page, and lines of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tier0.core.display import html, markdown
from tier0.core.verdict import WORDS, count_in_words

WIDTH, HEIGHT, MARGIN = 240, 28, 4
MAX_SENTENCES = 5
"""Failing and flaky checks that are described one by one."""
HEIGHTS = {"good": 11, "bad": 17, "idle": 6}
"""Heights of the rectangles of runs: a failed one is not told by its colour alone."""
KINDS = {"pass": "good", "fail": "bad", "error": "bad", "not_judged": "idle", "inconclusive": "idle"}


def history_sentences(history: Mapping[str, Any]) -> list[str]:
    """Return since when checks fail, which checks are flaky, and what is wrong with the folder."""
    failing = [_failing(check) for check in history["checks"] if check["fails_since"]]
    has_tags = any(run["tag"] for run in history["runs"])
    flaky = [_flaky(check, has_tags=has_tags) for check in history["checks"] if check["flips"]]
    return [
        *_first_of(failing, "failing checks"),
        *_first_of(flaky, "flaky checks"),
        *_skipped(history["skipped"]),
        *([history["problem"]] if history["problem"] else []),
    ]


def _failing(check: Mapping[str, Any]) -> str:
    since = check["fails_since"]
    runs = f"{since['runs']} run{'s' if since['runs'] > 1 else ''}"
    tag = f", with {since['tag']}" if since["tag"] else ""
    if since["passed_at"]:
        return (
            f"{check['id']} fails since {_time(since['at'])} ({runs}{tag}); it last passed at "
            f"{_time(since['passed_at'])}"
        )
    return f"{check['id']} fails since {_time(since['at'])} ({runs}{tag}), and passed in no run that is kept"


def _time(moment: str) -> str:
    """Return a time in UTC, to the minute."""
    return f"{moment[:16].replace('T', ' ')} UTC"


def _flaky(check: Mapping[str, Any], *, has_tags: bool) -> str:
    model = "with the same model" if has_tags else "and no run names the model, which may have changed"
    times = f"{check['flips']} times between passed and failed"
    return f"{check['id']} is flaky: it changed {times}, {model}"


def _first_of(sentences: list[str], what: str) -> list[str]:
    left = len(sentences) - MAX_SENTENCES
    return [*sentences[:MAX_SENTENCES], *([f"and {left} more {what}"] if left > 0 else [])]


def _skipped(skipped: Sequence[str]) -> list[str]:
    return [f"skipped in the folder of the history: {'; '.join(skipped)}"] if skipped else []


def history_markdown(document: Mapping[str, Any]) -> list[str]:
    """Return the history as lines of Markdown; none without a history."""
    history = document.get("history")
    if not history:
        return []
    runs = history["runs"]
    lines = [f"**History**: {markdown(_counted(history))}", ""]
    lines += [f"- {markdown(sentence)}" for sentence in history_sentences(history)]
    rows = [row for row in history["lines"] if row["changes"]]
    for row in rows:
        change = row["changes"][-1]
        when = _time(runs[change["run"]]["at"])
        lines.append(
            f"- {markdown(row['name'])} is {change['kind']} since {when}: "
            f"{markdown(change['before'])} → {markdown(change['after'])}"
        )
    return ["", *lines]


def _counted(history: Mapping[str, Any]) -> str:
    runs = history["runs"]
    if len(runs) < 2:
        return "this is the first run that is kept"
    return f"the last {len(runs)} runs: {count_in_words(run['verdict'] for run in runs)}"


def history_section(document: Mapping[str, Any]) -> str:
    """Return the history as a section of the page, with all data escaped; empty without a history."""
    history = document.get("history")
    if not history:
        return ""
    runs, checks = history["runs"], history["checks"]
    steady = [check for check in checks if check["changed"] is None and not check["fails_since"]]
    others = [check for check in checks if check not in steady]
    others.sort(key=lambda check: (not check["fails_since"], not check["flips"]))
    sentences = "".join(f"<li>{html(sentence)}</li>" for sentence in history_sentences(history))
    rows = [_verdict_row(runs), *(_line_row(line, runs) for line in history["lines"])]
    rows += [_check_row(check, runs) for check in others]
    parts = [
        '<article class="card" id="tier0-history"><h3>History</h3>',
        f"<p>{html(_counted(history).capitalize())}, oldest first; the last one is this run.</p>"
        if len(runs) > 1
        else f"<p>{html(_counted(history).capitalize())}.</p>",
        f"<ul>{sentences}</ul>" if sentences else "",
        _table(rows, "history"),
    ]
    if steady:
        count = f"{len(steady)} check{'s' if len(steady) > 1 else ''} without a change"
        steady_rows = _table([_check_row(check, runs) for check in steady], count)
        parts.append(f"<details><summary>{count}</summary>{steady_rows}</details>")
    return "".join([*parts, "</article>"])


def _table(rows: Sequence[str], label: str) -> str:
    head = '<th scope="col">what</th><th scope="col">runs</th><th scope="col">last</th>'
    body = "".join(rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(name: str, drawing: str, last: str, *, code: bool = False) -> str:
    shown = f"<code>{html(name)}</code>" if code else html(name)
    return f'<tr><th scope="row">{shown}</th><td class="spark">{drawing}</td><td>{html(last)}</td></tr>'


def _verdict_row(runs: Sequence[Mapping[str, Any]]) -> str:
    verdicts = [run["verdict"] for run in runs]
    changes = [number for number in range(1, len(verdicts)) if verdicts[number] != verdicts[number - 1]]
    last = verdicts[-1] if verdicts else ""
    drawing = _strip("verdict", verdicts, changes[-1] if changes else None, runs)
    return _row("verdict", drawing, WORDS.get(last, last))


def _check_row(check: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    statuses = check["statuses"]
    last = statuses[-1] if statuses else None
    drawing = _strip(check["id"], statuses, check["changed"], runs)
    return _row(check["id"], drawing, "not asked" if last is None else WORDS.get(last, last), code=True)


def _line_row(line: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    last = line["values"][-1] if line["values"] else None
    unit = f" {line['unit']}" if line["unit"] else ""
    return _row(line["name"], _sparkline(line, runs), "-" if last is None else f"{last:.4g}{unit}")


def _strip(
    name: str, statuses: Sequence[str | None], changed: int | None, runs: Sequence[Mapping[str, Any]]
) -> str:
    """Draw one rectangle for each run, and a mark where the status last changed."""
    step = (WIDTH - 2 * MARGIN) / max(1, len(statuses))
    parts = [_models(runs, step)]
    for number, status in enumerate(statuses):
        if status is None:
            continue
        title = f"{_time(runs[number]['at'])}: {WORDS.get(status, status)}"
        left = MARGIN + number * step
        kind = KINDS.get(status, "idle")
        top = HEIGHT - MARGIN - HEIGHTS[kind]
        parts.append(_rect(f"span {kind}", left + 0.5, top, step - 1, HEIGHTS[kind], title))
    known = [status for status in statuses if status is not None]
    described = count_in_words(known)
    if changed is not None:
        middle = MARGIN + (changed + 0.5) * step
        parts.append(f'<path class="change" d="M{middle - 4:.1f} 0h8l-4 6z"/>')
        described += f"; changed at {_time(runs[changed]['at'])}"
    return _svg(f"{name}: {described}", parts)


def _sparkline(line: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    """Draw the values as a line, interrupted where a run has none, with a dot at each change."""
    values = line["values"]
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (WIDTH - 2 * MARGIN) / max(1, len(values))

    def place(number: int, value: float) -> tuple[float, float]:
        share = (value - low) / (high - low) if high > low else 0.5
        return MARGIN + (number + 0.5) * step, HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    parts, path, pen = [_models(runs, step)], "", "M"
    for number, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        left, top = place(number, value)
        path, pen = f"{path}{pen}{left:.1f} {top:.1f}", "L"
    parts.append(f'<path class="line" d="{path}"/>' if path else "")
    kinds = {change["run"]: change for change in line["changes"]}
    for number, value in enumerate(values):
        is_alone = value is not None and len(known) == 1
        if value is not None and (number in kinds or is_alone or number == len(values) - 1):
            parts.append(_dot(number, value, kinds.get(number), place, runs))
    described = f"{line['name']}: between {low:.4g} and {high:.4g} {line['unit']}".rstrip()
    if line["changes"]:
        change = line["changes"][-1]
        described += f"; {change['kind']} since {_time(runs[change['run']]['at'])}"
    return _svg(described, parts)


def _dot(
    number: int, value: float, change: Mapping[str, Any] | None, place: Any, runs: Sequence[Mapping[str, Any]]
) -> str:
    left, top = place(number, value)
    kind = {"worse": "bad", "better": "good"}[change["kind"]] if change else "plain"
    what = f", {change['kind']} than {change['before']}" if change else ""
    title = html(f"{_time(runs[number]['at'])}: {value:.4g}{what}")
    place_of_dot = f'cx="{left:.1f}" cy="{top:.1f}" r="3"'
    return f'<circle class="span {kind}" {place_of_dot}><title>{title}</title></circle>'


def _models(runs: Sequence[Mapping[str, Any]], step: float) -> str:
    """Draw a line before each run with another model than the run before."""
    lines, tag = [], None
    for number, run in enumerate(runs):
        if tag is not None and run["tag"] is not None and run["tag"] != tag:
            left = MARGIN + number * step
            title = html(f"model {run['tag']}, before {tag}")
            lines.append(f'<path class="model" d="M{left:.1f} 0v{HEIGHT}"><title>{title}</title></path>')
        tag = run["tag"] or tag
    return "".join(lines)


def _rect(kind: str, left: float, top: float, width: float, height: float, title: str) -> str:
    size = f'width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" {size}><title>{html(title)}</title></rect>'


def _svg(label: str, parts: Sequence[str]) -> str:
    start = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html(label)}">'
    return f"{start}{''.join(parts)}</svg>"
