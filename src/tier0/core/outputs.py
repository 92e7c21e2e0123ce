"""The outputs of a model, by the names that golden rows, contracts and responses have for them."""

PARTS = ("predictions", "probabilities", "intervals")
"""Parts of an output: one prediction per row, and its probabilities and interval if the model has them."""

MISSING_PART, OTHER_COUNT = "missing_part", "other_count"
"""Patterns in the evidence of a failure: the response lacks a part that the contract names, or has another
number of values than the request has rows."""
