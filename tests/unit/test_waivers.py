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
    text = f'schema = 1\n{GOOD}\n[[tolerate]]\ncheck = "parity.golden_rows"\nrelative = 1e-9\nreason = "y"\nuntil = 2999-01-01\n'

    assert read_waivers(write(tmp_path, text)) == (
        Waiver("security.refuses_pickle", "x", dt.date(2999, 1, 1)),
        Waiver("parity.golden_rows", "y", dt.date(2999, 1, 1), 1e-9),
    )


def test_the_last_day_counts() -> None:
    today = dt.datetime.now(tz=dt.UTC).date()

    assert Waiver("c", "r", today).counts
    assert not Waiver("c", "r", today - dt.timedelta(days=1)).counts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema = 2", "must have schema = 1, got 2"),
        ("schema = 1\n[other]", "have 'other'"),
        ("schema = 1\n[waive]\ncheck = 'x'", r"write \[\[waive\]\], once for each"),
        (
            "schema = 1\n" + GOOD.replace("security.refuses_pickle", "security.magic"),
            "unknown group or check 'security.magic'",
        ),
        (
            "schema = 1\n" + GOOD.replace("security.refuses_pickle", "security"),
            "names the group 'security': a waiver is for one check",
        ),
        ("schema = 1\n" + GOOD.replace('"security.refuses_pickle"', "[1]"), r"unknown group or check \[1\]"),
        ("schema = 1\n" + GOOD.replace('reason = "x"\n', ""), "has no reason"),
        ("schema = 1\n" + GOOD.replace('"x"', '" "'), "say why"),
        ("schema = 1\n" + GOOD.replace("2999-01-01", '"2999-01-01"'), "give a day, without quotes"),
        ("schema = 1\n" + GOOD + "relative = 1e-9", "has relative = 1e-09"),
        ("schema = 1\n" + GOOD.replace("waive", "tolerate") + "relative = 2", "give a share between 0 and 1"),
        ("schema = 1\n" + GOOD.replace("waive", "tolerate") + "relative = 0.1", "compares no numbers"),
        ("schema = ", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(WaiverError, match=says):
        read_waivers(write(tmp_path, text))
