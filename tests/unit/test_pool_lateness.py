"""How late responses are, by which `pool.own_queue` knows that the machine was too busy to judge."""

from __future__ import annotations

import pytest

from tier0.checks.client.pool import _lateness
from tier0.faults import Arrival

BUSY = 0.25


def arrivals(*times: tuple[float, float | None]) -> list[Arrival]:
    return [
        Arrival(row, at, row + 1, "POST", "/predict", {}, b"", ended_at=ended)
        for row, (at, ended) in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("times", "late"),
    [
        ([(0.01, 0.26), (0.01, 0.26), (0.3, 0.55)], 0.01),  # the third waited for a connection
        ([(0.01, 0.26), (0.4, 0.5)], 0.01),  # given up by its client before the response was due
        ([(0.26, 0.51), (0.26, 0.51)], 0.26),  # the server accepted connections late
        ([(0.01, 0.26), (0.3, 0.85)], 0.3),  # the server responded late
        ([(0.01, None)], 0.0),
        ([], 0.0),
    ],
)
def test_a_response_is_late_by_what_the_machine_took(
    times: list[tuple[float, float | None]], late: float
) -> None:
    shifted = [(at + 100, None if end is None else end + 100) for at, end in times]

    assert _lateness(arrivals(*shifted), 100.0, BUSY) == pytest.approx(late)
