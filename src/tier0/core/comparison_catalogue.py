"""Catalogue of the checks of a comparison: what a new service and an old one must have in common."""

from __future__ import annotations

from tier0.core.catalogue import Check

ANSWERED = "compare.unanswered"
CONTRACT = "compare.contract"
CLASS_ORDER = "compare.class_order"
FLIPS = "compare.flips"
SCORES = "compare.scores"
LATENCY = "compare.latency"
COMPARISON_CATALOGUE: tuple[Check, ...] = (
    Check(
        ANSWERED,
        "Does each row get an answer from both sides, or from neither?",
        title="Rows that only one side answers",
        remedy="send the row in the evidence to both sides, and compare what they say about it",
        severity="critical",
    ),
    Check(
        CONTRACT,
        "Do responses have the same fields and types, and does bad input get the same status?",
        title="Changed contract",
        remedy="keep the fields and statuses that callers rely on, or change the callers first",
        severity="major",
    ),
    Check(
        CLASS_ORDER,
        "Do both sides have the same order of classes?",
        title="Other order of classes",
        remedy="return the probabilities in the order of the old side's classes",
        severity="critical",
    ),
    Check(
        FLIPS,
        "Do both sides take the same decisions?",
        title="Changed decisions",
        remedy="look at the rows in the evidence; tier0 compare --allow-flips accepts a share of them",
        severity="critical",
        explained_by=(CLASS_ORDER,),
    ),
    Check(
        SCORES,
        "Do both sides return the same numbers?",
        title="Changed numbers",
        remedy="look at the rows in the evidence; tier0 compare --allow-difference accepts a difference",
        severity="major",
        explained_by=(CLASS_ORDER, FLIPS),
    ),
    Check(
        LATENCY,
        "Is the new side as fast as the old one?",
        title="Slower than before",
        remedy="measure both models without a service, and see what the new service does for each request",
        severity="minor",
    ),
)
"""The checks, in the order of the results."""
