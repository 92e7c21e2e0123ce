"""The plan of a pipeline run: its settings, its study and its steps, checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error
from tier0.core.import_object import import_named
from tier0.core.settings import DATASETS, Settings, merge_settings, rows_for
from tier0.pipeline.study import Study, read_study
from tier0.runs.context import STEPS
from tier0.runs.session import TRAINS

KEPT_APART = {"study", "metric", "success", "imbalanced", "dask", "report"}
"""Settings that are not among a plan's options: a plan has attributes for them, or they do not affect it."""


class RunError(Tier0Error):
    """The run cannot begin, or go on; the message names what is wrong, and the remedy."""


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes:
        options: settings as they were given, by option or environment, as text, under their names; files by their whole path.
        study: what is asked.
        steps: in their order.
        imbalanced: share of the rarest class; None leaves it as it is.
        serve: whether step 7 registers, serves and verifies the model.
    """

    options: Mapping[str, str]
    study: Study
    steps: tuple[str, ...] = STEPS
    imbalanced: float | None = None
    serve: bool = False

    def settings(self) -> Settings:
        """Return what was asked for.

        Raises:
            SettingsError: a value cannot be used.
        """
        return merge_settings(self.options, {}, command="run")


def plan_of(
    options: Mapping[str, str | None],
    study: Path | None,
    scope: Mapping[str, Any],
    steps: str,
    imbalanced: float | None,
    *,
    serve: bool,
) -> Plan:
    """Return the plan of a new run, when every part of it can be used.

    Raises:
        RunError: a part cannot.
        StudyError: the statement of the problem cannot.
        SettingsError: a setting cannot.
    """
    if imbalanced is not None and not 0 < imbalanced < 0.5:
        raise RunError(
            f"imbalanced = {imbalanced:g} is no share of a rarer class: give more than 0 and less than 0.5, such as 0.1"
        )
    asked = read_study(study, **scope)
    plan = Plan(_settled(options, asked.scope.target), asked, steps_of(steps), imbalanced, serve)
    own = plan.settings().pipeline
    if own is not None and imbalanced is not None:
        raise RunError(
            "imbalanced changes the rows that are trained on, and --pipeline brings its own model: leave one of the two out"
        )
    if own is not None and not callable(import_named("pipeline", own, TRAINS)):
        raise RunError(f"pipeline = {own!r} is no function: give one, {TRAINS}")
    if serve and "deployment" not in plan.steps:
        raise RunError(
            "--include-bentoml is about step 7 (deployment), which was not asked for: add it to --step"
        )
    return plan


def _settled(options: Mapping[str, str | None], target: str | None) -> dict[str, str]:
    """Return what the options, today's environment and the study's target say, so that a run means the same when it goes on from elsewhere."""
    given = {
        row.name: value
        for row in rows_for("run")
        if row.name not in KEPT_APART
        and (value := _first_of(options.get(row.name), os.environ.get(row.variable)))
    }
    if target is not None and "target" not in given and given.get("dataset", DATASETS[0]) not in DATASETS:
        options, given["target"] = {**options, "target": target}, target
    settings = merge_settings(options, os.environ, command="run")
    for variable in ("TIER0_URL", "TIER0_SERVICE"):
        if address := os.environ.get(variable):
            raise RunError(
                f"environment variable {variable} names a service of your own ({address!r}), but `tier0 run` "
                "trains a model: use `tier0 verify`, or unset the variable"
            )
    if settings.target not in {None, target} and target is not None:
        raise RunError(
            f"the study's target is {target!r}, and {settings.sources['target']} says {settings.target!r}: leave one of the two out"
        )
    if settings.dataset not in DATASETS:
        given["dataset"] = settings.dataset
    if settings.store is not None:
        given["store"] = str(settings.store)
    return given


def _first_of(*values: str | None) -> str | None:
    return next((value for value in values if value is not None), None)


def steps_of(text: str) -> tuple[str, ...]:
    """Read which steps: ``4,5,7``, ``4-8``, or their names; in the order of the pipeline.

    Raises:
        RunError: there is no such step.
    """
    chosen: set[str] = set()
    for part in filter(None, (one.strip() for one in text.split(","))):
        first, dash, last = part.partition("-")
        bounds = [_number_of(one, text) for one in ((first, last) if dash else (part, part))]
        chosen |= set(STEPS[bounds[0] - 1 : bounds[1]])
        if bounds[0] > bounds[1]:
            raise RunError(f"step = {text!r} goes backwards: write the smaller one first")
    if not chosen:
        raise RunError(
            f"step = {text!r} names no step: give numbers or names, such as 4,5,7 or 4-8. There are {_all_steps()}"
        )
    return tuple(step for step in STEPS if step in chosen)


def _number_of(name: str, text: str) -> int:
    name = name.strip()
    if name in STEPS:
        return STEPS.index(name) + 1
    if not name.isdecimal() or not 1 <= int(name) <= len(STEPS):
        raise RunError(f"step = {text!r} has {name!r}: there are {_all_steps()}")
    return int(name)


def _all_steps() -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(STEPS, 1))


def built_on(step: str) -> tuple[str, ...]:
    """Return the steps whose outcome stands no more when *step* is done again."""
    if step in {"features", "deployment"}:
        return ("observability",)
    return () if step == "scope" else STEPS[STEPS.index(step) + 1 :]
