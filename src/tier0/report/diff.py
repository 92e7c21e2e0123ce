"""What changed between two reports, and whether anything became worse."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tier0.core.errors import Tier0Error
from tier0.core.verdict import SCHEMA, WORDS

RECORD_SCHEMA = 3
"""Of what `tier0 run` writes."""
LESS_IS_BETTER = {"brier", "mae", "rmse"}
SLOWDOWN = 1.5
"""Times as slow from which a latency is worse, and by at least `SLOWER_MS`: less is what a busy machine does."""
SLOWER_MS = 1.0
Kind = Literal["worse", "better", "changed"]
RANK = {"pass": 0, "fail": 1, "inconclusive": 1, "unfinished": 1}
OLDER_WORDS = {"error": "inconclusive"}
"""Verdicts of the schema before."""


class DiffError(Tier0Error):
    """Two reports cannot be compared; the message names the file, and the remedy."""


class Change(NamedTuple):
    """One difference.

    Attributes:
        kind: worse, better, or neither.
        what: what differs, such as ``metric auc_roc``.
        before: in the old report, in words.
        after: in the new one.
        note: what a reader should know beside that.
    """

    kind: Kind
    what: str
    before: str
    after: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.kind:>8}  {self.what}: {self.before} → {self.after}" + (
            f" ({self.note})" if self.note else ""
        )


@dataclass(frozen=True)
class Facts:
    """What can be compared of a report, whichever command wrote it.

    Attributes:
        kind: what can be compared with each other: checks of a service, of a client, or steps.
        verdict: ``pass``, ``fail`` or ``inconclusive``.
        checks: id to status.
        metrics: name to value and spread; the spread is None where it is not known.
        latencies: name to milliseconds.
        versions: package to version.
        model: algorithm, tag, data and the like, in words.
    """

    kind: str
    verdict: str
    checks: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    latencies: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)


def read_facts(path: Path) -> Facts:
    """Read a report of pytest (``--tier0-report``), or what `verify`, `check-client` or `run` wrote with ``--json``.

    Raises:
        DiffError: it is none of them.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DiffError(
            f"{path} cannot be read: {problem}. Give a report that --tier0-report or --json wrote"
        ) from problem
    if not isinstance(content, dict) or not ({"checks", "done"} & content.keys()):
        raise DiffError(
            f"{path} is no report of Tier0: it has neither checks nor steps. Give one that --tier0-report or --json wrote"
        )
    wanted, read = (RECORD_SCHEMA, _of_run) if "done" in content else (SCHEMA, _of_checks)
    if content.get("schema") not in {wanted - 1, wanted}:
        raise DiffError(
            f"{path} has schema {content.get('schema')!r}, but this version of Tier0 reads {wanted - 1} and {wanted}: make the report again"
        )
    try:
        return read(content)
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise DiffError(
            f"{path} is damaged: {type(problem).__name__} {problem}. Make the report again"
        ) from problem


def _of_checks(content: Mapping[str, Any]) -> Facts:
    card, latency, target = content.get("model") or {}, content.get("latency") or {}, content["target"]
    known = {
        "algorithm": card.get("algorithm"),
        "data": card.get("dataset"),
        "threshold": card.get("threshold"),
        "tag": target.get("model"),
    }
    return Facts(
        "checks of a client" if "client" in target else "checks of a service",
        _verdict_of(content),
        {str(check["id"]): str(check["status"]) for check in content["checks"]},
        {
            name: (float(metric["value"]), metric["spread"] and float(metric["spread"]))
            for name, metric in card.get("metrics", {}).items()
        },
        {name: float(latency[f"{name}_ms"]) for name in ("p50", "p95", "p99") if f"{name}_ms" in latency},
        (content.get("run") or {}).get("versions") or {},
        {name: str(value) for name, value in known.items() if value is not None},
    )


def _of_run(content: Mapping[str, Any]) -> Facts:
    trained, manifest = (
        content["done"].get(step, {}).get("facts", {}) for step in ("training", "deployment")
    )
    served = manifest.get("served") or {}
    known = {
        "algorithm": trained.get("algorithm"),
        "threshold": trained.get("threshold"),
        "tag": served.get("model_tag"),
    }
    spread = trained.get("spread", {})
    return Facts(
        "steps of a run",
        _verdict_of(content),
        {f"step {step}": "fail" if found["problems"] else "pass" for step, found in content["done"].items()},
        {
            name: (float(value), spread.get(name) and float(spread[name]))
            for name, value in trained.get("metrics", {}).items()
        },
        {name: float(value) for name, value in served.get("latency_ms", {}).items()},
        manifest.get("versions", {}),
        {name: str(value) for name, value in known.items() if value is not None},
    )


def _verdict_of(content: Mapping[str, Any]) -> str:
    verdict = str(content["verdict"])
    if OLDER_WORDS.get(verdict, verdict) not in RANK:
        raise ValueError(f"verdict {verdict!r}")
    return OLDER_WORDS.get(verdict, verdict)


def changes_between(old: Facts, new: Facts) -> list[Change]:
    """Return every difference, what became worse first.

    Raises:
        DiffError: they are of different kinds.
    """
    if old.kind != new.kind:
        raise DiffError(f"the first has {old.kind}, and the second {new.kind}: compare reports of one kind")
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
        yield Change(
            "worse" if step > 0 else "better" if step < 0 else "changed",
            "verdict",
            _word(old.verdict),
            _word(new.verdict),
        )


def _checks(old: Facts, new: Facts) -> Iterator[Change]:
    """Yield the checks with another status; one that passed and is not checked any more is worse: a failure would go unseen."""
    for check in {**old.checks, **new.checks}:
        before, after = old.checks.get(check, "not run"), new.checks.get(check, "not run")
        if before == after:
            continue
        kind: Kind = (
            "worse"
            if before == "pass" or after in {"fail", "error"}
            else "better"
            if after == "pass"
            else "changed"
        )
        yield Change(kind, check, _word(before), _word(after))


def _word(status: str) -> str:
    """Return what is printed for a status or a verdict; a run that is not finished, and a check that was not run, have none."""
    return WORDS.get(status, status)


def _metrics(old: Facts, new: Facts) -> Iterator[Change]:
    for name in {**old.metrics, **new.metrics}:
        if name not in old.metrics or name not in new.metrics:
            before, after = (
                f"{facts.metrics[name][0]:.4g}" if name in facts.metrics else "-" for facts in (old, new)
            )
            yield Change("changed", f"metric {name}", before, after)
            continue
        (before_value, before_spread), (after_value, after_spread) = old.metrics[name], new.metrics[name]
        if before_value == after_value or (math.isnan(before_value) and math.isnan(after_value)):
            continue
        gain = (after_value - before_value) * (-1 if name in LESS_IS_BETTER else 1)
        noise = math.hypot(before_spread or 0.0, after_spread or 0.0)
        is_other_data = old.model.get("data") != new.model.get("data")
        kind: Kind = "changed" if is_other_data or abs(gain) <= noise else "better" if gain > 0 else "worse"
        note = (
            "on other data"
            if is_other_data
            else f"within the spread of {noise:.2g} that other test rows would make"
            if kind == "changed"
            else ""
        )
        yield Change(kind, f"metric {name}", f"{before_value:.4g}", f"{after_value:.4g}", note)


def _latencies(old: Facts, new: Facts) -> Iterator[Change]:
    """Yield what takes longer or less; of the median only is it said that this is worse: the others are a busy machine's."""
    for name in (name for name in old.latencies if name in new.latencies):
        before, after = old.latencies[name], new.latencies[name]
        low, high = sorted((before, after))
        if high > low * SLOWDOWN and high - low > SLOWER_MS:
            kind: Kind = "changed" if name != "p50" else "worse" if after > before else "better"
            yield Change(
                kind, f"latency {name}", f"{before:.3g} ms", f"{after:.3g} ms", f"{high / low:.1f} times"
            )
