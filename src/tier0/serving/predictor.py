"""A loaded model in the worker: from the body of a request to the body of its response."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bentoml
import orjson

from tier0.core.errors import InvalidRowError
from tier0.golden.forms import IN_WORDS
from tier0.golden.prediction import Output, compute_output, labels_follow, use_one_thread
from tier0.golden.signature import MAX_EXACT_INTEGER
from tier0.serving.entry import Entry

MAX_FLOAT32 = (2 - 2**-23) * 2.0**127
"""The largest number with 32 bits."""


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
        return self.entry.signature.parse_request(payload["features"], payload.get("columns"))

    def predict(self, rows: list[list[Any]]) -> Output:
        """Call the model with validated rows."""
        signature = self.entry.signature
        container = signature.to_container(rows)
        return compute_output(self.model, signature, container, once=self.labels_from_probabilities)

    def reason_in_rows(self, rows: list[list[Any]], problem: Exception) -> InvalidRowError | None:
        """Return the value because of which the model rejected validated rows, or None.

        Trees of scikit-learn reject numbers that do not fit into 32 bits, also after they were scaled, and
        some encoders reject texts that they do not know; other models accept them. Which JSON values a model
        takes is known to the model alone.
        """
        of_values = {"json": (TypeError, AttributeError)}.get(self.entry.signature.form, ())
        if not isinstance(problem, (ValueError, ArithmeticError, LookupError, *of_values)):
            return None
        if self.entry.signature.form == "json":
            message = f"is rejected by the model: {type(problem).__name__}"
            return InvalidRowError("features", message, "Send values in the form of the examples")
        said = str(problem)
        is_overflow = isinstance(problem, ArithmeticError) or "infinity" in said
        limit = MAX_EXACT_INTEGER if is_overflow else MAX_FLOAT32
        for index, row in enumerate(rows):
            for feature, value in zip(self.entry.signature.features, row, strict=True):
                field = f"features[{index}].{feature.name}"
                if isinstance(value, (int, float)) and abs(value) > limit:
                    return InvalidRowError(field, "is too large for the model", "Send a smaller number")
                if isinstance(value, str) and repr(value) in said and value not in (feature.vocabulary or ()):
                    return InvalidRowError(
                        field, "is rejected by the model", "Send a text that the training data had"
                    )
        return None

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
            }
            if entry.signature.form == "table"
            else {"features": f"a list of {IN_WORDS[entry.signature.form]}"},
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
        raise InvalidRowError("body", "is empty", 'Send {"features": […]}', status=400)
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = _parse_leniently(body)
    else:
        if body.count(b":") != _number_of_keys(payload):  # a key twice, or a colon in a text
            _reject_repeated_keys(body)
    if isinstance(payload, list) and payload and isinstance(payload[0], dict):
        payload = {"features": payload}  # a bare list of records names its columns
    if not isinstance(payload, dict):
        raise InvalidRowError("body", "is not a JSON object", 'Send {"features": […]}')
    unknown = sorted(set(payload) - {"features", "columns"})
    if unknown:
        remedy = "The fields are features and, optionally, columns"
        raise InvalidRowError(unknown[0], "is not a field of this request", remedy)
    if "features" not in payload:
        raise InvalidRowError("features", "is missing", 'Send {"features": […]}')
    return payload


def _number_of_keys(payload: Any) -> int:
    """Return the number of keys in the objects of a request, of which each has a colon in the body."""
    rows = payload
    number = 0
    if isinstance(payload, dict):
        number, rows = len(payload), payload.get("features")
    if isinstance(rows, list):
        number += sum(len(row) for row in rows if isinstance(row, dict))
    return number


def _reject_repeated_keys(body: bytes) -> None:
    """Check the keys of each object, which takes several times as long as parsing does.

    Raises:
        InvalidRowError: a key is repeated.
    """
    with suppress(RecursionError):  # it is not a list of rows either
        json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some keys and values.

    Raises:
        InvalidRowError: a key is repeated, so that one of its values would be ignored.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        field = repeated.encode("utf-8", "backslashreplace").decode("utf-8")  # UTF-8 has no lone surrogates
        raise InvalidRowError(field, "is repeated in one object", "Send each field once")
    return found


def _parse_leniently(body: bytes) -> Any:
    """Parse the extensions of Python's json as well, and reject repeated keys.

    NaN is a missing value. Infinity is rejected later, with the name of its field.
    """
    try:
        payload = json.loads(body, object_pairs_hook=_unique)
        # Python accepts half a surrogate pair in a text, which cannot be encoded afterwards.
        json.dumps(payload, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        message = f"is not valid JSON: {problem}"
        raise InvalidRowError("body", message, 'Send {"features": […]}', status=400) from None
    return payload
