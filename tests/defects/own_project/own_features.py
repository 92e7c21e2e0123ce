"""A module of a user's own project, which no worker could import."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


def ratio(frame: Any) -> Any:
    return frame["f0"] / frame["f1"]


class WithRatio(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Adds a column, by a function of the same module."""

    def fit(self, X: Any, y: Any = None) -> WithRatio:  # noqa: ARG002, N803
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803
        return np.column_stack([X.to_numpy(float), ratio(X)])
