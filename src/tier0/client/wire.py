"""From data to the bytes of a request, and from the bytes of an answer to a prediction."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from tier0.client.errors import InvalidAnswerError, InvalidDataError
from tier0.core.outputs import PARTS

DEEPEST = 100
"""Lists within lists; whoever writes an answer as JSON calls itself for each, and Python ends that at a thousand."""
EMPTY = "the data is empty: give rows, records, an array or a DataFrame"

if TYPE_CHECKING:
    from tier0.contract.contract import Contract


class Prediction(TypedDict, total=False):
    """What `BentoMLClient.predict` returns: these, and whatever else the service answered."""

    predictions: list[Any]
    probabilities: list[list[float]] | None
    intervals: list[list[float]] | None
    classes: list[Any]
    model_tag: str | None
    latency_ms: float


def encode(data: Any, contract: Contract | None = None) -> tuple[bytes, int | None]:
    """Make the body of a request, and count its rows where that can be told.

    Args:
        data: rows (lists, or an array of shape (rows, features)), records (mappings keyed by name, or one of them), a
            DataFrame, or a whole body: a mapping that has what the contract says, ``features`` by default. NaN becomes null.
        contract: how the service is asked; ours if None.

    Raises:
        InvalidDataError: it holds something that JSON cannot, or what this service is not asked with; nothing was sent.
    """
    body, features = _body_of(data) if contract is None else _body_by(contract, data)
    try:
        content = _dump(body)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidDataError(
            f"the data cannot be sent as JSON: {problem}. Give numbers, text, true, false and None."
        ) from problem
    return content, _number_of(features)


def _number_of(features: Any) -> int | None:
    """Return how many rows are asked about; None if that cannot be told."""
    return len(features) if isinstance(features, (list, tuple)) else None


def _body_of(data: Any) -> tuple[dict[str, Any], Any]:
    """Return the body for a service of ours, which takes rows and records alike, and what is asked about."""
    if isinstance(data, Mapping):
        body = dict(data) if "features" in data else {"features": [dict(data)]}
    elif _is_frame(data):
        body = {
            "features": data.astype(object).to_numpy().tolist(),
            "columns": [str(name) for name in data.columns],
        }
    else:
        body = {"features": data}
    if hasattr(body["features"], "tolist"):
        body["features"] = body["features"].tolist()
    if _number_of(body["features"]) == 0:
        raise InvalidDataError(EMPTY)
    return body, body["features"]


def _body_by(contract: Contract, data: Any) -> tuple[Any, Any]:
    """Return the body that the contract says, and what is asked about; None if that is not known."""
    if isinstance(data, Mapping) and contract.features and contract.features.partition(".")[0] in data:
        return data, None
    columns, rows = _columns_and_rows(data)
    if contract.one_row and len(rows) != 1:
        raise InvalidDataError(
            f"this service takes one row a request, and {len(rows)} were given: ask for one after the other"
        )
    if (
        not columns
        and contract.by_name
        and (contract.style != "rows" or contract.columns not in contract.optional)
    ):
        raise InvalidDataError("this service is asked by the names of columns: give records or a DataFrame")
    if not columns and contract.columns is not None:
        contract = replace(contract, columns=None)
    return contract.body(columns, rows), rows


def _columns_and_rows(data: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns, which are empty for rows without any, and the rows."""
    if _is_frame(data):
        return [str(name) for name in data.columns], data.astype(object).to_numpy().tolist()
    data = data.tolist() if hasattr(data, "tolist") else [data] if isinstance(data, Mapping) else data
    if not isinstance(data, (list, tuple)) or not data:
        raise InvalidDataError(
            f"the data is {type(data).__name__}: give rows, records, an array or a DataFrame"
            if data
            else EMPTY
        )
    if not isinstance(data[0], Mapping):
        return [], [
            list(row) if isinstance(row, (list, tuple)) else row.tolist() if hasattr(row, "tolist") else [row]
            for row in data
        ]
    columns = list(data[0])
    for index, record in enumerate(data):
        if not isinstance(record, Mapping) or record.keys() != data[0].keys():
            raise InvalidDataError(
                f"record {index} has other columns than record 0 ({', '.join(map(str, columns))})"
            )
    return columns, [[record[name] for name in columns] for record in data]


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "to_numpy")


def _dump(body: Any) -> bytes:
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


def decode_prediction(content: bytes, rows: int | None, contract: Contract | None = None) -> Prediction:
    """Read an answer.

    Args:
        content: the body of a 2xx.
        rows: how many rows were asked about; None if unknown.
        contract: where the parts are in the answer; as our service puts them if None.

    Returns:
        The answer, with ``predictions``, ``probabilities`` and ``model_tag``, which are None where the service does not say; a bare
        list or number is taken as the predictions.

    Raises:
        InvalidAnswerError: the body is no prediction.
    """
    answer = decode_json(content)
    if contract is not None:
        answer = {**(answer if isinstance(answer, Mapping) else {}), **contract.read(answer)}
    elif type(answer) is int or (type(answer) is float and math.isfinite(answer)):
        answer = {"predictions": [answer], "probabilities": None}
    elif isinstance(answer, list):
        answer = {"predictions": answer, "probabilities": None}
    given = (
        []
        if not isinstance(answer, dict)
        else [answer[part] for part in PARTS if answer.get(part) is not None]
    )
    wanted = ("predictions",) if contract is None else contract.parts
    if not given or any(not isinstance(answer.get(part), list) for part in wanted[:1]):
        raise InvalidAnswerError(f"a 2xx that is no prediction: {_excerpt(content)}")
    for part in given:
        if not isinstance(part, list) or not part or (rows is not None and len(part) != rows):
            length = len(part) if isinstance(part, list) else 1
            raise InvalidAnswerError(
                f"{length} predictions came back for {'?' if rows is None else rows} rows"
            )
        if not _is_finite(part):
            raise InvalidAnswerError(
                f"a prediction, a probability or a bound is null or not finite: {_excerpt(content)}"
            )
    if not all(_is_finite(value, or_null=True) for part, value in answer.items() if part not in PARTS):
        raise InvalidAnswerError(f"a 2xx with a number that is not finite: {_excerpt(content)}")
    for part in ("probabilities", "model_tag"):
        answer.setdefault(part, None)
    return answer  # type: ignore[no-any-return]


def _is_finite(value: Any, *, or_null: bool = False) -> bool:
    """Tell whether every number in it is finite, and nothing is null; 1e999, for one, is infinite, and nobody could be told it as JSON.

    Raises:
        InvalidAnswerError: it is nested too deep to be passed on.
    """
    level = [value]
    for _ in range(DEEPEST):
        nested: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is list:
                nested += item
            elif kind is dict:
                nested += item.values()
            elif (kind is float and not math.isfinite(item)) or (item is None and not or_null):
                return False
        if not nested:
            return True
        level = nested
    raise InvalidAnswerError("a 2xx whose body is nested too deep")


def decode_mapping(content: bytes) -> dict[str, Any]:
    """Read an answer that must be a JSON object.

    Raises:
        InvalidAnswerError: it is not.
    """
    answer = decode_json(content)
    if not isinstance(answer, dict) or not answer:
        raise InvalidAnswerError(f"a 2xx that is no JSON object with something in it: {_excerpt(content)}")
    if not _is_finite(answer, or_null=True):
        raise InvalidAnswerError(f"a 2xx with a number that is not finite: {_excerpt(content)}")
    return answer


def decode_json(content: bytes) -> Any:
    """Read JSON.

    Raises:
        InvalidAnswerError: it is none.
    """
    try:
        text = content.decode(json.detect_encoding(content))
        answer = JSON.decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(
                answer, ensure_ascii=False
            ).encode()  # half a character, of which UTF-16 makes one with two, is no text
    except (ValueError, RecursionError) as problem:
        raise InvalidAnswerError(
            f"a 2xx whose body is not JSON ({problem}): {_excerpt(content)}"
        ) from problem
    return answer


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is none of its numbers")


JSON = json.JSONDecoder(parse_constant=_refuse_constant)
"""Of RFC 8259, which has neither NaN nor Infinity: an answer with one in it could not be passed on to anybody."""


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
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - (
                time.time() if now is None else now
            )
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if not math.isnan(seconds) else None


def _excerpt(content: bytes) -> str:
    text = content[:200].decode(errors="replace")
    return repr(text) if text else "nothing"
