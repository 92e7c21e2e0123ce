"""The synthetic patients, the data set of a run without a file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tier0.pipeline.data import Dataset

PATIENTS = 600
AGE_MISSING = 0.05


def make_patients(seed: int, rows: int = PATIENTS) -> Dataset:
    """Generate the synthetic patients, with the target ``discontinuation_flag`` (1: therapy was stopped).

    The features are days on therapy, visits by a health-care professional, prior treatments, region and age
    group. In three of them 4 to 8 % of the values are missing. A long therapy and many visits make it less
    probable that the therapy is stopped; prior treatments, age, and the south make it more probable. The
    probability depends on nothing else that a model could know, so a good model has an AUC-ROC of about 0.85.
    """
    import pandas as pd  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    days = rng.gamma(shape=2.0, scale=90.0, size=rows).round()
    visits = rng.poisson(4.0, size=rows).astype(float)
    treatments = rng.integers(0, 6, size=rows)
    region = rng.choice(["midwest", "northeast", "south", "west"], size=rows, p=[0.2, 0.2, 0.4, 0.2])
    age_group = rng.choice(["18-39", "40-64", "65+"], size=rows, p=[0.25, 0.45, 0.3])
    risk = (
        1.1
        - 0.013 * days
        - 0.45 * visits
        + 0.6 * treatments
        + 0.6 * (region == "south")
        + 0.4 * (age_group == "40-64")
        + 1.4 * (age_group == "65+")
        + rng.normal(0, 0.3, size=rows)
    )
    flag = _draw_outcomes(1 / (1 + np.exp(-risk)), rng)
    for values, share in ((days, 0.04), (visits, 0.08)):
        values[rng.random(rows) < share] = math.nan
    age = age_group.astype(object)
    age[rng.random(rows) < AGE_MISSING] = math.nan
    frame = pd.DataFrame(
        {
            "days_on_therapy": days,
            "region": region.astype(object),
            "hcp_visits": visits,
            "prior_treatments": treatments,
            "age_group": age,
        }
    )
    frame = frame.astype({"region": object, "age_group": object})
    return Dataset("patients", frame, list(frame.columns), flag, "discontinuation_flag", "classification")


def _draw_outcomes(probabilities: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Draw 0 or 1 with these probabilities, so that among rows of similar ones the share is about theirs.

    Independent draws would let the best possible AUC-ROC of 600 rows vary by 0.05 between seeds (systematic
    sampling: Madow and Madow 1944).
    """
    order = np.argsort(probabilities)
    expected = np.cumsum(probabilities[order]) + rng.random()
    outcomes = np.zeros(len(order), dtype=int)
    outcomes[order] = np.diff(np.floor(expected), prepend=np.floor(expected[0] - probabilities[order[0]]))
    return outcomes
