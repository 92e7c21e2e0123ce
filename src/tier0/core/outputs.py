"""The outputs of a model, by the names that golden rows, contracts and responses have for them."""

PARTS = ("predictions", "probabilities", "intervals")
"""The parts of a model's output: one prediction per row, with its probabilities and its interval where the model has them."""
