"""How to see a failure again: what to start, the command, and what a healthy service returns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tier0.core.catalogue import CATALOGUE
from tier0.core.causes import ALONE, KNOWN
from tier0.core.display import line
from tier0.core.errors import SERVER_NOT_READY
from tier0.core.outputs import OTHER_COUNT
from tier0.core.verdict import PARITY, CheckResult, Status

GROUPS_OPTIONS = {"tier0 verify ": "--groups", "pytest ": "--tier0-groups"}
"""Option that selects checks, by the beginning of the command."""
WHOLE = {"step": "tier0 run", "compare": "tier0 compare"}
"""Beginning of the command that is repeated as a whole, by the group of its checks."""
COMMANDS = ("tier0 ", "pytest ")
"""Beginnings of the commands whose exit status is the verdict."""
OF_A_BATCH = (
    PARITY, "parity.shuffled", "parity.small_batches", "parity.repeated", "parity.mixed_rows",
    "parity.large_batches",
)  # fmt: skip
"""Checks whose rows are sent together: a difference may need the other rows of the request."""
MALFORMED = ("contract.refuses_", "contract.empty_")
"""Beginnings of the checks whose requests must be refused."""
REFUSED = "status 4xx"
PASSES, INCONCLUSIVE = "exit status 0", "exit status 2"
_HIDDEN = re.compile(r"\((?P<name>[A-Za-z_][\w-]*) hidden\)")
"""A secret that was hidden; the name is that of a header, an option or a variable."""
_EMPTY = re.compile(r"(?<=\")''(?=\s|$)|(?<=\s)''(?=\")")
_VARIABLE = re.compile(r'"(?:[\w-]+: )?(\$[A-Z_][A-Z0-9_]*)"')
MAX_REQUEST = 2000
"""Characters of a request that is shown, which a row with some 50 columns has."""
MAX_ANSWER = 300
"""Characters of an answer beside a command."""
MAX_START = 120
"""Characters of a body that is not JSON, beside a command."""


def command_for(result: CheckResult, statuses: Mapping[str, Status], command: str) -> str:
    """Return the command that shows a failure again.

    Args:
        result: the failure.
        statuses: statuses of all checks of the same service, by id.
        command: command of the run; empty if it is not known.
    """
    is_of_one_row = result.evidence.get("pattern") != OTHER_COUNT  # whose request has all rows
    needs_others = result.group == "concurrency" or (
        is_of_one_row and result.id in OF_A_BATCH and statuses.get(ALONE) == "pass"
    )
    alone = check_alone(result.id, command)
    is_long = len(result.reproduce) > MAX_REQUEST  # the command of the run reads the rows from their file
    return alone if alone and (needs_others or is_long) else result.reproduce or alone


def with_placeholders(command: str) -> str:
    """Return a command with a variable of the shell in place of each secret that was hidden in it."""
    if not command.startswith(COMMANDS):  # a request has its own, and texts that are not Tier0's
        return command
    named = _HIDDEN.sub(lambda match: f"'\"${match['name'].replace('-', '_').upper()}\"'", command)
    return _EMPTY.sub("", named)


def variables_in(command: str) -> list[str]:
    """Return the variables of the shell that stand for secrets in a command, each once."""
    return list(dict.fromkeys(_VARIABLE.findall(command)))


def check_alone(check: str, command: str) -> str:
    """Return the command of the run, for one check of a service alone if it can be; empty for tests."""
    group = check.partition(".")[0] if check in KNOWN else ""
    if group in WHOLE:
        return command if command.startswith(WHOLE[group]) else ""
    is_of_service = any(check == known.id for known in CATALOGUE)
    option = next((option for start, option in GROUPS_OPTIONS.items() if command.startswith(start)), "")
    if not is_of_service or not option:
        return ""
    others = re.sub(rf" {option}[= ](?:'[^']*'|\S+)", "", command)
    return f"{others} {option} {check}"


def expectation_of(result: CheckResult, command: str) -> tuple[str, str]:
    """Return what *command* shows for a healthy service, and what it showed, as far as they are known."""
    if "curl" in command:
        return next(_of_requests(result), ("", ""))
    if command.startswith(COMMANDS):
        is_tier0 = command.startswith("tier0 ")
        inconclusive = INCONCLUSIVE if result.status == "error" and is_tier0 else ""
        return PASSES, "exit status 1" if result.status == "fail" else inconclusive
    return "", ""


def _of_requests(result: CheckResult) -> Iterator[tuple[str, str]]:
    """Yield what requests get from a healthy service, and what they got, the most telling first."""
    evidence = result.evidence
    if {"expected", "got"} <= evidence.keys():
        yield _answer(evidence["expected"]), _answer(evidence["got"])
    if {"before", "after"} <= evidence.keys():
        yield f"{_answer(evidence['before'])} both times", f"{_answer(evidence['after'])} the second time"
    if isinstance(answers := evidence.get("answers"), list):
        yield "the same response each time", f"{len(answers)} different responses"
    if "counted" in evidence:
        sent = evidence.get("asked", evidence.get("refused"))
        yield f"counters that grow by {sent}", f"by {evidence['counted']:g}"
    if "content_type" in evidence:  # a response with a success status that is not JSON
        kind = evidence["content_type"] or "no content type"
        start = line(evidence.get("body", ""), limit=MAX_START)
        yield (
            f"status {evidence.get('status')} and a JSON body",
            ", ".join(filter(None, [f"status {evidence.get('status')}", kind, start])),
        )
    if isinstance(status := evidence.get("status"), int):
        yield REFUSED if result.id.startswith(MALFORMED) else "status 200", f"status {status}"
    if isinstance(pickled := evidence.get("pickle"), int):
        yield REFUSED, f"status {pickled}"


def start_for(result: CheckResult, command: str, target: Mapping[str, Any]) -> str:
    """Return the command that starts the service of the run first; empty if nothing has to be started."""
    is_request = bool(target.get("url")) and "curl" in command and target["url"] in command
    start: str = target.get("start", "")
    return start if is_request or result.message.startswith(SERVER_NOT_READY) else ""


def _answer(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= MAX_ANSWER else f"{text[:MAX_ANSWER]}…"
