"""Reading the declaration of a client: field names, values, and the names of earlier declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tier0.core.declaration import Declaration, DeclarationError, read_declaration


def test_a_file_and_a_mapping_with_the_same_fields_are_the_same_declaration(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text("schema = 1\nattempts = 3\ntimeout = 1.0\n[options]\nseconds = 2\n", encoding="utf-8")

    declared = Declaration(attempts=3, timeout=1.0, options={"seconds": 2})
    assert read_declaration(path) == declared
    assert read_declaration({"attempts": 3, "timeout": 1.0, "options": {"seconds": 2}}) == declared
    assert read_declaration(declared) is declared
    assert read_declaration(None) == Declaration()


def test_the_former_table_knobs_is_read_as_options(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text("schema = 1\n[knobs]\nseconds = 2\n", encoding="utf-8")

    assert read_declaration(path).options == {"seconds": 2}
    with pytest.raises(DeclarationError, match="'knobs' and 'options'"):
        read_declaration({"knobs": {}, "options": {}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("threshold", 2.5),
        ("connections", True),
        ("reset", 0),
        ("timeout", float("nan")),
        ("attempt_timeout", float("inf")),
        ("budget", -0.1),
        ("idempotent", 1),
        ("timeout_is", "each"),
        ("options", [1]),
        ("setup", {"schema.json": {}}),
        ("setup", 1),
    ],
)
def test_an_invalid_value_is_rejected_by_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(DeclarationError) as problem:
        read_declaration({name: value})

    assert name in str(problem.value)
    assert repr(value) in str(problem.value)


def test_an_unknown_field_is_rejected_by_name() -> None:
    with pytest.raises(DeclarationError, match="'attemps'"):
        read_declaration({"attemps": 3})


def test_a_switch_that_is_off_promises_nothing_except_idempotent() -> None:
    declared = Declaration(retry_after=False, idempotent=False, timeout=2.0, attempts=2)

    assert [
        name for name in ("retry_after", "idempotent", "timeout", "threshold") if declared.promises(name)
    ] == [
        "idempotent",
        "timeout",
    ]
    assert declared.longest_call == 2.0


@pytest.mark.parametrize(
    "promises",
    [
        {"timeout": 1.0, "attempt_timeout": 2.0},
        {"timeout": 1.0, "timeout_is": "attempt", "attempt_timeout": 0.5},
        {"attempts": 1, "retries_429": True},
        {"counts_429": True},
    ],
)
def test_promises_that_contradict_each_other_are_rejected(promises: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="contradiction"):
        read_declaration(promises)


@pytest.mark.parametrize(
    "promises",
    [
        {"timeout": 1.0, "attempt_timeout": 1.0},
        {"timeout": 0.5, "timeout_is": "attempt", "attempt_timeout": 0.5},
        {"timeout": 0.5, "timeout_is": "attempt", "attempts": 3},
        {"attempts": 2, "retries_429": True, "idempotent": False},
        {"attempts": 1, "retries_429": False},
        {"counts_429": True, "threshold": 3},
        {"attempt_timeout": 2.0},
    ],
)
def test_promises_that_can_be_kept_together_are_accepted(promises: dict[str, Any]) -> None:
    assert read_declaration(promises).promised.items() >= promises.items()


def test_a_timeout_per_attempt_promises_nothing_about_calls() -> None:
    declared = Declaration(timeout=2.0, attempts=2, timeout_is="attempt")

    assert declared.longest_call is None
    assert declared.longest_attempt == 2.0
    assert declared.expected_call == 4.0
    assert declared.promises("attempt_timeout")
    assert not Declaration(timeout=2.0).promises("attempt_timeout")
    assert not Declaration(timeout_is="attempt").promises("attempt_timeout")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_bytes(b"\xef\xbb\xbfschema = 1\r\nattempts = 3\r\n")

    assert read_declaration(path) == Declaration(attempts=3)
