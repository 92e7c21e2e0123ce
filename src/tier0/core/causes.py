"""The causes of a run's failures: each failure exactly once, folded under the one that explains it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tier0.core.catalogue import CATALOGUE, SEVERITIES, Check, Severity
from tier0.core.client_catalogue import CLIENT_CATALOGUE, ClientCheck
from tier0.core.comparison_catalogue import COMPARISON_CATALOGUE
from tier0.core.errors import SERVER_NOT_READY
from tier0.core.outputs import MISSING_PART, OTHER_COUNT
from tier0.core.step_catalogue import STEP_CATALOGUE
from tier0.core.verdict import PARITY, CheckResult, Status

WRONG: tuple[Status, ...] = ("fail", "error")
KnownCheck = Check | ClientCheck
KNOWN: Mapping[str, KnownCheck] = {
    **{check.id: check for check in CATALOGUE},
    **{check.id: check for check in CLIENT_CATALOGUE},
    **{check.id: check for check in COMPARISON_CATALOGUE},
    **{check.id: check for check in STEP_CATALOGUE.values()},
}
STEPS = frozenset(check.id for check in STEP_CATALOGUE.values())
"""Checks that end in an error where the data or a setting is refused, which is not unexpected."""
UNKNOWN = Check(id="", question="")
"""Stands for a check outside of the catalogues, such as a test of the user."""
CAN_PREDICT = "health.can_predict"
ASKS_ON_THE_WAY = ("observability", "resilience", "performance", "teardown", "security")
"""Groups of checks that send well-formed requests on the way to what they ask."""
PREDICTS = ("parity", "identity", "concurrency", *ASKS_ON_THE_WAY)
"""Groups of checks whose requests must get predictions."""
UNSTABLE = "identity.always_the_same"
"""Check whose failure may be a reason for any difference of predictions."""
OTHER_MODEL = "identity.expected_model"
"""Check that has seen the tag of another model, which comes before what a pattern of differences may mean."""
LEFT_TO_THE_DIAGNOSIS = (OTHER_MODEL, UNSTABLE)
"""Checks that do not explain wrong predictions for which the diagnosis has found a pattern."""
READY = "health.ready"
ALONE = "parity.rows_alone"
ALIKE = {
    "accepted": ("Malformed requests get predictions", "validate requests strictly, and return a 4xx"),
    "crashed": ("Malformed requests crash the handler", "validate requests before they reach the model"),
}
"""Title and next step of several failures with malformed requests, by what they have in common."""
TITLES = {
    MISSING_PART: "Output missing in the response",
    OTHER_COUNT: "Wrong number of outputs",
}
"""Titles of failures whose pattern says more than their check: no row was compared."""
FIRST_CLIENT_ERROR, FIRST_SERVER_ERROR = 400, 500
FIND_EXCEPTION = "find the line that raises it, in the server's log"
START_ALONE = "start the service alone to see that it becomes ready"
NOT_READY_IN_TIME = "start the service alone, and see in its log what it waits for"
"""Next steps after a start with an exception, and without one."""
SERVER_LOG = " (server log"
"""Begins the evidence from the log in a likely cause."""
MAX_KEY = 60
"""Characters of the two values in a key."""
MAX_QUOTED = 160
"""Characters of a line of a server's log in a likely cause."""
STARTED = "Traceback (most recent call last)"
_EXCEPTION = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::\s.*)?")
_ERROR = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception)(?::\s.*)?")
_FRAME = re.compile(r'File "([^"\n<>]+)", line (\d+)')
INSTALLED = ("site-packages", "dist-packages", "/lib/python", "<frozen")
"""Parts of the paths of code that is not the user's."""
_MARGIN = re.compile(r"^ *\| ?")
"""Margin of the lines of a log in a message."""
_NOISE = ("SystemExit", "KeyboardInterrupt", "CancelledError", "asyncio.exceptions.CancelledError")


class LogSign(NamedTuple):
    """A line of a server's log that is evidence for a cause.

    Attributes:
        pattern: regular expression for a part of the line.
        cause: likely cause, as a clause.
        remedy: what to do about it, as an imperative.
        is_error: whether it counts for a server error only: a request of another check may have led to it.
    """

    pattern: re.Pattern[str]
    cause: str
    remedy: str
    is_error: bool = True


def _sign(pattern: str, cause: str, remedy: str, *, is_error: bool = True) -> LogSign:
    return LogSign(re.compile(pattern), cause, remedy, is_error)


LOG_SIGNS = (
    _sign(
        r"does not have valid feature names|was fitted without feature names",
        "column names are lost, or added, between the request and the model",
        "pass the model the same type of table as in the training",
        is_error=False,
    ),
    _sign(
        r"InconsistentVersionWarning|Trying to unpickle estimator",
        "the service unpickles the model with another version of its library",
        "install the version that trained the model",
        is_error=False,
    ),
    _sign(
        r"[Ff]ound unknown categories",
        "the encoder of the service does not know a category",
        "deploy the encoder that was fitted in the training",
    ),
    _sign(
        r"X has \d+ features, but \w+ is expecting",
        "columns are lost or added before the model",
        "pass the model the columns of the training, in their order",
    ),
    _sign(
        r"[Ii]nput \w+ contains NaN",
        "missing values reach a model, or a step, that does not accept them",
        "deploy the imputer of the training",
    ),
    _sign(
        r"No module named",
        "a package is missing in the service's environment",
        "install the package in the environment of the service",
    ),
    _sign(
        r"MemoryError|[Oo]ut of memory|Cannot allocate memory",
        "the service ran out of memory",
        "give the service more memory, or fewer workers",
    ),
    _sign(
        r"No space left on device", "the disk of the service is full", "free space on the disk of the service"
    ),
)


class Hint(NamedTuple):
    """A check whose result makes a likely cause more or less likely.

    Attributes:
        words: part of the likely cause.
        check: id of the check.
        if_failed: how much more likely it is if the check failed; as much less likely if it passed.
    """

    words: str
    check: str
    if_failed: int = 1


HINTS = (
    Hint("another model is served", "identity.expected_model"),
    Hint("other rows", "parity.rows_alone", -1),
    Hint("in another order", "parity.rows_alone", -1),
    Hint("missing values", "parity.missing_values"),
    Hint("threshold", "parity.decisions"),
    Hint("float32", "parity.boundaries"),
    Hint("rounded", "parity.boundaries"),
    Hint("categor", "parity.unseen_categories"),
    Hint("constant", "parity.inputs_matter"),
    Hint("fallback", "parity.inputs_matter"),
    Hint("replicas", "identity.always_the_same"),
    Hint("not the trained model", PARITY),
)
READS_THE_LOG = ("parity", "contract", "health", "concurrency", "resilience", "identity")
"""Groups of checks whose failures the server's log may explain."""


@dataclass(frozen=True)
class Cause:
    """One cause: the failure that shows it best, and the others that it explains.

    Attributes:
        leading: result of the check that shows it best.
        explained: results of the checks that fail because of it, in the order of the catalogue.
        skipped: results of the checks that were not run because of it.
        severity: how bad it is: the worst severity of its checks.
        title: the failure in a few words.
        key: the number, or the word, that says most about it; empty if there is none.
        headline: what happened, on one line.
        likely: likely causes, most likely first.
        next_step: what to do, as an imperative; empty if that is not known.
    """

    leading: CheckResult
    explained: tuple[CheckResult, ...]
    skipped: tuple[CheckResult, ...]
    severity: Severity
    title: str
    key: str
    headline: str
    likely: tuple[str, ...]
    next_step: str

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """All results that failed or errored because of it, the leading one first."""
        return (self.leading, *self.explained)

    def as_dict(self) -> dict[str, Any]:
        """Return the cause as JSON types."""
        return {
            "check": self.leading.id,
            "status": self.leading.status,
            "severity": self.severity,
            "title": self.title,
            "key": self.key,
            "message": self.headline,
            "causes": list(self.likely),
            "next_step": self.next_step,
            "reproduce": self.leading.reproduce,
            "explains": [
                {"check": result.id, "title": title_of(result), "message": first_line_of(result)}
                for result in self.explained
            ],
            "skipped": [result.id for result in self.skipped],
        }


def likely_of(cause: Mapping[str, Any]) -> list[str]:
    """Return the likely causes of a cause for display; the next step is not said a second time."""
    parts = [likely.rpartition(": ") for likely in cause["causes"]]
    return [
        clause if clause and cause["next_step"].startswith(remedy) else likely
        for (clause, _, remedy), likely in zip(parts, cause["causes"], strict=True)
    ]


def causes_of(results: Sequence[CheckResult], logs: Mapping[str, str] | None = None) -> list[Cause]:
    """Return the causes of the failures and errors in the results of one deployment or client.

    Every result that failed or errored is in exactly one cause.

    Args:
        results: results of all checks; what passed tells the likely causes apart.
        logs: log of the server while a check ran, by the id of the check.

    Returns:
        The causes, the worst first.
    """
    wrong = [result for result in results if result.status in WRONG]
    statuses = {result.id: result.status for result in results}
    left = [result for result in results if result.status == "not_judged"]
    causes = []
    for family in _families(wrong):
        failed = {result.id for result in family if result.status == "fail"}
        leading = min(family, key=lambda result: _place(result, failed))
        explained = tuple(result for result in family if result is not leading)
        skipped = tuple(result for result in left if _is_skipped_for(result, leading))
        left = [result for result in left if result not in skipped]
        causes.append(_cause(leading, explained, skipped, statuses, logs or {}))
    return worst_first(causes)


def worst_first(causes: Iterable[Cause]) -> list[Cause]:
    """Return causes by severity: failures first, then another model, then those that explain more."""
    return sorted(
        causes,
        key=lambda cause: (
            SEVERITIES.index(cause.severity),
            cause.leading.status != "fail",
            cause.leading.id != OTHER_MODEL,
            -len(cause.explained) - len(cause.skipped),
        ),
    )


def severity_of(result: CheckResult) -> Severity:
    """Return how bad a failure is; an error says nothing of the service, unless the server did not start."""
    if result.message.startswith(SERVER_NOT_READY):
        return "critical"
    return "major" if result.status == "error" else _known(result).severity


def title_of(result: CheckResult) -> str:
    """Return a failure or an error in a few words."""
    if result.message.startswith(SERVER_NOT_READY):
        return "Server not started"
    if result.status != "error":
        return TITLES.get(_pattern(result)) or _known(result).title or "Test failed"
    is_examined = result.id in KNOWN and result.id not in STEPS
    other = "Unexpected error" if is_examined else "Not completed"
    no_response = "Unavailable" if _has_responded(result) else "No response"
    return {"network": no_response, "timeout": "Timeout"}.get(result.code, other)


def key_of(result: CheckResult) -> str:
    """Return the number, or the word, that says most about a failure; empty if there is none."""
    evidence = result.evidence
    differing = evidence.get("rows_that_differ", evidence.get("differing"))
    rows = evidence.get("rows_asked", evidence.get("rows"))
    if result.message.startswith(SERVER_NOT_READY):
        return last_exception(result.message).partition(":")[0]
    if isinstance(differing, int) and isinstance(rows, int) and _pattern(result) not in TITLES:
        return f"{differing:,} of {rows:,} rows differ"
    if isinstance(answers := evidence.get("answers"), list):
        return f"{len(answers)} different responses"
    if isinstance(counted := evidence.get("counted"), (int, float)):
        return f"{counted:g} of {evidence.get('asked', evidence.get('refused'))} counted"
    if isinstance(status := evidence.get("status"), int):
        return f"status {status}"
    pair = f"{evidence.get('got')}, expected {evidence.get('expected')}"
    return f"got {pair}" if {"expected", "got"} <= evidence.keys() and len(pair) <= MAX_KEY else ""


def _has_responded(result: CheckResult) -> bool:
    """Return whether a status was the response to a request that counts as not answered."""
    return result.code == "network" and isinstance(result.evidence.get("status"), int)


def _known(result: CheckResult) -> KnownCheck:
    """Return the check of a failure; where a request got no prediction, or a wrong one, the check of that."""
    status = result.evidence.get("status")
    has_no_prediction = isinstance(status, int) and status >= FIRST_CLIENT_ERROR
    if result.group in PREDICTS and has_no_prediction and "expected" not in result.evidence:
        return KNOWN[CAN_PREDICT]
    if _is_wrong_on_the_way(result):
        return KNOWN[PARITY]
    return KNOWN.get(result.id, UNKNOWN)


def last_exception(text: str) -> str:
    """Return the last exception in a log or a traceback, on one line; empty if there is none."""
    found, previous, is_in_traceback = "", "", False
    for quoted in text.splitlines():
        line = _MARGIN.sub("", quoted)
        is_in_traceback = is_in_traceback or STARTED in line
        is_last_line = is_in_traceback and previous.startswith("  ")
        match = _EXCEPTION.fullmatch(line) if is_last_line else _ERROR.fullmatch(line)
        if match is not None and line.partition(":")[0] not in _NOISE:
            found = line
        previous = line if line.strip() else previous
    return found.strip()


def last_own_line(text: str) -> str:
    """Return the last place of a traceback that is not in an installed package; empty if there is none."""
    places = _FRAME.findall(text)
    own = [(file, number) for file, number in places if not any(part in file for part in INSTALLED)]
    return "{}, line {}".format(*own[-1]) if own else ""


def _families(wrong: Sequence[CheckResult]) -> list[list[CheckResult]]:
    """Return the results in groups with one cause, in the order of their first results."""
    failed = {result.id for result in wrong if result.status == "fail"}
    by_sign: dict[Hashable, list[CheckResult]] = {}
    for result in wrong:
        signs = _signs_of_family(result, failed)
        kin = list({id(by_sign[sign]): by_sign[sign] for sign in signs if sign in by_sign}.values()) or [[]]
        family, *others = sorted(kin, key=len, reverse=True)
        for other in others:
            family += other
            by_sign |= {sign: family for one in other for sign in _signs_of_family(one, failed)}
        family.append(result)
        by_sign |= dict.fromkeys(signs, family)
    places = {id(result): place for place, result in enumerate(wrong)}
    families = list({id(family): family for family in by_sign.values()}.values())
    for family in families:
        family.sort(key=lambda result: places[id(result)])
    return sorted(families, key=lambda family: places[id(family[0])])


def _signs_of_family(result: CheckResult, failed: Collection[str]) -> set[Hashable]:
    """Return what the results of one cause have in common; a check and its reason share the reason's id."""
    reason = _reason_for(result, failed)
    return {*_signs(result), ("check", result.id), *([("check", reason)] if reason else [])}


def _reason_for(result: CheckResult, failed: Collection[str]) -> str:
    """Return the first failed check that explains the failure of another one; empty if there is none."""
    if result.status != "fail":
        return ""
    left_out = LEFT_TO_THE_DIAGNOSIS if result.group == "parity" and _pattern(result) else ()
    return next((one for one in _reasons(result) if one in failed and one not in left_out), "")


def _reasons(result: CheckResult) -> tuple[str, ...]:
    reasons = KNOWN.get(result.id, UNKNOWN).explained_by
    if _known(result) is KNOWN[CAN_PREDICT]:
        reasons = (CAN_PREDICT, *reasons)
    if _is_wrong_on_the_way(result):
        reasons = (PARITY, ALONE, *reasons)
    return (*reasons, UNSTABLE) if result.group == "parity" or _is_wrong_on_the_way(result) else reasons


def _is_wrong_on_the_way(result: CheckResult) -> bool:
    """Return whether a check of something else got a wrong prediction."""
    return result.group in ASKS_ON_THE_WAY and "rows_that_differ" in result.evidence


def _signs(result: CheckResult) -> set[Hashable]:
    """Return what results of one cause have in common: the message, the network, or how requests are read."""
    signs: set[Hashable] = {("message", result.message)} if result.message else set()
    if result.code == "network":
        signs.add("network")
    if result.group in {"parity", "concurrency"} and (pattern := _pattern(result)):
        signs.add(("pattern", pattern))
    status = result.evidence.get("status")
    if result.group == "contract" and result.status == "fail" and isinstance(status, int):
        if status < FIRST_CLIENT_ERROR:
            signs.add("accepted")
        elif _has_server_error(result):
            signs.add("crashed")
    return signs


def _pattern(result: CheckResult) -> str:
    """Return the pattern of all rows that differ; empty if there is none."""
    evidence = result.evidence
    is_complete = evidence.get("rows_explained") == evidence.get("rows_that_differ")
    return str(evidence.get("pattern", "")) if is_complete else ""


def _place(result: CheckResult, failed: Collection[str]) -> tuple[bool, int]:
    """Return the sort key that puts first what nothing else in the family explains, then the worst."""
    return bool(_reason_for(result, failed)), SEVERITIES.index(severity_of(result))


def _is_skipped_for(result: CheckResult, leading: CheckResult) -> bool:
    is_muted = result.code == "muted" and result.message.endswith(f"see {leading.id}")
    return is_muted or (
        leading.status == "error" and bool(first := first_line_of(leading)) and first in result.message
    )


def first_line_of(result: CheckResult) -> str:
    """Return the first line of a message, without the id of its check, which stands beside it."""
    return result.message.strip().partition("\n")[0].removeprefix(f"{result.id}: ")


def _cause(
    leading: CheckResult,
    explained: tuple[CheckResult, ...],
    skipped: tuple[CheckResult, ...],
    statuses: Mapping[str, Status],
    logs: Mapping[str, str],
) -> Cause:
    log = "\n".join(filter(None, (logs.get(result.id, "") for result in (leading, *explained))))
    likely = _weighed(_likely(leading, explained), statuses)
    likely = _with_signs(likely, leading, log)
    title, next_step = ALIKE.get(_in_common(leading, explained), ("", ""))
    severity = min((severity_of(result) for result in (leading, *explained)), key=SEVERITIES.index)
    return Cause(
        leading,
        explained,
        skipped,
        severity,
        title or title_of(leading),
        key_of(leading),
        _headline(leading, log),
        tuple(likely),
        next_step or _next_step(leading, likely, statuses),
    )


def _in_common(leading: CheckResult, explained: Sequence[CheckResult]) -> str:
    """Return what several failures with malformed requests have in common; empty for other failures."""
    shared = {sign for result in explained for sign in _signs(result) & _signs(leading)}
    return next((sign for sign in ALIKE if sign in shared), "")


def _headline(leading: CheckResult, log: str) -> str:
    exception = last_exception(leading.message)
    first = first_line_of(leading)
    if _has_server_error(leading) and (raised := last_exception(log)):
        return f"the handler raised {raised[:MAX_QUOTED]}; {first}"
    if not exception or first == exception:
        return first
    if leading.message.startswith(SERVER_NOT_READY):
        return f"{SERVER_NOT_READY}: {exception}"
    return exception


def _likely(leading: CheckResult, explained: Sequence[CheckResult]) -> list[str]:
    """Return the likely causes of the leading check, and of those that are explained by it if it has none."""
    if leading.causes:
        return leading.causes
    return next((result.causes for result in explained if result.causes), [])


def _weighed(causes: Sequence[str], statuses: Mapping[str, Status]) -> list[str]:
    """Return likely causes, those first that the results of other checks speak for."""
    weights: Counter[str] = Counter()
    for hint in HINTS:
        sign = {"fail": 1, "pass": -1}.get(statuses.get(hint.check, ""), 0)
        weights.update({cause: sign * hint.if_failed for cause in causes if hint.words in cause})
    return sorted(causes, key=lambda cause: -weights[cause])


def _with_signs(causes: Sequence[str], leading: CheckResult, log: str) -> list[str]:
    """Return likely causes with those for which the server's log has evidence."""
    if leading.group not in READS_THE_LOG and leading.status == "fail":
        return list(causes)
    is_error = leading.status == "error" or _has_server_error(leading)
    text = f"{leading.message}\n{log}" if leading.status == "error" else log
    found = [
        f"{sign.cause}{SERVER_LOG}: {line.strip()[-MAX_QUOTED:]}): {sign.remedy}"
        for sign in LOG_SIGNS
        if (is_error or not sign.is_error) and (line := _line_with(sign.pattern, text))
    ]
    if _has_server_error(leading) and (exception := last_exception(log)):
        found.append(f"the handler raised {exception[:MAX_QUOTED]}{SERVER_LOG}): {FIND_EXCEPTION}")
    first = 1 if _pattern(leading) else 0
    return [*causes[:first], *found, *causes[first:]]


def _has_server_error(result: CheckResult) -> bool:
    status = result.evidence.get("status")
    return isinstance(status, int) and status >= FIRST_SERVER_ERROR


def _line_with(pattern: re.Pattern[str], text: str) -> str:
    lines = (_MARGIN.sub("", line) for line in text.splitlines())
    return next((line for line in lines if pattern.search(line)), "")


def _next_step(leading: CheckResult, likely: Sequence[str], statuses: Mapping[str, Status]) -> str:
    """Return what to do: the remedy of a cause for which there is evidence, or that of the check."""
    has_evidence = bool(likely) and (bool(_pattern(leading)) or SERVER_LOG in likely[0])
    if has_evidence and ": " in likely[0].rpartition(")")[2]:
        return likely[0].rpartition(": ")[2]
    if leading.message.startswith(SERVER_NOT_READY):
        return _way_to_a_start(leading.message)
    if leading.code == "network":
        return _way_to_an_answer(leading, statuses)
    if leading.code == "timeout":
        return "send the request of this check alone, and see what it waits for"
    return _known(leading).remedy if leading.status == "fail" else ""


def _way_to_an_answer(leading: CheckResult, statuses: Mapping[str, Status]) -> str:
    """Return what to do about requests that got no prediction, by how much the service has responded."""
    if _has_responded(leading):
        return (
            "see in the logs of the service and of its gateway whether it is overloaded, limits the rate of "
            "requests, or restarts its workers; --rate sends fewer requests per second"
        )
    if statuses.get(READY) == "pass":
        return "send one row by hand, and see in the service's log what it waits for: its health route is up"
    return "make the service reachable from here, then run the checks again"


def _way_to_a_start(log: str) -> str:
    """Return what to do about a server that did not start, from the end of its log."""
    if not (exception := last_exception(log)):
        return NOT_READY_IN_TIME
    place = last_own_line(log)
    return f"fix the {exception.partition(':')[0]}{f' at {place}' if place else ''}, then {START_ALONE}"
