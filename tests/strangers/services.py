"""Healthy services, with each route in a form that teams use: all answer exactly as the model in memory.

Bad input is refused with status 400, as a careful team does; what is left of the forms themselves is theirs.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, Literal

import bentoml
import numpy as np
import pandas as pd
from bentoml.exceptions import InvalidArgument
from bentoml.validators import DataframeSchema, DType, Shape
from models import (
    CHURN,
    CHURN_COLUMNS,
    CREDIT,
    FLOWERS,
    FORECAST,
    FRAUD,
    IRIS,
    IRIS_COLUMNS,
    IRIS_NAMES,
    LENGTH,
    PRICE,
    PRICE_COLUMNS,
    TOPICS,
)
from PIL.Image import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
Matrix = list[list[Number | None]]  # missing values are the model's own business
Dense = list[list[Number]]
PLANS = ["basic", "plus", "premium"]


def spelled(plan: str | None) -> str | None:
    if plan is not None and plan not in PLANS and plan.strip().lower() in PLANS:
        raise ValueError("write a plan as it is in the price list")
    return plan


Plan = Annotated[str | None, AfterValidator(spelled)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Flower(Strict):
    sepal_length: float | None
    sepal_width: float | None
    petal_length: float | None
    petal_width: float | None


class Customer(Strict):
    tenure_months: int
    monthly_spend: float
    support_calls: int
    plan: Plan


class Listed(Strict):
    tenure_months: int
    monthly_spend: float
    support_calls: int
    plan: Literal["basic", "plus", "premium"]


class House(Strict):
    tenure_months: float
    monthly_spend: float
    support_calls: float


class CamelFlower(Strict):
    sepal_length: float | None = Field(alias="sepalLength")
    sepal_width: float | None = Field(alias="sepalWidth")
    petal_length: float | None = Field(alias="petalLength")
    petal_width: float | None = Field(alias="petalWidth")


class Blume(Strict):
    kelch_laenge: float | None
    kelch_breite: float | None
    bluete_laenge: float | None
    bluete_breite: float | None


class Inputs(Strict):
    inputs: Matrix


class Instances(Strict):
    instances: list[Customer]


class Payload(Strict):
    rows: Matrix


class Nested(Strict):
    data: Payload


class Split(Strict):
    columns: list[str]
    data: list[list[Any]]


class ColumnLists(Strict):
    sepal_length: list[float | None]
    sepal_width: list[float | None]
    petal_length: list[float | None]
    petal_width: list[float | None]


class ClientOptions(Strict):
    customers: list[Customer]
    threshold: float = 0.5
    return_proba: bool = False


class Item(Strict):
    id: str
    features: Flower


class Tensor(Strict):
    name: str
    shape: list[int]
    datatype: Literal["FP64"]
    data: list[float | None]


class Infer(Strict):
    """A request of the Open Inference Protocol."""

    inputs: list[Tensor]


class Classified(BaseModel):
    label: int
    probabilities: list[float]


def matrix(rows: Any, width: int = 4) -> Any:
    """Return rows as an array, or refuse them."""
    try:
        table = np.asarray(rows, dtype=object).astype(float)
    except (TypeError, ValueError):
        raise InvalidArgument(f"rows of {width} numbers are expected") from None
    given = np.asarray(rows, dtype=object).ravel()
    if (
        table.ndim != 2
        or table.shape[1] != width
        or not len(table)
        or any(isinstance(value, (str, bool)) for value in given)
    ):
        raise InvalidArgument(f"rows of {width} numbers are expected")
    if np.isinf(table).any():
        raise InvalidArgument("numbers must be finite")
    return table


def dense(rows: Any) -> Any:
    table = matrix(rows, 3)
    if np.isnan(table).any():
        raise InvalidArgument("no value may be missing")
    return table


def iris(flower: BaseModel) -> Any:
    return matrix([list(flower.model_dump().values())])


def customers(given: Any) -> Any:
    """Return customers as the frame that the model was trained on, or refuse them."""
    rows = [one.model_dump() if isinstance(one, BaseModel) else one for one in given]
    if not rows:
        raise InvalidArgument("no customer was sent")
    for row in rows:
        try:
            Customer.model_validate(row)
        except (TypeError, ValueError) as problem:
            raise InvalidArgument(str(problem)) from None
    return pd.DataFrame(rows)[CHURN_COLUMNS]


def framed(frame: Any) -> Any:
    """Return a frame that pandas read from JSON as the model's own, or refuse it."""
    try:
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        return customers(records)
    except (KeyError, ValueError) as problem:
        raise InvalidArgument(str(problem)) from None


def credit_frame(rows: Any) -> Any:
    return pd.DataFrame(matrix(rows, 3), columns=PRICE_COLUMNS)


def worded(texts: Any) -> Any:
    if not texts:
        raise InvalidArgument("no text was sent")
    return texts


def named(labels: Any) -> Any:
    return [IRIS_NAMES[label] for label in labels]


Strings = list[Annotated[str, Field(strict=True)]]


@bentoml.service(traffic={"timeout": 60})
class Strangers:
    # -- how rows are sent -----------------------------------------------------------------------------------

    @bentoml.api
    def rows_lists(self, rows: Matrix) -> dict:
        table = matrix(rows)
        return {
            "predictions": IRIS.predict(table).tolist(),
            "probabilities": IRIS.predict_proba(table).tolist(),
        }

    @bentoml.api
    def array(self, input_data: Annotated[np.ndarray, Shape((-1, 4)), DType("float64")]) -> np.ndarray:
        return IRIS.predict(matrix(input_data))

    @bentoml.api
    def array_one(self, input_data: Annotated[np.ndarray, Shape((1, 4)), DType("float64")]) -> np.ndarray:
        return IRIS.predict(matrix(input_data))

    @bentoml.api
    def array_any(self, x: np.ndarray) -> np.ndarray:
        return IRIS.predict(matrix(x))

    @bentoml.api
    def frame_records(self, df: pd.DataFrame) -> list[int]:
        return CHURN.predict(framed(df)).tolist()

    @bentoml.api
    def frame_columns(self, df: Annotated[pd.DataFrame, DataframeSchema(orient="columns")]) -> list[int]:
        return CHURN.predict(framed(df)).tolist()

    @bentoml.api
    def frame_split(self, dataframe_split: Split) -> dict:
        try:
            frame = pd.DataFrame(dataframe_split.data, columns=dataframe_split.columns, dtype=object)
        except ValueError as problem:
            raise InvalidArgument(str(problem)) from None
        return {"predictions": CHURN.predict(framed(frame)).tolist()}

    @bentoml.api
    def one_model(self, customer: Customer) -> dict:
        return {"prediction": int(CHURN.predict(customers([customer]))[0])}

    @bentoml.api
    def many_models(self, data: list[Customer]) -> list[int]:
        return CHURN.predict(customers(data)).tolist()

    @bentoml.api
    def many_listed(self, data: list[Listed]) -> list[int]:
        return CHURN.predict(customers(data)).tolist()

    @bentoml.api
    def many_dicts(self, data: list[dict]) -> list[int]:
        return CHURN.predict(customers(data)).tolist()

    @bentoml.api
    def wrapper_inputs(self, request: Inputs, /) -> dict:
        return {"outputs": IRIS.predict(matrix(request.inputs)).tolist()}

    @bentoml.api(input_spec=Instances)
    def wrapper_instances(self, instances: list[Customer]) -> dict:
        return {"predictions": CHURN.predict(customers(instances)).tolist()}

    @bentoml.api
    def nested_data(self, request: Nested, /) -> dict:
        return {"predictions": IRIS.predict(matrix(request.data.rows)).tolist()}

    @bentoml.api(input_spec=Flower)
    def spec_fields(self, **fields: Any) -> dict:
        return {"prediction": int(IRIS.predict(matrix([[fields[name] for name in IRIS_COLUMNS]]))[0])}

    @bentoml.api
    def root_record(self, flower: Flower, /) -> dict:
        return {"prediction": int(IRIS.predict(iris(flower))[0])}

    @bentoml.api
    def root_records(self, data: list[Customer], /) -> list[int]:
        return CHURN.predict(customers(data)).tolist()

    @bentoml.api
    def scalars(
        self,
        sepal_length: Number | None,
        sepal_width: Number | None,
        petal_length: Number | None,
        petal_width: Number | None,
    ) -> int:
        return int(IRIS.predict(matrix([[sepal_length, sepal_width, petal_length, petal_width]]))[0])

    @bentoml.api
    def scalars_defaults(
        self,
        sepal_length: Number | None,
        sepal_width: Number | None = 3.0,
        petal_length: Number | None = 4.0,
        petal_width: Number | None = 1.2,
    ) -> int:
        return int(IRIS.predict(matrix([[sepal_length, sepal_width, petal_length, petal_width]]))[0])

    @bentoml.api
    def dict_record(self, data: dict) -> dict:
        return {"prediction": int(CHURN.predict(customers([data]))[0])}

    @bentoml.api
    def dict_columns(self, data: dict) -> dict:
        try:
            frame = pd.DataFrame(
                {name: pd.Series(list(values), dtype=object) for name, values in data.items()}
            )
        except (TypeError, ValueError) as problem:
            raise InvalidArgument(str(problem)) from None
        return {"predictions": CHURN.predict(framed(frame)).tolist()}

    @bentoml.api
    def columns_model(self, data: ColumnLists) -> dict:
        columns = list(data.model_dump().values())
        if len({len(column) for column in columns}) != 1:
            raise InvalidArgument("columns must be of one length")
        return {"predictions": IRIS.predict(matrix(list(zip(*columns, strict=True)))).tolist()}

    @bentoml.api
    def flat_row(self, features: list[Number | None]) -> dict:
        return {"prediction": int(IRIS.predict(matrix([features]))[0])}

    @bentoml.api
    def flat_array(self, features: Annotated[np.ndarray, Shape((4,)), DType("float64")]) -> int:
        return int(IRIS.predict(matrix([features]))[0])

    @bentoml.api
    def typed_dict(self, features: dict[str, Number | None]) -> dict:
        if set(features) != set(IRIS_COLUMNS):
            raise InvalidArgument(f"features: {IRIS_COLUMNS} are expected")
        return {"prediction": int(IRIS.predict(matrix([[features[name] for name in IRIS_COLUMNS]]))[0])}

    @bentoml.api
    def infer(self, request: Infer, /) -> dict:
        """As the Open Inference Protocol (V2) has it: a flat list, and its shape."""
        try:
            (tensor,) = request.inputs
            table = matrix(np.array(tensor.data, dtype=float).reshape(tensor.shape))
        except ValueError as problem:
            raise InvalidArgument(str(problem)) from None
        labels = IRIS.predict(table).tolist()
        return {
            "model_name": "iris",
            "outputs": [{"name": "label", "shape": [len(labels)], "datatype": "INT64", "data": labels}],
        }

    @bentoml.api
    def texts(self, texts: Strings) -> list[str]:
        return TOPICS.predict(worded(texts)).tolist()

    @bentoml.api
    def text_lengths(self, sentences: Strings) -> list[int]:
        return LENGTH.predict(worded(sentences)).tolist()

    @bentoml.api
    def text(self, text: Annotated[str, Field(strict=True)]) -> str:
        return str(TOPICS.predict([text])[0])

    @bentoml.api
    def camel_case(self, flower: CamelFlower) -> dict:
        return {"prediction": int(IRIS.predict(iris(flower))[0])}

    @bentoml.api
    def other_names(self, blume: Blume) -> dict:
        return {"prediction": int(IRIS.predict(iris(blume))[0])}

    @bentoml.api
    def constant_literal(self, rows: Matrix, version: Literal["v1"]) -> dict:
        return {"predictions": IRIS.predict(matrix(rows)).tolist(), "version": version}

    @bentoml.api
    def constant_field(self, rows: Matrix, model: str) -> dict:
        if model != "iris":
            raise InvalidArgument(f"there is no model {model!r} here")
        return {"predictions": IRIS.predict(matrix(rows)).tolist()}

    @bentoml.api
    def request_id(self, rows: Matrix, request_id: str) -> dict:
        return {"request_id": request_id, "predictions": IRIS.predict(matrix(rows)).tolist()}

    @bentoml.api(input_spec=ClientOptions)
    def optional_fields(self, **fields: Any) -> dict:
        given = customers(fields["customers"])
        positive = CHURN.predict_proba(given)[:, 1]
        answer = {"predictions": (positive > fields["threshold"]).astype(int).tolist()}
        return answer | (
            {"probabilities": CHURN.predict_proba(given).tolist()} if fields["return_proba"] else {}
        )

    @bentoml.api
    def threshold_argument(self, customers_list: list[Customer], threshold: float = 0.5) -> list[int]:
        return (CHURN.predict_proba(customers(customers_list))[:, 1] > threshold).astype(int).tolist()

    @bentoml.api
    def items_with_ids(self, items: list[Item]) -> list[dict]:
        if not items:
            raise InvalidArgument("no item was sent")
        return [{"id": item.id, "prediction": int(IRIS.predict(iris(item.features))[0])} for item in items]

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=5000)
    def batchable(
        self, rows: list[Annotated[list[Number | None], Field(min_length=4, max_length=4)]]
    ) -> list[int]:
        return IRIS.predict(matrix(rows)).tolist()

    @bentoml.api(route="/v1/models/iris:predict")
    def versioned(self, instances: Matrix) -> dict:
        return {"predictions": IRIS.predict(matrix(instances)).tolist()}

    @bentoml.api
    def with_context(self, rows: Matrix, ctx: bentoml.Context) -> list[int]:
        ctx.response.headers["X-Model-Version"] = "3"
        return IRIS.predict(matrix(rows)).tolist()

    # -- predictions -----------------------------------------------------------------------------------------

    @bentoml.api
    def bare_list(self, rows: Matrix) -> list[int]:
        return IRIS.predict(matrix(rows)).tolist()

    @bentoml.api
    def bare_words(self, rows: Matrix) -> list[str]:
        return FLOWERS.predict(matrix(rows)).tolist()

    @bentoml.api
    def one_word(self, flower: Flower) -> str:
        return str(FLOWERS.predict(iris(flower))[0])

    @bentoml.api
    def one_name(self, flower: Flower) -> str:
        return IRIS_NAMES[int(IRIS.predict(iris(flower))[0])]

    @bentoml.api
    def json_text(self, rows: Matrix) -> str:
        """A team that calls json.dumps itself: text/plain, by BentoML."""
        return json.dumps({"predictions": IRIS.predict(matrix(rows)).tolist()})

    @bentoml.api
    def column(self, rows: Matrix) -> np.ndarray:
        return IRIS.predict(matrix(rows)).reshape(-1, 1)

    @bentoml.api
    def float_labels(self, rows: Matrix) -> np.ndarray:
        return CREDIT.predict(credit_frame(rows)).astype("float32")

    @bentoml.api
    def answer_frame(self, rows: Matrix) -> pd.DataFrame:
        return pd.DataFrame({"prediction": IRIS.predict(matrix(rows))})

    @bentoml.api
    def answer_columns(self, rows: Matrix) -> Annotated[pd.DataFrame, DataframeSchema(orient="columns")]:
        return pd.DataFrame({"prediction": IRIS.predict(matrix(rows))})

    @bentoml.api
    def answer_to_dict(self, rows: Matrix) -> dict:
        frame = pd.DataFrame({"predictions": IRIS.predict(matrix(rows))})
        return {"predictions": {str(index): value for index, value in frame["predictions"].to_dict().items()}}

    @bentoml.api
    def list_of_one(self, flower: Flower) -> dict:
        return {"prediction": IRIS.predict(iris(flower)).tolist()}

    @bentoml.api
    def key_result(self, rows: Matrix) -> dict:
        return {"result": IRIS.predict(matrix(rows)).tolist()}

    @bentoml.api
    def key_output(self, rows: Matrix) -> dict:
        return {"output": IRIS.predict(matrix(rows)).tolist()}

    @bentoml.api
    def key_y_pred(self, rows: Matrix) -> dict:
        return {"y_pred": IRIS.predict(matrix(rows)).tolist()}

    @bentoml.api
    def key_labels(self, rows: Matrix) -> dict:
        return {"labels": FLOWERS.predict(matrix(rows)).tolist()}

    @bentoml.api
    def key_class(self, flower: Flower) -> dict:
        return {"class": int(IRIS.predict(iris(flower))[0])}

    @bentoml.api
    def key_of_the_task(self, customer: Customer) -> dict:
        return {"will_churn": int(CHURN.predict(customers([customer]))[0])}

    @bentoml.api
    def names(self, rows: Matrix) -> list[str]:
        return named(IRIS.predict(matrix(rows)))

    @bentoml.api
    def id_and_name(self, rows: Matrix) -> list[dict]:
        return [
            {"class_id": int(label), "class_name": IRIS_NAMES[label]} for label in IRIS.predict(matrix(rows))
        ]

    @bentoml.api
    def label_text(self, rows: Matrix) -> dict:
        return {"predictions": [str(label) for label in IRIS.predict(matrix(rows))]}

    @bentoml.api
    def booleans(self, rows: Matrix) -> list[bool]:
        return CREDIT.predict(credit_frame(rows)).astype(bool).tolist()

    @bentoml.api
    def approved(self, rows: Matrix) -> dict:
        return {"approved": [not label for label in CREDIT.predict(credit_frame(rows))]}

    @bentoml.api
    def yes_no(self, customer: Customer) -> dict:
        return {"churn": "Yes" if CHURN.predict(customers([customer]))[0] else "No"}

    @bentoml.api
    def yes_or_no(self, rows: Matrix) -> dict:
        return {"predictions": [("no", "yes")[label] for label in CREDIT.predict(credit_frame(rows))]}

    @bentoml.api
    def one_hot(self, rows: Matrix) -> list[list[int]]:
        return np.eye(3, dtype=int)[IRIS.predict(matrix(rows))].tolist()

    @bentoml.api
    def typed_answer(self, rows: Matrix) -> list[Classified]:
        table = matrix(rows)
        pairs = zip(IRIS.predict(table).tolist(), IRIS.predict_proba(table).tolist(), strict=True)
        return [Classified(label=label, probabilities=row) for label, row in pairs]

    @bentoml.api
    def envelope(self, rows: Matrix) -> dict:
        return {"status": "ok", "data": IRIS.predict(matrix(rows)).tolist()}

    @bentoml.api
    def envelope_nested(self, rows: Matrix) -> dict:
        return {"code": 0, "message": "success", "data": {"predictions": IRIS.predict(matrix(rows)).tolist()}}

    @bentoml.api
    def metadata(self, rows: Matrix) -> dict:
        began = time.perf_counter()
        predictions = IRIS.predict(matrix(rows)).tolist()
        return {
            "predictions": predictions,
            "model": {"name": "iris", "version": 3},
            "timestamp": time.time(),
            "latency_ms": 1000 * (time.perf_counter() - began),
            "count": len(predictions),
        }

    @bentoml.api
    def echo(self, flowers: list[Flower]) -> list[dict]:
        if not flowers:
            raise InvalidArgument("no flower was sent")
        return [
            {"input": flower.model_dump(), "prediction": int(IRIS.predict(iris(flower))[0])}
            for flower in flowers
        ]

    @bentoml.api
    def errors_200(self, data: dict) -> dict:
        try:
            return {"prediction": int(CHURN.predict(customers([data]))[0])}
        except InvalidArgument as problem:
            return {"error": str(problem)}

    @bentoml.api
    def explained(self, rows: Matrix) -> dict:
        return {
            "predictions": IRIS.predict(matrix(rows)).tolist(),
            "feature_importance": dict(zip(IRIS_COLUMNS, IRIS.feature_importances_.tolist(), strict=True)),
        }

    # -- probabilities ---------------------------------------------------------------------------------------

    @bentoml.api
    def proba_matrix(self, rows: Matrix) -> np.ndarray:
        return IRIS.predict_proba(matrix(rows))

    @bentoml.api
    def proba_as_predictions(self, instances: Matrix) -> dict:
        """As Keras and TensorFlow Serving have it: what is predicted are the probabilities."""
        return {"predictions": IRIS.predict_proba(matrix(instances)).tolist()}

    @bentoml.api
    def proba_one(self, flower: Flower) -> list[float]:
        return IRIS.predict_proba(iris(flower))[0].tolist()

    @bentoml.api
    def label_and_by_class_one(self, flower: Flower) -> dict:
        chances = FLOWERS.predict_proba(iris(flower))[0].tolist()
        return {
            "prediction": str(FLOWERS.predict(iris(flower))[0]),
            "probabilities": dict(zip(FLOWERS.classes_.tolist(), chances, strict=True)),
        }

    @bentoml.api
    def proba_two(self, data: list[Customer]) -> dict:
        given = customers(data)
        return {
            "predictions": CHURN.predict(given).tolist(),
            "probabilities": CHURN.predict_proba(given).tolist(),
        }

    @bentoml.api
    def proba_float32(self, rows: Matrix) -> dict:
        table = matrix(rows, 3)
        return {
            "predictions": FRAUD.predict(table).tolist(),
            "probabilities": FRAUD.predict_proba(table).tolist(),
        }

    @bentoml.api
    def answer_dicts(self, rows: Matrix) -> list[dict]:
        table = matrix(rows)
        pairs = zip(IRIS.predict(table).tolist(), IRIS.predict_proba(table).tolist(), strict=True)
        return [{"prediction": label, "probabilities": row} for label, row in pairs]

    @bentoml.api
    def proba_by_class(self, rows: Matrix) -> list[dict]:
        return [
            dict(zip(FLOWERS.classes_.tolist(), row, strict=True))
            for row in FLOWERS.predict_proba(matrix(rows)).tolist()
        ]

    @bentoml.api
    def proba_by_class_one(self, flower: Flower) -> dict:
        return dict(
            zip(FLOWERS.classes_.tolist(), FLOWERS.predict_proba(iris(flower))[0].tolist(), strict=True)
        )

    @bentoml.api
    def label_and_by_class(self, rows: Matrix) -> list[dict]:
        table = matrix(rows)
        pairs = zip(IRIS.predict(table).tolist(), IRIS.predict_proba(table).tolist(), strict=True)
        return [{"label": label, "probabilities": dict(zip("012", row, strict=True))} for label, row in pairs]

    @bentoml.api
    def proba_by_name(self, rows: Matrix) -> list[dict]:
        return [dict(zip(IRIS_NAMES, row, strict=True)) for row in IRIS.predict_proba(matrix(rows)).tolist()]

    @bentoml.api
    def proba_columns(self, rows: Matrix) -> dict:
        """As `DataFrame(predict_proba, columns=classes).to_dict("list")`."""
        return dict(
            zip(FLOWERS.classes_.tolist(), FLOWERS.predict_proba(matrix(rows)).T.tolist(), strict=True)
        )

    @bentoml.api
    def sorted_scores(self, texts: Strings) -> list[list[dict]]:
        answers = []
        for row in TOPICS.predict_proba(worded(texts)).tolist():
            scores = [
                {"label": label, "score": score}
                for label, score in zip(TOPICS.classes_.tolist(), row, strict=True)
            ]
            answers.append(sorted(scores, key=lambda one: -one["score"]))
        return answers

    @bentoml.api
    def top_two(self, rows: Matrix) -> list[list[dict]]:
        answers = []
        for row in FLOWERS.predict_proba(matrix(rows)).tolist():
            scores = [
                {"label": label, "score": score}
                for label, score in zip(FLOWERS.classes_.tolist(), row, strict=True)
            ]
            answers.append(sorted(scores, key=lambda one: -one["score"])[:2])
        return answers

    @bentoml.api
    def label_score(self, texts: Strings) -> list[dict]:
        pairs = zip(
            TOPICS.predict(worded(texts)).tolist(), TOPICS.predict_proba(texts).max(1).tolist(), strict=True
        )
        return [{"label": label, "score": score} for label, score in pairs]

    @bentoml.api
    def nested_result(self, text: Annotated[str, Field(strict=True)]) -> dict:
        return {
            "result": {
                "label": str(TOPICS.predict([text])[0]),
                "score": float(TOPICS.predict_proba([text]).max()),
            }
        }

    @bentoml.api
    def pairs(self, texts: Strings) -> list[list]:
        return [
            [label, float(score)]
            for label, score in zip(
                TOPICS.predict(worded(texts)).tolist(), TOPICS.predict_proba(texts).max(1), strict=True
            )
        ]

    @bentoml.api
    def triples(self, rows: Matrix) -> list[list]:
        table = matrix(rows)
        return [
            [int(label), float(row[0]), "v1"]
            for label, row in zip(IRIS.predict(table), IRIS.predict_proba(table), strict=True)
        ]

    @bentoml.api
    def triples_confidence(self, rows: Matrix) -> list[list]:
        table = matrix(rows)
        return [
            [int(label), float(row.max()), "v1"]
            for label, row in zip(IRIS.predict(table), IRIS.predict_proba(table), strict=True)
        ]

    @bentoml.api
    def positive_numbers(self, rows: Matrix) -> list[float]:
        return CREDIT.predict_proba(credit_frame(rows))[:, 1].tolist()

    @bentoml.api
    def positive_array(self, rows: Matrix) -> np.ndarray:
        return FRAUD.predict_proba(matrix(rows, 3))[:, 1]

    @bentoml.api
    def positive_named(self, customer: Customer) -> dict:
        return {"churn_probability": float(CHURN.predict_proba(customers([customer]))[0, 1])}

    @bentoml.api
    def scores(self, rows: Matrix) -> dict:
        frame = credit_frame(rows)
        return {
            "predictions": CREDIT.predict(frame).tolist(),
            "scores": CREDIT.predict_proba(frame)[:, 1].tolist(),
        }

    @bentoml.api
    def negative_numbers(self, rows: Matrix) -> dict:
        """The team's number is the chance that all goes well: class 0."""
        return {"repayment_probability": CREDIT.predict_proba(credit_frame(rows))[:, 0].tolist()}

    @bentoml.api
    def confidence(self, rows: Matrix) -> dict:
        table = matrix(rows)
        return {
            "predictions": IRIS.predict(table).tolist(),
            "confidence": IRIS.predict_proba(table).max(1).tolist(),
        }

    @bentoml.api
    def confidence_one(self, customer: Customer) -> dict:
        given = customers([customer])
        return {
            "prediction": int(CHURN.predict(given)[0]),
            "confidence": float(CHURN.predict_proba(given).max()),
            "model_version": "2026-11-01",
        }

    @bentoml.api
    def margins(self, data: list[Customer]) -> list[float]:
        return CHURN.decision_function(customers(data)).tolist()

    @bentoml.api
    def rounded_one(self, rows: Matrix) -> dict:
        table = matrix(rows)
        return {
            "predictions": IRIS.predict(table).tolist(),
            "probabilities": IRIS.predict_proba(table).round(1).tolist(),
        }

    @bentoml.api
    def rounded_three(self, data: list[Customer]) -> list[list[float]]:
        return CHURN.predict_proba(customers(data)).round(3).tolist()

    @bentoml.api
    def rounded_four(self, data: list[Customer]) -> list[dict]:
        given = customers(data)
        pairs = zip(CHURN.predict(given), CHURN.predict_proba(given)[:, 1], strict=True)
        return [{"prediction": int(label), "probability": round(float(chance), 4)} for label, chance in pairs]

    @bentoml.api
    def percent(self, customer: Customer) -> dict:
        given = customers([customer])
        return {
            "prediction": int(CHURN.predict(given)[0]),
            "probability": float(CHURN.predict_proba(given)[0, 1]) * 100,
        }

    @bentoml.api
    def percent_text(self, customer: Customer) -> dict:
        return {"churn": f"{100 * CHURN.predict_proba(customers([customer]))[0, 1]:.1f}%"}

    @bentoml.api
    def proba_text(self, data: list[Customer]) -> dict:
        return {
            "probabilities": [
                [f"{chance:.17g}" for chance in row] for row in CHURN.predict_proba(customers(data)).tolist()
            ]
        }

    @bentoml.api
    def risk_band(self, customer: Customer) -> dict:
        chance = float(CHURN.predict_proba(customers([customer]))[0, 1])
        return {
            "probability": chance,
            "risk": "high" if chance > 0.7 else "medium" if chance > 0.3 else "low",
        }

    # -- regression ------------------------------------------------------------------------------------------

    @bentoml.api
    def price_number(self, tenure_months: Number, monthly_spend: Number, support_calls: Number) -> float:
        return float(PRICE.predict(dense([[tenure_months, monthly_spend, support_calls]]))[0])

    @bentoml.api
    def price_list(self, rows: Dense) -> list[float]:
        return PRICE.predict(dense(rows)).tolist()

    @bentoml.api
    def price_column(self, rows: Dense) -> np.ndarray:
        return PRICE.predict(dense(rows)).reshape(-1, 1)

    @bentoml.api
    def price_dict(self, house: House) -> dict:
        return {"price": float(PRICE.predict(dense([list(house.model_dump().values())]))[0])}

    @bentoml.api
    def price_rounded(self, house: House) -> dict:
        return {"price": round(float(PRICE.predict(dense([list(house.model_dump().values())]))[0]), 2)}

    @bentoml.api
    def price_rounded_list(self, rows: Dense) -> dict:
        return {"predictions": PRICE.predict(dense(rows)).round(2).tolist()}

    @bentoml.api
    def price_text(self, house: House) -> str:
        return f"{PRICE.predict(dense([list(house.model_dump().values())]))[0]:.2f} EUR"

    @bentoml.api
    def price_metadata(self, house: House) -> dict:
        began = time.perf_counter()
        price = float(PRICE.predict(dense([list(house.model_dump().values())]))[0])
        return {
            "predicted_price": price,
            "model_version": "3",
            "latency_ms": 1000 * (time.perf_counter() - began),
        }

    @bentoml.api
    def price_thousands(self, rows: Dense) -> dict:
        return {"price_in_thousands": (PRICE.predict(dense(rows)) / 1000).tolist()}

    @bentoml.api
    def interval_lists(self, rows: Dense) -> dict:
        bounds = FORECAST.predict_interval(dense(rows))
        return {
            "predictions": FORECAST.predict(rows).tolist(),
            "lower": bounds[:, 0].tolist(),
            "upper": bounds[:, 1].tolist(),
        }

    @bentoml.api
    def interval_pairs(self, rows: Dense) -> dict:
        return {
            "predictions": FORECAST.predict(dense(rows)).tolist(),
            "intervals": FORECAST.predict_interval(rows).tolist(),
        }

    @bentoml.api
    def interval_objects(self, rows: Dense) -> list[dict]:
        table = dense(rows)
        pairs = zip(FORECAST.predict(table).tolist(), FORECAST.predict_interval(table).tolist(), strict=True)
        return [{"prediction": value, "lower": low, "upper": high} for value, (low, high) in pairs]

    @bentoml.api
    def quantiles(self, rows: Dense) -> list[dict]:
        table = dense(rows)
        pairs = zip(FORECAST.predict(table).tolist(), FORECAST.predict_interval(table).tolist(), strict=True)
        return [{"p10": low, "p50": value, "p90": high} for value, (low, high) in pairs]

    # -- what cannot be judged -------------------------------------------------------------------------------

    @bentoml.api
    async def stream(self, rows: Matrix) -> AsyncGenerator[str, None]:
        for label in IRIS.predict(matrix(rows)):
            yield f"{label}\n"

    @bentoml.api
    def file(self, table: Path) -> list[int]:
        try:
            return IRIS.predict(matrix(np.loadtxt(table, delimiter=",", ndmin=2))).tolist()
        except (ValueError, UnicodeDecodeError):
            raise InvalidArgument("a CSV file of numbers is expected") from None

    @bentoml.api
    def image(self, picture: Image) -> dict:
        return {"prediction": int(np.asarray(picture.convert("L"), dtype=int).sum() % 3)}


# -- services with few routes, whose route must be found ----------------------------------------------------


@bentoml.service
class Predict:
    @bentoml.api
    def predict(self, rows: Matrix) -> dict:
        return {"predictions": IRIS.predict(matrix(rows)).tolist()}


@bentoml.service
class Classify:
    @bentoml.api
    def classify(self, input_series: Annotated[np.ndarray, Shape((-1, 4)), DType("float64")]) -> np.ndarray:
        return IRIS.predict(matrix(input_series))


@bentoml.service
class ProbabilityRoute:
    """`/predict` beside `/predict_proba`."""

    @bentoml.api
    def predict(self, rows: Matrix) -> list[int]:
        return IRIS.predict(matrix(rows)).tolist()

    @bentoml.api
    def predict_proba(self, rows: Matrix) -> list[list[float]]:
        return IRIS.predict_proba(matrix(rows)).tolist()


@bentoml.service
class PredictAndBatch:
    """`/predict` takes one row, `/predict_batch` many."""

    @bentoml.api
    def predict(self, flower: Flower) -> dict:
        return {"prediction": int(IRIS.predict(iris(flower))[0])}

    @bentoml.api
    def predict_batch(self, batch_id: str, rows: Matrix) -> dict:
        return {"batch_id": batch_id, "predictions": IRIS.predict(matrix(rows)).tolist()}


@bentoml.service
class WithHealth:
    """Routes of its own for health and description, which are POST as every route of BentoML."""

    @bentoml.api
    def health(self) -> dict:
        return {"status": "healthy"}

    @bentoml.api
    def model_info(self) -> dict:
        return {"name": "iris", "features": IRIS_COLUMNS}

    @bentoml.api
    def invocations(self, inputs: Matrix) -> dict:
        return {"predictions": IRIS.predict(matrix(inputs)).tolist()}


@bentoml.service
class Versions:
    """Two versions at once; neither is called /predict."""

    @bentoml.api(route="/v1/predict")
    def first(self, rows: Matrix) -> list[int]:
        return IRIS.predict(matrix(rows)).tolist()

    @bentoml.api(route="/v2/predict")
    def second(self, rows: Matrix) -> dict:
        return {"predictions": IRIS.predict(matrix(rows)).tolist()}


@bentoml.service
class RootRoute:
    @bentoml.api(route="/")
    def root(self, rows: Matrix) -> list[int]:
        return IRIS.predict(matrix(rows)).tolist()


@bentoml.service
class StreamBeside:
    """A stream beside the route that answers at once."""

    @bentoml.api
    def predict(self, rows: Matrix) -> list[int]:
        return IRIS.predict(matrix(rows)).tolist()

    @bentoml.api
    async def predict_stream(self, rows: Matrix) -> AsyncGenerator[str, None]:
        for label in IRIS.predict(matrix(rows)):
            yield f"{label}\n"
