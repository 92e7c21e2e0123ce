"""The body of a request: a key that is repeated is rejected, and a colon in a text is no key."""

from __future__ import annotations

import pytest

pytest.importorskip("bentoml")

from tier0.core.errors import InvalidRowError
from tier0.serving.predictor import _parse


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
