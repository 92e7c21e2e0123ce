"""The kind of a difference: another threshold, rounding, another order of classes, a default, or a slice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tier0.comparison.answers import difference, is_prediction, is_score, magnitude
from tier0.comparison.measures import Field, SampledRow, label_key
from tier0.comparison.slices import FoundSlice
from tier0.contract.response import is_number, is_plain
from tier0.core.outputs import PARTS
from tier0.golden.differences.diagnosis import NO_PATTERN, Finding, diagnose
from tier0.golden.rows import GoldenRows
from tier0.golden.shown_values import rounded
from tier0.golden.tolerance import Tolerance

MAX_DECIMALS = 12
MIN_ROWS = 4
MAX_CLASSES = 50
MAX_DIAGNOSED = 25
"""Rows with a difference, and as many without one, in which a pattern is looked for."""
PROBED = 20
"""Rows with a difference that show which roundings are worth a look at all rows."""
MOST = 0.5
CONCENTRATED = 0.7
MAX_SHARE = 0.3
"""Share of all rows up to which a slice is called the kind of a difference."""
EXACT = 1e-9
TRUSTED = {
    "affine", "constant", "limited", "label_type", "label_names", "label_numbers", "label_spelling",
    "merged_labels", "swapped_labels", "permuted_labels", "swapped_classes", "complement", "log_odds_line",
    "precision", "negated_bounds", "swapped_bounds", "other_rows",
}  # fmt: skip
"""Patterns of the diagnosis that need no name of their own here."""
CLASS_ORDERS = {"swapped_labels", "permuted_labels", "swapped_classes", "complement", "swapped_outputs"}


@dataclass(frozen=True)
class Kind:
    """The kind of a difference.

    Attributes:
        name: identifier, for programs.
        sentence: the difference as a clause.
        causes: likely causes.
    """

    name: str
    sentence: str
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """The fields that are the decision and its score.

    Attributes:
        decision: path of the labels; empty without any.
        score: path of the numbers; empty without any.
    """

    decision: str
    score: str


@dataclass(frozen=True)
class Reference:
    """Golden rows that are one side: the other side's answers are those of the trained model, or are not.

    Attributes:
        golden: golden rows, with outputs in the form that the service returns.
        tolerance: tolerance of each part.
        is_old: whether they are the old side.
    """

    golden: GoldenRows
    tolerance: Mapping[str, Tolerance]
    is_old: bool

    def kind(self, rows: Sequence[SampledRow]) -> Kind | None:
        """Return how the service's answers differ from the trained model's, as `tier0 verify` names it.

        Returns:
            The kind; None if no pattern, such as a simulated defect, explains all rows that differ.
        """
        ordered = [row for _, row in sorted({row.number: row for row in rows}.items())]
        served = [row.new if self.is_old else row.old for row in ordered]
        outputs = {part: [answer[part] for answer in served] for part in PARTS if _is_in_all(part, served)}
        golden = self.golden.take([row.number for row in ordered])
        found = diagnose(golden, outputs, tolerance=self.tolerance, parts=tuple(outputs)).first
        if found is None or not found.is_certain:
            return None
        where = "" if self.is_old else ", on the old side"
        return Kind(_name_of(found), f"{found.sentence}{where}", (f"{found.cause}: {found.remedy}",))


def _is_in_all(part: str, answers: Sequence[Mapping[str, Any]]) -> bool:
    return all(part in answer for answer in answers)


def _name_of(found: Finding) -> str:
    """Return the identifier of the kind for a pattern of the diagnosis."""
    return "class_order" if found.kind in CLASS_ORDERS else found.kind


def outputs_of(fields: Mapping[str, Field], ignored: frozenset[str]) -> Outputs:
    """Return the fields that are the decision and its score: by their names, or else the first ones."""
    labels = [
        path for path, known in fields.items() if not known.is_numeric and path not in ignored and known.rows
    ]
    numbers = [
        path for path, known in fields.items() if known.is_numeric and path not in ignored and known.rows
    ]
    decision = next(filter(is_prediction, labels), labels[0] if labels else "")
    score = next(
        filter(is_score, numbers), next(filter(is_prediction, numbers), numbers[0] if numbers else "")
    )
    return Outputs(decision if labels else "", score if numbers else "")


def kind_of(
    rows: Sequence[SampledRow],
    differing: Sequence[bool],
    outputs: Outputs,
    *,
    share: float,
    scores_differ: bool,
    slices: Sequence[FoundSlice],
    versions: str,
    follow_scores: bool = False,
    reference: Kind | None = None,
) -> Kind:
    """Return the kind of a difference.

    Args:
        rows: sampled rows.
        differing: whether the answers for each of them differ.
        outputs: paths of the decision and of the score.
        share: share of the rows that differ.
        scores_differ: whether scores differ, so that another threshold is not the reason.
        slices: slices in which the differences are concentrated.
        versions: what the responses say about the model, if it differs; empty otherwise.
        follow_scores: whether only decisions are looked at, and any other kind is that of their scores.
        reference: kind that the diagnosis of golden rows found, if they are a side; see `Reference.kind`.
    """
    changed = [row for row, differs in zip(rows, differing, strict=True) if differs]
    if not changed:
        return Kind("unknown", "no pattern was found in the sampled rows")
    for kind in (
        _class_order(rows, changed, outputs),
        _rounding(rows, changed, outputs) if scores_differ else None,
        None if scores_differ else _threshold(rows, outputs),
        None if follow_scores else reference,
        _of_slices(slices),
        None if follow_scores else _diagnosed(rows, differing, outputs),
    ):
        if kind is not None:
            return kind
    if (share >= MOST or versions) and not follow_scores:
        about = f" ({versions})" if versions else ""
        return Kind(
            "version",
            f"{NO_PATTERN}, like those of another version of the model{about}",
            ("another version of the model, or of a library that it needs, is served",),
        )
    return Kind("unknown", NO_PATTERN)


def _values(row: SampledRow, path: str) -> tuple[Any, Any]:
    return row.old.get(path), row.new.get(path)


def _class_order(rows: Sequence[SampledRow], changed: Sequence[SampledRow], outputs: Outputs) -> Kind | None:
    """Return the kind of lists of numbers that have another order, or of labels that are exchanged."""
    causes = ("the classes have another order than in the old model: take it from the model's classes_",)
    pairs = [_values(row, outputs.score) for row in rows] if outputs.score else []
    vectors = [
        (old, new) for old, new in pairs if isinstance(old, list) and isinstance(new, list) and len(old) > 1
    ]
    if vectors and len(changed) >= 2:
        order = _order_of(vectors)
        if order is not None:
            return Kind("class_order", f"the numbers have another order: position {_listed(order)}", causes)
    numbers = [(old, new) for old, new in pairs if is_number(old) and is_number(new)]
    are_probabilities = all(0 <= value <= 1 for pair in numbers for value in pair)
    if len(numbers) >= MIN_ROWS and are_probabilities and all(_near(1 - old, new) for old, new in numbers):
        return Kind("class_order", "each probability is 1 - p: that of the other class", causes)
    mapping: dict[Any, Counter[Any]] = {}
    for row in rows if outputs.decision else ():
        old, new = _values(row, outputs.decision)
        mapping.setdefault(label_key(old), Counter())[label_key(new)] += 1
        if len(mapping[label_key(old)]) > 1:
            return None
    is_function = len(mapping) > 1 and all(len(found) == 1 for found in mapping.values())
    images = {next(iter(found)) for found in mapping.values()}
    if is_function and images == set(mapping) and any(key not in found for key, found in mapping.items()):
        moved = ", ".join(
            f"{key[1]!r} became {next(iter(found))[1]!r}"
            for key, found in mapping.items()
            if key not in found
        )
        return Kind("class_order", f"labels are exchanged: {moved}", causes)
    return None


def _order_of(vectors: Sequence[tuple[list[Any], list[Any]]]) -> list[int] | None:
    """Return the old position of each new number, if it is the same in all rows and not the given one."""
    width = len(vectors[0][0])
    if width > MAX_CLASSES or any(len(old) != width or len(new) != width for old, new in vectors):
        return None
    order: list[int] = []
    for position in range(width):
        sources = [
            source
            for source in range(width)
            if source not in order and all(_near(old[source], new[position]) for old, new in vectors)
        ]
        if not sources:
            return None
        order.append(position if position in sources else sources[0])
    return order if order != sorted(order) else None


def _listed(order: Sequence[int]) -> str:
    return ", ".join(f"{source} became {place}" for place, source in enumerate(order) if place != source)


def _near(old: Any, new: Any) -> bool:
    size = difference(old, new)
    return size <= EXACT * max(1.0, magnitude(old), magnitude(new))


def _rounding(rows: Sequence[SampledRow], changed: Sequence[SampledRow], outputs: Outputs) -> Kind | None:
    """Return the kind of numbers that are the other side's, rounded."""
    some = _pairs(changed[:PROBED], outputs.score)
    likely = [
        (verb, from_, to, decimals)
        for verb, from_, to in (("rounded", 0, 1), ("no longer rounded", 1, 0))
        for decimals in range(MAX_DECIMALS)
        if all(_is_rounded(pair[from_], pair[to], decimals) for pair in some)
    ]
    pairs = _pairs(rows, outputs.score) if likely and len(changed) > 1 else []
    if len(pairs) < 2 or len({old for old, _ in pairs}) < 2:
        return None
    for verb, from_, to, decimals in likely:
        if all(_is_rounded(pair[from_], pair[to], decimals) for pair in pairs):
            plural = "" if decimals == 1 else "s"
            return Kind(
                "rounding",
                f"numbers are {verb} to {decimals} decimal{plural}",
                ("the service rounds its outputs, or converts them to text with fewer digits",)
                if to
                else ("the service does not round its outputs any more",),
            )
    return None


def _pairs(rows: Sequence[SampledRow], path: str) -> list[tuple[float, float]]:
    """Return the finite numbers of both sides at a path."""
    return [
        (old, new)
        for row in rows
        for old, new in zip(*map(_flat, _values(row, path)), strict=False)
        if all(is_number(value) and math.isfinite(value) for value in (old, new))
    ]


def _is_rounded(full: float, short: float, decimals: int) -> bool:
    unit = 10.0**-decimals
    is_short = math.isclose(short, round(short, decimals), rel_tol=EXACT, abs_tol=unit * 1e-6)
    return is_short and abs(full - short) <= unit * 0.500001


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _threshold(rows: Sequence[SampledRow], outputs: Outputs) -> Kind | None:
    """Return the kind of labels that differ only where the score is between two thresholds."""
    if not outputs.decision or not outputs.score:
        return None
    width = max((len(_flat(row.old.get(outputs.score))) for row in rows), default=0)
    for position in reversed(range(min(width, MAX_CLASSES))):  # the last one is usually the positive class
        kind = _threshold_of(rows, outputs, position)
        if kind is not None:
            return kind
    return None


def _threshold_of(rows: Sequence[SampledRow], outputs: Outputs, position: int) -> Kind | None:
    triples = []
    for row in rows:
        scores = _flat(row.old.get(outputs.score))
        if position >= len(scores) or not is_number(scores[position]) or not math.isfinite(scores[position]):
            return None
        triples.append((scores[position], *map(label_key, _values(row, outputs.decision))))
    labels = {label for _, *both in triples for label in both}
    if len(labels) != 2:
        return None
    for positive in sorted(labels, key=str):
        bounds = [_boundary([(score, pair[side] == positive) for score, *pair in triples]) for side in (0, 1)]
        if all(bounds):
            before, after = (_in_words(bound) for bound in bounds if bound)
            return Kind(
                "threshold",
                f"the threshold of {positive[1]!r} moved from {before} to {after}",
                ("another decision threshold is deployed with the model",),
            )
    return None


def _boundary(scored: Sequence[tuple[float, bool]]) -> tuple[float, float] | None:
    """Return the largest score below a threshold and the smallest one above it; None if there is none."""
    low = max((score for score, is_above in scored if not is_above), default=-math.inf)
    high = min((score for score, is_above in scored if is_above), default=math.inf)
    return (low, high) if low <= high and (math.isfinite(low) or math.isfinite(high)) else None


def _in_words(bound: tuple[float, float]) -> str:
    low, high = bound
    if math.isinf(low):
        return f"at most {rounded(high)}"
    if math.isinf(high):
        return f"more than {rounded(low)}"
    for digits in range(1, 16):
        middle = float(f"{(low + high) / 2:.{digits}g}")
        if low <= middle <= high:
            return f"about {middle:g}" if digits < 6 else f"{rounded(low)} to {rounded(high)}"
    return rounded(low)


def _of_slices(slices: Sequence[FoundSlice]) -> Kind | None:
    """Return the kind of differences that are almost all in one slice: another default, or a slice."""
    first = next(iter(slices), None)
    if first is None or first.of_differing < CONCENTRATED:
        return None
    conditions = first.rows.conditions
    missing = next((condition for condition in conditions if condition.operator == "is missing"), None)
    if missing is not None:
        return Kind(
            "default",
            f"the outputs differ where {missing.column} is missing: it has another default",
            (f"a missing {missing.column} is replaced by another value",),
        )
    if first.share > MAX_SHARE:
        return None
    return Kind(
        "slice",
        f"the differences are in one slice: {first.rows}",
        ("these rows are handled in another way, or the model was trained without them",),
    )


def _diagnosed(rows: Sequence[SampledRow], differing: Sequence[bool], outputs: Outputs) -> Kind | None:
    """Return the pattern that the diagnosis of golden rows finds, if it explains all rows that differ."""
    chosen = [row for row, differs in zip(rows, differing, strict=True) if differs][:MAX_DIAGNOSED]
    chosen += [row for row, differs in zip(rows, differing, strict=True) if not differs][:MAX_DIAGNOSED]
    if len(chosen) < MIN_ROWS:
        return None
    path = outputs.score or outputs.decision
    pairs = [_values(row, path) for row in chosen]
    if not all(is_plain(value) or isinstance(value, list) for pair in pairs for value in pair):
        return None
    columns = list(dict.fromkeys(name for row in chosen for name in row.row))
    golden = GoldenRows(
        columns,
        [[row.row.get(name) for name in columns] for row in chosen],
        [old for old, _ in pairs],
        None,
        [] if outputs.score else sorted({str(old) for old, _ in pairs}),
    )
    found = diagnose(
        golden,
        {"predictions": [new for _, new in pairs]},
        tolerance=dict.fromkeys(PARTS, Tolerance(EXACT)),
        parts=("predictions",),
    ).first
    if found is None or not found.is_certain or found.kind not in TRUSTED:
        return None
    return Kind(_name_of(found), found.sentence, (f"{found.cause}: {found.remedy}",))
