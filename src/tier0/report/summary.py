"""The summary of a run for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tier0.core.events import (
    BreakerMeasured,
    DataNoted,
    DeploymentVerified,
    HealthChecked,
    LeakSuspected,
    RegistrationDone,
    RunKept,
    SelectionDone,
    ServerStopped,
    TrackingNoted,
    TrainingDone,
    TrainingLogged,
)

if TYPE_CHECKING:
    from tier0.core.event_log import EventLog

Row = tuple[str, str]


def summary_rows(events: EventLog) -> list[Row]:
    """Return the results of a run as (name, value), in the order of the pipeline's steps."""
    rows: list[Row] = [("note", noted.note) for noted in events.with_type(DataNoted)]
    rows += [("suspicion", f"{leak.column!r}: {leak.reason}") for leak in events.with_type(LeakSuspected)]
    if selected := events.last(SelectionDone):
        rows += [("selected algorithm", selected.algorithm), ("selection score", f"{selected.score:.3f}")]
    if trained := events.last(TrainingDone):
        rows += [] if selected else [("algorithm", f"{trained.algorithm}, from your training function")]
        rows += [(name, f"{value:.3f}") for name, value in trained.metrics.items()]
    rows += _tracking_rows(events)
    if registered := events.last(RegistrationDone):
        rows.append(("model tag", registered.tag))
    if verified := events.last(DeploymentVerified):
        identical = f"{verified.rows} of {verified.rows} examples identical to the last bit"
        rows += [("endpoint", verified.url), ("golden rows", identical)]
        rows += [("predictions", f"{_short(verified.predictions)} …")] if verified.predictions else []
        rows += [("probabilities", f"{_short(verified.probabilities)} …")] if verified.probabilities else []
        rows.append(("latency", f"{verified.latency_ms:.1f} ms inference time for {verified.rows} rows"))
    if healthy := events.last(HealthChecked):
        rows.append(("health", healthy.status))
    if breaker := events.last(BreakerMeasured):
        reached = f"{breaker.reached} request{'s' if breaker.reached != 1 else ''} reached the stopped server"
        rows.append(("circuit breaker", f"{' → '.join(breaker.states)}; {reached}"))
    if stopped := events.last(ServerStopped):
        rows.append(("stopped", f"in {stopped.seconds:.1f} s; all processes ended, port released"))
    if kept := events.last(RunKept):
        rows.append(("kept", kept.path))
    return rows


def as_lines(rows: list[Row]) -> list[str]:
    """Return the rows as aligned lines of text."""
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _tracking_rows(events: EventLog) -> list[Row]:
    rows: list[Row] = []
    if logged := events.last(TrainingLogged):
        address = "none: MLflow's store was deleted with the run; set MLFLOW_TRACKING_URI to keep the model"
        if logged.is_kept:
            address = f"{logged.model_uri} in {logged.tracking_uri}"
        rows.append(("model uri", address))
    if noted := events.last(TrackingNoted):
        rows += [("MLflow", note) for note in noted.notes]
    return rows


def _short(values: list[Any]) -> str:
    def short(value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(short, value))}]"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    return ", ".join(map(short, values))
