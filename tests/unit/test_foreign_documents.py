"""Documents that others wrote, with any value at any place: they are read, or refused with the place.

The values are made of the words that the readers look for (see `tests.support.any_json`).
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.any_json import MANY, VALUES, changed, outcome, places
from tier0.contract.answers import find_parts
from tier0.contract.contract import Contract, ContractError, check_declared
from tier0.contract.description import KEYWORDS, read_description
from tier0.contract.model_terms import in_model_terms, merged
from tier0.contract.response import is_refusal
from tier0.contract.service_schema import (
    describe,
    example_for,
    find_contract,
    path_prefixes,
    why_fields_are_open,
)
from tier0.core.declaration import Declaration, DeclarationError, read_declaration
from tier0.core.errors import RegistrationError
from tier0.core.fields import shown
from tier0.core.waivers import WaiverError, read_waivers
from tier0.golden.file import as_document
from tier0.golden.rows import GoldenRows, Origin, Simulation, Spread
from tier0.report.diff import DiffError, changes_between, read_facts

COLUMNS = ("a", "b")
MATRIX = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}, "maxItems": 8}
NUMBER = {"type": "number"}
TEXT = {"type": "string", "enum": ["x"], "default": "x"}
RECORD = {"type": "object", "properties": {"a": NUMBER, "b": TEXT}, "required": ["a", "b"]}
OUTPUT = {"type": "object", "properties": {"predictions": {"type": "array", "items": NUMBER}}}


def description(inputs: dict[str, Any], output: Any = OUTPUT) -> dict[str, Any]:
    body = {"type": "object", "properties": inputs, "required": list(inputs)}
    return {
        "name": "Service",
        "type": "service",
        "routes": [
            {"name": "explain", "route": "/explain", "input": {}, "output": {}},
            {"route": "/predict", "batchable": False, "input": body, "output": output},
        ],
        "paths": {"/predict": {"mounted": False}},
    }


DESCRIPTIONS = [
    description({"features": MATRIX, "columns": {"type": "array", "items": {"type": "string"}}}),
    description({"rows": {"type": "array", "items": RECORD}}, {"type": "array", "items": NUMBER}),
    description({"x": {"type": "tensor", "shape": [-1, 2], "dim": 2}}, {"type": "tensor"}),
    description({"df": {"type": "dataframe", "orient": "records", "columns": ["a", "b"]}}),
    description({"w": {"type": "object", "properties": {"rows": MATRIX, "v": {"const": 1}}}, "m": TEXT}),
    description({"a": NUMBER, "b": {"anyOf": [TEXT, {"type": "null"}], "examples": ["x"]}}, NUMBER),
    description({"data": {"type": "object", "additionalProperties": {"type": "array"}}}),
]
CHECKS = {
    "schema": 2,
    "verdict": "pass",
    "target": {"url": "http://x", "model": "m:1"},
    "checks": [{"id": "parity.golden_rows", "status": "pass"}],
    "model": {
        "algorithm": "linear",
        "dataset": "d",
        "threshold": 0.5,
        "metrics": {"auc": {"value": 0.9, "spread": 0.1}},
    },
    "latency": {"p50_ms": 1.0, "p95_ms": 2.0},
    "run": {"versions": {"numpy": "2"}},
}
STEPS = {
    "schema": 3,
    "verdict": "pass",
    "done": {
        "training": {"problems": [], "facts": {"metrics": {"auc": 0.9}, "spread": {"auc": 0.1}}},
        "deployment": {
            "problems": ["x"],
            "facts": {"served": {"model_tag": "m:1", "latency_ms": {"p50": 1}}, "versions": {"numpy": "2"}},
        },
    },
}
GOLDEN = [
    GoldenRows(
        ["a", "b"],
        [[1.0, 2.0], [3.0, 4.0]],
        [0, 1],
        [[0.75, 0.25], [0.1, 0.9]],
        [0, 1],
        origins=[Origin("example"), Origin("missing", "b")],
        categories={"b": ["x"]},
        seconds=0.5,
        tag="m:1",
        dtypes={"predictions": "float32"},
        spreads={"probabilities": Spread(0.5, 0.25)},
        distinguishes={"columns swapped": [1]},
        simulations=(Simulation("defaulted_column", "a", "column 'a' were 0", [0, 0], [[1, 0], [1, 0]]),),
    ),
    GoldenRows(["a", "b"], [[1.0, 2.0], [3.0, 4.0]], [0.5, 1.5], None, [], intervals=[[0, 1], [1, 2]]),
    GoldenRows(
        ["a"], [["x"], ["y"]], [["no", 1], ["yes", 2]], [[[0.5, 0.5]], [[1, 0]]], [["no", "yes"], [1]]
    ),
    GoldenRows(["a"], [["x"]], [{"label": "no"}], None, []),
]


def written(document: Any, path: Path) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


# --- descriptions ---


@MANY
@given(
    changed(DESCRIPTIONS) | VALUES,
    st.sampled_from([{}, {"route": "/predict"}, {"features": "rows"}, {"predictions": ""}, {"style": "row"}]),
    st.sampled_from([COLUMNS, ("a",), ()]),
)
def test_any_description_is_used_or_refused(document: Any, declared: Any, columns: tuple[str, ...]) -> None:
    described = outcome(lambda: describe(document, declared, columns), ContractError)

    assert isinstance(path_prefixes(document), list)
    if isinstance(described, ContractError):
        assert "Declare" in str(described)
        assert len(str(described)) < 10_000
        return
    if described is None:
        return
    body = outcome(lambda: described.contract.body(columns, [[1.0] * len(columns)]), ContractError)
    assert isinstance(body, ContractError) or json.dumps(body)
    assert isinstance(why_fields_are_open("/predict", described.required), str)
    json.dumps(example_for(described.required), allow_nan=False)


@MANY
@given(st.sampled_from(DESCRIPTIONS), st.data())
def test_what_a_service_adds_to_its_description_changes_nothing(document: Any, data: st.DataObject) -> None:
    changed_one = copy.deepcopy(document)
    parts = [path for path in places(document) if path and path[-1] == "more"]
    *place, _ = data.draw(st.sampled_from([path for path in parts if "properties" not in path[-2:]]))
    part = changed_one
    for name in place:
        part = part[name]
    part[data.draw(st.sampled_from(["title", "x-unit", "description", "$id"]))] = data.draw(
        VALUES.filter(lambda value: "\\ud800" not in json.dumps(value))
    )

    assert describe(changed_one, {}, COLUMNS) is not None
    assert read_description(changed_one).problems == ()
    before, after = (describe(one, {}, COLUMNS) for one in (document, changed_one))
    assert (before.contract, before.forms) == (after.contract, after.forms)  # type: ignore[union-attr]


BAD: list[Any] = [None, 5, "text", [], {}, True, 1.5, [5], ["\ud800"]]
WELL_FORMED: dict[str, list[Any]] = {  # null is as if the keyword was not there
    "type": ["text", [], None],
    "properties": [{}, None],
    "required": [[], True, None],
    "items": [{}, [], True, [5], ["\ud800"], None],
    "additionalProperties": [{}, True, None],
    "anyOf": [[], None],
    "enum": [[], [5], None],
    "examples": [None, 5, "text", [], {}, True, 1.5, [5]],
    "const": [None, 5, "text", [], {}, True, 1.5, [5]],
    "default": [None, 5, "text", [], {}, True, 1.5, [5]],
    "maxItems": [5, None],
    "shape": [[], [5], ["\ud800"], None],
    "dim": [5, None],
    "orient": ["text", None],
    "columns": [[], None],
    "format": ["text", None],
    "is_stream": [True, None],
}


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("place", ["input", "output"])
def test_a_malformed_keyword_is_reported_with_its_path(keyword: str, place: str) -> None:
    found = 0
    for value in BAD:
        document = copy.deepcopy(DESCRIPTIONS[0])
        inner = document["routes"][1][place]["properties"]
        name = next(iter(inner))
        inner[name] = {"type": "array", keyword: value}
        if any(type(value) is type(good) and value == good for good in WELL_FORMED[keyword]):
            assert read_description(document).routes[1].problems_of_input == ()
            continue
        found += 1
        with pytest.raises(ContractError, match=rf"routes\[1\]\.{place}\.properties\.{name}\.{keyword}"):
            describe(document, {}, COLUMNS)
        declared = {"route": "/predict", "features": "features", "style": "rows", "predictions": "p"}
        described = describe(document, declared, COLUMNS)
        assert described is not None, "a complete contract makes the description unnecessary"
        assert described.contract.predictions == "p"
    assert found


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "the document"),
        ("text", "the document"),
        (5, "the document"),
        ({}, "routes"),
        ({"routes": {}}, "routes"),
        ({"routes": [5]}, r"routes\[0\]"),
        ({"routes": [None]}, r"routes\[0\]"),
        ({"routes": [{"route": ["/predict"]}]}, r"routes\[0\]\.route"),
        ({"routes": [{"route": "/predict", "input": 5}]}, r"routes\[0\]\.input"),
        ({"routes": [{"route": "/predict", "input": {"properties": {"x": 5}}}]}, r"input\.properties\.x"),
        ({"routes": [{"route": "/predict", "batchable": "no"}]}, r"routes\[0\]\.batchable"),
        ({"routes": [], "paths": 5}, "paths"),
    ],
)
def test_a_malformed_document_is_reported_with_the_place(document: Any, place: str) -> None:
    with pytest.raises(ContractError, match=place):
        describe(document, {}, COLUMNS)
    with pytest.raises(ContractError, match=place):
        find_contract(document, {"health": "/healthz"})


def test_what_is_malformed_at_another_route_does_not_matter() -> None:
    document = copy.deepcopy(DESCRIPTIONS[0])
    document["routes"] += [5, {"route": "/other", "input": {"required": 5}}]

    assert describe(document, {}, COLUMNS) == describe(DESCRIPTIONS[0], {}, COLUMNS)


@pytest.mark.parametrize("types", [["array"], ["array", "null"], ["null", "array"]])
def test_a_list_of_types_is_read_as_its_only_type(types: list[str]) -> None:
    described = describe(description({"rows": {**MATRIX, "type": types}}), {}, COLUMNS)

    assert described is not None
    assert described.forms[0][:2] == ("rows", "rows")


def test_a_required_field_that_no_contract_can_name_is_not_sent_elsewhere() -> None:
    nested = description({"rows": MATRIX, "user.id": {"const": 7}})

    with pytest.raises(ContractError, match=r"requires the field 'user\.id'"):
        describe(nested, {}, COLUMNS)


@pytest.mark.parametrize("columns", [("sepal.length", "*"), ()])
def test_columns_may_have_names_that_cannot_be_paths(columns: tuple[str, ...]) -> None:
    described = describe(description({"sepal.length": NUMBER, "*": NUMBER}), {}, columns)

    assert described is not None
    assert described.contract.style == "record"
    if columns:
        assert described.contract.body(columns, [[1.0, 2.0]]) == {"sepal.length": 1.0, "*": 2.0}


# --- responses ---


@MANY
@given(
    st.sampled_from(GOLDEN),
    VALUES
    | changed(
        [{"predictions": [0, 1], "probabilities": [[0.75, 0.25], [0.1, 0.9]], "intervals": [[0, 1], [1, 2]]}]
    ),
    st.sampled_from(
        [
            {},
            {"max_rows": 1},
            {"predictions": "predictions.0"},
            {"probabilities": "", "probability_of": "1"},
            {"predictions": "*.label", "labels": {"0": "no", "1": True}, "decimals": 2, "scale": 100.0},
        ]
    ),
)
def test_any_response_is_read(golden: GoldenRows, answer: Any, declared: dict[str, Any]) -> None:
    if declared.get("probability_of") not in {None, *map(str, golden.classes)}:
        declared = {}
    contract = Contract(**{**dict.fromkeys(("predictions", "probabilities", "intervals")), **declared})
    answers = [answer] * (len(golden) if contract.one_row else 1)
    for one in answers:
        is_refusal(one, paths=("predictions",), labels=golden.classes)

    found = find_parts(answers, golden, contract, declared)
    read = contract.with_paths(found.paths)
    parts = in_model_terms(merged([read.read(one) for one in answers]), golden, read)
    mismatch = golden.compare({**parts, "classes": None}, tolerance=1e-6, parts=read.parts)
    assert mismatch is None or mismatch.describe()


# --- files of the user ---


@MANY
@given(changed([as_document(golden) for golden in GOLDEN]) | VALUES)
def test_any_golden_file_is_read_or_refused(tmp_path: Path, document: Any) -> None:
    path = written(document, tmp_path / "golden.json")
    golden = outcome(lambda: GoldenRows.read(path), RegistrationError)
    if isinstance(golden, RegistrationError):
        assert str(path) in str(golden)
        return
    golden.tolerances(same_arithmetic=False, same_batch=False, relative=0.0)
    answer = {"predictions": golden.predictions, "probabilities": golden.probabilities, "classes": None}
    assert golden.compare(answer, tolerance=1e-6, parts=("predictions",)) is None
    json.dumps(Contract().body(golden.columns, golden.examples.rows or golden.rows), allow_nan=False)


@MANY
@given(changed([CHECKS, STEPS]) | VALUES)
def test_any_report_is_compared_or_refused(tmp_path: Path, document: Any) -> None:
    path = written(document, tmp_path / "report.json")
    facts = outcome(lambda: read_facts(path), DiffError)
    if isinstance(facts, DiffError):
        assert str(path) in str(facts)
        return
    assert changes_between(facts, facts) == []
    other = read_facts(written(CHECKS if "steps" not in facts.kind else STEPS, path))
    if other.kind == facts.kind:
        changes = outcome(lambda: changes_between(facts, other), DiffError)
        assert isinstance(changes, DiffError) or all(map(str, changes))


CONTRACTS = [
    {"route": "/predict", "features": "x", "style": "rows", "predictions": "p", "max_rows": 5},
    {"fields": {"a": 1}, "names": {"a": "A"}, "labels": {"0": "no"}, "decimals": 2, "absolute": 0.5},
    {"probability_of": "1", "scale": 100, "ready": "/readyz", "columns": "", "health": "/health"},
]


@MANY
@given(changed(CONTRACTS))
def test_any_contract_is_read_or_refused_by_its_key(declared: dict[str, Any]) -> None:
    checked = outcome(lambda: check_declared(declared), ContractError)
    if isinstance(checked, ContractError):
        assert any(shown(name)[1:-1] in str(checked) for name in declared)
        return
    contract = Contract(**checked)
    contract.tolerance_of("predictions")
    body = outcome(lambda: contract.body(["a", "b"], [[1.0, 2.0]]), ContractError)
    assert "path" in str(body) if isinstance(body, ContractError) else json.dumps(body, allow_nan=False)


@pytest.mark.parametrize("name", ["absolute", "scale", "max_rows", "decimals"])
@pytest.mark.parametrize(
    "value",
    [pytest.param(10**400, id="huge"), pytest.param(16**5000, id="hex"), float("inf"), -1, True, [], "1"],
)
def test_a_number_that_no_check_can_use_is_refused(name: str, value: Any) -> None:
    if name == "max_rows" and type(value) is int and value > 0:
        assert Contract(**check_declared({name: value})).body(["a"], [[1.0]])
        return
    with pytest.raises(ContractError, match=name):
        check_declared({name: value})


DECLARATIONS = [
    {"attempts": 3, "timeout": 1.0, "timeout_is": "total", "budget": 0.2, "idempotent": True},
    {"options": {"a": 1}, "setup": {"/schema.json": {}}, "answer": {"predictions": [1]}, "data": {}},
]


@MANY
@given(changed(DECLARATIONS))
def test_any_declaration_is_read_or_refused_by_its_field(declared: dict[str, Any]) -> None:
    read = outcome(lambda: read_declaration(declared), DeclarationError)
    if isinstance(read, DeclarationError):
        assert any(shown(name)[1:-1] in str(read) for name in declared)
        return
    assert isinstance(read, Declaration)
    assert read.longest_call is None or read.longest_call < float("inf")
    json.dumps([read.answer, dict(read.setup)])


def as_toml(value: Any) -> str:
    """Return a value as TOML, which has no null."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, float):
        return str(value)
    return "1979-05-27T07:32:00" if value is None else json.dumps(value)


WAIVERS = [
    {
        "waive": [{"check": "contract.refuses_infinity", "reason": "r", "until": "D"}],
        "tolerate": [{"check": "parity.golden_rows", "reason": "r", "until": "D", "relative": 1e-9}],
    }
]


@MANY
@given(changed(WAIVERS))
def test_any_waiver_is_read_or_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "waivers.toml"
    lines = [f"{json.dumps(name)} = {as_toml(value)}" for name, value in document.items()]
    text = "\n".join(["schema = 1", *lines]).replace('"D"', "2099-03-31")
    path.write_text(text, encoding="utf-8")

    read = outcome(lambda: read_waivers(path), WaiverError)
    assert (
        str(path) in str(read)
        if isinstance(read, WaiverError)
        else all(waiver.check and str(waiver) for waiver in read)
    )
