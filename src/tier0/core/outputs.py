"""The outputs of a model, by the names that golden rows, contracts and responses have for them."""

PARTS = ("predictions", "probabilities", "intervals")
"""Parts of an output: one prediction per row, and its probabilities and interval if the model has them."""
