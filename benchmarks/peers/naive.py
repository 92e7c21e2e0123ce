"""A simple BentoML service of the model: default threads, and predictions without batching."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import bentoml
import numpy as np

MODEL = Path(os.environ["MODEL"])


@bentoml.service(workers=int(os.environ["WORKERS"]))
class Naive:
    """Serves one pickled model."""

    def __init__(self) -> None:
        self.model = pickle.loads(MODEL.read_bytes())  # noqa: S301 - the benchmark has just written it

    @bentoml.api
    async def predict(self, features: list[list[float]]) -> dict[str, Any]:
        rows = np.array(features)
        return {
            "predictions": self.model.predict(rows).tolist(),
            "probabilities": self.model.predict_proba(rows).tolist(),
        }
