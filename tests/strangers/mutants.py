"""Services with a defect each, in the forms of ``services.py``: none of them may pass, however it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pandas as pd
from models import CHURN, CREDIT, FLOWERS, FORECAST, FRAUD, IRIS, IRIS_NAMES, PRICE, TOPICS
from services import (
    Blume,
    CamelFlower,
    Customer,
    Dense,
    Flower,
    House,
    Infer,
    Item,
    Matrix,
    Number,
    Strings,
    credit_frame,
    customers,
    dense,
    iris,
    matrix,
    worded,
)
from sklearn.datasets import load_iris

TRAINING = load_iris().data
STALE: dict[int, int] = {}


def proba(model: Any, table: Any) -> Any:
    return model.predict_proba(table)


def turned(values: Any) -> Any:
    """Return the values, each one row off."""
    return np.roll(np.asarray(values), 1, axis=0)


def another(flower: Any) -> Any:
    """Return the row of another flower: the lookup by index is fifty off."""
    nearest = int(np.nansum((TRAINING - iris(flower)) ** 2, axis=1).argmin())
    return TRAINING[[(nearest + 50) % len(TRAINING)]]


@bentoml.service(traffic={"timeout": 60})
class Mutants:
    # -- labels ----------------------------------------------------------------------------------------------

    @bentoml.api
    def labels_swapped(self, data: list[Customer]) -> list[int]:
        return (1 - CHURN.predict(customers(data))).tolist()

    @bentoml.api
    def labels_swapped_dict(self, rows: Matrix) -> dict:
        return {"predictions": (1 - CREDIT.predict(credit_frame(rows))).tolist()}

    @bentoml.api
    def labels_permuted(self, rows: Matrix) -> list[int]:
        return ((IRIS.predict(matrix(rows)) + 1) % 3).tolist()

    @bentoml.api
    def labels_from_one(self, rows: Matrix) -> list[int]:
        return (IRIS.predict(matrix(rows)) + 1).tolist()

    @bentoml.api
    def words_swapped(self, rows: Matrix) -> list[str]:
        swap = {"versicolor": "virginica", "virginica": "versicolor"}
        return [swap.get(word, word) for word in FLOWERS.predict(matrix(rows)).tolist()]

    @bentoml.api
    def word_of_another(self, flower: Flower) -> str:
        return str(FLOWERS.predict(another(flower))[0])

    @bentoml.api
    def names_swapped(self, rows: Matrix) -> list[str]:
        names = ["setosa", "virginica", "versicolor"]
        return [names[label] for label in IRIS.predict(matrix(rows))]

    @bentoml.api
    def names_permuted(self, rows: Matrix) -> dict:
        names = ["virginica", "setosa", "versicolor"]
        return {"predictions": [names[label] for label in IRIS.predict(matrix(rows))]}

    @bentoml.api
    def name_of_one_swapped(self, flower: Flower) -> str:
        return ["versicolor", "setosa", "virginica"][int(IRIS.predict(iris(flower))[0])]

    @bentoml.api
    def label_text_swapped(self, rows: Matrix) -> dict:
        return {"predictions": [str(1 - label) for label in CREDIT.predict(credit_frame(rows))]}

    @bentoml.api
    def booleans_inverted(self, rows: Matrix) -> list[bool]:
        return [not label for label in CREDIT.predict(credit_frame(rows))]

    @bentoml.api
    def yes_no_swapped(self, customer: Customer) -> dict:
        return {"churn": "No" if CHURN.predict(customers([customer]))[0] else "Yes"}

    @bentoml.api
    def yes_or_no_swapped(self, rows: Matrix) -> dict:
        return {"predictions": [("yes", "no")[label] for label in CREDIT.predict(credit_frame(rows))]}

    @bentoml.api
    def one_hot_permuted(self, rows: Matrix) -> list[list[int]]:
        return np.eye(3, dtype=int)[(IRIS.predict(matrix(rows)) + 1) % 3].tolist()

    @bentoml.api
    def request_id_of_another_row(self, rows: Matrix, request_id: str) -> dict:
        return {"request_id": request_id, "predictions": turned(IRIS.predict(matrix(rows))).tolist()}

    @bentoml.api
    def id_right_name_wrong(self, rows: Matrix) -> list[dict]:
        return [
            {"class_id": int((label + 1) % 3), "class_name": IRIS_NAMES[label]}
            for label in IRIS.predict(matrix(rows))
        ]

    @bentoml.api
    def right_under_another_name(self, rows: Matrix) -> dict:
        predictions = IRIS.predict(matrix(rows))
        return {"predictions": ((predictions + 1) % 3).tolist(), "raw": predictions.tolist()}

    @bentoml.api
    def right_under_another_name_one(self, flower: Flower) -> dict:
        label = int(IRIS.predict(iris(flower))[0])
        return {"prediction": (label + 1) % 3, "raw": label}

    # -- rows ------------------------------------------------------------------------------------------------

    @bentoml.api
    def constant(self, rows: Matrix) -> list[int]:
        return [0] * len(matrix(rows))

    @bentoml.api
    def constant_one(self, flower: Flower) -> dict:
        iris(flower)
        return {"prediction": [1]}

    @bentoml.api
    def answers_sorted(self, rows: Matrix) -> dict:
        return {"predictions": sorted(IRIS.predict(matrix(rows)).tolist())}

    @bentoml.api
    def frame_sorted(self, rows: Matrix) -> pd.DataFrame:
        return pd.DataFrame({"prediction": IRIS.predict(matrix(rows))}).sort_values(
            "prediction", ascending=False
        )

    @bentoml.api
    def one_row_off(self, rows: Matrix) -> list[int]:
        return turned(IRIS.predict(matrix(rows))).tolist()

    @bentoml.api
    def list_of_another(self, flower: Flower) -> dict:
        return {"prediction": IRIS.predict(another(flower)).tolist()}

    @bentoml.api
    def to_dict_one_off(self, rows: Matrix) -> dict:
        return {
            "predictions": {
                str(index): int(label) for index, label in enumerate(turned(IRIS.predict(matrix(rows))))
            }
        }

    @bentoml.api
    def last_row_lost(self, rows: Matrix) -> dict:
        return {"predictions": IRIS.predict(matrix(rows))[:-1].tolist()}

    @bentoml.api
    def row_too_many(self, rows: Matrix) -> list[int]:
        return [*IRIS.predict(matrix(rows)).tolist(), 0]

    @bentoml.api
    def first_row_only(self, rows: Matrix) -> dict:
        return {"prediction": int(IRIS.predict(matrix(rows))[0])}

    @bentoml.api
    def duplicates_dropped(self, rows: Matrix) -> list[int]:
        return IRIS.predict(np.unique(matrix(rows), axis=0)).tolist()

    @bentoml.api
    def empty_for_one(self, rows: Matrix) -> list[list[int]]:
        answers = [[int(label)] for label in IRIS.predict(matrix(rows))]
        return [*answers[:-1], []]

    @bentoml.api
    def null_for_one(self, rows: Matrix) -> dict:
        return {"predictions": [*IRIS.predict(matrix(rows)).tolist()[:-1], None]}

    @bentoml.api
    def errors_for_half(self, rows: Matrix) -> list[dict]:
        return [
            {"prediction": int(label)} if index % 2 else {"error": "timed out"}
            for index, label in enumerate(IRIS.predict(matrix(rows)))
        ]

    @bentoml.api
    def always_an_error(self, rows: Matrix) -> dict:
        matrix(rows)
        return {"status": "error", "message": "model is not loaded", "data": None}

    @bentoml.api
    def empty_answer(self, rows: Matrix) -> dict:
        matrix(rows)
        return {"predictions": []}

    @bentoml.api
    def stale(self, rows: Matrix) -> list[int]:
        table = matrix(rows)
        keys = np.nan_to_num(table[:, 0]).astype(int).tolist()
        return [
            STALE.setdefault(key, label)
            for key, label in zip(keys, IRIS.predict(table).tolist(), strict=True)
        ]

    @bentoml.api
    def json_text_one_off(self, rows: Matrix) -> str:
        return json.dumps({"predictions": turned(IRIS.predict(matrix(rows))).tolist()})

    @bentoml.api
    def transposed(self, rows: Matrix) -> np.ndarray:
        return IRIS.predict(matrix(rows)).reshape(1, -1)

    @bentoml.api
    def echo_of_another(self, flowers: list[Flower]) -> list[dict]:
        labels = turned([int(IRIS.predict(iris(flower))[0]) for flower in flowers]).tolist()
        return [
            {"input": flower.model_dump(), "prediction": label}
            for flower, label in zip(flowers, labels, strict=True)
        ]

    @bentoml.api
    def items_in_another_order(self, items: list[Item]) -> list[dict]:
        labels = turned([int(IRIS.predict(iris(item.features))[0]) for item in items]).tolist()
        return [{"id": item.id, "prediction": label} for item, label in zip(items, labels, strict=True)]

    # -- columns ---------------------------------------------------------------------------------------------

    @bentoml.api
    def preprocessor_dropped(self, data: list[Customer]) -> list[int]:
        frame = customers(data)
        plans = np.stack([frame["plan"] == plan for plan in ("basic", "plus", "premium")], axis=1)
        numbers = frame[["tenure_months", "monthly_spend", "support_calls"]].to_numpy(dtype=float)
        return CHURN.named_steps["model"].predict(np.hstack([numbers, plans])).tolist()

    @bentoml.api
    def columns_swapped(self, rows: Matrix) -> dict:
        table = matrix(rows)[:, [2, 3, 0, 1]]
        return {
            "predictions": IRIS.predict(table).tolist(),
            "probabilities": IRIS.predict_proba(table).tolist(),
        }

    @bentoml.api
    def flat_row_reversed(self, features: list[Number | None]) -> dict:
        return {"prediction": int(IRIS.predict(matrix([features[::-1]]))[0])}

    @bentoml.api
    def camel_case_swapped(self, flower: CamelFlower) -> dict:
        return {"prediction": int(IRIS.predict(iris(flower)[:, [2, 3, 0, 1]])[0])}

    @bentoml.api
    def other_names_swapped(self, blume: Blume) -> dict:
        return {"prediction": int(IRIS.predict(iris(blume)[:, [2, 3, 0, 1]])[0])}

    @bentoml.api
    def infer_transposed(self, request: Infer, /) -> dict:
        (tensor,) = request.inputs
        width, height = tensor.shape[1], tensor.shape[0]
        labels = IRIS.predict(matrix(np.array(tensor.data, dtype=float).reshape(width, height).T)).tolist()
        return {"outputs": [{"name": "label", "shape": [height], "datatype": "INT64", "data": labels}]}

    @bentoml.api
    def dict_columns_swapped(self, data: dict) -> dict:
        values = list(data.values())
        return {
            "predictions": IRIS.predict(matrix(list(zip(*(values[2:] + values[:2]), strict=True)))).tolist()
        }

    @bentoml.api
    def file_of_another_order(self, table: Path) -> list[int]:
        return IRIS.predict(matrix(np.loadtxt(table, delimiter=",", ndmin=2))[:, [2, 3, 0, 1]]).tolist()

    @bentoml.api
    def texts_reversed(self, texts: Strings) -> list[str]:
        return TOPICS.predict(worded(texts)[::-1]).tolist()

    # -- probabilities ---------------------------------------------------------------------------------------

    @bentoml.api
    def classes_permuted(self, rows: Matrix) -> dict:
        table = matrix(rows)
        return {
            "predictions": IRIS.predict(table).tolist(),
            "probabilities": proba(IRIS, table)[:, [1, 2, 0]].tolist(),
        }

    @bentoml.api
    def predictions_permuted(self, instances: Matrix) -> dict:
        return {"predictions": proba(IRIS, matrix(instances))[:, [1, 0, 2]].tolist()}

    @bentoml.api
    def proba_one_permuted(self, flower: Flower) -> list[float]:
        return proba(IRIS, iris(flower))[0, [1, 0, 2]].tolist()

    @bentoml.api
    def label_and_keys_shifted(self, flower: Flower) -> dict:
        keys = FLOWERS.classes_.tolist()
        chances = proba(FLOWERS, iris(flower))[0].tolist()
        return {
            "prediction": str(FLOWERS.predict(iris(flower))[0]),
            "probabilities": dict(zip(keys[1:] + keys[:1], chances, strict=True)),
        }

    @bentoml.api
    def matrix_permuted(self, rows: Matrix) -> np.ndarray:
        return proba(IRIS, matrix(rows))[:, [0, 2, 1]]

    @bentoml.api
    def matrix_reshaped(self, rows: Matrix) -> np.ndarray:
        table = proba(IRIS, matrix(rows))
        return table.T.reshape(table.shape)

    @bentoml.api
    def two_classes_swapped(self, data: list[Customer]) -> dict:
        given = customers(data)
        return {
            "predictions": CHURN.predict(given).tolist(),
            "probabilities": proba(CHURN, given)[:, ::-1].tolist(),
        }

    @bentoml.api
    def class_keys_shifted(self, rows: Matrix) -> list[dict]:
        keys = FLOWERS.classes_.tolist()
        return [
            dict(zip(keys[1:] + keys[:1], row, strict=True)) for row in proba(FLOWERS, matrix(rows)).tolist()
        ]

    @bentoml.api
    def class_columns_shifted(self, rows: Matrix) -> dict:
        keys = FLOWERS.classes_.tolist()
        return dict(zip(keys[1:] + keys[:1], proba(FLOWERS, matrix(rows)).T.tolist(), strict=True))

    @bentoml.api
    def number_keys_shifted(self, rows: Matrix) -> list[dict]:
        table = matrix(rows)
        pairs = zip(IRIS.predict(table).tolist(), proba(IRIS, table).tolist(), strict=True)
        return [{"label": label, "probabilities": dict(zip("120", row, strict=True))} for label, row in pairs]

    @bentoml.api
    def name_keys_shifted(self, rows: Matrix) -> list[dict]:
        return [
            dict(zip(["virginica", "setosa", "versicolor"], row, strict=True))
            for row in proba(IRIS, matrix(rows)).tolist()
        ]

    @bentoml.api
    def scores_not_sorted_with_labels(self, texts: Strings) -> list[list[dict]]:
        return [
            [
                {"label": label, "score": score}
                for label, score in zip(TOPICS.classes_.tolist(), sorted(row, reverse=True), strict=True)
            ]
            for row in proba(TOPICS, worded(texts)).tolist()
        ]

    @bentoml.api
    def negative_numbers(self, rows: Matrix) -> list[float]:
        return proba(CREDIT, credit_frame(rows))[:, 0].tolist()

    @bentoml.api
    def negative_array(self, rows: Matrix) -> np.ndarray:
        return proba(FRAUD, matrix(rows, 3))[:, 0]

    @bentoml.api
    def negative_named(self, customer: Customer) -> dict:
        return {"churn_probability": float(proba(CHURN, customers([customer]))[0, 0])}

    @bentoml.api
    def negative_scores(self, rows: Matrix) -> dict:
        frame = credit_frame(rows)
        return {"predictions": CREDIT.predict(frame).tolist(), "scores": proba(CREDIT, frame)[:, 0].tolist()}

    @bentoml.api
    def scores_of_predicted(self, rows: Matrix) -> dict:
        frame = credit_frame(rows)
        return {"predictions": CREDIT.predict(frame).tolist(), "scores": proba(CREDIT, frame).max(1).tolist()}

    @bentoml.api
    def second_of_two_wrong(self, rows: Matrix) -> list[list[dict]]:
        answers = []
        for row in proba(FLOWERS, matrix(rows)).tolist():
            best, second, third = np.argsort(row)[::-1].tolist()
            names = FLOWERS.classes_.tolist()
            answers.append(
                [{"label": names[best], "score": row[best]}, {"label": names[third], "score": row[second]}]
            )
        return answers

    @bentoml.api
    def negative_percent(self, customer: Customer) -> dict:
        given = customers([customer])
        return {
            "prediction": int(CHURN.predict(given)[0]),
            "probability": float(proba(CHURN, given)[0, 0]) * 100,
        }

    @bentoml.api
    def positive_one_off(self, rows: Matrix) -> list[float]:
        return turned(proba(CREDIT, credit_frame(rows))[:, 1]).tolist()

    @bentoml.api
    def confidence_of_another_class(self, rows: Matrix) -> dict:
        table = matrix(rows)
        return {"predictions": IRIS.predict(table).tolist(), "confidence": proba(IRIS, table)[:, 1].tolist()}

    @bentoml.api
    def confidence_of_another_row(self, rows: Matrix) -> dict:
        table = matrix(rows)
        return {
            "predictions": IRIS.predict(table).tolist(),
            "confidence": turned(proba(IRIS, table).max(1)).tolist(),
        }

    @bentoml.api
    def score_of_another_row(self, texts: Strings) -> list[dict]:
        scores = turned(proba(TOPICS, worded(texts)).max(1)).tolist()
        return [
            {"label": label, "score": score}
            for label, score in zip(TOPICS.predict(texts).tolist(), scores, strict=True)
        ]

    @bentoml.api
    def pairs_of_another_row(self, texts: Strings) -> list[list]:
        found = [
            [label, float(score)]
            for label, score in zip(
                TOPICS.predict(worded(texts)).tolist(), proba(TOPICS, texts).max(1), strict=True
            )
        ]
        return found[1:] + found[:1]

    @bentoml.api
    def pairs_with_scores_of_another_row(self, texts: Strings) -> list[list]:
        scores = turned(proba(TOPICS, worded(texts)).max(1)).tolist()
        return [[label, score] for label, score in zip(TOPICS.predict(texts).tolist(), scores, strict=True)]

    @bentoml.api
    def triples_of_another_row(self, rows: Matrix) -> list[list]:
        table = matrix(rows)
        found = [
            [int(label), float(row.max()), "v1"]
            for label, row in zip(IRIS.predict(table), proba(IRIS, table), strict=True)
        ]
        return found[1:] + found[:1]

    @bentoml.api
    def float32_cast(self, data: list[Customer]) -> dict:
        given = customers(data)
        return {
            "predictions": CHURN.predict(given).tolist(),
            "probabilities": proba(CHURN, given).astype("float32").astype(float).tolist(),
        }

    @bentoml.api
    def proba_constant(self, rows: Matrix) -> list[list[float]]:
        return [[1 / 3, 1 / 3, 1 / 3]] * len(matrix(rows))

    @bentoml.api
    def proba_of_labels(self, rows: Matrix) -> dict:
        labels = IRIS.predict(matrix(rows))
        return {"predictions": labels.tolist(), "probabilities": np.eye(3)[labels].tolist()}

    # -- rounding --------------------------------------------------------------------------------------------

    @bentoml.api
    def rounding_flips(self, data: list[Customer]) -> dict:
        chances = proba(CHURN, customers(data)).round(1)
        return {"predictions": (chances[:, 1] > 0.5).astype(int).tolist(), "probabilities": chances.tolist()}

    @bentoml.api
    def rounding_flips_labels(self, data: list[Customer]) -> list[int]:
        return (proba(CHURN, customers(data))[:, 1].round(1) > 0.5).astype(int).tolist()

    @bentoml.api
    def rounded_unevenly(self, data: list[Customer]) -> list[list[float]]:
        table = proba(CHURN, customers(data)).round(4)
        table[0] = table[0].round(1)
        return table.tolist()

    @bentoml.api
    def rounded_of_another_model(self, rows: Matrix) -> dict:
        table = matrix(rows)
        sharpened = proba(IRIS, table) ** 1.3
        return {
            "predictions": IRIS.predict(table).tolist(),
            "probabilities": (sharpened / sharpened.sum(1, keepdims=True)).round(1).tolist(),
        }

    @bentoml.api
    def rounded_and_wrong(self, data: list[Customer]) -> list[list[float]]:
        return proba(CHURN, customers(data))[:, ::-1].round(3).tolist()

    @bentoml.api
    def truncated(self, rows: Dense) -> dict:
        return {"predictions": (np.floor(PRICE.predict(dense(rows)) * 100) / 100).tolist()}

    @bentoml.api
    def rounded_price_of_another(self, rows: Dense) -> dict:
        return {"predictions": turned(PRICE.predict(dense(rows)).round(2)).tolist()}

    @bentoml.api
    def rounded_to_nothing(self, data: list[Customer]) -> list[list[float]]:
        return proba(CHURN, customers(data)).round(0).tolist()

    # -- regression ------------------------------------------------------------------------------------------

    @bentoml.api
    def tiny_change(self, rows: Dense) -> dict:
        prices = PRICE.predict(dense(rows))
        prices[-1] *= 1 + 1e-6
        return {"predictions": prices.tolist()}

    @bentoml.api
    def price_float32(self, rows: Dense) -> list[float]:
        return PRICE.predict(dense(rows)).astype("float32").astype(float).tolist()

    @bentoml.api
    def price_one_off(self, rows: Dense) -> list[list[float]]:
        return turned(PRICE.predict(dense(rows))).reshape(-1, 1).tolist()

    @bentoml.api
    def price_of_the_latency(self, house: House) -> dict:
        price = float(PRICE.predict(dense([list(house.model_dump().values())]))[0])
        return {"price": price / 1000, "latency_ms": price}

    @bentoml.api
    def price_text_of_another(self, house: House) -> str:
        price = float(PRICE.predict(dense([list(house.model_dump().values())[::-1]]))[0])
        return f"{price:.2f} EUR"

    @bentoml.api
    def thousands_of_another_row(self, rows: Dense) -> dict:
        return {"price_in_thousands": (turned(PRICE.predict(dense(rows))) / 1000).tolist()}

    @bentoml.api
    def price_negated(self, house: House) -> dict:
        return {"price": -float(PRICE.predict(dense([list(house.model_dump().values())]))[0])}

    @bentoml.api
    def interval_lists_swapped(self, rows: Dense) -> dict:
        bounds = FORECAST.predict_interval(dense(rows))
        return {
            "predictions": FORECAST.predict(rows).tolist(),
            "lower": bounds[:, 1].tolist(),
            "upper": bounds[:, 0].tolist(),
        }

    @bentoml.api
    def interval_pairs_swapped(self, rows: Dense) -> dict:
        return {
            "predictions": FORECAST.predict(dense(rows)).tolist(),
            "intervals": FORECAST.predict_interval(rows)[:, ::-1].tolist(),
        }

    @bentoml.api
    def interval_objects_swapped(self, rows: Dense) -> list[dict]:
        table = dense(rows)
        pairs = zip(FORECAST.predict(table).tolist(), FORECAST.predict_interval(table).tolist(), strict=True)
        return [{"prediction": value, "lower": high, "upper": low} for value, (low, high) in pairs]

    @bentoml.api
    def interval_of_another_row(self, rows: Dense) -> dict:
        return {
            "predictions": FORECAST.predict(dense(rows)).tolist(),
            "intervals": turned(FORECAST.predict_interval(rows)).tolist(),
        }

    @bentoml.api
    def interval_lists_of_another_row(self, rows: Dense) -> dict:
        bounds = turned(FORECAST.predict_interval(dense(rows)))
        return {
            "predictions": FORECAST.predict(rows).tolist(),
            "lower": bounds[:, 0].tolist(),
            "upper": bounds[:, 1].tolist(),
        }

    @bentoml.api
    def quantiles_shifted(self, rows: Dense) -> list[dict]:
        table = dense(rows)
        pairs = zip(FORECAST.predict(table).tolist(), FORECAST.predict_interval(table).tolist(), strict=True)
        return [{"p10": value, "p50": high, "p90": low} for value, (low, high) in pairs]
