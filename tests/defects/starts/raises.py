"""STA04: raises when it starts."""

import bentoml


@bentoml.service
class Service:
    def __init__(self) -> None:
        raise RuntimeError("the feature store does not answer")

    @bentoml.api
    def predict(self, x: list[float]) -> list[float]:
        return x
