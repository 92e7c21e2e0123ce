"""CatBoost's models, saved as .cbm, which runs nothing when it is read."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tier0.core.errors import RegistrationError
from tier0.serving.formats.choice import CATBOOST_CLASSES, require

FILE = "saved_model.cbm"
BENTOML_MODULE = "bentoml.catboost"


class CatBoostWithoutClasses:
    """A model of CatBoost's base class, whose predictions are raw values even if it was trained on classes.

    Attributes:
        estimator: the model.
    """

    def __init__(self, model: Any) -> None:
        self.estimator = model

    def predict(self, rows: Any) -> Any:
        """Return a number, or a list of numbers, for each row."""
        return self.estimator.predict(rows)


def adapt(model: Any) -> Any:
    """Return a model with scikit-learn's interface, which most of CatBoost's have."""
    if not model.is_fitted():
        raise RegistrationError("the CatBoost model is not fitted: call fit before it is registered")
    return CatBoostWithoutClasses(model) if type(model).__name__ == "CatBoost" else model


def save(model: Any) -> tuple[bytes, dict[str, Any]]:
    """Return the content of the file, and the class of the model."""
    native = model.estimator if isinstance(model, CatBoostWithoutClasses) else model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        native.save_model(str(path))
        return path.read_bytes(), {"class": type(native).__name__}


def load(content: bytes, options: Mapping[str, Any]) -> Any:
    """Load the model."""
    name = options["class"]
    if name not in CATBOOST_CLASSES:
        raise RegistrationError(f"CatBoost has no model {name!r}. Register the model again")
    model = getattr(require("catboost"), name)()
    model.load_model(blob=content)
    return adapt(model)
