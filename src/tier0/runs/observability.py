"""Step 8, observability: tags, metrics and artifacts for the MLflow run, and a trace in Opik."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tier0.client.opik_tracer import OpikTracer, opik_is_configured
from tier0.core.verdict import conclude
from tier0.runs.context import STATUSES, STEPS, RunContext, StepResult
from tier0.runs.run_trace import RunTrace, StepSpan

OPIK_TIMEOUT = 10.0
"""Seconds to wait until Opik has received the trace."""


def observability(context: RunContext) -> StepResult:
    """Run step 8: add the outcome of the run to the MLflow run of the training, and trace it in Opik."""
    from tier0.pipeline.tracking import Tracking  # noqa: PLC0415

    trained = context.require_trained("observability")
    tags, metrics = _tags(context), _metrics(context)
    files = (context.folder / name for name in ("manifest.json", "report.md"))
    artifacts = [path for path in files if path.exists()]
    tracking = Tracking(context.session.workspace.folder("m"), context.session.folder, trained.tracking_uri)
    try:
        tracking.complete(trained.run_id, tags, metrics, artifacts)
    finally:
        tracking.close()
    facts = {"run_id": trained.run_id, "tracking_uri": trained.tracking_uri, "tags": tags, "metrics": metrics}
    names = [name.removeprefix("tier0.") for name, value in tags.items() if value]
    added = [*names, *metrics, *(path.name for path in artifacts)]
    lines = [
        f"input: MLflow run {trained.run_id} with the model, its parameters and its metrics",
        f"added: {', '.join(added)}",
        f"result: the MLflow run in {trained.tracking_uri} has the outcome of this run",
    ]
    if opik_is_configured():
        facts["opik"], line = _trace_in_opik(context, tags)
        lines.append(line)
    return StepResult.from_findings(facts, lines)


def _tags(context: RunContext) -> dict[str, str]:
    verdict = conclude((), [STATUSES[result.status] for result in context.results.values()]).verdict
    tags = {
        "tier0.run": context.folder.name,
        "tier0.problem": context.study.scope.problem,
        "tier0.verdict": verdict,
    }
    if context.manifest is not None:
        tags["tier0.may_go"] = str(context.manifest["may_go"]).lower()
    if context.session.suspicions:
        tags["tier0.suspicions"] = "; ".join(context.session.suspicions)
    served = _served(context)
    if served is not None:
        tags |= {"tier0.model_tag": served["model_tag"], "tier0.endpoint": served["endpoint"]}
    return tags


def _metrics(context: RunContext) -> dict[str, float]:
    served = _served(context)
    if served is None:
        return {}
    latency = served["latency_ms"]
    return {"latency_ms_p50": latency["p50"], "latency_ms_max": latency["max"]}


def _served(context: RunContext) -> dict[str, Any] | None:
    """Return what the manifest has about the served model; None if no model was served."""
    served = (context.manifest or {}).get("served") or {}
    return served if served.get("status") == "serving" else None


def _trace_in_opik(context: RunContext, tags: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Send a trace of the run to Opik; return the facts and a line. A failure of Opik fails nothing else."""
    trained = context.require_trained("observability")
    try:
        tracer = OpikTracer()
    except (ModuleNotFoundError, RuntimeError) as problem:
        return _not_sent(str(problem))
    metadata = {**tags, "tier0.mlflow_run": trained.run_id, **trained.training.metrics}
    trace = RunTrace(f"tier0 run {trained.training.dataset}", metadata, _spans(context))
    tracer.record_raw(trace.as_message())
    is_sent = tracer.flush(OPIK_TIMEOUT)
    tracer.close()
    if not is_sent:
        return _not_sent(f"no response from Opik within {OPIK_TIMEOUT:g} s")
    line = f"Opik: trace {trace.trace_id} with {len(trace.steps)} spans, one for each step"
    return {"status": "sent", "trace_id": trace.trace_id}, line


def _not_sent(reason: str) -> tuple[dict[str, Any], str]:
    return {"status": "not sent", "why": reason}, f"Opik: the trace was not sent: {reason}"


def _spans(context: RunContext) -> list[StepSpan]:
    """Return one span for each step that was run, in order; the current step ends now."""
    spans = []
    for number, step in enumerate(STEPS, 1):
        if step not in context.times:
            continue
        result = context.results.get(step, StepResult({}, ()))
        started, ended = context.times[step]
        if step not in context.results:
            ended = time.time()
        metadata = {"lines": list(result.lines)}
        problems = [*result.suspicions, *result.problems]
        spans.append(StepSpan(f"{number} {step}", started, ended, metadata, "; ".join(problems)))
    return spans
