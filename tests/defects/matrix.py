"""The table of defects: which checks detect each of them, and the message that a user reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.defects.sorting import SORTED, Defect
from tier0.core.verdict import Verdict

PEERS = ("plain", "bentoml", "mlflow", "schemathesis")
SORTS = {"prevented": "prevented", "out of reach": "out of reach", "judged": "in a client"}
MAX_SHOWN = 240
VARIABLE = re.compile(
    r"(?<=[a-z0-9_]:)[a-z0-9]{16}\b|(?<=worker )\d+|(?<=127\.0\.0\.1:)\d+|(?<=process )\d+|\b[0-9a-f]{32}\b"
)
"""Parts of a message that differ in every run: versions of models, process ids, ports, request ids."""


@dataclass(frozen=True)
class Finding:
    """The results of one deployment.

    Attributes:
        name: id of the defect, or name of another mutant or of a healthy deployment.
        expected: checks of which one must fail; none for a healthy deployment.
        failed: failed checks, with their messages.
        causes: the first likely cause that each failed check names.
        peers: whether each of the other tools fails.
        route: route in the zoo's server; None for any other deployment.
    """

    name: str
    expected: tuple[str, ...]
    failed: dict[str, str]
    peers: dict[str, bool] = field(default_factory=dict)
    route: str | None = None
    causes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_outcome(
        cls,
        name: str,
        expected: tuple[str, ...],
        outcome: Verdict | str,
        peers: dict[str, bool],
        route: str | None = None,
    ) -> Finding:
        """Return the finding of a verdict, or of the error message of a service that did not start."""
        if isinstance(outcome, str):
            return cls(name, expected, {"never ready": outcome}, peers, route)
        wrong = [*outcome.with_status("fail"), *outcome.with_status("error")]
        messages = {result.id: result.message for result in wrong}
        causes = {result.id: result.causes[0] for result in wrong if result.causes}
        return cls(name, expected, messages, peers, route, causes)

    @property
    def by(self) -> str:
        """The first expected check that failed; empty if none did."""
        return next((check for check in self.expected if check in self.failed), "")


def as_text(found: list[Finding]) -> list[str]:
    """Return a paragraph for each deployment."""
    lines = []
    for one in found:
        if not one.expected:
            alarms = f"false alarm by {', '.join(one.failed)}" if one.failed else "no false alarm"
            lines.append(f"{one.name:18} healthy: {alarms}")
            continue
        by = f"detected by {one.by}" if one.by else "MISSED"
        lines.append(f"{one.name:18} {by}, {len(one.failed)} checks fail: {', '.join(one.failed)}")
        lines.append(f"{'':18} {one.failed.get(one.by, '')[:300]}")
        lines.append(f"{'':18} first likely cause: {one.causes.get(one.by, '')}")
    return lines


def as_page(found: list[Finding]) -> str:
    """Return the page of the documentation."""
    by_id = {one.name: one for one in found}
    mutants = [defect for defect in SORTED if defect.sort == "mutant"]
    caught = [defect for defect in mutants if by_id.get(defect.id, Finding("", (), {})).by]
    silent = [defect for defect in mutants if defect.is_silent]
    own = [one for one in found if one.expected and one.name not in {defect.id for defect in SORTED}]
    healthy = [one for one in found if not one.expected]
    detected_silent = [defect for defect in caught if defect.is_silent]
    with_alarm = [one for one in healthy if one.failed]
    introduction = f"""\
# Defects, and the checks that detect them

Written by `make defects`, which injects each defect of this list into a deployment and runs the checks.

Of {len(SORTED)} defects, {len(mutants)} are injected into deployments, {_count("judged")} are injected into
clients and detected by the [client checks](check-client.md), {_count("prevented")} cannot happen in
Tier0 itself, and {_count("out of reach")} are out of reach. Of the {len(mutants)} defects in deployments,
{len(caught)} are detected by a check for them, including {len(detected_silent)} of {len(silent)} silent ones.
Of {len(healthy)} healthy deployments, {len(with_alarm)} failed a check.

Kinds: S (silent), a response with status 200 that is wrong or comes from the wrong model;
Q (quiet), wrong health status, telemetry or clean-up without an error; L (loud), an error.

The last columns show whether other tests of the same deployment fail, for those in one common server:
*plain*: `/healthz` and a prediction return 200; *bentoml*: the integration test in BentoML's
documentation (its client, type and length of the result); *mlflow*: the service accepts the input
example, and its response has the types of the signature, as in `mlflow.models.validate_serving_input`;
*schemathesis*: run on `/docs.json` (server errors, schema and content type of responses). A test that
also fails for healthy deployments detects nothing: schemathesis finds errors of BentoML itself on every
route, such as 500 for a multipart body without a boundary.
"""
    lines = [
        introduction,
        *(_tally(peer, found) for peer in PEERS),
        "",
        "| defect | kind | what goes wrong | detected by | message | first likely cause | "
        + " | ".join(PEERS)
        + " |",
        "|---|---|---|---|---|---|" + "---|" * len(PEERS),
        *(_row(defect.id, defect.kind, defect.what, by_id.get(defect.id)) for defect in mutants),
        "",
        "Further defects, which are not in the list:",
        "",
        "| defect | detected by | message | first likely cause | " + " | ".join(PEERS) + " |",
        "|---|---|---|---|" + "---|" * len(PEERS),
        *(f"| {one.name} | {_by(one)} | {_message(one)} | {_cause(one)} | {_peers(one)} |" for one in own),
        "",
        "Healthy deployments, most of them checked three times:",
        "",
        "| deployment | failed checks | " + " | ".join(PEERS) + " |",
        "|---|---|" + "---|" * len(PEERS),
        *(f"| {one.name} | {', '.join(one.failed) or '-'} | {_peers(one)} |" for one in healthy),
        "",
        "Defects that are not injected into a deployment:",
        "",
        "| defect | kind | what goes wrong | reason |",
        "|---|---|---|---|",
        *(
            f"| {defect.id} | {defect.kind} | {defect.what} | {SORTS[defect.sort]}: {defect.reason} |"
            for defect in SORTED
            if defect.sort != "mutant"
        ),
    ]
    return "\n".join(lines) + "\n"


def _tally(peer: str, found: list[Finding]) -> str:
    """Return the number of defective and of healthy deployments for which one of the other tests fails."""
    mutants = [one.peers[peer] for one in found if one.expected and peer in one.peers]
    healthy = [one.peers[peer] for one in found if not one.expected and peer in one.peers]
    return (
        f"- {peer}: fails for {sum(mutants)} of {len(mutants)} defects, "
        f"and for {sum(healthy)} of {len(healthy)} healthy deployments"
    )


def _count(sort: str) -> int:
    return len([defect for defect in SORTED if defect.sort == sort])


def _row(id_: str, kind: str, what: str, found: Finding | None) -> str:
    if found is None:
        return f"| {id_} | {kind} | {what} | not run | | | {' | '.join('' for _ in PEERS)} |"
    return (
        f"| {id_} | {kind} | {what} | {_by(found)} | {_message(found)} | {_cause(found)} | {_peers(found)} |"
    )


def _by(found: Finding) -> str:
    if not found.by:
        return "**missed**"
    more = len(found.failed) - 1
    return f"`{found.by}`" + (f" and {more} more" if more else "")


def _message(found: Finding) -> str:
    """Return the first line of the message, without ports and ids, so that the page stays the same."""
    line = found.failed.get(found.by, "").partition("\n")[0]
    return _cell(line.partition(". Likely cause: ")[0].partition(" The end of its log")[0])


def _cause(found: Finding) -> str:
    return _cell(found.causes.get(found.by, ""))


def _cell(text: str) -> str:
    text = VARIABLE.sub("…", " ".join(text.split()).replace("|", "\\|"))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _peers(found: Finding) -> str:
    return " | ".join(
        {True: "fails", False: "passes"}.get(found.peers[peer], "") if peer in found.peers else ""
        for peer in PEERS
    )


def sorted_as(sort: str) -> list[Defect]:
    """Return the defects of one sort."""
    return [defect for defect in SORTED if defect.sort == sort]
