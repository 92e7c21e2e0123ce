"""Conversion of a response to the model's labels, with one number per class in the order of its classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from tier0.contract.contract import PREDICTED, Contract
from tier0.contract.response import is_number, is_plain, scores_of
from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows, Simulation

NUMBER_WITH_UNIT = re.compile(
    r"(?P<before>[^\d+.-]*)(?P<number>[+-]?\d+(?:\.\d+)?)(?P<after>\s*[^\W\d]*[^\w\s.,]?)"
)


def of_predicted(golden: GoldenRows) -> list[float]:
    """Return the probability of the predicted class of each row."""
    positions = {str(label): position for position, label in enumerate(golden.classes)}
    return [
        row[positions[str(label)]] if str(label) in positions else math.nan
        for row, label in zip(golden.probabilities or [], golden.predictions, strict=True)
    ]


def as_served(golden: GoldenRows, contract: Contract) -> GoldenRows:
    """Return golden rows with the probabilities that the service returns, for all classes or for one."""
    named = contract.probability_of
    if named is None or golden.probabilities is None:
        return golden

    def with_one(simulation: Simulation) -> Simulation:
        if simulation.probabilities is None:
            return simulation
        outputs = replace(golden, predictions=simulation.predictions, probabilities=simulation.probabilities)
        return replace(simulation, probabilities=expected_of(outputs, named))

    return replace(
        golden,
        probabilities=expected_of(golden, named),
        simulations=tuple(map(with_one, golden.simulations)),
    )


def expected_of(golden: GoldenRows, named: str) -> list[list[float]]:
    """Return for each row a list with the probability of one class, or of the predicted one."""
    if named == PREDICTED and PREDICTED not in map(str, golden.classes):
        return [[value] for value in of_predicted(golden)]
    position = [str(label) for label in golden.classes].index(named)
    return [[row[position]] for row in golden.probabilities or []]


def merged(responses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the parts of several responses: lists are joined, other values come from the last response."""
    if len(responses) == 1:
        return dict(responses[0])
    result: dict[str, Any] = dict(responses[-1])
    for part in PARTS:
        values = [response[part] for response in responses]
        if all(value is None for value in values):
            result[part] = None
            continue
        lists = [value if isinstance(value, list) else [value] for value in values]
        result[part] = list(chain.from_iterable(lists))
    return result


def in_model_terms(parts: Mapping[str, Any], golden: GoldenRows, contract: Contract) -> dict[str, Any]:
    """Return the parts of a response with the model's labels and one number per class."""
    predictions = _as_objects(parts["predictions"], golden)
    if isinstance(predictions, list):
        predictions = _with_model_labels(predictions, golden, contract)
        if not golden.classes and contract.scale != 1.0:
            predictions = [value / contract.scale if is_number(value) else value for value in predictions]
    probabilities = by_class(parts["probabilities"], golden, contract)
    return {**parts, "predictions": predictions, "probabilities": probabilities}


def _as_objects(predictions: Any, golden: GoldenRows) -> Any:
    """Return an object for each row if the model's predictions are objects, also from lists of their fields.

    Other fields of the service's objects are none of the model.
    """
    if not golden.predictions or not all(isinstance(output, dict) for output in golden.predictions):
        return predictions
    names = list(golden.predictions[0])
    if isinstance(predictions, Mapping):
        columns = [predictions.get(name) for name in names]
        if not all(isinstance(column, list) for column in columns):
            return predictions
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=False)]
    if not isinstance(predictions, list):
        return predictions
    known = {name for output in golden.predictions for name in output}
    return [
        {name: value for name, value in row.items() if name in known} if isinstance(row, Mapping) else row
        for row in predictions
    ]


def _with_model_labels(values: Sequence[Any], golden: GoldenRows, contract: Contract) -> list[Any]:
    """Return the model's labels for the service's names.

    If some values are names of the service, a model's label among them is an error of the service. It is
    returned with its declared name, so that it equals no label.
    """
    by_name = _labels_by_name(golden, contract)
    if not by_name:
        return as_labels(golden, values)
    are_names = [_key(value) in by_name for value in values]
    is_mixed = any(are_names) and not all(are_names)

    def label_of(value: Any) -> Any:
        if _key(value) in by_name:
            return by_name[_key(value)]
        if is_mixed and str(value) in contract.labels:
            return f"{value!r} instead of the declared name {contract.labels[str(value)]!r}"
        return value

    return [label_of(value) for value in values]


def _key(value: Any) -> Any:
    return (type(value) is bool, value) if is_plain(value) else None


def _labels_by_name(golden: GoldenRows, contract: Contract) -> dict[Any, Any]:
    """Return the model's label for each declared name of the service."""
    return {
        _key(contract.labels[str(label)]): label for label in golden.classes if str(label) in contract.labels
    }


def as_labels(golden: GoldenRows, values: Sequence[Any]) -> list[Any]:
    """Return values with labels and numbers for other ways to write them.

    These are text (the label 1 for ``"1"``, the prediction 3.5 for ``"3.5"``), lists with a 1 at the position
    of a class and zeros, and numbers with a unit that all of them have.
    """
    if golden.classes:
        if not golden.has_several_outputs and values and all(is_one_hot(value) for value in values):
            return [
                golden.classes[value.index(1)] if len(value) == len(golden.classes) else value
                for value in values
            ]
        labels = {str(label): label for label in golden.classes if not isinstance(label, str)}
        return [labels.get(value, value) if isinstance(value, str) else value for value in values]
    if any(isinstance(output, str) for output in golden.predictions):
        return list(values)
    values = _without_unit(values)
    return [as_number(value) if isinstance(value, str) else value for value in values]


def is_one_hot(row: Any) -> bool:
    """Return whether a row is a list of a single 1 and zeros, as integers."""
    are_integers = isinstance(row, list) and all(type(value) is int for value in row)
    return are_integers and sorted(row) == [*[0] * (len(row) - 1), 1]


def _without_unit(values: Sequence[Any]) -> Sequence[Any]:
    """Return the numbers in texts that all have the same unit, such as EUR; other values unchanged."""
    found = [NUMBER_WITH_UNIT.fullmatch(value) if isinstance(value, str) else None for value in values]
    units = {(match["before"], match["after"]) if match is not None else None for match in found}
    if len(units) != 1 or None in units:
        return values
    return [match["number"] for match in found if match is not None]


def as_number(text: str) -> Any:
    """Return the number that a text is; the text if it is none, or infinite."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if math.isinf(number) else number


def by_class(value: Any, golden: GoldenRows, contract: Contract) -> Any:
    """Return probabilities that are keyed by class as one list per row, in the order of the classes."""
    names = [str(contract.labels.get(str(label), label)) for label in golden.classes]
    if isinstance(value, Mapping) and value.keys() == set(names):
        columns = [value[name] for name in names]
        if all(isinstance(column, list) for column in columns):
            return [list(row) for row in zip(*columns, strict=False)]
    return [_in_order(row, names) for row in value] if isinstance(value, list) else value


def _in_order(row: Any, names: Sequence[str]) -> Any:
    if isinstance(row, str):
        return as_number(row)
    if isinstance(row, list) and row and all(isinstance(value, str) for value in row):
        return [as_number(value) for value in row]
    keyed = scores_of(row, names)
    return row if keyed is None else [keyed[name] for name in names]
