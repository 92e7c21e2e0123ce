"""Where the project's addresses come from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tier0.core.provenance import project_url


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("", None),
        ("Project-URL: Source, https://a.example/tier0\n", None),
        (
            "Project-URL: Source, https://a.example/tier0\nProject-URL: Issues, https://a.example/tier0/issues?a=1,2\n",
            "https://a.example/tier0/issues?a=1,2",
        ),
    ],
    ids=["no URLs", "another URL", "the URL"],
)
def test_the_address_is_read_from_the_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urls: str, expected: str | None
) -> None:
    info = tmp_path / "pytest_tier0-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: pytest-tier0\nVersion: 1\n{urls}", encoding="utf-8"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    assert project_url("Issues") == expected


def test_a_checkout_that_is_not_installed_has_no_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert project_url("Issues") is None
