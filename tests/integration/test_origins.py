"""Golden rows are selected by the kind and the column of their origin, whatever the column's name."""

from __future__ import annotations

import json

import pytest

import tier0
from tier0.core.verdict import Status
from tier0.faults import FaultServer, Reply
from tier0.faults.log import Arrival
from tier0.golden.rows import GoldenRows, Origin

CONTRACT = {
    "route": "/predict",
    "features": "features",
    "columns": "columns",
    "predictions": "predictions",
    "style": "rows",
    "probabilities": None,
}


def statuses(golden: GoldenRows, reply: Reply | object, *checks: str) -> dict[str, Status]:
    with FaultServer(reply) as server:  # type: ignore[arg-type]  # a reply, or what gives one
        deployment = tier0.Deployment.from_url(
            server.url, golden=golden, contract=CONTRACT, disturb="malformed"
        )
        verdict = tier0.check_serving(deployment, groups=list(checks), on_fail="return")
    return {check.id: check.status for check in verdict.checks}


@pytest.mark.parametrize(
    "column", ["score", "decision_score", "decision", "just before the decision changes"]
)
def test_decisions_are_not_judged_without_a_row_near_a_decision(column: str) -> None:
    golden = GoldenRows(
        [column, "age"],
        [[0.5, 30.0], [None, 30.0]],
        [0, 1],
        None,
        [0, 1],
        origins=[Origin("example"), Origin("missing", column)],
    )

    assert statuses(golden, Reply(body={"predictions": [1]}), "parity.decisions") == {
        "parity.decisions": "not_judged"
    }


@pytest.mark.parametrize("columns", [["salary", "age"], ["wage", "age"], ["total_calls", "calls"]])
def test_a_missing_column_is_compared_with_the_row_in_which_that_very_column_is_missing(
    columns: list[str],
) -> None:
    def answer(arrival: Arrival) -> Reply:
        if arrival.method != "POST":
            return Reply(404)
        body = json.loads(arrival.body)
        records = [dict(zip(body["columns"], row, strict=False)) for row in body["features"]]
        weights = {columns[0]: 1, columns[1]: 2}
        return Reply(
            body={
                "predictions": [
                    sum(weight for name, weight in weights.items() if record.get(name) is None)
                    for record in records
                ]
            }
        )

    golden = GoldenRows(
        columns,
        [[1.0, 30.0], [None, 30.0], [1.0, None]],
        [0, 1, 2],
        None,
        [0, 1, 2],
        origins=[Origin("example"), *(Origin("missing", column) for column in columns)],
    )

    assert statuses(golden, answer, "contract.refuses_missing_column", "parity.missing_values") == {
        "contract.refuses_missing_column": "pass",
        "parity.missing_values": "pass",
    }


@pytest.mark.parametrize(
    ("served", "status"), [([None, 3.0], "pass"), ([None, None], "fail"), ([2.0, 3.0], "pass")]
)
def test_null_is_an_answer_only_where_the_model_itself_gives_none(
    served: list[float | None], status: Status
) -> None:
    golden = GoldenRows(["x"], [[1.0], [3.0]], [None, 3.0], None, [])

    found = statuses(
        golden, Reply(body={"predictions": served}), "contract.one_answer_a_row", "parity.golden_rows"
    )

    assert found == {
        "contract.one_answer_a_row": status,
        "parity.golden_rows": "pass" if served == [None, 3.0] else "fail",
    }
