"""XGBoost's Booster, saved as UBJSON, which runs nothing when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tier0.golden.predictors import Booster, as_predictor
from tier0.serving.formats.choice import require

FILE = "saved_model.ubj"
BENTOML_MODULE = "bentoml.xgboost"
adapt = as_predictor


def save(model: Booster) -> tuple[bytes, dict[str, Any]]:
    """Return the content of the file."""
    return bytes(model.estimator.save_raw("ubj")), {}


def load(content: bytes, _: Mapping[str, Any]) -> Any:
    """Load the Booster, limited to one thread."""
    return as_predictor(require("xgboost").Booster({"nthread": 1}, model_file=bytearray(content)))
