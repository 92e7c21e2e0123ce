"""A small classifier as a script of a `FaultServer`, which logs when each request arrived."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tier0.faults import Reply
from tier0.faults.log import Arrival
from tier0.golden.rows import GoldenRows

GOLDEN = GoldenRows(["a", "b"], [[1.0, 30.0], [2.0, 5.0], [3.0, 1.0]], [0, 1, 0], None, [0, 1])
LABELS = {1.0: 0, 2.0: 1, 3.0: 0}
NUMBERS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
ROUTE: dict[str, Any] = {
    "name": "predict",
    "route": "/predict",
    "batchable": False,
    "input": {"type": "object", "properties": {"features": NUMBERS}},
    "output": {"type": "object", "properties": {"predictions": {"type": "array"}}},
}


def service(
    *,
    status: int = 200,
    labels: Callable[[float], int] = LABELS.__getitem__,
    routes: tuple[dict[str, Any], ...] = (ROUTE,),
) -> Callable[[Arrival], Reply]:
    """A small service: its schema, its health, and a prediction for each row."""

    def answer(arrival: Arrival) -> Reply:
        if arrival.path == "/schema.json":
            return Reply(body={"name": "x", "type": "service", "routes": list(routes)})
        if arrival.path in {"/readyz", "/livez"}:
            return Reply(body={"status": "ok"})
        if arrival.path != "/predict" or arrival.method != "POST":
            return Reply(404)
        if status != 200:
            return Reply(status, {"error": "x"})
        try:
            return Reply(
                body={"predictions": [labels(row[0]) for row in json.loads(arrival.body)["features"]]}
            )
        except (ValueError, KeyError, TypeError, IndexError):
            return Reply(422)

    return answer


healthy = service()
wrong = service(labels=lambda first: 1 - LABELS[first])


def unavailable(_: Arrival) -> Reply:
    """Respond as a proxy without a service behind it."""
    return Reply(503)


SCRIPTS: dict[str, Callable[[Arrival], Reply]] = {
    "healthy": healthy,
    "wrong": wrong,
    "unavailable": unavailable,
}
