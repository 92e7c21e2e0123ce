"""A healthy service of two workers, which agree."""

import bentoml
from tiny import Row


@bentoml.service(workers=2)
class Two:
    @bentoml.api
    def predict(self, rows: list[Row]) -> dict[str, object]:
        return {"predictions": [first - second for first, second in rows], "model_tag": "tiny:1"}
