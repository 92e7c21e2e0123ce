"""XGBoost for any labels: its own wrapper takes 0 to n-1 only."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelEncoder
from xgboost import XGBClassifier


class LabelledXGBClassifier(XGBClassifier):  # type: ignore[misc]
    """An `XGBClassifier` that is trained on, and predicts, labels of any kind, as scikit-learn's classifiers do."""

    def fit(self, X: Any, y: Any, **options: Any) -> LabelledXGBClassifier:  # noqa: N803
        """Fit on *y* of shape (rows,), of any dtype that can be sorted."""
        self.labels_ = LabelEncoder().fit(y)
        super().fit(X, self.labels_.transform(y), **options)
        return self

    def predict(self, X: Any, **options: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Predict labels, shape (rows,)."""
        return self.labels_.inverse_transform(super().predict(X, **options))  # type: ignore[no-any-return]

    @property
    def classes_(self) -> np.ndarray[Any, Any]:
        """The labels, sorted."""
        return self.labels_.classes_  # type: ignore[no-any-return]
