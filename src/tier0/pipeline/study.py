"""Step 1: the study, which states the problem, the success criterion, the rules for the data, and the cohort.

It is a TOML file, in which every part is optional::

    schema = 1

    [scope]
    problem = "who stops the therapy within a year"
    population = "adults on therapy"
    metric = "auc_roc"                # success criterion: this metric, on the test part,
    success = 0.65                    # must reach this value
    minimum_rows = 200

    [data]
    most_missing = 0.4                # share of a column
    most_duplicates = 0.05            # share of the rows

    drop = ["visit_note"]             # columns to leave out
    types = { region_code = "category" }

    [data.columns.days_on_therapy]
    least = 0
    most = 5000

    [[cohort]]
    name = "seen by a professional"
    column = "hcp_visits"
    at_least = 1
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tier0.core.display import toml, toml_key
from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error
from tier0.core.near_names import did_you_mean
from tier0.pipeline.columns import NUMBER
from tier0.pipeline.profile import DECLARED_KINDS

SCHEMA = 1
Value = str | int | float | bool
METRICS: dict[str, tuple[Literal["classification", "regression"], Literal["most", "least"], float, float]] = {
    "auc_roc": ("classification", "most", 0.5, 1.0),
    "average_precision": ("classification", "most", 0.0, 1.0),
    "brier": ("classification", "least", 0.0, 2.0),
    "log_loss": ("classification", "least", 0.0, float("inf")),
    "accuracy": ("classification", "most", 0.0, 1.0),
    "recall_minority": ("classification", "most", 0.0, 1.0),
    "precision_minority": ("classification", "most", 0.0, 1.0),
    "r2": ("regression", "most", 0.0, 1.0),
    "mae": ("regression", "least", 0.0, float("inf")),
    "rmse": ("regression", "least", 0.0, float("inf")),
}
"""Task, better direction, smallest and largest value of each metric of `tier0.pipeline.metrics`."""
OPTIONS = {
    **{name: ("scope", name) for name in ("metric", "success", "imbalanced", "task")},
    **{name: ("data", name) for name in ("drop", "allow", "types", "missing_texts")},
    **{name: ("data", name) for name in ("separator", "decimal", "encoding")},
    "keep_columns": ("data", "keep"),
}
"""Settings that a study has, too: the table and the field of each.

Columns and texts of an option are added to those of the file; others replace the file's value.
"""
CONDITIONS = ("at_least", "at_most", "equals", "one_of", "not_one_of", "present")


class StudyError(Tier0Error):
    """The study is invalid or does not fit the data; the message names field, value and remedy."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


MAX_IMBALANCED = 0.5
"""Upper bound of `Scope.imbalanced`: the rarer of two classes has less than half of the rows."""


class Scope(_Part):
    """The problem and the success criterion.

    Attributes:
        problem: description of the problem.
        population: description of the population.
        target: what is predicted; for a file the column, as with ``--target``.
        metric: metric of the success criterion, measured on the test part; one of `METRICS`.
        selection_metric: metric that decides which algorithm and hyper-parameters are selected; one of
            `METRICS`; None for AUC-ROC or R².
        success: minimum of the metric, or maximum if less is better; None for no success criterion.
        minimum_rows: minimum number of rows in the cohort; None for as many as can be split.
        minimum_of_each_class: minimum number of rows of each class in the cohort, for a classification; None
            for as many as can be split.
        task: what the target asks for; None to infer it from the values of the target.
        imbalanced: share of the rows that the rarer of two classes is reduced to, as with ``--imbalanced``;
            None keeps all rows.
    """

    problem: str = ""
    population: str = ""
    target: str | None = None
    metric: str | None = None
    selection_metric: str | None = None
    success: float | None = None
    task: Literal["classification", "regression"] | None = None
    minimum_rows: int | None = Field(default=None, ge=20)
    minimum_of_each_class: int | None = Field(default=None, ge=1)
    imbalanced: float | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.imbalanced is not None and not 0 < self.imbalanced < MAX_IMBALANCED:
            raise ValueError(f"imbalanced must be greater than 0 and less than 0.5, got {self.imbalanced:g}")
        for metric in (self.metric, self.selection_metric):
            if metric is not None and metric not in METRICS:
                raise ValueError(
                    f"unknown metric {metric!r}{did_you_mean(metric, METRICS)}: choose one of "
                    f"{', '.join(METRICS)}"
                )
        if self.success is not None:
            if self.metric is None:
                raise ValueError(
                    f"success = {self.success!r} needs a metric: add --metric NAME, or metric in [scope]"
                )
            _, better, worst, best = METRICS[self.metric]
            if not worst <= self.success <= best:
                raise ValueError(
                    f"success must be {worst:g} to {best:g} for metric = {self.metric!r}, got "
                    f"{self.success!r}"
                )
            if better == "most" and self.success == best:
                raise ValueError(
                    f"success = {self.success!r} requires a perfect {self.metric}, which only a model that "
                    "has seen the target reaches: choose a smaller value"
                )
        minimum = 2 * (self.minimum_of_each_class or 0)
        if self.minimum_rows is not None and minimum > self.minimum_rows:
            raise ValueError(
                f"minimum_rows must be at least {minimum} for minimum_of_each_class = "
                f"{self.minimum_of_each_class}, got {self.minimum_rows}"
            )
        return self

    def reached(self, metrics: dict[str, float]) -> bool | None:
        """Return whether these metrics meet the success criterion; None if there is no criterion."""
        if self.metric is None or self.success is None:
            return None
        value = metrics[self.metric]
        return value >= self.success if METRICS[self.metric][1] == "most" else value <= self.success


def _require_text(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        if re.match(NUMBER, text.strip()) or text.strip().lower() in {"true", "false"}:
            raise ValueError(
                f"{text!r} cannot be a missing text, since requests contain it as a number or boolean: empty "
                "these cells"
            )
    return texts


MissingTexts = Annotated[tuple[str, ...], AfterValidator(_require_text)]


class ColumnRule(_Part):
    """Rules for the values of one column.

    Attributes:
        kind: ``number``, ``whole`` (numbers), or ``category`` (text, or whole numbers).
        least: the smallest number allowed.
        most: the largest number allowed.
        allowed: the values allowed.
        most_missing: maximum share of rows without a value, from 0 to 1; replaces the rule for all columns.
        missing_texts: texts in a file that are missing values, beside the empty cell; replaces those for all
            columns.
    """

    kind: Literal["number", "whole", "category"] | None = None
    least: float | None = None
    most: float | None = None
    allowed: tuple[Value, ...] | None = Field(default=None, min_length=1)
    most_missing: float | None = Field(default=None, ge=0, le=1)
    missing_texts: MissingTexts | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least = {self.least:g} is greater than most = {self.most:g}")
        has_bounds = self.least is not None or self.most is not None
        if has_bounds and (self.allowed is not None or self.kind == "category"):
            raise ValueError("least and most cannot be combined with allowed or kind = 'category'")
        return self


READING = ("drop", "keep", "types", "separator", "decimal", "encoding")
"""Fields of `DataRules` that say how a file is read, in contrast to rules for its values."""


class DataRules(_Part):
    """Rules for the data.

    Attributes:
        most_missing: maximum share of rows without a value in any column; None for no such rule.
        missing_texts: texts in a file that are missing values in any column, beside the empty cell.
        drop: columns of a file that are left out.
        keep: columns that are features although they would be left out, such as dates and ids.
        allow: columns that may predict the target almost alone.
        types: kinds of columns, by name, in place of what was inferred.
        separator: character between the values of a CSV file; None to detect it.
        decimal: decimal separator of a CSV file, ``.`` or ``,``; None to detect it.
        encoding: encoding of a CSV file; None to detect it.
        most_duplicates: maximum share of rows that are equal to another row; None for no such rule.
        newest_within_days: maximum age of the newest row in days; needs a column of dates.
        columns: rules for single columns, by name.
        pandera: ``module:name`` of a pandera schema that is checked as well.
    """

    most_missing: float | None = Field(default=None, ge=0, le=1)
    missing_texts: MissingTexts = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    types: dict[str, str] = Field(default_factory=dict)
    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    most_duplicates: float | None = Field(default=None, ge=0, le=1)
    newest_within_days: int | None = Field(default=None, ge=0)
    columns: dict[str, ColumnRule] = Field(default_factory=dict)
    pandera: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")

    @field_validator("separator")
    @classmethod
    def _check_separator(cls, separator: str | None) -> str | None:
        separator = "\t" if separator in {"\\t", "tab"} else separator
        if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
            raise ValueError(f"expected one character, such as ; or \\t, got {separator!r}")
        return separator

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str | None) -> str | None:
        try:
            "".encode(encoding or "utf-8")
        except LookupError:
            raise ValueError(
                f"unknown encoding {encoding!r}: expected the name of one, such as utf-8, latin-1 or cp1252"
            ) from None
        return encoding

    @field_validator("types")
    @classmethod
    def _check_types(cls, types: dict[str, str]) -> dict[str, str]:
        for column, kind in types.items():
            if kind not in DECLARED_KINDS:
                raise ValueError(
                    f"column {column!r} has the unknown kind {kind!r}{did_you_mean(kind, DECLARED_KINDS)}: "
                    f"choose one of {', '.join(DECLARED_KINDS)}"
                )
        return types

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        for column in self.keep:
            if column in self.drop:
                raise ValueError(f"column {column!r} is in both drop and keep: remove it from one of them")
            if self.types.get(column) == "id":
                raise ValueError(
                    f"column {column!r} is in keep, but types say that it is an id, which is left out: "
                    "remove one of them"
                )
        if self.separator is not None and self.separator == self.decimal:
            raise ValueError(f"separator and decimal are both {self.decimal!r}: change one of them")
        return self

    @property
    def reading(self) -> str:
        """The first field that is only about how a file is read; empty if there is none."""
        return next((name for name in READING if getattr(self, name)), "")

    @property
    def has_rules(self) -> bool:
        """Whether there is a rule for values, beside the default ones, which step 2 applies."""
        other = {*READING, "missing_texts", "allow"}
        return self.model_dump(exclude=other) != DataRules().model_dump(exclude=other)

    def missing_texts_of(self, column: str) -> tuple[str, ...]:
        """Return the texts that are missing values in *column*."""
        rule = self.columns.get(column)
        return self.missing_texts if rule is None or rule.missing_texts is None else rule.missing_texts


class Criterion(_Part):
    """A condition on one column that the rows of the cohort meet.

    Attributes:
        name: description of the criterion; the condition itself by default.
        column: name of the column.
        at_least: minimum of a number.
        at_most: maximum of a number.
        equals: the required value.
        one_of: the allowed values.
        not_one_of: the excluded values.
        present: True if a value is required, False if it must be missing.
        where_missing: whether rows without a value are excluded or kept.
    """

    column: str
    name: str = ""
    at_least: float | None = None
    at_most: float | None = None
    equals: Value | None = None
    one_of: tuple[Value, ...] | None = Field(default=None, min_length=1)
    not_one_of: tuple[Value, ...] | None = Field(default=None, min_length=1)
    present: bool | None = None
    where_missing: Literal["exclude", "keep"] = "exclude"

    @property
    def condition(self) -> str:
        """Name of the field with the condition."""
        return next(name for name in CONDITIONS if getattr(self, name) is not None)

    def __str__(self) -> str:
        if self.name:
            return self.name
        value = getattr(self, self.condition)
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        return f"{self.column} {self.condition.replace('_', ' ')} {text}"

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        given = [name for name in CONDITIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a criterion needs exactly one condition ({', '.join(CONDITIONS)}), got "
                f"{', '.join(given) or 'none'}"
            )
        return self


class Study(_Part):
    """A study.

    Attributes:
        scope: the problem and the success criterion.
        data: rules for the data.
        cohort: criteria for the rows, applied in this order.
    """

    scope: Scope = Scope()
    data: DataRules = DataRules()
    cohort: tuple[Criterion, ...] = ()

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        for lower, upper in itertools.permutations(self.cohort, 2):
            if lower.column != upper.column or lower.at_least is None or upper.at_most is None:
                continue
            if lower.at_least > upper.at_most:
                raise ValueError(
                    f"no row can meet both at_least = {lower.at_least:g} and at_most = {upper.at_most:g} of "
                    f"the column {lower.column!r}: change one of them"
                )
        return self


def read_study(path: Path | None, **options: Any) -> Study:
    """Read a study.

    Args:
        path: the TOML file; None for a study without a file.
        options: values of settings in `OPTIONS`, which take precedence over those of the file; None and empty
            values are not given.

    Raises:
        StudyError: the file cannot be read, has an unknown field, or contradicts itself.
    """
    document = {} if path is None else read_document(path, "the study", SCHEMA, StudyError)
    for name, value in options.items():
        table, field = OPTIONS[name]
        if value is None or value in ((), {}) or not isinstance(document.setdefault(table, {}), dict):
            continue
        document[table][field] = _added(document[table].get(field), value)
    try:
        return Study.model_validate(document)
    except ValidationError as problem:
        source = "invalid options" if path is None else f"the study {path}"
        raise StudyError(f"{source}: {_describe(problem)}") from None


def as_toml(study: Study) -> str:
    """Return the file from which `read_study` makes this study."""
    content = study.model_dump(mode="json", exclude_defaults=True)
    lines = [f"schema = {SCHEMA}"]
    tables = [(f"[{name}]", content[name]) for name in ("scope", "data") if name in content]
    tables += [("[[cohort]]", criterion) for criterion in content.get("cohort", [])]
    for heading, fields in tables:
        lines += ["", heading, *(f"{name} = {_toml_value(value)}" for name, value in fields.items())]
    return "\n".join([*lines, ""])


def _toml_value(value: Any) -> str:
    """Return a value in TOML; a table is on one line, without the fields that are None."""
    if isinstance(value, dict):
        pairs = [f"{toml_key(name)} = {_toml_value(one)}" for name, one in value.items() if one is not None]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    return toml(value) if isinstance(value, str) else json.dumps(value)


def _added(in_file: Any, given: Any) -> Any:
    """Return the value of an option, with what the file has if both are arrays or tables."""
    if isinstance(given, Mapping) and isinstance(in_file, Mapping):
        return {**in_file, **given}
    return (*in_file, *given) if isinstance(given, tuple) and isinstance(in_file, list) else given


TOML_TYPES = {
    "tuple_type": "expected a TOML array",
    "model_type": "expected a TOML table",
    "dict_type": "expected a TOML table",
}
"""What pydantic calls a tuple, an instance or a dictionary, in the words of the file."""


def _fields_beside(place: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the table in which an unknown field is.

    Args:
        place: names of tables, keys and indices that lead to the field, and its own name.
    """
    kind: Any = Study
    for part in place[:-1]:
        if isinstance(kind, type) and issubclass(kind, _Part):
            kind = kind.model_fields[str(part)].annotation
        else:  # a table with names of columns, or an array
            kind = next(inner for inner in get_args(kind) if isinstance(inner, type) and inner is not str)
    return list(kind.model_fields)


def _describe(problem: ValidationError) -> str:
    """Describe the first error: the field, the value, and what is expected."""
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_beside(first["loc"])
        near = did_you_mean(first["loc"][-1], known)
        return f"unknown field {where!r}{near}: choose from {', '.join(known)}"
    if first["type"] == "value_error":
        return f"{where}{': ' if where else ''}{first['ctx']['error']}"
    message = TOML_TYPES.get(first["type"], first["msg"])
    return f"{where} = {first['input']!r}: {message[:1].lower()}{message[1:]}"
