"""The draft of a contract from a running service: what was found, assumed and left open, as TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tier0.checks.serving.harness.target import Target
from tier0.contract.assumptions import assumed_request
from tier0.contract.contract import CSV_STYLES, SCHEMA, ContractError, as_toml, check_declared
from tier0.contract.delimited import MISSING
from tier0.contract.service_schema import BENTOML_HEALTH, Described
from tier0.core import display
from tier0.core.outputs import PARTS
from tier0.core.verdict import CheckFailedError
from tier0.report.terminal import LIKELY
from tier0.runs.discovery import MAX_ROUNDS, description, discover, without_route_in_url

ROUTES = ("health", "ready", "live")
"""Keys of routes other than the one for predictions."""


@dataclass
class Draft:
    """A contract, with the source of each line.

    Attributes:
        found: keys that the schema or the response show.
        assumed: keys that were recognised or invented, each with its value and the reason to confirm it.
        open: sentences about what could not be found.
        compared: lines about the comparison of the golden rows with this contract, the first a sentence.
        matches: whether the golden rows match.
    """

    found: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, tuple[Any, str]] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    compared: tuple[str, ...] = ("The golden rows were not compared.",)
    matches: bool = False

    @property
    def declared(self) -> dict[str, Any]:
        """Everything that the contract declares."""
        return {**self.found, **{name: value for name, (value, _) in self.assumed.items()}}

    def as_text(self, source: str) -> str:
        """Return the contract as TOML, with comments that name the source of each line."""
        lines = [
            f"# Drafted by `tier0 contract` from {source}.",
            "# Lines without a comment were found in the service's schema or response.",
            "# Read each line marked ASSUMED, correct it where it is wrong, and commit the file.",
            *(f"# {display.line(text)}" for text in _indented(self.compared)),
            *(f"# OPEN: {display.line(sentence)}" for sentence in self.open),
            "",
            f"schema = {SCHEMA}",
            *(as_toml({name: value}) for name, value in self.found.items() if not isinstance(value, Mapping)),
        ]
        lines += _assumed_lines(
            {name: entry for name, entry in self.assumed.items() if not isinstance(entry[0], Mapping)}
        )
        lines += [as_toml({name: value}) for name, value in self.found.items() if isinstance(value, Mapping)]
        for name, (value, why) in (
            (name, entry) for name, entry in self.assumed.items() if isinstance(entry[0], Mapping)
        ):
            head, *rows = as_toml({name: value}).strip().splitlines()
            lines += ["", f"{head}  # ASSUMED: {display.line(why)}", *rows]
        return "\n".join(lines) + "\n"


def _indented(lines: tuple[str, ...]) -> list[str]:
    first, *others = lines
    return [first, *(f"  {text}" for text in others)]


def _assumed_lines(assumed: Mapping[str, tuple[Any, str]]) -> list[str]:
    return [
        f"{as_toml({name: value})}  # ASSUMED: {display.line(why)}" for name, (value, why) in assumed.items()
    ]


async def draft(target: Target, declared: Mapping[str, Any]) -> Draft:
    """Draft the contract of a service.

    Args:
        target: target with connections and golden rows.
        declared: part of the contract that is declared already.

    Raises:
        UnansweredError: the service does not respond.
        ContractError: the service does not accept rows, or does not show enough.
    """
    target, declared = await without_route_in_url(target, declared)
    drafted = Draft(found=check_declared(declared))
    described = await _describe(target, drafted)
    while described is not None and _assume_request(drafted, described, target):
        described = await _describe(target, drafted)
    if described is not None and described.contract.why_not_asked:
        raise ContractError(described.contract.why_not_asked)
    try:
        found = await _with_meanings(target, drafted)
    except ContractError as problem:
        if not drafted.assumed:
            raise
        drafted.found = {**drafted.found, **_where_rows_go(described)}
        drafted.compared = (
            "With the assumptions below, no predictions could be read:",
            *_lines_of(str(problem)),
        )
        return drafted
    _note_what_was_found(drafted, found)
    _compare(drafted, found)
    return drafted


def _where_rows_go(described: Described | None) -> dict[str, Any]:
    if described is None:
        return {}
    contract = described.contract
    return {"route": contract.route, "features": contract.features, "style": contract.style}


async def _describe(target: Target, drafted: Draft) -> Described | None:
    declared = dict(drafted.declared)
    wanted = declared.pop("protocol", None)
    columns = target.rows.columns if target.rows is not None else ()
    _, described = await description(target, wanted, declared, columns)
    return described


def _assume_request(drafted: Draft, described: Described, target: Target) -> bool:
    """Add what is missing for a request to the draft; return whether the draft changed."""
    columns = target.rows.columns if target.rows is not None else []
    missing = assumed_request(described, drafted.declared, columns)
    if missing is None:
        return False
    drafted.assumed |= {name: (value, missing.why) for name, value in missing.declare.items()}
    return True


async def _with_meanings(target: Target, drafted: Draft) -> Target:
    """Return the target after declaring everything that was recognised in the response."""
    for _ in range(MAX_ROUNDS):
        found = await discover(target, drafted.declared)
        declare: dict[str, tuple[Any, str]] = {}
        for assumption in (*found.assumed, *(undeclared.as_assumption for undeclared in found.undeclared)):
            declare |= {name: (value, assumption.why) for name, value in assumption.declare.items()}
        if not declare:
            break
        for name, (value, why) in declare.items():
            if name in PARTS:
                drafted.found[name] = value
            else:
                drafted.assumed[name] = (value, why)
    drafted.open += [f"the response {undeclared.what}" for undeclared in found.undeclared]
    return found


def _note_what_was_found(drafted: Draft, found: Target) -> None:
    contract = found.contract
    names = ["protocol", "route", "features", "style", "max_rows", "columns", *PARTS]
    if contract.style in {"tensor", "tensors"}:
        names.append("tensor" if contract.style == "tensor" else "datatypes")
    if contract.style in CSV_STYLES and contract.missing != MISSING:
        names.append("missing")
    known = {name: getattr(contract, name) for name in names if getattr(contract, name) is not None}
    is_described = contract.is_bentoml or contract.health != BENTOML_HEALTH
    routes = {
        name: route
        for name in ROUTES
        if (route := getattr(contract, name)) is not None and (name != "health" or is_described)
    }
    if contract.names and "names" not in drafted.assumed:
        routes["names"] = dict(contract.names)
    has_one_output = not found.golden.has_several_outputs
    if (
        has_one_output
        and found.golden.classes
        and len(set(map(str, found.golden.predictions))) < len(found.golden.classes)
    ):
        missing = sorted(
            {str(label) for label in found.golden.classes} - set(map(str, found.golden.predictions))
        )
        drafted.open.append(
            f"no golden row has the label {', '.join(missing)}, so its name in the responses is unknown"
        )
    drafted.found = {
        name: value for name, value in {**known, **routes}.items() if name not in drafted.assumed
    } | {
        name: value
        for name, value in drafted.found.items()
        if name not in known and name not in drafted.assumed
    }


def _compare(drafted: Draft, found: Target) -> None:
    golden = found.golden
    answers = found.memo["golden"]
    if isinstance(answers, Exception):
        raise ContractError(f"the service returned no predictions for the golden rows: {answers}")
    different: list[str] = []
    if found.undeclared:
        different = ["parts of the response are open (see below) and were not compared"]
    try:
        found.require_match(found.parts_of(answers, golden), golden, "served predictions", [])
    except CheckFailedError as failure:
        first, *others = _lines_of(failure.message)
        likely = [f"likely cause: {cause}" for cause in failure.causes]
        different = [first.partition(LIKELY)[0], *others, *likely]
    drafted.matches = not different
    if drafted.matches:
        matching = (found.rows or golden).part_in_words(golden)
        drafted.compared = (f"With it, {matching} match.",)
    else:
        drafted.compared = ("With it, the golden rows do not match:", *different)


def _lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
