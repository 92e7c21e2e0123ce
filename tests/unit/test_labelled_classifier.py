"""The wrapper for classifiers that accept the labels 0 to n-1 only."""

from __future__ import annotations

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from tier0.pipeline.labels import LabelledClassifier


def test_labels_of_any_kind_come_back_in_the_order_of_the_classes() -> None:
    rows, labels = np.array([[0.0], [1.0], [2.0]]), ["no", "yes", "maybe"]

    fitted = LabelledClassifier(DecisionTreeClassifier()).fit(rows, labels)

    assert list(fitted.classes_) == ["maybe", "no", "yes"]
    assert list(fitted.estimator.classes_) == [0, 1, 2]
    assert list(fitted.predict(rows)) == labels
    assert fitted.predict_proba(rows).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
