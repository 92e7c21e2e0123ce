"""Which requests may have been on their way when the circuit opened, and which were sent after that."""

from __future__ import annotations

from collections.abc import Sequence

from tier0.faults import Arrival, FaultLog


def not_in_flight(arrivals: Sequence[Arrival], log: FaultLog, opened: float, excused: float) -> list[Arrival]:
    """Return the requests that were sent after the circuit had opened.

    A connection has at most one request on its way: its first to arrive after the opening may have been sent
    before, if the connection was open by then. A connection that was opened later has none.

    Args:
        arrivals: requests that arrived after the opening.
        log: log of the server, with the times of the connections.
        opened: time of the opening, in seconds on the monotonic clock.
        excused: seconds after the opening within which any request, and any connection, may have been on its
            way.
    """
    in_time = opened + excused
    connected = {entry.connection for entry in log.noted if entry.what == "connected" and entry.at <= in_time}
    late = []
    for arrival in sorted(arrivals, key=lambda arrival: arrival.at):
        if arrival.at <= in_time or arrival.connection in connected:
            connected.discard(arrival.connection)
        else:
            late.append(arrival)
    return late
