"""The matrix: for each defect, how it was sorted, which checks caught its mutant, and what a user would read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sorting import SORTED, Defect

from tier0.core.verdict import Verdict

PEERS = ("plain", "bentoml", "mlflow", "schemathesis")
MAX_SHOWN = 110
CHANGING = re.compile(
    r"(?<=[a-z0-9_]:)[a-z0-9]{16}\b|(?<=worker )\d+|(?<=127\.0\.0\.1:)\d+|(?<=process )\d+|\b[0-9a-f]{32}\b"
)
"""What differs in every run: versions of models, pids, ports, request ids."""


@dataclass(frozen=True)
class StepResult:
    """What was found of one deployment.

    Attributes:
        name: the defect's id, or the name of a mutant of our own or of a healthy deployment.
        expected: checks of which one must have failed; none for a healthy deployment.
        failed: the checks that did, with their messages.
        peers: whether each of the others would have failed.
        route: in the zoo's server, where it stands there.
    """

    name: str
    expected: tuple[str, ...]
    failed: dict[str, str]
    peers: dict[str, bool] = field(default_factory=dict)
    route: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        expected: tuple[str, ...],
        outcome: Verdict | str,
        peers: dict[str, bool],
        route: str | None = None,
    ) -> StepResult:
        """Take a verdict, or the message with which a start was refused."""
        if isinstance(outcome, str):
            return cls(name, expected, {"never ready": outcome}, peers, route)
        wrong = [*outcome.with_status("fail"), *outcome.with_status("error")]
        return cls(name, expected, {result.id: result.message for result in wrong}, peers, route)

    @property
    def by(self) -> str:
        """The check that should see it, and did; empty if none did."""
        return next((check for check in self.expected if check in self.failed), "")


def as_text(found: list[StepResult]) -> list[str]:
    """Return a paragraph for each deployment."""
    lines = []
    for one in found:
        if not one.expected:
            lines.append(
                f"{one.name:18} healthy: {'accused by ' + ', '.join(one.failed) if one.failed else 'no false alarm'}"
            )
            continue
        lines.append(
            f"{one.name:18} {'caught by ' + one.by if one.by else 'MISSED'}, {len(one.failed)} checks fail: {', '.join(one.failed)}"
        )
        lines.append(f"{'':18} {one.failed.get(one.by, '')[:300]}")
    return lines


def as_page(found: list[StepResult]) -> str:
    """Return the page of the documentation."""
    by_id = {one.name: one for one in found}
    mutants = [defect for defect in SORTED if defect.sort == "mutant"]
    caught = [defect for defect in mutants if by_id.get(defect.id, StepResult("", (), {})).by]
    silent = [defect for defect in mutants if defect.is_silent]
    own = [one for one in found if one.expected and one.name not in {defect.id for defect in SORTED}]
    healthy = [one for one in found if not one.expected]
    lines = [
        "# Defects, and which check catches them",
        "",
        "Written by `make defects`, which puts every defect of this list into a deployment and asks the checks.",
        "",
        f"{len(SORTED)} defects: {len(mutants)} are put in, {_count('prevented')} cannot happen to what Tier0 does itself,",
        f"{_count('out of reach')} are out of reach, {_count('judged')} are put into clients, and caught by the [judge of clients](check-client.md).",
        f"Of those that are put in, {len(caught)} of {len(mutants)} are caught by the check that should see them,",
        f"{len([defect for defect in caught if defect.is_silent])} of {len(silent)} of the silent ones (S).",
        f"{len(healthy)} healthy deployments: {len([one for one in healthy if one.failed])} accused.",
        "",
        "Beside it, what others would have said of the same deployment, where it stands in the zoo's one server:",
        "*plain*: `/healthz` and a prediction are 200; *bentoml*: the integration test of BentoML's documentation (its client, the type and",
        "length of what it returns); *mlflow*: the input example is accepted and its answer has the signature's types, in the style of",
        "`mlflow.models.validate_serving_input`; *schemathesis*: run on `/docs.json` (server errors, schema and content type of answers).",
        "A test that fails on the healthy deployments, too, has caught nothing by failing: schemathesis finds what BentoML itself does on",
        "every route, such as 500 for a multipart body without a boundary.",
        "",
        *(_tally(peer, found) for peer in PEERS),
        "",
        "| defect | kind | what goes wrong | caught by | what a user reads | " + " | ".join(PEERS) + " |",
        "|---|---|---|---|---|" + "---|" * len(PEERS),
        *(_row(defect.id, defect.kind, defect.what, by_id.get(defect.id)) for defect in mutants),
        "",
        "Mutants of our own, of kinds that are on no list:",
        "",
        "| mutant | caught by | what a user reads | " + " | ".join(PEERS) + " |",
        "|---|---|---|" + "---|" * len(PEERS),
        *(f"| {one.name} | {_by(one)} | {_message(one)} | {_peers(one)} |" for one in own),
        "",
        "Healthy deployments, each asked three times:",
        "",
        "| deployment | accused by | " + " | ".join(PEERS) + " |",
        "|---|---|" + "---|" * len(PEERS),
        *(f"| {one.name} | {', '.join(one.failed) or '-'} | {_peers(one)} |" for one in healthy),
        "",
        "Not put in:",
        "",
        "| defect | kind | what goes wrong | why not |",
        "|---|---|---|---|",
        *(
            f"| {defect.id} | {defect.kind} | {defect.what} | {defect.sort}: {defect.reason} |"
            for defect in SORTED
            if defect.sort != "mutant"
        ),
    ]
    return "\n".join(lines) + "\n"


def _tally(peer: str, found: list[StepResult]) -> str:
    """Count what one of the others said of the zoo's mutants and of its healthy deployments."""
    mutants = [one.peers[peer] for one in found if one.expected and peer in one.peers]
    healthy = [one.peers[peer] for one in found if not one.expected and peer in one.peers]
    return f"- {peer}: fails on {sum(mutants)} of {len(mutants)} mutants, and on {sum(healthy)} of {len(healthy)} healthy deployments"


def _count(sort: str) -> int:
    return len([defect for defect in SORTED if defect.sort == sort])


def _row(id_: str, kind: str, what: str, found: StepResult | None) -> str:
    if found is None:
        return f"| {id_} | {kind} | {what} | not run | | {' | '.join('' for _ in PEERS)} |"
    return f"| {id_} | {kind} | {what} | {_by(found)} | {_message(found)} | {_peers(found)} |"


def _by(found: StepResult) -> str:
    if not found.by:
        return "**missed**"
    more = len(found.failed) - 1
    return f"`{found.by}`" + (f" and {more} more" if more else "")


def _message(found: StepResult) -> str:
    """Return the start of the message; without ports and temporary folders, so that the page stays the same."""
    text = " ".join(found.failed.get(found.by, "").split()).replace("|", "\\|")
    text = CHANGING.sub("…", text.partition(" The end of its log")[0])
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _peers(found: StepResult) -> str:
    return " | ".join(
        {True: "fails", False: "passes"}.get(found.peers[peer], "") if peer in found.peers else ""
        for peer in PEERS
    )


def sorted_as(sort: str) -> list[Defect]:
    """Return the defects of one sort."""
    return [defect for defect in SORTED if defect.sort == sort]
