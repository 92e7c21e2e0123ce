"""Made-up tables without a leak, of many sorts and sizes, and the leaks that are planted in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tier0.pipeline.data import Dataset

SIZES = (48, 60, 150, 400, 900, 2500, 8000)
Planter = Callable[[Dataset, np.random.Generator], Dataset]


def clean_table(seed: int, sizes: tuple[int, ...] = SIZES) -> Dataset:
    """Return a table whose target depends on some of its columns, with noise; the seed chooses its form."""
    rng = np.random.default_rng(seed)
    form = FORMS[seed % len(FORMS)]
    return form(int(rng.choice(sizes)), rng)


def _columns(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return columns of all kinds: skewed and whole numbers, categories, booleans, gaps, a repeated code."""
    frame = pd.DataFrame(
        {
            "income": rng.lognormal(10, 0.8, rows).round(2),
            "age": rng.integers(18, 90, rows),
            "visits": rng.poisson(2.0, rows),
            "score": rng.normal(0, 1, rows),
            "plan": rng.choice(["basic", "plus", "pro"], rows, p=[0.6, 0.3, 0.1]),
            "town": rng.choice([f"town {number}" for number in range(max(rows // 12, 4))], rows),
            "is_member": rng.random(rows) < 0.4,
            "height": rng.normal(170, 10, rows).round(1),
        }
    )
    frame.loc[rng.random(rows) < 0.15, "height"] = np.nan
    return frame


def _risk(frame: pd.DataFrame, rng: np.random.Generator) -> Any:
    weights = rng.normal(0, 1, 5)
    risk = (
        weights[0] * np.log(frame.income)
        + weights[1] * frame.age / 20
        + weights[2] * (frame.plan == "pro")
        + weights[3] * frame.visits / 2
        + weights[4] * frame.score
    ).to_numpy()
    return (risk - risk.mean()) / risk.std()


def _classes(frame: pd.DataFrame, target: Any, name: str = "left") -> Dataset:
    return Dataset("made_up", frame, list(frame.columns), np.asarray(target), name, "classification")


def _numbers(frame: pd.DataFrame, target: Any, name: str = "price") -> Dataset:
    return Dataset("made_up", frame, list(frame.columns), np.asarray(target, float), name, "regression")


def _two_classes(rows: int, rng: np.random.Generator) -> Dataset:
    frame = _columns(rows, rng)
    return _classes(frame, (_risk(frame, rng) + rng.normal(0, 0.7, rows) > 0).astype(int))


def _rare_class(rows: int, rng: np.random.Generator) -> Dataset:
    rows = max(rows, 900)
    frame = _columns(rows, rng)
    risk = _risk(frame, rng) + rng.normal(0, 0.3, rows)
    return _classes(frame, (risk > np.quantile(risk, 0.985)).astype(int))


def _strong_category(rows: int, rng: np.random.Generator) -> Dataset:
    frame = _columns(rows, rng)
    target = np.where(rng.random(rows) < 0.93, frame.is_member, ~frame.is_member)
    return _classes(frame, np.where(target, "yes", "no"))


def _threshold_of_age(rows: int, rng: np.random.Generator) -> Dataset:
    frame = _columns(rows, rng)
    return _classes(frame, (frame.age + rng.normal(0, 5, rows) > 55).astype(int))


def _many_classes(rows: int, rng: np.random.Generator) -> Dataset:
    count = int(rng.choice([3, 12, 100]))
    rows = max(rows, 25 * count)
    classes = rng.integers(0, count, rows)
    frame = _columns(rows, rng)
    for number in range(6):
        centres = rng.normal(0, 3, count)
        frame[f"m{number}"] = centres[classes] + rng.normal(0, 1, rows)
    return _classes(frame, classes)


def _easy_classes(rows: int, rng: np.random.Generator) -> Dataset:
    classes = rng.integers(0, 2, rows)
    frame = _columns(rows, rng)
    for number in range(4):
        frame[f"m{number}"] = 6.0 * classes * (-1) ** number + rng.normal(0, 1, rows)
    return _classes(frame, classes)


def _linear(rows: int, rng: np.random.Generator) -> Dataset:
    frame = _columns(rows, rng)
    return _numbers(frame, 100 + 20 * _risk(frame, rng) + rng.normal(0, 5, rows))


def _heavy_tails(rows: int, rng: np.random.Generator) -> Dataset:
    frame = _columns(rows, rng)
    return _numbers(frame, np.exp(1.2 * _risk(frame, rng) + rng.standard_t(3, rows) * 0.4).round(2))


def _one_strong_number(rows: int, rng: np.random.Generator) -> Dataset:
    """Return a table as of diamonds: one column explains some 95 % of the target."""
    frame = _columns(rows, rng)
    frame["carat"] = rng.gamma(2.0, 0.4, rows).round(2) + 0.2
    grade = frame.plan.map({"basic": 1.0, "plus": 1.1, "pro": 1.25})
    return _numbers(frame, (4000 * frame.carat**1.6 * grade * rng.lognormal(0, 0.12, rows)).round())


def _prices_of_grades(rows: int, rng: np.random.Generator) -> Dataset:
    """Return a table whose categories explain clusters of the target."""
    frame = _columns(rows, rng)
    base = frame.plan.map({"basic": 10.0, "plus": 50.0, "pro": 200.0})
    return _numbers(frame, base + rng.normal(0, 2, rows) + 0.5 * frame.visits)


def _many_zeros(rows: int, rng: np.random.Generator) -> Dataset:
    frame = _columns(rows, rng)
    spends = frame.is_member & (rng.random(rows) < 0.95)
    return _numbers(frame, np.where(spends, rng.lognormal(3, 1, rows).round(2), 0.0))


def _entities(rows: int, rng: np.random.Generator) -> Dataset:
    """Return a table with some rows of each customer, whose outcome changes from row to row."""
    frame = _columns(rows, rng)
    customer = rng.integers(0, max(rows // 4, 5), rows)
    frame["customer"] = [f"C{number:05}" for number in customer]
    habit = rng.normal(0, 1, customer.max() + 1)[customer]
    return _classes(frame, (habit + rng.normal(0, 1, rows) > 0).astype(int))


def _few_values(rows: int, rng: np.random.Generator) -> Dataset:
    """Return a table of categories only, many of whose rows are equal by chance."""
    frame = _columns(rows, rng)[["plan", "is_member", "visits"]]
    return _classes(frame, (0.5 * frame.visits + frame.is_member + rng.normal(0, 1, rows) > 1.4).astype(int))


def _flight_times(rows: int, rng: np.random.Generator) -> Dataset:
    """Return a table in which the distance explains 98 % of the target, and the airport of the distance."""
    airports = rng.uniform(100, 2500, 60)
    airport = rng.integers(0, 60, rows)
    frame = _columns(rows, rng)
    frame["airport"] = [f"A{number}" for number in airport]
    frame["distance"] = airports[airport].round()
    return _numbers(frame, (20 + frame.distance / 7.5 + rng.normal(0, 13, rows)).round())


FORMS: tuple[Callable[[int, np.random.Generator], Dataset], ...] = (
    _two_classes,
    _linear,
    _rare_class,
    _heavy_tails,
    _strong_category,
    _one_strong_number,
    _threshold_of_age,
    _prices_of_grades,
    _many_classes,
    _many_zeros,
    _easy_classes,
    _entities,
    _few_values,
    _flight_times,
)


def with_column(dataset: Dataset, name: str, values: Any) -> Dataset:
    """Return the data with one more column."""
    frame = dataset.features.assign(**{name: values})
    return Dataset(
        dataset.name, frame, list(frame.columns), dataset.target, dataset.target_name, dataset.task
    )


def with_rows(dataset: Dataset, rows: Any) -> Dataset:
    """Return the data with these rows, in this order."""
    return dataset.subset(np.asarray(rows))


def _copy(data: Dataset, _: np.random.Generator) -> Dataset:
    return with_column(data, "leak", data.target)


def _scaled(data: Dataset, rng: np.random.Generator) -> Dataset:
    return with_column(data, "leak", (data.target * rng.uniform(0.5, 2) + rng.normal()).round(4))


def _transformed(data: Dataset, _: np.random.Generator) -> Dataset:
    return with_column(data, "leak", -np.cbrt(data.target))


def _mirrored(data: Dataset, _: np.random.Generator) -> Dataset:
    return with_column(data, "leak", np.abs(data.target - np.median(data.target)))


def _rounded(data: Dataset, _: np.random.Generator) -> Dataset:
    step = (np.quantile(data.target, 0.9) - np.quantile(data.target, 0.1)) / 100
    return with_column(data, "leak", (data.target / step).round() * step)


def _binned(data: Dataset, rng: np.random.Generator) -> Dataset:
    bins = pd.qcut(data.target, int(rng.integers(4, 11)), duplicates="drop").astype(str)
    return with_column(data, "leak", np.asarray(bins))


def _halved(data: Dataset, _: np.random.Generator) -> Dataset:
    return with_column(data, "leak", np.where(data.target > np.quantile(data.target, 0.6), "high", "low"))


def _noisy(data: Dataset, rng: np.random.Generator) -> Dataset:
    spread = np.subtract(*np.quantile(data.target, [0.8, 0.2]))
    return with_column(data, "leak", data.target + rng.normal(0, 0.02 * spread, len(data)))


def _sum(data: Dataset, rng: np.random.Generator) -> Dataset:
    part = rng.random(len(data)) * data.target
    return with_column(with_column(data, "leak", part), "leak too", data.target - part)


def _code(data: Dataset, rng: np.random.Generator) -> Dataset:
    labels, classes = np.unique(data.target, return_inverse=True)
    return with_column(
        data, "leak", rng.permutation([f"K{number}" for number in range(len(labels))])[classes]
    )


def _codes(data: Dataset, rng: np.random.Generator) -> Dataset:
    """Plant codes of numbers, several of each class, without an order."""
    labels, classes = np.unique(data.target, return_inverse=True)
    codes = rng.permutation(1000)[: 4 * len(labels)].reshape(-1, 4)
    return with_column(data, "leak", codes[classes, rng.integers(0, 4, len(data))])


def _known_after(data: Dataset, rng: np.random.Generator) -> Dataset:
    classes = np.unique(data.target, return_inverse=True)[1]
    return with_column(data, "leak", classes * 8.0 + rng.normal(0, 1, len(data)))


def _nearly_known(data: Dataset, rng: np.random.Generator) -> Dataset:
    labels, classes = np.unique(data.target, return_inverse=True)
    wrong = rng.random(len(data)) < 0.003
    return with_column(data, "leak", np.where(wrong, rng.integers(0, len(labels), len(data)), classes))


def _missing(data: Dataset, rng: np.random.Generator) -> Dataset:
    if data.task == "regression":
        is_missing = data.target <= np.quantile(data.target, 0.4)
    else:
        is_missing = data.target != np.unique(data.target)[-1]
    return with_column(data, "leak", np.where(is_missing, np.nan, rng.normal(0, 1, len(data))))


def _missing_text(data: Dataset, rng: np.random.Generator) -> Dataset:
    is_missing = data.target != np.unique(data.target)[0]
    reasons = rng.choice(["moved", "price", "service"], len(data)).astype(object)
    reasons[is_missing] = None
    return with_column(data, "leak", reasons)


def _sorted(data: Dataset, rng: np.random.Generator) -> Dataset:
    data = with_rows(data, np.argsort(data.target, kind="stable"))
    return with_column(data, "leak", 1000 + np.cumsum(rng.integers(1, 9, len(data))))


def _entity(data: Dataset, rng: np.random.Generator) -> Dataset:
    """Plant rows of some 4 visits of each customer, who has one outcome."""
    customers = with_rows(data, rng.permutation(len(data))[: len(data) // 4])
    which = rng.integers(0, len(customers), len(data))
    frame = data.features.assign(leak=[f"C{number * 7919 % 100_003}" for number in which])
    target = customers.target[which]
    return Dataset(data.name, frame, list(frame.columns), target, data.target_name, data.task)


def _copies(data: Dataset, rng: np.random.Generator) -> Dataset:
    return with_rows(data, rng.permutation([*range(len(data)), *range(len(data) // 4)]))


OF_NUMBERS: dict[str, Planter] = {
    "copy": _copy,
    "scaled": _scaled,
    "transformed": _transformed,
    "mirrored": _mirrored,
    "rounded": _rounded,
    "binned": _binned,
    "halved": _halved,
    "noisy": _noisy,
    "sum": _sum,
    "missing": _missing,
    "sorted": _sorted,
    "entity": _entity,
    "copies": _copies,
}
OF_CLASSES: dict[str, Planter] = {
    "copy": _copy,
    "code": _code,
    "codes": _codes,
    "known after": _known_after,
    "nearly known": _nearly_known,
    "missing": _missing,
    "missing text": _missing_text,
    "sorted": _sorted,
    "entity": _entity,
    "copies": _copies,
}
