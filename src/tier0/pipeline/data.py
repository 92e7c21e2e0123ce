"""Training data: the built-in data sets, files, and the split into four disjoint parts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tier0.core.errors import DatasetError, UselessModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from tier0.core.settings import Settings
    from tier0.pipeline.profile import ColumnProfile
    from tier0.pipeline.study import DataRules, Study

Task = Literal["classification", "regression"]
FeatureKind = Literal["number", "category", "misspelled", "boolean", "date", "time", "text"]
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
MIN_ROWS = FOLDS
"""Number of rows, or of groups, that a split needs."""
MIN_OF_CLASS = 10
"""Number of rows of a class that a split needs."""
SMALL_PARTS = {"validation": 2, "test": 2, "holdout": 1}
"""Numbers of rows of a class with fewer rows than folds in each part; the others are trained on."""
MAX_CLASSES = 20
"""Largest number of different whole numbers in a target that is taken as classes."""
BUILT_IN: dict[str, tuple[str, str, Literal["classification", "regression"]]] = {
    "breast_cancer": ("load_breast_cancer", "malignant", "classification"),
    "wine": ("load_wine", "cultivar", "classification"),
    "diabetes": ("load_diabetes", "progression", "regression"),
}


@dataclass(frozen=True)
class Classes:
    """The labels of a target in sorted order, the place of each row's label, and the rows of each label."""

    labels: np.ndarray[Any, Any]
    codes: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]

    @classmethod
    def of(cls, target: np.ndarray[Any, Any]) -> Classes:
        """Find them: a table of hashes, since to sort many texts takes long."""
        import pandas as pd  # noqa: PLC0415

        found, different = pd.factorize(target)
        labels, ranks = np.unique(np.asarray(different).astype(target.dtype), return_inverse=True)
        codes = ranks[found]
        return cls(labels, codes, np.bincount(codes, minlength=len(labels)))


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
        digest: SHA-256 of the file; empty if the data is not from a file.
        kinds: name of a feature to its kind, as `tier0.pipeline.profile.DECLARED_KINDS`, without identifiers.
        profile: what each column of a file was taken for, also of those that are not features.
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
    digest: str = ""
    kinds: Mapping[str, FeatureKind] = field(default_factory=dict)
    profile: tuple[ColumnProfile, ...] = ()

    def __post_init__(self) -> None:
        if not self.kinds:
            object.__setattr__(self, "kinds", _kinds_of(self.features, self.names))

    def __len__(self) -> int:
        return len(self.target)

    @cached_property
    def classes(self) -> Classes:
        """The labels of the target."""
        return Classes.of(self.target)

    @cached_property
    def different(self) -> dict[str, int]:
        """The number of different values of each feature of a table, other than missing ones."""
        return {str(name): int(column.nunique()) for name, column in self.features.items()}

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


def load_dataset(settings: Settings, rules: DataRules | None = None, task: Task | None = None) -> Dataset:
    """Load the data set of the settings.

    Args:
        settings: settings of the run.
        rules: rules for the data, which say how a file is read.
        task: what the target of a file asks for; None to infer it from the values.

    Raises:
        DatasetError: it cannot be read, or cannot be used for training.
        UselessModelError: the target has a single class.
    """
    if settings.dataset == "patients":
        from tier0.pipeline.patients import make_patients  # noqa: PLC0415 - it imports this module

        dataset = make_patients(settings.seed)
    elif settings.dataset in BUILT_IN:
        dataset = _load_built_in(settings.dataset)
    else:
        from tier0.pipeline.file_data import load_file  # noqa: PLC0415 - imports Arrow
        from tier0.pipeline.table_content import digest_of  # noqa: PLC0415

        digest = digest_of(Path(settings.dataset))
        dataset = replace(load_file(settings, rules, task), digest=digest)
    if dataset.task == "classification" and len(labels := dataset.classes.labels.tolist()) == 1:
        raise UselessModelError(
            f"the target {dataset.target_name!r} is {labels[0]!r} in all {len(dataset)} rows: training needs "
            "at least two classes"
        )
    return dataset


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
        from tier0.pipeline.file_data import check_names, reading_of, target_task  # noqa: PLC0415 - imports Arrow
        from tier0.pipeline.tables import Table, column_names  # noqa: PLC0415

        path = Path(settings.dataset)
        check_names(settings, study.data, column_names(path, reading_of(study.data)))
        target = settings.target or ""
        if metric is not None:
            table = Table.read(path, reading_of(study.data))
            task = target_task(table, target, study.data, study.scope.task)
    if metric is not None:
        require_metric_of_task(metric, task, target)


def require_metric_of_task(metric: str, task: str, target: str, key: str = "metric") -> None:
    """Raise a `DatasetError` if *metric*, *key* in the study, is not a metric of *task*."""
    from tier0.pipeline.study import METRICS  # noqa: PLC0415 - imports pydantic

    if METRICS[metric][0] != task:
        suitable = ", ".join(name for name, (task_of, *_) in METRICS.items() if task_of == task)
        raise DatasetError(
            f"scope.{key} = {metric!r} measures a {METRICS[metric][0]}, but {target!r} is the "
            f"target of a {task}: choose one of {suitable}"
        )


def _kinds_of(features: Any, names: list[str]) -> dict[str, FeatureKind]:
    """Return the kinds of features by the types of their columns."""
    if not hasattr(features, "columns"):
        return dict.fromkeys(names, "number")
    return {name: kind_of_dtype(features[name].dtype) for name in features.columns}


def kind_of_dtype(dtype: Any) -> FeatureKind:
    """Return the kind of a feature by the type of its column in pandas."""
    kind = getattr(dtype, "kind", "O")
    return "boolean" if kind == "b" else "number" if kind in "iuf" else "category"


def split(dataset: Dataset, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Split the rows into training, validation, test and holdout parts of 60, 20, 15 and 5 %.

    The parts are stratified by class, and a group is never divided. Data with dates is split by time instead,
    the oldest rows first; a group has the date of its newest row.

    Returns:
        Part name to the sorted indices of its rows.

    Raises:
        DatasetError: there are too few rows or groups, or a part would lack a class.
    """
    _require_units(dataset)
    if dataset.dates is not None:
        return _check_parts(dataset, _split_by_time(dataset))
    if dataset.groups is not None or dataset.task == "regression":
        return _check_parts(dataset, _as_parts(dataset, np.arange(len(dataset)), seed))
    classes, counts = dataset.classes.codes, dataset.classes.counts
    if counts.min() < MIN_OF_CLASS:
        raise _rare_class(dataset)
    small = np.flatnonzero(counts < FOLDS)
    parts = {name: np.array([], dtype=int) for name in PARTS}
    if len(small) < len(counts):
        parts = _as_parts(dataset, np.flatnonzero(~np.isin(classes, small)), seed)
    rng = np.random.default_rng(seed)
    for rows in (rng.permutation(np.flatnonzero(classes == number)) for number in small):
        ends = np.cumsum([len(rows) - sum(SMALL_PARTS.values()), *SMALL_PARTS.values()])[:-1]
        for name, some in zip(PARTS, np.split(rows, ends), strict=True):
            parts[name] = np.concatenate([parts[name], some])
    return _check_parts(dataset, {name: np.sort(rows) for name, rows in parts.items()})


def _require_units(dataset: Dataset) -> None:
    """Check that there are as many rows, or groups, as a split needs.

    Raises:
        DatasetError: there are too few.
    """
    units, what, remedy = len(dataset), "rows", "provide more rows, or relax the criteria in [[cohort]]"
    if dataset.groups is not None:
        units, what = len(np.unique(dataset.groups)), "groups"
        remedy = "pass a column with more values as --group, or omit --group"
    if units < MIN_ROWS:
        raise DatasetError(
            f"{dataset.name} has {units} {what}, but a split into 60, 20, 15 and 5 % needs at least "
            f"{MIN_ROWS}: {remedy}"
        )


def _as_parts(dataset: Dataset, rows: np.ndarray[Any, Any], seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Split *rows* by the folds of `splitter_for`."""
    groups = None if dataset.groups is None else dataset.groups[rows]
    splitter = splitter_for(dataset, FOLDS, seed)
    target = dataset.target if dataset.task == "regression" else dataset.classes.codes
    folds = [fold for _, fold in splitter.split(np.zeros(len(rows)), target[rows], groups)]
    return {name: np.sort(rows[np.concatenate([folds[index] for index in PARTS[name]])]) for name in PARTS}


def splitter_for(dataset: Dataset, folds: int, seed: int) -> Any:
    """Return scikit-learn's splitter for this data: stratified by class, and by groups if there are any."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    if dataset.task == "classification":
        kind = StratifiedKFold if dataset.groups is None else StratifiedGroupKFold
        return kind(folds, shuffle=True, random_state=seed)
    return KFold(folds, shuffle=True, random_state=seed) if dataset.groups is None else GroupKFold(folds)


def newest_dates(dataset: Dataset) -> np.ndarray[Any, Any]:
    """Return the date of each row; in data with groups, the newest date of its group."""
    dates = np.asarray(dataset.dates)
    if dataset.groups is None:
        return dates
    _, which = np.unique(dataset.groups, return_inverse=True)
    newest = np.full(which.max() + 1, dates.min())
    np.maximum.at(newest, which, dates)
    found: np.ndarray[Any, Any] = newest[which]
    return found


def _split_by_time(dataset: Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Split the rows, or groups, in the order of their newest date; equal dates are in the same part."""
    dates = newest_dates(dataset)
    order = np.sort(dates)
    ends = np.cumsum([len(PARTS[name]) for name in PARTS])[:-1] / FOLDS
    bounds = [order[int(end * len(order))] for end in ends]
    where = np.searchsorted(np.array(bounds), dates, side="right")
    return {name: np.flatnonzero(where == number) for number, name in enumerate(PARTS)}


def _check_parts(dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the parts, after a check that none is empty or lacks a class."""
    options = [
        option
        for option, values in (("--date", dataset.dates), ("--group", dataset.groups))
        if values is not None
    ]
    without = f"omit {' or '.join(options)}" if options else "provide more rows"
    if empty := [name for name, indices in parts.items() if not len(indices)]:
        raise DatasetError(
            f"the {empty[0]} part of {dataset.name} would be empty: too many rows have the same date, or "
            f"belong to one group. Pass a column with more different values, or {without}"
        )
    if dataset.task == "regression":
        return parts
    classes = dataset.classes
    for name in ("train", "validation", "test"):
        is_absent = np.bincount(classes.codes[parts[name]], minlength=len(classes.labels)) == 0
        if is_absent.any():
            label = min(classes.labels[is_absent].tolist(), key=str)
            raise DatasetError(
                f"the {name} part would have no row of class {label!r} of {dataset.target_name!r}: {without}"
                f", or exclude the class ({how_to_exclude(dataset.target_name, label)})"
            )
    return parts


def _rare_class(dataset: Dataset) -> DatasetError:
    labels, counts = dataset.classes.labels, dataset.classes.counts
    rare = labels.tolist()[counts.argmin()]
    if len(labels) > 2:
        remedy = (
            "run step 3 (cohort), which leaves such classes out if two others are left, or exclude it "
            f"({how_to_exclude(dataset.target_name, rare)})"
        )
    else:
        remedy = "or pass another column as --target"
    return DatasetError(
        f"class {rare!r} of {dataset.target_name!r} has {counts.min()} of {len(dataset)} rows, but a split "
        f"needs at least {MIN_OF_CLASS} of each class: provide more rows of it, {remedy}"
    )


def how_to_exclude(target: str, label: Any) -> str:
    """Return the criterion of a study that excludes a class."""
    value = json.dumps(label if isinstance(label, (bool, int)) else str(label), ensure_ascii=False)
    name = json.dumps(target, ensure_ascii=False)
    return f"in the study: [[cohort]], column = {name}, not_one_of = [{value}]"
