"""The first line of a failed parity check names the defect of a service in this process; seconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tier0
from tests.support.in_process import CONTRACT, App, running
from tier0.contract.service_schema import find_contract
from tier0.core.verdict import CheckResult, Verdict
from tier0.golden.capture import golden_rows
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

pytestmark = pytest.mark.timeout(60)
Rows = list[list[float]]


@cache
def trained() -> tuple[Any, GoldenRows]:
    drawn = np.random.default_rng(2)
    x = drawn.normal([50, 3], [20, 1], (200, 2))
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(x, x[:, 0] - 2 * x[:, 1] + 10)
    return model, golden_rows(model, x[:24], feature_names=["a", "b"])


class Service(App):
    """The healthy service; each defect overrides `predicted` or `answer`."""

    def predicted(self, rows: Rows) -> list[Any]:
        predictions: list[Any] = trained()[0].predict(np.asarray(rows)).tolist() if rows else []
        return predictions

    def answer(self, rows: Rows) -> dict[str, Any]:
        return {"predictions": self.predicted(rows), "model_tag": self.tag}


class Reversed(Service):
    def predicted(self, rows: Rows) -> list[Any]:
        return super().predicted(rows)[::-1]


class Fallback(Service):
    def predicted(self, rows: Rows) -> list[Any]:
        return [0.5] * len(rows)


class WithoutScaler(Service):
    def predicted(self, rows: Rows) -> list[Any]:
        predictions: list[Any] = trained()[0][-1].predict(np.asarray(rows)).tolist()
        return predictions


class ColumnsSwapped(Service):
    def predicted(self, rows: Rows) -> list[Any]:
        return super().predicted([[second, first] for first, second in rows])


class Scaled(Service):
    def predicted(self, rows: Rows) -> list[Any]:
        return [number / 1000 for number in super().predicted(rows)]


class OnBatches(Service):
    """Subtracts a statistic of the batch, which a single row has as well."""

    def predicted(self, rows: Rows) -> list[Any]:
        predictions = super().predicted(rows)
        return [number + (len(rows) > 1) * np.sin(number) for number in predictions]


class FittedOnRequests(Service):
    """Fits its scaler on each request, which the golden rows together do not show."""

    def predicted(self, rows: Rows) -> list[float]:
        if len(rows) == len(trained()[1].examples):
            return super().predicted(rows)
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return super().predicted(
            [[value - mean for value, mean in zip(row, means, strict=True)] for row in rows]
        )


class Stale(Service):
    """Returns the answer to the request before, of requests with one row."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Any] | None = None

    def predicted(self, rows: Rows) -> list[Any]:
        predictions = super().predicted(rows)
        if len(rows) != 1:
            return predictions
        stale, self.before = self.before or predictions, predictions
        return stale


DEFECTS: dict[type[Service], tuple[str, str, str]] = {
    Reversed: ("parity.golden_rows", "reversed_rows", "rows or answers change their order"),
    Fallback: ("parity.golden_rows", "constant", "a fallback or a default is returned"),
    WithoutScaler: ("parity.golden_rows", "dropped_step", "a step of the pipeline is not deployed"),
    ColumnsSwapped: ("parity.golden_rows", "swapped_columns", "the columns reach the model in another order"),
    Scaled: ("parity.golden_rows", "affine", "a scaling of the target"),
    Stale: ("parity.rows_alone", "other_requests", "the answer to another request is returned"),
    FittedOnRequests: ("parity.rows_alone", "constant", "predictions depend on the other rows"),
}


def judge(app: Service, *groups: str, **more: Any) -> Verdict:
    contract = find_contract({}, {**CONTRACT, "style": "rows"})
    with running(app) as url:
        deployment = Deployment(url, trained()[1], "small:1", contract, **more)
        return tier0.check_serving(deployment, groups=list(groups), on_fail="return")


def results(app: Service, *groups: str, **more: Any) -> dict[str, CheckResult]:
    return {result.id: result for result in judge(app, *groups, **more).checks}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_first_cause_is_the_defect(defect: type[Service], record: Callable[..., None]) -> None:
    check, pattern, cause = DEFECTS[defect]

    verdict = judge(defect(), *dict.fromkeys(["parity.golden_rows", check]))

    record(defect.__name__, (check,), verdict)
    result = next(result for result in verdict.checks if result.id == check)
    assert result.status == "fail"
    assert result.evidence["pattern"] == pattern, result.message
    assert result.causes[0].startswith(cause)
    assert f"Likely cause: {cause}" in result.message.partition("\n")[0]


def test_a_row_that_is_right_alone_is_named() -> None:
    result = results(OnBatches(), "parity.golden_rows")["parity.golden_rows"]

    assert result.evidence["alone"] == "right"
    assert "sent alone, got the trained model's output" in result.message
    assert (
        result.causes[0]
        == "predictions depend on the other rows: statistics or categories are computed from the request"
    )


def test_a_healthy_service_is_not_asked_again() -> None:
    asked = results(Service(), "parity.golden_rows", "parity.rows_alone")

    assert {result.status for result in asked.values() if result.code != "disturbs"} == {"pass"}


@pytest.mark.parametrize("defect", DEFECTS)
def test_masked_values_are_in_no_message(defect: type[Service]) -> None:
    check, _, _ = DEFECTS[defect]

    result = results(defect(), check, mask=True)[check]

    assert result.status == "fail"
    assert not any(letter.isdigit() for letter in result.message.replace("row", "").partition("likely")[2])
    assert "expected …, got …" in result.message
