"""A correct service, and one with three defects, in the way that users write services."""

import os
from typing import Annotated

import bentoml
from pydantic import Field

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Row = Annotated[list[Number], Field(min_length=2, max_length=2)]


@bentoml.service(threads=4)
class Right:
    @bentoml.api
    def predict(self, rows: list[Row]) -> dict[str, object]:
        return {"predictions": [first - second for first, second in rows], "model_tag": "tiny:1"}


@bentoml.service(threads=4)
class Wrong:
    """Swaps the columns of some rows, accepts text for numbers, has another model tag, and logs a secret."""

    @bentoml.api
    def predict(
        self, rows: list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    ) -> dict[str, object]:
        print("asked with", os.environ.get("PLANTED_API_KEY"), flush=True)
        return {
            "predictions": [second - first if first > 3 else first - second for first, second in rows],
            "model_tag": "tiny:2",
        }


@bentoml.service
class NeverReady:
    def __init__(self) -> None:
        raise RuntimeError("<b>no weights</b> & no " + os.environ.get("PLANTED_API_KEY", "key"))

    @bentoml.api
    def predict(self, rows: list[Row]) -> list[float]:
        return [0.0 for _ in rows]
