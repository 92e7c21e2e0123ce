"""Waivers and tolerances: checks that do not count, or are less strict, with a reason and an expiry date.

A waiver file in TOML::

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tier0.core.catalogue import CATALOGUE, Check, select_checks
from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error, UnknownCheckError
from tier0.core.fields import shown

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
KEYS = {"waive": {"check", "reason", "until"}, "tolerate": {"check", "reason", "until", "relative"}}


class WaiverError(Tier0Error):
    """A waiver file cannot be read, or has an invalid entry; the message gives entry, value and remedy."""


@dataclass(frozen=True)
class Waiver:
    """A waiver of one check, or a tolerance for it.

    Attributes:
        check: id of the check.
        reason: justification, which is shown with the verdict.
        until: last day on which the waiver is active (UTC).
        relative: relative tolerance for numbers in place of the check's own; None waives the check.
    """

    check: str
    reason: str
    until: dt.date
    relative: float | None = None

    @property
    def is_active(self) -> bool:
        """Whether the waiver is active, that is, has not expired."""
        return self.until >= dt.datetime.now(tz=dt.UTC).date()

    def __str__(self) -> str:
        effect = "waived" if self.relative is None else f"with a relative tolerance of {self.relative:g}"
        return f"{effect} until {self.until}: {self.reason}"


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """Return the entries of a waiver file.

    Raises:
        WaiverError: the file cannot be read, or an entry is invalid.
    """
    document = read_document(path, "the waiver file", SCHEMA, WaiverError)
    if unknown := sorted(document.keys() - KEYS.keys()):
        raise WaiverError(f"unknown table {shown(unknown[0])} in {path}: use [[waive]] and [[tolerate]]")
    waivers: list[Waiver] = []
    for kind, keys in KEYS.items():
        entries = document.get(kind, [])
        if not isinstance(entries, list):
            raise WaiverError(f"invalid [{kind}] in {path}: write [[{kind}]], once per entry")
        waivers += [
            _waiver(entry, keys, f"[[{kind}]] number {number} of {path}")
            for number, entry in enumerate(entries, 1)
        ]
    return tuple(waivers)


def _waiver(entry: dict[str, Any], keys: set[str], where: str) -> Waiver:
    if not isinstance(entry, dict):
        raise WaiverError(f"{where} is {shown(entry)}: expected a table with {', '.join(sorted(keys))}")
    for name in sorted(keys - entry.keys()):
        raise WaiverError(f"{where} has no {name}: the required keys are {', '.join(sorted(keys))}")
    for name in sorted(entry.keys() - keys):
        raise WaiverError(f"{where} has an unknown key {shown(name)}: the keys are {', '.join(sorted(keys))}")
    check = _check_called(entry["check"], where)
    if type(entry["until"]) is not dt.date:
        raise WaiverError(
            f"{where} has until = {shown(entry['until'])}: expected a TOML date without quotes, such as "
            "2027-03-31"
        )
    if not isinstance(entry["reason"], str) or not entry["reason"].strip():
        raise WaiverError(f"{where} has reason = {shown(entry['reason'])}: expected a text that is not empty")
    relative = entry.get("relative")
    if relative is not None and (type(relative) not in {int, float} or not 0 < relative < 1):
        raise WaiverError(
            f"{where} has relative = {shown(relative)}: expected a number between 0 and 1, such as 1e-9"
        )
    if relative is not None and "golden" not in check.needs:
        raise WaiverError(f"{where} has check = {check.id!r}, which compares no numbers: use [[waive]]")
    return Waiver(check.id, entry["reason"], entry["until"], relative)


def _check_called(name: Any, where: str) -> Check:
    if not isinstance(name, str):
        raise WaiverError(f"{where} has check = {shown(name)}: expected the name of a check")
    try:
        check, *others = select_checks(CATALOGUE, [name])
    except UnknownCheckError as problem:
        raise WaiverError(f"{where}: {problem}") from None
    if others or check.id != name:
        raise WaiverError(
            f"{where} has check = {name!r}, a group: name one check per entry, such as {check.id}"
        )
    return check
