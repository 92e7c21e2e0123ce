from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tier0.checks.serving.contract import _is_distribution
from tier0.checks.serving.harness.sender import Sender
from tier0.checks.serving.harness.target import Target
from tier0.checks.serving.identity import expected_model
from tier0.contract.answers import FoundParts, find_parts
from tier0.contract.contract import PREDICTED, Contract
from tier0.contract.meanings import adds_up, is_rounded
from tier0.contract.model_terms import as_served, in_model_terms, merged
from tier0.contract.response import MAX_PATHS, columns_in, is_refusal
from tier0.core.verdict import CheckFailedError
from tier0.golden.rows import GoldenRows

P = [[0.7, 0.2, 0.1], [0.15, 0.8, 0.05], [0.1, 0.25, 0.65], [0.55, 0.3, 0.15], [0.12, 0.5, 0.38]]
LABELS = [0, 1, 2, 0, 1]
NAMES = ["setosa", "versicolor", "virginica"]
FLOWERS = GoldenRows(["a", "b"], [[float(index), 1.0] for index in range(5)], LABELS, P, [0, 1, 2])
Q = [[0.7123, 0.2877], [0.1544, 0.8456], [0.0911, 0.9089], [0.5512, 0.4488]]
YES = GoldenRows(["a"], [[1.0], [2.0], [3.0], [4.0]], ["no", "yes", "yes", "no"], Q, ["no", "yes"])
PRICES = GoldenRows(
    ["a"],
    [[1.0], [2.0], [3.0]],
    [10.123, 20.456, 30.789],
    None,
    [],
    intervals=[[9.0, 11.0], [19.5, 21.5], [29.0, 33.0]],
)
TWO = GoldenRows(["a"], [[9.0], [8.0], [7.0], [6.0]], [0, 0, 1, 1], None, [0, 1])
OPEN = Contract(predictions=None, probabilities=None, intervals=None, model_tag=None)


def look(
    answer: Any, golden: GoldenRows, contract: Contract = OPEN, **declared: Any
) -> tuple[FoundParts, dict[str, Any]]:
    """Return what is found in a response to golden rows, and its parts in the model's terms."""
    answers = answer if contract.one_row else [answer]
    found = find_parts(answers, golden, contract, declared)
    read = contract.with_paths(found.paths)
    return found, in_model_terms(merged([read.read(one) for one in answers]), golden, read)


def is_same(answer: Any, golden: GoldenRows, contract: Contract = OPEN, **declared: Any) -> bool:
    """Return True if a response is compared in every part that it has, and is what the model gave."""
    found, parts = look(answer, golden, contract, **declared)
    compared = tuple(part for part, path in found.paths.items() if path is not None)
    return (
        bool(compared)
        and not found.undeclared
        and golden.compare({**parts, "classes": None}, parts=compared) is None
    )


def keyed(rows: list[list[float]], names: list[Any]) -> list[dict[str, float]]:
    return [dict(zip(map(str, names), row, strict=True)) for row in rows]


STRUCTURES: dict[str, tuple[Any, GoldenRows]] = {
    "a bare list": (LABELS, FLOWERS),
    "a column": ([[label] for label in LABELS], FLOWERS),
    "by name": ({"predictions": LABELS, "model": "v1", "rows": 5}, FLOWERS),
    "under another name": ({"result": LABELS, "latency_ms": 2.5}, FLOWERS),
    "under no known name": ({"flower": LABELS, "took": [1, 2]}, FLOWERS),
    "in an envelope": (
        {"status": "ok", "data": [{"label": label, "id": index} for index, label in enumerate(LABELS)]},
        FLOWERS,
    ),
    "by row number": ({"prediction": {str(index): label for index, label in enumerate(LABELS)}}, FLOWERS),
    "with a matrix": ({"predictions": LABELS, "probabilities": P}, FLOWERS),
    "a bare matrix": (P, FLOWERS),
    "keyed by class": (
        [
            {"label": label, "probabilities": row}
            for label, row in zip(LABELS, keyed(P, [0, 1, 2]), strict=True)
        ],
        FLOWERS,
    ),
    "keyed by class, backwards": (
        {"label": LABELS, "scores": [dict(reversed(row.items())) for row in keyed(P, [0, 1, 2])]},
        FLOWERS,
    ),
    "one list a class": (
        {"labels": LABELS, "proba": {str(label): [row[label] for row in P] for label in (0, 1, 2)}},
        FLOWERS,
    ),
    "ranked": (
        [
            [
                {"label": label, "score": row[label]}
                for label in sorted(range(3), key=lambda label: -row[label])
            ]
            for row in P
        ],
        FLOWERS,
    ),
    "labels as text": ([str(label) for label in LABELS], FLOWERS),
    "label and matrix": ([[label, row] for label, row in zip(YES.predictions, Q, strict=True)], YES),
    "prices": ({"price": PRICES.predictions, "currency": "EUR"}, PRICES),
    "prices as text": ([str(price) for price in PRICES.predictions], PRICES),
    "by row number, with sorted keys": (
        {"predictions": dict(sorted((str(index), label) for index, label in enumerate(LABELS * 3)))},
        GoldenRows(["a"], [[float(index)] for index in range(15)], LABELS * 3, None, [0, 1, 2]),
    ),
    "with as many other numbers as classes": (
        [{"prediction": label, "shap": [0.5, -2.0]} for label in YES.predictions],
        YES,
    ),
    "scores of a regression": ({"scores": PRICES.predictions}, PRICES),
    "NaN for no number": (
        {"predictions": [float("nan"), 2.5]},
        GoldenRows(["a"], [[1.0], [2.0]], [None, 2.5], None, []),
    ),
    "NaN as text for no number": (
        {"predictions": ["NaN", 2.5]},
        GoldenRows(["a"], [[1.0], [2.0]], [None, 2.5], None, []),
    ),
    "bounds in two lists": (
        {"prediction": PRICES.predictions, "lower": [9.0, 19.5, 29.0], "upper": [11.0, 21.5, 33.0]},
        PRICES,
    ),
    "bounds in pairs": ({"prediction": PRICES.predictions, "interval": PRICES.intervals}, PRICES),
    "bounds in objects": (
        [
            {"value": value, "interval": {"lower": low, "upper": high}}
            for value, (low, high) in zip(PRICES.predictions, PRICES.intervals or [], strict=True)
        ],
        PRICES,
    ),
}


@pytest.mark.parametrize("form", STRUCTURES)
def test_structure_is_found(form: str) -> None:
    answer, golden = STRUCTURES[form]

    assert is_same(answer, golden)


ONE_ROW: dict[str, tuple[Callable[[int], Any], GoldenRows]] = {
    "a number": (lambda row: LABELS[row], FLOWERS),
    "a list of one": (lambda row: [LABELS[row]], FLOWERS),
    "an object": (lambda row: {"prediction": LABELS[row], "ms": 1.5}, FLOWERS),
    "an object with a list of one": (lambda row: {"prediction": [LABELS[row]]}, FLOWERS),
    "nested": (lambda row: {"result": {"class_id": LABELS[row], "probabilities": P[row]}}, FLOWERS),
    "a matrix of one": (lambda row: {"label": [LABELS[row]], "probabilities": [P[row]]}, FLOWERS),
    "a list with an object": (
        lambda row: [{"label": LABELS[row], "score": keyed(P, [0, 1, 2])[row]}],
        FLOWERS,
    ),
    "keyed": (lambda row: keyed(P, [0, 1, 2])[row], FLOWERS),
    "text": (lambda row: YES.predictions[row], YES),
    "a price": (lambda row: {"price": PRICES.predictions[row], "latency_ms": 3.0 + row}, PRICES),
    "a price as text": (lambda row: str(PRICES.predictions[row]), PRICES),
    "bounds": (
        lambda row: {
            "prediction": PRICES.predictions[row],
            "lower": [9.0, 19.5, 29.0][row],
            "upper": [11.0, 21.5, 33.0][row],
        },
        PRICES,
    ),
}


@pytest.mark.parametrize("form", ONE_ROW)
def test_structure_is_found_where_a_request_takes_one_row(form: str) -> None:
    answer, golden = ONE_ROW[form]

    assert is_same(
        [answer(row) for row in range(len(golden))], golden, Contract(**{**vars(OPEN), "style": "record"})
    )


MEANINGS: dict[str, tuple[Any, GoldenRows, dict[str, Any]]] = {
    "label names": (
        [NAMES[label] for label in LABELS],
        FLOWERS,
        {"labels": dict(zip("012", NAMES, strict=True))},
    ),
    "numbers for labels": ({"prediction": [10, 20, 20, 10]}, YES, {"labels": {"no": 10, "yes": 20}}),
    "numbers for the texts of them": (
        {"prediction": [2, 1]},
        GoldenRows(["a"], [[1.0], [2.0]], ["2", "1"], None, ["1", "2"]),
        {"labels": {"1": 1, "2": 2}},
    ),
    "beside a class of something else": (
        [{"class": 1 + row % 3, "survived": label} for row, label in enumerate([0, 0, 1, 1])],
        TWO,
        {"predictions": "*.survived"},
    ),
    "numbers beside labels of rows": (
        [{"label": index, "price": price, "rank": -price} for index, price in enumerate(PRICES.predictions)],
        PRICES,
        {"predictions": "*.price"},
    ),
    "beside a prediction that was sent": (
        {"inputs": [{"prediction": row[0]} for row in FLOWERS.rows], "outcome": LABELS},
        replace(FLOWERS, columns=["prediction", "b"]),
        {"predictions": "outcome"},
    ),
    "beside a value that was sent": (
        [
            {"value": row[0], "price": price + 0.0}
            for row, price in zip(PRICES.rows, PRICES.predictions, strict=True)
        ],
        PRICES,
        {"predictions": "*.price"},
    ),
    "true and false": ({"churn": [False, True, True, False]}, YES, {"labels": {"no": False, "yes": True}}),
    "names as keys": (
        [dict(zip(NAMES, row, strict=True)) for row in P],
        FLOWERS,
        {"labels": dict(zip("012", NAMES, strict=True))},
    ),
    "one class": ({"label": YES.predictions, "score": [row[1] for row in Q]}, YES, {"probability_of": "yes"}),
    "the other class": (
        {"label": YES.predictions, "score": [row[0] for row in Q]},
        YES,
        {"probability_of": "no"},
    ),
    "the predicted class": (
        {"label": YES.predictions, "confidence": [max(row) for row in Q]},
        YES,
        {"probability_of": PREDICTED},
    ),
    "label and probability": (
        [[label, row[1]] for label, row in zip(YES.predictions, Q, strict=True)],
        YES,
        {"probability_of": "yes"},
    ),
    "a bare probability": ({"probability": [row[1] for row in Q]}, YES, {"probability_of": "yes"}),
    "percentages": (
        {"label": YES.predictions, "probabilities": [[100 * value for value in row] for row in Q]},
        YES,
        {"scale": 100.0},
    ),
    "rounded percentages": (
        {"label": YES.predictions, "score": [round(100 * row[1], 1) for row in Q]},
        YES,
        {"scale": 100.0, "decimals": 1},
    ),
    "rounded": (
        {"predictions": LABELS, "probabilities": [[round(value, 1) for value in row] for row in P]},
        FLOWERS,
        {"decimals": 1},
    ),
    "rounded, one class": (
        {"label": YES.predictions, "probability": [round(row[1], 2) for row in Q]},
        YES,
        {"probability_of": "yes", "decimals": 2},
    ),
    "rounded prices": ({"price": [round(price, 1) for price in PRICES.predictions]}, PRICES, {"decimals": 1}),
    "prices as rounded text": ([f"{price:.2f}" for price in PRICES.predictions], PRICES, {"decimals": 2}),
}


@pytest.mark.parametrize("form", MEANINGS)
def test_meaning_is_proposed_and_judged_once_it_is_declared(form: str) -> None:
    answer, golden, expected = MEANINGS[form]
    found, _ = look(answer, golden)

    assert found.undeclared
    declare: dict[str, Any] = {}
    for undeclared in found.undeclared:
        declare |= undeclared.declare
    assert expected.items() <= declare.items()
    contract = Contract(**{**vars(OPEN), **declare})
    again, parts = look(answer, golden, contract, **declare)
    assert not again.undeclared
    compared = tuple(part for part, path in again.paths.items() if path is not None)
    wanted = as_served(golden, contract)
    for part in compared:
        tolerance = contract.tolerance_of(part)
        for before, after in zip(getattr(wanted, part), parts[part], strict=True):
            assert before == after or before == pytest.approx(after, rel=1e-9, abs=tolerance + 1e-12)


swap = {0: 1, 1: 0, 2: 2}
MUTANTS: dict[str, tuple[Any, GoldenRows]] = {
    "labels swapped": ([swap[label] for label in LABELS], FLOWERS),
    "labels swapped, as text": ([str(swap[label]) for label in LABELS], FLOWERS),
    "text labels swapped": ([{"no": "yes", "yes": "no"}[label] for label in YES.predictions], YES),
    "two labels get one name": (["a", "b", "b", "a", "b"], FLOWERS),
    "names of another row": ([NAMES[label] for label in LABELS[1:] + LABELS[:1]], FLOWERS),
    "labels shifted by one": ([label + 1 for label in LABELS], FLOWERS),
    "classes in another order": ({"predictions": LABELS, "probabilities": [row[::-1] for row in P]}, FLOWERS),
    "keys shifted": ({"label": LABELS, "probabilities": keyed(P, [1, 2, 0])}, FLOWERS),
    "the right one under another name": ({"prediction": [2, 2, 2, 2, 2], "raw": LABELS}, FLOWERS),
    "hard labels for probabilities": (
        {"predictions": LABELS, "probabilities": [[float(round(value)) for value in row] for row in P]},
        FLOWERS,
    ),
    "a column of another row": ([[label] for label in LABELS[::-1]], FLOWERS),
    "the largest in place of all": (
        {"predictions": YES.predictions, "probabilities": [max(row) for row in Q]},
        YES,
    ),
    "a booster": ([row[1] for row in Q], YES),
    "rounding that flips a decision": (
        {"predictions": [0, 1, 2, 1, 1], "probabilities": [[round(value, 1) for value in row] for row in P]},
        FLOWERS,
    ),
    "truncated": ({"predictions": [float(int(price)) for price in PRICES.predictions]}, PRICES),
    "as float32": ({"predictions": [10.12300014495849, 20.45599937438965, 30.788999557495117]}, PRICES),
    "bounds swapped": (
        {"prediction": PRICES.predictions, "interval": [[high, low] for low, high in PRICES.intervals or []]},
        PRICES,
    ),
    "a row lost": ({"predictions": LABELS[:-1]}, FLOWERS),
    "a constant": ({"predictions": [1] * 5}, FLOWERS),
    "an empty list": ({"predictions": []}, FLOWERS),
    "a row lost beside all probabilities": ({"predictions": LABELS[:-1], "probabilities": P}, FLOWERS),
    "numbers for the texts of others": (
        {"prediction": [1, 2]},
        GoldenRows(["a"], [[1.0], [2.0]], ["2", "1"], None, ["1", "2"]),
    ),
    "whole numbers beyond all floats": ({"predictions": [float("inf")] * 3}, PRICES),
}


@pytest.mark.parametrize("form", MUTANTS)
def test_a_defect_is_compared_and_differs(form: str) -> None:
    answer, golden = MUTANTS[form]
    found, parts = look(answer, golden)

    compared = tuple(
        part
        for part, path in found.paths.items()
        if path is not None and part not in {one.part for one in found.undeclared}
    )
    assert golden.compare({**parts, "classes": None}, parts=compared) is not None


@pytest.mark.parametrize(("exchanged", "expected"), [(("no", "yes"), True), (("yes", "no"), False)])
def test_a_label_beside_a_field_for_each_class_is_compared(
    exchanged: tuple[str, str], *, expected: bool
) -> None:
    rows = [
        {"label": label, "model": "v1", **dict(zip(exchanged, row, strict=True))}
        for label, row in zip(YES.predictions, Q, strict=True)
    ]
    found, _ = look(rows, YES)

    assert found.paths["predictions"] == "*.label"
    assert found.paths["probabilities"] == ""
    assert is_same(rows, YES) == expected


def test_fields_that_are_only_called_like_classes_are_no_probabilities() -> None:
    rows = [{"label": label, "no": 3, "yes": 5} for label in YES.predictions]

    assert look(rows, YES)[0].paths["probabilities"] is None


FROM_ONE = replace(FLOWERS, predictions=[label + 1 for label in LABELS], classes=[1, 2, 3])


def test_positions_in_place_of_labels_are_asked_about() -> None:
    found, _ = look({"predictions": LABELS}, FROM_ONE)

    (undeclared,) = found.undeclared
    assert undeclared.declare == {"labels": {"1": 0, "2": 1, "3": 2}}
    assert not undeclared.is_certain


@pytest.mark.parametrize(
    ("served", "expected"), [(LABELS, True), ([2, 1, 0, 2, 1], False), ([0, 2, 1, 0, 2], False)]
)
def test_declared_positions_are_compared(served: list[int], *, expected: bool) -> None:
    contract = replace(OPEN, labels={"1": 0, "2": 1, "3": 2})

    assert is_same({"predictions": served}, FROM_ONE, contract, labels=contract.labels) == expected


@pytest.mark.parametrize(
    ("golden", "served"),
    [(FROM_ONE, [0, 2, 1, 0, 2]), (FROM_ONE, [3, 2, 1, 3, 2]), (FLOWERS, [1, 2, 3, 1, 2])],
)
def test_other_numbers_than_positions_are_a_difference(golden: GoldenRows, served: list[int]) -> None:
    found, parts = look({"predictions": served}, golden)

    assert not found.undeclared
    assert golden.compare({**parts, "classes": None}, parts=("predictions",)) is not None


def test_declared_names_beside_the_labels_themselves_are_a_difference() -> None:
    contract = Contract(**{**vars(OPEN), "predictions": "p", "labels": {"no": "A", "yes": "B"}})

    for answer, is_equal in (
        (["A", "B", "B", "A"], True),
        (["no", "yes", "yes", "no"], True),
        (["A", "yes", "B", "A"], False),
    ):
        _, parts = look({"p": answer}, YES, contract, predictions="p", labels=contract.labels)
        assert (YES.compare({**parts, "classes": None}, parts=("predictions",)) is None) is is_equal


def test_what_has_more_decimals_than_declared_is_not_rounded() -> None:
    two = Contract(decimals=2)

    assert is_rounded([[0.81, 0.19], [0.8100000023841858, 12345.67]], "probabilities", two)
    assert is_rounded([0.8123, None, "a"], "probabilities", Contract(decimals=2, scale=100.0))
    assert is_rounded([0.8123456], "probabilities", Contract())
    assert not is_rounded([[0.81, 0.19], [0.814, 0.186]], "probabilities", two)


UNREAD: dict[str, tuple[Any, GoldenRows]] = {
    "no predictions": ({"predictions": None, "probabilities": P}, FLOWERS),
    "one hot predictions": ({"predictions": [[1, 0], [0, 1], [0, 1], [0, 1]], "probabilities": Q}, YES),
    "transposed": (
        {"predictions": LABELS, "probabilities": [list(column) for column in zip(*P, strict=True)]},
        FLOWERS,
    ),
    "flattened": ({"predictions": LABELS, "probabilities": [value for row in P for value in row]}, FLOWERS),
    "probabilities of a row lost": ({"predictions": LABELS, "probabilities": P[:-1]}, FLOWERS),
    "probabilities of one row only": (
        [{"label": label} | ({"probabilities": P[0]} if not row else {}) for row, label in enumerate(LABELS)],
        FLOWERS,
    ),
    "logits": ({"predictions": YES.predictions, "scores": [[-1.5, 1.5]] * 4}, YES),
    "logits by name": (
        [{"label": label, "scores": {"no": -0.5, "yes": 2.5}} for label in YES.predictions],
        YES,
    ),
}


@pytest.mark.parametrize("form", UNREAD)
def test_what_is_called_a_part_and_cannot_be_read_as_one_is_told(form: str) -> None:
    answer, golden = UNREAD[form]

    assert look(answer, golden)[0].undeclared


def test_the_names_of_the_classes_are_not_predictions() -> None:
    assert is_same({"labels": ["no", "yes"], "probabilities": Q}, YES)


def test_a_probability_of_another_class_is_not_the_declared_one() -> None:
    answer = {"label": YES.predictions, "score": [row[0] for row in Q]}
    declared = {"predictions": "label", "probabilities": "score", "probability_of": "yes"}
    contract = Contract(**{**vars(OPEN), **declared})
    found, parts = look(answer, YES, contract, **declared)

    assert not found.undeclared
    assert as_served(YES, contract).compare({**parts, "classes": None}, parts=("probabilities",)) is not None


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        ({"error": "wrong input"}, True),
        ({"detail": [{"msg": "field required"}]}, True),
        ({"status": "error", "message": "x"}, True),
        ({"success": False}, True),
        ({"prediction": 1, "error": None}, False),
        ({"prediction": 1, "error": "none"}, False),
        ({"value": 3.5, "error": 0.25}, False),
        ({"status": "ok"}, False),
        ({"value": [3.5, 4.5], "errors": [0.25, 0.5]}, False),
        ({"result": [3.5], "detail": "a linear model"}, False),
        ({"errors": [None, None], "data": {"value": 1}}, False),
        ({"error": "none", "data": {"value": 1}}, False),
        ({"detail": {"model": "v1"}, "data": {"label": [1]}}, False),
        ({"errors": [None, "too large"]}, True),
        ([1, 2], False),
        ("error", False),
    ],
)
def test_an_error_in_the_body_is_a_refusal(answer: Any, refuses: bool) -> None:  # noqa: FBT001
    assert is_refusal(answer) is refuses


def test_a_label_or_a_part_that_was_found_is_no_refusal() -> None:
    assert not is_refusal({"status": "failed"}, labels=["ok", "failed"])
    assert not is_refusal({"forecast": 1.5, "detail": "a linear model"}, paths=("forecast", None))
    assert is_refusal({"status": "failed"}, paths=("forecast", None), labels=["yes", "no"])


WORDS = st.sampled_from(
    [
        "missing",
        "decision",
        "never seen",
        "age missing",
        "*",
        "0",
        "1",
        "a.b",
        "predictions",
        "label",
        "score",
        "error",
        "@predicted",
        "true",
        "None",
    ]
)


@given(st.lists(WORDS | st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True))
def test_columns_of_any_name_are_sent_under_that_name(columns: list[str]) -> None:
    row = [float(index) for index in range(len(columns))]

    assert Contract(features="", style="record", columns=None).body(columns, [row]) == dict(
        zip(columns, row, strict=True)
    )
    assert Contract(features="data", style="columns", columns=None).body(columns, [row]) == {
        "data": {c: [v] for c, v in zip(columns, row, strict=True)}
    }
    assert Contract(features="in.rows", columns="in.names").body(columns, [row]) == {
        "in": {"rows": [row], "names": columns}
    }


@settings(deadline=None)  # connections read the system's certificates
@given(
    st.sampled_from(["churn:v1", "v1", ":v1", "1", "churn", "not churn:v1", "churn:v1 answers"]),
    st.sampled_from(["churn:v1", "v1", "churn", "1"]),
)
def test_a_tag_is_another_one_if_it_only_ends_or_begins_alike(served: str, expected: str) -> None:
    target = Target(
        Contract(predictions="p"), Sender("http://127.0.0.1:1", httpx.AsyncClient()), MANY, expected
    )  # nothing is sent
    target.memo["golden"] = [{"p": MANY.predictions, "model_tag": served}]

    if served == expected:
        asyncio.run(expected_model(target))
    else:
        with pytest.raises(CheckFailedError):
            asyncio.run(expected_model(target))


MANY = GoldenRows(["a"], [[1.0], [2.0], [3.0]], [[1, 0], [0, 1], [1, 1]], None, [])
SOME = GoldenRows(["a"], [[1.0], [2.0], [3.0]], [None, 1.5, 2.5], None, [])


@pytest.mark.parametrize("golden", [MANY, SOME])
def test_several_labels_and_none_are_compared_as_they_are(golden: GoldenRows) -> None:
    assert is_same({"predictions": golden.predictions}, golden)
    found, parts = look({"predictions": golden.predictions[::-1]}, golden)
    assert not found.undeclared
    assert golden.compare(parts, parts=("predictions",)) is not None


@given(st.lists(WORDS | st.text(min_size=1, max_size=6), min_size=2, max_size=4, unique=True), st.data())
def test_labels_of_any_name_are_compared_by_their_name(labels: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.sampled_from(labels), min_size=2, max_size=8))
    golden = GoldenRows(["x"], [[float(index)] for index in range(len(rows))], rows, None, labels)

    assert is_same({"predictions": rows}, golden)
    served = data.draw(
        st.permutations(labels).map(
            lambda order: [dict(zip(labels, order, strict=True))[row] for row in rows]
        )
    )
    assume(served != rows)
    found, parts = look({"predictions": served}, golden)
    assert not found.undeclared
    assert golden.compare({**parts, "classes": None}, parts=("predictions",)) is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner),
    )
)
@example([None, [], {"¹": None}])  # a digit, and not a number
def test_any_answer_can_be_looked_at(answer: Any) -> None:
    for golden in (FLOWERS, YES, PRICES):
        look(answer, golden)
        look([answer] * len(golden), golden, Contract(**{**vars(OPEN), "style": "row"}))


SIGNS = GoldenRows(
    ["a"],
    [[1.0], [2.0], [3.0], [4.0]],
    [[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]],
    [[0.9, 0.2, 0.7], [0.1, 0.3, 0.6], [0.8, 0.9, 0.4], [0.2, 0.7, 0.3]],
    [[0, 1], [0, 1], [0, 1]],
)
WIDTHS = GoldenRows(
    ["a"],
    [[1.0], [2.0], [3.0]],
    [["no", 2], ["yes", 0], ["no", 1]],
    [[[0.9, 0.1], [0.2, 0.3, 0.5]], [[0.2, 0.8], [0.6, 0.3, 0.1]], [[0.7, 0.3], [0.1, 0.8, 0.1]]],
    [["no", "yes"], [0, 1, 2]],
)
POINTS = GoldenRows(["a"], [[1.0], [2.0], [3.0]], [[1.5, 2.5], [0.25, 3.5], [7.0, 1.0]], None, [])
SEVERAL = {"signs": SIGNS, "widths": WIDTHS, "points": POINTS}
OF_ONE_ROW = replace(OPEN, style="row")
FORMS_OF_SEVERAL: dict[str, tuple[Contract, Callable[[list[Any], list[Any] | None], Any]]] = {
    "two_lists": (OPEN, lambda p, q: {"predictions": p, "probabilities": q} if q else {"predictions": p}),
    "records": (
        OPEN,
        lambda p, q: [
            {"labels": row, **({"probabilities": q[index]} if q else {})} for index, row in enumerate(p)
        ],
    ),
    "bare": (OPEN, lambda p, _: p),
    "under_a_name_of_their_own": (OPEN, lambda p, _: {"symptoms": p}),
    "one_row": (OF_ONE_ROW, lambda p, _: [{"prediction": row} for row in p]),
    "one_row_in_a_list": (OF_ONE_ROW, lambda p, _: [{"predictions": [row]} for row in p]),
}


@pytest.mark.parametrize("form", FORMS_OF_SEVERAL)
@pytest.mark.parametrize("name", SEVERAL)
def test_several_outputs_are_compared_in_every_form(name: str, form: str) -> None:
    golden = SEVERAL[name]
    contract, respond = FORMS_OF_SEVERAL[form]

    assert is_same(respond(golden.predictions, golden.probabilities), golden, contract)


@pytest.mark.parametrize("form", FORMS_OF_SEVERAL)
@pytest.mark.parametrize("name", SEVERAL)
def test_outputs_in_another_order_are_different(name: str, form: str) -> None:
    golden = SEVERAL[name]
    contract, respond = FORMS_OF_SEVERAL[form]
    probabilities = golden.probabilities and [row[::-1] for row in golden.probabilities]

    answer = respond([row[::-1] for row in golden.predictions], probabilities)

    assert not is_same(answer, golden, contract)


@pytest.mark.parametrize(
    ("golden", "answer", "part"),
    [
        (
            WIDTHS,
            {"predictions": WIDTHS.predictions, "probabilities": [[0.1, 0.3], [0.8, 0.3], [0.3, 0.8]]},
            "probabilities",
        ),
        (
            WIDTHS,
            {
                "predictions": WIDTHS.predictions,
                "probabilities": [list(output) for output in zip(*WIDTHS.probabilities or [], strict=True)],
            },
            "probabilities",
        ),
        (SIGNS, {"predictions": [[value == 1 for value in row] for row in SIGNS.predictions]}, "predictions"),
    ],
    ids=["of_one_class", "a_list_per_output", "other_names"],
)
def test_other_forms_of_several_outputs_are_not_compared(golden: GoldenRows, answer: Any, part: str) -> None:
    found, _ = look(answer, golden)

    assert [undeclared.part for undeclared in found.undeclared] == [part]


WINE = FLOWERS.take([index % 5 for index in range(10)])
LOANS = GoldenRows(["a"], [[1.0], [2.0], [3.0], [4.0]], [0, 1, 1, 0], Q, [0, 1])
HOUSES = GoldenRows(
    ["a"], [[float(row)] for row in range(12)], [100 + row / 7 for row in range(12)], None, []
)
CERTAIN: dict[str, tuple[Any, GoldenRows]] = {
    "confidence of the predicted class": (
        {"predictions": LABELS, "confidence": [max(row) for row in P]},
        FLOWERS,
    ),
    "a number beside one of three labels": (
        [[label, max(row), "v1"] for label, row in zip(LABELS, P, strict=True)],
        FLOWERS,
    ),
    "label and score, of two classes": (
        [{"label": label, "score": max(row)} for label, row in zip(YES.predictions, Q, strict=True)],
        YES,
    ),
    "scores of the second class": ({"predictions": YES.predictions, "scores": [row[1] for row in Q]}, YES),
    "percent": ({"prediction": YES.predictions, "probability": [100 * row[1] for row in Q]}, YES),
    "enough rounded numbers": (
        {"probabilities": [[round(p, 3) for p in row] for row in Q * 2]},
        YES.take([*range(4), *range(4)]),
    ),
    "rounded prices": ({"price": [round(price, 2) for price in HOUSES.predictions]}, HOUSES),
    "prices with a currency": ([f"{price:.2f} EUR" for price in HOUSES.predictions], HOUSES),
    "a unit in the name": ({"price_in_thousands": [price / 1000 for price in HOUSES.predictions]}, HOUSES),
    "true for 1": ({"predictions": [bool(label) for label in LOANS.predictions]}, LOANS),
    "one-hot": ([[int(label == one) for one in range(3)] for label in LABELS], FLOWERS),
    "an id beside a name": ([{"class_id": label, "class_name": NAMES[label]} for label in LABELS], FLOWERS),
    "the median": ([{"p10": p - 1, "p50": p, "p90": p + 1} for p in PRICES.predictions], PRICES),
}
UNCERTAIN: dict[str, tuple[Any, GoldenRows]] = {
    "names": ({"predictions": [NAMES[label] for label in LABELS]}, FLOWERS),
    "names that keys have": (keyed(P, NAMES), FLOWERS),
    "true for 0": ({"predictions": [not label for label in LOANS.predictions]}, LOANS),
    "true under a name that may mean the contrary": (
        {"approved": [bool(label) for label in LOANS.predictions]},
        LOANS,
    ),
    "the first of two classes": ({"predictions": YES.predictions, "scores": [row[0] for row in Q]}, YES),
    "scores of the predicted class": (
        {"predictions": YES.predictions, "scores": [max(row) for row in Q]},
        YES,
    ),
    "confidence of one class": ({"predictions": YES.predictions, "confidence": [row[1] for row in Q]}, YES),
    "one of three classes": ({"predictions": LABELS, "confidence": [row[1] for row in P]}, FLOWERS),
    "no label beside it, as a booster": ({"predictions": [row[1] for row in Q]}, YES),
    "a name of the team's": ({"prediction": YES.predictions, "repaid": [row[1] for row in Q]}, YES),
    "coarse numbers": ({"probabilities": [[round(p, 1) for p in row] for row in P * 2]}, WINE),
    "few rounded numbers": ({"price": [round(price, 1) for price in PRICES.predictions]}, PRICES),
    "a unit that no name has": ({"price": [price / 1000 for price in HOUSES.predictions]}, HOUSES),
    "another unit than that in the name": (
        {"price_in_thousands": [price * 100 for price in HOUSES.predictions]},
        HOUSES,
    ),
    "one-hot, one class too far": (
        [[int((label + 1) % 3 == one) for one in range(3)] for label in LABELS],
        FLOWERS,
    ),
    "the first of two scores": (
        [
            [{"label": NAMES[label], "score": max(row)}, {"label": NAMES[label - 1], "score": 0.0}]
            for label, row in zip(LABELS, P, strict=True)
        ],
        replace(FLOWERS, predictions=[NAMES[label] for label in LABELS], classes=NAMES),
    ),
    "a number and a name that contradict it": (
        [{"class_id": (label + 1) % 3, "class_name": NAMES[label]} for label in LABELS],
        FLOWERS,
    ),
    "prices of other rows with a currency": (
        [f"{price + 1:.2f} EUR" for price in HOUSES.predictions],
        HOUSES,
    ),
}


@pytest.mark.parametrize("form", CERTAIN)
def test_a_meaning_is_certain_if_only_one_is_possible(form: str) -> None:
    found, _ = look(*CERTAIN[form])

    assert found.undeclared
    assert all(undeclared.is_certain for undeclared in found.undeclared)


@pytest.mark.parametrize("form", UNCERTAIN)
def test_a_meaning_that_only_the_values_suggest_is_not_certain(form: str) -> None:
    found, _ = look(*UNCERTAIN[form])

    assert found.undeclared
    assert not all(undeclared.is_certain for undeclared in found.undeclared)


@pytest.mark.parametrize("texts", [["3.5", "4", "7"], ["3 cats", "4 cats", "7 cats"]])
def test_texts_that_a_model_returns_are_not_read_as_numbers(texts: list[str]) -> None:
    golden = replace(PRICES, predictions=texts, intervals=None)

    assert is_same({"predictions": texts}, golden)
    assert not is_same({"predictions": texts[::-1]}, golden)


@pytest.mark.parametrize("one_row", [True, False])
@pytest.mark.parametrize("more", [{}, {f"k{number}": number for number in range(1000)}])
def test_every_value_of_a_wide_response_is_found(more: dict[str, int], *, one_row: bool) -> None:
    row = {**more, "p": 1}

    columns = columns_in([row] if one_row else [[row, row]], 2, one_row=one_row)

    assert columns["p" if one_row else "*.p"] == [1] * (1 if one_row else 2)
    assert len(columns) == len(row) + 1


@pytest.mark.parametrize("one_row", [True, False])
@pytest.mark.parametrize("values", [["a"] * 100_000, {f"k{number}": number for number in range(100_000)}])
def test_a_response_of_any_width_is_searched_up_to_a_limit(values: Any, *, one_row: bool) -> None:
    columns = columns_in([values] if one_row else [[values, values]], 2, one_row=one_row)

    assert MAX_PATHS - 1 <= len(columns) <= MAX_PATHS


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.25, 0.75], True),
        ([-1.1920928955078125e-07, 1.0000001192092896], True),  # summed in float32
        ([-0.01, 1.01], False),
        ([0.4, 0.4], False),
    ],
)
def test_probabilities_may_exceed_their_limits_by_rounding_only(row: list[float], expected: bool) -> None:  # noqa: FBT001
    assert adds_up(row) is expected
    assert _is_distribution(row, classes=2) is expected
