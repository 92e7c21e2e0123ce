"""The diagnosis of a difference: the patterns that explain it, ranked, with their likely causes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from tier0.core.outputs import PARTS
from tier0.golden.differences.label_patterns import (
    class_patterns,
    exchanged_parts,
    label_patterns,
    threshold_patterns,
)
from tier0.golden.differences.number_patterns import (
    constant_patterns,
    function_patterns,
    limit_patterns,
    order_patterns,
    precision_patterns,
    rounding_patterns,
)
from tier0.golden.differences.pattern import Pattern, Selection, Show
from tier0.golden.differences.row_patterns import answers_of_others, row_patterns
from tier0.golden.differences.selections import chance_of, selections
from tier0.golden.differences.side_by_side import SideBySide
from tier0.golden.differences.simulated_patterns import nearest_simulation, simulated_patterns
from tier0.golden.origins import EXAMPLE
from tier0.golden.rows import GoldenRows
from tier0.golden.tolerance import Tolerance

MAX_CHANCE = 0.05
"""A pattern that fits labels by chance more often than this is called possible only."""
MAX_CHANCE_OF_ROWS = 0.01
"""The same for a property of rows, of which many kinds are tried."""
MIN_SHARE = 0.75
MAX_CAUSES = 3
MAX_BOTH = 105
"""Characters of two patterns in one sentence."""
IN_PAIRS = {"boundary", "decision"}
"""Kinds of rows that are next to each other: one that moves a little gets the output of the other."""
NO_PATTERN = "the differences follow no known pattern"
AS_IF = "as if "
LOCALLY = "in the rows that differ, "


class Finding(NamedTuple):
    """A pattern that explains the differences, or a part of them.

    Attributes:
        kind: identifier, for programs.
        sentence: the pattern as a clause that claims only what was measured.
        cause: likely cause, as a clause.
        remedy: what to do about the cause.
        share: share of the rows that differ that it explains.
        is_certain: whether it explains all of them, and hardly by chance.
        is_of_outputs: whether outputs are changed, and not the values of rows.
    """

    kind: str
    sentence: str
    cause: str
    remedy: str
    share: float
    is_certain: bool
    is_of_outputs: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """How served outputs differ from the trained model's.

    Attributes:
        findings: patterns that explain the differences, the most specific first; certain ones before others.
        differing: number of rows that differ.
        rows: number of compared rows.
        largest: largest difference between two numbers, as text; empty if no numbers differ.
        is_partial: whether other rows got the right outputs, so that a possible pattern says little.
    """

    findings: tuple[Finding, ...]
    differing: int
    rows: int
    largest: str = ""
    is_partial: bool = False

    @property
    def first(self) -> Finding | None:
        """The finding that is reported; None without any pattern."""
        return next(iter(self.findings), None)

    @property
    def pattern(self) -> str:
        """The pattern as a clause, with another one that explains the rows as well."""
        if self.first is None:
            return NO_PATTERN
        if not self.first.is_certain:
            rows = "" if self.first.share == 1 else f" in {self.first.share:.0%} of them"
            return f"possibly {self.first.sentence}{rows}"
        first, ties = self.first.sentence, self._ties
        if not ties:
            return first
        both = f"{first}, or {ties[0].sentence.removeprefix(AS_IF)}"
        return both if len(both) <= MAX_BOTH else f"{first}, or {len(ties)} other patterns"

    @property
    def _ties(self) -> list[Finding]:
        """Simulated defects, and a constant, that explain the differences as well as the first finding."""
        if self.first is None or not self.first.is_certain:
            return []
        return [
            finding for finding in self.findings[1:] if finding.is_certain and _is_alike(self.first, finding)
        ]

    @property
    def evidence(self) -> dict[str, Any]:
        """The first finding for programs: its kind, and how many of the rows that differ it explains."""
        if self.first is None:
            return {}
        return {"pattern": self.first.kind, "rows_explained": round(self.first.share * self.differing)}

    def in_words(self, first: str, cause: str = "") -> str:
        """Return how many rows differ, by how much and how, the likely cause, and the *first* difference.

        The first row is on a line of its own, unless it is the only one.

        Args:
            first: first difference, as text.
            cause: likely cause if it is known from the request; by default, that of the first finding.
        """
        cause = cause or self.cause
        cause = f". Likely cause: {cause}" if cause else ""
        if not self.differing:
            return first
        if self.rows == 1:
            return f"{first}; {self.pattern}{cause}" if self.first is not None else first
        size = f" by at most {self.largest}" if self.largest else ""
        return f"{self.differing} of {self.rows} rows differ{size}: {self.pattern}{cause}\n{first}"

    @property
    def cause(self) -> str:
        """The likely cause of the first finding, as a clause; empty without a certain one."""
        return self.first.cause if self.first is not None and self.first.is_certain else ""

    def causes(self, others: Sequence[str]) -> list[str]:
        """Return the likely causes: those of the findings, and *others* unless a finding is certain."""
        is_certain = self.first is not None and self.first.is_certain
        chosen = [*self.findings[:1], *self._ties] if is_certain else self.findings
        found = [f"{finding.cause}: {finding.remedy}" for finding in chosen[:MAX_CAUSES]]
        if is_certain:
            return list(dict.fromkeys(found))
        return list(dict.fromkeys([*others, *found] if self.is_partial else [*found, *others]))


def diagnose(
    golden: GoldenRows,
    outputs: Mapping[str, Any],
    *,
    tolerance: Mapping[str, Tolerance],
    parts: Sequence[str] = PARTS,
    others: GoldenRows | None = None,
    are_alone: bool = False,
    is_partial: bool = False,
    show: Show = str,
) -> Diagnosis:
    """Return how served outputs differ from the trained model's.

    Args:
        golden: rows that were sent, with the trained model's outputs.
        outputs: served outputs, see `GoldenRows.compare`.
        tolerance: tolerance of each part.
        parts: parts to compare.
        others: golden rows that were sent in other requests.
        are_alone: whether each row was sent in a request of its own.
        is_partial: whether other rows got the right outputs, so that a pattern that fits roughly says little.
        show: returns a value of a row or an output, as text, in the form in which a user may see it.
    """
    pair = SideBySide.of(golden, outputs, tolerance, parts)
    if not pair.differing:
        return Diagnosis((), 0, len(golden))
    constants = constant_patterns(pair, show)
    origins = golden.origins or [EXAMPLE] * len(golden)
    have_pairs = all(origins[index].kind in IN_PAIRS for index in pair.differing)
    patterns = chain(
        limit_patterns(pair, show),
        () if constants.can_be_model else constants.patterns,
        () if are_alone or have_pairs else row_patterns(pair),
        () if others is None or have_pairs else answers_of_others(pair, others),
        label_patterns(pair, show),
        class_patterns(pair, show),
        exchanged_parts(pair, show),
        rounding_patterns(pair),
        threshold_patterns(pair, show),
        simulated_patterns(pair, show),
        constants.patterns if constants.can_be_model else (),
        function_patterns(pair, show),
        precision_patterns(pair),
        () if is_partial else order_patterns(pair),
    )
    found = [finding for pattern in patterns if (finding := _judged(pair, pattern)) is not None]
    chosen = list(_selected(pair, selections(pair, show)))
    findings = _ranked([*_combined(found, chosen), *chosen])
    if not is_partial and not any(finding.is_certain for finding in findings):
        nearest = (_judged(pair, pattern) for pattern in nearest_simulation(pair, show))
        findings = [*(finding for finding in nearest if finding is not None), *findings]
    largest = pair.largest_difference()
    return Diagnosis(tuple(findings), len(pair.differing), len(golden), largest, is_partial)


def _judged(pair: SideBySide, pattern: Pattern) -> Finding | None:
    """Return the finding of a pattern; None if it contradicts rows, or explains too few of them."""
    explained = [index for index in pair.differing if _explains(pair, pattern, index)]
    share = len(explained) / len(pair.differing)
    is_consistent = _is_consistent(pair, pattern)
    if share < (1.0 if pattern.is_fitted else MIN_SHARE) or not (is_consistent or pattern.is_local):
        return None
    is_certain = share == 1 and not pattern.is_weak and _chance(pair, pattern) <= MAX_CHANCE
    sentence = pattern.sentence
    if not is_consistent:
        if len(explained) < 2:
            return None
        is_certain = is_certain and not pair.are_labels_only
        sentence = f"{LOCALLY}{sentence}"
    return Finding(
        pattern.kind, sentence, pattern.cause, pattern.remedy, share, is_certain, pattern.is_of_outputs
    )


def _explains(pair: SideBySide, pattern: Pattern, index: int) -> bool:
    """Return whether the served outputs of a row are those of the pattern, in all parts."""
    for part in pair.parts:
        if part in pattern.outputs and len(pattern.outputs[part]) == len(pair):
            if not pair.matches(part, index, pattern.outputs[part][index]):
                return False
        elif index not in pair.wrong[part]:
            continue
        elif part == "predictions" and "probabilities" in pattern.outputs:
            if not pair.follows_probabilities(index):
                return False
        elif part != "intervals" or "predictions" not in pattern.outputs:
            return False
    return True


def _is_consistent(pair: SideBySide, pattern: Pattern) -> bool:
    """Return whether the pattern leaves the outputs of the rows that do not differ as they are."""
    return all(
        pair.matches(part, index, values[index])
        for part, values in pattern.outputs.items()
        if part in pair.parts and len(values) == len(pair)
        for index in range(len(pair))
        if index not in pair.wrong[part]
    )


def _chance(pair: SideBySide, pattern: Pattern) -> float:
    """Return the chance that labels agree with one of the patterns that were tried; 0 for numbers."""
    if not pair.are_labels_only:
        return 0.0
    count, differing = len(pair), len(pair.differing)
    ways = 2**count if differing == count else math.comb(count, differing)
    return min(1.0, pattern.trials / ways)


def _selected(pair: SideBySide, candidates: Iterator[Selection]) -> Iterator[Finding]:
    """Yield the properties that all rows that differ have, but not all rows, the least likely by chance."""
    count = len(pair)
    found = [(chance_of(selection, pair.differing, count), selection) for selection in candidates]
    certain = [(chance, selection) for chance, selection in found if chance <= MAX_CHANCE_OF_ROWS]
    likely = certain or sorted(
        ((chance, selection) for chance, selection in found if chance < 1.0), key=lambda pair: pair[0]
    )
    for chance, selection in likely[:1]:
        differing, having = len(pair.differing), len(selection.rows)
        how_many = "" if differing == having else f" ({differing} of {having} of them)"
        yield Finding(
            selection.kind,
            f"only rows {selection.sentence} differ{how_many}",
            selection.cause,
            selection.remedy,
            1.0,
            chance <= MAX_CHANCE_OF_ROWS,
        )


def _combined(found: Sequence[Finding], chosen: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the findings; one that is limited to the rows that differ names these rows, if they are known.

    Such a defect would change other rows, too, so that what these rows have in common is the likely cause.
    """
    rows = next((finding for finding in chosen if finding.is_certain), None)
    for finding in found:
        limited = finding.sentence.removeprefix(LOCALLY)
        if limited == finding.sentence:
            yield finding
            continue
        if rows is None:
            yield finding._replace(is_certain=finding.is_certain and finding.is_of_outputs)
            continue
        named = finding._replace(sentence=f"{rows.sentence}, {limited}")
        yield named if finding.is_of_outputs else named._replace(cause=rows.cause, remedy=rows.remedy)


def _is_alike(first: Finding, other: Finding) -> bool:
    """Return whether two findings are of defects with the same outputs."""
    kinds = first.sentence.startswith(AS_IF), other.sentence.startswith(AS_IF)
    return all(kinds) or (any(kinds) and "constant" in {first.kind, other.kind})


def _ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Return certain findings first, then by the share of rows; between equals, the given order stays."""
    return sorted(findings, key=lambda finding: (not finding.is_certain, -finding.share))
