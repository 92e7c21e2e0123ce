"""The message for an unexpected error, and where it says to report it."""

from __future__ import annotations

import pytest

from tier0.core.bug_report import address_in


@pytest.mark.parametrize(
    ("project_urls", "address"),
    [
        ([], None),
        (["Homepage, https://tier0.test"], None),
        (["Issues, https://git.test/tier0/issues"], "https://git.test/tier0/issues"),
        (["Repository, https://git.test/tier0", "Issues, https://git.test/i"], "https://git.test/i"),
        (["Repository, https://git.test/tier0", "Issues, https://git.example/i"], "https://git.test/tier0"),
        (["Issues, https://example.com/tier0"], None),
        (["Issues, to be filled in"], None),
        (["Issues"], None),
    ],
)
def test_only_an_address_that_is_filled_in_is_given(project_urls: list[str], address: str | None) -> None:
    assert address_in(project_urls) == address
