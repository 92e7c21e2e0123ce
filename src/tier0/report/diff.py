"""Differences between two reports, and whether any of them is a regression."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tier0.core.comparison_catalogue import FLIPS, SCORES
from tier0.core.comparison_catalogue import LATENCY as COMPARED_LATENCY
from tier0.core.errors import Tier0Error, reason_of
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
FLIPPED, DIFFERING = "flipped decisions", "differing numbers"
"""Metrics of a comparison: shares of the rows."""
LESS_IS_BETTER = {"brier", "log_loss", "mae", "rmse", FLIPPED, DIFFERING}
SLOWDOWN = 1.5
"""Factor above which a latency has changed, if also by `SLOWER_MS`; less is the noise of a busy machine."""
SLOWER_MS = 1.0
Kind = Literal["worse", "better", "changed"]
RANK = {"pass": 0, "fail": 1, "inconclusive": 1, "unfinished": 1}
OLD_VERDICTS = {"error": "inconclusive"}
"""Verdicts of the previous schema, and their present names."""
LATENCY = "performance.latency"
MAX_NAMED = 6
"""Number of checks that are named one by one."""
NOT_RUN = "not run"
"""Status of a check or a step that a run was asked for, but did not reach."""
DECISIVE = {"fail": {"fail"}, "inconclusive": {"error", "not_judged"}, "unfinished": {NOT_RUN}}
"""By verdict, the statuses of checks that can be its reason."""


class DiffError(Tier0Error):
    """Two reports cannot be compared; the message names the file and the remedy."""


class Change(NamedTuple):
    """A difference between two reports.

    Attributes:
        kind: ``worse``, ``better`` or ``changed``.
        what: name of the value that differs, such as ``metric auc_roc``.
        before: value in the old report, as text; empty if only the new report has it.
        after: value in the new report, as text; empty if only the old report has it.
        note: additional information; empty for none.
    """

    kind: Kind
    what: str
    before: str
    after: str
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        values = " → ".join(filter(None, [self.before, self.after]))
        return f"{self.kind:>8}  {self.what}: {values}{note}"


@dataclass(frozen=True)
class Facts:
    """Comparable facts of a report of any command.

    Attributes:
        kind: kind of the report: checks of a service, checks of a client, a comparison, or steps of a run.
        verdict: ``pass``, ``fail`` or ``inconclusive``.
        checks: statuses of the checks that the run was asked for, by id.
        metrics: values with their spread, by name; the spread is None if it is unknown.
        latencies: milliseconds, by percentile.
        versions: versions, by package.
        model: algorithm, tag, data and other facts about the model, as text.
        is_cut_short: whether the run ended early, so that it may have been asked for more checks.
    """

    kind: str
    verdict: str
    checks: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    latencies: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)
    is_cut_short: bool = False

    def status_of(self, check: str) -> str | None:
        """Return the status of a check; None if the run was not asked for it."""
        return self.checks.get(check, NOT_RUN if self.is_cut_short else None)


def read_facts(path: Path) -> Facts:
    """Read a report of pytest (``--tier0-report``), or of a command with ``--json``.

    Raises:
        DiffError: the file cannot be read, or is not such a report.
    """
    remedy = "Pass a report that was written with --json or --tier0-report"
    try:
        content = read_json(path)
    except (OSError, ValueError) as problem:
        raise DiffError(f"cannot read the report {path}: {reason_of(problem)}. {remedy}") from problem
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


def facts_of(content: Mapping[str, Any]) -> Facts:
    """Return the facts of a report of this version, of any command.

    Raises:
        InvalidFieldError: it is not a report.
    """
    return (_facts_of_run if "done" in content else _facts_of_checks)(content)


def _facts_of_checks(content: Mapping[str, Any]) -> Facts:
    card, latency = _object(content, "model"), _latency_in(content)
    target, run = read_object(content.get("target"), "target"), _object(content, "run")
    if "old" in target:
        return _facts_of_comparison(content, target, run)
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
        {name: read_measured(value, f"latency.{name}_ms") for name, value in percentiles.items()},
        _texts(_object(run, "versions", "run.")),
        _texts(known),
        is_cut_short=bool(content.get("cut_short")),
    )


def _facts_of_comparison(
    content: Mapping[str, Any], target: Mapping[str, Any], run: Mapping[str, Any]
) -> Facts:
    evidence = {
        read_text(check.get("id"), "id"): _object(check, "evidence", f"checks[{number}].")
        for number, check in enumerate(read_list(content.get("checks"), "checks", read_object))
    }
    shares: dict[str, tuple[float, float | None]] = {}
    for name, id_ in ((FLIPPED, FLIPS), (DIFFERING, SCORES)):
        found = evidence.get(id_, {})
        if found.get("rows"):
            differing, rows = (read_measured(found.get(key), f"{id_}.{key}") for key in ("differing", "rows"))
            shares[name] = (differing / rows, None)
    median = evidence.get(COMPARED_LATENCY, {}).get("new_median_seconds")
    return Facts(
        "comparison of two sides",
        _verdict_of(content),
        dict(read_list(content["checks"], "checks", _check)),
        shares,
        {} if median is None else {"p50": 1000 * read_measured(median, "new_median_seconds")},
        _texts(_object(run, "versions", "run.")),
        _texts({"of the old side": target["old"], "of the new side": target.get("new")}),
        is_cut_short=bool(content.get("cut_short")),
    )


def _latency_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the latencies of a report; without charts, they are only in the evidence of the check."""
    if content.get("latency") is not None:
        return _object(content, "latency")
    for number, check in enumerate(read_list(content.get("checks"), "checks", read_object)):
        if check.get("id") == LATENCY:
            return _object(check, "evidence", f"checks[{number}].")
    return {}


def _check(value: Any, field: str) -> tuple[str, str]:
    check = read_object(value, field)
    return read_text(check.get("id"), f"{field}.id"), read_text(check.get("status"), f"{field}.status")


def _metric(value: Any, field: str) -> tuple[float, float | None]:
    metric = read_object(value, field)
    number = read_measured(metric.get("value"), f"{field}.value")
    return number, read_optional(metric.get("spread"), f"{field}.spread", read_measured)


def _facts_of_run(content: Mapping[str, Any]) -> Facts:
    done = read_object(content["done"], "done")
    steps = {step: read_object(found, f"done.{step}") for step, found in done.items()}
    planned = read_list(content.get("steps", []), "steps", read_text)
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
            f"step {step}": _status_of_step(steps.get(step), step)
            for step in dict.fromkeys([*steps, *planned])
        },
        {
            name: (
                read_measured(value, f"{place}metrics[{name!r}]"),
                read_optional(spread.get(name), f"{place}spread[{name!r}]", read_measured),
            )
            for name, value in metrics.items()
        },
        {
            name: read_measured(value, f"done.deployment.facts.served.latency_ms.{name}")
            for name, value in _object(served, "latency_ms", "done.deployment.facts.served.").items()
        },
        _texts(_object(manifest, "versions", "done.deployment.facts.")),
        _texts(known),
    )


def _status_of_step(found: Mapping[str, Any] | None, step: str) -> str:
    if found is None:
        return NOT_RUN
    return "fail" if read_array(found.get("problems"), f"done.{step}.problems") else "pass"


def _object(content: Mapping[str, Any], name: str, place: str = "") -> dict[str, Any]:
    """Return the object *name* of an object whose own path is *place*; an empty one if there is none."""
    value = content.get(name)
    return {} if value is None else read_object(value, f"{place}{name}")


def read_measured(value: Any, field: str) -> float:
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

    Only checks that both runs were asked for are compared. Those of one run are named, and not regressions.

    Raises:
        DiffError: the reports are of different kinds, or have nothing in common.
    """
    if old.kind != new.kind:
        raise DiffError(
            f"cannot compare {old.kind} with {new.kind}: both reports must be from the same command"
        )
    checks, only = list(_checks(old, new)), list(_asked_by_one(old, new))
    _require_something_in_common(old, new, only)
    found = [*_verdicts(old, new, checks), *checks, *only, *_metrics(old, new), *_latencies(old, new)]
    for what, before, after in (("model", old.model, new.model), ("version of", old.versions, new.versions)):
        names = {**before, **after}
        found += [
            Change("changed", f"{what} {name}", before.get(name, "-"), after.get(name, "-"))
            for name in names
            if before.get(name) != after.get(name)
        ]
    return sorted(found, key=lambda change: ("worse", "better", "changed").index(change.kind))


def _require_something_in_common(old: Facts, new: Facts, only: Sequence[Change]) -> None:
    """Check that "nothing is worse" would be a statement about something.

    Raises:
        DiffError: both runs had checks, but none that the other had, and no measurement.
    """
    pairs = ((old.checks, new.checks), (old.metrics, new.metrics), (old.latencies, new.latencies))
    if old.checks and new.checks and not any(before.keys() & after.keys() for before, after in pairs):
        listed = "; ".join(f"{change.what}: {change.before or change.after}" for change in only)
        raise DiffError(
            f"the reports have nothing in common that could be compared ({listed}). "
            "Compare reports of the same groups of checks, or of the same steps"
        )


def _verdicts(old: Facts, new: Facts, checks: Sequence[Change]) -> Iterator[Change]:
    """Yield another verdict; if a check that only one run was asked for decided it, it is not worse."""
    if old.verdict == new.verdict:
        return
    step = RANK[new.verdict] - RANK[old.verdict]
    kind: Kind = "worse" if step > 0 else "better" if step < 0 else "changed"
    one, other = (new, old) if step > 0 else (old, new)
    is_explained = any(change.kind == kind for change in checks)
    decisive = [
        check
        for check, status in one.checks.items()
        if status in DECISIVE.get(one.verdict, ()) and other.status_of(check) is None
    ]
    note = ""
    if decisive and not is_explained:
        kind, note = "changed", f"only one of the runs was asked for {_names(decisive)}"
    yield Change(kind, "verdict", _word(old.verdict), _word(new.verdict), note)


def _checks(old: Facts, new: Facts) -> Iterator[Change]:
    """Yield the checks with another status, of those that both runs were asked for.

    A check that passed and was not run any more is a regression, since its failures would be missed.
    """
    for check in {**old.checks, **new.checks}:
        before, after = old.status_of(check), new.status_of(check)
        if before is None or after is None or before == after:
            continue
        kind: Kind = "better" if after == "pass" else "changed"
        if before == "pass" or after in {"fail", "error"}:
            kind = "worse"
        yield Change(kind, check, _word(before), _word(after))


def _asked_by_one(old: Facts, new: Facts) -> Iterator[Change]:
    """Yield what only one of the runs was asked for."""
    only_old = [check for check in old.checks if new.status_of(check) is None]
    only_new = [check for check in new.checks if old.status_of(check) is None]
    if only_old:
        yield Change("changed", "only in the old report", _names(only_old), "", "not compared")
    if only_new:
        wrong = [check for check in only_new if new.checks[check] in {"fail", "error"}]
        listed = f"; failed or errored: {_names(wrong)}" if wrong else ""
        yield Change("changed", "only in the new report", "", _names(only_new), f"not compared{listed}")


def _names(checks: Sequence[str]) -> str:
    """Return the ids of checks, or their groups with the number of checks in each if there are many."""
    if len(checks) <= MAX_NAMED:
        return ", ".join(checks)
    groups = Counter(check.partition(".")[0] for check in checks)
    return ", ".join(f"{group} ({count} check{'s' if count > 1 else ''})" for group, count in groups.items())


def _word(status: str) -> str:
    """Return the printed word for a status or a verdict; others, such as "not run", are printed unchanged."""
    return WORDS.get(status, status)


def _metrics(old: Facts, new: Facts) -> Iterator[Change]:
    for name in {**old.metrics, **new.metrics}:
        if name in old.metrics and name in new.metrics:
            yield from metric_change(name, old, new)
        else:
            before, after = (_metric_as_text(name, facts) for facts in (old, new))
            yield Change("changed", f"metric {name}", before, after)


def _metric_as_text(name: str, facts: Facts) -> str:
    return f"{facts.metrics[name][0]:.4g}" if name in facts.metrics else "-"


def metric_change(name: str, old: Facts, new: Facts) -> Iterator[Change]:
    """Yield the change of a metric that both reports have: worse or better only beyond its spread."""
    (before, before_spread), (after, after_spread) = old.metrics[name], new.metrics[name]
    if before == after or (math.isnan(before) and math.isnan(after)):
        return
    gain = (after - before) * (-1 if name in LESS_IS_BETTER else 1)
    noise = math.hypot(before_spread or 0.0, after_spread or 0.0)
    kind: Kind = "better" if gain > 0 else "worse"
    note = ""
    if old.model.get("data") != new.model.get("data"):
        kind, note = "changed", "on different data"
    elif abs(gain) <= noise:
        kind, note = "changed", f"within the sampling spread of {noise:.2g}"
    yield Change(kind, f"metric {name}", _metric_as_text(name, old), _metric_as_text(name, new), note)


def _latencies(old: Facts, new: Facts) -> Iterator[Change]:
    for name in (name for name in old.latencies if name in new.latencies):
        yield from latency_change(name, old, new)


def latency_change(name: str, old: Facts, new: Facts) -> Iterator[Change]:
    """Yield a changed latency; only the median counts as better or worse, since others vary with the load."""
    before, after = old.latencies[name], new.latencies[name]
    low, high = sorted((before, after))
    if high <= low * SLOWDOWN or high - low <= SLOWER_MS:
        return
    kind: Kind = "worse" if after > before else "better"
    if name != "p50":
        kind = "changed"
    factor = f"{high / low:.1f}x {'slower' if after > before else 'faster'}" if low else ""
    yield Change(kind, f"latency {name}", f"{before:.3g} ms", f"{after:.3g} ms", factor)
