"""One loaded model in the worker: from the bytes of a request to the content of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bentoml
import orjson

from tier0.core.errors import InvalidRowError
from tier0.golden.prediction import Output, compute_output, labels_follow, use_one_thread
from tier0.serving.entry import Entry


@dataclass(frozen=True)
class Predictor:
    """A model, its exact tag, what its store entry says about it, and whether one question gives labels and probabilities."""

    tag: str
    model: Any
    entry: Entry
    asks_once: bool = False

    def rows_of(self, body: bytes) -> list[list[Any]]:
        """Read and check the rows of one request.

        Raises:
            InvalidRowError: the caller's fault, with the field, the problem and the remedy.
        """
        payload = _parse(body)
        return self.entry.signature.parse(payload["features"], payload.get("columns"))

    def ask(self, rows: list[list[Any]]) -> Output:
        """Ask the model about checked rows."""
        signature = self.entry.signature
        return compute_output(self.model, signature, signature.to_container(rows), once=self.asks_once)

    def answer(self, output: Output, seconds: float) -> dict[str, Any]:
        """Return what a caller gets."""
        return {
            "predictions": output.predictions,
            "probabilities": output.probabilities,
            "intervals": output.intervals,
            "classes": list(self.entry.signature.classes),
            "model_tag": self.tag,
            "latency_ms": seconds * 1000,
        }

    def info(self) -> dict[str, Any]:
        """Return what the model takes and gives, as JSON types."""
        entry = self.entry
        return {
            "model_tag": self.tag,
            "framework": entry.framework,
            "versions": dict(entry.versions),
            "signature": entry.signature.as_dict(),
            "request": {
                "features": "a list of rows or of records",
                "columns": "the names of the rows' columns; optional",
            },
            "metadata": dict(entry.metadata),
        }


def load_predictor(tag: str) -> Predictor:
    """Load the model *tag* (exact) from the store that BENTOML_HOME names, with one thread a request.

    Raises:
        RegistrationError: the entry is not as it was registered.
    """
    entry = Entry.read(Path(bentoml.models.get(tag).path))
    model = entry.load_model()
    use_one_thread(model)  # threads for each row would fight with their own callers for the cores
    return Predictor(tag, model, entry, labels_follow(model))


def _parse(body: bytes) -> dict[str, Any]:
    if not body:
        raise InvalidRowError("body", "is empty", 'Send {"features": [[…]]}', status=400)
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = _parse_leniently(body)
    if isinstance(payload, list) and payload and isinstance(payload[0], dict):
        payload = {"features": payload}  # records name their own columns: nothing is guessed
    if not isinstance(payload, dict):
        raise InvalidRowError("body", "is not a JSON object", 'Send {"features": [[…]]}')
    unknown = sorted(set(payload) - {"features", "columns"})
    if unknown:
        raise InvalidRowError(
            unknown[0], "is not a field of this request", "Its fields are features and, optionally, columns"
        )
    if "features" not in payload:
        raise InvalidRowError("features", "is missing", 'Send {"features": [[…]]}')
    return payload


def _parse_leniently(body: bytes) -> Any:
    """Parse what Python's json writes, too: NaN is a missing value, and Infinity is refused by the name of its field."""
    try:
        payload = json.loads(body)
        json.dumps(
            payload, ensure_ascii=False
        ).encode()  # half a surrogate pair is text to Python, and to nothing behind it
    except (ValueError, RecursionError) as problem:
        raise InvalidRowError(
            "body", f"is not JSON: {problem}", 'Send {"features": [[…]]}', status=400
        ) from None
    return payload
