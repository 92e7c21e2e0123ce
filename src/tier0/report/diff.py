"""Differences between two reports, and whether any of them is a regression."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tier0.core.errors import Tier0Error
from tier0.core.fields import (
    InvalidFieldError,
    read_array,
    read_list,
    read_object,
    read_optional,
    read_text,
    shown,
)
from tier0.core.named_file import read_json
from tier0.core.verdict import SCHEMA, WORDS

RECORD_SCHEMA = 3
"""Schema of the record of `tier0 run`."""
LESS_IS_BETTER = {"brier", "mae", "rmse"}
SLOWDOWN = 1.5
"""Factor above which a latency has changed, if also by `SLOWER_MS`; less is the noise of a busy machine."""
SLOWER_MS = 1.0
Kind = Literal["worse", "better", "changed"]
RANK = {"pass": 0, "fail": 1, "inconclusive": 1, "unfinished": 1}
OLD_VERDICTS = {"error": "inconclusive"}
"""Verdicts of the previous schema, and their present names."""


class DiffError(Tier0Error):
    """Two reports cannot be compared; the message names the file and the remedy."""


class Change(NamedTuple):
    """A difference between two reports.

    Attributes:
        kind: ``worse``, ``better`` or ``changed``.
        what: name of the value that differs, such as ``metric auc_roc``.
        before: value in the old report, as text.
        after: value in the new report, as text.
        note: additional information; empty for none.
    """

    kind: Kind
    what: str
    before: str
    after: str
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.kind:>8}  {self.what}: {self.before} → {self.after}{note}"


@dataclass(frozen=True)
class Facts:
    """Comparable facts of a report of any command.

    Attributes:
        kind: kind of the report: checks of a service, checks of a client, or steps of a run.
        verdict: ``pass``, ``fail`` or ``inconclusive``.
        checks: statuses, by id of the check.
        metrics: values with their spread, by name; the spread is None if it is unknown.
        latencies: milliseconds, by percentile.
        versions: versions, by package.
        model: algorithm, tag, data and other facts about the model, as text.
    """

    kind: str
    verdict: str
    checks: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    latencies: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)


def read_facts(path: Path) -> Facts:
    """Read a report of pytest (``--tier0-report``), or of `verify`, `check-client` or `run` (``--json``).

    Raises:
        DiffError: the file cannot be read, or is not such a report.
    """
    remedy = "Pass a report that was written with --json or --tier0-report"
    try:
        content = read_json(path)
    except (OSError, ValueError) as problem:
        raise DiffError(f"cannot read the report {path}: {problem}. {remedy}") from problem
    if not isinstance(content, dict) or not ({"checks", "done"} & content.keys()):
        raise DiffError(f"{path} is not a report of Tier0: it has neither checks nor steps. {remedy}")
    expected, read = (RECORD_SCHEMA, _facts_of_run) if "done" in content else (SCHEMA, _facts_of_checks)
    schema = content.get("schema")
    if type(schema) is not int or schema not in {expected - 1, expected}:
        raise DiffError(
            f"{path} has schema {shown(schema)}, but this version of Tier0 reads {expected - 1} and "
            f"{expected}. Create the report again"
        )
    try:
        return read(content)
    except InvalidFieldError as problem:
        raise DiffError(f"{path} is damaged: {problem}. Create the report again") from problem


def _facts_of_checks(content: Mapping[str, Any]) -> Facts:
    card, latency = _object(content, "model"), _object(content, "latency")
    target, run = read_object(content.get("target"), "target"), _object(content, "run")
    known = {
        "algorithm": card.get("algorithm"),
        "data": card.get("dataset"),
        "threshold": card.get("threshold"),
        "tag": target.get("model"),
    }
    percentiles = {name: latency[f"{name}_ms"] for name in ("p50", "p95", "p99") if f"{name}_ms" in latency}
    return Facts(
        "checks of a client" if "client" in target else "checks of a service",
        _verdict_of(content),
        dict(read_list(content["checks"], "checks", _check)),
        {
            name: _metric(metric, f"model.metrics[{name!r}]")
            for name, metric in _object(card, "metrics", "model.").items()
        },
        {name: _measured(value, f"latency.{name}_ms") for name, value in percentiles.items()},
        _texts(_object(run, "versions", "run.")),
        _texts(known),
    )


def _check(value: Any, field: str) -> tuple[str, str]:
    check = read_object(value, field)
    return read_text(check.get("id"), f"{field}.id"), read_text(check.get("status"), f"{field}.status")


def _metric(value: Any, field: str) -> tuple[float, float | None]:
    metric = read_object(value, field)
    number = _measured(metric.get("value"), f"{field}.value")
    return number, read_optional(metric.get("spread"), f"{field}.spread", _measured)


def _facts_of_run(content: Mapping[str, Any]) -> Facts:
    done = read_object(content["done"], "done")
    steps = {step: read_object(found, f"done.{step}") for step, found in done.items()}
    trained, manifest = (
        _object(steps.get(step, {}), "facts", f"done.{step}.") for step in ("training", "deployment")
    )
    served = _object(manifest, "served", "done.deployment.facts.")
    known = {
        "algorithm": trained.get("algorithm"),
        "threshold": trained.get("threshold"),
        "tag": served.get("model_tag"),
    }
    place = "done.training.facts."
    metrics, spread = _object(trained, "metrics", place), _object(trained, "spread", place)
    return Facts(
        "steps of a run",
        _verdict_of(content),
        {
            f"step {step}": "fail" if read_array(found.get("problems"), f"done.{step}.problems") else "pass"
            for step, found in steps.items()
        },
        {
            name: (
                _measured(value, f"{place}metrics[{name!r}]"),
                read_optional(spread.get(name), f"{place}spread[{name!r}]", _measured),
            )
            for name, value in metrics.items()
        },
        {
            name: _measured(value, f"done.deployment.facts.served.latency_ms.{name}")
            for name, value in _object(served, "latency_ms", "done.deployment.facts.served.").items()
        },
        _texts(_object(manifest, "versions", "done.deployment.facts.")),
        _texts(known),
    )


def _object(content: Mapping[str, Any], name: str, place: str = "") -> dict[str, Any]:
    """Return the object *name* of an object whose own path is *place*; an empty one if there is none."""
    value = content.get(name)
    return {} if value is None else read_object(value, f"{place}{name}")


def _measured(value: Any, field: str) -> float:
    """Return a number, which may be NaN, or a number as text, as which libraries' own types are written."""
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise InvalidFieldError(field, "a number", value)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _verdict_of(content: Mapping[str, Any]) -> str:
    verdict = content.get("verdict")
    verdict = OLD_VERDICTS.get(verdict, verdict) if isinstance(verdict, str) else None
    if verdict not in RANK:
        raise InvalidFieldError("verdict", f"one of {', '.join(RANK)}", content.get("verdict"))
    return verdict


def changes_between(old: Facts, new: Facts) -> list[Change]:
    """Return all differences, regressions first.

    Raises:
        DiffError: the reports are of different kinds.
    """
    if old.kind != new.kind:
        raise DiffError(
            f"cannot compare {old.kind} with {new.kind}: both reports must be from the same command"
        )
    found = [*_verdicts(old, new), *_checks(old, new), *_metrics(old, new), *_latencies(old, new)]
    for what, before, after in (("model", old.model, new.model), ("version of", old.versions, new.versions)):
        names = {**before, **after}
        found += [
            Change("changed", f"{what} {name}", before.get(name, "-"), after.get(name, "-"))
            for name in names
            if before.get(name) != after.get(name)
        ]
    return sorted(found, key=lambda change: ("worse", "better", "changed").index(change.kind))


def _verdicts(old: Facts, new: Facts) -> Iterator[Change]:
    if old.verdict != new.verdict:
        step = RANK[new.verdict] - RANK[old.verdict]
        kind: Kind = "worse" if step > 0 else "better" if step < 0 else "changed"
        yield Change(kind, "verdict", _word(old.verdict), _word(new.verdict))


def _checks(old: Facts, new: Facts) -> Iterator[Change]:
    """Yield the checks with another status.

    A check that passed and is no longer run is a regression, since its failures would be missed.
    """
    for check in {**old.checks, **new.checks}:
        before, after = old.checks.get(check, "not run"), new.checks.get(check, "not run")
        if before == after:
            continue
        kind: Kind = "better" if after == "pass" else "changed"
        if before == "pass" or after in {"fail", "error"}:
            kind = "worse"
        yield Change(kind, check, _word(before), _word(after))


def _word(status: str) -> str:
    """Return the printed word for a status or a verdict; others, such as "not run", are printed unchanged."""
    return WORDS.get(status, status)


def _metrics(old: Facts, new: Facts) -> Iterator[Change]:
    for name in {**old.metrics, **new.metrics}:
        before, after = (
            f"{facts.metrics[name][0]:.4g}" if name in facts.metrics else "-" for facts in (old, new)
        )
        if name not in old.metrics or name not in new.metrics:
            yield Change("changed", f"metric {name}", before, after)
            continue
        (before_value, before_spread), (after_value, after_spread) = old.metrics[name], new.metrics[name]
        if before_value == after_value or (math.isnan(before_value) and math.isnan(after_value)):
            continue
        gain = (after_value - before_value) * (-1 if name in LESS_IS_BETTER else 1)
        noise = math.hypot(before_spread or 0.0, after_spread or 0.0)
        kind: Kind = "better" if gain > 0 else "worse"
        note = ""
        if old.model.get("data") != new.model.get("data"):
            kind, note = "changed", "on different data"
        elif abs(gain) <= noise:
            kind, note = "changed", f"within the sampling spread of {noise:.2g}"
        yield Change(kind, f"metric {name}", before, after, note)


def _latencies(old: Facts, new: Facts) -> Iterator[Change]:
    """Yield changed latencies; only the median counts as better or worse, since others vary with the load."""
    for name in (name for name in old.latencies if name in new.latencies):
        before, after = old.latencies[name], new.latencies[name]
        low, high = sorted((before, after))
        if high <= low * SLOWDOWN or high - low <= SLOWER_MS:
            continue
        kind: Kind = "worse" if after > before else "better"
        if name != "p50":
            kind = "changed"
        factor = f"{high / low:.1f}x {'slower' if after > before else 'faster'}" if low else ""
        yield Change(kind, f"latency {name}", f"{before:.3g} ms", f"{after:.3g} ms", factor)
