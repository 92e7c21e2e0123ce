"""The diagnosis names the defect that was put in: outputs and rows of real models, changed in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tier0.golden.capture import golden_rows
from tier0.golden.differences.diagnosis import NO_PATTERN, Diagnosis, diagnose
from tier0.golden.origins import Origin
from tier0.golden.rows import GoldenRows

Rows = list[list[Any]]
Outputs = dict[str, Any]
COLUMNS = ["age", "income", "visits", "score"]


@dataclass(frozen=True)
class Trained:
    """A trained model with its golden rows; `serve` is its service without a defect."""

    model: Any
    golden: GoldenRows
    threshold: float | None = None

    def frame(self, rows: Rows) -> pd.DataFrame:
        frame = pd.DataFrame(rows, columns=self.golden.columns)
        texts = [name for name in frame if frame[name].map(lambda value: isinstance(value, str)).any()]
        numbers = [name for name in frame if name not in texts]
        return frame.astype({**dict.fromkeys(texts, object), **dict.fromkeys(numbers, float)})

    def serve(self, rows: Rows, model: Any = None) -> Outputs:
        return self.answer(self.frame(rows), self.model if model is None else model)

    def answer(self, inputs: Any, model: Any) -> Outputs:
        if not self.golden.classes:
            return {"predictions": np.asarray(model.predict(inputs)).tolist()}
        probabilities = model.predict_proba(inputs)
        labels = np.asarray(self.golden.classes, dtype=object)
        chosen = probabilities.argmax(axis=1)
        if self.threshold is not None:
            chosen = (probabilities[:, 1] >= self.threshold).astype(int)
        return {"predictions": labels[chosen].tolist(), "probabilities": probabilities.tolist()}


def numbers(count: int, seed: int = 5) -> pd.DataFrame:
    drawn = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": drawn.uniform(18, 80, count),
            "income": drawn.lognormal(8, 0.5, count),
            "visits": drawn.poisson(3, count).astype(float),
            "score": drawn.normal(0, 2, count),
        }
    )


@cache
def binary() -> Trained:
    x = numbers(300)
    y = np.where(x["age"] / 20 + x["score"] + x["income"] / 3000 > 4.5, "yes", "no")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    return Trained(model, golden_rows(model, x[:30], threshold=0.37).examples, 0.37)


@cache
def several_classes() -> Trained:
    x = numbers(300, seed=6)
    kinds = pd.cut(x["age"] + 5 * x["score"], [-1000, 40, 55, 1000], labels=["bronze", "silver", "gold"])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, kinds.astype(str))
    return Trained(model, golden_rows(model, x[:30]).examples)


@cache
def forest() -> Trained:
    x = numbers(300, seed=9)
    y = ((x["age"] > 50) ^ (x["score"] > 0)).astype(int)
    model = RandomForestClassifier(30, random_state=1, n_jobs=1).fit(x, y)
    return Trained(model, golden_rows(model, x[:30]).examples)


@cache
def regression() -> Trained:
    x = numbers(300, seed=7)
    y = np.exp(x["age"] / 40 + x["score"] / 5 + 1)
    inner = make_pipeline(StandardScaler(), Ridge())
    model = TransformedTargetRegressor(inner, func=np.log1p, inverse_func=np.expm1).fit(x, y)
    return Trained(model, golden_rows(model, x[:30]).examples)


@cache
def mixed() -> Trained:
    x = numbers(300, seed=8)
    drawn = np.random.default_rng(3)
    x["region"] = drawn.choice(["north", "south", "west", "Zürich"], 300)
    x["plan"] = drawn.choice(["basic", "plus"], 300)
    x.loc[drawn.choice(300, 60, replace=False), "age"] = np.nan
    y = (x["income"] / 3000 + (x["region"] == "west") + x["age"].fillna(40) / 40 > 2.2).astype(int)
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    impute = make_pipeline(SimpleImputer(), StandardScaler())
    first = ColumnTransformer([("n", impute, COLUMNS), ("t", encode, ["region", "plan"])])
    model = make_pipeline(first, LogisticRegression()).fit(x, y)
    return Trained(model, golden_rows(model, x[:30]).examples)


@cache
def several_outputs() -> Trained:
    x = numbers(300, seed=10)
    y = np.column_stack([x["age"] * 2, x["income"] + x["score"], x["visits"] - x["age"]])
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(x, y)
    return Trained(model, golden_rows(model, x[:30]).examples)


def changed_rows(change: Callable[[Rows], Rows]) -> Callable[[Trained], Outputs]:
    return lambda trained: trained.serve(change([list(row) for row in trained.golden.rows]))


def changed_column(name: str, change: Callable[[Any], Any]) -> Callable[[Trained], Outputs]:
    def served(trained: Trained) -> Outputs:
        place = trained.golden.columns.index(name)
        rows = [[*row[:place], change(row[place]), *row[place + 1 :]] for row in trained.golden.rows]
        return trained.serve(rows)

    return served


def changed(**parts: Callable[[Any], Any]) -> Callable[[Trained], Outputs]:
    """Return a defect that changes each output of some parts."""

    def served(trained: Trained) -> Outputs:
        outputs = trained.serve(trained.golden.rows)
        return {**outputs, **{part: [change(one) for one in outputs[part]] for part, change in parts.items()}}

    return served


def in_order(order: Callable[[int], Sequence[int]]) -> Callable[[Trained], Outputs]:
    def served(trained: Trained) -> Outputs:
        outputs = trained.serve(trained.golden.rows)
        return {part: [values[index] for index in order(len(values))] for part, values in outputs.items()}

    return served


def where(matches: Callable[[dict[str, Any]], bool], bad: Callable[[Trained], Outputs]) -> Any:
    """Return a defect of the rows that match; the others get the right answer."""

    def served(trained: Trained) -> Outputs:
        good, wrong = trained.serve(trained.golden.rows), bad(trained)
        are_bad = [matches(record) for record in trained.golden.records()]
        assert 0 < sum(are_bad) < len(are_bad)
        return {
            part: [
                wrong[part][index] if is_bad else good[part][index] for index, is_bad in enumerate(are_bad)
            ]
            for part in good
        }

    return served


def with_threshold(value: float) -> Callable[[Trained], Outputs]:
    def served(trained: Trained) -> Outputs:
        return Trained(trained.model, trained.golden, value).serve(trained.golden.rows)

    return served


def without_scaler(trained: Trained) -> Outputs:
    inputs = trained.frame(trained.golden.rows)
    model = trained.model
    if isinstance(model, TransformedTargetRegressor):
        return {"predictions": np.expm1(model.regressor_[-1].predict(inputs.to_numpy())).tolist()}
    return trained.answer(inputs.to_numpy(), model[-1])


def refitted_scaler(trained: Trained) -> Outputs:
    inputs = trained.frame(trained.golden.rows)
    return trained.answer(StandardScaler().fit_transform(inputs), trained.model[-1])


def without_target_transform(trained: Trained) -> Outputs:
    inputs = trained.frame(trained.golden.rows)
    return {"predictions": trained.model.regressor_.predict(inputs).tolist()}


def another_model(trained: Trained) -> Outputs:
    x = numbers(300, seed=11)
    y = np.where(x["visits"] > 3, "yes", "no")
    return trained.serve(trained.golden.rows, HistGradientBoostingClassifier(random_state=2).fit(x, y))


def noise(trained: Trained) -> Outputs:
    outputs = trained.serve(trained.golden.rows)
    drawn = np.random.default_rng(4)
    return {"predictions": [number + drawn.normal(0, 3) for number in outputs["predictions"]]}


def stale(trained: Trained) -> Outputs:
    """A cache with a key of one rounded column."""
    outputs = trained.serve(trained.golden.rows)
    place = trained.golden.columns.index("visits")
    first: dict[Any, int] = {}
    source = [first.setdefault(row[place], index) for index, row in enumerate(trained.golden.rows)]
    return {part: [values[index] for index in source] for part, values in outputs.items()}


def swapped_columns(rows: Rows) -> Rows:
    return [[row[0], row[1], row[3], row[2]] for row in rows]


def softened(row: list[float]) -> list[float]:
    odds = [math.exp(0.5 * math.log(number / (1 - number)) + 0.3) for number in row]
    return [odds[0] / (1 + odds[0]), 1 - odds[0] / (1 + odds[0])]


SHUFFLED = np.random.default_rng(12).permutation(30).tolist()
CASES: dict[str, tuple[Callable[[], Trained], Callable[[Trained], Outputs], set[str]]] = {
    # rows
    "binary: rows reversed": (binary, in_order(lambda n: range(n)[::-1]), {"reversed_rows"}),
    "classes: rows shifted": (several_classes, in_order(lambda n: [*range(1, n), 0]), {"shifted_rows"}),
    "regression: rows shuffled": (regression, in_order(lambda _: SHUFFLED), {"permuted_rows"}),
    "classes: rows shuffled": (several_classes, in_order(lambda _: SHUFFLED), {"permuted_rows"}),
    "regression: rows sorted": (
        regression,
        lambda trained: {"predictions": sorted(trained.serve(trained.golden.rows)["predictions"])},
        {"sorted_rows"},
    ),
    "outputs: two rows exchanged": (
        several_outputs,
        in_order(lambda n: [0, 1, 5, 3, 4, 2, *range(6, n)]),
        {"permuted_rows"},
    ),
    "binary: every row is the first": (binary, in_order(lambda n: [0] * n), {"constant"}),
    "regression: a cache keyed by one column": (regression, stale, {"other_rows", "cached_without_column"}),
    # labels
    "binary: labels swapped": (
        binary,
        changed(predictions=lambda label: {"yes": "no", "no": "yes"}[label]),
        {"swapped_labels"},
    ),
    "classes: labels exchanged": (
        several_classes,
        changed(predictions=lambda label: {"gold": "silver", "silver": "bronze", "bronze": "gold"}[label]),
        {"permuted_labels"},
    ),
    "classes: labels are numbers": (
        several_classes,
        changed(predictions=["bronze", "gold", "silver"].index),
        {"label_numbers"},
    ),
    "classes: labels are numbers from 1": (
        several_classes,
        changed(predictions=lambda label: ["bronze", "gold", "silver"].index(label) + 1),
        {"label_numbers"},
    ),
    "classes: one label is lost": (
        several_classes,
        changed(predictions=lambda label: "bronze" if label == "gold" else label),
        {"merged_labels"},
    ),
    "classes: labels in capitals": (several_classes, changed(predictions=str.upper), {"label_spelling"}),
    "forest: labels are text": (forest, changed(predictions=str), {"label_type"}),
    "binary: threshold 0.5": (binary, with_threshold(0.5), {"threshold", "default_threshold"}),
    "binary: threshold 0.8": (binary, with_threshold(0.8), {"threshold"}),
    # probabilities
    "binary: probabilities swapped": (
        binary,
        changed(probabilities=lambda row: row[::-1]),
        {"swapped_classes", "swapped_probabilities"},
    ),
    "classes: probabilities in another order": (
        several_classes,
        changed(probabilities=lambda row: [row[1], row[2], row[0]]),
        {"swapped_classes"},
    ),
    "binary: predictions are probabilities": (
        binary,
        lambda trained: {
            "predictions": [row[1] for row in trained.golden.probabilities or []],
            "probabilities": trained.golden.probabilities,
        },
        {"probability_for_label"},
    ),
    "binary: log-odds": (
        binary,
        changed(probabilities=lambda row: [math.log(number / (1 - number)) for number in row]),
        {"log_odds"},
    ),
    "binary: another calibration": (binary, changed(probabilities=softened), {"log_odds_line"}),
    "forest: probabilities rounded": (
        forest,
        changed(probabilities=lambda row: [round(number, 1) for number in row]),
        {"rounded"},
    ),
    "classes: probabilities rounded": (
        several_classes,
        changed(probabilities=lambda row: [round(number, 3) for number in row]),
        {"rounded"},
    ),
    "binary: probabilities in float32": (
        binary,
        changed(probabilities=lambda row: [float(np.float32(number)) for number in row]),
        {"float32"},
    ),
    "binary: the largest probability only": (binary, changed(probabilities=max), {"single_probability"}),
    "classes: the largest probability in a list": (
        several_classes,
        changed(probabilities=lambda row: [max(row)]),
        {"single_probability"},
    ),
    "binary: probabilities moved and limited": (
        binary,
        changed(probabilities=lambda row: [1 - min(1.0, row[1] + 0.3), min(1.0, row[1] + 0.3)]),
        {"affine"},
    ),
    "forest: one label for all": (forest, changed(predictions=lambda _: 1), {"constant"}),
    "binary: a fallback": (
        binary,
        lambda trained: {
            "predictions": ["no"] * len(trained.golden),
            "probabilities": [[0.5, 0.5]] * len(trained.golden),
        },
        {"constant"},
    ),
    # numbers
    "regression: zeros": (regression, changed(predictions=lambda _: 0.0), {"constant"}),
    "regression: null": (regression, changed(predictions=lambda _: None), {"constant"}),
    "regression: no inverse transform": (
        regression,
        without_target_transform,
        {"function", "dropped_target_transform"},
    ),
    "regression: exponential twice": (regression, changed(predictions=math.exp), {"function"}),
    "regression: standardized": (regression, changed(predictions=lambda y: (y - 12.5) / 4.2), {"affine"}),
    "regression: in thousands": (regression, changed(predictions=lambda y: y / 1000), {"affine"}),
    "regression: limited": (regression, changed(predictions=lambda y: min(y, 15.0)), {"limited"}),
    "binary: probabilities limited on both sides": (
        binary,
        changed(probabilities=lambda row: [min(max(number, 0.2), 0.8) for number in row]),
        {"limited"},
    ),
    "regression: rounded up": (regression, changed(predictions=lambda y: float(math.ceil(y))), {"rounded"}),
    "regression: whole numbers": (regression, changed(predictions=lambda y: float(int(y))), {"truncated"}),
    "outputs: in reverse order": (
        several_outputs,
        changed(predictions=lambda row: row[::-1]),
        {"swapped_outputs"},
    ),
    "outputs: one is scaled": (
        several_outputs,
        changed(predictions=lambda row: [row[0], row[1] / 10, row[2]]),
        {"affine"},
    ),
    # columns and steps
    "binary: columns swapped": (
        binary,
        changed_rows(swapped_columns),
        {"swapped_columns", "permuted_columns"},
    ),
    "classes: columns reversed": (
        several_classes,
        changed_rows(lambda rows: [row[::-1] for row in rows]),
        {"permuted_columns"},
    ),
    "regression: age is 0": (regression, changed_column("age", lambda _: 0.0), {"defaulted_column"}),
    "outputs: income is 0": (several_outputs, changed_column("income", lambda _: 0.0), {"defaulted_column"}),
    "classes: score has the other sign": (
        several_classes,
        changed_column("score", lambda value: -value),
        {"negated_column"},
    ),
    "forest: numbers are cut": (
        forest,
        changed_rows(lambda rows: [[float(int(value)) for value in row] for row in rows]),
        {"rounded_column"},
    ),
    "binary: no scaler": (binary, without_scaler, {"dropped_step"}),
    "classes: no scaler": (several_classes, without_scaler, {"dropped_step"}),
    "regression: no scaler": (regression, without_scaler, {"dropped_step"}),
    "binary: scaler fitted on the request": (binary, refitted_scaler, {"refitted_step"}),
    "classes: scaler fitted on the request": (several_classes, refitted_scaler, {"refitted_step"}),
    # some rows
    "mixed: missing age becomes 0": (
        mixed,
        changed_column("age", lambda value: 0.0 if value is None else value),
        {"missing_in_column", "filled_missing"},
    ),
    "mixed: missing age becomes -999": (
        mixed,
        changed_column("age", lambda value: -999.0 if value is None else value),
        {"missing_in_column", "filled_missing"},
    ),
    "mixed: a category is unknown": (
        mixed,
        changed_column("region", lambda value: "?" if value == "Zürich" else value),
        {"category", "unknown_category", "changed_text"},
    ),
    "mixed: a category gets a fallback": (
        mixed,
        where(
            lambda record: record["region"] == "west",
            changed(predictions=lambda _: 0, probabilities=lambda _: [0.5, 0.5]),
        ),
        {"constant"},
    ),
    "mixed: text in lower case": (
        mixed,
        changed_column("region", str.lower),
        {"category", "changed_text", "unknown_category"},
    ),
    "outputs: large income is converted": (
        several_outputs,
        where(lambda record: record["income"] > 4000, changed_column("income", lambda value: value / 2)),
        {"beyond_bound"},
    ),
    "regression: from row 20 on": (
        regression,
        lambda trained: {
            "predictions": [
                number if index < 20 else number + index
                for index, number in enumerate(trained.golden.predictions)
            ]
        },
        {"from_row"},
    ),
    # nothing simple
    "binary: another model": (binary, another_model, {""}),
    "regression: noise": (regression, noise, {""}),
}


def diagnosis_of(trained: Trained, outputs: Outputs) -> Diagnosis:
    parts = tuple(outputs)
    tolerance = trained.golden.tolerances(same_arithmetic=False, same_batch=False)
    return diagnose(trained.golden, outputs, tolerance=tolerance, parts=parts)


def first_kind(diagnosis: Diagnosis) -> str:
    return "" if diagnosis.first is None else diagnosis.first.kind


@pytest.mark.parametrize("name", CASES)
def test_the_first_cause_is_the_defect_that_was_put_in(name: str) -> None:
    make, defect, kinds = CASES[name]
    trained = make()

    diagnosis = diagnosis_of(trained, defect(trained))

    assert diagnosis.differing
    assert first_kind(diagnosis) in kinds, diagnosis
    assert bool(diagnosis.cause) is bool(diagnosis.first is not None and diagnosis.first.is_certain)


@pytest.mark.parametrize("name", CASES)
def test_the_first_sentence_is_short_and_says_how_many_rows_differ(name: str) -> None:
    make, defect, _ = CASES[name]
    trained = make()
    diagnosis = diagnosis_of(trained, defect(trained))

    text = diagnosis.in_words("row 0: …")

    first, _, rest = text.partition("\n")
    sentence = f"served predictions: {first}".partition(". Likely cause: ")[0]
    assert rest == "row 0: …"
    assert sentence.startswith(
        f"served predictions: {diagnosis.differing} of {len(trained.golden)} rows differ"
    )
    assert len(sentence) <= 160


@pytest.mark.parametrize(
    ("make", "defect", "cause"),
    [
        (mixed, changed_column("age", lambda value: 0.0 if value is None else value), "missing values are"),
        (
            binary,
            where(lambda record: record["visits"] == 2, changed_column("visits", lambda _: 9.0)),
            "this value is changed",
        ),
        (
            regression,
            where(lambda record: record["score"] < 0, changed_column("score", lambda _: 0.0)),
            "values in this range are converted",
        ),
        (
            regression,
            where(lambda record: record["score"] < 0, changed(predictions=lambda y: 3 * y + 1)),
            "a scaling of the target",
        ),
        (regression, in_order(lambda n: [*range(n - 4), *([0] * 4)]), "rows share an answer"),
    ],
    ids=["missing", "one value", "a range", "outputs of a range", "the answer to another row"],
)
def test_what_some_rows_have_in_common_is_their_cause(
    make: Callable[[], Trained], defect: Callable[[Trained], Outputs], cause: str
) -> None:
    trained = make()

    diagnosis = diagnosis_of(trained, defect(trained))

    assert diagnosis.differing < diagnosis.rows
    assert diagnosis.cause.startswith(cause), diagnosis


def test_labels_alone_do_not_have_a_defect_that_changes_probabilities() -> None:
    trained = binary()
    outputs = trained.serve(trained.golden.rows)
    swapped = {"yes": "no", "no": "yes"}
    labels = [swapped[label] if row < 2 else label for row, label in enumerate(outputs["predictions"])]

    diagnosis = diagnosis_of(trained, {**outputs, "predictions": labels})

    assert "left out" not in diagnosis.pattern
    assert not {finding.kind for finding in diagnosis.findings} & {"dropped_step", "defaulted_column"}


def test_rows_beside_a_boundary_do_not_get_the_answers_of_other_rows() -> None:
    trained = regression()
    golden = trained.golden.take(range(12))
    near = [Origin("boundary", "age", side) for side in ("below", "above")] * 6
    outputs = {"predictions": [golden.predictions[row + (-1) ** row] for row in range(12)]}
    tolerance = golden.tolerances(same_arithmetic=False, same_batch=False)

    found = [
        diagnose(replace(golden, origins=origins), outputs, tolerance=tolerance, parts=("predictions",))
        for origins in (near, [])
    ]

    assert [first_kind(diagnosis) for diagnosis in found] == ["", "permuted_rows"]


def test_a_possible_pattern_comes_after_the_causes_of_the_check_if_other_rows_were_right() -> None:
    trained = binary()
    labels = list(trained.golden.predictions)
    labels[4] = {"yes": "no", "no": "yes"}[labels[4]]
    outputs = {"predictions": labels, "probabilities": trained.golden.probabilities}
    how: Any = {"tolerance": trained.golden.tolerances(same_arithmetic=False, same_batch=False)}

    alone = diagnose(trained.golden, outputs, **how)
    partly = diagnose(trained.golden, outputs, **how, is_partial=True)

    assert alone.first is not None
    assert not alone.first.is_certain
    assert alone.causes(["of the check"])[-1] == partly.causes(["of the check"])[0] == "of the check"


def test_equal_outputs_have_no_diagnosis() -> None:
    trained = binary()

    diagnosis = diagnosis_of(trained, trained.serve(trained.golden.rows))

    assert diagnosis == Diagnosis((), 0, len(trained.golden))
    assert diagnosis.causes(["another cause"]) == ["another cause"]


def test_two_defects_with_the_same_outputs_are_both_named() -> None:
    trained = binary()
    rows = [[row[1], row[0], *row[2:]] for row in trained.golden.rows]

    diagnosis = diagnosis_of(trained, trained.serve(rows))

    assert diagnosis.pattern.startswith("as if ")
    assert diagnosis.pattern.endswith(", or 2 other patterns")
    assert {finding.kind for finding in diagnosis.findings if finding.is_certain} == {
        "dropped_step",
        "swapped_columns",
        "constant",
    }
    assert len(diagnosis.causes(["the usual"])) == 3
    assert "the usual" not in diagnosis.causes(["the usual"])


def test_no_simple_pattern_keeps_the_causes_of_the_check() -> None:
    trained = regression()

    diagnosis = diagnosis_of(trained, noise(trained))

    assert diagnosis.pattern == NO_PATTERN
    assert diagnosis.causes(["another model is served"]) == ["another model is served"]
    assert diagnosis.evidence == {}


TEN = GoldenRows(
    ["a"], [[float(index)] for index in range(10)], [index % 2 for index in range(10)], None, [0, 1]
)


def test_one_other_label_is_a_possible_pattern_only() -> None:
    served = [1, *TEN.predictions[1:]]

    diagnosis = diagnose(TEN, {"predictions": served}, tolerance={}, parts=["predictions"])

    assert diagnosis.first is not None
    assert not diagnosis.first.is_certain
    assert diagnosis.pattern.startswith("possibly ")
    assert diagnosis.cause == ""
    assert "the usual" in diagnosis.causes(["the usual"])


def test_two_random_labels_are_no_certain_pattern() -> None:
    drawn = np.random.default_rng(1)
    golden = GoldenRows(
        ["a", "b", "c"], drawn.normal(size=(24, 3)).tolist(), [index % 2 for index in range(24)], None, [0, 1]
    )
    certain = 0
    for _ in range(100):
        changed_rows_ = set(drawn.choice(24, 2, replace=False).tolist())
        served = [
            1 - label if index in changed_rows_ else label for index, label in enumerate(golden.predictions)
        ]
        diagnosis = diagnose(golden, {"predictions": served}, tolerance={}, parts=["predictions"])
        certain += bool(diagnosis.cause)

    assert certain <= 15


def test_bounds_have_the_other_sign_or_another_order() -> None:
    bounds = [[float(index), 2.0 * index + 1] for index in range(10)]
    golden = GoldenRows(["a"], TEN.rows, [1.2 * index for index in range(10)], None, [], intervals=bounds)
    for served, kind in (
        ([[-high, -low] for low, high in bounds], "negated_bounds"),
        ([[high, low] for low, high in bounds], "swapped_bounds"),
    ):
        outputs = {"predictions": golden.predictions, "intervals": served}
        assert first_kind(diagnose(golden, outputs, tolerance={})) == kind


def test_a_marker_of_missing_values_is_found() -> None:
    drawn = np.random.default_rng(5)
    rows = [[float(value) for value in row] for row in drawn.normal(size=(24, 4))]
    for index in range(10):
        rows[index][index % 3] = -999.0
    golden = GoldenRows(["a", "b", "c", "d"], rows, [float(index**2) for index in range(24)], None, [])
    served = [
        number + 7 * (index < 10) + index * (index < 10) for index, number in enumerate(golden.predictions)
    ]

    diagnosis = diagnose(golden, {"predictions": served}, tolerance={}, parts=["predictions"])

    assert diagnosis.pattern == "only rows with the value -999 in any column differ"


def test_integers_beyond_a_float_are_found() -> None:
    rows = [[2**53 + 1 + index if index % 4 == 0 else index] for index in range(12)]
    golden = GoldenRows(["id"], rows, [row[0] % 1000 for row in rows], None, [])
    served = [int(float(row[0])) % 1000 + 7 * (row[0] > 2**53) for row in rows]

    diagnosis = diagnose(golden, {"predictions": served}, tolerance={}, parts=["predictions"])

    assert first_kind(diagnosis) == "large_integers"


def test_a_row_alone_got_the_answer_of_another_row() -> None:
    trained = regression()
    row = trained.golden.take([4])
    served = {"predictions": [trained.golden.predictions[9]]}

    diagnosis = diagnose(
        row, served, tolerance={}, parts=["predictions"], others=trained.golden, are_alone=True
    )

    assert diagnosis.pattern == "the answer is that of golden row 9"
    assert diagnosis.in_words("prediction: expected 1, got 2").startswith(
        "prediction: expected 1, got 2; the "
    )


def test_values_are_shown_in_the_given_form_only() -> None:
    for make, defect, _ in CASES.values():
        trained = make()
        outputs = defect(trained)
        diagnosis = diagnose(trained.golden, outputs, tolerance={}, parts=tuple(outputs), show=lambda _: "…")
        for value in ("0.39", "15", "Zürich", "west", "bronze", "gold", "yes", "0.5,"):
            assert value not in diagnosis.pattern.replace("threshold 0.5", ""), diagnosis.pattern


@pytest.mark.parametrize("count", [1, 2, 3, 2049])
def test_any_number_of_rows_gets_a_diagnosis(count: int) -> None:
    golden = GoldenRows(
        ["a"], [[float(index)] for index in range(count)], [1.5 * index for index in range(count)], None, []
    )
    served = [number + index % 7 + 1 for index, number in enumerate(golden.predictions)]

    diagnosis = diagnose(golden, {"predictions": served}, tolerance={}, parts=["predictions"])

    assert diagnosis.differing == count


@pytest.mark.parametrize(
    "served",
    [
        [None] * 10,
        ["x"] * 10,
        [[0]] * 10,
        [{"a": 1}] * 10,
        [math.nan] * 10,
        [True, None, "1", 1.0, [1], {}, math.inf, 10**400, -0.0, 2],
    ],
)
def test_values_of_any_type_get_a_diagnosis(served: list[Any]) -> None:
    numbers_ = GoldenRows(["a"], TEN.rows, [float(index) for index in range(10)], None, [])
    for golden in (TEN, numbers_):
        diagnosis = diagnose(golden, {"predictions": served}, tolerance={}, parts=["predictions"])
        assert diagnosis.differing
        assert diagnosis.in_words("")
