"""Defects of a served model. Only numpy and pandas are needed, so that they run where other servers run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ["age", "income", "seen"]
"""The last is a time in milliseconds, which has more digits than a number of 32 bits."""
SURE = 0.9
UNDECLARED = "one class's probability"
"""The defect that may be intended: Tier0 names it, and fails it where a contract declares labels."""
Answers = tuple[list[Any], list[list[float]]]
"""Labels and probabilities."""
Predict = Callable[[pd.DataFrame], Answers]


def answers(model: Any, rows: Any) -> Answers:
    """Return what a model predicts."""
    return model.predict(rows).tolist(), model.predict_proba(rows).tolist()


def defects(model: Any, other: Any) -> Mapping[str, Callable[[], Predict]]:
    """Return a function that makes each defect of a model whose classes are 0, 1 and 2.

    Args:
        model: pipeline of preprocessing and a classifier, which takes `COLUMNS`.
        other: another such model.
    """

    def right(frame: pd.DataFrame) -> Answers:
        return answers(model, frame)

    def swapped(frame: pd.DataFrame) -> Answers:
        labels, probabilities = right(frame)
        return [{0: 2, 2: 0}.get(label, label) for label in labels], [row[::-1] for row in probabilities]

    def reversed_rows(frame: pd.DataFrame) -> Answers:
        labels, probabilities = right(frame)
        return labels[::-1], probabilities[::-1]

    def stale() -> Predict:
        known: dict[int, Answers] = {}
        return lambda frame: known.setdefault(len(frame), right(frame))

    def strangers() -> Predict:
        known: list[Answers] = []

        def predict(frame: pd.DataFrame) -> Answers:
            """Return the answers to the request before, for as many rows as there are now."""
            known.append(right(frame))
            labels, probabilities = known[-2] if len(known) > 1 else known[0]
            rows = np.resize(np.arange(len(labels)), len(frame))
            return [labels[row] for row in rows], [probabilities[row] for row in rows]

        return predict

    def cautious(frame: pd.DataFrame) -> Answers:
        _, probabilities = right(frame)
        return [2 if row[2] > SURE else int(np.argmax(row[:2])) for row in probabilities], probabilities

    def one_class(frame: pd.DataFrame) -> Answers:
        _, probabilities = right(frame)
        return [row[1] for row in probabilities], probabilities

    permuted = [COLUMNS[1], COLUMNS[0], COLUMNS[2]]
    return {
        "preprocessing dropped": lambda: lambda frame: answers(model[-1], frame.fillna(0.0).to_numpy()),
        "columns permuted": lambda: lambda frame: right(frame.set_axis(permuted, axis=1)[COLUMNS]),
        "another model": lambda: lambda frame: answers(other, frame),
        "float32": lambda: lambda frame: right(frame.astype(np.float32).astype(float)),
        "labels swapped": lambda: swapped,
        "missing is zero": lambda: lambda frame: right(frame.fillna(0.0)),
        "a constant": lambda: lambda frame: ([1] * len(frame), [[0.2, 0.6, 0.2]] * len(frame)),
        "rows in another order": lambda: reversed_rows,
        "a stale cache": stale,
        "a threshold": lambda: cautious,
        UNDECLARED: lambda: one_class,
        "a stranger's answer": strangers,
    }


class Switched:
    """A model with the defect that a file names, which may change while it is served.

    Args:
        model: the right model, whose predictions are returned while the file is empty.
        other: another model.
        switch: path of the file.
    """

    def __init__(self, model: Any, other: Any, switch: str) -> None:
        self.model, self.other, self.switch = model, other, switch
        self.chosen: tuple[str, Predict] | None = None

    def predict(self, rows: Any) -> Any:
        """Return the labels of rows, a table or an array."""
        return np.asarray(self._answers(rows)[0])

    def predict_proba(self, rows: Any) -> Any:
        """Return the probabilities of rows."""
        return np.asarray(self._answers(rows)[1])

    def _answers(self, rows: Any) -> Answers:
        frame = rows[COLUMNS] if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=COLUMNS)
        name = Path(self.switch).read_text(encoding="utf-8")
        if not name:
            return answers(self.model, frame.astype(float))
        if self.chosen is None or self.chosen[0] != name:
            self.chosen = name, defects(self.model, self.other)[name]()
        return self.chosen[1](frame.astype(float))
