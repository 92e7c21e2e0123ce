"""Patterns that simulated defects imply: the outputs of the model as if it had one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tier0.golden.differences.pattern import Pattern, Show
from tier0.golden.differences.side_by_side import SideBySide, are_finite, leaves
from tier0.golden.simulations import Simulation

CAUSES: Mapping[str, tuple[str, str]] = {
    "defaulted_column": (
        "the column is lost, and a default takes its place",
        "pass this column to the model",
    ),
    "swapped_columns": ("the columns reach the model in another order", "select the columns by name"),
    "permuted_columns": ("the columns reach the model in another order", "select the columns by name"),
    "rounded_column": (
        "values are rounded or truncated before the model",
        "pass values unrounded to the model",
    ),
    "cast_float32": (
        "values are converted to float32 before the model",
        "pass values in the dtype of the training",
    ),
    "clipped_column": (
        "values are limited to a range before the model",
        "pass values unlimited to the model",
    ),
    "scaled_column": ("values are converted to another unit", "pass values in the unit of the training"),
    "negated_column": (
        "the sign of values is changed before the model",
        "pass values with their own sign to the model",
    ),
    "unknown_category": (
        "the encoder of the service does not know a category",
        "deploy the encoder of the training",
    ),
    "changed_text": ("text is changed before it reaches the model", "pass text to the model unchanged"),
    "filled_missing": (
        "missing values are replaced before they reach the model",
        "pass missing values to the model as they are",
    ),
    "zero_as_missing": (
        "0 is taken for a missing value",
        "tell 0 from a missing value in the service, and in the key of a cache",
    ),
    "dropped_step": (
        "a step of the pipeline is not deployed, or is skipped",
        "serve the entire pipeline, not some of its steps",
    ),
    "refitted_step": (
        "a step of the pipeline is fitted on each request",
        "serve the fitted pipeline, and fit nothing in the service",
    ),
    "cached_without_column": (
        "the key of a cache lacks a column",
        "compute the key of the cache from all values of the row",
    ),
    "swapped_outputs": (
        "the outputs have another order than in the model",
        "return the outputs in the order of the model",
    ),
    "dropped_target_transform": (
        "the inverse of the transformation of the target is missing",
        "apply this inverse in the service",
    ),
    "swapped_labels": (
        "the classes have another order than in the model",
        "take the order of the classes from the model's classes_",
    ),
    "swapped_probabilities": (
        "the classes have another order than in the model",
        "take the order of the classes from the model's classes_",
    ),
    "default_threshold": (
        "the default threshold is used instead of the model's",
        "deploy the threshold of the model",
    ),
    "constant": ("a fallback or a default is returned", "let the request fail where the model was not used"),
}
UNKNOWN = ("the service has this defect", "compare the code of the service with that of the training")
FREQUENT = (
    "dropped_step", "dropped_target_transform", "refitted_step", "default_threshold", "swapped_labels",
    "swapped_probabilities", "swapped_outputs", "filled_missing", "defaulted_column", "permuted_columns",
)  # fmt: skip
"""Kinds of defects, the most frequent first; all others are less frequent."""
MAX_SENTENCE = 90
NEAREST = 0.05
"""Sum of the differences that remains, of the sum of those from the trained model, for the nearest defect."""
CLEARLY = 0.5
"""The sum that remains for the nearest defect, of the sum for the next one."""


def simulated_patterns(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield the pattern of each simulated defect."""
    simulations = pair.golden.simulations
    for simulation in sorted(simulations, key=_rarity):
        yield _pattern(pair, simulation, show, len(simulations))


def _rarity(simulation: Simulation) -> int:
    """Return the place of a defect among those that explain differences equally well."""
    return FREQUENT.index(simulation.kind) if simulation.kind in FREQUENT else len(FREQUENT)


def _pattern(pair: SideBySide, simulation: Simulation, show: Show, trials: int) -> Pattern:
    outputs = {"predictions": simulation.predictions, "probabilities": simulation.probabilities}
    cause, remedy = CAUSES.get(simulation.kind, UNKNOWN)
    return Pattern(
        simulation.kind,
        f"as if {_sentence(simulation, show)}",
        cause,
        remedy,
        {part: values for part, values in outputs.items() if values is not None and part in pair.parts},
        trials,
        is_local=True,
    )


def _sentence(simulation: Simulation, show: Show) -> str:
    """Return what the simulated defect is; without its values where the values of rows are hidden."""
    sentence = simulation.sentence
    if show(sentence) != sentence:
        place = "" if simulation.column is None else f" in {simulation.column!r}"
        sentence = f"it had the simulated defect {simulation.kind}{place}"
    return sentence if len(sentence) <= MAX_SENTENCE else f"{sentence[:MAX_SENTENCE]}…"


def nearest_simulation(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield the simulated defect whose numbers are by far the closest to the served ones, if there is one."""
    part = next((part for part in ("probabilities", "predictions") if part in pair.wrong_parts), None)
    if part is None or (part == "predictions" and pair.golden.classes):
        return
    rest: dict[int, float] = {}
    for number, simulation in enumerate(pair.golden.simulations):
        outputs = getattr(simulation, part)
        if outputs is not None and (distance := _distance(pair, part, outputs)) is not None:
            rest[number] = distance
    whole = _distance(pair, part, pair.expected(part))
    if not rest or not whole:
        return
    best, *others = sorted(rest, key=rest.__getitem__)
    if rest[best] <= NEAREST * whole and all(rest[best] <= CLEARLY * rest[other] for other in others[:1]):
        simulation = pair.golden.simulations[best]
        pattern = _pattern(pair, simulation, show, len(rest))
        yield pattern._replace(
            sentence=f"closest to the outputs {pattern.sentence}, but not equal to them",
            outputs={part: pair.outputs[part]},
            is_weak=True,
        )


def _distance(pair: SideBySide, part: str, outputs: list[object]) -> float | None:
    total = 0.0
    for index in pair.differing:
        for number, served in zip(leaves(outputs[index]), leaves(pair.outputs[part][index]), strict=False):
            if not are_finite(number, served):
                return None
            total += abs(number - served)
    return total
