"""PKG08: takes a model when it is imported that nobody declared."""

import bentoml

MODEL = bentoml.models.get("undeclared:latest")


@bentoml.service
class Service:
    @bentoml.api
    def predict(self, x: list[float]) -> list[float]:
        return x
