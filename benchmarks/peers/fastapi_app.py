"""The same model behind a FastAPI application that was written for speed: one thread, orjson, no log."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

model = pickle.loads(Path(os.environ["MODEL"]).read_bytes())  # noqa: S301 - the benchmark has just written it
model.set_params(n_jobs=1)
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    rows = np.array(orjson.loads(await request.body())["features"], dtype=float)
    answer = {
        "predictions": model.predict(rows).tolist(),
        "probabilities": model.predict_proba(rows).tolist(),
    }
    return Response(orjson.dumps(answer), media_type="application/json")
