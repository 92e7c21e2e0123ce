"""Drawings as inline SVG: colours come from the page, every drawing says in words what it shows, and what came from data is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

SIDE = 320
MARGIN = 44
WIDTH = 360
HEIGHT = 220
BINS = 24
HIGHEST = 110
FULL_WIDTH = 900
LANE = 30
LABEL = 84
LANES = ("steps", "server", "tests", "checks", "requests", "faults", "breaker")
LETTER = 6.4
"""Width of a letter of the small text, in units of the drawing."""
MAX_NAMED = 8
"""Things of one lane, in the words that say what a drawing shows."""
BUSIEST = 50
"""Requests in one span that fill the height of their lane."""


def parity(compared: Mapping[str, Any]) -> str:
    """Draw what was served against what the model in memory gave: what is right lies on the diagonal."""
    pairs = [
        (before, after)
        for before, after in zip(compared["expected"], compared["served"], strict=True)
        if before is not None and after is not None
    ]
    worst = [row for row in compared["worst"] if row["served"] is not None and row["expected"] is not None]
    values: list[float] = [value for pair in pairs for value in pair] or [0.0]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    inner = SIDE - 2 * MARGIN

    def x(value: float) -> float:
        return MARGIN + (value - low) / span * inner

    def y(value: float) -> float:
        return SIDE - MARGIN - (value - low) / span * inner

    differ = sum(before != after for before, after in pairs)
    said = (
        f"{len(pairs)} golden rows: {compared['what']} in memory from left to right, and as served from bottom to top. "
        + (
            f"{differ} of them are off the diagonal; the worst are {', '.join(str(row['row']) for row in worst)}."
            if differ
            else "All are on the diagonal."
        )
    )
    parts = [
        f'<line class="soft" x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(high):.1f}" y2="{y(high):.1f}"/>'
    ]
    parts += [
        f'<circle class="{"dot" if before == after else "bad"}" cx="{x(before):.1f}" cy="{y(after):.1f}" r="3.5"/>'
        for before, after in pairs
    ]
    for row in worst:
        is_right = x(row["expected"]) > SIDE - 2 * MARGIN
        place = x(row["expected"]) + (-6 if is_right else 6)
        parts.append(
            _text(
                place, y(row["served"]) - 5, f"row {row['row']}", f"small strong{' end' if is_right else ''}"
            )
        )
    parts += [
        _text(MARGIN, SIDE - MARGIN + 16, f"{low:.3g}", "small"),
        _text(SIDE - MARGIN, SIDE - MARGIN + 16, f"{high:.3g}", "small end"),
    ]
    parts += [_text(SIDE / 2, SIDE - 8, f"in memory: {compared['what']}", "small middle")]
    parts += [
        f'<text class="small middle" transform="translate(14 {SIDE / 2}) rotate(-90)">as served</text>',
        _rect("frame", MARGIN, MARGIN, inner, inner),
    ]
    return _svg(SIDE, SIDE, "Served against in memory", said, parts)


def latency(found: Mapping[str, Any]) -> str:
    """Draw how long single rows took, with the percentiles, and what the model in memory took beside them."""
    served, in_memory = found["served_ms"], found["in_memory_ms"]
    top = max([*served, in_memory or 0.0]) * 1.05 or 1.0
    counts = [0] * BINS
    for value in served:
        counts[min(BINS - 1, int(value / top * BINS))] += 1
    inner, floor = WIDTH - 2 * MARGIN, HEIGHT - MARGIN
    step, most = inner / BINS, max(counts)
    bars = [
        (MARGIN + index * step + 1, count / most * HIGHEST) for index, count in enumerate(counts) if count
    ]
    parts = [_rect("bar", left, floor - tall, step - 2, tall) for left, tall in bars]
    marks = [(found[f"{name}_ms"], name, "mark") for name in ("p50", "p95", "p99")]
    marks += [(in_memory, "in memory", "memory")] if in_memory is not None else []
    for row, (value, name, kind) in enumerate(sorted(marks, key=lambda mark: mark[0])):
        place, height = MARGIN + value / top * inner, 14 + row * 13
        is_late = place > WIDTH * 0.6
        parts += [
            f'<line class="{kind}" x1="{place:.1f}" y1="{height + 3}" x2="{place:.1f}" y2="{floor}"/>',
            _text(
                place + (-4 if is_late else 4),
                height + 8,
                f"{name} {value:.3g} ms",
                "small end" if is_late else "small",
            ),
        ]
    parts += [f'<line class="axis" x1="{MARGIN}" y1="{floor}" x2="{WIDTH - MARGIN}" y2="{floor}"/>']
    parts += [
        _text(MARGIN, floor + 16, "0", "small"),
        _text(WIDTH - MARGIN, floor + 16, f"{top:.3g} ms", "small end"),
    ]
    said = (
        f"{len(served)} single rows, one after the other: "
        + ", ".join(f"{name} {value:.3g} ms" for value, name, _ in marks)
        + "."
    )
    return _svg(WIDTH, HEIGHT, "Latency of one row", said, parts)


def timeline(spans: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Draw everything that happened on one axis of time, a lane for each kind of thing."""
    lanes = [lane for lane in LANES if any(span["lane"] == lane for span in spans)]
    end: float = max([seconds, *(span["end"] for span in spans)]) or 1.0
    height = LANE * len(lanes) + 34

    def x(moment: float) -> float:
        return LABEL + max(0.0, moment) / end * (FULL_WIDTH - LABEL - 12)

    parts: list[str] = []
    for place, lane in enumerate(lanes):
        top = 6 + place * LANE
        parts += [
            f'<line class="axis" x1="{LABEL}" y1="{top + LANE - 4}" x2="{FULL_WIDTH - 12}" y2="{top + LANE - 4}"/>',
            _text(0, top + 18, lane, "small strong"),
        ]
        parts += [
            _drawn(span, x(span["start"]), x(span["end"]), top) for span in spans if span["lane"] == lane
        ]
    tick = _tick(end)
    for number in range(int(end / tick) + 1):
        place_x = x(number * tick)
        parts += [f'<line class="soft" x1="{place_x:.1f}" y1="4" x2="{place_x:.1f}" y2="{height - 24}"/>']
        parts += [_text(place_x, height - 8, f"{number * tick:g} s", "small middle")]
    said = f"{end:.1f} seconds. " + " ".join(
        _lane_in_words(lane, [span for span in spans if span["lane"] == lane]) for lane in lanes
    )
    return _svg(FULL_WIDTH, height, "What happened when", said, parts)


def _drawn(span: Mapping[str, Any], left: float, right: float, top: float) -> str:
    width, kind = (
        max(1.6, right - left),
        {"pass": "good", "fail": "bad", "error": "bad", "not_judged": "idle"}.get(span["status"], "plain"),
    )
    tall, text = LANE - 8.0, ""
    if span["lane"] == "requests":
        tall = max(3.0, tall * min(1.0, span["requests"] / BUSIEST))
    elif width > len(span["name"]) * LETTER + 6:
        text = _text(left + 4, top + 16, span["name"], f"small on {kind}")
    took = f"{span['name']}, at {span['start']:.2f} s" + (
        f" for {span['end'] - span['start']:.2f} s" if span["end"] > span["start"] else ""
    )
    return _rect(f"span {kind}", left, top + LANE - 5 - tall, width, tall, took) + text


def _lane_in_words(lane: str, spans: Sequence[Mapping[str, Any]]) -> str:
    if lane in {"tests", "checks", "requests"}:
        wrong = [span["name"] for span in spans if span["status"] in {"fail", "error"}]
        return f"{lane}: {len(spans)}" + (
            f", of which wrong: {', '.join(wrong[:MAX_NAMED])}." if wrong else "."
        )
    moments = ", ".join(
        f"{span['name']} from {span['start']:.1f} to {span['end']:.1f}" for span in spans[:MAX_NAMED]
    )
    return f"{lane}: {moments}."


def _tick(end: float) -> float:
    """Return a round number of seconds between two marks of the axis, so that there are about ten."""
    rough = end / 10
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= rough)


def _rect(kind: str, x: float, y: float, width: float, height: float, title: str = "") -> str:
    said = f"<title>{html.escape(title)}</title>" if title else ""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">{said}</rect>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'


def _svg(width: int, height: int, title: str, said: str, parts: Sequence[str]) -> str:
    name = html.escape(f"{title}. {said}", quote=True)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}"><title>{html.escape(title)}</title>{"".join(parts)}</svg>'
