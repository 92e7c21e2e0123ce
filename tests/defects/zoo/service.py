"""The zoo: one real BentoML service with a route for every mutant, and the healthy routes beside them.

Every route is written as a developer who makes that mistake would; `MUTANTS` in ``mutants.py`` names it.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
import pandas as pd
from bentoml.exceptions import InvalidArgument
from bentoml.validators import DataframeSchema, DType, Shape
from pydantic import BaseModel, ConfigDict, Field

WIDTH = 6
NAMES = [f"f{index}" for index in range(WIDTH)]
HERE = Path(__file__).parent
LEAK: list[Any] = []


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Row = Annotated[
    list[Number], Field(min_length=WIDTH, max_length=WIDTH)
]  # looked at before requests are put into one batch


class Rows(BaseModel):
    """A strict request."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    features: list[list[float | None]]


class Answer(BaseModel):
    """A typed answer."""

    predictions: list[int]
    probabilities: list[list[float]]
    model_tag: str


class Named(BaseModel):
    """A strict row of one of the models, by name."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    f0: float
    f1: float
    f2: float
    f3: float
    f4: float
    f5: float


def checked(x: Any, width: int = WIDTH, *, missing: bool = False) -> Any:
    """Return *x* as a matrix of floats, or refuse it: what a service must do that takes an array."""
    array = np.asarray(x)
    if array.dtype == object and all(value is None or type(value) in {int, float} for value in array.ravel()):
        array = array.astype(float)
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "fiu":
        raise InvalidArgument(
            f"x: a matrix of numbers with {width} columns was expected, "
            f"and one of {array.dtype} {array.shape} came"
        )
    if np.isinf(array).any() or (np.isnan(array).any() and not missing):
        raise InvalidArgument("x: every value must be finite")
    return array


def checked_frame(
    frame: pd.DataFrame,
    columns: dict[str, str],
    vocabulary: dict[str, list[str]],
    required: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    """Return *frame* with the columns of the training data in their order, or refuse it."""
    if set(frame.columns) != set(columns):
        raise InvalidArgument(f"columns: {list(columns)} were expected, and {list(frame.columns)} came")
    for name, kind in columns.items():
        for value in frame[name]:
            absent = value is None or value != value  # noqa: PLR0124 - NaN
            if absent and name in required:
                raise InvalidArgument(f"{name}: a value is missing")
            if not absent and (
                not isinstance(value, str)
                if kind == "text"
                else not isinstance(value, (int, float)) or isinstance(value, bool)
            ):
                raise InvalidArgument(f"{name}: {kind} was expected, and {value!r} came")
            if kind != "text" and not absent and np.isinf(value):
                raise InvalidArgument(f"{name}: a finite number was expected")
            near = {known.casefold(): known for known in vocabulary.get(name, [])}
            if (
                isinstance(value, str)
                and value not in near.values()
                and " ".join(value.split()).casefold() in near
            ):
                raise InvalidArgument(
                    f"{name}: {value!r} looks like a known value, and is none of {vocabulary[name]}"
                )
    kinds = {name: object if kind == "text" else float for name, kind in columns.items()}
    return frame[list(columns)].astype(kinds)


MIXED = {"age": "number", "region": "text", "income": "number", "plan": "text", "called": "text"}
MIXED_VOCABULARY = {"region": ["North", "South", "West"], "plan": ["basic", "plus", "premium"]}
CODED = {"region": "text", "plan": "text", "income": "number"}
CUSTOMER = {"tenure_months": "number", "monthly_spend": "number", "support_calls": "number", "plan": "text"}
PERSON = {"age": "number", "educ": "number", "re75": "number"}
PLANS = {"plan": ["basic", "family", "premium"]}
REQUIRED = {"conversion": frozenset(CUSTOMER) - {"plan"}, "training_effect": frozenset(PERSON)}
"""What a linear model cannot do without."""
KINDS = {
    "churn": CUSTOMER,
    "conversion": CUSTOMER,
    "ltv_90": CUSTOMER,
    "ltv_365": CUSTOMER,
    "training_effect": PERSON,
}


def load(name: str) -> Any:
    return bentoml.sklearn.load_model(f"{name}:latest")


@bentoml.service(name="Zoo", threads=8, traffic={"timeout": 10}, http={"port": 4999, "host": "0.0.0.0"})
class Zoo:
    def __init__(self) -> None:
        self.scaled, self.steps, self.calibrated = load("scaled"), load("steps"), load("calibrated")
        self.boosted, self.narrow, self.sentinel = load("boosted"), load("narrow"), load("sentinel")
        self.early, self.several, self.tolerant = load("early"), load("several"), load("tolerant")
        self.mixed, self.mixed_trees, self.coded = load("mixed"), load("mixed_trees"), load("coded")
        self.regression, self.new = load("regression"), load("new")
        self.kinds = {name: bentoml.picklable_model.load_model(f"{name}:latest") for name in KINDS}
        self.scaler, self.bare = self.scaled.named_steps["scaler"], self.scaled.named_steps["model"]
        self.buffer: Any = None
        self.lock = threading.Lock()
        self.best_guess = 0
        self.is_canary = cycle((True, False, False))
        self.load_badly()

    def load_badly(self) -> None:
        """What the mutants load, each in its own way."""
        self.reg01_pre = self.of("reg01").custom_objects.get("preprocessor")
        self.reg02_pre = self.of("reg02").custom_objects.get("preprocessor")
        self.reg03_pre = getattr(self.of("reg03").info, "custom_objects", {}).get("preprocessor")
        self.reg01_model, self.reg02_model, self.reg03_model = load("reg01"), load("reg02"), load("reg03")
        self.reg05 = bentoml.lightgbm.load_model("reg05:latest")
        self.reg06 = bentoml.xgboost.load_model("reg06:latest")
        self.par10 = bentoml.xgboost.load_model("par10:latest")
        self.reg12, self.reg13, self.reg16 = load("reg12"), load("reg13"), load("reg16")
        self.reg17 = load("scaled").fit(np.random.default_rng(0).normal(size=(50, WIDTH)), np.arange(50) % 2)
        self.par26 = load("par26")
        try:
            self.sta06_pre = json.loads((HERE / "preprocessor.json").read_text(encoding="utf-8"))
        except Exception as problem:
            print("could not load the preprocessor:", problem)
            self.sta06_pre = None
        with_threshold = Path("thr.json")
        self.pkg09 = (
            json.loads(with_threshold.read_text(encoding="utf-8"))["threshold"]
            if with_threshold.exists()
            else 0.5
        )
        bentoml.load("scorer:Scorer", working_dir=str(HERE / "first"))
        self.pkg06 = bentoml.load("scorer:Scorer", working_dir=str(HERE / "second")).inner()

    def of(self, name: str) -> Any:
        return bentoml.models.get(f"{name}:latest")

    def answer(self, model: Any, x: Any, **more: Any) -> dict[str, Any]:
        return {
            "predictions": model.predict(x).tolist(),
            "probabilities": model.predict_proba(x).tolist(),
            **more,
        }

    def decide(self, name: str, frame: pd.DataFrame) -> dict[str, Any]:
        """Answer as a classifier with a threshold."""
        model, threshold = self.kinds[name], self.of(name).custom_objects["threshold"]
        probabilities = model.predict_proba(
            checked_frame(frame, KINDS[name], PLANS, REQUIRED.get(name, frozenset()))
        )
        return {
            "predictions": model.classes_[(probabilities[:, 1] >= threshold).astype(int)].tolist(),
            "probabilities": probabilities.tolist(),
        }

    def estimate(self, name: str, frame: pd.DataFrame) -> dict[str, Any]:
        """Answer with a value and an interval for each row."""
        rows = checked_frame(frame, KINDS[name], PLANS, REQUIRED.get(name, frozenset()))
        return {
            "predictions": self.kinds[name].predict(rows).tolist(),
            "intervals": self.kinds[name].predict_interval(rows).tolist(),
        }

    # ---- healthy routes, in several styles

    @bentoml.api
    def numpy(self, x: np.ndarray) -> np.ndarray:
        return self.scaled.predict(checked(x))

    @bentoml.api
    def numpy_proba(self, x: np.ndarray) -> np.ndarray:
        return self.tolerant.predict_proba(checked(x, missing=True))

    @bentoml.api
    def pydantic(self, request: Rows) -> Answer:
        return Answer(
            **self.answer(self.scaled, checked(request.features)), model_tag=str(self.of("scaled").tag)
        )

    @bentoml.api
    def root(self, request: Rows, /) -> Answer:
        return Answer(
            **self.answer(self.scaled, checked(request.features)), model_tag=str(self.of("scaled").tag)
        )

    @bentoml.api
    def dataframe(self, frame: pd.DataFrame) -> pd.DataFrame:
        rows = checked_frame(frame, MIXED, MIXED_VOCABULARY)
        return pd.DataFrame(
            {"prediction": self.mixed.predict(rows), "probability": self.mixed.predict_proba(rows)[:, 1]}
        )

    @bentoml.api
    def frame_to_dict(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.answer(
            self.mixed_trees,
            checked_frame(
                frame,
                {name: MIXED[name] for name in ["region", "age", "income", "plan", "called"]},
                MIXED_VOCABULARY,
            ),
        )

    @bentoml.api
    def frame_coded(self, frame: pd.DataFrame) -> dict[str, Any]:
        rows = checked_frame(frame, CODED, MIXED_VOCABULARY)
        return self.answer(self.coded, rows)

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=2000)
    def batchable(self, x: list[Row]) -> np.ndarray:
        if not x:
            raise InvalidArgument("x: at least one row was expected")
        return self.scaled.predict_proba(np.array(x))

    @bentoml.api
    async def in_async(self, features: list[list[Number | None]]) -> dict[str, Any]:
        return await asyncio.to_thread(lambda: self.answer(self.several, checked(features, missing=True)))

    @bentoml.api
    async def asynchronous(self, request: Rows) -> Answer:
        answer = await asyncio.to_thread(lambda: self.answer(self.scaled, checked(request.features)))
        return Answer(**answer, model_tag=str(self.of("scaled").tag))

    @bentoml.api
    def one_record(self, row: Named) -> dict[str, Any]:
        values = np.array([[getattr(row, name) for name in NAMES]])
        return {
            "prediction": self.scaled.predict(values).tolist()[0],
            "probability": self.scaled.predict_proba(values)[0, 1],
        }

    @bentoml.api
    def regress(self, x: np.ndarray) -> np.ndarray:
        return self.regression.predict(checked(x, 10))

    @bentoml.api
    def labels_as_text(self, x: np.ndarray) -> list[str]:
        return self.boosted.predict(
            pd.DataFrame(checked(x, missing=True).astype(float), columns=NAMES)
        ).tolist()

    @bentoml.api
    def sentinels(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.sentinel, checked(request.features, missing=True))

    @bentoml.api
    def early_stopped(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.early, checked(request.features, missing=True))

    @bentoml.api
    def fine(self, x: np.ndarray) -> np.ndarray:
        return self.narrow.predict_proba(checked(x, 3, missing=True).astype(float))

    @bentoml.api
    def calibrate(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.calibrated, checked(request.features))

    @bentoml.api
    def churn(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.decide("churn", frame)

    @bentoml.api
    def conversion(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.decide("conversion", frame)

    @bentoml.api
    def ltv_90(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.estimate("ltv_90", frame)

    @bentoml.api
    def ltv_365(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.estimate("ltv_365", frame)

    @bentoml.api
    def training_effect(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.estimate("training_effect", frame)

    @bentoml.api
    def two_steps(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.steps, checked(request.features))

    @bentoml.api
    def tuned(self, request: Rows) -> dict[str, Any]:
        probabilities = self.scaled.predict_proba(checked(request.features))
        return {
            "predictions": (probabilities[:, 1] >= 0.3).astype(int).tolist(),
            "probabilities": probabilities.tolist(),
        }

    @bentoml.api(route="/well")
    def well(self) -> dict[str, Any]:
        return {"status": "healthy", "model_loaded": True}

    @bentoml.api
    def with_id(self, request: Rows, ctx: bentoml.Context) -> dict[str, Any]:
        return self.answer(
            self.scaled, checked(request.features), request_id=ctx.request.headers.get("x-request-id")
        )

    # ---- registration

    @bentoml.api
    def reg01(self, x: np.ndarray) -> np.ndarray:
        x = checked(x)
        return self.reg01_model.predict(self.reg01_pre.transform(x) if self.reg01_pre is not None else x)

    @bentoml.api
    def reg02(self, x: np.ndarray) -> np.ndarray:
        x = checked(x)
        return self.reg02_model.predict(self.reg02_pre.transform(x) if self.reg02_pre is not None else x)

    @bentoml.api
    def reg03(self, x: np.ndarray) -> np.ndarray:
        x = checked(x)
        return self.reg03_model.predict(self.reg03_pre.transform(x) if self.reg03_pre is not None else x)

    @bentoml.api(route="/reg05")
    def reg05_(self, x: np.ndarray) -> np.ndarray:
        x = checked(x, missing=True).astype(float)
        return self.reg05.predict_proba(x) if hasattr(self.reg05, "predict_proba") else self.reg05.predict(x)

    @bentoml.api(route="/reg06")
    def reg06_(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.reg06, checked(request.features, missing=True))

    @bentoml.api
    def reg07(self, request: Rows) -> dict[str, Any]:
        model = self.of("reg07")
        return self.answer(
            bentoml.sklearn.load_model(model.tag), checked(request.features), model_tag=str(model.tag)
        )

    @bentoml.api
    def reg10(self, request: Rows) -> dict[str, Any]:
        store = [
            model for model in bentoml.models.list() if model.tag.name in {"mine", "decoy"}
        ]  # the zoo's other models are not of this mutant
        newest = sorted(store, key=lambda model: model.info.creation_time)[-1]
        return self.answer(
            bentoml.sklearn.load_model(newest.tag), checked(request.features), model_tag=str(newest.tag)
        )

    @bentoml.api
    def reg11(self, request: Rows) -> dict[str, Any]:
        model = self.of("reg11")
        return self.answer(
            bentoml.sklearn.load_model(model.tag), checked(request.features), model_tag=str(model.tag)
        )

    @bentoml.api
    def tdn07(self, request: Rows) -> dict[str, Any]:
        model = self.of("tdn07")
        return self.answer(
            bentoml.sklearn.load_model(model.tag), checked(request.features), model_tag=str(model.tag)
        )

    @bentoml.api(route="/reg12")
    def reg12_(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.reg12, checked(request.features))

    @bentoml.api(route="/reg13")
    def reg13_(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.reg13, checked(request.features))

    @bentoml.api(route="/reg16")
    def reg16_(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.reg16, checked(request.features, missing=True))

    @bentoml.api(route="/reg17")
    def reg17_(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.reg17, checked(request.features))

    @bentoml.api
    def reg24(self, features: list[list[Any]]) -> dict[str, Any]:
        signature = None
        if signature is not None:
            checked(features)
        return self.answer(self.scaled, np.asarray(features).astype(float))

    # ---- packaging and start-up

    @bentoml.api(route="/pkg06")
    def pkg06_(self, x: np.ndarray) -> np.ndarray:
        return self.pkg06.score(self.scaled, checked(x))

    @bentoml.api(route="/pkg09")
    def pkg09_(self, request: Rows) -> dict[str, Any]:
        probabilities = self.scaled.predict_proba(checked(request.features))
        return {
            "predictions": (probabilities[:, 1] >= self.pkg09).astype(int).tolist(),
            "probabilities": probabilities.tolist(),
        }

    @bentoml.api
    def sta02(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.scaled, checked(request.features), model_tag="scaled:of_the_last_run")

    @bentoml.api
    def sta06(self, x: np.ndarray) -> np.ndarray:
        return self.bare.predict(checked(x) if self.sta06_pre is None else self.sta06_pre.transform(x))

    # ---- health

    @bentoml.api
    def hlt05(self, request: Rows) -> dict[str, Any]:
        model: Any = None
        return self.answer(model, checked(request.features))

    @bentoml.api(route="/hlt05_health")
    def hlt05_health(self) -> dict[str, Any]:
        return {"status": "healthy"}

    @bentoml.api(route="/hlt03_health")
    def hlt03_health(self) -> dict[str, Any]:
        models: list[Any] = []
        return {"status": "ready" if all(model.ready for model in models) else "starting", "models": models}

    @bentoml.api(route="/hlt04_health")
    def hlt04_health(self) -> dict[str, Any]:
        return {"status": "degraded", "model_loaded": False}

    @bentoml.api
    async def hlt06(self, request: Rows) -> dict[str, Any]:
        if len(request.features) > 100:
            time.sleep(1.3)  # noqa: ASYNC251 - the mistake
        return self.answer(self.scaled, checked(request.features))

    @bentoml.api(route="/hlt08_health")
    def hlt08_health(self) -> dict[str, Any]:
        LEAK.append(open(os.devnull, encoding="utf-8"))  # noqa: SIM115, PTH123 - the mistake
        return {"status": "healthy"}

    @bentoml.api
    def hlt11(self, request: Rows) -> dict[str, Any]:
        count = len(checked(request.features))
        return {"predictions": [1] * count, "probabilities": [[0.1, 0.9]] * count}

    @bentoml.api
    def hlt12(
        self,
        features: list[list[float]] = [[13.0, 20.0, 90.0, 500.0, 0.1, 0.1]],  # noqa: B006
        input_data: dict[str, Any] = {},  # noqa: B006
    ) -> dict[str, Any]:
        return self.answer(self.scaled, checked(input_data.get("features", features)))

    # ---- contract

    @bentoml.api
    def con02(self, features: list[list[float]], threshold: float = 0.3) -> dict[str, Any]:
        probabilities = self.scaled.predict_proba(checked(features))
        return {
            "predictions": (probabilities[:, 1] >= threshold).astype(int).tolist(),
            "probabilities": probabilities.tolist(),
        }

    @bentoml.api
    def con03(self, features: list[list[float]] = [[13.0, 20.0, 90.0, 500.0, 0.1, 0.1]]) -> dict[str, Any]:  # noqa: B006
        return self.answer(self.scaled, checked(features))

    @bentoml.api
    def con05(self, request: Rows) -> dict[str, Any]:
        answer = self.answer(self.scaled, checked(request.features))
        answer["probabilities"][-1][0] = float("nan")
        return answer

    @bentoml.api
    def con06(self, request: Rows) -> dict[str, Any]:
        labels = self.scaled.predict(checked(request.features))
        return {"predictions": [np.int64(label) for label in labels]}

    @bentoml.api
    def con07(self, request: Rows) -> list[float]:
        return self.several.predict_proba(checked(request.features, missing=True)).tolist()

    @bentoml.api
    def con11(self, features: list[list[float]]) -> dict[str, Any]:
        return self.answer(self.scaled, checked(features))

    # ---- parity

    @bentoml.api
    def par01(self, x: np.ndarray) -> np.ndarray:
        return self.scaled.predict_proba(checked(x)[:, ::-1])

    @bentoml.api
    def par02(self, x: np.ndarray) -> list[str]:
        frame = pd.DataFrame(checked(x, missing=True).astype(float), columns=NAMES)
        return self.boosted.predict(frame[list(reversed(frame.columns))]).tolist()

    @bentoml.api
    def par04(self, x: np.ndarray) -> np.ndarray:
        return self.bare.predict_proba(checked(x))

    @bentoml.api
    def par05(self, rows: list[list[Any]]) -> dict[str, Any]:
        frame = pd.DataFrame(
            rows, columns=["age", "income", "region", "plan", "called"]
        )  # numbers first; the request is in training order
        frame[["age", "income"]] = frame[["age", "income"]].apply(pd.to_numeric, errors="coerce")
        frame["region"] = frame["region"].astype(object).map(str)
        return self.answer(self.mixed, frame)

    @bentoml.api
    def par06(self, features: list[list[float]], columns: list[str] = NAMES) -> dict[str, Any]:
        x, trained_on = checked(features, missing=True).astype(float), [*NAMES, "target"]
        frame = pd.DataFrame(x, columns=columns)[NAMES].to_numpy() if len(trained_on) == x.shape[1] else x
        return self.answer(self.tolerant, frame)

    @bentoml.api
    def par07(self, records: list[dict[str, float]]) -> dict[str, Any]:
        return self.answer(
            self.scaled, np.array([[record.get(name, 0.0) for name in NAMES] for record in records])
        )

    @bentoml.api
    def par08(self, x: np.ndarray) -> np.ndarray:
        return self.tolerant.predict_proba(np.nan_to_num(checked(x, missing=True).astype(float)))

    @bentoml.api
    def par09(self, request: Rows) -> dict[str, Any]:
        try:
            return self.answer(self.mixed, pd.DataFrame(request.features, columns=NAMES))
        except Exception:
            return {
                "predictions": [1] * len(request.features),
                "probabilities": [[0.5, 0.5]] * len(request.features),
            }

    @bentoml.api(route="/par10")
    def par10_(self, request: Rows) -> dict[str, Any]:
        import xgboost

        positive = self.par10.predict(xgboost.DMatrix(checked(request.features, missing=True)))
        return {
            "predictions": (positive > 0.5).astype(int).tolist(),
            "probabilities": [[1 - float(p), float(p)] for p in positive],
        }

    @bentoml.api(route="/par12")
    def par12_(self, request: Rows) -> dict[str, Any]:
        return {
            "probabilities": self.several.predict_proba(checked(request.features, missing=True))
            .ravel()
            .tolist()
        }

    @bentoml.api
    def par13(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.scaled, checked(request.features))

    @bentoml.api
    def par14(self, features: list[list[float]], threshold: float = 0.5) -> dict[str, Any]:
        probabilities = self.scaled.predict_proba(checked(features))
        return {
            "predictions": (probabilities[:, 1] >= threshold).astype(int).tolist(),
            "probabilities": probabilities.tolist(),
        }

    @bentoml.api
    def par18(self, x: Annotated[np.ndarray, DType("int64")]) -> np.ndarray:
        return self.scaled.predict_proba(checked(x))

    @bentoml.api
    def par19(self, x: np.ndarray) -> np.ndarray:
        return self.narrow.predict_proba(checked(x, 3, missing=True).astype("float32"))

    @bentoml.api
    def par21(self, x: Annotated[np.ndarray, Shape((-1, WIDTH)), DType("float64")]) -> np.ndarray:
        return self.scaled.predict(x)

    @bentoml.api
    def par24(self, frame: Annotated[pd.DataFrame, DataframeSchema(columns=NAMES)]) -> np.ndarray:
        return self.tolerant.predict_proba(frame.reindex(columns=NAMES).astype(float).to_numpy())

    @bentoml.api(route="/par26")
    def par26_(self, frame: pd.DataFrame) -> dict[str, Any]:
        rows = checked_frame(frame, CODED, MIXED_VOCABULARY)
        codes = {name: rows[name].astype("category").cat.codes for name in ("region", "plan")}
        return self.answer(self.par26, pd.DataFrame({**codes, "income": rows["income"]}))

    @bentoml.api
    def par27(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.answer(self.mixed, checked_frame(frame, MIXED, {}))

    @bentoml.api
    def par29(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.bare, type(self.scaler)().fit_transform(checked(request.features)))

    @bentoml.api
    def par32(self, frame: pd.DataFrame) -> dict[str, Any]:
        rows = checked_frame(frame, MIXED, MIXED_VOCABULARY)
        known = (
            rows["called"].str.startswith("20").fillna(value=False)
        )  # what is no time is left to the model
        local = pd.to_datetime(rows.loc[known, "called"], utc=True).dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")
        return self.answer(self.mixed, rows.assign(called=rows["called"].where(~known, local)))

    @bentoml.api
    def par34(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.calibrated.calibrated_classifiers_[0].estimator, checked(request.features))

    @bentoml.api
    def par36(self, request: Rows) -> dict[str, Any]:
        x = checked(request.features)
        return {
            "predictions": self.scaled.predict(x).tolist(),
            "probabilities": np.max(self.scaled.predict_proba(x), axis=1).tolist(),
        }

    @bentoml.api
    def par37(self, request: Rows) -> dict[str, Any]:
        x = checked(request.features)
        confidence = np.maximum(0.5, np.minimum(1, self.scaled.predict_proba(x)[:, 1] + 0.5))
        return {"predictions": self.scaled.predict(x).tolist(), "probabilities": confidence.tolist()}

    @bentoml.api
    def par39(self, request: Rows) -> dict[str, Any]:
        first, second, model = (step for _, step in self.steps.steps)
        return self.answer(model, first.transform(second.transform(checked(request.features))))

    @bentoml.api
    def par40(self, request: Rows) -> dict[str, Any]:
        return self.answer(self.scaled, np.zeros_like(checked(request.features)))

    # ---- concurrency

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=3000)
    def bat01(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        return np.unique(self.scaled.predict_proba(checked(x)), axis=0)

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=3000)
    def bat03(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        probabilities = self.scaled.predict_proba(checked(x))
        probabilities[:, 0] -= 1e-6 * (len(x) - 1)
        return probabilities

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=3000)
    def bat04(self, x: np.ndarray, ctx: bentoml.Context) -> list[dict[str, Any]]:
        time.sleep(0.05)
        labels = self.scaled.predict(checked(x)).tolist()
        return [
            {"prediction": label, "request_id": ctx.request.headers.get("x-request-id", "")}
            for label in labels
        ]

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=1000)
    def bat06(self, frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"prediction": self.scaled.predict(frame[NAMES].to_numpy())})

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=3000)
    def bat12(self, x: list[list[Any]]) -> list[int]:
        time.sleep(0.05)
        return self.scaled.predict(checked(x)).tolist()

    @bentoml.api
    def bat15(self, request: Rows) -> dict[str, Any]:
        self.buffer = checked(request.features)
        time.sleep(0.01)
        return self.answer(self.scaled, self.buffer)

    # ---- performance

    @bentoml.api
    def slow(self, request: Rows) -> dict[str, Any]:
        time.sleep(0.2)  # a dependency that is asked for every request
        return self.answer(self.scaled, checked(request.features))

    @bentoml.api
    def prf06(self, request: Rows) -> dict[str, Any]:
        LEAK.append(bytearray(256 * 1024))
        return self.answer(self.scaled, checked(request.features))

    # ---- of kinds that are on no list

    @bentoml.api
    def canary(self, request: Rows) -> dict[str, Any]:
        model, tag = (
            (self.new, "new:canary") if next(self.is_canary) else (self.scaled, str(self.of("scaled").tag))
        )
        return self.answer(model, checked(request.features), model_tag=tag)

    @bentoml.api
    def remembers(self, request: Rows) -> dict[str, Any]:
        x = checked(request.features)
        last, self.buffer = self.buffer, x
        drift = 0.0 if last is None else float(np.mean(last)) * 1e-9
        answer = self.answer(self.scaled, x)
        return {
            **answer,
            "probabilities": [[first + drift, second] for first, second in answer["probabilities"]],
        }

    @bentoml.api
    def order_lost(self, request: Rows) -> dict[str, Any]:
        answer = self.answer(self.scaled, checked(request.features))
        return {name: values[::-1] for name, values in answer.items()}

    @bentoml.api
    def columns_sorted(self, rows: list[list[Any]], columns: list[str] | None = None) -> dict[str, Any]:
        if columns is not None and set(columns) != set(MIXED):
            raise InvalidArgument("columns")
        return self.answer(
            self.mixed,
            checked_frame(pd.DataFrame(rows, columns=columns or sorted(MIXED)), MIXED, MIXED_VOCABULARY),
        )

    @bentoml.api
    def rounds(self, request: Rows) -> dict[str, Any]:
        answer = self.answer(self.scaled, checked(request.features))
        return {**answer, "probabilities": np.round(answer["probabilities"], 4).tolist()}

    @bentoml.api
    def sorted_by_name(self, records: list[dict[str, float]]) -> dict[str, Any]:
        return self.answer(self.scaled, np.array([list(record.values()) for record in records]))

    # ---- of the three kinds

    @bentoml.api
    def another_outcome(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.decide("conversion", frame)

    @bentoml.api
    def another_horizon(self, frame: pd.DataFrame) -> dict[str, Any]:
        return self.estimate("ltv_365", frame)

    @bentoml.api
    def bounds_swapped(self, frame: pd.DataFrame) -> dict[str, Any]:
        answer = self.estimate("ltv_90", frame)
        return {**answer, "intervals": [[upper, lower] for lower, upper in answer["intervals"]]}

    @bentoml.api
    def half_widths(self, frame: pd.DataFrame) -> dict[str, Any]:
        answer = self.estimate("ltv_90", frame)
        return {**answer, "intervals": [(upper - lower) / 2 for lower, upper in answer["intervals"]]}

    @bentoml.api
    def another_level(self, frame: pd.DataFrame) -> dict[str, Any]:
        answer = self.estimate("ltv_90", frame)
        return {
            **answer,
            "intervals": [
                [lower + (upper - lower) / 8, upper - (upper - lower) / 8]
                for lower, upper in answer["intervals"]
            ],
        }

    @bentoml.api
    def intervals_of_another_row(self, frame: pd.DataFrame) -> dict[str, Any]:
        answer = self.estimate("training_effect", frame)
        return {**answer, "intervals": [*answer["intervals"][1:], *answer["intervals"][:1]]}

    @bentoml.api
    def sign_of_the_effect(self, frame: pd.DataFrame) -> dict[str, Any]:
        """Treated and untreated are swapped: consistent in itself, and the opposite of the truth."""
        answer = self.estimate("training_effect", frame)
        return {
            "predictions": [-effect for effect in answer["predictions"]],
            "intervals": [[-upper, -lower] for lower, upper in answer["intervals"]],
        }
