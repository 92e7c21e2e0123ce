"""Example models of three kinds: two classifiers, two regressors, and the effect of a treatment.

The customers are synthetic. The effect is that of the job training of the National Supported Work
Demonstration on earnings (LaLonde, "Evaluating the Econometric Evaluations of Training Programs", 1986), in
the sample of Dehejia and Wahba.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tier0.core.errors import Tier0Error
from tier0.pipeline.metrics import choose_threshold

CUSTOMERS = 600
EXAMPLES = 20
LEVEL = 0.9
OFTEN = 0.8
PLANS = ("basic", "family", "premium")
NUMBERS = ("tenure_months", "monthly_spend", "support_calls")
MODIFIERS = ["age", "educ", "re75"]
CONTROLS = ["black", "hisp", "marr", "nodegree", "re74"]


@dataclass(frozen=True)
class ExampleModel:
    """A trained model, with the arguments of its registration.

    Attributes:
        name: name under which it is served.
        kind: classification, regression or causal.
        model: the fitted model.
        examples: rows that become golden rows.
        metadata: JSON types that describe the model.
        threshold: see `register_model_for_serving`.
    """

    name: str
    kind: str
    model: Any
    examples: Any
    metadata: dict[str, Any]
    threshold: float | None = None


def train_classification(seed: int) -> list[ExampleModel]:
    """Train classifiers of whether a customer leaves (``churn``) and buys (``conversion``)."""
    from lightgbm import LGBMClassifier  # noqa: PLC0415 - needed by this function alone

    boosting = LGBMClassifier(n_estimators=60, random_state=seed, n_jobs=1, verbose=-1)
    return [
        _train_classifier("churn", boosting, -1.0, seed),
        _train_classifier("conversion", LogisticRegression(max_iter=1000), 1.0, seed + 1),
    ]


def _train_classifier(name: str, estimator: Any, sign: float, seed: int) -> ExampleModel:
    customers, score = _customers(seed)
    noise = np.random.default_rng(seed).logistic(size=len(customers))
    outcome = np.where(sign * score + noise > OFTEN, "yes", "no")
    rows, held_out, labels, held_out_labels = train_test_split(
        customers, outcome, test_size=0.3, random_state=seed, stratify=outcome
    )
    model = make_pipeline(_encoder(), estimator).fit(rows, labels)
    with warnings.catch_warnings():
        # LightGBM is fitted on an array, names the columns itself, and then warns that they have no names.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        probabilities = model.predict_proba(held_out)[:, 1]
    threshold = choose_threshold(held_out_labels, probabilities, model.classes_, "yes")
    return ExampleModel(
        name,
        "classification",
        model,
        held_out[:EXAMPLES],
        {"kind": "classification", "outcome": name},
        threshold,
    )


def train_regression(seed: int) -> list[ExampleModel]:
    """Train regressors of a customer's spending in 90 and 365 days, with intervals."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415

    from tier0.pipeline.intervals import ConformalRegressor  # noqa: PLC0415

    models = []
    for days in (90, 365):
        customers, score = _customers(seed)
        noise = np.random.default_rng(seed + days).lognormal(sigma=0.2, size=len(customers))
        value = customers["monthly_spend"] * days / 30 * (1 / (1 + np.exp(-score))) * noise
        estimator = make_pipeline(_encoder(), HistGradientBoostingRegressor(max_iter=60, random_state=seed))
        model = ConformalRegressor(estimator, LEVEL, seed).fit(customers[EXAMPLES:], value[EXAMPLES:])
        metadata = {"kind": "regression", "outcome": "spend", "horizon_days": days, "level": LEVEL}
        models.append(ExampleModel(f"ltv_{days}", "regression", model, customers[:EXAMPLES], metadata))
    return models


def train_causal(seed: int) -> list[ExampleModel]:
    """Train the effect of a job training on a person's earnings, with intervals (``training_effect``).

    Raises:
        Tier0Error: econml or causaldata is not installed.
    """
    try:
        from causaldata import nsw_mixtape  # noqa: PLC0415 - an extra
        from econml.dml import LinearDML  # noqa: PLC0415
    except ModuleNotFoundError as problem:
        raise Tier0Error(
            f"the causal service needs the package {problem.name}, which is not installed: "
            "pip install 'pytest-tier0[causal]'"
        ) from problem
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415

    from tier0.pipeline.effects import EffectRegressor  # noqa: PLC0415

    people = nsw_mixtape.load_pandas().data.astype(dict.fromkeys((*MODIFIERS, *CONTROLS, "re78"), "float64"))
    treatment_model = make_pipeline(StandardScaler(), LogisticRegression())
    estimator = LinearDML(
        model_y=LinearRegression(), model_t=treatment_model, discrete_treatment=True, cv=3, random_state=seed
    )
    model = EffectRegressor(estimator, LEVEL).fit(
        people[MODIFIERS], people["re78"], people["treat"].astype(int), people[CONTROLS]
    )
    metadata = {"kind": "causal", "treatment": "job training", "outcome": "re78", "level": LEVEL}
    return [ExampleModel("training_effect", "causal", model, people[MODIFIERS][:EXAMPLES], metadata)]


TRAINERS: dict[str, Callable[[int], list[ExampleModel]]] = {
    "classification": train_classification,
    "regression": train_regression,
    "causal": train_causal,
}


def _customers(seed: int) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Generate customers, and a score of each one's satisfaction."""
    draw = np.random.default_rng(seed)
    customers = pd.DataFrame(
        {
            "tenure_months": draw.integers(1, 96, CUSTOMERS).astype(float),
            "monthly_spend": draw.gamma(4.0, 12.0, CUSTOMERS).round(2),
            "support_calls": draw.poisson(1.5, CUSTOMERS).astype(float),
            "plan": draw.choice(PLANS, CUSTOMERS),
        }
    )
    is_premium = customers["plan"] == "premium"
    score = customers["tenure_months"] / 40 - customers["support_calls"] / 2 + is_premium * 0.8
    return customers, score.to_numpy()


def _encoder() -> Any:
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]), (StandardScaler(), list(NUMBERS))
    )
