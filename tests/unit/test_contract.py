from __future__ import annotations

import json
import math
import sys
import tomllib
from dataclasses import replace
from email import message_from_string
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.contract.adapter import AdapterError
from tier0.contract.contract import (
    Contract,
    ContractError,
    as_list,
    as_toml,
    can_be_path,
    check_declared,
    get_path,
    how_to_declare,
    join_path,
    read_contract,
)
from tier0.contract.delimited import write_rows
from tier0.core.address import problem_of
from tier0.core.fields import MAX_DEPTH

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
    st.text(max_size=9).map(lambda path: f"/{path}").filter(lambda path: not problem_of(path)),
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


@pytest.mark.parametrize(
    ("contract", "answer", "part", "expected"),
    [
        (Contract(style="record", predictions="p"), {"p": None}, "predictions", None),
        (Contract(style="record", predictions="p"), {"p": [[1, 2]]}, "predictions", [[1, 2]]),
        (Contract(style="record", predictions="p"), {"p": [[["yes"]]]}, "predictions", ["yes"]),
        (Contract(style="record", predictions="p"), {"p": []}, "predictions", [[]]),
        (Contract(predictions="p"), {"p": []}, "predictions", []),
        (Contract(predictions="p"), {"p": "yes"}, "predictions", "yes"),
        (Contract(predictions="p"), {"p": [[1], []]}, "predictions", [1, None]),
        (Contract(predictions="p"), {"p": [[], []]}, "predictions", [[], []]),
        (Contract(predictions="p"), {"p": [[1], 2]}, "predictions", [[1], 2]),
        (Contract(predictions="p"), {"p": [[1], [1, 2]]}, "predictions", [[1], [1, 2]]),
        (Contract(predictions="p"), {"p": {"1": "b", "0": "a"}}, "predictions", {"1": "b", "0": "a"}),
        (Contract(predictions="0.p"), [{"p": [1]}, {"p": [2]}], "predictions", [1]),
        (Contract(predictions="1"), [[1], [2]], "predictions", [2]),
        (Contract(predictions="2"), [[1], [2]], "predictions", None),
        (Contract(predictions="-1"), [[1], [2]], "predictions", None),
        (Contract(predictions="²"), [[1], [2]], "predictions", None),
        (Contract(predictions="p.q"), {"p": 1}, "predictions", None),
        (Contract(predictions="*.p"), {"0": {"p": 1}, "1": {"p": 2}}, "predictions", [1, 2]),
        (Contract(predictions="*"), 5, "predictions", None),
        (Contract(predictions=None), {"": 1, "predictions": [1]}, "predictions", None),
        (Contract(style="record", probabilities="p"), {"p": [0.25, 0.75]}, "probabilities", [[0.25, 0.75]]),
        (
            Contract(style="record", probabilities="p"),
            {"p": [[[0.25, 0.75]]]},
            "probabilities",
            [[0.25, 0.75]],
        ),
        (Contract(style="record", probabilities="p"), {"p": [{"a": 1.0}]}, "probabilities", [{"a": 1.0}]),
        (Contract(style="record", probabilities="p"), {"p": [0.7]}, "probabilities", [[0.7]]),
        (Contract(style="record", probabilities="p"), {}, "probabilities", None),
        (
            Contract(probabilities="p"),
            {"p": {"0": [0.5], "1": [0.4]}},
            "probabilities",
            {"0": [0.5], "1": [0.4]},
        ),
        (
            Contract(probabilities="p"),
            {"p": {"0": {"a": 1}, "1": {"a": 0}}},
            "probabilities",
            [{"a": 1}, {"a": 0}],
        ),
        (Contract(probabilities="p"), {"p": "high"}, "probabilities", "high"),
        (Contract(probabilities="p"), {"p": [0.5, 0.4]}, "probabilities", [0.5, 0.4]),
        (
            Contract(probabilities="p", probability_of="a"),
            {"p": [0.5, [0.4]]},
            "probabilities",
            [[0.5], [0.4]],
        ),
        (
            Contract(probabilities="p", scale=100.0),
            {"p": [{"a": 25}, ["25", True, 50.0, None]]},
            "probabilities",
            [{"a": 0.25}, ["25", True, 0.5, None]],
        ),
        (Contract(intervals="i"), {"i": [[1, 3], [2, 4]]}, "intervals", [[1, 3], [2, 4]]),
        (Contract(intervals="i"), {"i": []}, "intervals", []),
        (Contract(intervals="i"), {"i": 3}, "intervals", 3),
        (Contract(intervals="i"), {"i": {"lower": [1], "upper": [3, 4]}}, "intervals", [[[1], [3, 4]]]),
        (Contract(intervals="i"), {"i": {"lower": [1, 2], "upper": 3}}, "intervals", [[[1, 2], 3]]),
        (Contract(intervals="i"), {"i": {"lower": 1, "upper": 3, "level": 0.9}}, "intervals", [[1, 3]]),
        (Contract(intervals="i"), {"i": {"lower": 1}}, "intervals", {"lower": 1}),
        (
            Contract(intervals="i"),
            {"i": [{"lower": 1, "upper": 3}, {"lower": 2}]},
            "intervals",
            [{"lower": 1, "upper": 3}, {"lower": 2}],
        ),
        (Contract(intervals="i"), {"i": [{"level": 0.9, "lower": 1, "upper": 3}]}, "intervals", [[1, 3]]),
        (Contract(style="row", intervals="i"), {"i": [1, 3]}, "intervals", [[1, 3]]),
        (Contract(style="row", intervals="i"), {"i": [[1, 3]]}, "intervals", [[1, 3]]),
        (Contract(style="row", intervals="i"), {"i": [{"lower": 1, "upper": 3}]}, "intervals", [[1, 3]]),
        (Contract(style="row", intervals="i"), {"i": [3]}, "intervals", [[3]]),
        (Contract(style="row", intervals="i"), {}, "intervals", None),
        (Contract(model_tag="model.tag"), {"model": {"tag": "m:1"}}, "model_tag", "m:1"),
    ],
)
def test_a_response_of_an_unusual_structure_is_read(
    contract: Contract, answer: Any, part: str, expected: Any
) -> None:
    assert repr(contract.read(answer)[part]) == repr(expected), "1, 1.0 and True are different values"


@pytest.mark.parametrize("last", [9, 10])
def test_an_object_keyed_by_row_number_is_a_list_in_the_order_of_the_rows(last: int) -> None:
    numbers = [str(number) for number in range(last + 1)]
    values = [f"row {number}" for number in numbers]

    assert as_list(dict(zip(numbers, values, strict=True))) == values
    assert as_list({number: f"row {number}" for number in sorted(numbers)}) == values
    for other in ({"1": "a"}, {"0": "a", "x": "b"}, {"1": "b", "0": "a"}, {}, [1], "text"):
        assert as_list(other) == other


def test_names_that_differ_are_those_of_the_service_in_the_body() -> None:
    contract = Contract(features="in.rows", columns="in.names", names={"a": "A"})

    assert contract.body(COLUMNS, ROWS) == {"in": {"rows": ROWS, "names": ["A", "b"]}}
    assert contract.body(COLUMNS, ROWS)["in"]["rows"][0] is not ROWS[0]


@pytest.mark.parametrize(
    ("contract", "body"),
    [
        (Contract(features="x", style="records"), {"x": [{"a": 1.0, "b": "x"}, {"a": None, "b": "y"}]}),
        (Contract(features="", fields={"k": 1}), ROWS),
        (Contract(features="", style="record"), {"a": 1.0, "b": "x"}),
        (
            Contract(features="", style="columns", fields={"k": 1}),
            {"a": [1.0, None], "b": ["x", "y"], "k": 1},
        ),
        (Contract(features="a.b.c", columns="a.b.d"), {"a": {"b": {"c": ROWS, "d": COLUMNS}}}),
    ],
)
def test_fields_and_columns_have_their_place_in_the_body(contract: Contract, body: Any) -> None:
    assert contract.body(COLUMNS, ROWS) == body


def test_a_row_may_have_more_or_fewer_values_than_columns() -> None:
    assert Contract(style="records", features="x").body(["a", "b"], [[1.0], [1.0, 2.0, 3.0]]) == {
        "x": [{"a": 1.0}, {"a": 1.0, "b": 2.0}]
    }
    assert Contract(style="record", features="x").body(["a"], [[1.0, 2.0]]) == {"x": {"a": 1.0}}


ANSWER = {
    "a": [{"k": "x", "v": 1}, {"k": 2, "v": 3}, "text", {"v": 4}],
    "b": {"0": {"c": 5}, "1": {"c": 6}},
    "c": [[7, 8], [9]],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.[k=x].v", 1),
        ("a[k=x].v", 1),
        ("a[k=2].v", 3),
        ("a[k=2]", {"k": 2, "v": 3}),
        ("a[k=y].v", None),
        ("a[k=]", None),
        ("b[k=x]", None),
        ("a[1].v", 3),
        ("a.[1].v", 3),
        ("a[0][k=x]", None),
        ("c[0][1]", 8),
        ("c[1][1]", None),
        ("c.*.[0]", [7, 9]),
        ("b.*.c", [5, 6]),
        ("a.*.v", [1, 3, None, 4]),
        ("a.*.v.w", [None] * 4),
        ("c.x", None),
        ("b.0.c.d", None),
        ("d", None),
    ],
)
def test_a_path_selects_by_name_position_and_value(path: str, found: Any) -> None:
    assert get_path(ANSWER, path) == found


def test_a_selector_at_the_start_of_a_path_is_that_of_the_whole_response() -> None:
    assert get_path([{"k": "x", "v": 1}], "[k=x].v") == 1
    assert get_path([{"k": "x", "v": 1}], "[0].v") == 1


@pytest.mark.parametrize("answer", [None, 5, {"k": "x"}])
def test_a_selector_finds_nothing_where_no_list_is(answer: Any) -> None:
    assert get_path(answer, "[k=x]") is None


def test_a_name_before_a_bracket_is_taken_as_it_is() -> None:
    assert get_path({"Xa": {"X": [1]}}, "Xa.X[0]") == 1


@pytest.mark.parametrize(
    ("path", "found"),
    [("1", "b"), ("000000001", "b"), ("2", None), ("9" * 5000, None), ("²", None), ("x", None)],
)
def test_a_number_in_a_path_is_the_item_of_a_list(path: str, found: str | None) -> None:
    assert get_path(["a", "b"], path) == found


def test_an_integer_beyond_the_range_of_floats_is_scaled_to_infinity() -> None:
    contract = Contract(probabilities="p", scale=0.5)

    read = contract.read({"p": [[10**400, -(10**400), 1, True, None]]})

    assert read["probabilities"] == [[math.inf, -math.inf, 2.0, True, None]]


def test_a_path_through_a_value_names_the_path_and_the_value() -> None:
    contract = Contract(features="rows", columns=None, fields={"a": 1, "a.b": 2})

    with pytest.raises(ContractError) as refusal:
        contract.body(["x"], [[1.0]])
    assert str(refusal.value) == "invalid path 'a.b' in the contract: 'a' is not an object in the body"


@pytest.mark.parametrize(
    ("contract", "part", "tolerance"),
    [
        (Contract(), "predictions", 0.0),
        (Contract(absolute=0.25), "predictions", 0.25),
        (Contract(decimals=2), "predictions", 0.005),
        (Contract(decimals=0), "predictions", 0.5),
        (Contract(decimals=2, absolute=0.25), "predictions", 0.25),
        (Contract(decimals=2, absolute=1e-6), "predictions", 0.005),
        (Contract(absolute=0.5, scale=100.0), "probabilities", 0.005),
        (Contract(absolute=0.5, scale=100.0), "intervals", 0.5),
    ],
)
def test_a_tolerance_is_the_rounding_or_the_declared_one_in_the_model_s_unit(
    contract: Contract, part: str, tolerance: float
) -> None:
    assert contract.tolerance_of(part) == pytest.approx(tolerance, rel=1e-6)


def test_a_number_that_is_rounded_to_its_decimals_is_within_the_tolerance() -> None:
    for value in (0.125, 2.675, 1.005, 0.285):
        assert abs(round(value, 2) - value) <= Contract(decimals=2).tolerance_of("predictions")
    assert abs(1.01 - 1.005) <= Contract(decimals=2).tolerance_of("predictions"), "the error of 1.01 itself"


def test_a_contract_gets_other_paths_and_keeps_the_rest() -> None:
    contract = Contract(route="/x", model_tag="tag")

    changed = contract.with_paths({"predictions": "p", "probabilities": "q", "intervals": None})

    assert changed == Contract(
        route="/x", model_tag="tag", predictions="p", probabilities="q", intervals=None
    )
    assert changed.parts == ("predictions", "probabilities")
    assert contract.with_paths({"predictions": "", "probabilities": None, "intervals": "i"}).intervals == "i"


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("max_rows", 1, True),
        ("max_rows", True, False),
        ("max_rows", 1.0, False),
        ("max_rows", 0, False),
        ("decimals", 0, True),
        ("decimals", 15, True),
        ("decimals", 16, False),
        ("decimals", -1, False),
        ("decimals", True, False),
        ("vary", {"X-Tenant": ["acme"], "fields.user": []}, True),
        ("vary", {"X-Tenant": "acme"}, False),
        ("vary", {"X-Tenant": ["a\r\nHost: b"]}, False),
        ("vary", {"X Tenant": []}, False),
        ("absolute", 1, True),
        ("absolute", 1e-9, True),
        ("absolute", 0, False),
        ("absolute", float("inf"), False),
        ("absolute", float("nan"), False),
        ("absolute", "1", False),
        ("scale", 100, True),
        ("route", "/x", True),
        ("style", "columns", True),
        ("style", "", False),
        ("features", "", True),
        ("predictions", "", True),
        ("names", {"a": "A", "b": "B"}, True),
        ("names", {"a": "A", "b": "A"}, False),
        ("names", ["a"], False),
        ("labels", {"0": "no", "1": 1, "2": 2.5}, True),
        ("labels", {"0": True, "1": 1}, True),
        ("labels", {"0": True, "1": True}, False),
        ("labels", {"0": 1, "1": 1.0}, False),
        ("labels", {"0": None}, False),
        ("labels", {"0": float("nan")}, False),
        ("fields", {"a": [1, None]}, True),
        ("fields", [1], False),
        ("fields", {"a": float("inf")}, False),
        ("fields", {"a": {1, 2}}, False),
        ("method", "PUT", True),
        ("method", "GET", False),
        ("method", "put", False),
        ("statuses", (200, 207, 599), True),
        ("statuses", (), False),
        ("statuses", "200", False),
        ("statuses", (199,), False),
        ("statuses", (600,), False),
        ("statuses", (200, True), False),
        ("statuses", (200.0,), False),
        ("headers", {"Accept-Version": "2", "X_a~!": ""}, True),
        ("headers", {"X-A": 2}, False),
        ("headers", {"X-A": "ü"}, False),
        ("headers", {"X-A": "a\nb"}, False),
        ("headers", {"X A": "a"}, False),
        ("headers", {"X-Ü": "a"}, False),
        ("headers", ["X-A"], False),
        ("protocol", "v2", True),
        ("protocol", "v3", False),
        ("protocol", None, False),
        ("datatypes", {"a": "FP32", "b": "BYTES"}, True),
        ("datatypes", {"a": "float"}, False),
        ("datatypes", ["FP32"], False),
        ("tensor", "input", True),
        ("tensor", 1, False),
        ("adapter", 1, False),
        ("predictions", ".".join("a" * MAX_DEPTH), True),
        ("predictions", ".".join("a" * (MAX_DEPTH + 1)), False),
        ("route", "x", False),
        ("route", 1, False),
        ("scale", sys.float_info.max, True),
        ("scale", 10**400, False),
    ],
)
def test_a_declared_value_is_kept_or_refused_by_name(name: str, value: Any, *, accepted: bool) -> None:
    if accepted:
        checked = check_declared({name: value})
        assert checked == {name: value}
        assert type(checked[name]) in {type(value), float}
    else:
        with pytest.raises(ContractError, match=rf"invalid {name} = .* in the contract: expected "):
            check_declared({name: value})


def test_a_route_has_no_spaces() -> None:
    with pytest.raises(ContractError, match="invalid route = '/x y' in the contract: it contains a space"):
        check_declared({"route": "/x y"})


def test_a_number_is_a_float_whatever_was_declared() -> None:
    assert repr(check_declared({"absolute": 1, "scale": 100})) == "{'absolute': 1.0, 'scale': 100.0}"


@pytest.mark.parametrize("name", ["columns", "probability_of", "model_tag", "intervals"])
@pytest.mark.parametrize("value", ["", None])
def test_a_part_that_a_service_does_not_have_is_empty(name: str, value: str | None) -> None:
    assert check_declared({"route": "/x", name: value, "style": "rows"}) == {
        "route": "/x",
        name: None,
        "style": "rows",
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"

    with pytest.raises(ContractError, match="cannot be read") as refusal:
        read_contract(path)
    assert isinstance(refusal.value.__cause__, FileNotFoundError)


def test_declarations_are_written_with_their_tables_last(snapshot: SnapshotAssertion) -> None:
    declared = {
        "fields": {"model": "churn", "in.k": [1, {"b": True, "c d": "\x7f"}], "": (1.5, None)},
        "route": "/classify",
        "labels": {},
        "columns": None,
        "names": {"größe": "Größe", "a_b-1": "x"},
        "decimals": 2,
    }

    assert as_toml(declared) == snapshot
    assert how_to_declare(declared) == snapshot
    assert how_to_declare({"route": "/x"}) == (
        'Declare it in a TOML file and pass --contract FILE:\n    schema = 1\n    route = "/x"'
    )
    assert tomllib.loads(as_toml(declared)) == {
        "fields": {"model": "churn", "in.k": [1, {"b": True, "c d": "\x7f"}], "": [1.5, ""]},
        "route": "/classify",
        "columns": "",
        "names": {"größe": "Größe", "a_b-1": "x"},
        "decimals": 2,
    }


@pytest.mark.parametrize(
    ("first", "second", "path"), [("a", "b.c", "a.b.c"), ("a", "", "a"), ("", "b", "b"), ("", "", "")]
)
def test_paths_are_joined(first: str, second: str, path: str) -> None:
    assert join_path(first, second) == path


@pytest.mark.parametrize(
    ("name", "can_be"), [("a", True), ("", False), ("*", False), ("a.b", False), (1, False), ("a*", True)]
)
def test_a_name_with_a_meaning_in_paths_is_no_part_of_one(name: Any, *, can_be: bool) -> None:
    assert can_be_path(name) is can_be


@pytest.mark.parametrize(
    ("declared", "accepted", "refused"),
    [((), (200, 204, 299), (199, 300, 404)), ((201, 404), (201, 404), (200, 300))],
)
def test_the_statuses_of_predictions_are_the_declared_ones_or_those_of_success(
    declared: tuple[int, ...], accepted: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    contract = Contract(statuses=declared)

    assert all(map(contract.accepts, accepted))
    assert not any(map(contract.accepts, refused))


@pytest.mark.parametrize(
    ("style", "are_objects", "sent"),
    [
        ("rows", False, "values"),
        ("row", False, "value"),
        ("records", False, "records"),
        ("record", False, "record"),
        ("rows", True, "values"),
        ("row", True, "value"),
        ("records", True, "values"),
        ("record", True, "value"),
        ("tensor", True, "tensor"),
    ],
)
def test_rows_that_are_no_table_are_sent_as_they_are(style: Any, *, are_objects: bool, sent: str) -> None:
    contract = Contract(style=style).of_values(are_objects=are_objects)

    assert (contract.style, contract.columns) == (sent, None)


def test_tensors_have_the_declared_names_and_datatypes() -> None:
    named: dict[str, Any] = {"names": {"a": "A"}, "fields": {"id": "1"}}
    datatypes = {"A": "FP32", "all": "INT8"}

    one = Contract(features="inputs", style="tensor", tensor="all", datatypes=datatypes, **named)
    each = Contract(features="inputs", style="tensors", datatypes=datatypes, flat_tensors=("b",), **named)

    assert one.body(COLUMNS, [[1, 2], [3, 4]]) == {
        "id": "1",
        "inputs": [{"name": "all", "shape": [2, 2], "datatype": "INT8", "data": [1, 2, 3, 4]}],
    }
    assert one.body(["a"], [[1], [3]])["inputs"][0]["shape"] == [2, 1]
    assert replace(one, flat_tensors=("all",)).body(["a"], [[1], [3]])["inputs"][0]["shape"] == [2]
    assert each.body(COLUMNS, [[1.5, "x"], [2.5, "y"]])["inputs"] == [
        {"name": "A", "shape": [2, 1], "datatype": "FP32", "data": [1.5, 2.5]},
        {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]},
    ]


def test_a_text_as_the_entire_body_is_json() -> None:
    assert Contract(features="", style="value").request(["a"], [["x"]]) == '"x"'


def test_lines_of_csv_are_sent_and_read_as_they_are() -> None:
    contract = Contract(features="", style="csv")

    assert contract.request(COLUMNS, [[1.5, "x, y"], [None, True]]) == '1.5,"x, y"\nnan,true'
    assert contract.parse("1,a\n2.5,b\n") == [[1, "a"], [2.5, "b"]]
    assert json.loads(Contract(style="rows").request(COLUMNS, [[1.5, '"']]))["features"] == [[1.5, '"']]


def test_a_missing_value_in_csv_is_read_by_numpy_and_by_pandas() -> None:
    numbers = write_rows([[None, 3.5], [5.1, None]])
    with_texts = write_rows([[None, "a"], [5.1, None]])

    assert np.isnan(np.loadtxt(StringIO(numbers), delimiter=",")).tolist() == [[True, False], [False, True]]
    for text in (numbers, with_texts):
        assert pd.read_csv(StringIO(text), header=None).isna().to_numpy().tolist() == [
            [True, False],
            [False, True],
        ]


def test_fields_stand_beside_the_columns_of_an_entire_body() -> None:
    contract = Contract(features="", style="columns", fields={"model": "m"})

    assert contract.body(COLUMNS, [[1, 2]]) == {"a": [1], "b": [2], "model": "m"}
    assert replace(contract, style="values").body(COLUMNS, [[1], [2]]) == [1, 2]


class Words:
    """An adapter."""

    def body(self, columns: list[str], rows: list[list[Any]]) -> Any:
        return {"words": [dict(zip(columns, row, strict=True)) for row in rows]}

    def read(self, response: Any) -> dict[str, Any]:
        return {"predictions": response["said"]}


def test_an_adapter_writes_requests_and_reads_responses() -> None:
    declared = check_declared({"adapter": f"{__name__}:Words"})
    contract = Contract(**declared)

    assert declared == {"adapter": f"{__name__}:Words"}
    assert contract.body(COLUMNS, [[1, 2]]) == {"words": [{"a": 1, "b": 2}]}
    assert contract.read(contract.adapted({"said": [3]}))["predictions"] == [3]
    assert not contract.by_name
    assert Contract().adapted({"said": [3]}) == {"said": [3]}


class NoRead:
    """A class that is not an adapter."""

    body = Words.body


class NotMade(Words):
    """An adapter that cannot be created."""

    def __init__(self) -> None:
        raise KeyError("token")


class Fails:
    """An adapter that fails, or returns something other than an object."""

    def body(self, _columns: list[str], _rows: list[list[Any]]) -> Any:
        raise ValueError("no such column")

    def read(self, response: Any) -> Any:
        return response["said"]


@pytest.mark.parametrize("named", ["missing_module:Words", f"{__name__}:Missing", "Words"])
def test_an_adapter_that_cannot_be_imported_is_refused(named: str) -> None:
    with pytest.raises(ContractError, match="invalid adapter = "):
        check_declared({"adapter": named})


@pytest.mark.parametrize(
    ("name", "why"), [("NoRead", "but it has no read"), ("NotMade", "KeyError: 'token'")]
)
def test_an_adapter_that_cannot_be_used_is_refused(name: str, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        check_declared({"adapter": f"{__name__}:{name}"})


def test_an_error_of_an_adapter_names_it() -> None:
    contract = Contract(adapter=f"{__name__}:Fails")

    with pytest.raises(AdapterError, match="Fails cannot write a request: ValueError: no such column"):
        contract.body(COLUMNS, [[1, 2]])
    with pytest.raises(AdapterError, match="Fails cannot read the response: KeyError: 'said'"):
        contract.adapted({})
    with pytest.raises(AdapterError, match="Fails returned list for a response, expected an object"):
        contract.adapted({"said": [1]})


@pytest.mark.parametrize(
    ("declared", "route"),
    [
        ({"route": "/m/{m}/v/{v}", "placeholders": {"m": "a b/c", "v": 2}}, "/m/a%20b%2Fc/v/2"),
        ({"route": "/m", "placeholders": {}}, "/m"),
    ],
)
def test_placeholders_become_parts_of_the_route(declared: dict[str, Any], route: str) -> None:
    assert check_declared(declared) == {"route": route}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"route": "/m/{m}"}, r'has a placeholder without a value: declare it as \[placeholders\] m = "…"'),
        ({"route": "/m", "placeholders": {"m": "a"}}, "has a value for the placeholder 'm', which its route"),
        ({"route": "/m/{m}", "placeholders": {"m": 1.5}}, "invalid placeholders = .* in the contract: "),
        ({"route": "/m/{m}", "placeholders": ["m"]}, "invalid placeholders = .* in the contract: "),
        ({"placeholders": {"m": "a"}}, "has a value for the placeholder 'm'"),
        ({"route": "/m/{n}", "placeholders": {"m": "a"}}, "which its route '/m/{n}' does not have"),
        ({"route": "/v/{m}"}, "the route '/v/{m}' in the contract has a placeholder without a value"),
        ({"placeholders": {"m": 1.5}}, "invalid placeholders = {'m': 1.5} in the contract: expected a table"),
    ],
)
def test_a_placeholder_needs_a_value_and_a_place(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_declared(declared)


def test_a_file_is_sent_in_a_form_beside_the_fields() -> None:
    contract = Contract(features="table", style="file", fields={"model": "churn", "limit": 0.5})

    sent = contract.request(["a", "b"], [[1.5, "x, y"], [None, True]])

    form = message_from_string(f"Content-Type: {contract.content_type}\r\n\r\n{sent}")
    file, *fields = (part for part in form.walk() if not part.is_multipart())
    assert file.get_param("name", header="content-disposition") == "table"
    assert file.get_filename() == "rows.csv"
    assert str(file.get_payload()).splitlines() == ['1.5,"x, y"', "nan,true"]
    assert [field.get_payload() for field in fields] == ["churn", "0.5"]


def test_each_row_can_be_in_an_item_of_its_own() -> None:
    contract = Contract(
        features="data.items.*.row", style="records", fields={"data.items.*.id": "a", "data.limit": 3}
    )

    assert contract.body(["x"], [[1], [2]]) == {
        "data": {"items": [{"row": {"x": 1}, "id": "a"}, {"row": {"x": 2}, "id": "a"}], "limit": 3}
    }
    assert contract.body(["x"], []) == {"data": {"items": [], "limit": 3}}


def test_zero_and_false_are_written_as_such() -> None:
    written = tomllib.loads(as_toml({"decimals": 0, "fields": {"a": [0, False, None]}}))

    assert written == {"decimals": 0, "fields": {"a": [0, False, ""]}}
