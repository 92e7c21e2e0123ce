"""The eight steps, each from what those before it made; what a step found, in facts and in sentences."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from tier0.core.errors import Tier0Error
from tier0.core.provenance import commit, versions
from tier0.core.verdict import count_in_words
from tier0.golden.prediction import estimator_of
from tier0.pipeline.metrics import MEANINGS
from tier0.pipeline.selection import CV_FOLDS
from tier0.pipeline.study import METRICS
from tier0.runs.context import RunContext, StepResult
from tier0.runs.observability import observability

if TYPE_CHECKING:
    from tier0.client import BentoMLClient
    from tier0.pipeline.analysis import Analysis
    from tier0.pipeline.cohort import Cohort
    from tier0.runs.deployment import OwnDeployment

MAX_SHOWN = 5
ASKED_ALONE = 20
"""Predictions of one row, for the latency as the application sees it."""


def scope(work: RunContext) -> StepResult:
    """Step 1."""
    asked, settings = work.study.scope, work.session.settings
    wanted = (
        "whatever comes"
        if asked.success is None
        else f"{asked.metric} of {asked.success:g} or {'more' if _more(asked.metric) else 'less'}"
    )
    rows = f"rows that {settings.pipeline} holds out" if settings.pipeline else settings.dataset
    target = settings.target or asked.target
    rarer = "" if work.imbalanced is None else f", with the rarest class made {work.imbalanced:g} of the rows"
    lines = [
        f"input: {rows}{f', target {target}' if target else ''}{rarer}",
        f"problem: {asked.problem or 'not stated'}",
        f"population: {asked.population or 'not stated'}",
        f"success: {wanted}, with at least {asked.minimum_rows} rows and {asked.minimum_of_each_class} of each class",
        "checked: that metric, success, least sizes, rules and criteria can be used, and do not contradict each other",
        "means: "
        + (
            "any model may go that is not useless"
            if asked.success is None
            else f"no model may go that does not reach {wanted}"
        ),
    ]
    return StepResult.of(asked.model_dump(), lines)


def _more(metric: str | None) -> bool:
    return metric is None or METRICS[metric][1] == "most"


def data(work: RunContext) -> StepResult:
    """Step 2."""
    from tier0.pipeline.quality import assess  # noqa: PLC0415

    dataset, rules = work.everybody(), work.study.data
    quality = assess(dataset, rules)
    worst = max(quality.columns, key=lambda one: one.missing)
    lines = [
        f"input: {quality.rows} rows of {len(dataset.names)} features; {dataset.target_name} is predicted, a {dataset.task}",
        f"checked: types, ranges, categories, missing values (most: {worst.missing:.0%} in {worst.name}), duplicates ({quality.duplicates:.1%})"
        + (f", age ({quality.age_days} days)" if quality.age_days is not None else "")
        + (f", rules of the study for {len(rules.columns)} columns" if rules.columns else "")
        + (f", the pandera schema {rules.pandera}" if rules.pandera else ""),
        *(f"note: {note}" for note in quality.notes),
        "means: "
        + ("the data may be trained on" if not quality.problems else "the data must not be trained on"),
    ]
    return StepResult.of(asdict(quality), lines, quality.problems)


def cohort(work: RunContext) -> StepResult:
    """Step 3."""
    from tier0.pipeline.cohort import choose_cohort  # noqa: PLC0415

    everybody, asked = work.everybody(), work.study.scope
    chosen: Cohort = choose_cohort(everybody, work.study.cohort, asked)
    work.dataset, work.parts, work.is_cohort = chosen.dataset, None, True
    lines = [
        f"input: {len(everybody)} rows",
        *(f"{one.left:>8} left after: {one.criterion} (-{one.removed})" for one in chosen.attrition),
        *(["no criteria: everybody belongs to it"] if not chosen.attrition else []),
        *(
            ["classes: " + ", ".join(f"{label}: {count}" for label, count in chosen.classes.items())]
            if chosen.classes
            else []
        ),
        f"checked: at least {asked.minimum_rows} rows"
        + (f", and {asked.minimum_of_each_class} of each class" if chosen.classes else ""),
        "means: "
        + (
            "too few are left to train on"
            if chosen.problems
            else f"{len(chosen.dataset)} rows are enough to train on"
        ),
    ]
    facts = {
        "rows": len(chosen.dataset),
        "attrition": [asdict(one) for one in chosen.attrition],
        "classes": chosen.classes,
    }
    return StepResult.of(facts, lines, chosen.problems)


def selection(work: RunContext) -> StepResult:
    """Step 4."""
    parts = work.split()
    if work.own is not None:
        algorithm = type(estimator_of(work.own.model)).__name__
        reason = f"{work.session.settings.pipeline} brings its own model, and nothing is compared"
        return StepResult.of(
            {"selected_algorithm": algorithm, "selection_score": None, "reason": reason},
            [f"means: {algorithm} it is: {reason}"],
        )
    chosen = work.selection = work.session.select(work.data(), parts)
    rows = len(parts["train"])
    facts = {
        "selected_algorithm": chosen.winner.estimator,
        "selection_score": chosen.scores[0].mean,
        "metric": chosen.metric,
        "rows": {"train": rows, "compared": chosen.rows},
        "scores": [
            {
                "algorithm": one.candidate.estimator,
                "mean": one.mean,
                "spread": one.spread,
                "seconds": one.seconds,
            }
            for one in chosen.scores
        ],
        "reason": chosen.reason,
    }
    lines = [
        f"input: {f'{chosen.rows:,} of the ' if chosen.drawn else ''}{rows:,} rows of the training part{f', {chosen.drawn}' if chosen.drawn else ''}",
        f"checked: each algorithm on the same {CV_FOLDS} folds, by its mean {chosen.metric} on rows that it was not fitted on",
        *(
            f"{one.candidate.estimator:30} {one.mean:.3f} ± {one.spread:.3f}   {one.seconds:.1f} s"
            for one in chosen.scores
        ),
        f"means: {chosen.winner.estimator} is trained: {chosen.reason}",
    ]
    return StepResult.of(facts, lines)


def training(work: RunContext) -> StepResult:
    """Step 5."""
    dataset, parts = work.data(), work.split()
    if work.own is not None:
        trained = work.session.take(work.own.model, dataset)
    elif work.selection is not None:
        trained = work.session.fit(dataset, parts, work.selection)
    else:
        raise Tier0Error("training needs the selection, which is not there")
    work.trained = trained
    found = trained.training
    facts = {
        "algorithm": found.algorithm,
        "parameters": found.parameters,
        "rows": found.rows,
        "hpo_trials": found.trials,
        "validation_score": found.score,
        "threshold": found.threshold,
        "metrics": found.metrics,
        "spread": found.spread,
        "seed": found.seed,
        "training_run_id": trained.run_id,
        "model_uri": trained.model_uri,
        "tracking_uri": trained.tracking_uri,
    }
    shares = ", ".join(
        f"{name} {count} ({count / sum(found.rows.values()):.0%})" for name, count in found.rows.items()
    )
    how = (
        f"hyper-parameters on the validation part (trials: {found.trials}); the best are fitted on both, and measured on the test part"
        if work.own is None
        else f"trained by {work.session.settings.pipeline}, and measured on the rows that it held out"
    )
    lines = [
        f"input: {found.algorithm}; rows: {shares}",
        f"checked: {how}",
        *(
            f"{name:20} {value:9.3f} ± {found.spread[name]:<8.3f} {MEANINGS[name]}"
            for name, value in found.metrics.items()
        ),
        *(
            [f"decision threshold {found.threshold:.3f}, chosen on the validation part"]
            if found.threshold is not None
            else []
        ),
        "means: the model is worth more than chance; ± is by how much other rows would change a number",
        f"logged to MLflow as {trained.model_uri} in {trained.tracking_uri}",
    ]
    return StepResult.of(facts, lines)


def features(work: RunContext) -> StepResult:
    """Step 6."""
    from tier0.pipeline.analysis import REPEATS, analyse  # noqa: PLC0415

    if work.trained is None:
        raise Tier0Error("the feature analysis needs a trained model, which is not there")
    analysis: Analysis = analyse(
        work.data(), work.split(), work.trained.training.model, work.session.settings.seed
    )
    shown = analysis.importances[:MAX_SHOWN]
    lines = [
        f"input: {work.trained.training.algorithm}, and {analysis.rows} rows of the test part",
        f"checked: by how much {analysis.metric} falls when one feature's values are shuffled ({REPEATS} times), and what each feature gives alone",
        *(
            f"{one.feature:30} {one.mean:6.3f} ± {one.spread:.3f}"
            + (f"   SHAP {one.shap:.3f}" if one.shap is not None else "")
            for one in shown
        ),
        *(
            [f"and {left} features that count less"]
            if (left := len(analysis.importances) - MAX_SHOWN) > 0
            else []
        ),
        *(f"warning: {warning}" for warning in analysis.warnings),
        f"means: the model goes by {shown[0].feature} most; a fall within its ± is chance"
        + ("" if analysis.warnings else "; no feature alone gives the target away"),
    ]
    return StepResult.of(asdict(analysis), lines)


def deployment(work: RunContext) -> StepResult:
    """Step 7: what may go, and, if it is asked for, that model registered, served and verified.

    The manifest stands whatever becomes of the serving.
    """
    if work.trained is None:
        raise Tier0Error("the deployment needs a trained model, which is not there")
    manifest = work.manifest = _manifest(work)
    why_not, asked = manifest["why_not"], work.study.scope
    checked = (
        "nothing was asked of its metrics"
        if asked.success is None
        else f"{asked.metric} against {asked.success:g}"
    )
    lines = [
        f"input: {manifest['algorithm']}, {manifest['model_uri']}",
        f"checked: {checked}{', and whether what is served is what was trained' if work.serve else ''}",
    ]
    found = StepResult.of(manifest, lines, why_not)
    means = "it must not go" if why_not else "it may go"
    try:
        if work.serve and why_not:
            manifest["served"] = {"status": "not served", "why": means}
        elif work.serve:
            manifest["served"] = _serve(work)
            lines += _served_lines(manifest["served"])
            means += ", and what is served is what was trained"
    except Tier0Error as problem:
        manifest["served"] = {"status": "not served", "why": str(problem)}
        means += " by its metrics, and is not served"
        found = StepResult(manifest, lines, [f"not served: {problem}"], problem.exit_status)
    finally:
        path = work.folder / "manifest.json"
        path.write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")
        lines += [f"means: {means}", f"manifest: {path}"]
    return found


def _manifest(work: RunContext) -> dict[str, Any]:
    trained = work.trained
    assert trained is not None  # noqa: S101 - the caller has looked
    found, asked = trained.training, work.study.scope
    reached = asked.reached(found.metrics)
    why_not = (
        []
        if reached is not False
        else [
            f"{asked.metric} is {found.metrics[asked.metric or '']:.3f}, and success was to be {asked.success:g}"
        ]
    )
    return {
        "schema": 1,
        "name": f"tier0_{found.dataset}",
        "algorithm": found.algorithm,
        "training_run_id": trained.run_id,
        "model_uri": trained.model_uri,
        "metrics": found.metrics,
        "threshold": found.threshold,
        "success": {"metric": asked.metric, "wanted": asked.success, "reached": reached},
        "may_go": not why_not,
        "why_not": why_not,
        "versions": versions(),
        "commit": commit(),
        "served": None,
    }


def _serve(work: RunContext) -> dict[str, Any]:
    """Register the model, serve it and ask it through the client that applications use."""
    from tier0.runs.deployment import with_client  # noqa: PLC0415 - what other steps do not need
    from tier0.runs.verify import check_serving  # noqa: PLC0415

    session, trained = work.session, work.trained
    assert trained is not None  # noqa: S101 - the caller has looked
    if work.server is None:
        work.server = session.launch()
    model = session.register(trained, work.store)
    serving = session.serve(work.server, model)
    verdict = check_serving(serving, disturb="none")
    asked = with_client(serving.url, partial(_ask_as_applications_do, serving))
    checks = {result.id: result.status for result in verdict.checks}
    where = {
        "model_tag": model.tag,
        "store": str(work.store),
        "endpoint": serving.url,
        "golden_rows": len(model.golden),
    }
    return {"status": "serving", **where, **asked, "checks": checks}


async def _ask_as_applications_do(serving: OwnDeployment, client: BentoMLClient) -> dict[str, Any]:
    golden = serving.model.golden.examples
    health = await client.health_check()
    answer = await client.predict(golden.body())
    milliseconds = []
    for index in range(ASKED_ALONE):
        start = time.perf_counter()
        await client.predict(golden.take([index % len(golden)]).body())
        milliseconds.append((time.perf_counter() - start) * 1000)
    state = client.circuit_state()
    if health["status"] != "healthy":
        raise Tier0Error(f"the service answers right, and says that it is {health['status']}")
    return {
        "health_check": health["status"],
        "prediction_test": "passed",
        "predictions": list(answer["predictions"])[:MAX_SHOWN],
        "probabilities": list(answer["probabilities"] or [])[:MAX_SHOWN],
        "circuit_breaker": state,
        "latency_ms": {"p50": statistics.median(milliseconds), "max": max(milliseconds)},
    }


def _served_lines(served: Mapping[str, Any]) -> list[str]:
    return [
        f"model_tag {served['model_tag']} in {served['store']}",
        f"endpoint {served['endpoint']}",
        f"health_check {served['health_check']}; circuit_breaker {served['circuit_breaker']} after all calls",
        f"prediction_test {served['prediction_test']}: {served['golden_rows']} golden rows; checks: {count_in_words(served['checks'].values())}",
        f"predictions {served['predictions']} …",
        f"as a Bento, with its Dockerfile: tier0 build {served['model_tag']} --store {served['store']}",
        f"latency {served['latency_ms']['p50']:.1f} ms for one row, {served['latency_ms']['max']:.1f} ms at most of {ASKED_ALONE}",
    ]


BODIES: dict[str, Callable[[RunContext], StepResult]] = {
    "scope": scope, "data": data, "cohort": cohort, "selection": selection, "training": training, "features": features,
    "deployment": deployment, "observability": observability,
}  # fmt: skip
