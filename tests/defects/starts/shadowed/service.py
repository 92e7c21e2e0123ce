"""PKG04: a file beside it has the name of one of the standard library's modules."""

import bentoml


@bentoml.service
class Service:
    @bentoml.api
    def predict(self, x: list[float]) -> list[float]:
        return x
