"""The tolerance for served numbers, and how it is measured on the trained model in memory."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from tier0.golden import spread as spread_module
from tier0.golden.prediction import Output
from tier0.golden.rows import Spread

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))


class Counting(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls = 0

    def predict(self, rows: Any) -> Any:
        self.calls += 1
        time.sleep(self.seconds)
        return np.asarray(rows, dtype=float)[:, 0] / 3


def test_measuring_takes_few_calls_and_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_module, "MAX_SECONDS", 0.05)
    model = Counting(0.02)

    def ask(rows: list[list[Any]]) -> Output:
        return Output(model.predict(rows).tolist(), None)

    slow = spread_module.measure(ask, X[:40].tolist(), ask(X[:40].tolist()))
    calls, model.seconds = model.calls, 0.0
    monkeypatch.setattr(spread_module, "MAX_SECONDS", 60.0)
    quick = spread_module.measure(ask, X[:40].tolist(), ask(X[:40].tolist()))

    assert calls == 1 + spread_module.MEASURED_ALWAYS
    assert slow.known() == {}, "what was not measured to its end proves no exactness"
    assert model.calls - calls <= 10 + 40, "each row alone once"
    assert quick.known() == {"predictions": Spread()}


def test_a_single_row_that_differs_alone_is_measured() -> None:
    def ask(rows: list[list[Any]]) -> Output:
        values = [row[0] for row in rows]
        if len(values) == 1 and values[0] == X[39, 0]:
            values = [float(np.nextafter(values[0], 9))]
        return Output(values, None)

    meter = spread_module.measure(ask, X[:40].tolist(), ask(X[:40].tolist()))

    assert meter.known()["predictions"].absolute > 0
