"""A healthy service that imports nothing heavy, and routes of it that die, hang and are honest."""

import os
import time
from typing import Annotated

import bentoml
from pydantic import Field

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Row = Annotated[list[Number], Field(min_length=2, max_length=2)]


@bentoml.service(threads=4)
class Tiny:
    @bentoml.api
    def predict(self, rows: list[Row]) -> dict[str, object]:
        return {
            "predictions": [first - second for first, second in rows],
            "model_tag": os.environ.get("TINY_TAG", "tiny:1"),
        }

    @bentoml.api
    def dies(self, rows: list[Row]) -> list[float]:
        os._exit(3)

    @bentoml.api
    def hangs(self, rows: list[Row]) -> list[float]:
        time.sleep(1e5)
        return []
