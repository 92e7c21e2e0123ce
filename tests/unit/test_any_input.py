"""Golden rows of what predicts without an estimator's interface, and of rows that are no table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

from tier0.cli import app
from tier0.contract.answers import find_parts
from tier0.contract.contract import Contract
from tier0.contract.model_terms import in_model_terms
from tier0.core.errors import RegistrationError
from tier0.golden.capture import golden_rows
from tier0.golden.rows import GoldenRows

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(30, 3))
IMAGES = RNG.random((8, 5, 6)).astype("float32")
TEXTS = [f"a text of {count} words{'!' * count}" for count in range(20)]
OF_TEXTS = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, [n % 2 for n in range(20)])
COMPONENTS = PCA(2).fit(NUMBERS)
EXPECTED: dict[str, Any] = {"same_arithmetic": False, "same_batch": False}


def mean(images: Any) -> Any:
    return images.mean(axis=(1, 2))


def entities(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"words": [{"word": word, "score": 1 / (1 + len(word))} for word in text.split()], "total": 1e9 / 3}
        for text in texts
    ]


class Session:
    """Like a session of ONNX Runtime, of a classifier."""

    class Tensor:
        def __init__(self, name: str, kind: str, shape: list[Any]) -> None:
            self.name, self.type, self.shape = name, kind, shape

    def __init__(self, labels: list[Any], *, is_map: bool = False) -> None:
        self.labels, self.is_map = labels, is_map

    def get_inputs(self) -> list[Any]:
        return [self.Tensor("X", "tensor(float)", [None, 3])]

    def get_outputs(self) -> list[Any]:
        return [self.Tensor("label", "tensor(string)", [None]), self.Tensor("scores", "?", [None, 2])]

    def run(self, names: list[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        assert feeds["X"].dtype == np.float32
        second = 1 / (1 + np.exp(-feeds["X"].sum(axis=1)))
        scores: Any = np.stack([1 - second, second], axis=1)
        labels = np.array(self.labels)[scores.argmax(axis=1)]
        if self.is_map:
            scores = [dict(zip(self.labels, row.tolist(), strict=True)) for row in scores]
        outputs = {"label": labels, "scores": scores}
        return [outputs[name] for name in names or outputs]


class Module:
    """Like a module of PyTorch in training mode."""

    training = True

    def modules(self) -> list[Any]:
        return [self, BatchNorm1d()]

    def __call__(self, _: Any) -> Any:
        raise AssertionError("called before it was refused")


Module.__module__ = "torch.nn.modules.module"


class BatchNorm1d:
    training = True


TAKEN: dict[str, tuple[Any, Any, Any, str, Any]] = {
    "function": (lambda rows: rows.sum(axis=1), NUMBERS, None, "table", NUMBERS.sum(axis=1).tolist()),
    "function_of_lists": (lambda rows: [sum(row) for row in rows], NUMBERS.tolist(), None, "table", None),
    "function_of_records": (
        lambda rows: [f"{row['n']}{row['w']}" for row in rows],
        [{"n": n, "w": "ab"[n % 2]} for n in range(6)],
        None,
        "table",
        [f"{n}{'ab'[n % 2]}" for n in range(6)],
    ),
    "frame_by_function": (
        COMPONENTS, pd.DataFrame(NUMBERS, columns=list("abc")),
        lambda rows: COMPONENTS.transform(rows.to_numpy()), "table", COMPONENTS.transform(NUMBERS).tolist(),
    ),
    "named_method": (COMPONENTS, NUMBERS, "transform", "table", COMPONENTS.transform(NUMBERS).tolist()),
    "probabilities_only": (OF_TEXTS, TEXTS, "predict_proba", "texts", OF_TEXTS.predict_proba(TEXTS).tolist()),
    "texts": (OF_TEXTS, TEXTS, None, "texts", OF_TEXTS.predict(TEXTS).tolist()),
    "array_of_texts": (OF_TEXTS, np.array(TEXTS), None, "texts", OF_TEXTS.predict(TEXTS).tolist()),
    "series_of_texts": (OF_TEXTS, pd.Series(TEXTS), None, "texts", OF_TEXTS.predict(TEXTS).tolist()),
    "images": (mean, IMAGES, None, "arrays", mean(IMAGES).tolist()),
    "list_of_images": (lambda images: mean(np.array(images)), list(IMAGES), None, "arrays", None),
    "ids": (lambda ids: ids * 2, np.arange(9), None, "arrays", list(range(0, 18, 2))),
    "sequences": (lambda rows: [len(row) for row in rows], [[1], [1, 2]] * 3, None, "json", [1, 2] * 3),
    "nested_values": (entities, TEXTS, None, "texts", entities(TEXTS)),
    "several_arrays": (lambda rows: (rows[:, 0], rows[:, 1:]), NUMBERS, None, "table", None),
    "generator": (lambda rows: (sum(row) for row in rows), NUMBERS, None, "table", None),
    "columns": (lambda rows: {"a": rows[:, 0], "b": rows[:, 1]}, NUMBERS, None, "table", None),
    "estimator_of_objects": (
        make_pipeline(TfidfVectorizer(analyzer=lambda row: row["words"]), LogisticRegression()).fit(
            [{"words": text.split()} for text in TEXTS], [n % 2 for n in range(20)]
        ),
        [{"words": text.split()} for text in TEXTS],
        None,
        "json",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_predicts_is_taken_with_rows_of_any_form(name: str, tmp_path: Path) -> None:
    model, rows, call, form, expected = TAKEN[name]

    golden = golden_rows(model, rows, call=call)
    golden.write(tmp_path / "golden.json")

    assert golden.form == form
    assert GoldenRows.read(tmp_path / "golden.json") == golden
    if expected is not None:
        first = golden.examples
        outputs = {"predictions": expected, "probabilities": first.probabilities}
        assert first.compare(outputs, tolerance=1e-6) is None


def test_an_object_of_columns_is_an_object_for_each_row() -> None:
    golden = golden_rows(TAKEN["columns"][0], NUMBERS)

    assert golden.predictions[0] == {"a": NUMBERS[0, 0], "b": NUMBERS[0, 1]}


class OfSeveralOutputs:
    """Like a network of Keras with several outputs."""

    def __init__(self, names: list[str] | None) -> None:
        self.names = names

    def predict(self, rows: Any) -> Any:
        outputs = [rows.sum(axis=1, keepdims=True), rows * 2]
        return outputs if self.names is None else dict(zip(self.names, outputs, strict=True))


@pytest.mark.parametrize("count", [2, 3, 30])
def test_several_outputs_of_an_estimator_are_those_of_each_row(count: int) -> None:
    rows = NUMBERS[:count]
    sums, doubled = rows.sum(axis=1, keepdims=True).tolist(), (rows * 2).tolist()

    named = golden_rows(OfSeveralOutputs(["sum", "doubled"]), rows).predictions[:count]
    listed = golden_rows(OfSeveralOutputs(None), rows).predictions[:count]

    assert named == [{"sum": one, "doubled": two} for one, two in zip(sums, doubled, strict=True)]
    assert listed == [[one, two] for one, two in zip(sums, doubled, strict=True)]


@pytest.mark.parametrize("is_map", [True, False])
def test_a_session_of_onnx_is_a_classifier_with_its_labels(is_map: bool) -> None:  # noqa: FBT001
    golden = golden_rows(Session(["no", "yes"], is_map=is_map), NUMBERS.astype("float32"))

    assert golden.classes == ["no", "yes"]
    assert golden.predictions[:30] == ["yes" if total > 0 else "no" for total in NUMBERS.sum(axis=1)]
    assert golden.dtypes["probabilities"] == "float32"


def test_an_output_of_a_session_can_be_named() -> None:
    golden = golden_rows(Session(["no", "yes"]), NUMBERS.astype("float32"), call="scores")

    assert [len(output) for output in golden.predictions[:2]] == [2, 2]


def random_numbers(rows: Any) -> Any:
    return np.random.default_rng().random(len(rows))


def of_the_batch(rows: Any) -> Any:
    return rows.mean(axis=1) - rows.mean()


async def waits(_: Any) -> Any:
    raise AssertionError("called before it was refused")


async def generates(rows: Any) -> AsyncIterator[Any]:
    for row in rows:
        yield row


class Waits:
    predict = staticmethod(waits)


REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "a_transformer": (COMPONENTS, NUMBERS, {}, 'call="transform"'),
    "a_missing_method": (COMPONENTS, NUMBERS, {"call": "encode"}, 'no such method.*"transform"'),
    "a_class": (LogisticRegression, NUMBERS, {}, "is a class"),
    "nothing": (None, NUMBERS, {}, "cannot be called"),
    "training_mode": (Module(), NUMBERS, {}, r"left in training mode.*module\.eval\(\)"),
    "random_numbers": (random_numbers, NUMBERS, {}, "differs from itself.*left in training mode"),
    "other_rows": (of_the_batch, NUMBERS, {}, "depends on the other rows.*left in training mode"),
    "other_rows_of_images": (lambda rows: mean(rows) - rows.mean(), IMAGES, {}, "depends on the other"),
    "an_output_of_no_session": (Session(["a", "b"]), NUMBERS, {"call": "x"}, "no such output.*label, scores"),
    "bytes": (len, [b"a", b"b"], {}, r"examples\[0\].*bytes.*call=lambda"),
    "not_finite": (mean, np.full((3, 2, 2), np.nan), {}, "must be finite"),
    "names_of_texts": (OF_TEXTS, TEXTS, {"feature_names": ["text"]}, "omit them"),
    "synthetic_texts": (OF_TEXTS, TEXTS, {"synthetic": 5}, "tables only"),
    "too_many_texts": (OF_TEXTS, TEXTS * 20, {}, "1 to 200 rows"),
    "one_answer_for_all": (lambda _: [1.0], TEXTS, {}, "1 predictions for 20 rows"),
    "no_list": (lambda _: 1.0, TEXTS, {}, "one prediction per row"),
    "one_row": (lambda row: float(row[0] + row[1]), NUMBERS, {}, r"call=lambda rows: \[predict\(row\)"),
    "one_text": (lambda text: len(text.split()), TEXTS, {}, r"call=lambda rows: \[predict\(row\)"),
    "asynchronous": (waits, NUMBERS, {}, "asynchronous: .*asyncio.run"),
    "asynchronous_generator": (generates, NUMBERS, {}, "asynchronous: .*asyncio.run"),
    "asynchronous_method": (Waits(), NUMBERS, {}, "asynchronous: .*asyncio.run"),
    "a_uri": ("models:/churn/3", NUMBERS, {}, "mlflow.pyfunc.load_model"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_sentence(name: str) -> None:
    model, rows, options, says = REFUSED[name]

    with pytest.raises(RegistrationError, match=says) as refusal:
        golden_rows(model, rows, **options)

    assert "\n" not in str(refusal.value)


def test_fields_of_an_object_have_tolerances_of_their_own() -> None:
    def scored(rows: Any) -> Any:
        return {"score": (rows[:, 0] / 3).astype("float32"), "amount": rows[:, 1] * 1e6}

    golden = golden_rows(scored, NUMBERS)
    tolerance = golden.tolerance("predictions", **EXPECTED)
    as_served = [dict(output) for output in golden.predictions]

    def with_change(field: str, factor: float) -> Any:
        changed = [{**output, field: output[field] * factor} for output in as_served]
        return golden.compare({"predictions": changed}, tolerance={"predictions": tolerance})

    assert golden.dtypes["predictions.score"] == "float32"
    assert with_change("score", 1 + 1e-7) is None
    assert str(with_change("score", 1 + 1e-4)).startswith("row 0: prediction.score: expected")
    assert with_change("amount", 1 + 1e-7) is not None


def test_floats_of_python_that_are_exact_as_float32_have_its_tolerance() -> None:
    golden = golden_rows(lambda rows: [float(np.float32(value)) for value in rows[:, 0]], NUMBERS)
    exact = golden_rows(lambda rows: [float(value) for value in rows[:, 0]], NUMBERS)

    assert golden.dtypes["predictions"] == "float32"
    assert exact.dtypes["predictions"] == "float64"


def test_dates_reach_the_model_as_dates() -> None:
    class Weekday:
        def predict(self, frame: Any) -> Any:
            return frame["day"].dt.dayofweek.to_numpy() * 1.5

    for zone in (None, "Europe/Berlin"):
        days = pd.DataFrame({"day": pd.date_range("2024-03-28", periods=7, tz=zone)})
        golden = golden_rows(Weekday(), days)

        assert golden.rows[0][0].startswith("2024-03-28T00:00:00")
        assert golden.predictions[:7] == (days["day"].dt.dayofweek * 1.5).tolist()


def test_rows_that_are_no_table_are_sent_as_they_are() -> None:
    golden = golden_rows(OF_TEXTS, TEXTS)
    contract = Contract(features="texts").of_values(are_objects=False)

    assert contract.body(golden.columns, golden.rows[:2]) == {"texts": TEXTS[:2]}
    assert golden.take([0]).body() == {"features": TEXTS[:1]}
    assert golden.take([1]).inputs == TEXTS[1:2]


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_objects_are_found_in_a_response_by_row_and_by_field(form: str) -> None:
    golden = golden_rows(lambda rows: {"label": rows[:, 0] > 0, "size": rows[:, 1]}, NUMBERS).examples
    extended = [{**output, "id": number} for number, output in enumerate(golden.predictions)]
    by_field = {name: [output[name] for output in extended] for name in extended[0]}
    response = {"found": extended} if form == "rows" else {"found": by_field, "version": "1"}
    contract = Contract(features="rows")

    paths = find_parts([response], golden, contract, {}).paths
    answer = in_model_terms(contract.with_paths(paths).read(response), golden, contract)

    assert paths["predictions"] == "found"
    assert golden.compare({**answer, "classes": None}, parts=("predictions",)) is None


@pytest.mark.parametrize(
    ("named", "sample", "content", "arguments"),
    [
        ("COMPONENTS", "rows.csv", pd.DataFrame(NUMBERS).to_csv(index=False), ["--call", "transform"]),
        ("OF_TEXTS", "texts.json", str(TEXTS).replace("'", '"'), []),
        ("entities", "texts.json", str(TEXTS).replace("'", '"'), []),
        ("mean", "images.npy", IMAGES, []),
    ],
)
def test_the_command_takes_them_as_well(
    named: str,
    sample: str,
    content: Any,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(content, str):
        Path(sample).write_text(content, encoding="utf-8")
    else:
        np.save(sample, content)

    done = CliRunner().invoke(app, ["golden", f"{__name__}:{named}", sample, *arguments])

    assert done.exit_code == 0, done.output
    assert len(GoldenRows.read("golden.json")) >= 8


@pytest.mark.parametrize(
    ("sample", "content", "says"),
    [("rows.json", "{}", "not a list"), ("rows.json", "[", "cannot read"), ("rows.npy", "[", "cannot read")],
)
def test_the_command_refuses_other_files(
    sample: str, content: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(sample).write_text(content, encoding="utf-8")

    done = CliRunner().invoke(app, ["golden", f"{__name__}:entities", sample])

    assert done.exit_code == 2
    assert says in done.output
