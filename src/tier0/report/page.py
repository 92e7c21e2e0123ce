"""The report as HTML: one self-contained page, or the same as a section of another page.

It needs no network, and works without its script, which adds search, filters and copy buttons.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from tier0.core.bug_report import documentation_address
from tier0.core.catalogue import SEVERITIES, Check
from tier0.core.causes import KNOWN, UNKNOWN, likely_of
from tier0.core.client_catalogue import ClientCheck
from tier0.core.display import html
from tier0.core.errors import SERVER_NOT_READY
from tier0.core.verdict import PARITY, WORDS, count_in_words
from tier0.report import drawings
from tier0.report.annotations import text_of
from tier0.report.document import counts_of, golden_rows_in_words, name_of_model, shared_by
from tier0.report.history_page import history_section
from tier0.report.not_checked import why_not_checked
from tier0.report.terminal import LIKELY

FILTERS = {
    "all": "all",
    "fail": "failed or errored",
    "not_judged": WORDS["not_judged"],
    "pass": WORDS["pass"],
}
MARKS = {"pass": "✓", "fail": "✗", "error": "!", "inconclusive": "?", "not_judged": "○"}
WORST_FIRST = ("fail", "error", "pass", "not_judged")
"""Statuses by which a group is marked: the first that one of its checks has."""
LABELS = {"lines": "what the step found"}
"""Names of facts that are shown in other words."""
NEEDS = {
    "golden": "golden rows",
    "client": "the application's client",
    "process": "a service that the run starts",
}
DISTURBS = {
    "malformed": "sends malformed requests",
    "load": "puts the service under load",
    "faults": "kills processes of the service",
}
"""What a check needs, and what it does to a service, in words."""
NOT_FACTS = {"timeline", "spans", "declared", "printed"}
"""Evidence that is shown in a form of its own."""
MAX_BRIEF = 6
MAX_BRIEF_LENGTH = 240
"""Number of facts, and characters of each, that are shown beside a cause and not folded."""
MAX_TABLE_ROWS, MAX_TABLE_COLUMNS = 20, 6
"""Size of a list in the evidence that is shown as a table."""
SIDES = ("expected", "served")
DIGITS = (4, 6, 9, 12)
"""Numbers of digits of a number in the table of rows, of which the first that shows a difference is taken."""
MAX_TITLES = 6
"""Causes whose titles are at the top."""
MAX_ROWS = 5
"""Rows that differ between the sides of a comparison, beside its cause."""
MAX_INPUTS = 8
"""Columns of a row that are shown beside a cause; a row with more is in the evidence."""
_NOT_IN_ANCHORS = re.compile(r"[^\w.-]+")


def as_page(document: Mapping[str, Any]) -> str:
    """Return the report as a complete HTML page, with all data escaped."""
    style, section = _parts(document)
    title = html(f"Tier0: {WORDS[document['verdict']]}")
    icon = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        f'<head>\n<meta charset="utf-8">\n<title>{title}</title>',
        f'<link rel="icon" href="{icon}">\n{style}\n</head>',
        f'<body class="tier0-page">\n<main>\n{section}\n</main>\n</body>',
        "</html>",
        "",
    ]
    return "\n".join(lines)


def as_html(document: Mapping[str, Any]) -> str:
    """Return the report as HTML for inclusion in another page, with all data escaped."""
    return "\n".join(_parts(document))


@cache
def _environment() -> jinja2.Environment:
    """Return the templates, which are compiled once: that takes as long as many pages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tier0", "report"),
        autoescape=True,
        finalize=_as_html,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "as_text": _as_text,
        "coded": _coded,
        "columns": _columns,
        "first_line": _first_line,
        "label": _label,
        "sentence": _sentence,
    }
    return environment


def _parts(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the style of the page, with its viewport, and its section."""
    environment = _environment()
    parity, latency, timeline = (document[name] for name in ("parity", "latency", "timeline"))
    drawn = {
        "parity": parity and drawings.parity(parity),
        "latency": latency and drawings.latency(latency),
        "timeline": timeline and drawings.timeline(timeline, document["run"]["seconds"]),
        "history": history_section(document),
    }
    draw = {name: svg and _markup(svg) for name, svg in drawn.items()}
    anchors, docs = _Anchors(), documentation_address()
    checks = [{**check, "anchor": anchors.of("check", check["id"])} for check in document["checks"]]
    entries = {check["id"]: f"#{check['anchor']}" for check in reversed(checks)}
    causes = [_cause(cause, document, anchors, docs, entries) for cause in document["causes"]]
    is_scatter_shown = any(cause["has_scatter"] for cause in causes)
    own = {
        name: _markup(environment.get_template(f"page.{kind}").render())
        for name, kind in (("style", "css"), ("script", "js"))
    }
    section = environment.get_template("page.html").render(
        {
            **document,
            "causes": causes,
            "groups": _groups(checks, causes, anchors, docs),
            "strip": _strip(document),
            "counts": counts_of(document),
            "described": _described(document),
        },
        draw=draw,
        words=WORDS,
        marks=MARKS,
        filters=FILTERS,
        max_titles=MAX_TITLES,
        numbers=_numbers(checks),
        severities=SEVERITIES,
        is_scatter_shown=is_scatter_shown,
        script=own["script"],
    )
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f"{viewport}\n<style>{own['style']}</style>", section


class _Anchors:
    """Makes the ids of elements, each once."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def of(self, kind: str, name: str) -> str:
        """Return the id of an element, such as ``tier0-parity.golden_rows``."""
        anchor = "-".join(filter(None, ["tier0", kind, _NOT_IN_ANCHORS.sub("-", name)]))
        self._used[anchor] += 1
        return anchor if self._used[anchor] == 1 else f"{anchor}--{self._used[anchor]}"


def _cause(
    cause: Mapping[str, Any],
    document: Mapping[str, Any],
    anchors: _Anchors,
    docs: str | None,
    entries: Mapping[str, str],
) -> dict[str, Any]:
    """Return a cause with everything that its card shows.

    Args:
        cause: cause, from the document.
        document: report of the run.
        anchors: makes the ids of elements.
        docs: address of the documentation; None if it has none.
        entries: link to the entry of each check on this page, which explains the check, too.
    """
    evidence, parity = cause["evidence"], document["parity"]
    of_parity = cause["check"] == PARITY or any(other["check"] == PARITY for other in cause["explains"])
    sides = _rows_of_two_sides(evidence)
    rows = sides or (parity["worst"] if of_parity and parity else [])
    if not rows and {"row_number", "expected", "got"} <= evidence.keys():
        rows = [_row(evidence["row_number"], evidence["expected"], evidence["got"])]
    facts = {name: value for name, value in evidence.items() if name not in NOT_FACTS}
    is_brief = len(facts) <= MAX_BRIEF and all(
        len(_as_text(value)) <= MAX_BRIEF_LENGTH for value in facts.values()
    )
    brief = facts if is_brief and not rows else {}
    exchange = evidence.get("spans")
    has_scatter = bool(of_parity and parity)
    inputs = evidence.get("row")
    is_listed = isinstance(inputs, dict) and len(inputs) <= MAX_INPUTS and not has_scatter
    text = cause["text"].strip()
    return {
        **cause,
        "anchor": anchors.of("", cause["check"]),
        "headline": cause["message"].partition(LIKELY)[0] if cause["causes"] else cause["message"],
        "is_start": cause["message"].startswith(SERVER_NOT_READY),
        "docs": _docs(cause["check"], docs) or entries.get(cause["check"], ""),
        "rows": [
            {**row, **dict(zip(SIDES, _shortened(*(row[side] for side in SIDES)), strict=True))}
            for row in rows
        ],
        "has_rows": bool(rows),
        "columns": ("old side", "new side") if sides else ("trained model", "served model"),
        "has_scatter": has_scatter,
        "inputs": inputs if is_listed else {},
        "brief": brief,
        "facts": {} if brief else facts,
        "exchange": _markup(drawings.exchange(exchange)) if exchange else None,
        "timeline": evidence.get("timeline"),
        "has_side": bool(rows or has_scatter or brief or exchange),
        "more": text if text != cause["message"] else "",
        "shared": shared_by(cause),
        "plain": f"{cause['title']} ({cause['check']})\n{text_of(cause)}",
        "others": [
            {
                **other,
                "entry": entries.get(other["check"], ""),
                "message": "" if other["message"] == cause["message"] else other["message"],
            }
            for other in cause["explains"]
        ],
        "causes": likely_of(cause),
    }


def _shortened(expected: Any, served: Any) -> tuple[Any, Any]:
    """Return two numbers with as few digits as show their difference, and anything else as it is."""
    if not isinstance(expected, float) or not isinstance(served, float):
        return expected, served
    for digits in DIGITS:
        shown = f"{expected:.{digits}g}", f"{served:.{digits}g}"
        if shown[0] != shown[1]:
            return shown
    return expected, served


def _row(number: Any, expected: Any, served: Any) -> dict[str, Any]:
    return {"origin": f"row {number}", "expected": expected, "served": served}


def _rows_of_two_sides(evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the first rows that differ between the sides of a comparison; empty for other evidence."""
    for listed in evidence.values():
        if isinstance(listed, list) and listed and all(_has_two_sides(row) for row in listed):
            return [_row(row["row_number"], row["old"], row["new"]) for row in listed[:MAX_ROWS]]
    return []


def _has_two_sides(row: Any) -> bool:
    return isinstance(row, dict) and {"row_number", "old", "new"} <= row.keys()


def _groups(
    checks: Sequence[Mapping[str, Any]],
    causes: Sequence[Mapping[str, Any]],
    anchors: _Anchors,
    docs: str | None,
) -> list[dict[str, Any]]:
    """Return the checks by group, with the number of each status."""
    places: dict[str, dict[str, Any]] = {}
    for cause in reversed(causes):
        places |= {other["check"]: {"cause": cause["anchor"]} for other in cause["explains"]}
        shown = {name: cause[name] for name in ("title", "severity")}
        places[cause["check"]] = {"cause": cause["anchor"], **shown}
    groups = []
    for name in dict.fromkeys(check["group"] for check in checks):
        own = [check for check in checks if check["group"] == name]
        counts = Counter(check["status"] for check in own)
        status = next(status for status in WORST_FIRST if counts[status])
        groups.append(
            {
                "name": name,
                "anchor": anchors.of("group", name),
                "checks": [
                    {
                        **check,
                        "docs": _docs(check["id"], docs),
                        **_explained(check["id"]),
                        **(places.get(check["id"], {}) if check["status"] in {"fail", "error"} else {}),
                        "evidence": {
                            fact: value for fact, value in check["evidence"].items() if fact not in NOT_FACTS
                        },
                    }
                    for check in own
                ],
                "status": status,
                "is_open": status in {"fail", "error"},
                "counts": [(status, counts[status]) for status in WORST_FIRST if counts[status]],
                "in_words": count_in_words(check["status"] for check in own),
                "short": f"{counts['pass']}/{len(own)}",
            }
        )
    return groups


def _numbers(checks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many checks each filter shows."""
    counts = Counter(check["status"] for check in checks)
    return {name: counts[name] for name in FILTERS} | {
        "all": len(checks),
        "fail": counts["fail"] + counts["error"],
    }


def _explained(check: str) -> dict[str, str]:
    """Return what a failure of a check means, and what it needs and does to a service."""
    known = KNOWN.get(check, UNKNOWN)
    if isinstance(known, Check):
        needs, disturbs = [NEEDS[need] for need in known.needs], DISTURBS.get(known.disturb, "")
    else:
        needs, disturbs = [f"a declared {name}" for name in known.declared], ""
    conditions = [f"needs {', '.join(needs)}" if needs else "", disturbs]
    return {
        "known": known.title,
        "remedy": known.remedy,
        "conditions": "; ".join(filter(None, conditions)),
    }


def _strip(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the facts at the top: name, value, and link or an empty text."""
    run, target, model = document["run"], document["target"], document["model"] or {}
    ci = run.get("ci") or {}
    service = next(filter(None, map(target.get, ("new", "service", "url", "client"))), "")
    kind = "client" if target.get("client") else "service"
    trained = model.get("tag") or model.get("algorithm") or ""
    facts = [
        ("old side", target.get("old") or "", _link(target.get("old") or "")),
        ("new side" if target.get("new") else kind, service, _link(service)),
        (name_of_model(document), target["model"], "")
        if target.get("model")
        else ("trained model", trained, ""),
        ("data", model.get("dataset", ""), ""),
        ("golden rows", golden_rows_in_words(target), ""),
        ("commit", (run.get("commit") or "")[:12], ""),
        ("branch", run.get("branch") or "", ""),
        ("CI", ci.get("name") or "", _link(ci.get("url") or "")),
        ("started", run.get("started", "").replace("T", " ").removesuffix("+00:00"), ""),
        ("duration", f"{run['seconds']:.1f} s", ""),
        ("not checked", why_not_checked(document), ""),
    ]
    return [fact for fact in facts if fact[1]]


def _link(address: str) -> str:
    return address if address.startswith(("https://", "http://")) else ""


def _described(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return what else is known of the run, by name."""
    target = document["target"]
    return [
        ("tag", target.get("model")),
        ("endpoint", target.get("url")),
        ("MLflow model", target.get("origin")),
        ("golden rows", golden_rows_in_words(target)),
        ("power of the golden rows", target.get("power")),
        ("route", target.get("route")),
        ("disturbance", target.get("disturb")),
        ("sent again", target.get("retried")),
        ("waivers", target.get("waivers")),
        ("declared", target.get("declared")),
        ("declared, not checked", ", ".join(target.get("unjudged") or ())),
    ]


def _docs(check: str, address: str | None) -> str:
    """Return the address of a check's line in the documentation; empty if it has none."""
    known = KNOWN.get(check)
    if address is None or known is None:
        return ""
    if known.group == "compare":
        return f"{address}/compare/"
    page = "client-checks" if isinstance(known, ClientCheck) else "checks"
    return f"{address}/{page}/#{check}"


def _markup(text: str) -> Markup:
    """Return markup of ours, in which all data is escaped already."""
    return Markup(text)  # noqa: S704 - drawings escape data, and the other files are our own


def _as_html(value: Any) -> Any:
    """Return the value of an expression of the page; text that is not markup of ours is escaped."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return Markup(html(value))  # noqa: S704 - escaped


def _as_text(value: Any) -> str:
    """Return a value for display: texts as they are, several texts on lines, everything else as JSON."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _columns(value: Any) -> list[str]:
    """Return the columns of a value that is shown as a table: a short list of objects with the same keys."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TABLE_ROWS:
        return []
    keys = list(value[0]) if isinstance(value[0], dict) else []
    is_table = all(isinstance(row, dict) and list(row) == keys for row in value)
    return keys if is_table and len(keys) <= MAX_TABLE_COLUMNS else []


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _coded(text: str) -> Markup:
    """Return a text with what is between backticks as code."""
    parts = [html(part) for part in text.split("`")]
    is_paired = len(parts) % 2 == 1
    shown = [f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts)]
    return Markup("".join(shown) if is_paired else html(text))  # noqa: S704 - escaped


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
