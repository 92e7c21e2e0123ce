"""Catalogue of the steps of ``tier0 run``, beside the checks of a service: question, title and next step."""

from __future__ import annotations

from collections.abc import Mapping

from tier0.core.catalogue import Check

STEP_CATALOGUE: Mapping[str, Check] = {
    step.id.partition(".")[2]: step
    for step in (
        Check(
            "step.scope",
            "Is the statement of the problem complete and consistent?",
            title="Problem not stated consistently",
            remedy="correct the file of --study, or the options that state the problem",
        ),
        Check(
            "step.data",
            "Do the rows keep the rules, and does no column give the target away?",
            title="Data not fit for training",
            remedy="correct the rows that break a rule, or the rule (in the file of --study)",
        ),
        Check(
            "step.cohort",
            "Are enough rows left after the criteria?",
            title="Too few rows left",
            remedy="relax the criteria of the cohort (in the file of --study), or get more rows",
        ),
        Check(
            "step.selection",
            "Could the algorithms be compared on the same folds?",
            title="Algorithms not compared",
            remedy="correct what the message names, and start the run again",
        ),
        Check(
            "step.training",
            "Does the trained model beat chance on held-out rows?",
            title="Model no better than chance",
            remedy="look for columns that say more about the target, or for wrong labels",
        ),
        Check(
            "step.features",
            "Could the importance of the features be measured?",
            title="Importance not measured",
            remedy="correct what the message names, and start the run again",
            severity="minor",
        ),
        Check(
            "step.deployment",
            "Does the model meet the success criterion, and is the served model the trained model?",
            title="Model not accepted",
            remedy="improve the model until it meets the criterion, or change the criterion (--success)",
            explained_by=("step.data",),
        ),
        Check(
            "step.observability",
            "Was the outcome added to the model's MLflow run?",
            title="Outcome not recorded in MLflow",
            remedy="see that MLflow's tracking server can be reached and written to",
            severity="minor",
        ),
    )
}
"""The steps by name, in their order."""
