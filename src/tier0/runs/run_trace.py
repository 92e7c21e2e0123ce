"""The trace of a pipeline run in Opik: one span for each step."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tier0.client.tracing import new_trace_id


@dataclass(frozen=True)
class StepSpan:
    """One step of a run.

    Attributes:
        name: number and name of the step.
        started: POSIX time in seconds.
        ended: POSIX time in seconds.
        metadata: JSON values; no input values.
        problem: why the step failed; empty if it passed.
    """

    name: str
    started: float
    ended: float
    metadata: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class RunTrace:
    """A run and its steps.

    Attributes:
        name: name of the trace.
        metadata: JSON values; no input values.
        steps: at least one, in order.
        trace_id: 32 hexadecimal digits.
    """

    name: str
    metadata: Mapping[str, Any]
    steps: Sequence[StepSpan]
    trace_id: str = field(default_factory=new_trace_id)

    def as_message(self) -> dict[str, Any]:
        """Return the trace in the form that `OpikTracer.record_raw` sends."""
        trace_id = str(uuid.UUID(self.trace_id))
        spans = [
            {
                "trace_id": trace_id,
                "id": str(uuid.UUID(new_trace_id())),
                "name": step.name,
                "start_time": step.started,
                "end_time": step.ended,
                "metadata": dict(step.metadata),
                "error_info": _error_info(step.problem),
            }
            for step in self.steps
        ]
        trace = {
            "id": trace_id,
            "name": self.name,
            "start_time": min(step.started for step in self.steps),
            "end_time": max(step.ended for step in self.steps),
            "metadata": dict(self.metadata),
            "error_info": next((span["error_info"] for span in spans if span["error_info"]), None),
        }
        return {"trace": trace, "spans": spans}


def _error_info(problem: str) -> dict[str, str] | None:
    return {"exception_type": "Failed", "message": problem, "traceback": ""} if problem else None
