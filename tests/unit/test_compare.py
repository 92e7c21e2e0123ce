"""Limits, conditions, rows and measures of a comparison; and any answers, which never end in a traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.any_json import MANY, VALUES, changed
from tier0.comparison.answers import Answer, difference, differences, read_answer, types_in
from tier0.comparison.batches import Batch, RowsError, RowSource, rows_of
from tier0.comparison.chance import bounds_of_median, chance_of_as_many
from tier0.comparison.conditions import ConditionError, Slice
from tier0.comparison.findings import Findings
from tier0.comparison.kinds import Reference
from tier0.comparison.limits import Limits, LimitsError
from tier0.comparison.measures import CHANGED_ROWS, SAME_ROWS, Measures, Reservoir
from tier0.comparison.slices import Marked, find_slices
from tier0.core.verdict import CheckResult, Verdict
from tier0.golden.rows import GoldenRows
from tier0.golden.simulations import Simulation

DOCUMENTS = [
    {"predictions": ["yes", "no"], "probabilities": [[0.2, 0.8], [0.6, 0.4]], "model_tag": "m:1"},
    {"predictions": [1.5, 2.5]},
    [{"label": "yes", "score": 0.8}, {"label": "no", "score": 0.1}],
    [0.5, 0.25],
    {"outputs": [{"data": [1, 0], "name": "y"}]},
    {"prediction": 1, "id": "x"},
]


def answer_of(body: Any, count: int) -> Answer:
    fields, about = read_answer(body, count, one_row=False)
    return Answer(fields, about, types_in(body), 0.001, 200)


def results_of(
    old: Sequence[Any],
    new: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    limits: Limits | None = None,
    size: int = 2,
    step: int = 1,
) -> dict[str, CheckResult]:
    """Return the results for the bodies of both sides, which they return in turn.

    The same batch gets the body that is *step* places further when it is asked again.
    """
    measures = Measures(limits or Limits())
    for number, batch in enumerate(RowSource(("a", "b"), rows=rows).batches(size)):
        olds = [answer_of(old[(number + turn) % len(old)], len(batch)) for turn in (0, step)]
        news = [answer_of(new[(number + turn) % len(new)], len(batch)) for turn in (0, step)]
        measures.add(batch, olds[0], news[0])
        measures.add_noise(batch, *olds)
        measures.add_repetitions(olds, news)
    return {result.id: result for result in Findings(measures).results()}


@settings(MANY, max_examples=50)
@given(
    st.lists(changed(DOCUMENTS) | VALUES, min_size=1, max_size=3),
    st.lists(changed(DOCUMENTS) | VALUES, min_size=1, max_size=3),
    st.lists(st.tuples(VALUES, VALUES), min_size=4, max_size=4),
)
def test_any_answers_have_results(old: list[Any], new: list[Any], rows: list[tuple[Any, Any]]) -> None:
    results = results_of(old, new, [list(row) for row in rows])
    json.dumps([result.as_dict() for result in results.values()], default=str)
    assert Verdict({}, list(results.values())).exit_status in {0, 1, 2}


@settings(MANY, max_examples=100)
@given(changed(DOCUMENTS) | VALUES)
def test_a_side_does_not_differ_from_itself(body: Any) -> None:
    results = results_of([body], [body], [[1, 2], [3, 4], [5, 6], [7, 8]])
    assert not [result.message for result in results.values() if result.status == "fail"]


@settings(MANY, max_examples=100)
@given(VALUES)
def test_any_recorded_request_has_rows(body: Any) -> None:
    columns, rows = rows_of(body)
    assert rows
    assert all(len(row) <= len(columns) for row in rows)


@pytest.mark.parametrize(
    ("text", "row", "holds"),
    [
        ('plan = "premium" and age > 60', {"plan": "premium", "age": 61}, True),
        ('plan = "premium" and age > 60', {"plan": "premium", "age": 60}, False),
        ("income is missing", {"income": None}, True),
        ("income is not missing and age <= 3", {"income": 1, "age": 3}, True),
        ("age > 60", {"age": None}, False),
        ("age > 60", {"age": "61"}, False),
        ("flag = true", {"flag": 1}, False),
        ('"a b" != 1', {"a b": 2}, True),
        ('"band of \\"x\\"" = "and"', {'band of "x"': "and"}, True),
    ],
)
def test_conditions_select_rows_and_are_read_as_printed(
    text: str, row: dict[str, Any], holds: object
) -> None:
    slice_ = Slice.read(text)
    assert slice_.holds(row) is holds
    assert Slice.read(str(slice_)) == slice_


@pytest.mark.parametrize(
    "text", ["", "age", "age >", "age > x", "age > 'x'", 'age > "x"', "age = 1 or b = 2", "a = 1 and"]
)
def test_other_conditions_are_refused(text: str) -> None:
    with pytest.raises(ConditionError, match="expected one such as"):
        Slice.read(text)


def test_limits_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(
        'schema = 1\nallow_flips = "0.5%"\nallow_difference = 1e-3\nallow_slower = 2\nignore = ["note"]\n'
        "[[slice]]\nwhere = 'plan = \"premium\"'\nallow_flips = 0.02\n",
        encoding="utf-8",
    )
    limits = Limits.read(path, difference="1e-2")
    assert (limits.flips, limits.difference, limits.slower) == (0.005, 0.01, 2.0)
    assert limits.ignore == {"note"}
    assert limits.slice_of({"plan": "premium"}) == 0
    assert limits.flips_of(0) == pytest.approx(0.02)
    assert limits.flips_of(limits.slice_of({"plan": "basic"})) == pytest.approx(0.005)


@pytest.mark.parametrize(
    "text",
    [
        "allow_flips = 2", 'allow_flips = "-1%"', "allow_flips = true", "allow_difference = -1",
        "allow_difference = nan", "allow_slower = 0.5", "other = 1", "slice = 1", "[[slice]]", "ignore = [1]",
        "[[slice]]\nwhere = 'x'", "[[slice]]\nwhere = 'x = 1'\nother = 1",
    ],
)  # fmt: skip
def test_invalid_limits_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(f"schema = 1\n{text}\n", encoding="utf-8")
    with pytest.raises(LimitsError):
        Limits.read(path)


def flipping(share: int, count: int = 400) -> tuple[list[Any], list[Any], list[list[Any]]]:
    """Return answers in batches of 100 rows in which one of *share* rows flips, those with the smallest b."""
    rows = [[place, place % share] for place in range(count)]
    old = [{"predictions": ["yes"] * 100, "score": [0.5] * 100} for _ in range(count // 100)]
    new = [
        {"predictions": ["no" if place % share == 0 else "yes" for place in range(100)], "score": [0.5] * 100}
    ]
    return old, new, rows


@pytest.mark.parametrize(
    ("allowed", "status"), [(None, "fail"), ("0.9%", "fail"), ("1%", "pass"), ("5%", "pass")]
)
def test_a_share_of_flips_can_be_allowed(allowed: str | None, status: str) -> None:
    results = results_of(*flipping(100), limits=Limits.read(flips=allowed), size=100)
    assert results["compare.flips"].status == status


def test_a_slice_has_its_own_limit(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("schema = 1\nallow_flips = 0.05\n[[slice]]\nwhere = 'b = 0'\n", encoding="utf-8")
    result = results_of(*flipping(50), limits=Limits.read(path), size=100)["compare.flips"]
    assert result.status == "fail"
    assert "where b = 0" in result.message
    path.write_text("schema = 1\n[[slice]]\nwhere = 'b = 0'\nallow_flips = 1\n", encoding="utf-8")
    assert results_of(*flipping(50), limits=Limits.read(path), size=100)["compare.flips"].status == "pass"


@pytest.mark.parametrize(("allowed", "status"), [("1e-4", "fail"), ("1e-2", "pass")])
def test_a_difference_can_be_allowed(allowed: str, status: str) -> None:
    rows = [[place, 0] for place in range(200)]
    old = [{"score": [place / 101 for place in range(100)]}]
    new = [{"score": [place / 101 + 1e-3 for place in range(100)]}]
    limits = Limits.read(difference=allowed)
    assert results_of(old, new, rows, limits, size=100)["compare.scores"].status == status


def test_fields_can_be_ignored(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text('schema = 1\nignore = ["predictions"]\n', encoding="utf-8")
    results = results_of(*flipping(2), limits=Limits.read(path), size=100)
    assert not [result for result in results.values() if result.status == "fail"]


@pytest.mark.parametrize(("name", "status"), [("classes", "fail"), ("used", "pass")])
def test_only_lists_of_classes_have_an_order(name: str, status: str) -> None:
    old, new = ({"predictions": ["yes", "no"] * 2, name: order} for order in (["a", "b"], ["b", "a"]))
    assert results_of([old], [new], [[1, 2]] * 20, size=4)["compare.class_order"].status == status


def test_responses_without_values_per_row_are_inconclusive() -> None:
    results = results_of([{"total": 3}], [{"total": 3}], [[1, 2]] * 20)
    assert results["compare.scores"].status == "error"
    assert Verdict({}, list(results.values())).exit_status == 2


def test_slices_of_random_differences_are_not_reported() -> None:
    draw = random.Random(1)
    found = 0
    for _ in range(30):
        rows = [
            Marked(
                {f"c{place}": draw.random() for place in range(8)} | {"d": draw.choice("abc")},
                draw.random() < 0.05,
                1,
            )
            for _ in range(300)
        ]
        found += bool(find_slices(rows))
    assert found <= 1


def test_a_slice_is_found_with_its_support() -> None:
    draw = random.Random(2)
    rows = []
    for _ in range(2000):
        age, plan = draw.randint(18, 80), draw.choice("abc")
        differs = plan == "a" and age > 74 and draw.random() < 0.9
        rows.append(Marked({"age": age, "plan": plan, "other": draw.random()}, differs, 1))
    first, *others = find_slices(rows)
    assert str(first.rows) in {'plan = "a" and age > 74', 'age > 74 and plan = "a"'}
    assert first.differing > 0.8 * first.count
    assert not others


def test_measures_do_not_grow_with_the_rows() -> None:
    measures = Measures(Limits())
    for start in range(0, 60_000, 100):
        old = Answer({"score": [0.25] * 100, "label": ["a"] * 100}, status=200)
        new = Answer({"score": [0.5] * 100, "label": ["a"] * 100}, status=200)
        measures.add(Batch(start, ("a",), [[place] for place in range(100)]), old, new)
    assert measures.rows == 60_000
    assert len(measures.changed_rows.items) == CHANGED_ROWS
    assert len(measures.same_rows.items) <= SAME_ROWS


def test_a_reservoir_is_a_uniform_sample() -> None:
    kept = [0] * 10
    for seed in range(400):
        sample: Reservoir[int] = Reservoir(20, seed)
        for start in range(0, 1000, 50):
            sample.extend(50, range(start, start + 50).__getitem__)
        assert len(set(sample.items)) == 20
        for item in sample.items:
            kept[item // 100] += 1
    assert sum(kept) == 8000
    assert all(700 < count < 900 for count in kept), kept


@given(st.lists(st.tuples(VALUES | st.floats(), VALUES | st.floats()), min_size=1, max_size=5))
def test_differences_found_in_the_fast_way_are_those_of_the_values(pairs: list[tuple[Any, Any]]) -> None:
    old, new = [one for one, _ in pairs], [other for _, other in pairs]
    for values in ((old, new), ([[one] for one in old], [[other] for other in new])):
        fast = differences(*values)
        assert fast is None or fast == list(map(difference, *values))


SCORES = [round(0.07 * number % 1, 4) for number in range(40)]
LABELS = ["yes" if score > 0.5 else "no" for score in SCORES]


def bodies(**fields: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the bodies of the responses to 20 batches of two rows."""
    return [{name: values[place : place + 2] for name, values in fields.items()} for place in range(0, 40, 2)]


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ({"score": SCORES}, {"probability": SCORES}, ["field_renamed"]),
        (
            {"score": SCORES, "label": LABELS},
            {"probability": SCORES, "decision": LABELS},
            ["field_renamed"],
        ),
        (
            {"score": SCORES, "label": LABELS},
            {"probability": [1 - score for score in SCORES], "label": LABELS},
            ["field_removed", "field_added"],
        ),
        (
            {"label": LABELS, "constant": ["a"] * 40},
            {"label": LABELS, "other": ["a"] * 40},
            ["field_removed", "field_added"],
        ),
    ],
)
def test_a_field_with_another_name_is_found_by_its_values(
    old: dict[str, Any], new: dict[str, Any], kinds: list[str]
) -> None:
    rows = [[number, number % 3] for number in range(40)]
    results = results_of(bodies(**old), bodies(**new), rows, step=0)
    assert results["compare.contract"].evidence["kinds"] == kinds
    assert {id_ for id_, result in results.items() if result.status == "fail"} == {"compare.contract"}


def test_the_values_of_a_renamed_field_are_compared() -> None:
    changed = [*SCORES[:30], SCORES[30] + 0.1, *SCORES[31:]]
    rows = [[number, number % 3] for number in range(40)]
    results = results_of(bodies(score=SCORES), bodies(probability=changed), rows, step=0)
    assert results["compare.contract"].evidence["kinds"] == ["field_renamed"]
    scores = results["compare.scores"]
    assert (scores.status, scores.evidence["differing"], scores.evidence["field"]) == ("fail", 1, "score")


def test_chances() -> None:
    assert chance_of_as_many(0, 10, 0, 10) == 1
    assert chance_of_as_many(10, 10, 0, 10) == pytest.approx(1 / 184_756)
    assert chance_of_as_many(1, 10, 9, 10) == 1
    low, high = bounds_of_median([float(place) for place in range(101)], 1e-3)
    assert 30 < low < 50 < high < 70
    assert bounds_of_median([1.0] * 5, 1e-3) == (-float("inf"), float("inf"))


def test_a_table_is_read_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('age;plan;zip;income;ok\n61;"a;b";01234;1.5;true\n;x;99999;;False\n', encoding="utf-8")
    source = RowSource.read(path)
    first, second = source.batches(1)
    assert first.record(0) == {"age": 61, "plan": "a;b", "zip": "01234", "income": 1.5, "ok": True}
    assert second.record(0) == {"age": None, "plan": "x", "zip": "99999", "income": None, "ok": False}
    assert second.start == 1


def test_requests_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"rows": [{"a": 1}, {"a": 2}]}\n\n{"x": {"y": 3}}\n', encoding="utf-8")
    first, second = RowSource.read(path).batches()
    assert (first.start, first.rows, first.request) == (0, [[1], [2]], {"rows": [{"a": 1}, {"a": 2}]})
    assert (second.start, second.columns, second.rows) == (2, ["x.y"], [[3]])


CELLS = ["", "1", "-1", "+7", "007", "1.0", "2e3", "1_0", " 5", "nan", "inf", "true", "a", "٣"]


@given(
    cells=st.lists(st.sampled_from(CELLS), min_size=1, max_size=30),
    type_=st.sampled_from(["integer", "number", "text"]),
)
def test_the_value_of_a_cell_does_not_depend_on_those_beside_it(
    cells: list[str], type_: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("".join(f"{cell},x\n" for cell in ["column", *cells]), encoding="utf-8")
    source = RowSource(("column", "x"), path, types=(type_, "text"))

    together, alone = ([row for batch in source.batches(size) for row in batch.rows] for size in (100, 1))

    assert repr(together) == repr(alone)


def test_files_that_are_not_text_are_refused(tmp_path: Path) -> None:
    umlauts = "größe,plan\n".encode("latin-1")
    for name, content in (("header.csv", umlauts + b"1,x\n"), ("row.csv", b"size,plan\n" + umlauts)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RowsError, match="not text in UTF-8"):
            RowSource.read(tmp_path / name)
    with pytest.raises(RowsError, match="directory"):
        RowSource.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("rows.csv", "", "no header"),
        ("rows.csv", "a,b\n", "no rows"),
        ("rows.csv", "a,a\n1,2\n", "twice"),
        ("rows.csv", "a,b\n1\n", "1 values for 2 columns"),
        ("rows.jsonl", "", "no rows"),
        ("rows.jsonl", "{\n", "line 1"),
        ("rows.jsonl", "[" * 3000 + "]" * 3000, "line 1"),
    ],
)
def test_other_files_are_refused(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(RowsError, match=reason):
        RowSource.read(tmp_path / name)


def test_golden_rows_are_not_read_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text('{"rows": [[1, 2], [2, 2]]}', encoding="utf-8")

    with pytest.raises(RowsError, match="--golden"):
        RowSource.read(path)


def test_answers_that_differ_from_golden_rows_are_named_by_a_simulated_defect() -> None:
    rows = [[place, place % 7] for place in range(20)]
    outputs = [2.0 * first + 3.0 * second * second for first, second in rows]
    without = [2.0 * first for first, _ in rows]
    defect = Simulation("defaulted_column", "b", "column 'b' were 0", list(without), is_distinguished=True)
    golden = GoldenRows(["a", "b"], rows, outputs, None, [], simulations=(defect,))
    other = [output + 5 * (place % 3) for place, output in enumerate(outputs)]

    def kind(
        served: list[float], rows_of_side: GoldenRows = golden, *, is_old: bool = True
    ) -> tuple[str, str]:
        sides = [outputs, served] if is_old else [served, outputs]
        measures = Measures(Limits())
        batch = Batch(0, ("a", "b"), rows)
        measures.add(batch, *(Answer({"predictions": list(side)}, status=200) for side in sides))
        reference = Reference(rows_of_side, {}, is_old=is_old)
        (result,) = (one for one in Findings(measures, reference=reference).results() if one.status == "fail")
        return result.evidence["kind"], result.message

    for is_old in (True, False):
        name, message = kind(without, is_old=is_old)
        assert name == "defaulted_column"
        assert "as if column 'b' were 0" in message
        assert ("old side" in message) == (not is_old)
    assert kind(without, replace(golden, simulations=()))[0] != "defaulted_column"
    assert kind(other)[0] != "defaulted_column"
