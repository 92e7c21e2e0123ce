"""Asking both sides the same rows, at the same time and in the same batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tier0.comparison.answers import Answer, is_output
from tier0.comparison.batches import Batch
from tier0.comparison.latencies import latencies_of
from tier0.comparison.measures import Measures
from tier0.comparison.sides import Side
from tier0.core.errors import Tier0Error

SLOTS = 2
"""Batches on their way: while one side is asked one of them, the other side is asked the other."""
REPEATED_ROWS = 1000
"""First rows that one side is asked twice, to measure its noise."""
REPEATED_EVERY = 50
"""After these, one of this many batches is asked twice."""
MAX_SPLITS = 400
"""Times that a batch is halved to find the rows that a side does not answer."""
MAX_UNANSWERED = 3
"""Batches in a row that the network, or an overloaded side, leaves without an answer."""
KEPT, KEPT_THAT_DIFFER = 8, 4
MIN_PAIRS = 24
"""Pairs of latencies without which they cannot be compared."""
MAX_PAIRS = 100
"""Pairs of latencies after which they are compared as they are."""
REPETITIONS = 2
MAX_REPETITION_SECONDS = 5.0
PROGRESS_SECONDS = 2.0


class NotComparableError(Tier0Error):
    """The sides cannot be compared: one cannot be reached, or none of the rows is answered."""


class _Differing(NamedTuple):
    """A batch whose answers differ; *again* is the second answer of the side whose noise is measured."""

    batch: Batch
    old: Answer
    new: Answer
    again: Answer | None


@dataclass
class Asking:
    """The requests of one comparison.

    Attributes:
        old: side that is known.
        new: side that is compared with it.
        measures: what is measured.
        report: called with a line of progress every two seconds.
    """

    old: Side
    new: Side
    measures: Measures
    report: Callable[[str], None] = lambda _: None
    _kept: list[Batch] = field(default_factory=list)
    _differing: list[_Differing] = field(default_factory=list)
    _splits: int = 0
    _unanswered: int = 0
    _number: int = 0
    _reported: float = field(default_factory=time.monotonic)

    async def run(self, batches: Iterator[Batch]) -> None:
        """Ask both sides all batches, and then some of them again.

        Raises:
            NotComparableError: a side cannot be reached.
            RowsError: the rows cannot be read.
        """
        await _in_slots(lambda: self._slot(batches))
        await self._repeat()

    @property
    def _noisy(self) -> Side:
        """The side whose noise is measured: the old one, unless its answers cannot vary."""
        return self.old if self.old.is_service else self.new

    async def _slot(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            self._number += 1
            await self._compare(batch, self._number)
            if (now := time.monotonic()) - self._reported >= PROGRESS_SECONDS:
                self._reported = now
                self.report(f"{self.measures.rows:,} rows compared")

    async def _compare(self, batch: Batch, number: int) -> None:
        old, new = await self._ask_both(batch, number)
        self._require_reachable(old, new)
        old, new = self._counted(old, new, len(batch)), self._counted(new, old, len(batch))
        if (old.problem or new.problem) and batch.can_be_split and self._splits < MAX_SPLITS:
            self._splits += 1
            middle = len(batch) // 2
            await self._compare(batch.part(0, middle), number)
            await self._compare(batch.part(middle, len(batch)), number)
            return
        differs = self.measures.add(batch, old, new)
        if old.problem or new.problem:
            return
        if len(self._kept) < KEPT:
            self._kept.append(batch)
        again = None
        if batch.start < REPEATED_ROWS or number % REPEATED_EVERY == 0:
            first = old if self._noisy is self.old else new
            again = await self._noisy.ask(batch)
            self.measures.add_noise(batch, first, again)
        if differs and len(self._differing) < KEPT_THAT_DIFFER:
            self._differing.append(_Differing(batch, old, new, again))

    async def _ask_both(self, batch: Batch, number: int) -> tuple[Answer, Answer]:
        """Ask one side after the other, each of them first for every other batch."""
        if number % 2:
            old = await self.old.ask(batch)
            return old, await self.new.ask(batch)
        new = await self.new.ask(batch)
        return await self.old.ask(batch), new

    def _counted(self, answer: Answer, other: Answer, rows: int) -> Answer:
        """Return an answer with a problem if it lacks values of some rows, and the other side's has them all.

        A list beside the answer to a single row, such as one of warnings, may have one item by chance.
        """
        are_many = 1 not in {self.old.max_rows, self.new.max_rows}
        known = (
            path for path in other.fields if is_output(path) or (are_many and path in self.measures.fields)
        )
        path = next((path for path in known if path in answer.lengths), None)
        if answer.problem or path is None:
            return answer
        found = answer.lengths[path]
        values, sent = ("value" if found == 1 else "values"), ("row" if rows == 1 else "rows")
        where = f" in {path}" if path else ""
        return replace(answer, problem=f"the response has {found} {values}{where} for {rows} {sent}")

    def _require_reachable(self, old: Answer, new: Answer) -> None:
        """Check that the network is not the reason why batches have no answer.

        Raises:
            NotComparableError: it may be.
        """
        lost = [
            (side.name, answer.problem)
            for side, answer in ((self.old, old), (self.new, new))
            if answer.problem and answer.is_network
        ]
        self._unanswered = self._unanswered + 1 if lost else 0
        if self._unanswered >= MAX_UNANSWERED or (lost and not self.measures.answers):
            name, problem = lost[0]
            raise NotComparableError(f"{name} does not respond: {problem}")

    async def _repeat(self) -> None:
        """Ask some batches again, to see which differences stay, and for enough pairs of latencies."""
        end = time.monotonic() + MAX_REPETITION_SECONDS
        differing = iter(enumerate(self._differing))
        await _in_slots(lambda: self._repeat_differing(differing, end))
        number = 0
        while self._kept and self._needs_pairs() and time.monotonic() < end:
            batch = self._kept[number % len(self._kept)]
            number += 1
            old, new = await self._ask_both(batch, number)
            self._note([(old, new)])
            first = old if self._noisy is self.old else new
            self.measures.add_noise(batch, first, await self._noisy.ask(batch))

    async def _repeat_differing(self, differing: Iterator[tuple[int, _Differing]], end: float) -> None:
        for number, (batch, old, new, again) in differing:
            if time.monotonic() > end or not self.measures.needs_repetitions:
                return
            turns = REPETITIONS if again is None else REPETITIONS - 1
            rounds = [await self._ask_both(batch, number + turn) for turn in range(turns)]
            self._note(rounds)
            if again is not None and self._noisy is self.old:
                rounds.append((again, await self.new.ask(batch)))
            elif again is not None:
                rounds.append((await self.old.ask(batch), again))
            rounds.append((old, new))
            self.measures.add_repetitions([before for before, _ in rounds], [after for _, after in rounds])

    def _needs_pairs(self) -> bool:
        """Return whether more pairs of latencies are needed to compare them."""
        pairs, noise = self.measures.latencies.items, self.measures.noise_latencies.items
        if len(pairs) < MIN_PAIRS:
            return True
        found = latencies_of(pairs, noise)
        is_open = found is not None and found.judged(self.measures.limits.slower) == "open"
        return is_open and len(pairs) < MAX_PAIRS

    def _note(self, rounds: Sequence[tuple[Answer, Answer]]) -> None:
        for old, new in rounds:
            if not old.problem and not new.problem:
                self.measures.latencies.add((old.seconds, new.seconds))


async def _in_slots(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run *work* once per slot, all at the same time; after an error, the others are cancelled."""
    slots = [asyncio.ensure_future(work()) for _ in range(SLOTS)]
    try:
        await asyncio.gather(*slots)
    finally:
        for slot in slots:
            slot.cancel()
