"""Step 1: what is asked, of whom, and when it is answered well enough; and with it what the data must be like and who belongs to the cohort.

A few lines of TOML, any of them::

    schema = 1

    [scope]
    problem = "who stops the therapy within a year"
    population = "adults on therapy"
    metric = "auc_roc"                # of success, on the test part …
    success = 0.65                    # … and what it must reach
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

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error

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
"""Of which task each is, whether more or less of it is better, and what it may be: see `tier0.pipeline.metrics`."""
CONDITIONS = ("at_least", "at_most", "equals", "one_of", "not_one_of", "present")


class StudyError(Tier0Error):
    """The statement of the problem contradicts itself, or does not fit the data; the message names the field, the value and the remedy."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scope(_Part):
    """What is asked.

    Attributes:
        problem: in words.
        population: in words.
        target: what is predicted; with a file it is the column, as with ``--target``.
        metric: of success, measured on the test part; one of `METRICS`.
        success: what it must reach, or may be at most where less is better; None takes whatever comes.
        minimum_rows: of the cohort.
        minimum_of_each_class: of the cohort, for a classification.
    """

    problem: str = ""
    population: str = ""
    target: str | None = None
    metric: str | None = None
    success: float | None = None
    minimum_rows: int = Field(default=100, ge=20)
    minimum_of_each_class: int = Field(default=20, ge=20)

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(f"metric = {self.metric!r} is not measured: give one of {', '.join(METRICS)}")
        if self.success is not None:
            if self.metric is None:
                raise ValueError(f"success = {self.success!r} says how much, and not of what: add metric")
            _, better, worst, best = METRICS[self.metric]
            if not worst <= self.success <= best:
                raise ValueError(
                    f"success = {self.success!r} cannot be asked of {self.metric}: give {worst:g} to {best:g}"
                )
            if better == "most" and self.success == best:
                raise ValueError(
                    f"success = {self.success!r} asks for a {self.metric} that is perfect: what reaches that has seen the answer"
                )
        if self.minimum_of_each_class * 2 > self.minimum_rows:
            message = f"minimum_of_each_class = {self.minimum_of_each_class} needs more rows than minimum_rows = {self.minimum_rows}"
            raise ValueError(f"{message}: raise the second to {self.minimum_of_each_class * 2} at least")
        return self

    def reached(self, metrics: dict[str, float]) -> bool | None:
        """Tell whether these metrics are a success; None where nothing was asked."""
        if self.metric is None or self.success is None:
            return None
        value = metrics[self.metric]
        return value >= self.success if METRICS[self.metric][1] == "most" else value <= self.success


class ColumnRule(_Part):
    """What the values of one column must be like.

    Attributes:
        kind: ``number``, ``whole`` (numbers), or ``category`` (text, or whole numbers).
        least: of a number.
        most: of a number.
        allowed: categories.
        most_missing: share of the rows, from 0 to 1; instead of the one for all columns.
    """

    kind: Literal["number", "whole", "category"] | None = None
    least: float | None = None
    most: float | None = None
    allowed: tuple[Value, ...] | None = Field(default=None, min_length=1)
    most_missing: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least = {self.least:g} is more than most = {self.most:g}: no value is both")
        if (self.least is not None or self.most is not None) and (
            self.allowed is not None or self.kind == "category"
        ):
            raise ValueError(
                "least and most are for numbers, and allowed and kind = 'category' are not: keep one of them"
            )
        return self


class DataRules(_Part):
    """What the data must be like.

    Attributes:
        most_missing: share of any column.
        most_duplicates: share of the rows that are the same as another one in everything.
        newest_within_days: how old the newest row may be; needs a column of dates.
        columns: rules for single ones.
        pandera: ``module:name`` of a pandera schema that must hold, too.
    """

    most_missing: float = Field(default=0.5, ge=0, le=1)
    most_duplicates: float = Field(default=0.1, ge=0, le=1)
    newest_within_days: int | None = Field(default=None, ge=0)
    columns: dict[str, ColumnRule] = Field(default_factory=dict)
    pandera: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")


class Criterion(_Part):
    """Who belongs to the cohort: whoever meets one condition on one column.

    Attributes:
        name: in words; the condition itself by default.
        column: that it is about.
        at_least: a number.
        at_most: a number.
        equals: a value.
        one_of: values.
        not_one_of: values.
        present: whether there must be a value, or must be none.
        where_missing: what becomes of rows that have no value there.
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
        """The one that is given."""
        return next(name for name in CONDITIONS if getattr(self, name) is not None)

    def __str__(self) -> str:
        value = getattr(self, self.condition)
        return (
            self.name
            or f"{self.column} {self.condition.replace('_', ' ')} {', '.join(map(str, value)) if isinstance(value, tuple) else value}"
        )

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        given = [name for name in CONDITIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a criterion has one condition, and this one has {', '.join(given) or 'none'}: give one of {', '.join(CONDITIONS)}"
            )
        return self


class Study(_Part):
    """The whole statement."""

    scope: Scope = Scope()
    data: DataRules = DataRules()
    cohort: tuple[Criterion, ...] = ()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        for one in self.cohort:
            for other in self.cohort:
                same = one.column == other.column
                if (
                    same
                    and one.at_least is not None
                    and other.at_most is not None
                    and one.at_least > other.at_most
                ):
                    message = f"at_least = {one.at_least:g} and at_most = {other.at_most:g} of {one.column!r}"
                    raise ValueError(f"{message} leave nobody in the cohort: change one of them")
        return self


def read_study(path: Path | None, **scope: Any) -> Study:
    """Read the statement of the problem; what is given beside the file wins over its ``[scope]``.

    Raises:
        StudyError: it cannot be read, has a field that there is not, or contradicts itself.
    """
    document = {} if path is None else read_document(path, "the study", SCHEMA, StudyError)
    given = {name: value for name, value in scope.items() if value is not None}
    if given and isinstance(document.get("scope", {}), dict):
        document["scope"] = {**document.get("scope", {}), **given}
    try:
        return Study.model_validate(document)
    except ValidationError as problem:
        raise StudyError(f"the study{'' if path is None else f' {path}'}: {_in_words(problem)}") from None


def _in_words(problem: ValidationError) -> str:
    """Return the first mistake: the field, the value, and what would do."""
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{where} is no field of it. Take it out, or see whether it is misspelled"
    if first["type"] == "value_error":
        return f"{where}{': ' if where else ''}{first['ctx']['error']}"
    said = first["msg"]
    return f"{where} = {first['input']!r}: {said[:1].lower()}{said[1:]}"
