"""The models that the services serve and the tests call in memory, bit for bit alike at each import."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

SEED = 20
ROWS = 12

# Three classes, numbers only: 0, 1 and 2, which the team calls by name.
IRIS_COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
IRIS_NAMES = ["setosa", "versicolor", "virginica"]
_iris_x, _iris_y = load_iris(return_X_y=True)
IRIS = RandomForestClassifier(20, max_depth=3, random_state=SEED, n_jobs=1).fit(_iris_x, _iris_y)
IRIS_ROWS: Any = _iris_x[[0, 9, 25, 50, 56, 70, 77, 83, 106, 119, 133, 148]]

# Three classes again, which are the names themselves.
_iris_words = np.asarray(IRIS_NAMES)[_iris_y]
FLOWERS = RandomForestClassifier(20, max_depth=3, random_state=SEED, n_jobs=1).fit(_iris_x, _iris_words)

# Two classes, 0 and 1, of a mixed frame.
_random = np.random.default_rng(SEED)
_many = 400
CUSTOMERS = pd.DataFrame(
    {
        "tenure_months": _random.integers(1, 61, _many),
        "monthly_spend": _random.normal(50.0, 15.0, _many).round(2),
        "support_calls": _random.integers(0, 9, _many),
        "plan": _random.choice(["basic", "plus", "premium"], _many),
    }
)
CHURN_COLUMNS = list(CUSTOMERS.columns)
_risk = (
    0.4 * CUSTOMERS["support_calls"]
    - 0.05 * CUSTOMERS["tenure_months"]
    + 0.8 * (CUSTOMERS["plan"] == "basic")
)
CHURNED = (_random.random(_many) < 1 / (1 + np.exp(-(_risk - 0.3)))).astype(int)
_NUMBERS = ["tenure_months", "monthly_spend", "support_calls"]


def _mixed(model: Any) -> Any:
    encode = ColumnTransformer(
        [("numbers", StandardScaler(), _NUMBERS), ("plan", OneHotEncoder(handle_unknown="ignore"), ["plan"])]
    )
    return Pipeline([("encode", encode), ("model", model)])


CHURN = _mixed(LogisticRegression()).fit(CUSTOMERS, CHURNED)
# Rows of every kind, and the two whose decision is the closest.
_chances = CHURN.predict_proba(CUSTOMERS)[:, 1]
_close = np.flatnonzero((_chances > 0.5) & (_chances < 0.54))[:2]
CHURN_ROWS = CUSTOMERS.iloc[[*range(ROWS - 2), *_close]].reset_index(drop=True)

# The same two classes, from numbers alone, by trees in float32 (XGBoost) and by trees in float64 (LightGBM).
FRAUD_COLUMNS = _NUMBERS
_numbers = CUSTOMERS[_NUMBERS].to_numpy(dtype=float)
FRAUD = XGBClassifier(n_estimators=20, max_depth=3, random_state=SEED, n_jobs=1).fit(_numbers, CHURNED)
FRAUD_ROWS: Any = _numbers[:ROWS]
CREDIT = LGBMClassifier(n_estimators=20, random_state=SEED, n_jobs=1, verbose=-1).fit(
    CUSTOMERS[_NUMBERS], CHURNED
)
CREDIT_ROWS = CUSTOMERS[_NUMBERS].iloc[:ROWS].reset_index(drop=True)

# A regression.
_price = (
    40.0
    + 3.1 * _numbers[:, 0]
    + 1.7 * _numbers[:, 1]
    - 5.3 * _numbers[:, 2]
    + _random.normal(0.0, 4.0, _many)
)
PRICE_COLUMNS = _NUMBERS
PRICE = GradientBoostingRegressor(n_estimators=30, random_state=SEED).fit(_numbers, _price)
PRICE_ROWS: Any = _numbers[:ROWS]


class Forecast:
    """A regression with an interval around each prediction: one model for each quantile."""

    def __init__(self) -> None:
        fit = {
            q: GradientBoostingRegressor(loss="quantile", alpha=q, n_estimators=20, random_state=SEED).fit(
                _numbers, _price
            )
            for q in (0.1, 0.5, 0.9)
        }
        self.low, self.middle, self.high = fit[0.1], fit[0.5], fit[0.9]
        self.n_features_in_ = len(_NUMBERS)

    def predict(self, rows: Any) -> Any:
        return self.middle.predict(rows)

    def predict_interval(self, rows: Any) -> Any:
        return np.stack([self.low.predict(rows), self.high.predict(rows)], axis=1)


FORECAST = Forecast()

# One column of texts, three classes.
_WORDS = {
    "billing": ["invoice", "refund", "charged", "card"],
    "delivery": ["parcel", "late", "courier", "address"],
    "other": ["hello", "thanks", "hours", "jobs"],
}
_texts = [f"{' '.join(_random.choice(words, 3))} please" for words in _WORDS.values() for _ in range(20)]
_topics = [topic for topic in _WORDS for _ in range(20)]


class Topics:
    """A classifier of texts: like a text pipeline, it takes a frame of one column or a list of texts."""

    def __init__(self) -> None:
        self.pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(_texts, _topics)
        self.classes_ = self.pipeline.classes_

    @staticmethod
    def _of(rows: Any) -> Any:
        return list(rows["text"]) if isinstance(rows, pd.DataFrame) else list(rows)

    def predict(self, rows: Any) -> Any:
        return self.pipeline.predict(self._of(rows))

    def predict_proba(self, rows: Any) -> Any:
        return self.pipeline.predict_proba(self._of(rows))


TOPICS = Topics()
TOPIC_ROWS = pd.DataFrame({"text": _texts[2::5]})

# Whether a text is long: an answer without probabilities.


class TextLength:
    """The length of a text, in three sizes."""

    classes_ = np.array([0, 1, 2])

    def predict(self, rows: Any) -> Any:
        texts = list(rows["text"]) if isinstance(rows, pd.DataFrame) else list(rows)
        return np.array([len(text) % 3 for text in texts])


LENGTH = TextLength()
LENGTH_ROWS = pd.DataFrame({"text": [f"a word of {n} letters{'!' * n}" for n in range(ROWS)]})
