"""The report on a terminal: the worst cause first, what it explains in one line, and the rest by group.

A run that failed takes at most `MAX_LINES` lines; everything is there with ``--verbose``.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tier0.core.causes import likely_of
from tier0.core.display import line, terminal
from tier0.core.verdict import WORDS, count_in_words
from tier0.report.document import name_of_model, shared_by
from tier0.report.history_page import history_sentences
from tier0.report.not_checked import unanswered_questions

Style = Literal["", "good", "bad", "doubt", "strong", "quiet"]
MAX_LINES = 60
MAX_CAUSE_LINES = 26
"""Lines of one cause, with its timeline."""
MAX_MESSAGE_LINES = 4
MAX_LIKELY = 3
"""Likely causes of one cause."""
MAX_REASONS = 6
"""Reasons why checks were not checked, each on a line."""
PRINTED_LINES = 3
"""Lines that a client printed, beside a check of it."""
MAX_WIDTH = 600
"""Characters of one line."""
NAMES_WIDTH = 100
"""Characters of a line of names of checks."""
ALL = 10_000
"""A number of lines that nothing has."""
STYLES: Mapping[str, Style] = {"pass": "good", "fail": "bad", "error": "doubt", "inconclusive": "doubt"}
LIKELY = ". Likely cause: "
"""Begins the likely cause in a message, which has a line of its own here."""
LOG_LINE = "  | "
"""Beginning of a line of a server's log in a message."""
_DECLARATION = re.compile(r"^[ \t]*schema = \d+$", re.MULTILINE)
"""First line of a file in a message, which the user copies: all lines from here on are shown as they are."""
LOG_IS_ELSEWHERE = "the end of its log is in the report; -v shows it here"
SHORT_COMMIT = 12
MARKUP: Mapping[Style, Mapping[str, bool]] = {
    "": {},
    "good": {"green": True},
    "bad": {"red": True, "bold": True},
    "doubt": {"yellow": True, "bold": True},
    "strong": {"bold": True},
    "quiet": {},
}
"""The styles as arguments of pytest's terminal."""


class Line(NamedTuple):
    """One line for a terminal.

    Attributes:
        text: text, without control characters; no line of it is a command of a CI system.
        style: how it is shown where there are colours.
    """

    text: str
    style: Style = ""


def terminal_lines(
    document: Mapping[str, Any], what: str, *, verbose: bool = False, limit: int = MAX_LINES
) -> list[Line]:
    """Return the report as lines for a terminal.

    Args:
        document: report of the run.
        what: what was checked: a URL, a client or a run.
        verbose: whether all is shown, instead of at most *limit* lines.
        limit: number of lines.
    """
    end = [*_groups(document, verbose=verbose), *_notes(document), _verdict(document, what)]
    if document["verdict"] == "pass":
        return end
    head = [*_head(document, what), *([] if document["causes"] else _reason(document))]
    room = ALL if verbose else limit - len(head) - len(end) - 1
    return [*head, *cause_lines(document, room), Line(""), *end]


def cause_lines(document: Mapping[str, Any], room: int) -> list[Line]:
    """Return the causes of a run's failures, the worst first, in at most *room* lines."""
    causes = document["causes"]
    if room == ALL:
        blocks = [_block(cause, number, ALL) for number, cause in enumerate(causes, 1)]
    else:
        blocks = _fitting(causes, room)
    return [one for block in blocks for one in block]


def _head(document: Mapping[str, Any], what: str) -> list[Line]:
    """Return the verdict with the service or client, and the provenance of the run."""
    run, target, verdict = document["run"], document["target"], document["verdict"]
    job, commit, branch = run.get("ci") or {}, run.get("commit"), run.get("branch")
    tag = f", {name_of_model(document)} {target['model']}" if target.get("model") else ""
    place = [f"commit {commit[:SHORT_COMMIT]}" if commit else "", f"branch {branch}" if branch else ""]
    place.append(job.get("url") or job.get("name", ""))
    known = ", ".join(filter(None, place))
    first = Line(line(f"{WORDS[verdict].upper()}: {what}{tag}"), STYLES[verdict])
    return [first, Line(line(known), "quiet")] if known else [first]


def _fitting(causes: Sequence[Mapping[str, Any]], room: int) -> list[list[Line]]:
    """Return the causes in *room* lines: the worst in detail, the others in a line each, then their names."""
    short = [[_title(cause, number, with_message=True)] for number, cause in enumerate(causes, 1)]
    if len(short) > room // 2:
        kept = room // 2
        names = ", ".join(cause["check"] for cause in causes[kept:])
        more = Line(line(f"and {len(causes) - kept} more causes (all: --verbose): {names}", limit=MAX_WIDTH))
        short = [*short[:kept], [more]]
    blocks, used = list(short), len(short)
    for index, cause in enumerate(causes[: len(blocks)]):
        block = _block(cause, index + 1, min(MAX_CAUSE_LINES, room - used + 1))
        if index and len(block) > room - used + 1:
            break
        blocks[index] = block
        used += len(block) - 1
    return blocks


def _title(cause: Mapping[str, Any], number: int, *, with_message: bool = False) -> Line:
    severity = f"{cause['severity']}, " if cause["severity"] else ""
    message = f": {cause['message']}" if with_message else ""
    text = f"{number}. {cause['title']} ({severity}{cause['check']}){message}"
    return Line(line(text, limit=MAX_WIDTH), STYLES[cause["status"]])


def _block(cause: Mapping[str, Any], number: int, room: int) -> list[Line]:
    """Return a cause in detail: at most *room* lines, of which its timeline gets what is left."""
    lines = [Line(""), _title(cause, number), *_message(cause, room)]
    likely = likely_of(cause) if room == ALL else likely_of(cause)[:MAX_LIKELY]
    lines += [Line(f"   likely cause: {_one(text)}") for text in likely]
    if cause["next_step"]:
        lines.append(Line(f"   next step: {_one(cause['next_step'])}", "strong"))
    if shared := shared_by(cause):
        names = ", ".join([other["check"] for other in cause["explains"]] or cause["skipped"])
        lines += _wrapped(f"{shared}: {names}", ALL if room == ALL else 2)
    if cause["reproduce"]:
        lines += _reproduction(cause)
    if repeat := cause.get("repeat"):
        lines.append(Line(f"   then repeat the check: {line(repeat, limit=ALL)}"))
    evidence = cause.get("evidence") or {}
    printed = evidence.get("printed", ())
    lines += [Line(f"   the client printed: {_one(text)}", "quiet") for text in printed[-PRINTED_LINES:]]
    lines += _timeline(evidence.get("timeline", ()), room - len(lines))
    if room == ALL:
        lines += _in_full(cause)
    return lines


def _reproduction(cause: Mapping[str, Any]) -> Iterator[Line]:
    """Yield what has to be started, the command, and what it shows for a healthy service."""
    if start := cause.get("start"):
        yield Line(f"   start the service: {line(start, limit=ALL)}")
    yield Line(f"   reproduce with: {line(cause['reproduce'], limit=ALL)}")
    notes = [f"set {', '.join(cause['variables'])} first"] if cause.get("variables") else []
    notes += [f"expected: {cause['expected']}"] if cause.get("expected") else []
    notes += [f"got: {cause['got']}"] if cause.get("got") else []
    if notes:
        yield Line(f"   {_one('; '.join(notes))}", "quiet")


def _message(cause: Mapping[str, Any], room: int) -> Iterator[Line]:
    """Yield what happened: the headline, and the other lines of the message that are not of a log."""
    headline = cause["message"].partition(LIKELY)[0] if cause["causes"] else cause["message"]
    yield Line(f"   {_one(headline)}")
    said, declaration = _said_and_declared(terminal(cause.get("text") or "").strip())
    text = said.splitlines()
    others = [one for one in text if one.strip() not in cause["message"] and not one.startswith(headline)]
    if room != ALL:
        has_log = any(one.startswith(LOG_LINE) for one in others)
        others = [LOG_IS_ELSEWHERE] if has_log else others[: MAX_MESSAGE_LINES - 1]
    yield from (Line(f"   {_one(one) if room != ALL else one}") for one in others)
    yield from (Line(f"   {one}".rstrip()) for one in declaration)


def _said_and_declared(text: str) -> tuple[str, list[str]]:
    """Return a message without the lines of the file that it ends with, and these lines."""
    found = _DECLARATION.search(text)
    if found is None:
        return text, []
    return text[: found.start()].rstrip(), text[found.start() :].splitlines()


def _timeline(timeline: Sequence[str], room: int) -> list[Line]:
    """Return the start and the end of a client's timeline, which ends with the failure."""
    lines = [Line(f"   {_one(text)}", "quiet") for text in timeline]
    if len(lines) <= room:
        return lines
    if room < MAX_MESSAGE_LINES:
        return []
    kept = (room - 1) // 2
    left = len(lines) - 2 * kept
    note = Line(f"   … {left} more lines (all: --verbose) …", "quiet")
    return [*lines[:kept], note, *lines[len(lines) - kept :]]


def _in_full(cause: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the checks that a cause explains, with their messages, and the details of an error."""
    for other in cause["explains"]:
        yield Line(f"   {other['check']}: {_one(other['message'])}")
    for text in (cause.get("details", ""), cause.get("log", "")):
        yield from (Line(f"   | {one}", "quiet") for one in terminal(text).splitlines())


def _one(text: str) -> str:
    return line(text, limit=MAX_WIDTH)


def _wrapped(text: str, room: int) -> list[Line]:
    lines = textwrap.wrap(
        line(text, limit=ALL),
        NAMES_WIDTH,
        initial_indent="   ",
        subsequent_indent="   ",
        break_on_hyphens=False,
        max_lines=room,
        placeholder=" …",
    )
    return [Line(one) for one in lines]


def _groups(document: Mapping[str, Any], *, verbose: bool) -> Iterator[Line]:
    """Yield the checks that passed, a line a group, and those that were not checked, a line a reason."""
    passed = Counter(check["group"] for check in document["checks"] if check["status"] == "pass")
    for group, count in passed.items():
        yield Line(f"{WORDS['pass']:>11}  {group}: {_checks(count)}", "good")
    reasons: dict[str, list[str]] = {}
    for check in document["checks"]:
        if check["status"] == "not_judged":
            reasons.setdefault(check["message"], []).append(check["id"])
    first = set(unanswered_questions(document).values())
    ordered = sorted(reasons.items(), key=lambda item: (item[0] not in first, -len(item[1])))
    shown = ordered if verbose else ordered[:MAX_REASONS]
    for reason, names in shown:
        named = names[0] if len(names) == 1 else _checks(len(names))
        said, declaration = _said_and_declared(terminal(reason))
        yield Line(line(f"{WORDS['not_judged']:>11}  {named}: {said}", limit=MAX_WIDTH), "quiet")
        if reason not in document["reason"] or document["causes"]:  # else the head of the report has them
            yield from (Line(f"   {one}".rstrip()) for one in declaration)
        if verbose and len(names) > 1:
            yield from (Line(f"{'':10}{one.text}", "quiet") for one in _wrapped(", ".join(names), ALL))
    if left := sum(len(names) for _, names in ordered[len(shown) :]):
        yield Line(f"{WORDS['not_judged']:>11}  {_checks(left)}, for other reasons (all: --verbose)", "quiet")


def _checks(count: int) -> str:
    return f"{count} check{'s' if count > 1 else ''}"


def _notes(document: Mapping[str, Any]) -> Iterator[Line]:
    """Yield facts about the run that are not results of its checks."""
    target = document["target"]
    if retried := target.get("retried"):
        reasons = ", ".join(f"{count} after {reason}" for reason, count in retried.items())
        yield Line(line(f"requests sent again: {reasons}"))
    if unjudged := target.get("unjudged"):
        names = ", ".join(unjudged)
        yield Line(line(f"declared, but not checked: {names} (the reasons are given above)"))
    if origin := target.get("origin"):
        yield Line(line(f"model of MLflow: {origin}"))
    if assumed := target.get("assumed"):
        yield Line(line(assumed))
    for suspicion in target.get("suspicions", ()):
        yield Line(line(f"warning: {suspicion}"), "doubt")
    if history := document.get("history"):
        yield from (Line(line(f"history: {sentence}")) for sentence in history_sentences(history))


def _verdict(document: Mapping[str, Any], what: str) -> Line:
    """Return the verdict, with the number of checks."""
    verdict = document["verdict"]
    counts = count_in_words(check["status"] for check in document["checks"]) or "nothing was checked"
    return Line(line(f"{what}: {WORDS[verdict]}: {counts}"), STYLES[verdict])


def _reason(document: Mapping[str, Any]) -> Iterator[Line]:
    """Yield why a run without failures has not passed."""
    if document["cut_short"]:
        yield Line(line(f"   the run {document['cut_short']}"))
    said, declaration = _said_and_declared(terminal(document["reason"]))
    yield from (Line(f"   {text}") for text in said.splitlines()[:MAX_MESSAGE_LINES])
    yield from (Line(f"   {text}".rstrip()) for text in declaration)
