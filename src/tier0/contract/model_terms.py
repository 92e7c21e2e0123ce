"""A response in the model's own terms: its labels, and one number a class in the order of its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tier0.contract.contract import PREDICTED, Contract
from tier0.contract.response import is_number, is_plain, keyed_scores
from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows


def of_predicted(golden: GoldenRows) -> list[float]:
    """Return the probability of the predicted class of each row."""
    positions = {str(label): position for position, label in enumerate(golden.classes)}
    return [
        row[positions[str(label)]] if str(label) in positions else math.nan
        for row, label in zip(golden.probabilities or [], golden.predictions, strict=True)
    ]


def as_served(golden: GoldenRows, contract: Contract) -> GoldenRows:
    """Return golden rows with the probabilities that the service returns: all of them, or those of one class, in a list of one."""
    if contract.probability_of is None or golden.probabilities is None:
        return golden
    return replace(golden, probabilities=expected_of(golden, contract.probability_of))


def expected_of(golden: GoldenRows, named: str) -> list[list[float]]:
    """Return the probability of one class, or of the predicted one, in a list of one for each row."""
    if named == PREDICTED and PREDICTED not in map(str, golden.classes):
        return [[value] for value in of_predicted(golden)]
    position = [str(label) for label in golden.classes].index(named)
    return [[row[position]] for row in golden.probabilities or []]


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parts of several responses as those of one: lists are joined, everything else is the last one's."""
    if len(parts) == 1:
        return dict(parts[0])
    joined: dict[str, Any] = dict(parts[-1])
    for name in PARTS:
        values = [part[name] for part in parts]
        joined[name] = (
            None
            if all(value is None for value in values)
            else [item for value in values for item in (value if isinstance(value, list) else [value])]
        )
    return joined


def in_model_terms(parts: Mapping[str, Any], golden: GoldenRows, contract: Contract) -> dict[str, Any]:
    """Return the parts of a response with the model's labels, and with one number a class in the order of its classes."""
    predictions = parts["predictions"]
    if isinstance(predictions, list):
        by_name = _labels_by_name(golden, contract)
        predictions = (
            _named_as_labels(predictions, by_name, contract) if by_name else as_labels(golden, predictions)
        )
        if not golden.classes and contract.scale != 1.0:
            predictions = [value / contract.scale if is_number(value) else value for value in predictions]
    return {
        **parts,
        "predictions": predictions,
        "probabilities": by_class(parts["probabilities"], golden, contract),
    }


def _named_as_labels(values: Sequence[Any], by_name: Mapping[Any, Any], contract: Contract) -> list[Any]:
    """Return the model's labels for the service's names; where some are names, the others must be, too."""
    are_names = [_key(value) in by_name for value in values]
    if any(are_names) and not all(are_names):
        told = [
            f"{value!r}, which others call {contract.labels[str(value)]!r}"
            if str(value) in contract.labels
            else value
            for value in values
        ]
        return [
            by_name[_key(value)] if is_name else other
            for value, other, is_name in zip(values, told, are_names, strict=True)
        ]
    return [by_name.get(_key(value), value) for value in values]


def _key(value: Any) -> Any:
    return (type(value) is bool, value) if is_plain(value) else None


def _labels_by_name(golden: GoldenRows, contract: Contract) -> dict[Any, Any]:
    """Return the model's label for each declared name of the service."""
    return {
        _key(contract.labels[str(label)]): label for label in golden.classes if str(label) in contract.labels
    }


def as_labels(golden: GoldenRows, values: Sequence[Any]) -> list[Any]:
    """Return values with texts in the place of numbers read as numbers: ``"1"`` for the label 1, ``"3.5"`` for a prediction of 3.5."""
    if golden.classes:
        labels = {str(label): label for label in golden.classes if not isinstance(label, str)}
        return [labels.get(value, value) if isinstance(value, str) else value for value in values]
    return [_as_number(value) if isinstance(value, str) else value for value in values]


def _as_number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return text if math.isinf(number) else number


def by_class(value: Any, golden: GoldenRows, contract: Contract) -> Any:
    """Return probabilities as one list a row, in the order of the model's classes, where the response has them by the name of the class."""
    names = [str(contract.labels.get(str(label), label)) for label in golden.classes]
    if (
        isinstance(value, Mapping)
        and value.keys() == set(names)
        and all(isinstance(column, list) for column in value.values())
    ):
        return [list(row) for row in zip(*(value[name] for name in names), strict=False)]
    if not isinstance(value, list):
        return value
    return [_in_order(row, names) for row in value]


def _in_order(row: Any, names: Sequence[str]) -> Any:
    if isinstance(row, list) and row and all(isinstance(value, str) for value in row):
        return [_as_number(value) for value in row]
    keyed = keyed_scores(row)
    return [keyed[name] for name in names] if keyed is not None and keyed.keys() == set(names) else row
