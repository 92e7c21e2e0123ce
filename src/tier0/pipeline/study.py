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
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error
from tier0.pipeline.columns import NUMBER

SCHEMA = 1
Value = str | int | float | bool
METRICS: dict[str, tuple[Literal["classification", "regression"], Literal["most", "least"], float, float]] = {
    "auc_roc": ("classification", "most", 0.5, 1.0),
    "average_precision": ("classification", "most", 0.0, 1.0),
    "brier": ("classification", "least", 0.0, 2.0),
    "accuracy": ("classification", "most", 0.0, 1.0),
    "recall_minority": ("classification", "most", 0.0, 1.0),
    "precision_minority": ("classification", "most", 0.0, 1.0),
    "r2": ("regression", "most", 0.0, 1.0),
    "mae": ("regression", "least", 0.0, float("inf")),
    "rmse": ("regression", "least", 0.0, float("inf")),
}
"""Task, better direction, smallest and largest value of each metric of `tier0.pipeline.metrics`."""
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
        success: minimum of the metric, or maximum if less is better; None for no success criterion.
        minimum_rows: minimum number of rows in the cohort.
        minimum_of_each_class: minimum number of rows of each class in the cohort, for a classification.
        imbalanced: share of the rows that the rarer of two classes is reduced to, as with ``--imbalanced``;
            None keeps all rows.
    """

    problem: str = ""
    population: str = ""
    target: str | None = None
    metric: str | None = None
    success: float | None = None
    minimum_rows: int = Field(default=100, ge=20)
    minimum_of_each_class: int = Field(default=20, ge=20)
    imbalanced: float | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.imbalanced is not None and not 0 < self.imbalanced < MAX_IMBALANCED:
            raise ValueError(f"imbalanced must be greater than 0 and less than 0.5, got {self.imbalanced:g}")
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}: choose one of {', '.join(METRICS)}")
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
        minimum = self.minimum_of_each_class * 2
        if minimum > self.minimum_rows:
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


class DataRules(_Part):
    """Rules for the data.

    Attributes:
        most_missing: maximum share of rows without a value in any column.
        missing_texts: texts in a file that are missing values in any column, beside the empty cell.
        most_duplicates: maximum share of rows that are equal to another row.
        newest_within_days: maximum age of the newest row in days; needs a column of dates.
        columns: rules for single columns, by name.
        pandera: ``module:name`` of a pandera schema that is checked as well.
    """

    most_missing: float = Field(default=0.5, ge=0, le=1)
    missing_texts: MissingTexts = ()
    most_duplicates: float = Field(default=0.1, ge=0, le=1)
    newest_within_days: int | None = Field(default=None, ge=0)
    columns: dict[str, ColumnRule] = Field(default_factory=dict)
    pandera: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")

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


def read_study(path: Path | None, **scope: Any) -> Study:
    """Read a study.

    Args:
        path: the TOML file; None for a study without a file.
        scope: fields of ``[scope]`` that replace those of the file, unless they are None.

    Raises:
        StudyError: the file cannot be read, has an unknown field, or contradicts itself.
    """
    document = {} if path is None else read_document(path, "the study", SCHEMA, StudyError)
    given = {name: value for name, value in scope.items() if value is not None}
    if given and isinstance(document.get("scope", {}), dict):
        document["scope"] = {**document.get("scope", {}), **given}
    try:
        return Study.model_validate(document)
    except ValidationError as problem:
        source = "options of the study" if path is None else f"the study {path}"
        raise StudyError(f"{source}: {_describe(problem)}") from None


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
        return f"unknown field {where}: choose from {', '.join(_fields_beside(first['loc']))}"
    if first["type"] == "value_error":
        return f"{where}{': ' if where else ''}{first['ctx']['error']}"
    message = TOML_TYPES.get(first["type"], first["msg"])
    return f"{where} = {first['input']!r}: {message[:1].lower()}{message[1:]}"
