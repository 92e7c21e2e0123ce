"""LightGBM's Booster, saved as text, which runs nothing when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tier0.golden.predictors import Booster, as_predictor
from tier0.serving.formats.choice import require

FILE = "saved_model.txt"
BENTOML_MODULE = "bentoml.picklable_model"
adapt = as_predictor


def save(model: Booster) -> tuple[bytes, dict[str, Any]]:
    """Return the content of the file."""
    return model.estimator.model_to_string().encode(), {}


def load(content: bytes, _: Mapping[str, Any]) -> Any:
    """Load the Booster."""
    return as_predictor(require("lightgbm").Booster(model_str=content.decode()))
