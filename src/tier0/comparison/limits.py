"""Limits of a comparison: how many decisions may flip and how far numbers may differ, also by slice.

A file of limits in TOML::

    schema = 1
    allow_flips = "0.5%"        # share of the rows whose decision may differ
    allow_difference = 1e-3     # absolute difference of a number that does not count
    allow_slower = 2.0          # factor of the median latency
    ignore = ["explanation"]    # fields of the responses that are not compared

    [[slice]]
    where = 'plan = "premium" and age > 60'
    allow_flips = "0%"
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tier0.comparison.conditions import ConditionError, Slice
from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error
from tier0.core.fields import shown

SCHEMA = 1
SLOWER = 1.5
"""Factor of the median latency from which on the new side is slower, by default."""
KEYS = ("allow_flips", "allow_difference")
ALL_KEYS = {*KEYS, "allow_slower", "ignore", "slice"}
PERCENT = 100


class LimitsError(Tier0Error):
    """A limit is invalid."""


@dataclass(frozen=True)
class SliceLimit:
    """Limits of a slice, whose rows do not count for the limits of the others.

    Attributes:
        rows: the slice.
        flips: share of its rows whose decision may differ.
        difference: absolute difference of a number that does not count.
    """

    rows: Slice
    flips: float = 0.0
    difference: float = 0.0


@dataclass(frozen=True)
class Limits:
    """How far the two sides may differ.

    Attributes:
        flips: share of the rows whose decision may differ.
        difference: absolute difference of a number that does not count.
        slower: factor of the median latency from which on the new side is slower.
        slices: limits of slices; a row belongs to the first one that it meets.
        ignore: paths of fields that are not compared.
    """

    flips: float = 0.0
    difference: float = 0.0
    slower: float = SLOWER
    slices: tuple[SliceLimit, ...] = ()
    ignore: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path | str | None = None, *, flips: Any = None, difference: Any = None) -> Limits:
        """Return the limits of a file, with *flips* and *difference* in place of the file's.

        Raises:
            LimitsError: a limit is invalid.
        """
        limits = cls() if path is None else _limits_of(Path(path))
        if flips is not None:
            limits = replace(limits, flips=_share(flips, "--allow-flips"))
        if difference is not None:
            limits = replace(limits, difference=_number(difference, "--allow-difference"))
        return limits

    def slice_of(self, row: Mapping[str, Any]) -> int:
        """Return the index of the first slice that a row meets; -1 for none."""
        return next((index for index, one in enumerate(self.slices) if one.rows.holds(row)), -1)

    def difference_of(self, index: int) -> float:
        """Return the difference that is allowed in the slice with this index; -1 for the other rows."""
        return self.difference if index < 0 else self.slices[index].difference

    def flips_of(self, index: int) -> float:
        """Return the share of flips that is allowed in the slice with this index; -1 for the other rows."""
        return self.flips if index < 0 else self.slices[index].flips


def _limits_of(path: Path) -> Limits:
    document = read_document(path, "the file of limits", SCHEMA, LimitsError)
    where = f"the file of limits {path}"
    _require_known(document, ALL_KEYS, where)
    slices = document.get("slice", [])
    if not isinstance(slices, list) or not all(isinstance(entry, dict) for entry in slices):
        raise LimitsError(f"invalid [slice] in {where}: write [[slice]], once per slice")
    limits = Limits(
        **_shares(document, where),
        slices=tuple(
            _slice(entry, f"[[slice]] number {place} of {where}") for place, entry in enumerate(slices, 1)
        ),
        ignore=_names(document.get("ignore", []), where),
    )
    if "allow_slower" in document:
        limits = replace(limits, slower=_factor(document["allow_slower"], f"allow_slower in {where}"))
    return limits


def _slice(entry: Mapping[str, Any], where: str) -> SliceLimit:
    _require_known(entry, {*KEYS, "where"}, where)
    if not isinstance(entry.get("where"), str):
        raise LimitsError(f"{where} has no where: expected a condition such as 'plan = \"premium\"'")
    try:
        rows = Slice.read(entry["where"])
    except ConditionError as problem:
        raise LimitsError(f"{where}: {problem}") from problem
    return SliceLimit(rows, **_shares(entry, where))


def _shares(entry: Mapping[str, Any], where: str) -> dict[str, float]:
    found = {}
    if "allow_flips" in entry:
        found["flips"] = _share(entry["allow_flips"], f"allow_flips in {where}")
    if "allow_difference" in entry:
        found["difference"] = _number(entry["allow_difference"], f"allow_difference in {where}")
    return found


def _require_known(entry: Mapping[str, Any], keys: set[str], where: str) -> None:
    for name in sorted(entry.keys() - keys):
        raise LimitsError(f"unknown key {shown(name)} in {where}. Known keys: {', '.join(sorted(keys))}")


def _share(value: Any, where: str) -> float:
    """Return a share of rows: ``0.5%``, or a number from 0 to 1."""
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / (PERCENT if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise LimitsError(f"invalid value {shown(value)} for {where}: expected a share such as 0.5% or 0.005")
    return share


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number < math.inf:
        raise LimitsError(f"invalid value {shown(value)} for {where}: expected a number such as 1e-3")
    return number


def _factor(value: Any, where: str) -> float:
    factor = _number(value, where)
    if factor < 1:
        raise LimitsError(f"invalid value {shown(value)} for {where}: expected a factor such as 1.5")
    return factor


def _names(value: Any, where: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise LimitsError(f"invalid ignore = {shown(value)} in {where}: expected a list of fields")
    return frozenset(value)
