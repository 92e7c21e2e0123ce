"""STA10: on half a core, no worker."""

import bentoml

CPUS = 0.5


@bentoml.service(workers=int(CPUS))
class Service:
    @bentoml.api
    def predict(self, x: list[float]) -> list[float]:
        return x
