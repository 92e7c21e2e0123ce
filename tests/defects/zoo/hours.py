"""A transformer of the zoo's own: both the training and the service import it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class HourOf(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The local hour of a time with its offset, such as 2024-03-04T23:30:00+01:00."""

    def fit(self, X: Any, y: Any = None) -> HourOf:  # noqa: N803
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803
        column = X.iloc[:, 0] if hasattr(X, "iloc") else X[:, 0]
        return np.array([[float(str(value)[11:13])] for value in column])
