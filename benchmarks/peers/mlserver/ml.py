"""The same model behind MLServer with in-process inference, its faster mode.

It needs an environment with mlserver and xgboost.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Served(MLModel):  # type: ignore[misc]
    """Reads a request of the open inference protocol, asks the model, writes an answer."""

    async def load(self) -> bool:
        self.model = pickle.loads(Path(os.environ["MODEL"]).read_bytes())  # noqa: ASYNC240, S301 - once; the benchmark has just written it
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = {"predictions": self.model.predict(rows), "probabilities": self.model.predict_proba(rows)}
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(name, values) for name, values in answers.items()],
        )
