"""Training data: the built-in data sets, files, and the split into four disjoint parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tier0.core.errors import DatasetError, UselessModelError
from tier0.pipeline.columns import Column
from tier0.pipeline.tables import Table, column_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from tier0.core.settings import Settings
    from tier0.pipeline.study import DataRules, Study

PATIENTS = 600
AGE_MISSING = 0.05
FOLDS = 20
PARTS = {
    "train": (0, 1, 3, 5, 6, 8, 9, 11, 13, 14, 16, 18),
    "validation": (2, 7, 12, 17),
    "test": (4, 10, 15),
    "holdout": (19,),
}
"""The folds of 5 % that form each part: 60, 20, 15 and 5 % of the rows.

Each part's folds are spread out, because the first folds get the rows that cannot be divided evenly.
"""
MAX_CLASSES = 20
"""Largest number of different whole numbers in a target that is taken as classes."""
BUILT_IN: dict[str, tuple[str, str, Literal["classification", "regression"]]] = {
    "breast_cancer": ("load_breast_cancer", "malignant", "classification"),
    "wine": ("load_wine", "cultivar", "classification"),
    "diabetes": ("load_diabetes", "progression", "regression"),
}


@dataclass(frozen=True)
class Dataset:
    """Data to train on.

    Attributes:
        name: name of the data, part of the model's name.
        features: an array of shape (rows, features) if every column is numeric; otherwise a DataFrame.
        names: the names of the feature columns.
        target: one label or number per row, shape (rows,).
        target_name: name of the target.
        task: classification or regression.
        groups: one value per row, or None: rows of one group are in the same part.
        dates: one ``datetime64`` per row, or None: the rows of a part are not older than those of the parts
            before it.
        notes: sentences about how the columns of a file were read.
        missing_texts: name of a column of text to the texts that were read as missing, and that a model must
            take for missing, too.
    """

    name: str
    features: Any
    names: list[str]
    target: np.ndarray[Any, Any]
    target_name: str
    task: Literal["classification", "regression"]
    groups: np.ndarray[Any, Any] | None = None
    dates: np.ndarray[Any, Any] | None = None
    notes: tuple[str, ...] = ()
    missing_texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target)

    def take(self, indices: np.ndarray[Any, Any]) -> tuple[Any, np.ndarray[Any, Any]]:
        """Return the features and the target of the rows at *indices*."""
        features = self.features.iloc[indices] if hasattr(self.features, "iloc") else self.features[indices]
        return features, self.target[indices]

    def subset(self, indices: np.ndarray[Any, Any]) -> Dataset:
        """Return the same data with only the rows at *indices*."""
        features, target = self.take(indices)
        if hasattr(features, "reset_index"):
            features = features.reset_index(drop=True)
        groups, dates = (None if values is None else values[indices] for values in (self.groups, self.dates))
        return replace(self, features=features, target=target, groups=groups, dates=dates)

    def frame(self) -> pd.DataFrame:
        """Return the features and, last, the target, as one table."""
        import pandas as pd  # noqa: PLC0415

        features = self.features
        if not hasattr(features, "columns"):
            features = pd.DataFrame(features, columns=self.names)
        return features.assign(**{self.target_name: self.target})


def load_dataset(settings: Settings, rules: DataRules | None = None) -> Dataset:
    """Load the data set of the settings.

    Args:
        settings: settings of the run.
        rules: rules for the data, which say what is missing in a file.

    Raises:
        DatasetError: it cannot be read, or cannot be used for training.
        UselessModelError: the target has a single class.
    """
    if settings.dataset == "patients":
        dataset = make_patients(settings.seed)
    elif settings.dataset in BUILT_IN:
        dataset = _load_built_in(settings.dataset)
    else:
        dataset = _load_file(settings, rules)
    if dataset.task == "classification" and len(labels := np.unique(dataset.target).tolist()) == 1:
        raise UselessModelError(
            f"the target {dataset.target_name!r} is {labels[0]!r} in all {len(dataset)} rows: training needs "
            "at least two classes"
        )
    return dataset


def make_patients(seed: int, rows: int = PATIENTS) -> Dataset:
    """Generate the synthetic patients, with the target ``discontinuation_flag`` (1: therapy was stopped).

    The features are days on therapy, visits by a health-care professional, prior treatments, region and age
    group. In three of them 4 to 8 % of the values are missing.
    """
    import pandas as pd  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    days = rng.gamma(shape=2.0, scale=90.0, size=rows).round()
    visits = rng.poisson(4.0, size=rows).astype(float)
    treatments = rng.integers(0, 6, size=rows)
    region = rng.choice(["midwest", "northeast", "south", "west"], size=rows, p=[0.2, 0.2, 0.4, 0.2])
    age_group = rng.choice(["18-39", "40-64", "65+"], size=rows, p=[0.25, 0.45, 0.3])
    risk = (
        1.2
        - 0.011 * days
        - 0.35 * visits
        + 0.45 * treatments
        + 0.8 * (region == "south")
        + 1.0 * (age_group == "65+")
        + rng.normal(0, 0.6, size=rows)
    )
    flag = (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(int)
    for values, share in ((days, 0.04), (visits, 0.08)):
        values[rng.random(rows) < share] = math.nan
    age = age_group.astype(object)
    age[rng.random(rows) < AGE_MISSING] = math.nan
    frame = pd.DataFrame(
        {
            "days_on_therapy": days,
            "region": region.astype(object),
            "hcp_visits": visits,
            "prior_treatments": treatments,
            "age_group": age,
        }
    )
    frame = frame.astype({"region": object, "age_group": object})
    return Dataset("patients", frame, list(frame.columns), flag, "discontinuation_flag", "classification")


def _load_built_in(name: str) -> Dataset:
    from sklearn import datasets  # noqa: PLC0415

    loader, target_name, task = BUILT_IN[name]
    bunch = getattr(datasets, loader)()
    names = [str(column).replace(" ", "_").replace("/", "_per_") for column in bunch.feature_names]
    return Dataset(name, bunch.data, names, bunch.target, target_name, task)


def check_problem(settings: Settings, study: Study) -> None:
    """Check the names of columns and the metric against the data, which is cheap, before any work is done.

    Args:
        settings: settings of the run, without a training function of the user.
        study: statement of the problem.

    Raises:
        DatasetError: the file cannot be read, a column does not exist, or the metric is for another task.
    """
    metric = study.scope.metric
    if settings.dataset == "patients":
        target, task = "discontinuation_flag", "classification"
    elif settings.dataset in BUILT_IN:
        _, target, task = BUILT_IN[settings.dataset]
    else:
        path = Path(settings.dataset)
        _check_names(settings, column_names(path))
        target = settings.target or ""
        if metric is not None:
            task = _task_of(_target_of(Table.read(path), target, study.data).series.to_numpy())
    if metric is not None:
        require_metric_of_task(metric, task, target)


def require_metric_of_task(metric: str, task: str, target: str) -> None:
    """Raise a `DatasetError` if *metric* is not a metric of *task*, which is to predict *target*."""
    from tier0.pipeline.study import METRICS  # noqa: PLC0415 - imports pydantic

    if METRICS[metric][0] != task:
        suitable = ", ".join(name for name, (task_of, *_) in METRICS.items() if task_of == task)
        raise DatasetError(
            f"scope.metric = {metric!r} measures a {METRICS[metric][0]}, but {target!r} is the "
            f"target of a {task}: choose one of {suitable}"
        )


def _check_names(settings: Settings, names: list[str]) -> None:
    for option in ("target", "group", "date"):
        name = getattr(settings, option)
        if name is not None and name not in names:
            raise DatasetError(
                f"column {name!r} (--{option}) not found in {settings.dataset}. Available columns: "
                f"{', '.join(names)}"
            )


def _load_file(settings: Settings, rules: DataRules | None) -> Dataset:
    import pandas as pd  # noqa: PLC0415

    path, target_name = Path(settings.dataset), settings.target or ""
    table = Table.read(path)
    _check_names(settings, list(table.columns))
    target_column = _target_of(table, target_name, rules)
    groups = None if settings.group is None else _read_groups(table, settings.group)
    dates = None if settings.date is None else _read_dates(table, settings.date)
    names = [name for name in table.columns if name not in {target_name, settings.group, settings.date}]
    if not names:
        raise DatasetError(
            f"{path} has no feature columns: every column is the target, the group or the date"
        )
    columns = _read_columns(table, names, rules)
    features: Any = pd.DataFrame({name: column.series for name, column in columns.items()})
    _check_columns(features, path)
    target = target_column.series.to_numpy()
    task = _task_of(target)
    if task == "classification" and target.dtype.kind == "f":
        target = target.astype(int)
    if _is_matrix(features):
        features = features.to_numpy(dtype=float)
    notes = tuple(
        f"column {name!r}: {note}"
        for name, column in {**columns, target_name: target_column}.items()
        for note in column.notes
    )
    return Dataset(
        name=_as_name(path.stem),
        features=features,
        names=names,
        target=target,
        target_name=target_name,
        task=task,
        groups=groups,
        dates=dates,
        notes=notes,
        missing_texts={
            name: column.missing_texts for name, column in columns.items() if column.missing_texts
        },
    )


def _target_of(table: Table, name: str, rules: DataRules | None) -> Column:
    column = _read_columns(table, [name], rules)[name]
    if hasattr(column.series, "cat"):
        column = replace(column, series=column.series.astype(column.series.cat.categories.dtype))
    _require_values(column.series, "target", name, table.path)
    _check_target(column.series.to_numpy(), name, table.path)
    return column


def _read_groups(table: Table, name: str) -> np.ndarray[Any, Any]:
    values = table.unconverted(name)
    _require_values(values, "group", name, table.path)
    groups: np.ndarray[Any, Any] = values.astype(str).to_numpy()
    return groups


def _require_values(column: pd.Series[Any], what: str, name: str, path: Path) -> None:
    if missing := int(column.isna().sum()):
        raise DatasetError(
            f"the {what} {name!r} of {path} is missing in {missing} of {len(column)} rows: remove these "
            "rows, or fill in the values"
        )


def _read_columns(table: Table, names: list[str], rules: DataRules | None) -> dict[str, Column]:
    """Return columns as scikit-learn takes them.

    Raises:
        DatasetError: it cannot take some of them.
    """
    columns, unsupported = {}, []
    for name in names:
        try:
            columns[name] = table.column(name, () if rules is None else rules.missing_texts_of(name))
        except TypeError as problem:
            unsupported.append(f"{name!r} ({problem})")
    if unsupported:
        raise DatasetError(
            f"{table.path} has columns that a model cannot take: {', '.join(unsupported)}. Convert them to "
            "numbers, text or true/false, or remove them"
        )
    return columns


def _is_matrix(features: pd.DataFrame) -> bool:
    """Return whether an array of float64 represents all features exactly, also as requests contain them.

    Text does not fit, nor do whole numbers above 2**53; and a request's 0.1 is not the 0.1 of float32.
    """
    kinds = {(getattr(dtype, "kind", "O"), getattr(dtype, "itemsize", 0)) for dtype in features.dtypes}
    return all(kind in "iu" or (kind, size) == ("f", 8) for kind, size in kinds) and _fits_in_float(features)


def _as_name(stem: str) -> str:
    """Return a file's name as part of a model's name: ASCII letters, digits and ``_``, 40 at most."""
    letters = (letter if letter.isascii() and letter.isalnum() else "_" for letter in stem.lower())
    return ("".join(letters).strip("_") or "data")[:40]


def _check_target(target: np.ndarray[Any, Any], name: str, path: Path) -> None:
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        infinite = (~np.isfinite(target)).sum()
        raise DatasetError(
            f"the target {name!r} of {path} is infinite in {infinite} of {len(target)} rows: remove these "
            "rows"
        )
    if target.dtype.kind in "mM":
        raise DatasetError(
            f"the target {name!r} of {path} contains dates or times; expected numbers or classes. Pass "
            "another column as --target, or this one as --date"
        )


def _read_dates(table: Table, name: str) -> np.ndarray[Any, Any]:
    import pandas as pd  # noqa: PLC0415

    path = table.path
    try:
        dates = pd.to_datetime(table.unconverted(name), format="ISO8601", utc=True).dt.tz_localize(None)
    except (ValueError, TypeError) as problem:
        raise DatasetError(
            f"column {name!r} (--date) of {path} contains an invalid date: "
            f"{str(problem).partition('. ')[0]}. Use the format 2026-03-31"
        ) from None
    if missing := int(dates.isna().sum()):
        raise DatasetError(
            f"column {name!r} (--date) of {path} is missing in {missing} of {len(dates)} rows: remove "
            "these rows, or fill in the values"
        )
    found: np.ndarray[Any, Any] = dates.to_numpy(dtype="datetime64[s]")
    return found


def _check_columns(features: pd.DataFrame, path: Path) -> None:
    for name, column in features.items():
        kind = getattr(column.dtype, "kind", "O")
        if kind in "Mm":
            raise DatasetError(
                f"column {name!r} of {path} contains dates or durations ({column.dtype}): convert it to "
                "numbers, such as days since a date"
            )
        if column.isna().all():
            raise DatasetError(f"column {name!r} of {path} has no value in any row: remove it")
        if kind == "f" and np.isinf(column.to_numpy(dtype=float, na_value=0.0)).any():
            raise DatasetError(
                f"column {name!r} of {path} contains infinity: replace it by a number or a missing value"
            )


def _fits_in_float(features: pd.DataFrame) -> bool:
    """Return True if float64 represents every whole number exactly, which ids above 2^53 are not."""
    limit = 2**53
    whole = features.select_dtypes("integer")
    return whole.empty or bool((whole.abs() <= limit).all(axis=None))


def _task_of(target: np.ndarray[Any, Any]) -> Literal["classification", "regression"]:
    """Return the task: text, booleans and up to `MAX_CLASSES` different whole numbers are classes."""
    if target.dtype.kind not in "fiu":
        return "classification"
    few = len(np.unique(target)) <= MAX_CLASSES
    return "classification" if few and bool(np.all(target == np.floor(target))) else "regression"


def split(dataset: Dataset, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Split the rows into training, validation, test and holdout parts of 60, 20, 15 and 5 %.

    The parts are stratified by class, and a group is never divided. Data with dates is split by time instead,
    the oldest rows first; a group has the date of its newest row.

    Returns:
        Part name to the sorted indices of its rows.

    Raises:
        DatasetError: there are too few rows or groups, or a part would lack a class.
    """
    units, what = len(dataset), "rows"
    if dataset.groups is not None:
        units, what = len(np.unique(dataset.groups)), "groups"
    if units < FOLDS:
        raise DatasetError(
            f"{dataset.name} has {units} {what}, but a split into 60, 20, 15 and 5 % needs at least {FOLDS}"
        )
    if dataset.task == "classification":
        _check_class_sizes(dataset)
    if dataset.dates is not None:
        return _check_parts(dataset, _split_by_time(dataset))
    splitter = splitter_for(dataset, FOLDS, seed)
    folds = [fold for _, fold in splitter.split(np.zeros(len(dataset)), dataset.target, dataset.groups)]
    parts = {name: np.sort(np.concatenate([folds[index] for index in PARTS[name]])) for name in PARTS}
    return _check_parts(dataset, parts)


def splitter_for(dataset: Dataset, folds: int, seed: int) -> Any:
    """Return scikit-learn's splitter for this data: stratified by class, and by groups if there are any."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    if dataset.task == "classification":
        kind = StratifiedKFold if dataset.groups is None else StratifiedGroupKFold
        return kind(folds, shuffle=True, random_state=seed)
    return KFold(folds, shuffle=True, random_state=seed) if dataset.groups is None else GroupKFold(folds)


def _split_by_time(dataset: Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Split the rows, or groups, in the order of their newest date; equal dates are in the same part."""
    dates = np.asarray(dataset.dates)
    if dataset.groups is not None:
        _, which = np.unique(dataset.groups, return_inverse=True)
        newest = np.full(which.max() + 1, dates.min())
        np.maximum.at(newest, which, dates)
        dates = newest[which]
    order = np.sort(dates)
    ends = np.cumsum([len(PARTS[name]) for name in PARTS])[:-1] / FOLDS
    bounds = [order[int(end * len(order))] for end in ends]
    where = np.searchsorted(np.array(bounds), dates, side="right")
    return {name: np.flatnonzero(where == number) for number, name in enumerate(PARTS)}


def _check_parts(dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the parts, after a check that none is empty or lacks a class."""
    if empty := [name for name, indices in parts.items() if not len(indices)]:
        raise DatasetError(
            f"the {empty[0]} part of {dataset.name} would be empty: too many rows have the same date, or "
            "belong to one group"
        )
    for name in ("train", "validation", "test"):
        absent = set(np.unique(dataset.target).tolist()) - set(dataset.target[parts[name]].tolist())
        if dataset.task == "classification" and absent:
            raise DatasetError(
                f"the {name} part would have no row of class {absent.pop()!r}: provide more rows of it"
            )
    return parts


def _check_class_sizes(dataset: Dataset) -> None:
    labels, counts = np.unique(dataset.target, return_counts=True)
    if counts.min() < FOLDS:
        rare = labels.tolist()[counts.argmin()]
        raise DatasetError(
            f"class {rare!r} of {dataset.target_name!r} has {counts.min()} of {len(dataset)} rows, but a "
            f"stratified split needs at least {FOLDS} of each class: provide more rows of it, or remove the "
            "class"
        )
