"""Patterns of labels and classes: exchanged, counted, of another type, or decided by another threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from tier0.golden.differences.pattern import MAX_LISTED, Pattern, Show
from tier0.golden.differences.side_by_side import SideBySide, are_finite, rows_of, threshold_between
from tier0.golden.shown_values import brief, rounded

ORDER_OF_CLASSES = "the classes have another order than in the model"
USE_CLASSES = "take the order of the classes from the model's classes_"
ENCODER = "labels are not converted back with the model's own label encoder"
USE_ENCODER = "deploy the encoder of the training with the model"
DEFAULT = 0.5


def label_patterns(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield patterns in which each label of the model is always returned as the same other value."""
    golden = pair.golden
    if not golden.classes or golden.has_several_outputs or "predictions" not in pair.wrong_parts:
        return
    names = _names_of_labels(pair)
    if names is None:
        return
    changed = {label: name for label, name in names.items() if not _same_value(label, name)}
    mapped = [names[_key(label)].value for label in pair.expected("predictions")]
    outputs: dict[str, Sequence[Any]] = {"predictions": mapped}
    known = {str(label) for label in golden.classes}
    listed = _listed(changed, show)
    if not all(str(name.value) in known for name in changed.values()):
        yield _other_values(pair, names, listed, outputs)
    elif all(str(name.value) == label.text for label, name in changed.items()):
        kinds = sorted({type(name.value).__name__ for name in changed.values()})
        sentence = f"the labels have another type: {listed} ({', '.join(kinds)})"
        yield Pattern(
            "label_type", sentence, "labels are converted", "return the model's own labels", outputs
        )
    elif len({name.value for name in names.values()}) == len(names):
        probabilities = _exchanged_probabilities(pair, names)
        kind = "swapped_labels" if len(changed) == 2 else "permuted_labels"
        sentence = f"labels are exchanged: {listed}"
        yield Pattern(kind, sentence, ORDER_OF_CLASSES, USE_CLASSES, {**outputs, **probabilities})
    elif len(known) > 2:
        sentence = f"one label is always returned as another: {listed}"
        cause = "the service does not know some of the model's labels"
        yield Pattern("merged_labels", sentence, cause, USE_CLASSES, outputs, trials=len(known) ** 2)


class _Label(tuple[str, str]):
    """A label as a key, which distinguishes ``1``, ``True`` and ``'1'``."""

    __slots__ = ()
    value: Any

    @property
    def text(self) -> str:
        """The label as text."""
        return self[1]


class _Value(_Label):
    """A served value, with itself beside its key."""

    def __new__(cls, value: Any) -> Self:
        new = super().__new__(cls, _key(value))
        new.value = value
        return new


def _key(value: Any) -> _Label:
    if are_finite(value):
        return _Label(("number", str(int(value)) if value == int(value) else str(value)))
    return _Label((type(value).__name__, str(value)))


def _same_value(label: _Label, name: _Value) -> bool:
    return label == name


def _names_of_labels(pair: SideBySide) -> dict[_Label, _Value] | None:
    """Return the value that is returned for each label; None if some label has several."""
    names: dict[_Label, _Value] = {}
    for label, served in zip(pair.expected("predictions"), pair.outputs["predictions"], strict=True):
        if isinstance(served, (list, Mapping)) or served is None:
            return None
        name = _Value(served)
        if names.setdefault(_key(label), name) != name:
            return None
    return names


def _listed(names: Mapping[_Label, _Value], show: Show) -> str:
    """Return what became of each label, as text."""
    originals = {label: brief(label.text) if label[0] == "str" else label.text for label in names}
    pairs = [
        f"{show(originals[label])} became {show(brief(name.value))}"
        for label, name in list(names.items())[:MAX_LISTED]
    ]
    return ", ".join(pairs)


def _other_values(
    pair: SideBySide, names: Mapping[_Label, _Value], listed: str, outputs: Mapping[str, Sequence[Any]]
) -> Pattern:
    """Return the pattern of values that are not labels of the model."""
    positions = {str(label): position for position, label in enumerate(pair.golden.classes)}
    for start in (0, 1):
        if all(
            are_finite(name.value) and name.value == positions.get(label.text, -2) + start
            for label, name in names.items()
        ):
            sentence = f"labels are numbers counted from {start}: {listed}"
            return Pattern("label_numbers", sentence, ENCODER, USE_ENCODER, outputs)
    if all(name.text.strip().casefold() == label.text.strip().casefold() for label, name in names.items()):
        sentence = f"labels are spelled in another way: {listed}"
        cause = "text is changed on its way"
        return Pattern("label_spelling", sentence, cause, "return the model's own labels", outputs)
    sentence = f"labels have other names: {listed}"
    return Pattern("label_names", sentence, ENCODER, USE_ENCODER, outputs)


def _exchanged_probabilities(
    pair: SideBySide, names: Mapping[_Label, _Value]
) -> dict[str, list[list[float]]]:
    """Return the probabilities with the columns exchanged as the labels are, if they differ as well."""
    classes = [str(label) for label in pair.golden.classes]
    if "probabilities" not in pair.wrong_parts or len(names) != len(classes):
        return {}
    source = {str(name.value): label.text for label, name in names.items()}
    if set(source) != set(classes) or set(source.values()) != set(classes):
        return {}
    positions = [classes.index(source[label]) for label in classes]
    rows = pair.expected("probabilities")
    if any(len(row) != len(classes) for row in rows):
        return {}
    return {"probabilities": [[row[position] for position in positions] for row in rows]}


def class_patterns(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield patterns in which numbers of an output are in another order, or are those of another class."""
    for part in pair.wrong_parts:
        if part == "predictions" and pair.golden.classes:
            continue
        if part == "probabilities":
            yield from _single_numbers(pair, show)
        if part == "intervals":
            yield from _negated_bounds(pair)
        expected, served = pair.channels(part)
        order = _order_of(pair, expected, served)
        like = pair.expected(part)
        if order is not None:
            outputs = rows_of([expected[source] for source in order], like)
            yield _reordered(pair, part, order, outputs, show)
        if part == "probabilities" and expected:
            complement = rows_of([[1 - number for number in channel] for channel in expected], like)
            yield Pattern(
                "complement",
                "each probability is 1 - p",
                "the probability of the other class is returned",
                USE_CLASSES,
                {part: complement},
                is_local=True,
            )


def _single_numbers(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield patterns of one number per row in place of the probabilities of all classes."""
    rows, classes = pair.expected("probabilities"), pair.golden.classes
    if not classes or any(len(row) != len(classes) or not are_finite(*row) for row in rows):
        return
    columns = {"the largest probability": [max(row) for row in rows]}
    columns |= {
        f"the probability of {show(str(label))}": [row[position] for row in rows]
        for position, label in enumerate(classes)
    }
    for name, column in columns.items():
        for numbers in (column, [[number] for number in column]):
            yield Pattern(
                "single_probability",
                f"there is one number for {len(classes)} classes, {name}",
                "the probabilities are reduced to one class",
                "return the probabilities of all classes, or declare probability_of in the contract",
                {"probabilities": numbers},
            )


def _negated_bounds(pair: SideBySide) -> Iterator[Pattern]:
    rows = pair.expected("intervals")
    if all(len(row) == 2 and are_finite(*row) for row in rows):
        yield Pattern(
            "negated_bounds",
            "the bounds have the other sign",
            "the sign of the output is reversed, such as by the order of two groups",
            "return the model's own intervals",
            {"intervals": [[-high, -low] for low, high in rows]},
        )


def _order_of(
    pair: SideBySide, expected: Sequence[Sequence[float]], served: Sequence[Sequence[float]]
) -> list[int] | None:
    """Return the position in the expected output of each served number; None without such an order."""
    order: list[int] = []
    for position, numbers in enumerate(served):
        found = [
            source
            for source, candidate in enumerate(expected)
            if source not in order and all(map(pair.equals, candidate, numbers))
        ]
        if not found:
            return None
        order.append(position if position in found else found[0])
    return order if order != sorted(order) else None


def _reordered(pair: SideBySide, part: str, order: Sequence[int], outputs: list[Any], show: Show) -> Pattern:
    moved = [position for position, source in enumerate(order) if position != source]
    if part == "intervals":
        sentence, cause = "the lower and the upper bounds are exchanged", "the bounds have another order"
        return Pattern("swapped_bounds", sentence, cause, "return the lower bound first", {part: outputs})
    if pair.golden.has_several_outputs or part == "predictions":
        listed = ", ".join(str(position) for position in moved[:MAX_LISTED])
        sentence = f"outputs {listed} are exchanged"
        cause = "the outputs have another order than in the model"
        remedy = "return the columns of the model's predict in their order"
        return Pattern("swapped_outputs", sentence, cause, remedy, {part: outputs})
    names = [show(str(pair.golden.classes[position])) for position in moved[:MAX_LISTED]]
    sentence = f"the probabilities of {', '.join(names[:-1])} and {names[-1]} are exchanged"
    return Pattern("swapped_classes", sentence, ORDER_OF_CLASSES, USE_CLASSES, {part: outputs})


def exchanged_parts(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield patterns in which predictions are numbers that belong to the probabilities."""
    golden = pair.golden
    if not golden.classes or golden.has_several_outputs or "predictions" not in pair.wrong_parts:
        return
    rows = [row for row in golden.probabilities or [] if len(row) == len(golden.classes)]
    served = pair.outputs["predictions"]
    if len(rows) != len(served) or not are_finite(*served):
        return
    columns = {str(label): [row[index] for row in rows] for index, label in enumerate(golden.classes)}
    named = [(f"the probability of {show(label)}", column) for label, column in columns.items()]
    named.append(("the largest probability", [max(row) for row in rows]))
    named += [
        (f"the log-odds of {show(label)}", [_log_odds(number) for number in column])
        for label, column in columns.items()
    ]
    for name, column in named:
        yield Pattern(
            "probability_for_label",
            f"the predictions are numbers, {name}",
            "the output of another method than predict is returned, such as predict_proba",
            "return the label in predictions",
            {"predictions": column, "probabilities": pair.outputs.get("probabilities", [])},
        )


def _log_odds(number: float) -> float:
    return math.log(number / (1 - number)) if 0 < number < 1 else math.nan


def threshold_patterns(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield the pattern of another threshold: labels differ only where the probability is in a range."""
    golden = pair.golden
    if len(golden.classes) != 2 or golden.has_several_outputs or pair.wrong_parts != ("predictions",):
        return
    numbers = [row[-1] for row in golden.probabilities or [] if isinstance(row, list) and row]
    labels = {str(label): position for position, label in enumerate(golden.classes)}
    expected, served = (
        [labels.get(str(label)) for label in values]
        for values in (golden.predictions, pair.outputs["predictions"])
    )
    if len(numbers) != len(pair) or None in {*expected, *served}:
        return
    ours = threshold_between(numbers, [bool(position) for position in expected])
    theirs = threshold_between(numbers, [bool(position) for position in served])
    if ours is None or theirs is None or math.inf in {*map(abs, theirs)}:  # only one label was returned
        return
    near = [numbers[index] for index in pair.differing]
    span = show(f"{rounded(min(near))} to {rounded(max(near))}") if len(near) > 1 else show(rounded(near[0]))
    between = f"between {show(rounded(theirs[0]))} and {show(rounded(theirs[1]))}"
    sentence = f"labels differ only where the probability is {span}: the threshold is {between}"
    cause, remedy = "another decision threshold is used", "deploy the model's threshold with the model"
    if theirs[0] <= DEFAULT <= theirs[1] and not ours[0] <= DEFAULT <= ours[1]:
        cause = f"the default threshold {DEFAULT} is used instead of the model's"
    # the rows that differ are next to the model's threshold, on one of its two sides
    outputs = {"predictions": pair.outputs["predictions"]}
    yield Pattern("threshold", sentence, cause, remedy, outputs, trials=2)
