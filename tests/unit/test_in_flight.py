"""Requests that may have been on their way when the circuit opened."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from tier0.checks.client.harness.in_flight import not_in_flight
from tier0.faults import Arrival, FaultLog

OPENED = 100.0


def log(connected: dict[int, float]) -> FaultLog:
    """Return a log in which connections were opened at these times."""
    log = FaultLog()
    for connection, at in connected.items():
        with patch("time.monotonic", return_value=at):
            log.note("connected", connection)
    return log


def arrival(at: float, connection: int) -> Arrival:
    return Arrival(0, at, connection, "POST", "/predict", {}, b"")


@pytest.mark.parametrize(
    ("connected", "arrivals", "late"),
    [
        ({1: 99.0}, [(100.5, 1)], 0),
        ({1: 99.0}, [(100.5, 1), (100.6, 1)], 1),
        ({1: 99.0}, [(100.02, 1), (100.6, 1)], 1),
        ({1: 100.02}, [(100.5, 1)], 0),
        ({1: 100.2, 2: 100.3}, [(100.2, 1), (100.3, 2)], 2),
    ],
    ids=["first", "second", "second after one in time", "connecting", "opened later"],
)
def test_only_a_connection_from_before_the_opening_excuses_a_request(
    connected: dict[int, float], arrivals: list[Any], late: int
) -> None:
    found = not_in_flight([arrival(*one) for one in arrivals], log(connected), OPENED, 0.03)

    assert len(found) == late
