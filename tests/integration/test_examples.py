"""The example models of `tier0 serve --all` agree with what is known about their data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tier0.pipeline import examples


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, as the process that trains them does: OpenMP's threads would wait for each other."""
    with threadpool_limits(limits=1):
        yield


def test_intervals_have_their_coverage_for_unseen_customers() -> None:
    (model, _) = examples.train_regression(7)
    customers, score = examples._customers(8)
    noise = np.random.default_rng(8).lognormal(sigma=0.2, size=len(customers))
    spent = customers["monthly_spend"] * 3 * (1 / (1 + np.exp(-score))) * noise

    lower, upper = model.model.predict_interval(customers).T

    assert ((lower <= spent) & (spent <= upper)).mean() == pytest.approx(examples.LEVEL, abs=0.05)


def test_the_effect_is_near_that_of_the_experiment() -> None:
    """1,794 dollars: the difference of the means in the experiment (Dehejia and Wahba, 1999, table 5)."""
    pytest.importorskip("econml")
    people = pytest.importorskip("causaldata").nsw_mixtape.load_pandas().data
    (effect,) = examples.train_causal(7)

    effects = effect.model.predict(people[examples.MODIFIERS].astype(float))
    lower, upper = effect.model.predict_interval(people[examples.MODIFIERS].astype(float)).T

    assert 1_794 - 900 < effects.mean() < 1_794 + 900
    assert (lower <= effects).all()
    assert (effects <= upper).all()
