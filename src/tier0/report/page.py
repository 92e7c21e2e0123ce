"""The report as HTML: a self-contained section of a page, without network access or scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from tier0.core.display import html
from tier0.core.verdict import WORDS
from tier0.report import drawings

FILTERS = {
    "all": "all",
    "fail": "failed or errored",
    "not_judged": WORDS["not_judged"],
    "pass": WORDS["pass"],
}


def as_html(document: Mapping[str, Any]) -> str:
    """Return the report as HTML for inclusion in another page, with all data escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tier0", "report"),
        autoescape=True,
        finalize=_as_html,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"as_text": _as_text, "first_line": _first_line, "other_lines": _other_lines}
    parity, latency, timeline = (document[name] for name in ("parity", "latency", "timeline"))
    drawn = {
        "parity": parity and drawings.parity(parity),
        "latency": latency and drawings.latency(latency),
        "timeline": timeline and drawings.timeline(timeline, document["run"]["seconds"]),
    }
    draw = {name: svg and Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - drawings escape data
    template = environment.get_template("page.html")
    style = Markup(environment.get_template("page.css").render())  # noqa: S704 - our own file
    return template.render(document, style=style, draw=draw, words=WORDS, filters=FILTERS)


def _as_html(value: Any) -> Any:
    """Return the value of an expression of the page; text that is not markup of ours is escaped."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return Markup(html(value))  # noqa: S704 - escaped


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _other_lines(text: str) -> str:
    return text.strip().partition("\n")[2].strip("\n")
