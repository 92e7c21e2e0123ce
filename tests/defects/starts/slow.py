"""STA08: takes longer to load than the start may take."""

import time

import bentoml


@bentoml.service
class Service:
    def __init__(self) -> None:
        time.sleep(31)

    @bentoml.api
    def predict(self, x: list[float]) -> list[float]:
        return x
