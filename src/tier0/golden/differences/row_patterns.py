"""Patterns of rows: the answers belong to other rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tier0.golden.differences.number_patterns import SHARED, WHOLE_KEY
from tier0.golden.differences.pattern import MAX_LISTED, Pattern
from tier0.golden.differences.side_by_side import SideBySide, leaves
from tier0.golden.rows import GoldenRows

MAX_ROWS = 400
"""Rows among which the row of each answer is looked for."""
FEW = 3
"""Outputs of so few different values do not identify a row."""
ORDER = "rows or answers change their order in the service"
KEEP_ORDER = "return the answers in the order of the request's rows"
ANOTHER_REQUEST = "the answer to another request is returned"
NO_STATE = (
    "key a cache by all values of the row, keep no state between requests, and return to each caller its own "
    "part of a batch"
)


def row_patterns(pair: SideBySide) -> Iterator[Pattern]:
    """Yield patterns in which the answers to a request belong to other rows of it."""
    count = len(pair)
    if len(pair.differing) < 2:
        return
    are_few = len({str(_joint(pair, index)) for index in range(count)}) <= FEW
    for kind, sentence, sources in _orders(count):
        yield _from_rows(pair, kind, f"the answers are those of {sentence}", sources)
    yield from _sorted_answers(pair)
    if count <= MAX_ROWS and not are_few:
        yield from _any_order(pair)


def _orders(count: int) -> Iterator[tuple[str, str, Mapping[int, int]]]:
    yield (
        "reversed_rows",
        "the rows in reverse order",
        {index: count - 1 - index for index in range(count)},
    )
    for step, name in ((1, "previous"), (-1, "next")):
        inside = {index: index - step for index in range(count) if 0 <= index - step < count}
        yield "shifted_rows", f"the {name} row", inside
        turned = {index: (index - step) % count for index in range(count)}
        yield "shifted_rows", f"the {name} row, and the ends are exchanged", turned
    for half in {count // 2, count - count // 2}:
        yield (
            "exchanged_halves",
            "the rows in another order: the second part came first",
            {index: (index + half) % count for index in range(count)},
        )


def _from_rows(pair: SideBySide, kind: str, sentence: str, sources: Mapping[int, int]) -> Pattern:
    """Return the pattern in which each row has the answer of its source; other rows have any answer."""
    outputs = {
        part: [
            pair.expected(part)[sources[index]] if index in sources else served
            for index, served in enumerate(pair.outputs[part])
        ]
        for part in pair.parts
    }
    return Pattern(kind, sentence, ORDER, KEEP_ORDER, outputs)


def _joint(pair: SideBySide, index: int) -> list[Any]:
    return [leaves(pair.expected(part)[index]) for part in pair.parts]


def _sorted_answers(pair: SideBySide) -> Iterator[Pattern]:
    """Yield the pattern in which the answers are those of the rows, sorted by value."""
    part = pair.parts[-1]
    try:
        by_value = sorted(range(len(pair)), key=lambda index: leaves(pair.expected(part)[index]))
    except TypeError:  # values of different types
        return
    for order, name in ((by_value, "rising"), (by_value[::-1], "falling")):
        sources = dict(enumerate(order))
        yield _from_rows(pair, "sorted_rows", f"the answers are sorted by their {name} values", sources)


def _any_order(pair: SideBySide) -> Iterator[Pattern]:
    """Yield the pattern in which each answer that differs is that of some other row."""
    sources: dict[int, int] = {index: index for index in range(len(pair)) if index not in pair.differing}
    taken = set(sources.values())
    for index in pair.differing:
        found = [other for other in range(len(pair)) if other != index and is_answer_of(pair, index, other)]
        if not found:
            continue
        sources[index] = next((other for other in found if other not in taken), found[0])
        taken.add(sources[index])
    moved = [(index, sources[index]) for index in pair.differing if index in sources]
    if len(moved) < 2:
        return
    listed = ", ".join(f"row {index} got that of row {other}" for index, other in moved[:2])
    are_single = len({other for _, other in moved}) == len(moved)
    if are_single:
        yield _from_rows(pair, "permuted_rows", f"answers belong to other rows: {listed}", sources)._replace(
            outputs=_only_found(pair, sources)
        )
    elif len({other for _, other in moved}) > 1:
        yield Pattern(
            "other_rows",
            f"answers are those of other rows: {listed}",
            SHARED,
            WHOLE_KEY,
            _only_found(pair, sources),
        )


def _only_found(pair: SideBySide, sources: Mapping[int, int]) -> dict[str, list[Any]]:
    return {
        part: [
            pair.expected(part)[sources[index]] if index in sources else expected
            for index, expected in enumerate(pair.expected(part))
        ]
        for part in pair.parts
    }


def is_answer_of(pair: SideBySide, index: int, other: int) -> bool:
    """Return whether the answer to the row at *index* is the trained model's output for another row."""
    return all(pair.equals(pair.expected(part)[other], pair.outputs[part][index]) for part in pair.parts)


def answers_of_others(pair: SideBySide, others: GoldenRows) -> Iterator[Pattern]:
    """Yield the pattern in which answers are those of golden rows in other requests."""
    found: dict[int, int] = {}
    for index in pair.differing:
        matching = [
            other
            for other in range(len(others))
            if all(
                getattr(others, part) is not None
                and pair.equals(getattr(others, part)[other], pair.outputs[part][index])
                for part in pair.parts
            )
        ]
        if len(matching) == 1:
            found[index] = matching[0]
    if not found:
        return
    outputs = {
        part: [
            getattr(others, part)[found[index]] if index in found else expected
            for index, expected in enumerate(pair.expected(part))
        ]
        for part in pair.parts
    }
    names = _listed([f"row {row}" for row in found.values()])
    answers = "the answer is that" if len(found) == 1 else "the answers are those"
    yield Pattern("other_requests", f"{answers} of golden {names}", ANOTHER_REQUEST, NO_STATE, outputs)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
