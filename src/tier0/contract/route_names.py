"""The words in the name and the description of a route: does it predict, does it change something?"""

from __future__ import annotations

import re

PLACEHOLDER = re.compile(r"\{([^{}/]*)\}")
"""A value in a path that is open: ``{name}``."""
PREDICT = "predict"
PREDICTS = {
    "predict", "predicts", "prediction", "predictions", "predictor", "score", "scores", "scoring", "classify",
    "classifier", "classification", "infer", "inference", "forecast", "forecasts", "estimate", "invocations",
}  # fmt: skip
"""Words in the name of a route that predicts."""
CHANGES = {
    "train", "trains", "training", "retrain", "retrains", "retraining", "fit", "refit", "feedback", "delete",
    "deletes", "remove", "removes", "upload", "uploads", "update", "updates", "create", "creates", "store",
    "stores", "save", "saves", "write", "writes", "ingest", "ingests", "register", "registers", "deploy",
    "promote", "rollback", "load", "reload", "unload", "reset", "shutdown",
}  # fmt: skip
"""Words in the name or in the description of a route that changes something."""
WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])")


def words_in(text: str) -> set[str]:
    """Return the words of a text or of a name such as ``requestId`` or ``batch_id``, in lower case."""
    return {word.casefold() for word in WORD.findall(text)}


def predicts(path: str) -> bool:
    """Return whether the last part of a path names a prediction."""
    words = words_in(_last_part(path))
    return not words & CHANGES and (bool(words & PREDICTS) or PREDICT in _last_part(path))


def changes(path: str, *texts: str) -> bool:
    """Return whether a route changes something, by the last part of its path, or by texts that describe it.

    The texts count only if the path does not name a prediction: a service may say that it stores predictions.
    """
    return bool(words_in(_last_part(path)) & CHANGES) or (
        not predicts(path) and any(words_in(text) & CHANGES for text in texts)
    )


def describes(described: str, route: str) -> bool:
    """Return whether a path of a description, which may have placeholders, is that of a route."""
    fixed = PLACEHOLDER.split(described.partition("?")[0])[::2]
    return re.fullmatch("[^/]+".join(map(re.escape, fixed)), route.partition("?")[0]) is not None


def _last_part(path: str) -> str:
    """Return the last part of a path, without placeholders."""
    parts = [part for part in path.partition("?")[0].split("/") if part and "{" not in part]
    return parts[-1] if parts else ""
