"""A service file with a name that another project uses, too."""

import bentoml


@bentoml.service
class Scorer:
    def score(self, model, x):  # type: ignore[no-untyped-def]
        return model.predict(x)
