"""Training data from a file: its columns by what they were taken for, its target, groups and dates."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import DatasetError
from tier0.core.near_names import did_you_mean
from tier0.pipeline.columns import count_rows, note_of_padding
from tier0.pipeline.data import FOLDS, MAX_CLASSES, MIN_OF_CLASS, Dataset, FeatureKind, Task, kind_of_dtype
from tier0.pipeline.inference import NEARLY_ALL, Taken, Wishes, take_column, take_target
from tier0.pipeline.leaks import DUPLICATES
from tier0.pipeline.profile import LEFT_OUT, ColumnProfile, Kind, option_for
from tier0.pipeline.study import DataRules
from tier0.pipeline.tables import Reading, Table
from tier0.pipeline.written_dates import read_dates

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tier0.core.settings import Settings
    from tier0.pipeline.study import Study

DONE = {
    "number": "a feature",
    "boolean": "a feature",
    "category": "a feature, by categories",
    "misspelled": "a feature, by categories and parts of words",
    "text": "a feature, by words",
    "time": "a feature, by the hour",
    "date": "a feature, by parts of the date",
}
ANOTHER_KIND = {
    "number": "category",
    "boolean": "category",
    "category": "text",
    "misspelled": "category",
    "time": "category",
    "text": "category",
}
"""The kind that the profile names as an override."""
SPOKEN_KINDS = {
    "id": "identifiers",
    "index": "row numbers",
    "date": "dates",
    "constant": "columns with one value",
    "empty": "empty columns",
}
MAX_NAMED = 10


def check_names(settings: Settings, rules: DataRules | None, names: Iterable[str]) -> None:
    """Check that the columns that options and study name are in the file, and that roles do not collide.

    Raises:
        DatasetError: a column is not in the file, or is left out although it is the target.
    """
    known = list(names)
    roles = {option: getattr(settings, option) for option in ("target", "group", "date")}
    named = [(f"--{option}", name) for option, name in roles.items() if name is not None]
    if rules is not None:
        allowed = [name for name in rules.allow if name != DUPLICATES]
        fields = {"drop": rules.drop, "keep": rules.keep, "allow": allowed, "types": rules.types}
        named += [(f"--{field}", name) for field, columns in fields.items() for name in columns]
    for option, name in named:
        if name not in known:
            raise DatasetError(
                f"column {name!r} ({option}) not found in {settings.dataset}{did_you_mean(name, known)}. "
                f"Available columns: {', '.join(known)}"
            )
    for option, name in roles.items():
        if rules is not None and name is not None and name in rules.drop:
            raise DatasetError(
                f"column {name!r} is in drop, but it is the {option}: remove it from one of them"
            )


def load_file(settings: Settings, rules: DataRules | None, stated: Task | None) -> Dataset:
    """Load a file.

    Args:
        settings: settings of the run, with the file and its target.
        rules: how the file is read.
        stated: what the target asks for; None to infer it.

    Raises:
        DatasetError: the file cannot be read, or cannot be used for training.
    """
    import pandas as pd  # noqa: PLC0415

    rules, path, target_name = rules or DataRules(), Path(settings.dataset), settings.target or ""
    table = Table.read(path, reading_of(rules))
    check_names(settings, rules, table.columns)
    target = _target(table, target_name, rules)
    roles = {target_name, settings.group, settings.date}
    cells = {name: one for name, one in table.columns.items() if name not in {*roles, *rules.drop}}
    table = replace(table, columns={name: table.columns[name] for name in roles if name is not None})
    taken = _take_all(table, cells, rules)
    used = {
        name: column for name, column in taken.items() if column.kind not in LEFT_OUT or name in rules.keep
    }
    for name, column in used.items():
        if column.has_mixed_dates:
            raise DatasetError(f"column {name!r} cannot be kept: {column.column.notes[0]}")
    used = {name: column for name, column in used.items() if column.kind != "empty"}
    used = used or {name: column for name, column in taken.items() if column.kind == "index"}
    if not used:
        left = "; ".join(f"{name!r}: {column.read}" for name, column in taken.items())
        raise DatasetError(
            f"{path} has no feature columns: every column is the target, the group, the date, or left out"
            f"{f' ({left}); --keep COLUMN uses one' if left else ''}"
        )
    (dates, date_notes), groups = _dates(table, settings.date, rules), _groups(table, settings.group)
    values, notes = _values_of(target, target_name)
    rows = values.notna().to_numpy() & (True if dates is None else ~np.isnat(dates))
    notes += _notes_of_rows(values, settings.date, dates)
    features: Any = pd.DataFrame({name: column.column.series for name, column in used.items()}, copy=False)
    features = features if rows.all() else features[rows]
    task, labels, told = task_of(values[rows], target_name, stated)
    kinds = {name: _kind_of_feature(column) for name, column in used.items()}
    if set(kinds.values()) == {"number"} and _is_matrix(features):
        features = features.to_numpy(dtype=float)
    else:
        features = features.reset_index(drop=True)
    return Dataset(
        name=_as_name(path.stem),
        features=features,
        names=list(used),
        target=labels,
        target_name=target_name,
        task=task,
        groups=None if groups is None else groups[rows],
        dates=None if dates is None else dates[rows],
        notes=(
            *table.notes,
            *_notes_of_columns(
                {name: taken[name] for name in taken if name in used or taken[name].kind == "date"}
            ),
            *(f"column {settings.date!r}: {note}" for note in date_notes),
            *(f"column {target_name!r}: {note}" for note in (*notes, *told)),
            *_notes_of_left_out(taken, used),
            *_proposals(settings, taken),
        ),
        missing_texts={
            name: column.column.missing_texts for name, column in used.items() if column.column.missing_texts
        },
        kinds=kinds,
        profile=(
            *(_profile(name, column, name in used) for name, column in taken.items()),
            _profile_of_target(target_name, target, task, labels),
        ),
    )


# --- columns ---


def _take_all(table: Table, cells: dict[str, pa.ChunkedArray], rules: DataRules) -> dict[str, Taken]:
    """Return what columns are taken for; their cells are dropped one after the other, since they are large.

    Raises:
        DatasetError: no model can take some of them.
    """
    decimal = _decimal(table, rules)
    taken, unsupported = {}, []
    for name in list(cells):
        try:
            taken[name] = take_column(name, cells[name], _wishes(name, rules, decimal))
        except TypeError as problem:
            unsupported.append((name, str(problem)))
        if name not in taken or not taken[name].is_ambiguous:
            del cells[name]
    for name in {*table.index} & {*taken}:
        taken[name] = replace(taken[name], kind="index", read="the index of a DataFrame")
    if unsupported:
        columns = ", ".join(f"{name!r} ({problem})" for name, problem in unsupported)
        remedy = option_for("drop", [name for name, _ in unsupported])
        raise DatasetError(
            f"{table.path} has columns that a model cannot take: {columns}. Leave them out with {remedy}, "
            "or convert them to numbers, text or true/false"
        )
    sure = [column.read for column in taken.values() if not column.is_ambiguous]
    has_comma, has_point = (
        any(words in read for read in sure) for words in ("decimal comma", "commas between")
    )
    if decimal is None and has_comma and not has_point:
        for name, column in taken.items():
            if column.is_ambiguous:  # the other columns decide what a comma is
                taken[name] = take_column(name, cells[name], _wishes(name, rules, ","))
    return taken


def _decimal(table: Table, rules: DataRules) -> str | None:
    """Return the decimal separator that is stated or was found in the file; None if it is not known."""
    return rules.decimal or ("," if table.decimal == "," else None)


def reading_of(rules: DataRules) -> Reading:
    """Return how a CSV file is written, as far as a person says."""
    return Reading(rules.separator, rules.decimal, rules.encoding)


def _wishes(name: str, rules: DataRules, decimal: str | None) -> Wishes:
    return Wishes(rules.missing_texts_of(name), rules.types.get(name), decimal)


def _kind_of_feature(taken: Taken) -> FeatureKind:
    if taken.kind in {"category", "misspelled", "date", "time", "text"}:
        return taken.kind
    kind = kind_of_dtype(taken.column.series.dtype)
    return "boolean" if taken.kind == "boolean" and kind == "category" else kind


def _is_matrix(features: pd.DataFrame) -> bool:
    """Return whether an array of float64 represents all features exactly, also as requests contain them.

    Text does not fit, nor do whole numbers above 2**53; and a request's 0.1 is not the 0.1 of float32.
    """
    kinds = {(getattr(dtype, "kind", "O"), getattr(dtype, "itemsize", 0)) for dtype in features.dtypes}
    return all(kind in "iu" or (kind, size) == ("f", 8) for kind, size in kinds) and _fits_in_float(features)


def _fits_in_float(features: pd.DataFrame) -> bool:
    """Return True if float64 represents every whole number exactly, which ids above 2^53 are not."""
    limit = 2**53
    whole = features.select_dtypes("integer")
    return whole.empty or bool((whole.abs() <= limit).all(axis=None))


def _as_name(stem: str) -> str:
    """Return a file's name as part of a model's name: ASCII letters, digits and ``_``, 40 at most."""
    letters = (letter if letter.isascii() and letter.isalnum() else "_" for letter in stem.lower())
    return ("".join(letters).strip("_") or "data")[:40]


# --- target, groups and dates ---


def _target(table: Table, name: str, rules: DataRules) -> Taken:
    decimal = _decimal(table, rules)
    try:
        return take_target(name, table.columns[name], _wishes(name, rules, decimal))
    except TypeError as problem:
        raise DatasetError(
            f"the target {name!r} of {table.path} contains values of type {problem}; expected numbers or "
            "classes: pass another column as --target"
        ) from None


def study_of(study: Study, dataset: Dataset) -> Study:
    """Return the study that reads a file as it was read: every column has the kind that was inferred.

    Args:
        study: the study of the run.
        dataset: the data that was loaded with it.
    """
    columns = [column for column in dataset.profile if column.name != dataset.target_name]
    unused = {column.name for column in columns} - set(dataset.names)
    typed = {column.name for column in columns if column.kind in {"id", "date"}} & unused
    types = {name: kind for name, kind in _kinds(columns).items() if name in typed}
    kept = {name for name in dataset.names if _kinds(columns)[name] in LEFT_OUT}
    data = study.data.model_copy(
        update={
            "types": {**types, **dataset.kinds},
            "drop": tuple(dict.fromkeys([*study.data.drop, *sorted(unused - typed)])),
            "keep": tuple(dict.fromkeys([*study.data.keep, *sorted(kept)])),
        }
    )
    scope = study.scope.model_copy(update={"target": dataset.target_name, "task": dataset.task})
    return study.model_copy(update={"data": data, "scope": scope})


def _kinds(columns: Iterable[ColumnProfile]) -> dict[str, str]:
    return {column.name: column.kind for column in columns}


def target_task(table: Table, name: str, rules: DataRules, stated: Task | None) -> Task:
    """Return what the target of a file asks for."""
    values, _ = _values_of(_target(table, name, rules), name)
    return task_of(values.dropna(), name, stated)[0]


def _values_of(target: Taken, name: str) -> tuple[pd.Series[Any], list[str]]:
    """Return the values of the target, in which infinity and a rare spelling of a class are corrected."""
    import pandas as pd  # noqa: PLC0415

    series, notes = target.column.series, list(target.column.notes)
    if series.isna().all():
        raise DatasetError(f"the target {name!r} has no value in any row: pass another column as --target")
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if series.dtype.kind in "biuf" or pd.api.types.infer_dtype(series, skipna=True) != "string":
        return series, notes
    corrected, told = _without_near_spellings(series)
    padded, left = _count_padded(series), _count_padded(corrected)
    if left < padded:
        notes = [note for note in notes if note != note_of_padding(padded)]
        notes += [note_of_padding(left)] if left else []
    return corrected, notes + told


def _count_padded(series: pd.Series[Any]) -> int:
    """Return the number of texts that begin or end with spaces."""
    texts = series.dropna()
    return int((texts != texts.str.strip()).sum())


def _without_near_spellings(series: pd.Series[Any]) -> tuple[pd.Series[Any], list[str]]:
    """Return classes in which a rare spelling, such as ``left `` for ``left``, is the frequent one."""
    counts = series.value_counts()
    spellings: dict[str, list[str]] = {}
    for text in counts.index:
        spellings.setdefault(" ".join(str(text).split()).casefold(), []).append(text)
    near = {rare: first for first, *others in spellings.values() for rare in others}
    rare = {
        text: first for text, first in near.items() if counts[text] < FOLDS or text.strip() == first.strip()
    }
    notes = []
    for text, first in near.items():
        done = f"read as {first!r}" if text in rare else "kept as a class of its own"
        notes.append(f"{text!r} ({count_rows(counts[text])}) is almost spelled as {first!r}, and {done}")
    return series.replace(rare) if rare else series, notes


def task_of(
    values: pd.Series[Any], name: str, stated: Task | None
) -> tuple[Task, np.ndarray[Any, Any], list[str]]:
    """Return the task, the target as scikit-learn takes it, and notes.

    Text, booleans and up to `MAX_CLASSES` different whole numbers are classes, unless too few rows have
    one of them.

    Raises:
        DatasetError: the values do not fit the stated task.
    """
    target = values.to_numpy()
    if target.dtype.kind == "O" and values.map(type).eq(bool).all():
        target = target.astype(bool)
    if target.dtype.kind not in "fiu":
        if stated == "regression":
            raise DatasetError(
                f"the task is a regression (--task), but the target {name!r} contains values such as "
                f"{target.tolist()[0]!r}: expected numbers"
            )
        return "classification", target, []
    are_whole = bool(np.all(target == np.floor(target)))
    if stated == "classification" and not are_whole:
        raise DatasetError(
            f"the task is a classification (--task), but the target {name!r} contains numbers with "
            "fractions: expected classes as whole numbers, text or booleans"
        )
    different, counts = np.unique(target, return_counts=True)
    few = are_whole and len(different) <= MAX_CLASSES
    are_classes = few and (len(different) <= 2 or counts.min() >= MIN_OF_CLASS)
    task = stated or ("classification" if are_classes else "regression")
    notes = []
    if few and stated is None and len(different) > 2:
        other = "regression" if task == "classification" else "classification"
        reason = (
            "" if are_classes else f", since {different[counts.argmin()]:g} is in {counts.min()} rows only"
        )
        what = "classes" if are_classes else "numbers"
        found = f"its {len(different)} different whole numbers are taken for {what}{reason}"
        notes = [f"{found}; --task {other} changes it"]
    is_float = target.dtype.kind == "f"
    return task, target.astype(int) if task == "classification" and is_float else target, notes


def _groups(table: Table, name: str | None) -> np.ndarray[Any, Any] | None:
    """Return the group of each row; a row without a value is a group of its own."""
    if name is None:
        return None
    values = table.unconverted(name)
    missing = values.isna().to_numpy()
    groups: np.ndarray[Any, Any] = values.astype(str).to_numpy(dtype=object)
    groups[missing] = [f"row {row} without a value" for row in np.flatnonzero(missing)]
    return groups.astype(str)


def _dates(
    table: Table, name: str | None, rules: DataRules
) -> tuple[np.ndarray[Any, Any] | None, tuple[str, ...]]:
    """Return the date of each row, NaT where there is none, and notes about the column.

    Raises:
        DatasetError: the column contains other values than dates, apart from a few.
    """
    if name is None:
        return None, ()
    try:
        taken = take_column(name, table.columns[name], replace(_wishes(name, rules, None), kind="date"))
    except (DatasetError, TypeError) as problem:
        raise DatasetError(f"--date {name}: {problem}. Use a format such as 2026-03-31") from None
    if taken.has_mixed_dates:
        raise DatasetError(f"--date {name}: {taken.column.notes[0]}")
    if not taken.spelling:
        raise DatasetError(f"--date {name}: the column has no date in any row")
    if taken.share < NEARLY_ALL:
        raise DatasetError(
            f"--date {name}: only {taken.share:.0%} of its values are dates: {taken.column.notes[0]}. Use a "
            "format such as 2026-03-31"
        )
    return read_dates(taken.column.series, taken.spelling), taken.column.notes


# --- sentences ---


def _notes_of_columns(used: Mapping[str, Taken]) -> list[str]:
    return [f"column {name!r}: {note}" for name, column in used.items() for note in column.column.notes]


def _notes_of_rows(values: pd.Series[Any], date: str | None, dates: np.ndarray[Any, Any] | None) -> list[str]:
    """Return how many rows are left out."""
    missing = int(values.isna().sum())
    notes = [f"it is missing in {missing} of {len(values)} rows, which are left out"] if missing else []
    if dates is not None and np.isnat(dates).any():
        notes.append(f"{int(np.isnat(dates).sum())} rows without a date in {date!r} are left out")
    return notes


def _notes_of_left_out(taken: Mapping[str, Taken], used: Mapping[str, Taken]) -> list[str]:
    notes = []
    for kind, spoken in SPOKEN_KINDS.items():
        names = [name for name, column in taken.items() if column.kind == kind and name not in used]
        if not names:
            continue
        shown = ", ".join(map(repr, names[:MAX_NAMED])) + (" …" if len(names) > MAX_NAMED else "")
        kept = [name for name in names if kind != "empty" and not taken[name].has_mixed_dates]
        remedy = f"; {option_for('keep', kept[:MAX_NAMED])} uses them" if kept else ""
        notes.append(f"{spoken} are left out of the features: {shown}{remedy}")
    return notes


def _proposals(settings: Settings, taken: Mapping[str, Taken]) -> list[str]:
    """Return notes that name a column of dates and columns of groups that no option names."""
    notes = []
    dates = [name for name, column in taken.items() if column.spelling and "birth" not in name.lower()]
    if dates and settings.date is None:
        notes.append(
            f"column {dates[0]!r} looks like time: say --date {shlex.quote(dates[0])} if the model is to "
            "predict rows that are newer than those it is trained on"
        )
    groups = [name for name, column in taken.items() if column.is_group]
    if groups and settings.group is None:
        notes += [
            f"column {name!r} repeats like a group of rows: say --group {shlex.quote(name)} to keep each "
            "group in one part"
            for name in groups
        ]
    return notes


def _profile(name: str, taken: Taken, is_used: bool) -> ColumnProfile:  # noqa: FBT001
    kind = _kind_of_feature(taken) if is_used else taken.kind
    another = ANOTHER_KIND.get(kind)
    override = option_for("types", [name], another) if another else option_for("keep", [name])
    if taken.kind in LEFT_OUT and is_used:
        override = option_for("drop", [name])
    return ColumnProfile(
        name=name,
        kind=taken.kind,
        share=taken.share,
        read=taken.read,
        done=DONE[kind] if is_used else "left out",
        override="" if taken.kind == "empty" or taken.has_mixed_dates else override,
        examples=taken.examples,
        missing=taken.missing,
        notes=taken.column.notes,
    )


def _profile_of_target(name: str, target: Taken, task: Task, labels: np.ndarray[Any, Any]) -> ColumnProfile:
    if task == "regression":
        read = f"{target.read}, from {labels.min():g} to {labels.max():g}"
        done, override = "the target of a regression", "--task classification"
    else:
        count = len(np.unique(labels))
        done, read, override = f"the target, {count} classes", target.read, "--task regression"
    if target.kind != "number" or target.column.series.dtype.kind not in "iuf":
        override = ""
    kind: Kind = "category" if task == "classification" else "number"
    return ColumnProfile(
        name, kind, target.share, read, done, override, target.examples, target.missing, target.column.notes
    )
