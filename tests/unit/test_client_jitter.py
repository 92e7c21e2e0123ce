"""The statistic of waits: what has jitter is not accused, and what has none is."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tier0.checks.client.harness.jitter import chance_of_being_so_close
from tier0.checks.client.retry import CLIENTS, MAX_ERROR

SAMPLES = 5000


def accused(wait: Callable[[random.Random], float]) -> float:
    """Return the share of samples for which a client with these waits is accused."""
    source = random.Random(1)
    found = 0
    for _ in range(SAMPLES):
        waits = [wait(source) for _ in range(CLIENTS)]
        found += chance_of_being_so_close(waits) < MAX_ERROR / 2
    return found / SAMPLES


@pytest.mark.parametrize(
    "wait",
    [
        lambda source: 0.5 * (1 - 0.25 * source.random()),
        lambda source: 0.5 * (1 + 0.15 * source.random()),
        lambda source: 0.2 * (0.8 + 0.4 * source.random()),
        lambda source: 0.05 * source.random(),
        lambda source: 0.1 + source.expovariate(5),
    ],
    ids=["25 % less", "15 % more", "20 % around", "full", "exponential"],
)
def test_waits_with_jitter_are_accused_less_than_once_in_a_thousand(
    wait: Callable[[random.Random], float],
) -> None:
    assert accused(wait) < 0.001


@pytest.mark.parametrize("seconds", [0.1, 0.2, 1.0])
def test_equal_waits_are_accused_although_the_machine_delays_some(seconds: float) -> None:
    assert accused(lambda source: seconds + source.expovariate(1 / 0.001)) > 0.99


def test_equal_waits_and_waits_without_a_length_are_certain() -> None:
    assert chance_of_being_so_close([0.2] * CLIENTS) == 0.0
    assert chance_of_being_so_close([0.0] * CLIENTS) == 1.0


def test_the_distribution_is_that_of_a_spacing() -> None:
    # 24 uniform values on [1, 1.15]: the chance for a range of t is P(Bin(24, t) >= 17), here for t = 0.5.
    waits = [1.0, *[1.0] * 16, 1.0 + 0.5 * 0.15 / 1.15, *[1.2] * 6]

    assert chance_of_being_so_close(waits) == pytest.approx(0.0319573, rel=1e-3)


def test_a_range_that_the_machine_may_have_caused_is_no_jitter() -> None:
    waits = [0.2 + 0.002 * number for number in range(CLIENTS)]

    assert chance_of_being_so_close(waits) == 1.0
    assert chance_of_being_so_close(waits, delay=0.05) == 0.0
    assert chance_of_being_so_close([0.2 + 0.02 * number for number in range(CLIENTS)], delay=0.05) == 1.0
