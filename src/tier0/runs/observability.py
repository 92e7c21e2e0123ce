"""Step 8, observability: tags, metrics and artifacts for the MLflow run, and a trace of the pipeline run in Opik."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tier0.client.opik_tracer import OpikTracer, opik_is_configured
from tier0.core.errors import Tier0Error
from tier0.core.verdict import conclude
from tier0.runs.context import STATUSES, STEPS, RunContext, StepResult
from tier0.runs.run_trace import RunTrace, StepSpan

OPIK_WITHIN = 10.0
"""Seconds for which the last step waits until Opik has its trace."""


def observability(work: RunContext) -> StepResult:
    """Step 8: the MLflow run of the training gets what came of its model."""
    from tier0.pipeline.tracking import Tracking  # noqa: PLC0415

    if work.trained is None:
        raise Tier0Error("observability needs a trained model, which is not there")
    verdict = conclude((), [STATUSES[found.status] for found in work.found.values()]).verdict
    tags = {
        "tier0.run": work.folder.name,
        "tier0.problem": work.study.scope.problem,
        "tier0.verdict": verdict,
    }
    numbers: dict[str, float] = {}
    artifacts = [path for path in (work.folder / "manifest.json", work.folder / "report.md") if path.exists()]
    if work.manifest is not None:
        tags["tier0.may_go"] = str(work.manifest["may_go"]).lower()
    served = (work.manifest or {}).get("served") or {}
    if served.get("status") == "serving":
        tags |= {"tier0.model_tag": served["model_tag"], "tier0.endpoint": served["endpoint"]}
        numbers |= {
            "latency_ms_p50": served["latency_ms"]["p50"],
            "latency_ms_max": served["latency_ms"]["max"],
        }
    trained = work.trained
    tracking = Tracking(work.session.workspace.folder("m"), trained.tracking_uri)
    try:
        tracking.complete(trained.run_id, tags, numbers, artifacts)
    finally:
        tracking.close()
    facts = {"run_id": trained.run_id, "tracking_uri": trained.tracking_uri, "tags": tags, "metrics": numbers}
    added = [name.removeprefix("tier0.") for name, value in tags.items() if value] + [
        *numbers,
        *(path.name for path in artifacts),
    ]
    lines = [
        f"input: MLflow run {trained.run_id}, which has the model, its parameters and its metrics",
        f"added: {', '.join(added)}",
        f"means: what came of the model stands beside it, in {trained.tracking_uri}",
    ]
    if opik_is_configured():
        facts["opik"], told = _trace_in_opik(work, tags)
        lines.append(told)
    return StepResult.of(facts, lines)


def _trace_in_opik(work: RunContext, tags: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Send one trace of the run, with a span for each step, and say what came of that; Opik's state is no verdict on the model."""
    assert work.trained is not None  # noqa: S101 - the caller has looked
    try:
        tracer = OpikTracer()
    except (ModuleNotFoundError, RuntimeError) as problem:
        return {
            "status": "not sent",
            "why": str(problem),
        }, f"Opik is configured, and has no trace of this run: {problem}"
    spans = []
    for step in (one for one in STEPS if one in work.times):
        found = work.found.get(step, StepResult({}, ()))
        started, ended = work.times[step]
        ended = ended if step in work.found else time.time()
        spans.append(
            StepSpan(
                f"{STEPS.index(step) + 1} {step}",
                started,
                ended,
                {"lines": list(found.lines)},
                "; ".join(found.problems),
            )
        )
    metadata = {**tags, "tier0.mlflow_run": work.trained.run_id, **work.trained.training.metrics}
    trace = RunTrace(f"tier0 run {work.trained.training.dataset}", metadata, spans)
    tracer.record_raw(trace.as_message())
    sent = tracer.flush(OPIK_WITHIN)
    tracer.close()
    if not sent:
        return {
            "status": "not sent",
            "why": f"Opik did not answer within {OPIK_WITHIN:g} s",
        }, f"Opik did not take the trace within {OPIK_WITHIN:g} s"
    return {
        "status": "sent",
        "trace_id": trace.trace_id,
    }, f"Opik has the trace {trace.trace_id}, with a span for each of {len(spans)} steps"
