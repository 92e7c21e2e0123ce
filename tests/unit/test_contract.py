from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.contract.contract import Contract, ContractError, as_toml, check_declared, read_contract

COLUMNS = ["a", "b"]
ROWS: list[list[Any]] = [[1.0, "x"], [None, "y"]]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_answer_can_be_read(answer: Any) -> None:
    for contract in (
        Contract(),
        Contract(predictions="*.a.b", probabilities=""),
        Contract(style="record", predictions=""),
    ):
        assert contract.read(answer).keys() == {"predictions", "probabilities", "intervals", "model_tag"}


@pytest.mark.parametrize(
    ("contract", "body"),
    [
        (Contract(), {"features": ROWS, "columns": COLUMNS}),
        (Contract(features="in.rows", columns=None), {"in": {"rows": ROWS}}),
        (Contract(features="", style="records"), [{"a": 1.0, "b": "x"}, {"a": None, "b": "y"}]),
        (Contract(features="row", style="record"), {"row": {"a": 1.0, "b": "x"}}),
        (Contract(features="", style="record"), {"a": 1.0, "b": "x"}),
        (Contract(features="row", style="row"), {"row": [1.0, "x"]}),
        (Contract(features="data", style="columns"), {"data": {"a": [1.0, None], "b": ["x", "y"]}}),
        (Contract(features="texts", style="values"), {"texts": [1.0, None]}),
        (Contract(features="text", style="value"), {"text": 1.0}),
        (
            Contract(features="x", columns=None, max_rows=1, fields={"model": "m", "w.k": 1}),
            {"x": ROWS, "model": "m", "w": {"k": 1}},
        ),
        (
            Contract(features="", style="record", names={"a": "A"}, fields={"k": 1}),
            {"A": 1.0, "b": "x", "k": 1},
        ),
    ],
)
def test_rows_become_a_body(contract: Contract, body: Any) -> None:
    assert contract.body(COLUMNS, ROWS) == body


def test_a_field_within_the_rows_is_refused() -> None:
    with pytest.raises(ContractError, match=r"rows\.x"):
        Contract(features="rows", fields={"rows.x": 1}).body(["a"], [[1.0]])


def test_an_answer_about_one_row_is_a_list_of_one() -> None:
    read = Contract(style="record", predictions="label", probabilities="score", probability_of="yes").read(
        {"label": "yes", "score": 0.7}
    )

    assert read == {"predictions": ["yes"], "probabilities": [[0.7]], "intervals": None, "model_tag": None}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "schema"),
        ("schema = 2", "schema"),
        ("schema = 1\nroutes = 'x'", "routes"),
        ("schema = 1\nroute = 3", "route"),
        ("schema = 1\npredictions = 3", "predictions"),
        ("schema = 1\nmax_rows = 0", "max_rows"),
        ("schema = 1\ndecimals = 1.5", "decimals"),
        ("schema = 1\nscale = -1", "scale"),
        ("schema = 1\nabsolute = true", "absolute"),
        ("schema = 1\nlabels = 'x'", "labels"),
        ("schema = 1\n[labels]\na = 'x'\nb = 'x'", "labels"),
        ("schema = 1\n[names]\na = 1", "names"),
        ("schema = 1\nroute = 'predict'", "route"),
        ("schema = 1\nstyle = 'lines'", "style"),
        ("schema = 1\n[fields]\nwhen = 2020-01-01", "fields"),
        ("schema = 1\n[fields]\nx = nan", "fields"),
    ],
)
def test_an_invalid_value_in_a_file_is_named(
    tmp_path: Path, text: str, named: str, snapshot: SnapshotAssertion
) -> None:
    path = tmp_path / "contract.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ContractError, match=named) as refusal:
        read_contract(path)
    assert str(refusal.value).replace(str(tmp_path), "") == snapshot


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text("schema =", encoding="utf-8")

    with pytest.raises(ContractError) as refusal:
        read_contract(path)
    assert isinstance(refusal.value.__cause__, tomllib.TOMLDecodeError)


def test_a_file_may_say_only_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text('schema = 1\nroute = "/classify"\ncolumns = ""\n', encoding="utf-8")

    assert read_contract(path) == {"route": "/classify", "columns": None}


@pytest.mark.parametrize(
    ("contract", "answer", "part", "expected"),
    [
        (Contract(style="record", predictions="prediction"), {"prediction": [1]}, "predictions", [1]),
        (Contract(style="record", predictions=""), "setosa", "predictions", ["setosa"]),
        (Contract(style="record", predictions=""), 3, "predictions", [3]),
        (Contract(max_rows=1, predictions=""), [[2]], "predictions", [2]),
        (Contract(predictions=""), [[1], [0]], "predictions", [1, 0]),
        (Contract(predictions="*.0"), [[1, 0.9, "v"], [0, 0.2, "v"]], "predictions", [1, 0]),
        (Contract(predictions="data.*.label"), {"data": [{"label": 1}, {"label": 0}]}, "predictions", [1, 0]),
        (Contract(predictions="prediction"), {"prediction": {"0": 1, "1": 0}}, "predictions", [1, 0]),
        (
            Contract(probabilities="*.1", probability_of="1"),
            [[1, 0.9], [0, 0.2]],
            "probabilities",
            [[0.9], [0.2]],
        ),
        (Contract(probabilities="p", scale=100.0), {"p": [[25, 75]]}, "probabilities", [[0.25, 0.75]]),
        (Contract(intervals=""), {"lower": [1, 2], "upper": [3, 4]}, "intervals", [[1, 3], [2, 4]]),
        (Contract(intervals=""), [{"lower": 1, "upper": 3}], "intervals", [[1, 3]]),
        (Contract(style="row", intervals=""), {"lower": 1, "upper": 3}, "intervals", [[1, 3]]),
        (Contract(predictions="*.7"), [[1]], "predictions", [None]),
    ],
)
def test_a_response_is_read_by_its_structure(
    contract: Contract, answer: Any, part: str, expected: Any
) -> None:
    assert contract.read(answer)[part] == expected


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(
    st.dictionaries(names, names),
    st.text(max_size=9).map(lambda path: f"/{path}"),
    st.integers(0, 15),
    st.floats(1e-9, 1e9),
)
def test_what_is_written_as_toml_is_read_again(
    table: dict[str, str], route: str, decimals: int, scale: float
) -> None:
    import tomllib

    distinct = {key: f"{number} {value}" for number, (key, value) in enumerate(table.items())}
    declared = {
        "route": route,
        "decimals": decimals,
        "scale": scale,
        "labels": distinct,
        "fields": {"a": [1, {"b": True}]},
    }

    assert check_declared(tomllib.loads(as_toml(declared))) == {
        key: value for key, value in declared.items() if value != {}
    }
