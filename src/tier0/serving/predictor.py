"""A loaded model in the worker: from the body of a request to the body of its response."""

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
    """A loaded model.

    Attributes:
        tag: the model's exact tag.
        model: the fitted estimator or pipeline.
        entry: the model's description in the store.
        labels_from_probabilities: whether the labels follow from ``predict_proba``, so that one call gives
            both.
    """

    tag: str
    model: Any
    entry: Entry
    labels_from_probabilities: bool = False

    def parse_rows(self, body: bytes) -> list[list[Any]]:
        """Parse and validate the rows in the body of a request.

        Raises:
            InvalidRowError: the request is invalid; with the field, the problem and the remedy.
        """
        payload = _parse(body)
        return self.entry.signature.parse(payload["features"], payload.get("columns"))

    def predict(self, rows: list[list[Any]]) -> Output:
        """Call the model with validated rows."""
        signature = self.entry.signature
        container = signature.to_container(rows)
        return compute_output(self.model, signature, container, once=self.labels_from_probabilities)

    def response(self, output: Output, seconds: float) -> dict[str, Any]:
        """Return the body of a response, as JSON types; *seconds* is the duration of the model's call."""
        return {
            "predictions": output.predictions,
            "probabilities": output.probabilities,
            "intervals": output.intervals,
            "classes": list(self.entry.signature.classes),
            "model_tag": self.tag,
            "latency_ms": seconds * 1000,
        }

    def info(self) -> dict[str, Any]:
        """Return the model's description, as JSON types."""
        entry = self.entry
        return {
            "model_tag": self.tag,
            "framework": entry.framework,
            "versions": dict(entry.versions),
            "signature": entry.signature.as_dict(),
            "request": {
                "features": "a list of rows or of records",
                "columns": "column names of the rows (optional)",
            },
            "metadata": dict(entry.metadata),
        }


def load_predictor(tag: str) -> Predictor:
    """Load the model *tag* (exact) from the store at BENTOML_HOME, limited to one thread.

    Raises:
        RegistrationError: the entry was changed, or a library has another version.
    """
    entry = Entry.read(Path(bentoml.models.get(tag).path))
    model = entry.load_model()
    use_one_thread(model)  # threads of concurrent requests would compete for the same cores
    return Predictor(tag, model, entry, _labels_follow(model, entry))


def _labels_follow(model: Any, entry: Entry) -> bool:
    """Return whether the labels follow from the probabilities, by definition and for every golden row."""
    signature, golden = entry.signature, entry.golden_rows()
    if not signature.has_probabilities or signature.has_several_outputs or not labels_follow(model):
        return False
    return all(
        batch.predictions
        == compute_output(model, signature, signature.to_container(batch.rows), once=True).predictions
        for batch in (golden.examples, golden.edge_cases)
        if batch
    )


def _parse(body: bytes) -> dict[str, Any]:
    if not body:
        raise InvalidRowError("body", "is empty", 'Send {"features": [[…]]}', status=400)
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = _parse_leniently(body)
    if isinstance(payload, list) and payload and isinstance(payload[0], dict):
        payload = {"features": payload}  # a bare list of records names its columns
    if not isinstance(payload, dict):
        raise InvalidRowError("body", "is not a JSON object", 'Send {"features": [[…]]}')
    unknown = sorted(set(payload) - {"features", "columns"})
    if unknown:
        remedy = "The fields are features and, optionally, columns"
        raise InvalidRowError(unknown[0], "is not a field of this request", remedy)
    if "features" not in payload:
        raise InvalidRowError("features", "is missing", 'Send {"features": [[…]]}')
    return payload


def _parse_leniently(body: bytes) -> Any:
    """Parse the extensions of Python's json as well.

    NaN is a missing value. Infinity is rejected later, with the name of its field.
    """
    try:
        payload = json.loads(body)
        # Python accepts half a surrogate pair in a text, which cannot be encoded afterwards.
        json.dumps(payload, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        message = f"is not valid JSON: {problem}"
        raise InvalidRowError("body", message, 'Send {"features": [[…]]}', status=400) from None
    return payload
