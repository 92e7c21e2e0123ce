"""Rows that arrive together are predicted together, and no caller ever sees another's."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression

from tier0.core.errors import QueueFullError
from tier0.serving.batching import FEW_BATCHES, MAX_WAITING, Batcher, has_batch_independent_outputs
from tier0.serving.entry import Entry
from tier0.serving.predictor import Predictor
from tier0.serving.registration import ModelSaver

ROWS = np.random.default_rng(7).normal(size=(30, 2))


class Watched(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Gives the sum of each row; writes down what it was asked together, and does not take 13."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def fit(self, *_: Any) -> Watched:
        self.asked_: list[int] = []
        return self

    def predict(self, rows: Any) -> Any:
        self.asked_.append(len(rows))
        time.sleep(self.seconds)
        if (np.asarray(rows) == 13).any():
            raise ValueError("13")
        return np.asarray(rows, dtype=float).sum(axis=1)


class Stops(Watched):
    def predict(self, rows: Any) -> Any:
        if (np.asarray(rows) == 13).any():
            next(iter(()))
        return super().predict(rows)


class Panic(BaseException):
    """What libraries in other languages raise."""


class Panics(Watched):
    def predict(self, rows: Any) -> Any:
        if (np.asarray(rows) == 13).any():
            raise Panic
        return super().predict(rows)


class OfTheBatch(Watched):
    def predict(self, rows: Any) -> Any:
        return super().predict(rows) - np.asarray(rows).mean()


def predictor_of(model: Any, examples: Any, folder: Path) -> Predictor:
    folder.mkdir(exist_ok=True)
    ModelSaver(model, "m", {}, examples).write_files(folder)
    return Predictor("m:1", model, Entry.read(folder))


def batcher_of(model: Any, folder: Path, examples: Any = ROWS[:5]) -> Batcher:
    seconds, model.seconds = model.seconds, 0.0  # it is asked often while it is saved
    predictor = predictor_of(model.fit(examples, np.zeros(len(examples))), examples, folder)
    model.seconds = seconds
    model.asked_.clear()
    return Batcher(predictor, can_batch=True)


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30), bad=st.sets(st.integers(0, 29)))
def test_every_caller_gets_its_own_rows_whatever_strangers_send(
    sizes: list[int], bad: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    batcher = batcher_of(Watched(), tmp_path_factory.mktemp("m"))
    asked = [
        [[float(caller), 13.0 if caller in bad else float(index) + 20] for index in range(size)]
        for caller, size in enumerate(sizes)
    ]

    async def ask() -> list[Any]:
        return await asyncio.gather(*(batcher.predict(rows) for rows in asked), return_exceptions=True)

    for caller, (rows, outcome) in enumerate(zip(asked, asyncio.run(ask()), strict=True)):
        if caller in bad or caller == 13:
            assert isinstance(outcome, ValueError)
        else:
            assert outcome[0].predictions == [first + second for first, second in rows]


@pytest.mark.asyncio
async def test_what_arrives_together_is_asked_together_and_nobody_waits(tmp_path: Path) -> None:
    model = Watched()
    batcher = batcher_of(model, tmp_path)

    await batcher.predict([[1.0, 2.0]])
    await asyncio.gather(*(batcher.predict([[float(index), 2.0]]) for index in range(10)))

    assert model.asked_ == [1, 10]


@pytest.mark.parametrize("model", [Stops(), Panics()])
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.asyncio
async def test_whatever_a_model_raises_nobody_waits_for_ever(
    tmp_path: Path,
    model: Watched,
    slow: bool,  # noqa: FBT001
) -> None:
    batcher = batcher_of(model.set_params(seconds=0.02 if slow else 0.0), tmp_path)
    async with asyncio.timeout(10):
        for _ in range(2):
            right, wrong = await asyncio.gather(
                batcher.predict([[1.0, 2.0]]), batcher.predict([[13.0, 2.0]]), return_exceptions=True
            )

            assert isinstance(right, tuple)
            assert right[0].predictions == [3.0]
            assert isinstance(wrong, RuntimeError)


@pytest.mark.asyncio
async def test_a_slow_model_does_not_keep_the_loop(tmp_path: Path) -> None:
    batcher = batcher_of(Watched(0.05), tmp_path)
    await batcher.predict([[1.0, 2.0]])
    asking = asyncio.ensure_future(batcher.predict([[3.0, 4.0]]))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0)
        turns += 1

    assert (await asking)[0].predictions == [7.0]
    assert turns > 10


@pytest.mark.asyncio
async def test_rows_whose_caller_has_gone_are_not_asked(tmp_path: Path) -> None:
    model = Watched(0.05)
    batcher = batcher_of(model, tmp_path)
    await batcher.predict([[1.0, 2.0]])  # by now it is known as slow, and runs in a thread
    first, gone, last = (
        asyncio.ensure_future(batcher.predict([[value, value]])) for value in (1.0, 2.0, 3.0)
    )
    await asyncio.sleep(0)
    gone.cancel()

    assert [(await one)[0].predictions for one in (first, last)] == [[2.0], [6.0]]
    assert sum(model.asked_) == 3


@pytest.mark.asyncio
async def test_more_than_can_wait_is_refused(tmp_path: Path) -> None:
    batcher = batcher_of(Watched(), tmp_path)

    outcomes = await asyncio.gather(
        *(batcher.predict([[1.0, 2.0]]) for _ in range(MAX_WAITING + 5)), return_exceptions=True
    )

    assert [type(one) for one in outcomes[MAX_WAITING:]] == [QueueFullError] * 5
    assert all(one[0].predictions == [3.0] for one in outcomes[:MAX_WAITING] if isinstance(one, tuple))


@pytest.mark.asyncio
async def test_nobody_waits_longer_than_callers_do_for_a_model_that_takes_one_at_a_time(
    tmp_path: Path,
) -> None:
    batcher = batcher_of(Watched(0.25), tmp_path)
    batcher.can_batch = False
    await batcher.predict([[1.0, 2.0]])

    outcomes = await asyncio.gather(
        *(batcher.predict([[1.0, 2.0]]) for _ in range(30)), return_exceptions=True
    )

    refused = [isinstance(one, QueueFullError) for one in outcomes]
    assert refused == sorted(refused)
    assert refused.count(False) == FEW_BATCHES
    assert (await batcher.predict([[3.0, 4.0]]))[0].predictions == [7.0]


@pytest.mark.asyncio
async def test_a_batch_has_as_many_rows_as_the_model_answers_quickly(tmp_path: Path) -> None:
    quick, slow = Watched(), Watched()
    for model in (quick, slow):
        batcher = batcher_of(model, tmp_path / str(id(model)))
        model.seconds = 0.0 if model is quick else 0.3
        for _ in range(3):
            await asyncio.gather(
                *(batcher.predict([[1.0, 2.0]] * 100) for _ in range(15)), return_exceptions=True
            )
    assert max(quick.asked_) > 900
    assert max(slow.asked_) <= 200
    assert slow.asked_[-1] == 100


@pytest.mark.asyncio
async def test_one_row_that_cannot_be_answered_costs_the_others_little(tmp_path: Path) -> None:
    model = Watched()
    batcher = batcher_of(model, tmp_path)
    await batcher.predict([[1.0, 2.0]])
    before = len(model.asked_)

    outcomes = await asyncio.gather(
        *(batcher.predict([[13.0 if number == 77 else 1.0, 2.0]]) for number in range(200)),
        return_exceptions=True,
    )

    assert [number for number, one in enumerate(outcomes) if isinstance(one, ValueError)] == [77]
    assert len(model.asked_) - before < 20


@pytest.mark.asyncio
async def test_after_too_many_waited_fewer_may_for_a_while(tmp_path: Path) -> None:
    batcher = batcher_of(Watched(0.02), tmp_path)
    batcher.can_batch = False
    await batcher.predict([[1.0, 2.0]])

    async def accepted(callers: int) -> int:
        outcomes = await asyncio.gather(
            *(batcher.predict([[1.0, 2.0]]) for _ in range(callers)), return_exceptions=True
        )
        return sum(not isinstance(one, QueueFullError) for one in outcomes)

    assert await accepted(12) == 12
    assert FEW_BATCHES < await accepted(100) < 50
    assert 1 <= await accepted(12) < 12
    assert batcher._short_until - time.monotonic() < 3.0, "it ends when the load does"
    batcher._short_until = 0.0
    assert await accepted(12) == 12


@pytest.mark.asyncio
async def test_one_batch_that_was_held_up_sends_nobody_away(tmp_path: Path) -> None:
    model = Watched(0.005)
    batcher = batcher_of(model, tmp_path)
    batcher.can_batch = False
    for seconds in (0.005, 0.005, 0.1):
        model.seconds = seconds
        await batcher.predict([[1.0, 2.0]])
    model.seconds = 0.005

    answers = await asyncio.gather(*(batcher.predict([[1.0, 2.0]]) for _ in range(20)))

    assert len(answers) == 20


@pytest.mark.asyncio
async def test_whoever_was_let_in_before_the_model_became_slow_is_not_kept_waiting(tmp_path: Path) -> None:
    model = Watched(0.03)
    batcher = batcher_of(model, tmp_path)
    batcher.can_batch = False
    await batcher.predict([[1.0, 2.0]])
    model.seconds = 0.3

    outcomes = await asyncio.gather(
        *(batcher.predict([[1.0, 2.0]]) for _ in range(100)), return_exceptions=True
    )

    rejected = [str(one) for one in outcomes if isinstance(one, QueueFullError)]
    late = [message for message in rejected if "s in the queue" in message]
    assert len(late) >= 5
    assert len(model.asked_) - 1 == sum(isinstance(one, tuple) for one in outcomes) <= 4
    assert isinstance(
        outcomes[len(outcomes) - len(rejected) + len(late) - 1], tuple
    )  # the last who was let in: one is always kept


@pytest.mark.asyncio
async def test_rows_that_may_not_join_are_counted_as_batches_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = batcher_of(Watched(0.05), tmp_path)
    await batcher.predict([[1.0, 2.0]])
    monkeypatch.setattr(type(batcher.predictor.entry.signature), "may_join", lambda *_: False)

    outcomes = await asyncio.gather(
        *(batcher.predict([[1.0, 2.0]]) for _ in range(100)), return_exceptions=True
    )

    assert sum(isinstance(one, tuple) for one in outcomes) < 10


class Ids(Watched):
    def predict(self, rows: Any) -> Any:
        self.asked_.append(len(rows))
        return (rows["id"].to_numpy() % 1000).astype(float)


@pytest.mark.asyncio
async def test_a_strangers_missing_value_does_not_change_the_dtype_of_whole_numbers(tmp_path: Path) -> None:
    """Beside a missing value numpy's whole numbers become floats, which hold nothing beyond 2**53."""
    examples = pd.DataFrame({"id": [1, 2, 3], "n": [1, 2, 3]})
    large = 2**53 + 1
    model = Ids()
    batcher = batcher_of(model, tmp_path, examples)

    outcomes = await asyncio.gather(
        batcher.predict([[large, 1]]), batcher.predict([[5, None]]), batcher.predict([[large, 2]])
    )

    assert [outcome[0].predictions for outcome in outcomes] == [
        [float(large % 1000)],
        [5.0],
        [float(large % 1000)],
    ]


def test_a_model_that_answers_otherwise_in_a_batch_is_never_asked_for_strangers_together(
    tmp_path: Path,
) -> None:
    assert has_batch_independent_outputs(
        predictor_of(LinearRegression().fit(ROWS, ROWS[:, 0]), ROWS[:5], tmp_path / "a")
    )
    assert not has_batch_independent_outputs(
        predictor_of(OfTheBatch().fit(ROWS, ROWS[:, 0]), ROWS[:5], tmp_path / "b")
    )
