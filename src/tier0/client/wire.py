"""From data to the bytes of a request, and from the bytes of an answer to a prediction."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from typing import Any, TypedDict

from tier0.client.errors import ClientUsageError, InvalidAnswerError


class Prediction(TypedDict, total=False):
    """What `BentoMLClient.predict` returns: these, and whatever else the service answered."""

    predictions: list[Any]
    probabilities: list[list[float]] | None
    classes: list[Any]
    model_tag: str
    latency_ms: float


def encode(data: Any) -> tuple[bytes, int | None]:
    """Make the body of a request, and count its rows where that can be told.

    Args:
        data: rows (lists, or an array of shape (rows, features)), records (mappings keyed by name, or one of them), a
            DataFrame, or a whole body: a mapping with ``features``. NaN becomes null.

    Raises:
        ClientUsageError: it holds something that JSON cannot; nothing was sent.
    """
    body = _body_of(data)
    features = body.get("features")
    try:
        content = _dump(body)
    except (TypeError, ValueError) as problem:
        raise ClientUsageError(f"the data cannot be sent as JSON: {problem}. Give numbers, text, true, false and None.") from problem
    return content, len(features) if isinstance(features, list) else None


def _body_of(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return dict(data) if "features" in data else {"features": [dict(data)]}
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return {"features": data.astype(object).to_numpy().tolist(), "columns": [str(name) for name in data.columns]}
    return {"features": data.tolist() if hasattr(data, "tolist") else data}


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except ValueError:
        return json.dumps(_without_nan(body), allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays as what JSON knows, and pandas' own missing value as null."""
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _without_nan(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def decode_prediction(content: bytes, rows: int | None) -> Prediction:
    """Read an answer.

    Args:
        content: the body of a 2xx.
        rows: how many rows were asked about; None if unknown.

    Returns:
        The answer; a bare list or number is taken as the predictions.

    Raises:
        InvalidAnswerError: the body is no prediction.
    """
    answer = decode_json(content)
    if type(answer) is int or (type(answer) is float and math.isfinite(answer)):
        answer = [answer]
    if isinstance(answer, list):
        answer = {"predictions": answer, "probabilities": None}
    if not isinstance(answer, dict) or not isinstance(answer.get("predictions"), list):
        raise InvalidAnswerError(f"a 2xx that is no prediction: {_excerpt(content)}")
    predictions = answer["predictions"]
    if not predictions or (rows is not None and len(predictions) != rows):
        raise InvalidAnswerError(f"{len(predictions)} predictions came back for {'?' if rows is None else rows} rows")
    if not _is_complete(predictions) or not _is_complete(answer.get("probabilities") or []):
        raise InvalidAnswerError(f"a prediction or a probability is null or not finite: {_excerpt(content)}")
    return answer  # type: ignore[return-value]


def _is_complete(values: Any) -> bool:
    if isinstance(values, list):
        return all(map(_is_complete, values))
    return values is not None and not (type(values) is float and not math.isfinite(values))


def decode_mapping(content: bytes) -> dict[str, Any]:
    """Read an answer that must be a JSON object.

    Raises:
        InvalidAnswerError: it is not.
    """
    answer = decode_json(content)
    if not isinstance(answer, dict) or not answer:
        raise InvalidAnswerError(f"a 2xx that is no JSON object with something in it: {_excerpt(content)}")
    return answer


def decode_json(content: bytes) -> Any:
    """Read JSON.

    Raises:
        InvalidAnswerError: it is none.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise InvalidAnswerError(f"a 2xx whose body is not JSON: {_excerpt(content)}") from problem


def server_message(content: bytes) -> str:
    """Return what a service says about a problem, short enough for a message."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return _excerpt(content)
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict) and "message" in error:
        return " ".join(str(error[part]) for part in ("field", "message", "remedy") if error.get(part))
    return _excerpt(content)


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds, or a date, as seconds from *now* (POSIX time).

    Returns:
        Seconds, 0 or more; None where there is none or it makes no sense.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if not math.isnan(seconds) else None


def _excerpt(content: bytes) -> str:
    text = content[:200].decode(errors="replace")
    return repr(text) if text else "nothing"
