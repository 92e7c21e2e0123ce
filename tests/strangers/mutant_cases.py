"""The mutants of ``mutants.py``: the defect of each, and whether it shows without a person's declaration."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

from tests.strangers.cases import (
    IRIS_NUMBERS,
    IRIS_WORDS,
    Body,
    Healthy,
    Read,
    Send,
    bounds,
    by_name,
    class_columns,
    columns_in,
    csv_file,
    each,
    items_in,
    labels,
    matrix_in,
    one,
    parts,
    record_in,
    records_in,
    renamed_in,
    row_in,
    scores_sorted,
    tensor_in,
    texts_in,
)


@dataclass(frozen=True)
class Mutant:
    """A route with a defect.

    Attributes:
        name: of the route, without its slash.
        golden: the model that it pretends to serve.
        visible: the structure of the answer alone shows the defect, so that some check must fail. Otherwise
            the mutant may be left unjudged.
        why: what is wrong.
        body: makes the body of a request.
        read: reads the body of an answer, as the team that wrote the route believes it to be.
        one_row: a request takes one row.
        text: the answer is plain text.
        send: sends a request other than with JSON.
    """

    name: str
    golden: str
    visible: bool
    why: str
    body: Body
    read: Read
    one_row: bool = False
    text: bool = False
    send: Send | None = None

    @property
    def as_asked(self) -> Healthy:
        """The same, to ask it directly."""
        return Healthy(
            self.name,
            self.golden,
            "structure",
            self.why,
            self.body,
            self.read,
            self.one_row,
            text=self.text,
            send=self.send,
            service="Mutants",
        )


VISIBLE, HIDDEN = True, False
_ROWS = matrix_in("rows")
_RECORDS = records_in("data")
_TEXTS = texts_in("texts")
_PREDICTIONS = labels("predictions")
_BOTH = parts(predictions=("predictions",), probabilities=("probabilities",))
_ITSELF = labels()
_MATRIX = parts(probabilities=())
_INTERVALS = parts(predictions=("predictions",), intervals=("intervals",))
_BLUME = ["kelch_laenge", "kelch_breite", "bluete_laenge", "bluete_breite"]
_CAMEL = ["sepalLength", "sepalWidth", "petalLength", "petalWidth"]


LABELS = (
    Mutant("labels_swapped", "churn", VISIBLE, "0 for 1", _RECORDS, _ITSELF),
    Mutant("labels_swapped_dict", "credit", VISIBLE, "0 for 1, under a key", _ROWS, _PREDICTIONS),
    Mutant(
        "labels_permuted", "iris", VISIBLE, "1 for 0, 2 for 1, 0 for 2: a mapping that fits every row",
        _ROWS, _ITSELF,
    ),
    Mutant("labels_from_one", "iris", VISIBLE, "counted from one", _ROWS, _ITSELF),
    Mutant("words_swapped", "flowers", VISIBLE, "two of the model's own words swapped", _ROWS, _ITSELF),
    Mutant(
        "word_of_another", "flowers", VISIBLE, "plain text, of another row",
        record_in("flower"), one(labels()), one_row=True, text=True,
    ),
    Mutant(
        "names_swapped", "iris", HIDDEN, "two names swapped",
        _ROWS, each(IRIS_NUMBERS.__getitem__, _ITSELF),
    ),
    Mutant(
        "names_permuted", "iris", HIDDEN, "all names shifted by one",
        _ROWS, each(IRIS_NUMBERS.__getitem__, _PREDICTIONS),
    ),
    Mutant(
        "name_of_one_swapped", "iris", HIDDEN, "two names swapped, as plain text",
        record_in("flower"), each(IRIS_NUMBERS.__getitem__, one(labels())), one_row=True, text=True,
    ),
    Mutant("label_text_swapped", "credit", VISIBLE, "'0' for 1", _ROWS, each(int, _PREDICTIONS)),
    Mutant("booleans_inverted", "credit", HIDDEN, "false for 1", _ROWS, each(int, _ITSELF)),
    Mutant(
        "yes_no_swapped", "churn", HIDDEN, "No for 1",
        record_in("customer"), each({"Yes": 1, "No": 0}.__getitem__, one(labels("churn"))), one_row=True,
    ),
    Mutant(
        "yes_or_no_swapped", "credit", HIDDEN, "no for 1, under the usual name",
        _ROWS, each({"yes": 1, "no": 0}.__getitem__, _PREDICTIONS),
    ),
    Mutant(
        "one_hot_permuted", "iris", HIDDEN, "the 1 is one column too far",
        _ROWS, each(lambda row: row.index(1), _ITSELF),
    ),
    Mutant(
        "request_id_of_another_row", "iris", HIDDEN, "each row has its neighbour's answer, beside an id",
        matrix_in("rows", request_id="a"), _PREDICTIONS,
    ),
    Mutant(
        "id_right_name_wrong", "iris", HIDDEN, "the number and the name contradict each other",
        _ROWS, labels("*", "class_id"),
    ),
    Mutant(
        "right_under_another_name", "iris", VISIBLE, "predictions is wrong, raw beside it is right",
        _ROWS, _PREDICTIONS,
    ),
    Mutant(
        "right_under_another_name_one", "iris", VISIBLE, "the same, for one row",
        record_in("flower"), one(labels("prediction")), one_row=True,
    ),
)  # fmt: skip

ROWS = (
    Mutant("constant", "iris", VISIBLE, "0 for all", _ROWS, _ITSELF),
    Mutant(
        "constant_one", "iris", VISIBLE, "a list of one, always the same",
        record_in("flower"), labels("prediction"), one_row=True,
    ),
    Mutant("answers_sorted", "iris", VISIBLE, "answers are sorted", _ROWS, _PREDICTIONS),
    Mutant(
        "frame_sorted", "iris", VISIBLE, "a DataFrame is sorted by its answers",
        _ROWS, labels("*", "prediction"),
    ),
    Mutant("one_row_off", "iris", VISIBLE, "each row has its neighbour's answer", _ROWS, _ITSELF),
    Mutant(
        "list_of_another", "iris", VISIBLE, "a list of one, which is another row's",
        record_in("flower"), labels("prediction"), one_row=True,
    ),
    Mutant(
        "to_dict_one_off", "iris", VISIBLE, "keyed by the index of another row",
        _ROWS, lambda answer: {"predictions": [*answer["predictions"].values()]},
    ),
    Mutant("last_row_lost", "iris", VISIBLE, "a row without an answer", _ROWS, _PREDICTIONS),
    Mutant("row_too_many", "iris", VISIBLE, "an answer without a row", _ROWS, _ITSELF),
    Mutant(
        "first_row_only", "iris", VISIBLE, "many rows are accepted, and one is answered",
        _ROWS, one(labels("prediction")),
    ),
    Mutant("duplicates_dropped", "iris", VISIBLE, "rows are sorted, and copies dropped", _ROWS, _ITSELF),
    Mutant(
        "empty_for_one", "iris", VISIBLE, "an empty list for the last row",
        _ROWS, each(lambda row: row[0] if row else None, _ITSELF),
    ),
    Mutant("null_for_one", "iris", VISIBLE, "null for the last row", _ROWS, _PREDICTIONS),
    Mutant(
        "errors_for_half", "iris", VISIBLE, "an error for every second row",
        _ROWS, lambda answer: {"predictions": [row.get("prediction") for row in answer]},
    ),
    Mutant(
        "always_an_error", "iris", VISIBLE, "an error with status 200 for every request",
        _ROWS, lambda answer: {"predictions": answer["data"] or []},
    ),
    Mutant("empty_answer", "iris", VISIBLE, "an empty list", _ROWS, _PREDICTIONS),
    Mutant("stale", "iris", VISIBLE, "answers are cached under a part of the row", _ROWS, _ITSELF),
    Mutant(
        "json_text_one_off", "iris", HIDDEN, "JSON as plain text, and each row has its neighbour's answer",
        _ROWS, lambda answer: _PREDICTIONS(json.loads(answer)), text=True,
    ),
    Mutant("transposed", "iris", HIDDEN, "(1, n) where a row should have an answer each", _ROWS, _ITSELF),
    Mutant(
        "items_in_another_order", "iris", HIDDEN, "each item has its neighbour's answer",
        items_in("items"), labels("*", "prediction"),
    ),
    Mutant(
        "echo_of_another", "iris", VISIBLE, "the input beside an answer that is not its own",
        records_in("flowers"), labels("*", "prediction"),
    ),
)  # fmt: skip

COLUMNS = (
    Mutant("preprocessor_dropped", "churn", VISIBLE, "only the last step is called", _RECORDS, _ITSELF),
    Mutant("columns_swapped", "iris", VISIBLE, "columns in another order", _ROWS, _BOTH),
    Mutant(
        "camel_case_swapped", "iris", HIDDEN, "the same, under names of its own",
        renamed_in("flower", _CAMEL), one(labels("prediction")), one_row=True,
    ),
    Mutant(
        "other_names_swapped", "iris", HIDDEN, "the same, under names in another language",
        renamed_in("blume", _BLUME), one(labels("prediction")), one_row=True,
    ),
    Mutant(
        "infer_transposed", "iris", VISIBLE, "a tensor is read by columns, not by rows",
        tensor_in, labels("outputs", 0, "data"),
    ),
    Mutant(
        "file_of_another_order", "iris", HIDDEN, "a file whose columns are read in another order",
        _ROWS, _ITSELF, send=csv_file,
    ),
    Mutant(
        "dict_columns_swapped", "iris", HIDDEN, "the same, in a body of columns",
        columns_in("data"), _PREDICTIONS,
    ),
    Mutant(
        "flat_row_reversed", "iris", VISIBLE, "one row, backwards",
        row_in("features"), one(labels("prediction")), one_row=True,
    ),
    Mutant("texts_reversed", "topics", VISIBLE, "texts in another order than their answers", _TEXTS, _ITSELF),
)  # fmt: skip

PROBABILITIES = (
    Mutant("classes_permuted", "iris", VISIBLE, "columns of the classes in another order", _ROWS, _BOTH),
    Mutant(
        "predictions_permuted", "iris", VISIBLE, "the same, as predictions",
        matrix_in("instances"), parts(probabilities=("predictions",)),
    ),
    Mutant(
        "proba_one_permuted", "iris", HIDDEN, "the same, one row",
        record_in("flower"), one(parts(probabilities=())), one_row=True,
    ),
    Mutant(
        "label_and_keys_shifted", "flowers", VISIBLE,
        "the keys are shifted by one class, beside the right label",
        record_in("flower"), lambda answer: by_name(IRIS_WORDS)([answer["probabilities"]]), one_row=True,
    ),
    Mutant("matrix_permuted", "iris", VISIBLE, "the same, without predictions", _ROWS, _MATRIX),
    Mutant(
        "matrix_reshaped", "iris", VISIBLE, "by class where it should be by row, in the right shape",
        _ROWS, _MATRIX,
    ),
    Mutant("two_classes_swapped", "churn", VISIBLE, "P(0) for P(1) and the other way", _RECORDS, _BOTH),
    Mutant(
        "class_keys_shifted", "flowers", VISIBLE, "the keys are shifted by one class",
        _ROWS, by_name(IRIS_WORDS),
    ),
    Mutant(
        "class_columns_shifted", "flowers", VISIBLE, "the same, a list for each class",
        _ROWS, class_columns,
    ),
    Mutant(
        "number_keys_shifted", "iris", VISIBLE, "the same, with numbers for keys, and right labels",
        _ROWS, by_name("012", "*", "probabilities"),
    ),
    Mutant(
        "name_keys_shifted", "iris", HIDDEN, "the same, with names that the model does not know",
        _ROWS, by_name(IRIS_WORDS),
    ),
    Mutant(
        "scores_not_sorted_with_labels", "topics", VISIBLE, "scores are sorted, and labels are not",
        _TEXTS, scores_sorted,
    ),
    Mutant(
        "negative_numbers", "credit", HIDDEN, "P(0) where the team means P(1)",
        _ROWS, parts(probability_1=()),
    ),
    Mutant("negative_array", "fraud", HIDDEN, "the same, as an array", _ROWS, parts(probability_1=())),
    Mutant(
        "negative_named", "churn", HIDDEN, "the same, under a name that says P(1)",
        record_in("customer"), one(parts(probability_1=("churn_probability",))), one_row=True,
    ),
    Mutant(
        "negative_scores", "credit", HIDDEN, "the same, beside right labels",
        _ROWS, parts(predictions=("predictions",), probability_1=("scores",)),
    ),
    Mutant(
        "scores_of_predicted", "credit", HIDDEN, "the probability of the label where the team means P(1)",
        _ROWS, parts(predictions=("predictions",), probability_1=("scores",)),
    ),
    Mutant(
        "second_of_two_wrong", "flowers", HIDDEN, "the second best score has the label of the third",
        _ROWS, lambda answer: {"predictions": [row[1]["label"] for row in answer]},
    ),
    Mutant(
        "negative_percent", "churn", HIDDEN, "the same, in percent", record_in("customer"),
        lambda answer: {"probability_1": [answer["probability"] / 100]}, one_row=True,
    ),
    Mutant("positive_one_off", "credit", HIDDEN, "P(1) of the neighbour", _ROWS, parts(probability_1=())),
    Mutant(
        "confidence_of_another_class", "iris", HIDDEN, "P(1) as the confidence of every row",
        _ROWS, parts(predictions=("predictions",), confidence=("confidence",)),
    ),
    Mutant(
        "confidence_of_another_row", "iris", HIDDEN, "confidence of the neighbour",
        _ROWS, parts(predictions=("predictions",), confidence=("confidence",)),
    ),
    Mutant(
        "score_of_another_row", "topics", HIDDEN, "the label's own, and the neighbour's score",
        _TEXTS, parts(confidence=("*", "score")),
    ),
    Mutant(
        "pairs_of_another_row", "topics", HIDDEN, "[label, probability] of the neighbour",
        _TEXTS, parts(predictions=("*", 0), confidence=("*", 1)),
    ),
    Mutant(
        "pairs_with_scores_of_another_row", "topics", HIDDEN, "[label, the neighbour's probability]",
        _TEXTS, parts(confidence=("*", 1)),
    ),
    Mutant(
        "triples_of_another_row", "iris", HIDDEN, "[label, probability, version] of the neighbour",
        _ROWS, parts(predictions=("*", 0)),
    ),
    Mutant("float32_cast", "churn", VISIBLE, "float64 probabilities through float32", _RECORDS, _BOTH),
    Mutant("proba_constant", "iris", VISIBLE, "a third for each", _ROWS, _MATRIX),
    Mutant("proba_of_labels", "iris", VISIBLE, "1 for the label, 0 for the others", _ROWS, _BOTH),
)  # fmt: skip

ROUNDING = (
    Mutant("rounding_flips", "churn", VISIBLE, "labels are made of rounded probabilities", _RECORDS, _BOTH),
    Mutant("rounding_flips_labels", "churn", VISIBLE, "the same, labels alone", _RECORDS, _ITSELF),
    Mutant(
        "rounded_of_another_model",
        "iris",
        VISIBLE,
        "the same labels, and probabilities that are surer",
        _ROWS,
        _BOTH,
    ),
    Mutant("rounded_unevenly", "churn", HIDDEN, "one row has fewer digits than the rest", _RECORDS, _MATRIX),
    Mutant("rounded_and_wrong", "churn", HIDDEN, "rounded, and the classes swapped", _RECORDS, _MATRIX),
    Mutant("rounded_to_nothing", "churn", HIDDEN, "rounded to 0 and 1", _RECORDS, _MATRIX),
    Mutant("truncated", "price", HIDDEN, "cut after two decimals, not rounded", _ROWS, _PREDICTIONS),
    Mutant("rounded_price_of_another", "price", HIDDEN, "rounded, and the neighbour's", _ROWS, _PREDICTIONS),
)

REGRESSION = (
    Mutant("tiny_change", "price", VISIBLE, "one row differs by a millionth", _ROWS, _PREDICTIONS),
    Mutant("price_float32", "price", VISIBLE, "float64 predictions through float32", _ROWS, _ITSELF),
    Mutant("price_one_off", "price", VISIBLE, "(n, 1), and the neighbour's", _ROWS, labels("*", 0)),
    Mutant(
        "price_of_the_latency", "price", HIDDEN, "the right number under another name",
        record_in("house"), one(labels("price")), one_row=True,
    ),
    Mutant(
        "price_text_of_another", "price", HIDDEN, "a price as people write it, of another house",
        record_in("house"), lambda answer: {"predictions": [float(answer.removesuffix(" EUR"))]},
        one_row=True, text=True,
    ),
    Mutant(
        "thousands_of_another_row", "price", VISIBLE, "in thousands, and the neighbour's",
        _ROWS, each(lambda value: value * 1000, labels("price_in_thousands")),
    ),
    Mutant(
        "price_negated", "price", VISIBLE, "the only number has the wrong sign",
        record_in("house"), one(labels("price")), one_row=True,
    ),
    Mutant("interval_lists_swapped", "forecast", VISIBLE, "lower is upper", _ROWS, bounds),
    Mutant("interval_pairs_swapped", "forecast", VISIBLE, "the same, in pairs", _ROWS, _INTERVALS),
    Mutant(
        "interval_objects_swapped", "forecast", VISIBLE, "the same, in objects",
        _ROWS, lambda answer: {"intervals": [[row["lower"], row["upper"]] for row in answer]},
    ),
    Mutant("interval_of_another_row", "forecast", VISIBLE, "bounds of the neighbour", _ROWS, _INTERVALS),
    Mutant("interval_lists_of_another_row", "forecast", VISIBLE, "the same, as two lists", _ROWS, bounds),
    Mutant("quantiles_shifted", "forecast", HIDDEN, "p50 is the upper bound", _ROWS, labels("*", "p50")),
)  # fmt: skip

MUTANTS = tuple(itertools.chain(LABELS, ROWS, COLUMNS, PROBABILITIES, ROUNDING, REGRESSION))
