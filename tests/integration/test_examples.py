"""The example models of `tier0 serve --all` are right about what is known of their data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tier0.pipeline import examples


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the process that trains them has it: on a busy machine the threads of OpenMP wait for each other."""
    with threadpool_limits(limits=1):
        yield


def test_intervals_hold_as_often_as_they_say_for_customers_that_nobody_trained_on() -> None:
    (model, _) = examples.train_regression(7)
    customers, score = examples._customers(8)
    noise = np.random.default_rng(8).lognormal(sigma=0.2, size=len(customers))
    spent = customers["monthly_spend"] * 3 * (1 / (1 + np.exp(-score))) * noise

    lower, upper = model.model.predict_interval(customers).T

    assert ((lower <= spent) & (spent <= upper)).mean() == pytest.approx(examples.LEVEL, abs=0.05)


def test_the_training_helped_by_about_what_the_experiment_found() -> None:
    """1,794 dollars: the difference of the means in the experiment (Dehejia and Wahba, 1999, table 5)."""
    pytest.importorskip("econml")
    people = pytest.importorskip("causaldata").nsw_mixtape.load_pandas().data
    (effect,) = examples.train_causal(7)

    said = effect.model.predict(people[examples.MODIFIERS].astype(float))
    lower, upper = effect.model.predict_interval(people[examples.MODIFIERS].astype(float)).T

    assert 1_794 - 900 < said.mean() < 1_794 + 900
    assert (lower <= said).all()
    assert (said <= upper).all()
