"""A wrapper for classifiers that accept the labels 0 to n-1 only, such as XGBoost's."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import LabelEncoder


class LabelledClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier for labels of any kind, around one for the labels 0 to n-1.

    Args:
        estimator: the classifier for the labels 0 to n-1.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> LabelledClassifier:  # noqa: N803 - scikit-learn's names
        """Fit on labels *y* of shape (rows,), of any dtype that can be sorted."""
        self.labels_ = LabelEncoder().fit(y)
        self.classes_ = self.labels_.classes_
        self.estimator.fit(X, self.labels_.transform(y))
        return self

    def predict(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Predict labels, shape (rows,)."""
        return self.labels_.inverse_transform(np.ravel(self.estimator.predict(X)))  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Predict probabilities, shape (rows, labels), in the order of ``classes_``."""
        return self.estimator.predict_proba(X)  # type: ignore[no-any-return]
