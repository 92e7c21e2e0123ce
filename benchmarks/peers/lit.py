"""The same model behind LitServe; needs an environment with litserve, xgboost and scikit-learn."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np


class Served(litserve.LitAPI):  # type: ignore[misc]
    """Reads a request, asks the model, writes an answer."""

    def setup(self, device: str) -> None:
        del device
        self.model = pickle.loads(Path(os.environ["MODEL"]).read_bytes())  # noqa: S301 - the benchmark has just written it

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - LitServe makes its route of these types
        return np.array(request["features"], dtype=float)

    def predict(self, x: Any) -> dict[str, Any]:
        return {
            "predictions": self.model.predict(x).tolist(),
            "probabilities": self.model.predict_proba(x).tolist(),
        }

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Served(), accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
