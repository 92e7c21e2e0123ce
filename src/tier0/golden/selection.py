"""Choice of golden rows by their power: each simulated defect is to be shown by at least one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tier0.golden.defects import Defect, defects_of, simulate
from tier0.golden.prediction import Output
from tier0.golden.simulations import MAX_COMPRESSED_BYTES, Simulation, compressed
from tier0.golden.tolerance import largest_magnitude

if TYPE_CHECKING:
    from tier0.golden.rows import GoldenRows
    from tier0.golden.signature import Signature

MAX_CHOSEN = 24
MAX_FACTOR = 10
"""Outputs outside the range of the examples that are larger than theirs by this factor say little."""
MAX_SHOWN_ROWS = 3
OFTEN_HARMLESS = {"changed_text", "filled_missing", "refitted_step"}
"""Kinds of defects that change nothing for many models, such as lower case for one that ignores the case."""

Simulated = list[tuple[Defect, Output]]


def choose_rows(
    model: Any, signature: Signature, golden: GoldenRows, examples: int, base: int, required: int
) -> tuple[list[int], Simulated]:
    """Return the rows of *golden* to keep, and the simulated outputs for all of them.

    Args:
        model: trained model.
        signature: signature of the model.
        golden: all rows to choose from, with the model's outputs: first the examples, then edge cases, then
            variations of an example.
        examples: number of examples.
        base: index of the example that variations are made of.
        required: number of rows that are kept in any case: the examples and the edge cases.
    """
    output = Output(golden.predictions, golden.probabilities)
    batches = [golden.rows[:examples], golden.rows[examples:]]
    simulated = simulate(model, signature, defects_of(model, signature, batches[0]), batches, output)
    kept = {*range(required), *_one_for_each_column(golden, base, required)}
    largest = MAX_FACTOR * max(largest_magnitude(golden.predictions[:examples]), 1.0)
    excluded = {
        index
        for index in range(required, len(golden))
        if largest_magnitude(golden.predictions[index : index + 1]) > largest
    }
    goals = [rows - excluded for _, by_part in _differences(golden, simulated) for rows in by_part]
    for _ in range(MAX_CHOSEN):
        open_goals = [rows for rows in goals if rows and not rows & kept]
        if not open_goals:
            break
        candidates = sorted({row for rows in open_goals for row in rows})
        kept.add(max(candidates, key=lambda row: sum(row in rows for rows in open_goals)))
    return sorted(kept - excluded), simulated


def _one_for_each_column(golden: GoldenRows, base: int, required: int) -> list[int]:
    """Return rows that differ from the one at *base* in one column only, and by their output.

    They are, for each column, one with a value within the range of the examples and one with a value outside.
    """
    chosen: dict[tuple[str, str | None], int] = {}
    for index in range(required, len(golden)):
        if not _is_same_output(golden, base, index):
            origin = golden.origins[index]
            chosen.setdefault((origin.kind, origin.column), index)
    return list(chosen.values())


def _is_same_output(golden: GoldenRows, one: int, other: int) -> bool:
    parts = (golden.predictions, golden.probabilities)
    return all(part is None or part[one] == part[other] for part in parts)


def with_simulations(golden: GoldenRows, simulated: Simulated) -> GoldenRows:
    """Return *golden* with the outputs of simulated defects, and with the rows that show each.

    Left out are the defects of a column for which none shows a difference, which the model ignores, and those
    that often change nothing.
    """
    output = Output(golden.predictions, golden.probabilities)
    simulated = [
        (defect, found if defect.output is None else defect.output(golden.rows, output))
        for defect, found in simulated
    ]
    differences = _differences(golden, simulated)
    used = {defect.column for defect, (rows, _) in differences if rows}
    shown = {
        defect.sentence: sorted(rows)[:MAX_SHOWN_ROWS]
        for defect, (rows, _) in differences
        if rows or not (defect.kind in OFTEN_HARMLESS or (defect.column and defect.column not in used))
    }
    simulations = [
        Simulation(
            defect.kind,
            defect.column,
            defect.sentence,
            found.predictions,
            found.probabilities,
            is_distinguished=bool(shown[defect.sentence]),
        )
        for defect, found in simulated
        if defect.sentence in shown
    ]
    while len(compressed(simulations)) > MAX_COMPRESSED_BYTES:
        simulations = simulations[::2]
    return replace(golden, simulations=tuple(simulations), distinguishes=shown)


def taken(simulated: Simulated, indices: Sequence[int]) -> Simulated:
    """Return the simulated outputs for the rows at *indices*."""
    return [
        (
            defect,
            Output(
                [output.predictions[index] for index in indices],
                None if output.probabilities is None else [output.probabilities[index] for index in indices],
            ),
        )
        for defect, output in simulated
    ]


def _differences(golden: GoldenRows, simulated: Simulated) -> list[tuple[Defect, tuple[set[int], set[int]]]]:
    """Return, for each simulated defect, the rows with another output, and those with another prediction."""
    tolerances = golden.tolerances(same_arithmetic=False, same_batch=False)

    def differing(part: str, output: Output) -> set[int]:
        expected, got = getattr(golden, part), getattr(output, part)
        if expected is None or got is None:
            return set()
        return {
            index
            for index, (before, after) in enumerate(zip(expected, got, strict=True))
            if before != after and not golden.is_same(part, before, after, tolerances[part])
        }

    found = []
    for defect, output in simulated:
        by_prediction = differing("predictions", output)
        found.append((defect, (by_prediction | differing("probabilities", output), by_prediction)))
    return found
