"""Conditions on the columns of a row, such as ``plan = "premium" and age > 60``, which select a slice."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tier0.core.errors import Tier0Error
from tier0.core.fields import shown

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
}
OPERATORS = ("=", "!=", *COMPARISONS, "is missing", "is not missing")
BARE_NAME = re.compile(r"[^\W\d]\w*(\.\w+)*")
AND = " and "
TERM = re.compile(
    r'\s*(?P<name>"(?:[^"\\]|\\.)*"|[^\s"=!<>]+)\s*'
    r"(?P<operator>is not missing|is missing|!=|<=|>=|=|<|>)\s*"
    r'(?P<value>"(?:[^"\\]|\\.)*"|(?!and\b)[^\s"]+)?\s*'
)


class ConditionError(Tier0Error):
    """The text of a condition is invalid."""


@dataclass(frozen=True)
class Condition:
    """A condition on one column.

    Attributes:
        column: name of the column.
        operator: one of `OPERATORS`.
        value: value to compare with; None for a missing value.
    """

    column: str
    operator: str
    value: Any = None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row meets the condition; a missing value only meets ``is missing``."""
        value = row.get(self.column)
        if self.operator.endswith("missing"):
            return is_missing(value) == (self.operator == "is missing")
        if is_missing(value):
            return False
        if self.operator in {"=", "!="}:
            is_same = (type(value) is bool) == (type(self.value) is bool) and bool(value == self.value)
            return is_same == (self.operator == "=")
        if not is_finite(value):
            return False
        return bool(COMPARISONS[self.operator](value, self.value))

    def __str__(self) -> str:
        name = (
            self.column if BARE_NAME.fullmatch(self.column) else json.dumps(self.column, ensure_ascii=False)
        )
        if self.operator.endswith("missing"):
            return f"{name} {self.operator}"
        value = self.value
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        text = f"{value:.12g}" if is_number else json.dumps(value, ensure_ascii=False)
        return f"{name} {self.operator} {text}"


@dataclass(frozen=True)
class Slice:
    """Rows that meet all of some conditions."""

    conditions: tuple[Condition, ...]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row meets all conditions."""
        return all(condition.holds(row) for condition in self.conditions)

    def __str__(self) -> str:
        return AND.join(map(str, self.conditions))

    @classmethod
    def read(cls, text: str) -> Slice:
        """Return the slice of a text such as ``plan = "premium" and age > 60``.

        Raises:
            ConditionError: the text is not one.
        """
        conditions = []
        position = 0
        while True:
            found = TERM.match(text, position)
            if found is None:
                raise _invalid(text)
            conditions.append(_condition(found, text))
            position = found.end()
            if position == len(text):
                return cls(tuple(conditions))
            if text[position : position + 4] != AND.lstrip():
                raise _invalid(text)
            position += len(AND.lstrip())


def _condition(found: re.Match[str], text: str) -> Condition:
    name, operator, value = found["name"], found["operator"], found["value"]
    if operator.endswith("missing"):
        if value is not None:
            raise _invalid(text)
        return Condition(_unquoted(name, text), operator)
    if value is None:
        raise _invalid(text)
    try:
        wanted = json.loads(value)
    except ValueError:
        raise _invalid(text) from None
    if operator not in {"=", "!="} and not is_finite(wanted):
        raise _invalid(text)
    return Condition(_unquoted(name, text), operator, wanted)


def _unquoted(name: str, text: str) -> str:
    try:
        return str(json.loads(name)) if name.startswith('"') else name
    except ValueError:
        raise _invalid(text) from None


def _invalid(text: str) -> ConditionError:
    return ConditionError(
        f"invalid condition {shown(text)}: expected one such as 'plan = \"premium\" and age > 60', or "
        "'income is missing'"
    )


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: null, or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_finite(value: Any) -> bool:
    """Return whether a value is a number that can be compared with others."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, int) or math.isfinite(value)
