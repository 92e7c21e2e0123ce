"""Charts as inline SVG, with colors from the page, a description for screen readers, and all data escaped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tier0.core.display import html

SIDE = 250
MARGIN = 44
PARITY_MARGIN = 32
WIDTH = 360
HEIGHT = 220
BINS = 24
HIGHEST = 110
FULL_WIDTH = 900
LANE = 30
LABEL = 84
LANES = ("steps", "server", "tests", "checks", "requests", "faults", "breaker")
EXCHANGE_LANES = ("circuit", "calls", "requests")
EXCHANGE_WIDTH = 520
EXCHANGE_LABEL = 64
EXCHANGE_RIGHT = 30
EXCHANGE_MARKS = 6
ROW = 18.0
"""Height of the row of a call or a request."""
LETTER = 6.9
"""Width of a letter of the small text, in units of the chart."""
BOLD_LETTER, LETTER_HEIGHT = 7.7, 12.0
"""Width and height of a letter of the names of rows."""
DOT = 3.0
"""Radius of the point of a row."""
LABEL_GAP = 3.0
"""Free space around the name of a row."""
LABEL_DISTANCES = range(6, 120, 6)
"""Distances at which a free place for the name of a row is searched around its point, nearest first."""
LABEL_DIRECTIONS = [math.tau / 16 * number for number in range(16)]
"""Angles of these places, that to the right of the point first."""
MAX_NAMED = 8
"""Maximum number of spans of a lane in the description of a chart."""
MAX_REQUESTS = 50
"""Number of requests in one span that fills the height of its lane."""


def parity(compared: Mapping[str, Any]) -> str:
    """Draw the served model's outputs against the trained model's: equal values are on the diagonal."""
    pairs = [
        (before, after)
        for before, after in zip(compared["expected"], compared["served"], strict=True)
        if before is not None and after is not None
    ]
    worst = [row for row in compared["worst"] if row["served"] is not None and row["expected"] is not None]
    values: list[float] = [value for pair in pairs for value in pair] or [0.0]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    inner = SIDE - 2 * PARITY_MARGIN

    def x(value: float) -> float:
        return PARITY_MARGIN + (value - low) / span * inner

    def y(value: float) -> float:
        return SIDE - PARITY_MARGIN - (value - low) / span * inner

    differing = sum(before != after for before, after in pairs)
    result = "All are on the diagonal."
    if differing:
        rows = ", ".join(str(row["row"]) for row in worst)
        result = f"{differing} of them are off the diagonal; the largest differences are in rows {rows}."
    axes = f"Horizontal axis: {compared['what']}, trained model; vertical axis: served model."
    description = f"{len(pairs)} golden rows, sent together. {axes} {result}"
    parts = [_line("soft", x(low), y(low), x(high), y(high))]
    for before, after in pairs:
        kind = "dot" if before == after else "bad"
        parts.append(f'<circle class="{kind}" cx="{x(before):.1f}" cy="{y(after):.1f}" r="{DOT:g}"/>')
    points = [(x(before), y(after)) for before, after in pairs]
    parts += _labels([(x(row["expected"]), y(row["served"]), f"row {row['row']}") for row in worst], points)
    parts += [
        _text(PARITY_MARGIN, SIDE - PARITY_MARGIN + 14, _end_of_axis(low, span), "small"),
        _text(SIDE - PARITY_MARGIN, SIDE - PARITY_MARGIN + 14, _end_of_axis(high, span), "small end"),
        _text(SIDE / 2, SIDE - 4, f"trained model: {compared['what']}", "small middle"),
        f'<text class="small middle" transform="translate(13 {SIDE / 2}) rotate(-90)">served model</text>',
        _rect("frame", PARITY_MARGIN, PARITY_MARGIN, inner, inner),
    ]
    return _svg(SIDE, SIDE, "Served model against trained model", description, parts)


def _end_of_axis(value: float, span: float) -> str:
    """Return a number for the end of an axis; rounding errors beside the length of the axis are 0."""
    return f"{0.0 if abs(value) < span / 1000 else value:.3g}"


def _labels(named: Sequence[tuple[float, float, str]], points: Sequence[tuple[float, float]]) -> list[str]:
    """Return the names of points, each in the nearest place that covers no point, no name and no frame.

    A name that is not beside its point has a line to it. A name without a free place is left out: the table
    beside the chart has it.
    """
    taken = [_Box(across - DOT, down - DOT, across + DOT, down + DOT) for across, down in points]
    inside = _Box(PARITY_MARGIN + 2, PARITY_MARGIN + 2, SIDE - PARITY_MARGIN - 2, SIDE - PARITY_MARGIN - 2)
    parts = []
    for across, down, name in named:
        places = _places(across, down, len(name) * BOLD_LETTER)
        box = next((one for one in places if one.is_in(inside) and not any(map(one.overlaps, taken))), None)
        if box is None:
            continue
        taken.append(box.widened(LABEL_GAP))
        nearest = min(max(across, box.left), box.right), min(max(down, box.top), box.bottom)
        if math.dist((across, down), nearest) > LABEL_DISTANCES[0] + DOT:
            parts.append(_line("axis", across, down, *nearest))
        parts.append(_text(box.left, box.bottom - 2, name, "small strong"))
    return parts


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def is_in(self, other: _Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )

    def widened(self, gap: float) -> _Box:
        return _Box(self.left - gap, self.top - gap, self.right + gap, self.bottom + gap)


def _places(across: float, down: float, width: float) -> Iterator[_Box]:
    """Yield places for a name around a point, the nearest first."""
    for distance in LABEL_DISTANCES:
        for angle in LABEL_DIRECTIONS:
            right, below = math.cos(angle), math.sin(angle)
            left = across + right * distance - width * (1 - right) / 2
            top = down + below * distance - LETTER_HEIGHT * (1 - below) / 2
            yield _Box(left, top, left + width, top + LETTER_HEIGHT)


def latency(found: Mapping[str, Any]) -> str:
    """Draw a histogram of the latency of single rows, its percentiles and the trained model's latency."""
    served, in_memory = found["served_ms"], found["in_memory_ms"]
    top = max([*served, in_memory or 0.0]) * 1.05 or 1.0
    counts = [0] * BINS
    for value in served:
        counts[min(BINS - 1, int(value / top * BINS))] += 1
    inner, floor = WIDTH - 2 * MARGIN, HEIGHT - MARGIN
    step, highest = inner / BINS, max(counts)
    parts = []
    for index, count in enumerate(counts):
        if count:
            height = count / highest * HIGHEST
            parts.append(_rect("bar", MARGIN + index * step + 1, floor - height, step - 2, height))
    marks = [(found[f"{name}_ms"], name, "mark") for name in ("p50", "p95", "p99")]
    marks += [(in_memory, "trained model", "memory")] if in_memory is not None else []
    for row, (value, name, kind) in enumerate(sorted(marks, key=lambda mark: mark[0])):
        left, height = MARGIN + value / top * inner, 14 + row * 13
        is_right = left > WIDTH * 0.6
        label, place = f"{name} {value:.3g} ms", left + (-4 if is_right else 4)
        parts += [
            _line(kind, left, height + 3, left, floor),
            _text(place, height + 8, label, "small end" if is_right else "small"),
        ]
    parts += [
        _line("axis", MARGIN, floor, WIDTH - MARGIN, floor),
        _text(MARGIN, floor + 16, "0", "small"),
        _text(WIDTH - MARGIN, floor + 16, f"{top:.3g} ms", "small end"),
    ]
    listed = ", ".join(f"{name} {value:.3g} ms" for value, name, _ in marks)
    description = f"{len(served)} single rows, sent one after the other: {listed}."
    return _svg(WIDTH, HEIGHT, "Single-row latency", description, parts)


def timeline(spans: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Draw the spans of a run on one time axis, with a lane for each kind."""
    lanes = [lane for lane in LANES if any(span["lane"] == lane for span in spans)]
    end: float = max([seconds, *(span["end"] for span in spans)]) or 1.0
    height = LANE * len(lanes) + 34

    def x(moment: float) -> float:
        return LABEL + max(0.0, moment) / end * (FULL_WIDTH - LABEL - 12)

    parts: list[str] = []
    descriptions = [f"{end:.1f} seconds."]
    for number, lane in enumerate(lanes):
        top, in_lane = 6 + number * LANE, [span for span in spans if span["lane"] == lane]
        floor = top + LANE - 4
        parts += [
            _line("axis", LABEL, floor, FULL_WIDTH - 12, floor),
            _text(0, top + 18, lane, "small strong"),
        ]
        parts += [_drawn(span, x(span["start"]), x(span["end"]), top) for span in in_lane]
        descriptions.append(_lane_as_text(lane, in_lane))
    tick = _tick(end)
    for number in range(int(end / tick) + 1):
        left = x(number * tick)
        parts += [
            _line("soft", left, 4, left, height - 24),
            _text(left, height - 8, f"{number * tick:g} s", "small middle"),
        ]
    return _svg(FULL_WIDTH, height, "Timeline", " ".join(descriptions), parts)


def exchange(spans: Sequence[Mapping[str, Any]]) -> str:
    """Draw the calls of a client, the requests that reached the server, and the circuit's states over time.

    Each call and each request has a row of its own, in the order of their starts.
    """
    end: float = max((span["end"] for span in spans), default=0.0) or 0.001
    lanes = [lane for lane in EXCHANGE_LANES if any(span["lane"] == lane for span in spans)]
    parts: list[str] = []
    descriptions = [f"{end * 1000:.0f} ms."]
    top = 4.0
    for lane in lanes:
        in_lane = sorted((span for span in spans if span["lane"] == lane), key=lambda span: span["start"])
        parts.append(_text(0, top + 13, lane, "small strong"))
        for span in in_lane:
            parts += _bar(span, end, top)
            top += ROW
        top += ROW / 2
        names = ", ".join(f"{span['name']} at {span['start'] * 1000:.0f} ms" for span in in_lane[:MAX_NAMED])
        descriptions.append(f"{lane}: {len(in_lane)}: {names}.")
    tick = _tick(end, EXCHANGE_MARKS)
    marks = []
    for number in range(int(end / tick) + 1):
        left = _place_in_exchange(number * tick, end)
        marks += [
            _line("soft", left, 4, left, top),
            _text(left, top + 12, f"{number * tick * 1000:g} ms", "small middle"),
        ]
    description = " ".join(descriptions)
    return _svg(
        EXCHANGE_WIDTH, round(top + 18), "Calls and requests over time", description, [*marks, *parts]
    )


def _place_in_exchange(moment: float, end: float) -> float:
    return EXCHANGE_LABEL + moment / end * (EXCHANGE_WIDTH - EXCHANGE_LABEL - EXCHANGE_RIGHT)


def _bar(span: Mapping[str, Any], end: float, top: float) -> list[str]:
    """Return the bar of a span, and as much of its name as has space in it, or on one of its sides."""
    left, right = _place_in_exchange(span["start"], end), _place_in_exchange(span["end"], end)
    duration = (span["end"] - span["start"]) * 1000
    title = f"{span['name']}, at {span['start'] * 1000:.1f} ms for {duration:.1f} ms"
    bar = _rect(f"span {_kind_of(span)}", left, top + 2, max(2.0, right - left), ROW - 4, title)
    spaces = [
        (right - left - 8, left + 4, "small on"),
        (EXCHANGE_WIDTH - right - 8, right + 4, "small"),
        (left - EXCHANGE_LABEL - 8, left - 4, "small end"),
    ]
    whole = len(span["name"]) * LETTER
    space, place, kind = next((one for one in spaces if one[0] > whole), max(spaces))
    letters = int(space / LETTER)
    name = span["name"] if len(span["name"]) <= letters else f"{span['name'][: letters - 1]}…"
    return [bar, _text(place, top + 13, name, kind)]


def _kind_of(span: Mapping[str, Any]) -> str:
    """Return the class of a span, which gives it its colour."""
    kinds = {"pass": "good", "fail": "bad", "error": "bad", "not_judged": "idle"}
    return kinds.get(span["status"], "plain")


def _drawn(span: Mapping[str, Any], left: float, right: float, top: float) -> str:
    width, kind = max(1.6, right - left), _kind_of(span)
    height, text = LANE - 8.0, ""
    if span["lane"] == "requests":
        height = max(3.0, height * min(1.0, span["requests"] / MAX_REQUESTS))
    elif width > len(span["name"]) * LETTER + 6:
        text = _text(left + 4, top + 16, span["name"], f"small on {kind}")
    duration = span["end"] - span["start"]
    title = f"{span['name']}, at {span['start']:.2f} s{f' for {duration:.2f} s' if duration > 0 else ''}"
    return _rect(f"span {kind}", left, top + LANE - 5 - height, width, height, title) + text


def _lane_as_text(lane: str, spans: Sequence[Mapping[str, Any]]) -> str:
    if lane == "requests":
        total = sum(span["requests"] for span in spans)
        failed = ", some without a response" if any(span["status"] for span in spans) else ""
        return f"requests: {total}{failed}."
    if lane in {"tests", "checks"}:
        names = [span["name"] for span in spans if span["status"] in {"fail", "error"}]
        listed = f", failed or errored: {', '.join(names[:MAX_NAMED])}" if names else ""
        return f"{lane}: {len(spans)}{listed}."
    moments = ", ".join(
        f"{span['name']} from {span['start']:.1f} to {span['end']:.1f}" for span in spans[:MAX_NAMED]
    )
    return f"{lane}: {moments}."


def _tick(end: float, marks: int = 10) -> float:
    """Return a round number of seconds between two marks of the axis, for about as many marks."""
    rough = end / marks
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= rough)


def _rect(kind: str, x: float, y: float, width: float, height: float, title: str = "") -> str:
    tooltip = f"<title>{html(title)}</title>" if title else ""
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {size}>{tooltip}</rect>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html(text)}</text>'


def _svg(width: int, height: int, title: str, description: str, parts: Sequence[str]) -> str:
    label = html(f"{title}. {description}")
    start = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
    return f"{start}<title>{html(title)}</title>{''.join(parts)}</svg>"
