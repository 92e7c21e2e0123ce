"""The plan of a pipeline run: its settings, its study and its steps, validated before any work is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error
from tier0.core.import_object import import_named
from tier0.core.settings import DATASETS, REPORT_FILES, Settings, merge_settings, rows_for, text_of_variable
from tier0.pipeline.study import OPTIONS, Study, read_study
from tier0.runs.context import STEPS
from tier0.runs.session import TRAINS

KEPT_APART = {*OPTIONS, "study", "dask", "history", *REPORT_FILES}
"""Settings that are not among a plan's options: a plan has attributes for them, or they do not affect it."""


class RunError(Tier0Error):
    """A run that cannot start or be resumed; the message names the reason and the remedy."""


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Attributes:
        options: given settings as text, by name; paths are absolute.
        study: statement of the problem.
        steps: steps to run, in order.
        serve: whether step 7 registers, serves and verifies the model.
    """

    options: Mapping[str, str]
    study: Study
    steps: tuple[str, ...] = STEPS
    serve: bool = False

    def settings(self) -> Settings:
        """Return the settings of the run.

        Raises:
            SettingsError: a value is invalid.
        """
        return merge_settings(self.options, {}, command="run")


def make_plan(
    options: Mapping[str, str | None],
    study: Path | None,
    stated_options: Mapping[str, Any],
    steps: str,
    *,
    serve: bool,
) -> Plan:
    """Validate every part of a new run, and return its plan.

    Args:
        options: values of settings from the command line, by name; None for options that were not given.
        study: TOML file with the statement of the problem.
        stated_options: values of the settings that a study has, too, which take precedence over the file.
        steps: steps to run, see `parse_steps`.
        serve: whether step 7 registers, serves and verifies the model.

    Raises:
        RunError: the parts are invalid or contradict each other.
        StudyError: the study is invalid.
        SettingsError: a setting is invalid.
    """
    stated = read_study(study, **stated_options)
    plan = Plan(_fixed_options(options, stated.scope.target), stated, parse_steps(steps), serve)
    pipeline = plan.settings().pipeline
    if pipeline is not None and stated.scope.imbalanced is not None:
        raise RunError(
            "--imbalanced changes the rows to train on, but --pipeline brings its own model: omit one of them"
        )
    if (pipeline is not None or plan.settings().dataset in DATASETS) and (field := stated.data.reading):
        raise RunError(
            f"{field} in [data] is about the columns of a file, but this run reads none: remove it, or "
            "name a file with --dataset"
        )
    if pipeline is not None and not callable(import_named("pipeline", pipeline, TRAINS)):
        raise RunError(f"--pipeline {pipeline!r} is not callable: expected {TRAINS}")
    if pipeline is None:
        from tier0.pipeline.data import check_problem  # noqa: PLC0415 - imports NumPy

        check_problem(plan.settings(), stated)
    if serve and "deployment" not in plan.steps:
        raise RunError("--include-bentoml requires step 7 (deployment): add 7 to --step")
    return plan


def _fixed_options(options: Mapping[str, str | None], target: str | None) -> dict[str, str]:
    """Return all given settings, which a resumed run uses in place of those of its own environment.

    Args:
        options: values from the command line, by name.
        target: target column of the study.

    Raises:
        RunError: a setting contradicts the study, or names a service to check instead of a model to train.
        SettingsError: a setting is invalid.
    """
    given: dict[str, str] = {}
    for row in rows_for("run"):
        option = options.get(row.name)
        value = text_of_variable(row, os.environ) if option is None else option
        if value and row.name not in KEPT_APART:
            given[row.name] = value
    is_file = given.get("dataset", DATASETS[0]) not in DATASETS
    if target is not None and "target" not in given and is_file:
        options, given["target"] = {**options, "target": target}, target
    settings = merge_settings(options, os.environ, command="run")
    for variable in ("TIER0_URL", "TIER0_SERVICE"):
        if service := os.environ.get(variable):
            raise RunError(
                f"environment variable {variable} names a service to check ({service!r}), but this command "
                "trains a model: use `tier0 verify`, or unset the variable"
            )
    if target is not None and settings.target not in {None, target}:
        raise RunError(
            f"the study's target is {target!r}, but {settings.sources['target']} is {settings.target!r}: "
            "remove one of them"
        )
    if settings.dataset not in DATASETS:
        given["dataset"] = settings.dataset
    if settings.store is not None:
        given["store"] = str(settings.store)
    return given


def parse_steps(text: str) -> tuple[str, ...]:
    """Return the steps that *text* names, such as ``4,5,7``, ``4-8`` or names of steps, in pipeline order.

    Raises:
        RunError: *text* names no step, or an unknown one.
    """
    chosen: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        start = _parse_step(first, text)
        end = _parse_step(last, text) if dash else start
        if start > end:
            raise RunError(f"invalid --step {text!r}: the range {part!r} must begin with the smaller number")
        chosen |= set(STEPS[start - 1 : end])
    if not chosen:
        raise RunError(
            f"invalid --step {text!r}: expected numbers or names, such as 4,5,7 or 4-8. "
            f"The steps are {_list_steps()}"
        )
    return tuple(step for step in STEPS if step in chosen)


def _parse_step(name: str, text: str) -> int:
    """Return the number of the step *name*, which is a part of *text*."""
    name = name.strip()
    if name in STEPS:
        return STEPS.index(name) + 1
    if not name.isdecimal() or not 1 <= int(name) <= len(STEPS):
        raise RunError(f"unknown step {name!r} in --step {text!r}. The steps are {_list_steps()}")
    return int(name)


def _list_steps() -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(STEPS, 1))


def dependents_of(step: str) -> tuple[str, ...]:
    """Return the steps whose results are outdated when *step* runs again."""
    if step == "scope":
        return ()
    if step in {"features", "deployment"}:
        return ("observability",)
    return STEPS[STEPS.index(step) + 1 :]
