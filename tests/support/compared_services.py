"""Services in this process for comparisons: one that is known, and variants with and without a difference."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.in_process import serving

CONTRACT = {"features": "rows", "style": "records", "predictions": "predictions"}
PLANS = ("basic", "plus", "premium")
COLUMNS = ("age", "plan", "income", "tenure", "calls")
Row = dict[str, Any]
Answer = dict[str, Any]


def customers(count: int, seed: int = 3) -> list[Row]:
    """Return rows: 5 % have no income, and some 2 % are premium customers older than 60."""
    draw = random.Random(seed)
    return [
        {
            "age": draw.randint(18, 80),
            "plan": draw.choices(PLANS, (7, 5, 1))[0],
            "income": None if draw.random() < 0.05 else round(draw.lognormvariate(10, 0.5), 2),
            "tenure": draw.randint(0, 120),
            "calls": draw.randint(0, 9),
        }
        for _ in range(count)
    ]


def score(row: Row, *, income: float = 24_000.0, shift: float = 0.0, weights: Sequence[float] = ()) -> float:
    """Return the probability of churn."""
    age, tenure, calls, money = weights or (0.021, -0.017, 0.213, -0.000031)
    known = row["income"] if isinstance(row.get("income"), (int, float)) else income
    plan = {"basic": 0.4, "plus": 0.05, "premium": -0.3}.get(str(row.get("plan")), 0.0)
    log_odds = age * row["age"] + tenure * row["tenure"] + calls * row["calls"] + money * known + plan - 0.4
    return 1 / (1 + math.exp(-(log_odds + shift)))


class Service:
    """A service of which each variant changes one thing.

    Attributes:
        threshold: probability from which on the label is "yes".
        scored: returns the probability of a row.
        changed: changes the complete answer.
        bad: status for a row that is not valid.
        seconds: time that each request takes.
    """

    def __init__(
        self,
        scored: Callable[[Row], float] = score,
        changed: Callable[[Answer, Sequence[Row]], Any] = lambda answer, _: answer,
        *,
        threshold: float = 0.5,
        bad: int = 422,
        seconds: Callable[[], float] = lambda: 0.0,
        respond: Callable[[Answer, Sequence[Row]], Response | None] = lambda *_: None,
    ) -> None:
        self.scored, self.changed, self.threshold = scored, changed, threshold
        self.bad, self.seconds, self.respond = bad, seconds, respond

    def answer(self, rows: Sequence[Row]) -> Any:
        scores = [self.scored(row) for row in rows]
        answer = {
            "predictions": ["yes" if one >= self.threshold else "no" for one in scores],
            "probabilities": [[1 - one, one] for one in scores],
            "model_tag": "churn:1",
        }
        return self.changed(answer, rows)

    async def predict(self, request: Request) -> Response:
        try:
            rows = json.loads(await request.body())["rows"]
            answer = self.answer(rows)
        except (ValueError, KeyError, TypeError, AttributeError):
            return Response("invalid rows", self.bad)
        if delay := self.seconds():
            await asyncio.sleep(delay)
        return self.respond(answer, rows) or JSONResponse(answer)


async def _ready(_: Request) -> Response:
    return Response("")


@contextmanager
def services(named: Mapping[str, Service]) -> Iterator[Callable[[str], str]]:
    """Serve all services of a mapping, and yield the function from a name to its URL."""
    routes = [
        route
        for name, service in named.items()
        for route in (
            Route(f"/{name}/predict", service.predict, methods=["POST"]),
            Route(f"/{name}/readyz", _ready),
        )
    ]
    with serving(routes) as url:
        yield lambda name: f"{url}/{name}"
