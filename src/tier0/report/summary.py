"""The summary of a run, as rows for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tier0.core.events import (
    BreakerMeasured,
    DeploymentVerified,
    HealthChecked,
    RegistrationDone,
    RunKept,
    SelectionDone,
    ServerStopped,
    TrainingDone,
    TrainingLogged,
)

if TYPE_CHECKING:
    from tier0.core.event_log import EventLog

Row = tuple[str, str]


def summary_rows(events: EventLog) -> list[Row]:
    """Return what the run found, as (name, value), in the order of the pipeline's own console; only what happened."""
    rows: list[Row] = []
    if selected := events.last(SelectionDone):
        rows += [("selected algorithm", selected.algorithm), ("selection score", f"{selected.score:.3f}")]
    if trained := events.last(TrainingDone):
        rows += [] if selected else [("algorithm", f"{trained.algorithm}, of your own training")]
        rows += [(name, f"{value:.3f}") for name, value in trained.metrics.items()]
    if logged := events.last(TrainingLogged):
        rows.append(("model uri", logged.model_uri))
    if registered := events.last(RegistrationDone):
        rows.append(("model tag", registered.tag))
    if verified := events.last(DeploymentVerified):
        rows += [
            ("endpoint", verified.url),
            ("golden rows", f"{verified.rows} of {verified.rows} to the last bit"),
        ]
        rows += [("predictions", f"{_short(verified.predictions)} …")] if verified.predictions else []
        rows += [("probabilities", f"{_short(verified.probabilities)} …")] if verified.probabilities else []
        rows.append(("latency", f"{verified.latency_ms:.1f} ms of inference for {verified.rows} rows"))
    if healthy := events.last(HealthChecked):
        rows.append(("health", healthy.status))
    if breaker := events.last(BreakerMeasured):
        rows.append(
            (
                "circuit breaker",
                f"{' → '.join(breaker.states)}, {breaker.reached} requests reached the dead server's port",
            )
        )
    if stopped := events.last(ServerStopped):
        rows.append(("stopped", f"in {stopped.seconds:.1f} s, no process and no port left"))
    if kept := events.last(RunKept):
        rows.append(("kept", kept.path))
    return rows


def as_lines(rows: list[Row]) -> list[str]:
    """Return the rows as aligned lines of text."""
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _short(values: list[Any]) -> str:
    def one(value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(one, value))}]"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    return ", ".join(map(one, values))
