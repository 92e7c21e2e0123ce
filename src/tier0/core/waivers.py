"""What a user has decided not to hold against a deployment, for a reason and until a day.

A few lines of TOML::

    schema = 1

    [[waive]]
    check = "contract.refuses_infinity"
    reason = "the gateway in front refuses it"
    until = 2027-03-31

    [[tolerate]]
    check = "parity.golden_rows"
    relative = 1e-9
    reason = "served on another processor than it was trained on"
    until = 2027-03-31
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tier0.core.catalogue import CATALOGUE, select_checks
from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error, UnknownCheckError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
KEYS = {"waive": {"check", "reason", "until"}, "tolerate": {"check", "reason", "until", "relative"}}


class WaiverError(Tier0Error):
    """The file cannot be read, or says something that no such file says; the message names the place and the remedy."""


@dataclass(frozen=True)
class Waiver:
    """One decision.

    Attributes:
        check: the id of the check that it is about.
        reason: for whoever reads the verdict.
        until: the last day on which it counts.
        relative: the tolerance for numbers, instead of the check's own; None waives the check.
    """

    check: str
    reason: str
    until: dt.date
    relative: float | None = None

    @property
    def counts(self) -> bool:
        """Whether it has not ended."""
        return self.until >= dt.datetime.now(tz=dt.UTC).date()

    def __str__(self) -> str:
        what = "waived" if self.relative is None else f"with a relative tolerance of {self.relative:g}"
        return f"{what} until {self.until}: {self.reason}"


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """Read a file of waivers and tolerances.

    Raises:
        WaiverError: it cannot be used.
    """
    document = read_document(path, "the file of waivers", SCHEMA, WaiverError)
    if unknown := sorted(document.keys() - KEYS.keys()):
        raise WaiverError(f"the waivers {path} have {unknown[0]!r}: there are [[waive]] and [[tolerate]]")
    found: list[Waiver] = []
    for kind, keys in KEYS.items():
        entries = document.get(kind, [])
        if not isinstance(entries, list):
            raise WaiverError(f"the waivers {path} have [{kind}]: write [[{kind}]], once for each")
        found += [
            _waiver(entry, keys, f"[[{kind}]] number {number} of {path}")
            for number, entry in enumerate(entries, 1)
        ]
    return tuple(found)


def _waiver(entry: dict[str, Any], keys: set[str], where: str) -> Waiver:
    if not isinstance(entry, dict):
        raise WaiverError(f"{where} is {entry!r}: it must say {', '.join(sorted(keys))}, a line each")
    for name in sorted(keys - entry.keys()):
        raise WaiverError(f"{where} has no {name}: every one says {', '.join(sorted(keys))}")
    for name in sorted(entry.keys() - keys):
        raise WaiverError(f"{where} has {name} = {entry[name]!r}: it may say {', '.join(sorted(keys))}")
    try:
        check, *others = select_checks(CATALOGUE, [entry["check"]])
    except UnknownCheckError as problem:
        raise WaiverError(f"{where}: {problem}") from None
    if others or check.id != entry["check"]:
        raise WaiverError(
            f"{where} names the group {entry['check']!r}: a waiver is for one check, such as {check.id}"
        )
    if type(entry["until"]) is not dt.date:
        raise WaiverError(
            f"{where} has until = {entry['until']!r}: give a day, without quotes, such as 2027-03-31"
        )
    if not isinstance(entry["reason"], str) or not entry["reason"].strip():
        raise WaiverError(f"{where} has reason = {entry['reason']!r}: say why, for whoever reads the verdict")
    relative = entry.get("relative")
    if relative is not None and (
        type(relative) not in {int, float} or not 0 < relative < 1 or math.isnan(relative)
    ):
        raise WaiverError(f"{where} has relative = {relative!r}: give a share between 0 and 1, such as 1e-9")
    if relative is not None and "golden" not in check.needs:
        raise WaiverError(f"{where} is about {check.id}, which compares no numbers: [[waive]] it instead")
    return Waiver(check.id, entry["reason"], entry["until"], relative)
