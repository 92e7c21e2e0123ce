"""The pause before a request of a check is sent again."""

from __future__ import annotations

import httpx
import pytest

from tier0.checks.serving.harness.sender import MAX_PAUSE, _pause_before_retry


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("1", 1.0),
        ("0", 0.0),
        ("-1", 0.0),
        ("1e999", MAX_PAUSE),
        ("nan", 0.5),
        ("soon", 0.5),
        ("", 0.5),
    ],
)
def test_retry_after_gives_a_pause_within_bounds(value: str, pause: float) -> None:
    assert _pause_before_retry(httpx.Response(503, headers={"Retry-After": value}), 0.5) == pause


def test_without_retry_after_the_pause_is_the_default() -> None:
    assert _pause_before_retry(httpx.Response(503), 0.5) == 0.5
