"""Files of golden rows: writing, reading, reading of earlier schemas, and refusal of invalid files."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.core.errors import RegistrationError
from tier0.golden.file import as_document
from tier0.golden.rows import GoldenRows, Origin, Simulation, Spread
from tier0.golden.simulations import MAX_BYTES, MAX_COMPRESSED_BYTES, compressed
from tier0.golden.tolerance import Tolerance

SCHEMA_2 = """{"schema": 2, "columns": ["wage", "age"],
"rows": [[1.0, 30.0], [2.0, null], [null, 30.0], [null, null], [1.5, 30.0], [1.50000001, 30.0], [1.2, 31.0],
[1.3, 31.0]],
"predictions": ["no", "yes", "no", "no", "no", "yes", "no", "yes"],
"probabilities": [[0.7, 0.3], [0.1, 0.9], [0.8, 0.2], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.51, 0.49],
[0.49, 0.51]],
"classes": ["no", "yes"],
"origins": ["example", "age missing", "wage missing", "everything missing that may be",
"just below a boundary of wage", "just above a boundary of wage", "just before the decision changes",
"as written by hand: age missing"],
"categories": {"age": ["a", "b"]}, "seconds": 0.001, "tag": "churn:abc", "intervals": null}"""
"""A file in schema 2; its last origin is not one that this version wrote."""

FULL: dict[str, Any] = {
    "schema": 3,
    "columns": ["a", "b"],
    "rows": [[1.0, 2.0], [3.0, None]],
    "origins": [{"kind": "example", "column": None, "side": None}, {"kind": "missing", "column": "b"}],
    "outputs": {
        "predictions": {
            "values": [1.5, None],
            "dtype": "float32",
            "spread": {"absolute": 0.5, "relative": 0.25},
        },
        "probabilities": {"values": [[0.5, 0.5], [0.5, 0.5]]},
    },
    "classes": ["no", "yes"],
    "categories": {"b": ["x"]},
    "seconds": 0.5,
    "tag": "m:1",
    "distinguishes": {"columns swapped": [1]},
}
ZERO = Simulation(
    "defaulted_column", "a", "column 'a' were 0", [1.5, 7.0], [[0.5, 0.5], [0, 1]], is_distinguished=True
)
SWAPPED = Simulation("swapped_columns", None, "columns 'a' and 'b' were swapped", [1.5, None], None)


def packed(content: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(content).encode())).decode()


def read(tmp_path: Path, document: Any) -> GoldenRows:
    path = tmp_path / "golden.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return GoldenRows.read(path)


def test_a_file_of_schema_2_reads_as_before(tmp_path: Path) -> None:
    golden = read(tmp_path, SCHEMA_2)

    assert golden.predictions[:2] == ["no", "yes"]
    assert golden.probabilities is not None
    assert (golden.columns, golden.classes, golden.tag, golden.seconds) == (
        ["wage", "age"],
        ["no", "yes"],
        "churn:abc",
        0.001,
    )
    assert (golden.intervals, golden.categories, golden.dtypes, golden.spreads) == (
        None,
        {"age": ["a", "b"]},
        {},
        {},
    )
    assert golden.with_origin("missing", "age").rows == [[2.0, None]]
    assert golden.with_origin("missing", "wage").rows == [[None, 30.0]]
    assert len(golden.with_origin("missing")) == 3
    assert golden.with_origin("boundary", "wage").predictions == ["no", "yes"]
    assert golden.examples.rows == [[1.0, 30.0], [1.3, 31.0]], (
        "what was not recognized is asked like an example"
    )
    exact, alone = (
        golden.tolerance("probabilities", same_arithmetic=True, same_batch=same) for same in (True, False)
    )
    assert (exact, alone) == (Tolerance(1e-12), Tolerance(1e-12)), (
        "a row is in another batch than it was: nothing is to the bit"
    )


def test_a_file_of_schema_1_has_no_origins(tmp_path: Path) -> None:
    golden = read(
        tmp_path,
        {
            "schema": 1,
            "columns": ["x"],
            "rows": [[1.0]],
            "predictions": [2.0],
            "probabilities": None,
            "classes": [],
        },
    )

    assert (golden.examples.rows, golden.origins) == ([[1.0]], [])


def test_all_fields_of_schema_3_are_read(tmp_path: Path) -> None:
    golden = read(tmp_path, FULL)

    assert golden.predictions == [1.5, None]
    assert golden.origins == [Origin("example"), Origin("missing", "b")]
    assert (golden.dtypes, golden.spreads) == ({"predictions": "float32"}, {"predictions": Spread(0.5, 0.25)})
    assert golden.distinguishes == {"columns swapped": [1]}
    assert golden.take([1, 1, 0]).distinguishes == {"columns swapped": [0, 1]}


def with_field(path: str, value: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(FULL))
    *places, last = path.split(".")
    place = document
    for name in places:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place[int(last) if isinstance(place, list) else last] = value
    return document  # type: ignore[no-any-return]


def with_simulations(outputs: str, **counts: Any) -> dict[str, Any]:
    return {**FULL, "simulations": {"of": 1, "distinguished": 0, **counts, "outputs": outputs}}


def test_simulated_defects_are_read(tmp_path: Path) -> None:
    written = with_simulations(compressed([ZERO, SWAPPED]), of=2, distinguished=1)

    golden = read(tmp_path, written)

    assert golden.simulations == (ZERO, SWAPPED)
    assert as_document(golden)["simulations"] == written["simulations"]
    assert golden.take([1]).simulations[0].predictions == [7.0]
    assert golden.take([1]).simulations[0].probabilities == [[0, 1]]
    assert golden.with_outputs({"predictions": [0.0, 0.0]}).simulations == ()
    assert read(tmp_path, FULL).simulations == ()
    assert "simulations" not in as_document(read(tmp_path, FULL))


GOOD = {"kind": "new_kind", "column": None, "sentence": "x", "predictions": [1, 2], "is_distinguished": False}


@pytest.mark.parametrize(
    ("outputs", "named"),
    [
        pytest.param("A" * (MAX_COMPRESSED_BYTES + 4), ".outputs", id="too large"),
        pytest.param(base64.b64encode(zlib.compress(b" " * (MAX_BYTES + 1))).decode(), ".outputs", id="bomb"),
        pytest.param(packed([GOOD])[:-8], ".outputs", id="cut off"),
        ("not base64!", ".outputs"),
        ("é", ".outputs"),
        (base64.b64encode(b"not compressed").decode(), ".outputs"),
        (base64.b64encode(zlib.compress(b"\xff")).decode(), ".outputs"),
        (base64.b64encode(zlib.compress(b"[NaN]")).decode(), ".outputs"),
        (base64.b64encode(zlib.compress(b"[" * 100_000)).decode(), ".outputs"),
        (packed({}), ".outputs"),
        (packed([[]]), ".outputs[0]"),
        (packed([{**GOOD, "kind": None}]), ".outputs[0].kind"),
        (packed([{**GOOD, "column": 1}]), ".outputs[0].column"),
        (packed([{**GOOD, "sentence": []}]), ".outputs[0].sentence"),
        (packed([{**GOOD, "is_distinguished": 1}]), ".outputs[0].is_distinguished"),
        (packed([{**GOOD, "predictions": None}]), ".outputs[0].predictions"),
        (packed([{**GOOD, "predictions": [1]}]), ".outputs[0].predictions"),
        (packed([{**GOOD, "predictions": [1, 10**400]}]), ".outputs[0].predictions[1]"),
        (packed([{**GOOD, "probabilities": [[1.0]]}]), ".outputs[0].probabilities"),
        (packed([{**GOOD, "probabilities": ["a", "b"]}]), ".outputs[0].probabilities[0]"),
        (packed([GOOD, GOOD]), ".of"),
        (packed([{**GOOD, "is_distinguished": True}]), ".distinguished"),
    ],
)
def test_simulated_defects_that_cannot_be_used_are_named(tmp_path: Path, outputs: str, named: str) -> None:
    with pytest.raises(RegistrationError, match=r"invalid golden rows in .*golden\.json") as refusal:
        read(tmp_path, with_simulations(outputs))

    message = str(refusal.value)
    assert f": simulations{named} must be " in message
    assert len(message) < 600


def test_a_simulated_defect_of_a_later_version_is_read(tmp_path: Path) -> None:
    golden = read(tmp_path, with_simulations(packed([{**GOOD, "seen_by": [1]}])))

    assert golden.simulations == (Simulation("new_kind", None, "x", [1, 2]),)


def assert_names(named: str, document: Any, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    with pytest.raises(RegistrationError) as refusal:
        read(tmp_path, document)

    message = str(refusal.value).replace(str(tmp_path), "")
    assert message.startswith(f"invalid golden rows in /golden.json: {named} ")
    assert message == snapshot


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("schema", 4, "schema"),
        ("schema", True, "schema"),
        ("schema", [], "schema"),
        ("origin", [], "'origin'"),
        ("columns", "ab", "columns"),
        ("columns", ["a", 1], "columns[1]"),
        ("columns", ["a", "a"], "columns"),
        ("rows", "ab", "rows"),
        ("rows", ["ab", "cd"], "rows[0]"),
        ("rows", [[1.0, 2.0], [1.0]], "rows[1]"),
        ("rows", [], "outputs.predictions.values"),
        ("outputs", [], "outputs"),
        ("outputs", {}, "outputs.predictions"),
        ("outputs.quantiles", {"values": [1, 2]}, "outputs.quantiles"),
        ("outputs.predictions", [1.0, 2.0], "outputs.predictions"),
        ("outputs.predictions.values", "ab", "outputs.predictions.values"),
        ("outputs.predictions.values", [1], "outputs.predictions.values"),
        ("outputs.predictions.dtype", 3, "outputs.predictions.dtype"),
        ("outputs.predictions.spread", 0.1, "outputs.predictions.spread"),
        ("outputs.predictions.spread", {"absolute": 1.0}, "outputs.predictions.spread.relative"),
        ("outputs.predictions.spread.absolute", -1.0, "outputs.predictions.spread.absolute"),
        ("outputs.probabilities.values", ["ab", "cd"], "outputs.probabilities.values[0]"),
        ("outputs.predictions.values", {"0": 1, "1": 2}, "outputs.predictions.values"),
        ("origins", "ab", "origins"),
        ("origins", ["example", "b missing"], "origins[0]"),
        ("origins", [{"kind": "example"}], "origins"),
        ("origins.0", {"column": "a"}, "origins[0].kind"),
        ("origins.0.kind", ["missing"], "origins[0].kind"),
        ("origins.1.column", 1, "origins[1].column"),
        ("classes", "ny", "classes"),
        ("categories", ["b"], "categories"),
        ("categories", {"b": "x"}, "categories['b']"),
        ("categories", {"c": ["x"]}, "categories"),
        ("seconds", "fast", "seconds"),
        pytest.param("seconds", 10**400, "seconds", id="seconds-huge"),
        ("tag", 7, "tag"),
        ("distinguishes", [1], "distinguishes"),
        ("distinguishes", {"x": [2]}, "distinguishes['x'][0]"),
        ("distinguishes", {"x": [True]}, "distinguishes['x'][0]"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(
    tmp_path: Path, path: str, value: Any, named: str, snapshot: SnapshotAssertion
) -> None:
    assert_names(named, with_field(path, value), tmp_path, snapshot)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("predictions", "nynyynyy", "outputs.predictions.values"),
        ("origins", "examples", "origins"),
        ("origins", [1] * 8, "origins[0]"),
        ("probabilities", [0.5] * 8, "outputs.probabilities.values[0]"),
        ("predictions", None, "outputs.predictions"),
        ("columns", None, "columns"),
        ("weights", [], "'weights'"),
    ],
)
def test_a_field_of_schema_2_that_cannot_be_used_is_named(
    tmp_path: Path, field: str, value: Any, named: str, snapshot: SnapshotAssertion
) -> None:
    assert_names(named, {**json.loads(SCHEMA_2), field: value}, tmp_path, snapshot)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "null",
        "\x00",
        '{"schema": 2}',
        '{"schema": 3}',
        "[" * 100_000,
        '{"schema": 3, "seconds": NaN}',
    ],
)
def test_what_is_not_a_document_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(RegistrationError, match=r"invalid golden rows in .*golden\.json"):
        read(tmp_path, content)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_no_service_can_return_are_refused(tmp_path: Path, number: str) -> None:
    with pytest.raises(RegistrationError, match="not JSON compliant"):
        read(tmp_path, json.dumps(FULL).replace("1.5", number))


def test_how_to_make_an_absent_file_is_printed(tmp_path: Path) -> None:
    with pytest.raises(RegistrationError, match=r"tier0 golden or tier0\.golden_rows") as refusal:
        GoldenRows.read(tmp_path / "absent.json")
    assert isinstance(refusal.value.__cause__, FileNotFoundError)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | FLOATS | st.text(max_size=5)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
NUMBERS = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | FLOATS
BOUNDS: st.SearchStrategy[Any] = NUMBERS
NESTED_NUMBERS = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
NAMES = st.sampled_from(
    [
        "missing",
        "decision",
        "never seen",
        "boundary",
        "just below a boundary of",
        "wage",
        "age",
        "total_calls",
        "calls",
        "",
    ]
)
AMOUNTS = st.floats(0, 1e300)


@st.composite
def golden(draw: st.DrawFn) -> GoldenRows:
    columns, count = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)), draw(st.integers(1, 5))
    each: dict[str, Any] = {"min_size": count, "max_size": count}
    predictions, classes = draw(st.lists(NESTED, **each)), draw(st.lists(LEAVES, max_size=3))
    is_single = bool(classes) and not any(isinstance(prediction, list) for prediction in predictions)
    per_row: st.SearchStrategy[list[Any]] = (
        st.lists(NUMBERS, min_size=len(classes), max_size=len(classes))
        if is_single
        else st.lists(NESTED_NUMBERS, max_size=2)
    )
    rows = GoldenRows(
        columns,
        draw(st.lists(st.lists(LEAVES, min_size=len(columns), max_size=len(columns)), **each)),
        predictions,
        draw(st.none() | st.lists(per_row, **each)),
        classes,
        origins=draw(
            st.just([]) | st.lists(st.builds(Origin, NAMES, st.none() | NAMES, st.none() | NAMES), **each)
        ),
        categories=draw(st.dictionaries(st.sampled_from(columns), st.lists(st.text(max_size=4), max_size=3))),
        seconds=draw(st.none() | AMOUNTS),
        tag=draw(st.none() | st.text(max_size=5)),
        intervals=draw(st.none() | st.lists(st.lists(BOUNDS, min_size=2, max_size=2), **each)),
        distinguishes=draw(
            st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, count - 1)), max_size=2)
        ),
        simulations=tuple(
            draw(
                st.lists(
                    st.builds(
                        Simulation,
                        st.text(max_size=5),
                        st.none() | NAMES,
                        st.text(max_size=5),
                        st.lists(NESTED, **each),
                        st.none() | st.lists(per_row, **each),
                        st.booleans(),
                    ),
                    max_size=2,
                )
            )
        ),
    )
    given_parts = [
        part for part in ("predictions", "probabilities", "intervals") if getattr(rows, part) is not None
    ]
    parts = st.sampled_from(given_parts)
    rows.dtypes.update(draw(st.dictionaries(parts, st.sampled_from(["float32", "object", "str96"]))))
    rows.spreads.update(draw(st.dictionaries(parts, st.builds(Spread, AMOUNTS, AMOUNTS))))
    return rows


def as_text(rows: GoldenRows) -> str:
    return json.dumps(as_document(rows), sort_keys=True)


@given(golden())
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, rows: GoldenRows) -> None:
    path = tmp_path_factory.getbasetemp() / "golden_file.json"

    rows.write(path)

    read_back = GoldenRows.read(path)
    assert read_back == rows
    assert as_text(read_back) == as_text(rows), "to the type: 1, 1.0 and True are equal"
