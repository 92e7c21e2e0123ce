"""Files that the user names: what is not a usable file ends a command in status 2, without a wait."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tier0.core.errors import RegistrationError, Tier0Error
from tier0.golden.rows import GoldenRows
from tier0.report.diff import read_facts

BAD_TEXTS = {
    "empty": b"",
    "binary": b"\x80\xff\x00",
    "nested": b"[" * 200_000,
    "twice": b'{"schema": 3, "schema": 3}',
    "list": b"[1]",
}


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        return Path("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind != "absent":
        path.write_bytes(BAD_TEXTS[kind])
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "absent", *BAD_TEXTS])
def test_what_is_not_a_usable_file_is_an_error(kind: str, tmp_path: Path) -> None:
    path = bad_file(kind, tmp_path)

    with pytest.raises(RegistrationError, match="golden rows"):
        GoldenRows.read(path)
    with pytest.raises(Tier0Error) as raised:
        read_facts(path)
    assert raised.value.exit_status == 2


@pytest.mark.parametrize("schema", [[], {}, None, "3", 10**300])
def test_a_schema_of_any_type_is_an_error(schema: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"checks": [], "schema": schema}), encoding="utf-8")

    with pytest.raises(Tier0Error):
        read_facts(path)


def document(part: str, values: Any) -> dict[str, Any]:
    outputs = {"predictions": {"values": ["a", "b"]}, part: {"values": values}}
    return {"schema": 3, "columns": ["x"], "rows": [[1], [2]], "outputs": outputs, "classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("part", "values", "field"),
    [
        ("predictions", "ab", "outputs.predictions.values"),
        ("predictions", ["a", {}], r"outputs.predictions.values\[1\]"),
        ("predictions", ["a", [[{}]]], r"outputs.predictions.values\[1\]\[0\]\[0\]"),
        ("probabilities", [[0.5, 0.5], ["x", 0.5]], r"outputs.probabilities.values\[1\]"),
        ("intervals", [[0, 1], [{}, 1]], r"outputs.intervals.values\[1\]"),
    ],
)
def test_values_of_a_wrong_type_are_named(part: str, values: Any, field: str, tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(document(part, values)), encoding="utf-8")

    with pytest.raises(RegistrationError, match=field):
        GoldenRows.read(path)


def test_a_healthy_file_with_a_byte_order_mark_through_a_link_is_read(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(document("probabilities", [[1, 0], [0, 1]])), encoding="utf-8-sig")
    (link := tmp_path / "link").symlink_to(path)

    assert GoldenRows.read(link).predictions == ["a", "b"]
