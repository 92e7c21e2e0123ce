"""The body of a request: repeated keys are rejected, and values that a model rejects are named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

pytest.importorskip("bentoml")

from tier0.core.errors import InvalidRowError
from tier0.golden.capture import infer_signature
from tier0.serving.predictor import Predictor, _parse


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"features": [[1]], "features": [[2]]}', "features"),
        ('{"features": [[1]], "columns": ["a"], "columns": ["b"]}', "columns"),
        ('{"features": [[1]], "\\u0066eatures": [[2]]}', "features"),
        ('{"features": [{"age": 1, "age": 1}]}', "age"),
        ('{"features": [{"age": 1}, {"age": 1, "plan": "a:b", "age": 2}]}', "age"),
        ('[{"age": 1, "größe": 1, "größe": 2}]', "größe"),
        ('{"features": [[{"a": 1, "a": 2}]]}', "a"),
        ('{"features": [[NaN]], "features": [[2]]}', "features"),
        ('{"features": [{"\\ud800": NaN, "\\ud800": 1}]}', "\\ud800"),
    ],
)
def test_a_repeated_key_is_rejected(body: str, field: str) -> None:
    with pytest.raises(InvalidRowError) as rejected:
        _parse(body.encode())
    assert (rejected.value.field, rejected.value.status) == (field, 422)


def test_the_number_of_repeated_keys_takes_no_more_time_than_the_body_is_long() -> None:
    names = ",".join(f'"k{number}":1' for number in range(50_000))
    with pytest.raises(InvalidRowError, match="k49999"):
        _parse(f'[{{{names},"k49999":1}}]'.encode())


@pytest.mark.parametrize(
    "body",
    [
        '{"features": [[1, "12:30:00"]], "columns": ["a:b", "c"]}',
        '{"features": [{"a:b": 1, "plan": "x:y"}, {"a:b": 2, "plan": ":"}]}',
        '[{"age": 1}, {"age": 1}]',
        '{"features": [[NaN, ":"]]}',
        '{"features": [[100000000000000000000, "a:b"]]}',
    ],
)
def test_colons_in_texts_and_equal_keys_of_two_rows_are_accepted(body: str) -> None:
    assert _parse(body.encode())["features"]


ROWS = pd.DataFrame({"share": np.linspace(0, 0.01, 20), "plan": ["a", "b"] * 10, "size": ["s", "l"] * 10})


def predictor_of(unknown: str) -> Predictor:
    """Return a forest behind encoders that reject or ignore an unknown plan, and a number that is scaled."""
    encoders = make_column_transformer(
        (OneHotEncoder(handle_unknown=unknown), ["plan"]),
        (OneHotEncoder(handle_unknown="ignore"), ["size"]),
        (StandardScaler(), ["share"]),
    )
    model = make_pipeline(encoders, RandomForestClassifier(2, random_state=0)).fit(ROWS, [0, 1] * 10)
    entry = SimpleNamespace(signature=infer_signature(model, ROWS, None))
    return Predictor("m:1", model, cast("Any", entry))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ([0.0, "z", "s"], "plan"),
        ([0.0, "z", "z"], "plan"),
        ([0.0, "it's", "s"], "plan"),
        ([0.0, "\x00", "s"], "plan"),
        ([3e38, "a", "s"], "share"),
        ([-3e38, "a", "z"], "share"),
        ([1e300, "a", "s"], "share"),
    ],
)
def test_a_value_that_the_model_rejects_is_the_requests_fault(row: list[Any], field: str) -> None:
    predictor = predictor_of("error")
    rows = predictor.entry.signature.parse([[0.0, "a", "l"], row])
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match=r"unknown categories|infinity") as raised,
    ):
        predictor.predict(rows)

    reason = predictor.reason_in_rows(rows, raised.value)

    assert reason is not None
    assert (reason.status, reason.field) == (422, f"features[1].{field}")


@pytest.mark.parametrize("problem", [ValueError("shape (2, 3)"), KeyError("a"), RuntimeError("z")])
def test_another_failure_of_the_model_is_its_own(problem: Exception) -> None:
    predictor = predictor_of("ignore")
    rows = predictor.entry.signature.parse([[3.0, "a", "s"], [3e30, "z", "z"]])
    assert predictor.predict(rows).predictions

    assert predictor.reason_in_rows(rows, problem) is None
