"""Rows that are drafted from a description, for a comparison without rows of the user's."""

from __future__ import annotations

from typing import Any

import pytest

from tier0.comparison.asking import NotComparableError
from tier0.comparison.drafts import MAX_ROWS, NUMBERS, TEXTS, drafted_rows
from tier0.contract.contract import Contract
from tier0.contract.service_schema import Described

ROWS = Contract(features="rows", style="records")


def described(properties: dict[str, Any]) -> Described:
    rows = {"type": "array", "items": {"type": "object", "properties": properties}}
    return Described((), ROWS, {}, {"type": "object", "properties": {"rows": rows}}, {})


def test_one_column_at_a_time_varies_around_the_example() -> None:
    properties = {
        "age": {"type": "integer", "default": 40},
        "plan": {"type": "string", "enum": ["basic", "premium"]},
        "name": {"type": "string", "default": "x"},
        "active": {"type": "boolean", "default": True},
        "other": {"default": 7},
    }

    source = drafted_rows(described(properties), ROWS)

    usual, *others = source.rows
    assert source.columns == ("age", "plan", "name", "active", "other")
    assert usual == [40, "basic", "x", True, 7]
    assert [row[0] for row in others[: len(NUMBERS)]] == list(NUMBERS)
    assert {row[1] for row in others} == {"basic", "premium"}
    assert {row[2] for row in others} == {"x", *TEXTS}
    assert {row[3] for row in others} == {True, False}
    assert {row[4] for row in others} == {7, None}
    assert all(sum(one != other for one, other in zip(row, usual, strict=True)) <= 1 for row in others)


def test_the_number_of_drafted_rows_is_limited() -> None:
    wide = {f"column_{place}": {"type": "number"} for place in range(MAX_ROWS)}

    assert len(drafted_rows(described(wide), ROWS).rows) == MAX_ROWS


@pytest.mark.parametrize("known", [None, described({})])
def test_without_a_description_of_columns_rows_are_asked_for(known: Described | None) -> None:
    with pytest.raises(NotComparableError, match="pass --rows FILE or --golden FILE"):
        drafted_rows(known, ROWS)
