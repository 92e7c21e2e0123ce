"""The summary of a run, as rows for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tier0.core.events import EventLog

Row = tuple[str, str]


def summary_rows(events: EventLog) -> list[Row]:
    """Return what the run found, as (name, value), in the order of the pipeline's own console; only what happened."""
    rows: list[Row] = []
    if selected := events.last("selection.done"):
        rows += [("selected algorithm", selected["algorithm"]), ("selection score", f"{selected['score']:.3f}")]
    if trained := events.last("training.done"):
        rows += [] if selected else [("algorithm", f"{trained['algorithm']}, of your own training")]
        rows += [(name, f"{value:.3f}") for name, value in trained["metrics"].items()]
    if logged := events.last("training.logged"):
        rows.append(("model uri", logged["model_uri"]))
    if registered := events.last("registration.done"):
        rows.append(("model tag", registered["tag"]))
    if verified := events.last("deployment.verified"):
        rows += [
            ("endpoint", verified["url"]),
            ("golden rows", f"{verified['rows']} of {verified['rows']} to the last bit"),
            *((part, f"{_short(verified[part])} …") for part in ("predictions", "probabilities") if verified[part]),
            ("latency", f"{verified['latency_ms']:.1f} ms of inference for {verified['rows']} rows"),
        ]
    if healthy := events.last("health.checked"):
        rows.append(("health", healthy["status"]))
    if breaker := events.last("breaker.measured"):
        rows.append(("circuit breaker", f"{' → '.join(breaker['states'])}, {breaker['reached']} requests reached the dead server's port"))
    if stopped := events.last("server.stopped"):
        rows.append(("stopped", f"in {stopped['seconds']:.1f} s, no process and no port left"))
    if kept := events.last("run.kept"):
        rows.append(("kept", kept["path"]))
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
