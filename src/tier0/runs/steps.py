"""The steps of a pipeline run: each reads and extends the context, and returns its facts and sentences."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tier0.core.errors import Tier0Error
from tier0.core.events import TrackingNoted
from tier0.core.provenance import commit, versions
from tier0.core.verdict import count_in_words
from tier0.golden.prediction import estimator_of
from tier0.pipeline.study import METRICS, Scope
from tier0.runs.context import RESULT, RunContext, StepResult
from tier0.runs.observability import observability

if TYPE_CHECKING:
    from tier0.client import BentoMLClient
    from tier0.pipeline.data import Dataset
    from tier0.pipeline.leaks import Leak
    from tier0.runs.deployment import OwnDeployment

MAX_SHOWN = 5
SINGLE_ROW_REQUESTS = 20
"""Number of requests for one row, from which the latency is computed."""


SUSPECTED = "not accepted, since columns may give the target away (see step 2)"


def scope(context: RunContext) -> StepResult:
    """Run step 1: the statement of the problem, which was validated when the plan was made."""
    stated, settings = context.study.scope, context.session.settings
    target = settings.target or stated.target
    rows = f"rows that {settings.pipeline} holds out" if settings.pipeline else settings.dataset
    if target:
        rows += f", target {target}"
    if stated.imbalanced is not None:
        rows += f", with the rarest class reduced to {stated.imbalanced:g} of the rows"
    criterion = _criterion(stated)
    if criterion is None:
        consequence = "no success criterion: any model that beats the baseline is accepted"
    else:
        consequence = f"models with {criterion} are accepted"
    lines = [
        f"input: {rows}",
        f"problem: {stated.problem or 'not stated'}",
        f"population: {stated.population or 'not stated'}",
        f"success: {criterion or 'no criterion'}; required: {_required(stated)}",
        "checked: metric, success, minimum sizes, rules and criteria are valid and consistent",
        f"result: {consequence}",
    ]
    return StepResult.from_findings(stated.model_dump(), lines)


def _required(stated: Scope) -> str:
    """Return the sizes that the study requires, in words."""
    rows, of_each_class = stated.minimum_rows, stated.minimum_of_each_class
    required = "as many rows as can be split" if rows is None else f"at least {rows} rows"
    return required if of_each_class is None else f"{required}, and {of_each_class} of each class"


def _criterion(stated: Scope) -> str | None:
    """Return the success criterion in words; None if the study has none."""
    if stated.success is None or stated.metric is None:
        return None
    bound = "at least" if METRICS[stated.metric][1] == "most" else "at most"
    return f"{stated.metric} of {bound} {stated.success:g}"


def data(context: RunContext) -> StepResult:
    """Run step 2: the quality of the data."""
    from tier0.pipeline.leaks import find_leaks  # noqa: PLC0415
    from tier0.pipeline.profile import lines_of  # noqa: PLC0415
    from tier0.pipeline.quality import assess  # noqa: PLC0415

    dataset, rules = context.all_rows(), context.study.data
    quality = assess(dataset, rules)
    leaks = find_leaks(dataset, rules.allow, context.session.settings.seed)
    worst = max(quality.columns, key=lambda column: column.missing)
    checked = [
        "types",
        "ranges",
        "categories",
        f"missing values (most: {worst.missing:.0%} in {worst.name})",
        f"duplicates ({quality.duplicates:.1%})",
        f"columns that give the target away ({len(leaks)})",
    ]
    if quality.age_days is not None:
        checked.append(f"age ({quality.age_days} days)")
    if rules.columns:
        checked.append(f"the study's rules for {len(rules.columns)} columns")
    if rules.pandera:
        checked.append(f"the pandera schema {rules.pandera}")
    if rules.allow:
        checked.append(f"allowed to predict the target almost alone: {', '.join(rules.allow)}")
    lines = [
        (
            f"input: {quality.rows} rows, {len(dataset.names)} features, "
            f"target {dataset.target_name} ({dataset.task})"
        ),
        *(f"  {line}" for line in lines_of(dataset.profile) if dataset.profile),
        f"checked: {', '.join(checked)}",
        *(f"note: {note}" for note in quality.notes),
        *_reproduced_by(context, dataset),
        f"{RESULT}{_fitness(quality.problems, leaks)}",
    ]
    context.session.suspicions = tuple(map(str, leaks))
    facts = {**asdict(quality), "leaks": [asdict(leak) for leak in leaks], "allowed": rules.allow}
    facts["profile"] = [asdict(column) for column in dataset.profile]
    return StepResult.from_findings(facts, lines, quality.problems, context.session.suspicions)


def _reproduced_by(context: RunContext, dataset: Dataset) -> list[str]:
    """Write the study that reads the file as it was read, and return a line that names it."""
    from tier0.pipeline.file_data import study_of  # noqa: PLC0415
    from tier0.pipeline.study import as_toml  # noqa: PLC0415

    if not dataset.profile:
        return []
    path = context.folder / "study.toml"
    path.write_text(as_toml(study_of(context.study, dataset)), encoding="utf-8")
    return [f"study: --study {path} reads the file in the same way"]


def _fitness(problems: Sequence[str], leaks: Sequence[Leak]) -> str:
    """Return the result of step 2."""
    rules = "the rows break the rules" if problems else "the rows keep the rules"
    if leaks:
        names = ", ".join(leak.column for leak in leaks)
        return f"{rules}, but the run will fail: the target may be given away by {names}"
    return f"the data is {'not fit' if problems else 'fit'} for training"


def cohort(context: RunContext) -> StepResult:
    """Run step 3: the rows to train on."""
    from tier0.pipeline.cohort import choose_cohort  # noqa: PLC0415

    rows, stated = context.all_rows(), context.study.scope
    chosen = choose_cohort(rows, context.study.cohort, stated)
    context.dataset, context.parts, context.is_cohort = chosen.dataset, None, True
    lines = [f"input: {len(rows)} rows"]
    lines += [f"{one.left:>8} left after: {one.criterion} (-{one.removed})" for one in chosen.attrition]
    lines += [f"note: {note}" for note in chosen.notes]
    if not chosen.attrition:
        lines.append("no criteria: all rows are in the cohort")
    if chosen.classes:
        counts = ", ".join(f"{label}: {count}" for label, count in chosen.classes.items())
        lines.append(f"classes: {counts}")
    verdict = "too few" if chosen.problems else "enough"
    lines += [f"checked: {_required(stated)}", f"result: {len(chosen.dataset)} rows, {verdict} to train on"]
    facts = {
        "rows": len(chosen.dataset),
        "attrition": [asdict(one) for one in chosen.attrition],
        "classes": chosen.classes,
    }
    return StepResult.from_findings(facts, lines, chosen.problems)


def selection(context: RunContext) -> StepResult:
    """Run step 4: the algorithm."""
    from tier0.pipeline.selection import LEADING  # noqa: PLC0415

    parts = context.split()
    if context.own is not None:
        algorithm = type(estimator_of(context.own.model)).__name__
        reason = f"{context.session.settings.pipeline} trains the model, so no algorithms are compared"
        return StepResult.from_findings(
            {"selected_algorithm": algorithm, "selection_score": None, "reason": reason},
            [f"result: {algorithm}: {reason}"],
        )
    chosen = context.selection = context.session.select(
        context.data(), parts, context.study.scope.selection_metric
    )
    rows = len(parts["train"])
    facts = {
        "selected_algorithm": chosen.winner.estimator,
        "selection_score": chosen.scores[0].mean,
        "metric": chosen.metric,
        "rows": {"train": rows, "compared": chosen.rows},
        "scores": [
            {
                "algorithm": score.candidate.estimator,
                "mean": score.mean,
                "spread": score.spread,
                "folds": score.folds,
                "seconds": score.seconds,
            }
            for score in chosen.scores
        ],
        "reason": chosen.reason,
    }
    sample = f"{chosen.rows:,} of the {rows:,}" if chosen.drawn else f"{rows:,}"
    drawn = f", {chosen.drawn}" if chosen.drawn else ""
    folds = f"the same {chosen.folds} folds"
    if chosen.scores[-1].folds < chosen.scores[0].folds:
        folds += f", for the {LEADING} algorithms that are the best on one of them"
    if context.data().dates is not None:
        folds += ", each newer than the rows before it, on which the algorithms are fitted"
    lines = [
        f"input: {sample} rows of the training part{drawn}",
        f"checked: mean {chosen.metric} of each algorithm on the held-out rows of {folds}",
        *(
            f"{score.candidate.estimator:30} {score.measured:18} {score.seconds:.1f} s"
            for score in chosen.scores
        ),
        f"result: {chosen.winner.estimator} is selected: {chosen.reason}",
    ]
    return StepResult.from_findings(facts, lines)


def training(context: RunContext) -> StepResult:
    """Run step 5: the trained model."""
    from tier0.pipeline.evaluation import detail_lines, metric_lines, uncertainty_note  # noqa: PLC0415
    from tier0.pipeline.training import notes_of  # noqa: PLC0415

    dataset, parts = context.data(), context.split()
    if context.own is not None:
        trained = context.session.use_model(context.own.model, dataset)
        method = f"trained by {context.session.settings.pipeline}, and measured on the rows that it held out"
    elif context.selection is not None:
        stated = context.study.scope
        trained = context.session.fit(dataset, parts, context.selection, stated.selection_metric)
        searched, fitted = trained.training.search_rows, trained.training.rows["train"]
        on = f" of models fitted on {searched:,} of {fitted:,} rows" if searched < fitted else ""
        method = (
            f"hyperparameters{on} chosen on the validation part (trials: {trained.training.trials}); "
            "refitted on training and validation part, and measured on the test part"
        )
    else:
        raise Tier0Error("step 'training' needs a selected algorithm: run step 4 (selection) first")
    context.trained = trained
    model = trained.training
    evaluation = model.evaluation
    facts = {
        "algorithm": model.algorithm,
        "parameters": model.parameters,
        "rows": model.rows,
        "hpo_trials": model.trials,
        "validation_score": model.score,
        "threshold": model.threshold,
        "metrics": model.metrics,
        "spread": model.spread,
        "evaluation": evaluation.details(),
        "peers": [asdict(peer) for peer in model.peers],
        "seed": model.seed,
        "training_run_id": trained.run_id,
        "model_uri": trained.model_uri,
        "tracking_uri": trained.tracking_uri,
    }
    total = sum(model.rows.values())
    shares = ", ".join(f"{part} {count} ({count / total:.0%})" for part, count in model.rows.items())
    lines = [f"input: {model.algorithm}; rows: {shares}", f"checked: {method}"]
    lines += [*metric_lines(evaluation), uncertainty_note(evaluation), *detail_lines(evaluation)]
    if model.threshold is not None:
        lines.append(f"decision threshold {model.threshold:.3f}, chosen on the validation part")
    lines += [
        f"beside it: {peer.role} {peer.algorithm}, fitted on {peer.rows:,} rows: "
        + ", ".join(f"{name} {value:.3f}" for name, value in peer.metrics.items())
        for peer in model.peers
    ]
    lines += [f"note: {note}" for note in notes_of(model)]
    lines += [
        f"result: {model.note or f'the model beats chance: {evaluation.chance}'}",
        f"logged to MLflow as {trained.model_uri} in {trained.tracking_uri}",
    ]
    if noted := context.session.events.last(TrackingNoted):
        lines += [f"note: {note}" for note in noted.notes]
    return StepResult.from_findings(facts, lines)


def features(context: RunContext) -> StepResult:
    """Run step 6: the importance of the features."""
    from tier0.pipeline.analysis import REPEATS, analyse  # noqa: PLC0415

    model = context.require_trained("features").training
    analysis = analyse(context.data(), context.split(), model.model, context.session.settings.seed)
    shown = analysis.importances[:MAX_SHOWN]
    lines = [
        f"input: {model.algorithm}, and {analysis.rows} rows of the test part",
        (
            f"checked: drop of {analysis.metric} when the values of one feature are shuffled "
            f"({REPEATS} times); predictive power of each feature alone"
        ),
    ]
    for one in shown:
        shap = f"   SHAP {one.shap:.3f}" if one.shap is not None else ""
        lines.append(f"{one.feature:30} {one.mean:6.3f} ± {one.spread:.3f}{shap}")
    if (left := len(analysis.importances) - MAX_SHOWN) > 0:
        lines.append(f"and {left} less important features")
    lines += [f"warning: {suspicion}" for suspicion in context.session.suspicions]
    lines.append(f"result: {shown[0].feature} is the most important feature; drops within ± are noise")
    return StepResult.from_findings(asdict(analysis), lines)


def deployment(context: RunContext) -> StepResult:
    """Run step 7: the manifest of an accepted or rejected model; if requested, register, serve and verify it.

    The manifest is written even if the model cannot be served.
    """
    manifest = context.manifest = _manifest(context)
    stated, suspicions = context.study.scope, context.session.suspicions
    rejected = [reason for reason in manifest["why_not"] if reason not in suspicions]
    checked = [] if stated.success is None else [f"{stated.metric} against {stated.success:g}"]
    if context.serve:
        checked.append("the served model against the trained model")
    lines = [
        f"input: {manifest['algorithm']}, {manifest['model_uri']}",
        f"checked: {', '.join(checked) or 'nothing: the study has no success criterion'}",
    ]
    result = StepResult.from_findings(manifest, lines, rejected)
    conclusion = "rejected: success criterion not met" if rejected else "accepted"
    if suspicions and not rejected:
        conclusion, result = SUSPECTED, replace(result, status=1)
    try:
        if context.serve and rejected:
            manifest["served"] = {"status": "not served", "why": conclusion}
        elif context.serve:
            manifest["served"] = _serve(context)
            lines += _served_lines(manifest["served"])
            conclusion += "; the served model is the trained model"
    except Tier0Error as problem:
        manifest["served"] = {"status": "not served", "why": str(problem)}
        conclusion += " by its metrics, but not served"
        result = StepResult(manifest, lines, [f"not served: {problem}"], problem.exit_status)
    finally:
        path = context.folder / "manifest.json"
        path.write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")
        lines += [f"{RESULT}{conclusion}", f"manifest: {path}"]
    return result


def _manifest(context: RunContext) -> dict[str, Any]:
    trained, stated = context.require_trained("deployment"), context.study.scope
    model = trained.training
    reached = stated.reached(model.metrics)
    why_not = list(context.session.suspicions)
    if reached is False:
        measured = model.metrics[stated.metric or ""]
        why_not.append(f"{stated.metric} is {measured:.3f}, but the success criterion is {stated.success:g}")
    return {
        "schema": 1,
        "name": f"tier0_{model.dataset}",
        "algorithm": model.algorithm,
        "data_sha256": model.digest or None,
        "training_run_id": trained.run_id,
        "model_uri": trained.model_uri,
        "metrics": model.metrics,
        "threshold": model.threshold,
        "success": {"metric": stated.metric, "wanted": stated.success, "reached": reached},
        "may_go": not why_not,
        "why_not": why_not,
        "versions": versions(),
        "commit": commit(),
        "served": None,
    }


def _serve(context: RunContext) -> dict[str, Any]:
    """Register the model, serve it, run the checks, and send requests through the client of applications."""
    from tier0.runs.deployment import with_client  # noqa: PLC0415 - not needed by the other steps
    from tier0.runs.verify import check_serving  # noqa: PLC0415

    session, trained = context.session, context.require_trained("deployment")
    if context.server is None:
        context.server = session.launch()
    model = session.register(trained, context.store)
    serving = session.serve(context.server, model)
    verdict = check_serving(serving, disturb="none", events=session.events)
    measured = with_client(serving.url, partial(_use_as_applications_do, serving))
    return {
        "status": "serving",
        "model_tag": model.tag,
        "store": str(context.store),
        "endpoint": serving.url,
        "golden_rows": len(model.golden),
        "examples": len(model.golden.examples),
        **measured,
        "checks": {result.id: result.status for result in verdict.checks},
    }


async def _use_as_applications_do(serving: OwnDeployment, client: BentoMLClient) -> dict[str, Any]:
    """Send a health check, all examples together, and single rows; return the responses and latencies."""
    golden = serving.model.golden.examples
    health = await client.health_check()
    response = await client.predict(golden.body())
    milliseconds = []
    for index in range(SINGLE_ROW_REQUESTS):
        start = time.perf_counter()
        await client.predict(golden.take([index % len(golden)]).body())
        milliseconds.append((time.perf_counter() - start) * 1000)
    if health["status"] != "healthy":
        raise Tier0Error(f"the service predicts correctly, but its health check reports {health['status']!r}")
    return {
        "health_check": health["status"],
        "prediction_test": "passed",
        "predictions": list(response["predictions"])[:MAX_SHOWN],
        "probabilities": list(response["probabilities"] or [])[:MAX_SHOWN],
        "circuit_breaker": client.circuit_state(),
        "latency_ms": {"p50": statistics.median(milliseconds), "max": max(milliseconds)},
    }


def _served_lines(served: Mapping[str, Any]) -> list[str]:
    latency = served["latency_ms"]
    return [
        f"model_tag {served['model_tag']} in {served['store']}",
        f"endpoint {served['endpoint']}",
        f"health_check {served['health_check']}; circuit_breaker {served['circuit_breaker']} after all calls",
        (
            f"prediction_test {served['prediction_test']}: {served['examples']} examples "
            f"(of {served['golden_rows']} golden rows); "
            f"checks: {count_in_words(served['checks'].values())}"
        ),
        f"predictions {served['predictions']} …",
        f"to build a Bento with a Dockerfile: tier0 build {served['model_tag']} --store {served['store']}",
        (
            f"latency of one row: median {latency['p50']:.1f} ms, maximum {latency['max']:.1f} ms "
            f"({SINGLE_ROW_REQUESTS} requests)"
        ),
    ]


BODIES: dict[str, Callable[[RunContext], StepResult]] = {
    "scope": scope,
    "data": data,
    "cohort": cohort,
    "selection": selection,
    "training": training,
    "features": features,
    "deployment": deployment,
    "observability": observability,
}
