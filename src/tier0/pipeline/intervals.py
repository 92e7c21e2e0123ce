"""Regression with prediction intervals that need no assumption about the distribution of the noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import KFold, cross_val_predict

FOLDS = 5


class ConformalRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor with a prediction interval for each row.

    The bounds are the prediction plus and minus one half-width: the quantile of the absolute residuals in
    cross-validation, with the correction for a finite sample (cross-conformal prediction: Vovk,
    "Cross-conformal predictors", 2015). On average, they contain a share *level* of the outcomes, if future
    rows are distributed like the training rows.

    Args:
        estimator: the regressor, or a pipeline that ends in one.
        level: share of the outcomes that lie within their interval.
        seed: seed of the folds.
    """

    def __init__(self, estimator: Any, level: float = 0.9, seed: int = 7) -> None:
        self.estimator = estimator
        self.level = level
        self.seed = seed

    def fit(self, X: Any, y: Any) -> ConformalRegressor:  # noqa: N803 - scikit-learn's names
        """Fit on numbers *y* of shape (rows,)."""
        folds = KFold(FOLDS, shuffle=True, random_state=self.seed)
        residuals = np.sort(np.abs(np.asarray(y) - cross_val_predict(clone(self.estimator), X, y, cv=folds)))
        rank = min(math.ceil((len(residuals) + 1) * self.level), len(residuals))
        self.half_width_ = float(residuals[rank - 1])
        self.estimator.fit(X, y)
        return self

    def predict(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Predict numbers, shape (rows,)."""
        return self.estimator.predict(X)  # type: ignore[no-any-return]

    def predict_interval(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the lower and the upper bound of each row, shape (rows, 2)."""
        predictions = self.predict(X)
        return np.column_stack([predictions - self.half_width_, predictions + self.half_width_])
