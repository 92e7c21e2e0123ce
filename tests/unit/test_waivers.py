from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tier0.core.waivers import Waiver, WaiverError, read_waivers

GOOD = '[[waive]]\ncheck = "security.refuses_pickle"\nreason = "x"\nuntil = 2999-01-01\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "waivers.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_waivers_and_tolerances_are_read(tmp_path: Path) -> None:
    tolerance = 'check = "parity.golden_rows"\nrelative = 1e-9\nreason = "y"\nuntil = 2999-01-01\n'

    assert read_waivers(write(tmp_path, f"schema = 1\n{GOOD}\n[[tolerate]]\n{tolerance}")) == (
        Waiver("security.refuses_pickle", "x", dt.date(2999, 1, 1)),
        Waiver("parity.golden_rows", "y", dt.date(2999, 1, 1), 1e-9),
    )


def test_a_waiver_is_active_on_its_last_day() -> None:
    today = dt.datetime.now(tz=dt.UTC).date()

    assert Waiver("c", "r", today).is_active
    assert not Waiver("c", "r", today - dt.timedelta(days=1)).is_active


@pytest.mark.parametrize(
    ("text", "entry_and_value"),
    [
        ("schema = 2", "schema = 1, got 2"),
        (GOOD, "add the line schema = 1 before"),
        ("schema = 1\n[other]", "'other'"),
        ("schema = 1\n[waive]\ncheck = 'x'", r"\[waive\]"),
        (
            "schema = 1\n" + GOOD.replace("security.refuses_pickle", "security.magic"),
            r"\[\[waive\]\] number 1 .*'security.magic'",
        ),
        ("schema = 1\n" + GOOD.replace("security.refuses_pickle", "security"), "check = 'security'"),
        ("schema = 1\n" + GOOD.replace('"security.refuses_pickle"', "[1]"), r"number 1 .*\[1\]"),
        ("schema = 1\n" + GOOD.replace('reason = "x"\n', ""), "number 1 .*reason"),
        ("schema = 1\n" + GOOD.replace('"x"', '" "'), "reason = ' '"),
        ("schema = 1\n" + GOOD.replace("2999-01-01", '"2999-01-01"'), "until = '2999-01-01'"),
        ("schema = 1\n" + GOOD + "relative = 1e-9", "'relative'"),
        ("schema = 1\n" + GOOD.replace("waive", "tolerate") + "relative = 2", "relative = 2"),
        ("schema = 1\n" + GOOD.replace("waive", "tolerate") + "relative = nan", "relative = nan"),
        (
            "schema = 1\n" + GOOD.replace("waive", "tolerate") + "relative = 0.1",
            r"\[\[tolerate\]\] number 1 .*'security.refuses_pickle'",
        ),
        ("schema = ", "waivers.toml"),
    ],
)
def test_an_invalid_file_is_rejected_with_entry_and_value(
    tmp_path: Path, text: str, entry_and_value: str
) -> None:
    with pytest.raises(WaiverError, match=entry_and_value):
        read_waivers(write(tmp_path, text))
