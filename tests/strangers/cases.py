"""The healthy routes of ``services.py``: their requests, their responses, and what reading a response takes.

Nothing here uses Tier0's own code to send or read: the table is what the authors of a route would document.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import httpx
import numpy as np
from PIL import Image

from tests.strangers import models
from tier0 import golden_rows
from tier0.golden.rows import GoldenRows

Meaning = Literal["structure", "assumed", "either", "declaration", "impossible"]
Rows = list[list[Any]]
Columns = list[str]
Parts = dict[str, list[Any]]

GOLDEN: dict[str, tuple[Any, Any, list[str] | None]] = {
    "iris": (models.IRIS, models.IRIS_ROWS, models.IRIS_COLUMNS),
    "flowers": (models.FLOWERS, models.IRIS_ROWS, models.IRIS_COLUMNS),
    "churn": (models.CHURN, models.CHURN_ROWS, None),
    "fraud": (models.FRAUD, models.FRAUD_ROWS, models.FRAUD_COLUMNS),
    "credit": (models.CREDIT, models.CREDIT_ROWS, None),
    "price": (models.PRICE, models.PRICE_ROWS, models.PRICE_COLUMNS),
    "forecast": (models.FORECAST, models.PRICE_ROWS, models.PRICE_COLUMNS),
    "topics": (models.TOPICS, models.TOPIC_ROWS, None),
    "length": (models.LENGTH, models.LENGTH_ROWS, None),
}


@cache
def golden(name: str) -> GoldenRows:
    """Return the golden rows of a model, as the team that trained it makes them."""
    model, rows, columns = GOLDEN[name]
    return golden_rows(model, rows, feature_names=columns)


def expected(rows: GoldenRows) -> Parts:
    """Return what the model in memory gives, under the names that `Healthy.read` uses."""
    parts: Parts = {"predictions": rows.predictions}
    if rows.probabilities is not None:
        parts |= {"probabilities": rows.probabilities, "confidence": [max(row) for row in rows.probabilities]}
        parts |= {
            f"probability_{index}": [row[index] for row in rows.probabilities]
            for index in range(len(rows.classes))
        }
    if rows.intervals is not None:
        parts["intervals"] = rows.intervals
    return parts


# -- requests ------------------------------------------------------------------------------------------------

Body = Callable[[Columns, Rows], Any]


def matrix_in(*path: str, **beside: Any) -> Body:
    """Return a function that makes a body with a list of rows under a key, or under a path of keys."""

    def body(_columns: Columns, rows: Rows) -> Any:
        return _nested(path, rows, beside)

    return body


def records_in(*path: str, **beside: Any) -> Body:
    """Return a function that makes a body with a list of records."""

    def body(columns: Columns, rows: Rows) -> Any:
        return _nested(path, [dict(zip(columns, row, strict=True)) for row in rows], beside)

    return body


def record_in(*path: str, **beside: Any) -> Body:
    """Return a function that makes a body with the record of one row."""

    def body(columns: Columns, rows: Rows) -> Any:
        return _nested(path, dict(zip(columns, rows[0], strict=True)), beside)

    return body


def renamed_in(key: str, names: Sequence[str]) -> Body:
    """Return a function that makes a body with the record of one row, under the names of the service."""

    def body(_columns: Columns, rows: Rows) -> Any:
        return {key: dict(zip(names, rows[0], strict=True))}

    return body


def columns_in(key: str) -> Body:
    """Return a function that makes a body of columns."""

    def body(columns: Columns, rows: Rows) -> Any:
        return {key: dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))}

    return body


def row_in(key: str) -> Body:
    """Return a function that makes a body with the values of one row."""

    def body(_columns: Columns, rows: Rows) -> Any:
        return {key: rows[0]}

    return body


def tensor_in(_columns: Columns, rows: Rows) -> Any:
    """Make a body of the Open Inference Protocol."""
    data = [value for row in rows for value in row]
    return {
        "inputs": [{"name": "rows", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}]
    }


def split_in(key: str) -> Body:
    """Return a function that makes a body as `DataFrame.to_dict("split")`."""

    def body(columns: Columns, rows: Rows) -> Any:
        return {key: {"columns": columns, "data": rows}}

    return body


def texts_in(key: str) -> Body:
    """Return a function that makes a body with the one column as a list."""

    def body(_columns: Columns, rows: Rows) -> Any:
        return {key: [text for (text,) in rows]}

    return body


def items_in(key: str) -> Body:
    """Return a function that makes a body of items, each with an id."""

    def body(columns: Columns, rows: Rows) -> Any:
        return {
            key: [
                {"id": f"row-{index}", "features": dict(zip(columns, row, strict=True))}
                for index, row in enumerate(rows)
            ]
        }

    return body


def _nested(path: Sequence[str], value: Any, beside: dict[str, Any]) -> Any:
    for key in reversed(path):
        value = {key: value}
    return {**value, **beside} if beside else value


# -- responses -----------------------------------------------------------------------------------------------

Read = Callable[[Any], Parts]


def at(answer: Any, *path: Any) -> Any:
    """Follow a path into an answer; ``*`` stands for every item of a list."""
    for index, key in enumerate(path):
        if key == "*":
            return [at(item, *path[index + 1 :]) for item in answer]
        answer = answer[key]
    return answer


def parts(**paths: tuple[Any, ...]) -> Read:
    """Return a function that reads several parts of an answer, each at a path."""
    return lambda answer: {name: at(answer, *path) for name, path in paths.items()}


def labels(*path: Any) -> Read:
    """Return a function that reads the predictions of an answer at a path."""
    return parts(predictions=path)


def one(read: Read) -> Read:
    """Return a function that reads the answer to a single row."""
    return lambda answer: {name: [value] for name, value in read(answer).items()}


def each(change: Callable[[Any], Any], read: Read) -> Read:
    """Return a function that reads an answer and changes every value of every part."""
    return lambda answer: {name: [change(value) for value in values] for name, values in read(answer).items()}


IRIS_NUMBERS = {name: index for index, name in enumerate(models.IRIS_NAMES)}
IRIS_WORDS = models.IRIS_NAMES
TOPICS = sorted(["billing", "delivery", "other"])


def by_name(names: Sequence[str], *path: Any) -> Read:
    """Return a function that reads probabilities that are keyed by class."""
    return lambda answer: {"probabilities": [[row[name] for name in names] for row in at(answer, *path)]}


def scores_sorted(answer: Any) -> Parts:
    """Read all classes with their scores, the best one first."""
    rows = [{score["label"]: score["score"] for score in row} for row in answer]
    return {
        "predictions": [row[0]["label"] for row in answer],
        "probabilities": [[row[name] for name in TOPICS] for row in rows],
    }


def by_index(answer: Any) -> Parts:
    """Read predictions that are keyed by the index of their row."""
    predictions = answer["predictions"]
    return {"predictions": [predictions[str(index)] for index in range(len(predictions))]}


def label_by_class(answer: Any) -> Parts:
    """Read the label of a single row, and its probabilities keyed by class."""
    return {"predictions": [answer["prediction"]]} | by_name(IRIS_WORDS)([answer["probabilities"]])


def class_columns(answer: Any) -> Parts:
    """Read probabilities that have a list for each class."""
    return {"probabilities": [[*row] for row in zip(*(answer[name] for name in IRIS_WORDS), strict=True)]}


def percent(answer: Any) -> Parts:
    """Read the label of a single row, and its probability in percent."""
    return {"predictions": [answer["prediction"]], "probability_1": [answer["probability"] / 100]}


def bounds(answer: Any) -> Parts:
    """Read predictions with their lower and upper bounds, each a list."""
    intervals = [[*pair] for pair in zip(answer["lower"], answer["upper"], strict=True)]
    return {"predictions": [*answer["predictions"]], "intervals": intervals}


def interval_in_rows(prediction: str, lower: str, upper: str) -> Read:
    """Return a function that reads rows with a prediction and its bounds under these names."""
    return lambda rows: {
        "predictions": [row[prediction] for row in rows],
        "intervals": [[row[lower], row[upper]] for row in rows],
    }


Send = Callable[[httpx.Client, str, Columns, Rows], httpx.Response]


# -- the table -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Healthy:
    """A healthy route.

    Attributes:
        name: of the route, without its slash; or a longer path.
        golden: the model that it serves.
        meaning: what it takes to send a request and to read the response: the ``structure`` alone (the golden
            rows must pass), what is certain and ``assumed`` (they must pass, which the run must report), a
            ``declaration`` by a person (they cannot be judged without one), ``either`` (a
            careful reader may recognise it or leave it unjudged), or ``impossible`` (they cannot be judged).
        why: one line.
        body: makes the body of a request.
        read: reads the body of an answer into the parts that `expected` returns: ``predictions``,
            ``probabilities``, ``probability_1`` and so on.
        one_row: a request takes one row.
        within: by how much an answer may differ, because the service rounds.
        text: the answer is plain text.
        lax: checks that rightly fail, because the route accepts requests that it should refuse.
        send: sends a request other than with JSON.
        service: the class that has the route.
    """

    name: str
    golden: str
    meaning: Meaning
    why: str
    body: Body
    read: Read
    one_row: bool = False
    within: float = 0.0
    text: bool = False
    lax: tuple[str, ...] = ()
    send: Send | None = None
    service: str = field(default="Strangers", kw_only=True)

    @property
    def route(self) -> str:
        """The path that is asked."""
        return f"/{self.name}"

    def ask(self, http: httpx.Client, url: str, rows: GoldenRows) -> Parts:
        """Ask for *rows* in the way that the team documents, and read the answers."""
        batches = [rows.take([index]) for index in range(len(rows))] if self.one_row else [rows]
        found: Parts = {}
        for batch in batches:
            if self.send is None:
                response = http.post(f"{url}{self.route}", json=self.body(batch.columns, batch.rows))
            else:
                response = self.send(http, f"{url}{self.route}", batch.columns, batch.rows)
            assert response.status_code == 200, response.text
            for name, values in self.read(response.text if self.text else json.loads(response.text)).items():
                found.setdefault(name, []).extend(values)
        return found


def csv_file(http: httpx.Client, url: str, _columns: Columns, rows: Rows) -> httpx.Response:
    content = "\n".join(",".join(map(str, row)) for row in rows)
    return http.post(url, files={"table": ("rows.csv", content, "text/csv")})


def _picture(http: httpx.Client, url: str, _columns: Columns, _rows: Rows) -> httpx.Response:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), dtype="uint8")).save(buffer, "PNG")
    return http.post(url, files={"picture": ("one.png", buffer.getvalue(), "image/png")})


_ROWS = matrix_in("rows")
_PREDICTIONS = labels("predictions")
_BOTH = parts(predictions=("predictions",), probabilities=("probabilities",))
_ITSELF = labels()
_ONE = one(labels("prediction"))
_ONE_OF_ITSELF = one(labels())

INPUTS = (
    Healthy(
        "rows_lists", "iris", "structure", "rows under a key, predictions and probabilities under theirs",
        _ROWS, _BOTH,
    ),
    Healthy(
        "array", "iris", "structure", "the schema has the shape (-1, 4)", matrix_in("input_data"), _ITSELF,
        # BentoML reshapes the array, and NumPy reads numbers in text
        lax=("contract.refuses_wrong_width", "contract.refuses_text_for_number"),
    ),
    Healthy(
        "array_one", "iris", "structure", "the schema has the shape (1, 4): one row a request",
        matrix_in("input_data"), _ITSELF, one_row=True, lax=("contract.refuses_text_for_number",),
    ),
    Healthy("array_any", "iris", "structure", "an array without a shape", matrix_in("x"), _ITSELF),
    Healthy("frame_records", "churn", "structure", "a DataFrame, as records", records_in("df"), _ITSELF),
    Healthy(
        "frame_columns", "churn", "structure", "a DataFrame; the schema has the orient columns",
        columns_in("df"), _ITSELF,
    ),
    Healthy(
        "frame_split", "churn", "structure", "names and rows apart, as pandas splits them",
        split_in("dataframe_split"), _PREDICTIONS,
    ),
    Healthy(
        "one_model", "churn", "structure", "a pydantic model of one row",
        record_in("customer"), _ONE, one_row=True,
    ),
    Healthy("many_models", "churn", "structure", "a list of pydantic models", records_in("data"), _ITSELF),
    Healthy(
        "many_listed", "churn", "structure", "the schema lists the categories; others are refused",
        records_in("data"), _ITSELF,
    ),
    Healthy(
        "many_dicts", "churn", "structure", "a list of objects: they can only be records",
        records_in("data"), _ITSELF,
    ),
    Healthy(
        "wrapper_inputs", "iris", "structure", "a model at the root of the body, with inputs",
        matrix_in("inputs"), labels("outputs"),
    ),
    Healthy(
        "wrapper_instances", "churn", "structure",
        "instances, and predictions, as TensorFlow Serving has them",
        records_in("instances"), _PREDICTIONS,
    ),
    Healthy(
        "nested_data", "iris", "structure", "rows two keys deep; the schema says so",
        matrix_in("data", "rows"), _PREDICTIONS,
    ),
    Healthy(
        "spec_fields", "iris", "structure", "input_spec: the columns are the fields of the body",
        record_in(), _ONE, one_row=True,
    ),
    Healthy("root_record", "iris", "structure", "the body is the record", record_in(), _ONE, one_row=True),
    Healthy(
        "root_records", "churn", "structure", "the body is the list of records", records_in(), _ITSELF,
        # for a list at the root, BentoML itself responds with 500
        lax=("contract.refuses_no_json", "contract.refuses_other_content"),
    ),
    Healthy(
        "scalars", "iris", "structure", "a parameter for each column, and a bare number",
        record_in(), _ONE_OF_ITSELF, one_row=True,
    ),
    Healthy(
        "scalars_defaults", "iris", "structure", "parameters with defaults: each is a column",
        record_in(), _ONE_OF_ITSELF, one_row=True, lax=("contract.refuses_unknown_field",),
    ),
    Healthy(
        "dict_record", "churn", "either", "data: dict: a record, which only a request shows",
        record_in("data"), _ONE, one_row=True,
    ),
    Healthy(
        "dict_columns", "churn", "either", "data: dict: columns, which only a request shows",
        columns_in("data"), _PREDICTIONS,
    ),
    Healthy(
        "columns_model", "iris", "structure", "a list for each column; the schema names them",
        columns_in("data"), _PREDICTIONS,
    ),
    Healthy(
        "flat_row", "iris", "structure", "a list of numbers is one row",
        row_in("features"), _ONE, one_row=True,
    ),
    Healthy(
        "flat_array", "iris", "structure", "the schema has the shape (4,): one row",
        row_in("features"), _ONE_OF_ITSELF, one_row=True, lax=("contract.refuses_text_for_number",),
    ),
    Healthy(
        "typed_dict", "iris", "either", "a dict of numbers: a record, without names in the schema",
        record_in("features"), _ONE, one_row=True,
    ),
    Healthy(
        "infer", "iris", "structure", "the Open Inference Protocol, which a reader may know",
        tensor_in, labels("outputs", 0, "data"),
    ),
    Healthy(
        "texts", "topics", "structure", "one column of texts is a list of texts",
        texts_in("texts"), _ITSELF,
    ),
    Healthy(
        "text_lengths", "length", "structure", "the same, under another name than the column's",
        texts_in("sentences"), _ITSELF,
    ),
    Healthy(
        "text", "topics", "structure", "one text, and one label as plain text",
        record_in(), _ONE_OF_ITSELF, one_row=True, text=True,
    ),
    Healthy(
        "camel_case", "iris", "either",
        "sepalLength is sepal_length for a reader, and another word for a program",
        renamed_in("flower", ["sepalLength", "sepalWidth", "petalLength", "petalWidth"]), _ONE, one_row=True,
    ),
    Healthy(
        "other_names", "iris", "declaration", "the service has names of its own for the columns",
        renamed_in("blume", ["kelch_laenge", "kelch_breite", "bluete_laenge", "bluete_breite"]), _ONE,
        one_row=True,
    ),
    Healthy(
        "constant_literal", "iris", "structure", "the schema has the only value of the field",
        matrix_in("rows", version="v1"), _PREDICTIONS,
    ),
    Healthy(
        "constant_field", "iris", "declaration", "the schema does not give the value of the field",
        matrix_in("rows", model="iris"), _PREDICTIONS,
    ),
    Healthy(
        "request_id", "iris", "assumed", "any text is accepted, which the schema does not state",
        matrix_in("rows", request_id="r-1"), _PREDICTIONS,
    ),
    Healthy(
        "optional_fields", "churn", "structure", "optional fields with defaults",
        records_in("customers"), _PREDICTIONS,
    ),
    Healthy(
        "threshold_argument", "churn", "structure", "the same, as an argument",
        records_in("customers_list"), _ITSELF, lax=("contract.refuses_unknown_field",),
    ),
    Healthy(
        "items_with_ids", "iris", "assumed", "each row is wrapped, beside an id of the caller's",
        items_in("items"), labels("*", "prediction"),
    ),
    Healthy("batchable", "iris", "structure", "requests are put into batches", _ROWS, _ITSELF),
    Healthy(
        "v1/models/iris:predict", "iris", "structure", "a route of its own",
        matrix_in("instances"), _PREDICTIONS,
    ),
    Healthy("with_context", "iris", "structure", "ctx is not a field of the body", _ROWS, _ITSELF),
)  # fmt: skip

PREDICTIONS = (
    Healthy("bare_list", "iris", "structure", "the list alone", _ROWS, _ITSELF),
    Healthy("bare_words", "flowers", "structure", "the list alone, of the model's own words", _ROWS, _ITSELF),
    Healthy(
        "one_word", "flowers", "structure", "the model's own word, as plain text",
        record_in("flower"), _ONE_OF_ITSELF, one_row=True, text=True,
    ),
    Healthy(
        "one_name", "iris", "declaration", "the model returns 1, the service versicolor",
        record_in("flower"), each(IRIS_NUMBERS.__getitem__, _ONE_OF_ITSELF), one_row=True, text=True,
    ),
    Healthy(
        "json_text", "iris", "either", "JSON as plain text",
        _ROWS, lambda answer: _PREDICTIONS(json.loads(answer)), text=True,
    ),
    Healthy("column", "iris", "structure", "one label a row, in a column: (n, 1)", _ROWS, labels("*", 0)),
    Healthy("float_labels", "credit", "structure", "1.0 is 1", _ROWS, _ITSELF),
    Healthy(
        "answer_frame", "iris", "structure", "a DataFrame of one column, as records",
        _ROWS, labels("*", "prediction"),
    ),
    Healthy(
        "answer_columns", "iris", "structure", "a DataFrame of one column, by columns",
        _ROWS, labels("prediction"),
    ),
    Healthy(
        "answer_to_dict", "iris", "structure", "DataFrame.to_dict: keyed by the index of the row",
        _ROWS, by_index,
    ),
    Healthy(
        "list_of_one", "iris", "structure", "one row, and its prediction in a list of one",
        record_in("flower"), labels("prediction"), one_row=True,
    ),
    Healthy("key_result", "iris", "structure", "the only list is under result", _ROWS, labels("result")),
    Healthy("key_output", "iris", "structure", "the only list is under output", _ROWS, labels("output")),
    Healthy("key_y_pred", "iris", "structure", "the only list is under y_pred", _ROWS, labels("y_pred")),
    Healthy("key_labels", "flowers", "structure", "the only list is under labels", _ROWS, labels("labels")),
    Healthy(
        "key_class", "iris", "structure", "the only value is under class",
        record_in("flower"), one(labels("class")), one_row=True,
    ),
    Healthy(
        "key_of_the_task", "churn", "structure", "the only value is under will_churn",
        record_in("customer"), one(labels("will_churn")), one_row=True,
    ),
    Healthy(
        "names", "iris", "declaration", "names for numbers",
        _ROWS, each(IRIS_NUMBERS.__getitem__, _ITSELF),
    ),
    Healthy(
        "id_and_name", "iris", "assumed", "class_id is the label, class_name its name",
        _ROWS, labels("*", "class_id"),
    ),
    Healthy("label_text", "iris", "structure", "'0' can only be 0", _ROWS, each(int, _PREDICTIONS)),
    Healthy(
        "booleans", "credit", "assumed", "true is 1 in Python, and a word in JSON",
        _ROWS, each(int, _ITSELF),
    ),
    Healthy(
        "approved", "credit", "declaration", "true is class 0",
        _ROWS, each(lambda value: int(not value), labels("approved")),
    ),
    Healthy(
        "yes_no", "churn", "declaration", "Yes is class 1",
        record_in("customer"), each({"Yes": 1, "No": 0}.__getitem__, one(labels("churn"))), one_row=True,
    ),
    Healthy(
        "yes_or_no", "credit", "assumed", "yes is class 1, under the usual name",
        _ROWS, each({"yes": 1, "no": 0}.__getitem__, _PREDICTIONS),
    ),
    Healthy(
        "one_hot", "iris", "assumed", "one of three columns has a 1",
        _ROWS, each(lambda row: row.index(1), _ITSELF),
    ),
    Healthy(
        "typed_answer", "iris", "structure", "a pydantic model a row",
        _ROWS, parts(predictions=("*", "label"), probabilities=("*", "probabilities")),
    ),
    Healthy("envelope", "iris", "structure", "status, and data", _ROWS, labels("data")),
    Healthy(
        "envelope_nested", "iris", "structure", "code, message, and data two keys deep",
        _ROWS, labels("data", "predictions"),
    ),
    Healthy(
        "metadata", "iris", "structure", "version, time and latency beside the predictions",
        _ROWS, _PREDICTIONS,
    ),
    Healthy(
        "echo", "iris", "structure", "each prediction beside its input",
        records_in("flowers"), labels("*", "prediction"),
    ),
    Healthy(
        "errors_200", "churn", "either", "invalid input is refused with status 200 and an error",
        record_in("data"), _ONE, one_row=True,
    ),
    Healthy(
        "explained", "iris", "structure", "four numbers of another kind beside the predictions",
        _ROWS, _PREDICTIONS,
    ),
)  # fmt: skip

PROBABILITIES = (
    Healthy(
        "proba_matrix", "iris", "structure", "the matrix alone: a number for each class",
        _ROWS, parts(probabilities=()),
    ),
    Healthy(
        "proba_as_predictions", "iris", "structure",
        "predictions has a number for each class, and they sum to 1",
        matrix_in("instances"), parts(probabilities=("predictions",)),
    ),
    Healthy(
        "proba_one", "iris", "either", "one row, and a number for each class",
        record_in("flower"), one(parts(probabilities=())), one_row=True,
    ),
    Healthy(
        "label_and_by_class_one", "flowers", "structure",
        "the model's own word, and probabilities keyed by such words",
        record_in("flower"), label_by_class, one_row=True,
    ),
    Healthy("proba_two", "churn", "structure", "two classes, both given", records_in("data"), _BOTH),
    Healthy(
        "proba_float32", "fraud", "structure", "numbers of float32, as the model gives them",
        _ROWS, _BOTH,
    ),
    Healthy(
        "answer_dicts", "iris", "structure", "an object a row",
        _ROWS, parts(predictions=("*", "prediction"), probabilities=("*", "probabilities")),
    ),
    Healthy(
        "proba_by_class", "flowers", "structure", "keyed by the model's own classes",
        _ROWS, by_name(IRIS_WORDS),
    ),
    Healthy(
        "proba_by_class_one", "flowers", "structure", "the same, for one row",
        record_in("flower"), lambda answer: by_name(IRIS_WORDS)([answer]), one_row=True,
    ),
    Healthy(
        "label_and_by_class", "iris", "structure", "a label, and probabilities keyed by class",
        _ROWS, lambda answer: labels("*", "label")(answer) | by_name("012", "*", "probabilities")(answer),
    ),
    Healthy(
        "proba_by_name", "iris", "declaration", "keyed by names that the model does not know",
        _ROWS, by_name(IRIS_WORDS),
    ),
    Healthy(
        "proba_columns", "flowers", "structure", "a list for each of the model's classes",
        _ROWS, class_columns,
    ),
    Healthy(
        "sorted_scores", "topics", "structure",
        "every class with its score, sorted, as transformers has them",
        texts_in("texts"), scores_sorted,
    ),
    Healthy(
        "top_two", "flowers", "assumed", "the two best classes with their scores",
        _ROWS, labels("*", 0, "label"),
    ),
    Healthy(
        "label_score", "topics", "assumed", "a label, and a score that is its own", texts_in("texts"),
        parts(predictions=("*", "label"), confidence=("*", "score")),
    ),
    Healthy(
        "nested_result", "topics", "assumed", "the same, one row, two keys deep", record_in(),
        one(parts(predictions=("result", "label"), confidence=("result", "score"))), one_row=True,
    ),
    Healthy(
        "pairs", "topics", "assumed", "[label, its probability]",
        texts_in("texts"), parts(predictions=("*", 0), confidence=("*", 1)),
    ),
    Healthy(
        "triples", "iris", "declaration", "[label, P(class 0), version]",
        _ROWS, parts(predictions=("*", 0), probability_0=("*", 1)),
    ),
    Healthy(
        "triples_confidence", "iris", "assumed", "[label, its probability, version]",
        _ROWS, parts(predictions=("*", 0), confidence=("*", 1)),
    ),
    Healthy(
        "positive_numbers", "credit", "declaration", "one number a row: P(class 1)",
        _ROWS, parts(probability_1=()),
    ),
    Healthy(
        "positive_array", "fraud", "declaration", "the same, as an array of float32",
        _ROWS, parts(probability_1=()),
    ),
    Healthy(
        "positive_named", "churn", "declaration", "the name says whose probability, to a reader",
        record_in("customer"), one(parts(probability_1=("churn_probability",))), one_row=True,
    ),
    Healthy(
        "scores", "credit", "assumed", "labels, and P(class 1) as scores",
        _ROWS, parts(predictions=("predictions",), probability_1=("scores",)),
    ),
    Healthy(
        "negative_numbers", "credit", "declaration", "P(class 0), the one that the team needs",
        _ROWS, parts(probability_0=("repayment_probability",)),
    ),
    Healthy(
        "confidence", "iris", "assumed", "labels, and the probability of each",
        _ROWS, parts(predictions=("predictions",), confidence=("confidence",)),
    ),
    Healthy(
        "confidence_one", "churn", "assumed", "the same, for one row, with a version",
        record_in("customer"), one(parts(predictions=("prediction",), confidence=("confidence",))),
        one_row=True,
    ),
    Healthy(
        "margins", "churn", "declaration", "the output of decision_function", records_in("data"),
        each(lambda margin: 1 / (1 + np.exp(-margin)), parts(probability_1=())), within=1e-12,
    ),
    Healthy(
        "rounded_one", "iris", "declaration", "probabilities with one decimal",
        _ROWS, _BOTH, within=0.05,
    ),
    Healthy(
        "rounded_three", "churn", "assumed", "probabilities with three decimals, alone",
        records_in("data"), parts(probabilities=()), within=0.0005,
    ),
    Healthy(
        "rounded_four", "churn", "assumed", "P(class 1) with four decimals",
        records_in("data"), parts(predictions=("*", "prediction"), probability_1=("*", "probability")),
        within=0.00005,
    ),
    Healthy(
        "percent", "churn", "assumed", "P(class 1) in percent", record_in("customer"),
        percent, one_row=True, within=1e-12,
    ),
    Healthy(
        "percent_text", "churn", "declaration", "the same, as text with one decimal",
        record_in("customer"), lambda answer: {"probability_1": [float(answer["churn"].rstrip("%")) / 100]},
        one_row=True, within=0.0005,
    ),
    Healthy(
        "proba_text", "churn", "structure", "numbers as text, with all their digits", records_in("data"),
        each(lambda row: list(map(float, row)), parts(probabilities=("probabilities",))),
    ),
    Healthy(
        "risk_band", "churn", "declaration", "P(class 1), and a word made of it",
        record_in("customer"), one(parts(probability_1=("probability",))), one_row=True,
    ),
)  # fmt: skip

REGRESSION = (
    Healthy("price_number", "price", "structure", "a bare number", record_in(), _ONE_OF_ITSELF, one_row=True),
    Healthy("price_list", "price", "structure", "the list alone", _ROWS, _ITSELF),
    Healthy(
        "price_column", "price", "structure", "one number a row, in a column: (n, 1)",
        _ROWS, labels("*", 0),
    ),
    Healthy(
        "price_dict", "price", "structure", "the only number is under price",
        record_in("house"), one(labels("price")), one_row=True,
    ),
    Healthy(
        "price_rounded", "price", "assumed", "two decimals",
        record_in("house"), one(labels("price")), one_row=True, within=0.005,
    ),
    Healthy(
        "price_rounded_list", "price", "assumed", "two decimals, many rows",
        _ROWS, _PREDICTIONS, within=0.005,
    ),
    Healthy(
        "price_text", "price", "assumed", "a price as people write it",
        record_in("house"), lambda answer: {"predictions": [float(answer.removesuffix(" EUR"))]},
        one_row=True, within=0.005, text=True,
    ),
    Healthy(
        "price_metadata", "price", "either", "two numbers: the price, and a latency",
        record_in("house"), one(labels("predicted_price")), one_row=True,
    ),
    Healthy(
        "price_thousands", "price", "assumed", "another unit", _ROWS,
        each(lambda value: value * 1000, labels("price_in_thousands")), within=1e-9,
    ),
    Healthy(
        "interval_lists", "forecast", "structure", "lower and upper, as two lists", _ROWS,
        bounds,
    ),
    Healthy(
        "interval_pairs", "forecast", "structure", "a pair a row",
        _ROWS, parts(predictions=("predictions",), intervals=("intervals",)),
    ),
    Healthy(
        "interval_objects", "forecast", "structure", "prediction, lower and upper a row",
        _ROWS, interval_in_rows("prediction", "lower", "upper"),
    ),
    Healthy(
        "quantiles", "forecast", "assumed", "which quantile is the prediction",
        _ROWS, interval_in_rows("p50", "p10", "p90"),
    ),
)  # fmt: skip

UNJUDGED = (
    Healthy(
        "stream",
        "iris",
        "impossible",
        "a stream of lines",
        _ROWS,
        lambda answer: {"predictions": list(map(int, answer.split()))},
        text=True,
    ),
    Healthy("file", "iris", "assumed", "a file of CSV", _ROWS, _ITSELF, send=csv_file),
    Healthy(
        "image",
        "iris",
        "impossible",
        "a picture",
        _ROWS,
        lambda answer: {"pictures": [answer["prediction"]]},
        send=_picture,
    ),
)

STRANGERS = (*INPUTS, *PREDICTIONS, *PROBABILITIES, *REGRESSION, *UNJUDGED)

SMALL = (
    Healthy(
        "predict", "iris", "structure", "one route, called predict",
        _ROWS, _PREDICTIONS, service="Predict",
    ),
    Healthy(
        "classify", "iris", "structure", "one route with another name", matrix_in("input_series"), _ITSELF,
        lax=("contract.refuses_wrong_width", "contract.refuses_text_for_number"), service="Classify",
    ),
    Healthy(
        "predict", "iris", "either", "predict beside predict_proba",
        _ROWS, _ITSELF, service="ProbabilityRoute",
    ),
    Healthy(
        "predict", "iris", "either", "predict beside predict_batch",
        record_in("flower"), _ONE, one_row=True, service="PredictAndBatch",
    ),
    Healthy(
        "invocations", "iris", "structure", "one route that takes rows, beside health and model_info",
        matrix_in("inputs"), _PREDICTIONS, service="WithHealth",
    ),
    Healthy(
        "v1/predict", "iris", "either", "two versions, of which neither comes first",
        _ROWS, _ITSELF, service="Versions",
    ),
    Healthy("", "iris", "structure", "the route is /", _ROWS, _ITSELF, service="RootRoute"),
    Healthy(
        "predict", "iris", "structure", "predict beside a stream",
        _ROWS, _ITSELF, service="StreamBeside",
    ),
)  # fmt: skip
"""Routes that must be found without being named."""
