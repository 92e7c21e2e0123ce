"""Treatment effects, as an estimator with scikit-learn's interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator


class EffectRegressor(BaseEstimator):  # type: ignore[misc]
    """Predicts the change of each row's outcome by a treatment, with a confidence interval.

    Args:
        estimator: an estimator of econml, such as `LinearDML`, for a binary treatment.
        level: level of the confidence intervals.
    """

    def __init__(self, estimator: Any, level: float = 0.9) -> None:
        self.estimator = estimator
        self.level = level

    def fit(self, X: Any, y: Any, treatment: Any, controls: Any) -> EffectRegressor:  # noqa: N803 - scikit-learn's names
        """Fit the effect of *treatment* on *y* as a function of *X*.

        Args:
            X: DataFrame of the features that the effect may depend on, shape (rows, features).
            y: the outcome, shape (rows,).
            treatment: 0 or 1, shape (rows,).
            controls: further variables that outcome and treatment depend on, shape (rows, controls).
        """
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.estimator.fit(
            np.asarray(y), np.asarray(treatment), X=self._numbers(X), W=np.asarray(controls, dtype=float)
        )
        return self

    def predict(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the effect of the treatment on each row, in the outcome's unit, shape (rows,)."""
        return np.asarray(self.estimator.effect(self._numbers(X))).ravel()

    def predict_interval(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the lower and the upper confidence bound of each row's effect, shape (rows, 2)."""
        lower, upper = self.estimator.effect_interval(self._numbers(X), alpha=1 - self.level)
        return np.column_stack([np.ravel(lower), np.ravel(upper)])

    def _numbers(self, frame: Any) -> np.ndarray[Any, Any]:
        return frame[list(self.feature_names_in_)].to_numpy(dtype=float)  # type: ignore[no-any-return]
