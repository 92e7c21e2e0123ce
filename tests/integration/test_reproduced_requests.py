"""The request that reproduces a failure has one row, in the form in which the check sent all of them."""

from __future__ import annotations

import json
import shlex
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.support.in_process import CONTRACT, GOLDEN, App, running
from tier0.core.verdict import CheckResult
from tier0.runs.deployment import Deployment
from tier0.runs.verify import check_serving


class ByPosition(App):
    """Ignores the names of columns, and reads their values in the order in which they are sent."""

    async def respond(self, request: Request) -> Response:
        rows = json.loads(await request.body())["rows"]
        return JSONResponse(self.answer([list(row.values()) for row in rows]))


class ByName(App):
    """Reads the values of columns by name."""

    async def respond(self, request: Request) -> Response:
        rows = json.loads(await request.body())["rows"]
        return JSONResponse(self.answer([[row["a"], row["b"]] for row in rows]))


def check(app: App, name: str, **contract: Any) -> CheckResult:
    with running(app) as url:
        deployment = Deployment.from_url(url, golden=GOLDEN, contract={**CONTRACT, **contract})
        verdict = check_serving(deployment, on_fail="return", groups=[name])
    return next(result for result in verdict.checks if result.id == name)


def test_columns_in_another_order_are_sent_again_in_that_order() -> None:
    result = check(ByPosition(), "parity.columns_by_name", style="records")
    (row,) = json.loads(shlex.split(result.reproduce)[-1])["rows"]

    assert result.status == "fail"
    assert list(row) == ["b", "a"]
    assert check(ByName(), "parity.columns_by_name", style="records").status == "pass"


def test_a_field_that_only_the_contract_has_is_named() -> None:
    result = check(App(), "parity.golden_rows", predictions="outputs")

    assert result.status == "fail"
    assert result.evidence["pattern"] == "missing_part"
    assert all("'outputs'" in cause for cause in result.causes)
    assert "predictions, model_tag" in result.message, "the fields of the response"
    assert "'outputs'" in result.evidence["expected"]
    assert "predictions, model_tag" in result.evidence["got"]
    assert check(App(), "parity.golden_rows").status == "pass"


class Empty(App):
    """Returns null in place of the predictions."""

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {**super().answer(rows), "predictions": None}


def test_a_field_without_a_value_is_not_called_missing() -> None:
    result = check(Empty(), "parity.golden_rows")

    assert result.evidence["pattern"] == "missing_part"
    assert "null" in result.message


class Drops(App):
    """Returns no prediction for rows whose first value is less than 1."""

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return super().answer([row for row in rows if row[0] >= 1])


def test_another_number_of_values_is_seen_again_with_all_rows() -> None:
    result = check(Drops(), "parity.golden_rows")

    assert result.evidence["pattern"] == "other_count"
    assert (result.evidence["expected"], result.evidence["got"]) == ("4 values", "3 values")
    assert json.loads(shlex.split(result.reproduce)[-1])["rows"] == GOLDEN.rows
    assert not any("preprocessing" in cause or "threshold" in cause for cause in result.causes)
    assert result.message.count("predictions") == 1


def test_another_number_of_values_of_rows_sent_alone_is_not_expected_of_one_request() -> None:
    result = check(Drops(), "parity.rows_alone")

    assert result.evidence["pattern"] == "other_count"
    assert len(json.loads(shlex.split(result.reproduce)[-1])["rows"]) == 1
    assert "each row" in result.evidence["expected"]
