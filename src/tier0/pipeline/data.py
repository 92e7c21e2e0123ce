"""The data to train on, and its split into four parts that never meet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tier0.core.errors import DatasetError, UselessModelError

if TYPE_CHECKING:
    import pandas as pd

    from tier0.core.settings import Settings

PATIENTS = 600
AGE_MISSING = 0.05
FOLDS = 20
PARTS = {
    "train": (0, 1, 3, 5, 6, 8, 9, 11, 13, 14, 16, 18),
    "validation": (2, 7, 12, 17),
    "test": (4, 10, 15),
    "holdout": (19,),
}
"""The folds of 5 % that each part takes: 60, 20, 15 and 5 %, spread out, since the first folds get the rows that cannot be divided evenly."""
MAX_CLASSES = 20
BUILT_IN: dict[str, tuple[str, str, Literal["classification", "regression"]]] = {
    "breast_cancer": ("load_breast_cancer", "malignant", "classification"),
    "wine": ("load_wine", "cultivar", "classification"),
    "diabetes": ("load_diabetes", "progression", "regression"),
}


@dataclass(frozen=True)
class Dataset:
    """Data to train on.

    Attributes:
        name: what it is called in names of models.
        features: an array of shape (rows, features) where every column is a number; otherwise a DataFrame.
        names: the names of the features' columns.
        target: one label or number a row.
        target_name: what the target is called.
        task: classification or regression.
        groups: one value a row, or None: rows of one group are never split between parts.
        dates: one ``datetime64`` a row, or None: no part holds rows that are older than those of a part before it.
    """

    name: str
    features: Any
    names: list[str]
    target: np.ndarray[Any, Any]
    target_name: str
    task: Literal["classification", "regression"]
    groups: np.ndarray[Any, Any] | None = None
    dates: np.ndarray[Any, Any] | None = None

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
        groups, dates = (None if one is None else one[indices] for one in (self.groups, self.dates))
        return replace(self, features=features, target=target, groups=groups, dates=dates)

    def frame(self) -> pd.DataFrame:
        """Return the features and, last, the target, as one table."""
        import pandas as pd  # noqa: PLC0415

        features = (
            self.features
            if hasattr(self.features, "columns")
            else pd.DataFrame(self.features, columns=self.names)
        )
        return features.assign(**{self.target_name: self.target})


def load_dataset(settings: Settings) -> Dataset:
    """Load the data that the settings name.

    Raises:
        DatasetError: it cannot be read, or cannot be trained on.
        UselessModelError: the target has one class only.
    """
    if settings.dataset == "patients":
        dataset = make_patients(settings.seed)
    elif settings.dataset in BUILT_IN:
        dataset = _load_built_in(settings.dataset)
    else:
        dataset = _load_file(Path(settings.dataset), settings.target or "", settings.group, settings.date)
    if dataset.task == "classification" and len(labels := np.unique(dataset.target).tolist()) == 1:
        raise UselessModelError(
            f"{dataset.target_name!r} is {labels[0]!r} in all {len(dataset)} rows: with one class only there is nothing to learn"
        )
    return dataset


def make_patients(seed: int, rows: int = PATIENTS) -> Dataset:
    """Make the synthetic patient cohort for ``discontinuation_flag`` (1: the patient stopped the therapy).

    Features: days on therapy, visits by a health-care professional, prior treatments, region and age group; 4 to 8 % of
    the values of three of them are missing.
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


def _load_file(path: Path, target_name: str, group_name: str | None, date_name: str | None) -> Dataset:
    frame = _read_frame(path)
    for option, name in (("target", target_name), ("group", group_name), ("date", date_name)):
        if name is not None and name not in frame.columns:
            raise DatasetError(
                f"{option} = {name!r} is no column of {path}. Its columns are: {', '.join(map(str, frame.columns))}."
            )
    for what, name in (("target", target_name), ("group", group_name)):
        if name is not None and (missing := int(frame[name].isna().sum())):
            raise DatasetError(
                f"the {what} {name!r} of {path} is missing in {missing} of {len(frame)} rows. Remove or fill them first."
            )
    target = frame[target_name].to_numpy()
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        raise DatasetError(
            f"the target {target_name!r} of {path} is infinite in {(~np.isfinite(target)).sum()} of {len(frame)} rows. Remove them first."
        )
    if target.dtype.kind in "mM":
        raise DatasetError(
            f"the target {target_name!r} of {path} holds dates or times, and no number or class. Name another with target, or use it as date."
        )
    groups = None if group_name is None else frame[group_name].astype(str).to_numpy()
    dates = None if date_name is None else _read_dates(frame[date_name], path)
    features = frame.drop(columns=[target_name, *(name for name in (group_name, date_name) if name)])
    _refuse_columns(features, path)
    names = list(features.columns)
    task = _task_of(target)
    if task == "classification" and target.dtype.kind == "f":
        target = target.astype(int)
    is_matrix = all(getattr(dtype, "kind", "O") in "fiu" for dtype in features.dtypes) and _survives_as_float(
        features
    )
    name = (
        "".join(
            letter if letter.isascii() and letter.isalnum() else "_" for letter in path.stem.lower()
        ).strip("_")
        or "data"
    )
    return Dataset(
        name[:40],
        features.to_numpy(dtype=float) if is_matrix else features,
        names,
        target,
        target_name,
        task,
        groups,
        dates,
    )


def _read_dates(column: pd.Series[Any], path: Path) -> np.ndarray[Any, Any]:
    import pandas as pd  # noqa: PLC0415

    try:
        dates = pd.to_datetime(column, format="ISO8601", utc=True).dt.tz_localize(None)
    except (ValueError, TypeError) as problem:
        raise DatasetError(
            f"date = {column.name!r} of {path} holds what is no date: {problem}. Write them as 2026-03-31"
        ) from None
    if missing := int(dates.isna().sum()):
        raise DatasetError(
            f"date = {column.name!r} of {path} is missing in {missing} of {len(dates)} rows. Remove or fill them first."
        )
    found: np.ndarray[Any, Any] = dates.to_numpy(dtype="datetime64[s]")
    return found


def _read_frame(path: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    try:
        frame = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError, ImportError) as problem:  # pandas' parser errors are ValueErrors
        raise DatasetError(f"{path} cannot be read as {path.suffix[1:].upper()}: {problem}") from problem
    frame.columns = frame.columns.map(str)
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise DatasetError(f"{path} has two columns called {twice[0]!r}. Rename one.")
    return frame


def _refuse_columns(features: pd.DataFrame, path: Path) -> None:
    if features.columns.empty:
        raise DatasetError(
            f"{path} has no column besides the target and the group: there is nothing to learn from"
        )
    for name, column in features.items():
        if getattr(column.dtype, "kind", "O") in "Mm":
            raise DatasetError(
                f"column {name!r} of {path} holds dates or durations ({column.dtype}). Turn it into numbers first, such as days since a date."
            )
        if column.isna().all():
            raise DatasetError(f"column {name!r} of {path} has no value in any row. Remove it.")
        if (
            getattr(column.dtype, "kind", "O") == "f"
            and np.isinf(column.to_numpy(dtype=float, na_value=0.0)).any()
        ):
            raise DatasetError(
                f"column {name!r} of {path} holds infinity. Replace it by a number, or by nothing."
            )


def _survives_as_float(features: pd.DataFrame) -> bool:
    """Tell whether every whole number is one as float64, too: ids over 2^53 are not."""
    limit = 2**53
    whole = features.select_dtypes("integer")
    return whole.empty or bool((whole.abs() <= limit).all(axis=None))


def _task_of(target: np.ndarray[Any, Any]) -> Literal["classification", "regression"]:
    """Take text, booleans and up to `MAX_CLASSES` different whole numbers as classes, anything else as numbers to predict."""
    if target.dtype.kind not in "fiu":
        return "classification"
    few = len(np.unique(target)) <= MAX_CLASSES
    return "classification" if few and bool(np.all(target == np.floor(target))) else "regression"


def split(dataset: Dataset, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Split the rows into training, validation, test and holdout: 60, 20, 15 and 5 %, stratified by class and never within a group.

    Data with dates is split in their order instead, the oldest rows first; a group stands where its newest row does.

    Returns:
        Part name to the sorted indices of its rows.

    Raises:
        DatasetError: there are too few rows or groups, or a part would lack a class.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    units, what = (
        (len(dataset), "rows") if dataset.groups is None else (len(np.unique(dataset.groups)), "groups")
    )
    if units < FOLDS:
        raise DatasetError(
            f"{dataset.name} has {units} {what}, and a split into 60, 20, 15 and 5 % needs at least {FOLDS}"
        )
    if dataset.task == "classification":
        _refuse_rare_classes(dataset)
    if dataset.dates is not None:
        return _complete(dataset, _split_by_time(dataset))
    if dataset.task == "classification":
        splitter: Any = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        if dataset.groups is not None:
            splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    else:
        splitter = (
            KFold(FOLDS, shuffle=True, random_state=seed) if dataset.groups is None else GroupKFold(FOLDS)
        )
    folds = [fold for _, fold in splitter.split(np.zeros(len(dataset)), dataset.target, dataset.groups)]
    return _complete(
        dataset,
        {
            name: np.sort(np.concatenate([folds[index] for index in indices]))
            for name, indices in PARTS.items()
        },
    )


def _split_by_time(dataset: Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Cut the rows, or groups, in the order of their newest date; what has one date stays together."""
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


def _complete(dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the parts, if each of them can be used."""
    if empty := [name for name, indices in parts.items() if not len(indices)]:
        raise DatasetError(
            f"the {empty[0]} part of {dataset.name} would be empty: too many rows have the same date, or belong to one group"
        )
    for name in ("train", "validation", "test"):
        absent = set(np.unique(dataset.target).tolist()) - set(dataset.target[parts[name]].tolist())
        if dataset.task == "classification" and absent:
            raise DatasetError(
                f"the {name} part would hold no row of class {absent.pop()!r}: give more rows of it"
            )
    return parts


def _refuse_rare_classes(dataset: Dataset) -> None:
    labels, counts = np.unique(dataset.target, return_counts=True)
    if counts.min() < FOLDS:
        rare = labels.tolist()[counts.argmin()]
        raise DatasetError(
            f"class {rare!r} of {dataset.target_name!r} has {counts.min()} of {len(dataset)} rows, and a stratified split needs at least "
            f"{FOLDS} of each. Give more rows of it, or leave the class out."
        )
