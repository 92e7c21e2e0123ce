"""The report for people: a part of a page, with everything in it, which needs no network and no script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from tier0.core.verdict import WORDS
from tier0.report import drawings

FILTERS = {"all": "all", "fail": "failed or error", "not_judged": WORDS["not_judged"], "pass": WORDS["pass"]}


def as_html(document: Mapping[str, Any]) -> str:
    """Return the report as HTML, to stand within another page; jinja2 escapes all that comes from data."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tier0", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"said": _said, "first_line": _first_line, "other_lines": _other_lines}
    draw = {
        "parity": document["parity"] and Markup(drawings.parity(document["parity"])),  # noqa: S704 - escaped where they are drawn
        "latency": document["latency"] and Markup(drawings.latency(document["latency"])),  # noqa: S704 - numbers
        "timeline": document["timeline"]
        and Markup(drawings.timeline(document["timeline"], document["run"]["seconds"])),  # noqa: S704 - likewise
    }
    template = environment.get_template("page.html")
    style = Markup(environment.get_template("page.css").render())  # noqa: S704 - ours
    return template.render(document, style=style, draw=draw, words=WORDS, filters=FILTERS)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _other_lines(text: str) -> str:
    return text.strip().partition("\n")[2].strip("\n")
