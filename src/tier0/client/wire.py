"""Conversion of data to request bodies, and of response bodies to predictions."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import math
import reprlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from tier0.client.errors import InvalidAnswerError, InvalidDataError
from tier0.client.transport import check_memory_of_json
from tier0.core.json_values import NotJsonError, as_list, columns_of, json_value, python_value
from tier0.core.outputs import PARTS

MAX_DEPTH = 100
"""Nested lists and objects in a response; Python's JSON encoder is recursive, and fails at about 1000."""
MAX_TEXT = 1000
"""Characters of each text that is taken from an error response."""
EMPTY_DATA = "the data is empty: expected rows, records, an array or a DataFrame"
USABLE = "Use numbers, text, booleans, dates and None"

if TYPE_CHECKING:
    from tier0.contract.contract import Contract


class Prediction(TypedDict, total=False):
    """Result of `BentoMLClient.predict`: these items, and all others of the service's response."""

    predictions: list[Any]
    probabilities: list[list[float]] | None
    intervals: list[list[float]] | None
    classes: list[Any]
    model_tag: str | None
    latency_ms: float


def encode(data: Any, contract: Contract | None = None) -> tuple[bytes, int | None]:
    """Return the body of a request, and the number of its rows, or None if that is unknown.

    Values of numpy, pandas, polars and Arrow become what their Python values would become: a missing value
    (None, NaN, NA, NaT) null, and a date or time ISO 8601 (see `tier0.core.json_values`).

    Args:
        data: rows (lists, or an array of shape (rows, features)), records (mappings keyed by column, or one
            of them), a DataFrame of pandas or polars, an Arrow table, or a complete body, which is a mapping
            with the contract's key of the features (``features`` by default).
        contract: format of the requests; Tier0's own if None.

    Raises:
        InvalidDataError: the data cannot be written as JSON, or not in the contract's format; the message
            names column, row and value.
    """
    try:
        body, features, columns = _default_body(data) if contract is None else _contract_body(contract, data)
    except NotJsonError as problem:
        raise _not_json(problem, None, []) from problem
    try:
        content = contract.write(body).encode() if isinstance(body, str) and contract else _dump(body)
    except NotJsonError as problem:
        raise _not_json(problem, features, columns) from problem
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidDataError(f"the data cannot be sent as JSON: {problem}. {USABLE}.") from problem
    return content, _count_rows(features)


def _count_rows(features: Any) -> int | None:
    """Return the number of rows, or None if it is unknown."""
    return len(features) if isinstance(features, (list, tuple)) else None


def _default_body(data: Any) -> tuple[dict[str, Any], Any, list[str]]:
    """Return the body for a service of Tier0, which accepts rows and records; its features, and columns."""
    body = {"features": data}
    if isinstance(data, Mapping):
        body = dict(data) if "features" in data else {"features": [dict(data)]}
    columns: list[str] = []
    if (table := _table(body["features"])) is not None:
        columns, body["features"] = table
        body.setdefault("columns", columns)
    features = body["features"] = as_list(body["features"])
    if _count_rows(features) == 0:
        raise InvalidDataError(EMPTY_DATA)
    return body, features, columns


def _contract_body(contract: Contract, data: Any) -> tuple[Any, Any, list[str]]:
    """Return the body in the contract's format, its rows, which are None for a complete body, and columns."""
    if isinstance(data, Mapping) and contract.features and contract.features.partition(".")[0] in data:
        return data, None, []
    columns, rows = _columns_and_rows(data)
    if (
        contract.style in {"csv", "file"} or contract.adapter is not None
    ):  # which write values in their own way
        rows = json_value(rows)
    if contract.one_row and len(rows) != 1:
        raise InvalidDataError(
            f"this service accepts one row in each request, got {len(rows)}: send one request for each row"
        )
    needs_columns = contract.by_name and (
        contract.style != "rows" or contract.columns not in contract.optional
    )
    if needs_columns and not columns:
        raise InvalidDataError("this service requires the names of columns: pass records or a DataFrame")
    if not columns and contract.columns is not None:
        contract = replace(contract, columns=None)
    return contract.body(columns, rows), rows, columns


def _columns_and_rows(data: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns, which are empty for rows without names, and the rows."""
    if (table := _table(data)) is not None:
        return table
    data = [data] if isinstance(data, Mapping) else as_list(data)
    if not isinstance(data, (list, tuple)):
        raise InvalidDataError(
            f"invalid data of type {type(data).__name__}: expected rows, records, an array or a DataFrame"
        )
    if not data:
        raise InvalidDataError(EMPTY_DATA)
    if not isinstance(data[0], Mapping):
        return [], [_row(row) for row in data]
    columns = list(data[0])
    for index, record in enumerate(data):
        if not isinstance(record, Mapping) or record.keys() != data[0].keys():
            raise InvalidDataError(
                f"record {index} has other columns than record 0 ({', '.join(map(str, columns))})"
            )
    return [str(name) for name in columns], [[record[name] for name in columns] for record in data]


def _row(row: Any) -> list[Any]:
    """Return a row as a list; a single value is a row with one feature."""
    values = as_list(row)
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _table(data: Any) -> tuple[list[str], list[list[Any]]] | None:
    """Return the names of the columns and the rows of a DataFrame or an Arrow table; None for other data."""
    table = None if isinstance(data, (list, tuple, str)) else columns_of(data)
    if table is None:
        return None
    names, columns = table
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InvalidDataError(
            f"more than one column is named {twice!r}: rename it, since a request names each column once"
        )
    rows = [list(row) for row in zip(*columns, strict=True)]
    if not rows:
        raise InvalidDataError(EMPTY_DATA)
    return names, rows


def _dump(body: Any) -> bytes:
    """Return JSON; only a body that Python's encoder does not accept, e.g. one with NaN, is converted first.

    Raises:
        NotJsonError: JSON cannot represent a value.
    """
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"), default=python_value).encode()
    except (TypeError, ValueError):
        return json.dumps(json_value(body), allow_nan=False, separators=(",", ":")).encode()


def _not_json(problem: NotJsonError, features: Any, columns: list[str]) -> InvalidDataError:
    """Return the error for a value that cannot be sent, with its column and row, and a remedy."""
    place, value = _first_invalid(features, columns) or ("the data", problem.value)
    kind = "infinite number" if isinstance(value, float) else type(value).__name__
    return InvalidDataError(
        f"{place} contains a value that cannot be sent as JSON: {reprlib.repr(value)} ({kind}). "
        f"{_remedy(value)}."
    )


def _first_invalid(features: Any, columns: list[str]) -> tuple[str, Any] | None:
    """Return column and row of the first value that cannot be sent, and the value; None if no row has one."""
    for index, row in enumerate(features if isinstance(features, (list, tuple)) else []):
        is_sequence = isinstance(row, (list, tuple)) or bool(getattr(row, "shape", ()))
        cells = row.items() if isinstance(row, Mapping) else enumerate(row if is_sequence else [row])
        for key, cell in cells:
            try:
                json_value(cell)
            except NotJsonError as problem:
                return f"column {columns[key] if columns else key!r} of row {index}", problem.value
    return None


def _remedy(value: Any) -> str:
    if isinstance(value, float):
        return "Replace infinite values"
    if isinstance(value, complex):
        return "Send the real and the imaginary part as two columns"
    if isinstance(value, dt.timedelta) or type(value).__name__ == "timedelta64":
        return "Convert it to a number, such as its seconds"
    if isinstance(value, bytes):
        return "Decode it to text"
    return USABLE


def decode_prediction(content: bytes, rows: int | None, contract: Contract | None = None) -> Prediction:
    """Return the prediction in the body of a 2xx response.

    Args:
        content: body of the response.
        rows: number of rows in the request; None if unknown.
        contract: format of the responses; Tier0's own if None.

    Returns:
        The content of the response. ``probabilities`` and ``model_tag`` are None if the service omits them,
        and a bare list or number becomes ``predictions``.

    Raises:
        InvalidAnswerError: the body is not a prediction.
    """
    answer = decode_json(content) if contract is None else _decoded(content, contract)
    if contract is not None:
        answer = {**(answer if isinstance(answer, Mapping) else {}), **contract.read(answer)}
    elif type(answer) is int or (type(answer) is float and math.isfinite(answer)):
        answer = {"predictions": [answer], "probabilities": None}
    elif isinstance(answer, list):
        answer = {"predictions": answer, "probabilities": None}
    parts = {}
    if isinstance(answer, dict):
        parts = {name: answer[name] for name in PARTS if answer.get(name) is not None}
    required = ("predictions",) if contract is None else contract.parts
    if not parts or any(not isinstance(answer.get(name), list) for name in required[:1]):
        raise InvalidAnswerError(f"the response is not a prediction (status 2xx): {_excerpt(content)}")
    for name, part in parts.items():
        _validate_part(name, part, rows, content)
    if not all(_is_finite(item, allow_null=True) for name, item in answer.items() if name not in PARTS):
        raise InvalidAnswerError(f"the response contains an infinite number: {_excerpt(content)}")
    for name in ("probabilities", "model_tag"):
        answer.setdefault(name, None)
    return answer  # type: ignore[no-any-return]


def _decoded(content: bytes, contract: Contract) -> Any:
    """Return a response as the contract's adapter reads it, from JSON, or CSV if the requests are CSV."""
    try:
        answer = decode_json(content)
    except InvalidAnswerError:
        if contract.style != "csv":
            raise
        answer = contract.parse(content.decode(errors="replace"))
    try:
        return contract.adapted(answer)
    except ValueError as problem:
        raise InvalidAnswerError(f"{problem}: {_excerpt(content)}") from problem


def _validate_part(name: str, part: Any, rows: int | None, content: bytes) -> None:
    if not isinstance(part, list):
        raise InvalidAnswerError(f"{name} in the response are not a list: {_excerpt(content)}")
    if not part or (rows is not None and len(part) != rows):
        expected = "1 or more" if rows is None else rows
        raise InvalidAnswerError(f"invalid number of {name}: expected {expected}, got {len(part)}")
    if not _is_finite(part):
        raise InvalidAnswerError(f"{name} contain null or an infinite number: {_excerpt(content)}")


def _is_finite(value: Any, *, allow_null: bool = False) -> bool:
    """Return True if *value* contains no null and no infinite number, such as 1e999.

    Raises:
        InvalidAnswerError: *value* has too many nested lists and objects.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        nested: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is list:
                nested += item
            elif kind is dict:
                nested += item.values()
            elif (kind is float and not math.isfinite(item)) or (item is None and not allow_null):
                return False
        if not nested:
            return True
        level = nested
    raise InvalidAnswerError(f"the response has more than {MAX_DEPTH} levels of nested lists and objects")


def decode_mapping(content: bytes) -> dict[str, Any]:
    """Return the JSON object in the body of a 2xx response.

    Raises:
        InvalidAnswerError: the body is not a JSON object, or an empty one.
    """
    answer = decode_json(content)
    if not isinstance(answer, dict) or not answer:
        raise InvalidAnswerError(f"the response is not a JSON object with content: {_excerpt(content)}")
    if not _is_finite(answer, allow_null=True):
        raise InvalidAnswerError(f"the response contains an infinite number: {_excerpt(content)}")
    return answer


def decode_page(content: bytes) -> Any:
    """Return the JSON in the body of a 2xx response, or the first 1000 bytes as text if it is not JSON."""
    try:
        return decode_json(content)
    except InvalidAnswerError:
        return content[:MAX_TEXT].decode(errors="replace")


def decode_json(content: bytes) -> Any:
    """Return the JSON in the body of a response.

    Raises:
        InvalidAnswerError: the body is not valid JSON.
    """
    try:
        return _parse_json(content)
    except (ValueError, RecursionError) as problem:
        reason = str(problem)
    # Not raised in the block above: the error would keep the text of the whole response in memory.
    raise InvalidAnswerError(f"the response is not JSON ({reason}): {_excerpt(content)}")


def _parse_json(content: bytes) -> Any:
    check_memory_of_json(content)
    text = content.decode(json.detect_encoding(content))
    answer = JSON.decode(text)
    if "\\ud" in text or "\\uD" in text:
        # Encoding fails for half of a surrogate pair, which is not valid text.
        json.dumps(answer, ensure_ascii=False).encode()
    return answer


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


JSON = json.JSONDecoder(parse_constant=_reject_constant)
"""Decoder by RFC 8259, without NaN and Infinity, so that every response can be encoded as JSON again."""


def server_message(content: bytes) -> str:
    """Return the description of the problem in an error response, or its first 200 bytes."""
    try:
        check_memory_of_json(content)
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return _excerpt(content)
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict) and "message" in error:
        values = [error.get(part) for part in ("field", "message", "remedy")]
        texts = [str(value)[:MAX_TEXT] for value in values if value and isinstance(value, (str, int, float))]
        return " ".join(texts) or _excerpt(content)
    return _excerpt(content)


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Return the seconds to wait that a Retry-After header (RFC 9110, 10.2.3) asks for.

    Args:
        value: value of the header: seconds, or a date; None without the header.
        now: current POSIX time in seconds; by default the system's.

    Returns:
        Seconds, 0 or more; None without the header, or if its value is invalid.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value).timestamp()
            seconds = date - (time.time() if now is None else now)
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if not math.isnan(seconds) else None


def _excerpt(content: bytes) -> str:
    text = content[:200].decode(errors="replace")
    return repr(text) if text else "(empty body)"
