"""Trains the model, and writes the golden rows from the model in memory before it is saved."""

import bentoml
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import tier0


def customers() -> tuple[pd.DataFrame, pd.Series]:
    """Return synthetic customers, and who of them left."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "months": rng.integers(1, 60, 600),
            "calls": rng.poisson(2, 600),
            "price": rng.normal(40, 9, 600).round(2),
        }
    )
    logit = 0.6 * rows["calls"] + 0.02 * rows["price"] - 0.06 * rows["months"]
    left = rng.random(600) < 1 / (1 + np.exp(-logit))
    return rows, left.map({True: "left", False: "stayed"})


if __name__ == "__main__":
    rows, churned = customers()
    model = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])
    model.fit(rows[100:], churned[100:])
    tier0.golden_rows(model, rows[:30]).write("golden.json")
    print(bentoml.sklearn.save_model("churn", model).tag)
