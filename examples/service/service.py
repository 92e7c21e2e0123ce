"""Serves the trained pipeline."""

from typing import Annotated, Any

import bentoml
from pydantic import BaseModel, ConfigDict, Field


class Customer(BaseModel):
    """A row as the model takes it; nothing else is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    months: int
    calls: int
    price: float


@bentoml.service
class Churn:
    """Predicts which customers leave."""

    saved = bentoml.models.BentoModel("churn:latest")

    def __init__(self) -> None:
        import pandas as pd  # not at the top: the process that supervises the workers imports this file, too

        self.frame = pd.DataFrame
        self.model = bentoml.sklearn.load_model(self.saved)

    @bentoml.api
    def predict(self, rows: Annotated[list[Customer], Field(min_length=1)]) -> dict[str, Any]:
        """Predict each row."""
        frame = self.frame([row.model_dump() for row in rows])
        return {
            "predictions": self.model.predict(frame).tolist(),
            "probabilities": self.model.predict_proba(frame).tolist(),
            "classes": self.model.classes_.tolist(),
            "model_tag": str(self.saved.tag),
        }
