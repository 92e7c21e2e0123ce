"""The JSON document of golden rows: writing it, and reading and validating it, also in earlier schemas."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tier0.core.named_file import read_json
from tier0.core.outputs import PARTS
from tier0.golden.origins import Origin, read_sentences
from tier0.golden.tolerance import Spread

if TYPE_CHECKING:
    from tier0.golden.rows import GoldenRows

SCHEMA = 3
FLAT_SCHEMAS = {1, 2}
"""Outputs were on one level with rows and columns, and origins were sentences; schema 1 had no origins."""
COPIED_FIELDS = ("columns", "rows", "classes", "categories", "seconds", "tag")
REQUIRED = {"columns", "rows", "outputs", "classes"}
FIELDS = {"schema", "origins", "outputs", "distinguishes", *COPIED_FIELDS}
MAX_SHOWN = 60
REMEDY = "Create the file again with tier0 golden or tier0.golden_rows"


class InvalidFieldError(ValueError):
    """A field of the document is invalid; the message names it, its value and a remedy."""

    def __init__(self, field: str, expected: str, value: Any) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"
        super().__init__(f"{field} must be {expected}, got {shown}. {REMEDY}")


def as_document(golden: GoldenRows) -> dict[str, Any]:
    """Return the content of a golden file, as JSON types."""
    outputs = {}
    for part in PARTS:
        if (values := getattr(golden, part)) is not None:
            spread = golden.spreads.get(part)
            outputs[part] = {
                "values": values,
                "dtype": golden.dtypes.get(part),
                "spread": None if spread is None else asdict(spread),
            }
    return {
        "schema": SCHEMA,
        **{name: getattr(golden, name) for name in COPIED_FIELDS},
        "origins": [asdict(origin) for origin in golden.origins],
        "outputs": outputs,
        "distinguishes": golden.distinguishes,
    }


def read_fields(path: Path) -> dict[str, Any]:
    """Read a file, and return its content as arguments of `GoldenRows`.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not JSON, or has an invalid field.
    """
    try:
        document = read_json(path)
        # Python reads NaN, Infinity and 1e999 (as infinity); no service could return them
        json.dumps(document, allow_nan=False)
    except ValueError as problem:
        raise ValueError(f"the file is not JSON ({problem}). {REMEDY}") from problem
    except RecursionError as problem:
        raise ValueError(f"the document is nested too deeply. {REMEDY}") from problem
    if not isinstance(document, dict):
        raise InvalidFieldError("the document", "an object", document)
    schema = document.get("schema")
    if type(schema) is not int or schema not in {SCHEMA, *FLAT_SCHEMAS}:
        raise InvalidFieldError("schema", "1, 2 or 3, the schemas that this version of Tier0 reads", schema)
    return _validate(document if schema == SCHEMA else _with_outputs(document))


def _with_outputs(document: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a document of schema 1 or 2 to schema 3."""
    columns = _columns(document.get("columns"))
    sentences = _list(document.get("origins", []), "origins", _text)
    return {
        **{name: value for name, value in document.items() if name not in PARTS},
        "outputs": {part: {"values": document[part]} for part in PARTS if document.get(part) is not None},
        "origins": [asdict(origin) for origin in read_sentences(sentences, columns)],
    }


def _validate(document: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted(document.keys() - FIELDS):
        raise ValueError(f"{unknown[0]!r} is not a field of schema {SCHEMA}. {REMEDY}")
    if absent := sorted(REQUIRED - document.keys()):
        raise ValueError(f"{absent[0]} is missing. {REMEDY}")
    columns = _columns(document["columns"])
    rows = _list(document["rows"], "rows", _any_list)
    outputs = _object(document["outputs"], "outputs")
    if unknown := sorted(outputs.keys() - set(PARTS)):
        raise ValueError(f"outputs.{unknown[0]} is not one of {', '.join(PARTS)}. {REMEDY}")
    read = {part: _output(output, part, len(rows)) for part, output in outputs.items()}
    if "predictions" not in read:
        raise ValueError(f"outputs.predictions is missing. {REMEDY}")
    return {
        "columns": columns,
        "rows": rows,
        **{part: read[part]["values"] if part in read else None for part in PARTS},
        "dtypes": {part: output["dtype"] for part, output in read.items() if output["dtype"] is not None},
        "spreads": {part: output["spread"] for part, output in read.items() if output["spread"] is not None},
        "classes": _list(document["classes"], "classes", _prediction),
        "origins": _list(document.get("origins", []), "origins", _origin),
        "categories": _lists(document.get("categories", {}), "categories", _any_value),
        "distinguishes": _lists(document.get("distinguishes", {}), "distinguishes", _index(len(rows))),
        "seconds": _optional(document.get("seconds"), "seconds", _number),
        "tag": _optional(document.get("tag"), "tag", _text),
    }


def _output(output: Any, part: str, rows: int) -> dict[str, Any]:
    field = f"outputs.{part}"
    output = _object(output, field)
    read_value = _prediction if part == "predictions" else _numbers
    values = _list(output.get("values"), f"{field}.values", read_value)
    if len(values) != rows:
        raise ValueError(f"{field}.values has length {len(values)}, but rows has length {rows}. {REMEDY}")
    return {
        "values": values,
        "dtype": _optional(output.get("dtype"), f"{field}.dtype", _text),
        "spread": _optional(output.get("spread"), f"{field}.spread", _spread),
    }


def _spread(value: Any, field: str) -> Spread:
    spread = _object(value, field)
    absolute, relative = (_number(spread.get(name), f"{field}.{name}") for name in ("absolute", "relative"))
    return Spread(absolute, relative, _number(spread.get("repeated", 0.0), f"{field}.repeated"))


def _origin(value: Any, field: str) -> Origin:
    """Read an origin, without the fields that a later version may add to it."""
    origin = _object(value, field)
    kind = _text(origin.get("kind"), f"{field}.kind")
    column, side = (_optional(origin.get(name), f"{field}.{name}", _text) for name in ("column", "side"))
    return Origin(kind, column, side)


def _columns(value: Any) -> list[str]:
    columns: list[str] = _list(value, "columns", _text)
    if len(set(columns)) != len(columns):
        raise InvalidFieldError("columns", "unique names", columns)
    return columns


def _list(value: Any, field: str, read: Callable[[Any, str], Any]) -> list[Any]:
    return [read(item, f"{field}[{index}]") for index, item in enumerate(_any_list(value, field))]


def _lists(value: Any, field: str, read: Callable[[Any, str], Any]) -> dict[str, list[Any]]:
    return {name: _list(items, f"{field}[{name!r}]", read) for name, items in _object(value, field).items()}


def _prediction(value: Any, field: str) -> Any:
    """Read a label or number, or nested lists of them for a model with several outputs."""
    return _list(value, field, _prediction) if isinstance(value, list) else _scalar(value, field)


def _scalar(value: Any, field: str) -> Any:
    if isinstance(value, (list, dict)):
        raise InvalidFieldError(field, "a number, text, true, false or null", value)
    return value


def _numbers(value: Any, field: str) -> list[Any]:
    """Read numbers, or lists of them for a model with several outputs."""
    return [
        _numbers(item, f"{field}[{index}]") if isinstance(item, list) else _number_or_none(item, field)
        for index, item in enumerate(_any_list(value, field))
    ]


def _number_or_none(value: Any, field: str) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise InvalidFieldError(field, "a list of numbers", value)
    return value


def _any_value(value: Any, _: str) -> Any:
    return value


def _any_list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidFieldError(field, "a list", value)
    return value


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidFieldError(field, "an object", value)
    return value


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidFieldError(field, "text", value)
    return value


def _number(value: Any, field: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise InvalidFieldError(field, "a number of at least 0", value)
    return float(value)


def _optional(value: Any, field: str, read: Callable[[Any, str], Any]) -> Any:
    return None if value is None else read(value, field)


def _index(rows: int) -> Callable[[Any, str], int]:
    def read(value: Any, field: str) -> int:
        if type(value) is not int or not 0 <= value < rows:
            raise InvalidFieldError(field, f"a row index from 0 to {rows - 1}", value)
        return value

    return read
