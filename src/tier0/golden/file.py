"""The JSON document of golden rows: how it is written, and how it is read and checked, also that of earlier versions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tier0.golden.origins import Origin, read_sentences
from tier0.golden.tolerance import Spread

if TYPE_CHECKING:
    from tier0.golden.rows import GoldenRows

SCHEMA = 3
FLAT_SCHEMAS = {1, 2}
"""Outputs stood beside rows and columns, and origins were sentences; schema 1 had no origins."""
PARTS = ("predictions", "probabilities", "intervals")
BESIDE_OUTPUTS = ("columns", "rows", "classes", "categories", "seconds", "tag")
REQUIRED = {"columns", "rows", "outputs", "classes"}
FIELDS = {"schema", "origins", "outputs", "distinguishes", *BESIDE_OUTPUTS}
MAX_SHOWN = 60
REMEDY = "Write the file again, with tier0 golden or tier0.golden_rows"


class InvalidFieldError(ValueError):
    """A field of the document cannot be used; the message names it, its value and a remedy."""

    def __init__(self, field: str, must: str, value: Any) -> None:
        shown = repr(value)
        super().__init__(
            f"{field} must be {must}, got {shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '…'}. {REMEDY}"
        )


def as_document(golden: GoldenRows) -> dict[str, Any]:
    """Return what a file holds, as JSON types."""
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
        **{name: getattr(golden, name) for name in BESIDE_OUTPUTS},
        "origins": [asdict(origin) for origin in golden.origins],
        "outputs": outputs,
        "distinguishes": golden.distinguishes,
    }


def read_fields(path: Path) -> dict[str, Any]:
    """Read a file, and return its content as arguments of `GoldenRows`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or something in it cannot be used.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(
            document, allow_nan=False
        )  # Python reads NaN and Infinity, and 1e999 as infinity; no service could return them
    except RecursionError as problem:
        raise ValueError(f"its values are nested too deep. {REMEDY}") from problem
    if not isinstance(document, dict):
        raise InvalidFieldError("the document", "an object", document)
    schema = document.get("schema")
    if type(schema) is not int or schema not in {SCHEMA, *FLAT_SCHEMAS}:
        raise InvalidFieldError(
            "schema", f"a number from 1 to {SCHEMA}, which this version of Tier0 reads", schema
        )
    return _fields_of(document if schema == SCHEMA else _with_outputs(document))


def _with_outputs(document: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a document of schema 1 or 2 to schema 3."""
    columns = _columns(document.get("columns"))
    sentences = _list(document.get("origins", []), "origins", _text)
    return {
        **{name: value for name, value in document.items() if name not in PARTS},
        "outputs": {part: {"values": document[part]} for part in PARTS if document.get(part) is not None},
        "origins": [asdict(origin) for origin in read_sentences(sentences, columns)],
    }


def _fields_of(document: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted(document.keys() - FIELDS):
        raise InvalidFieldError(
            "the document",
            f"without {unknown[0]!r}, which this version of Tier0 does not know",
            document[unknown[0]],
        )
    if absent := sorted(REQUIRED - document.keys()):
        raise InvalidFieldError(absent[0], "given", None)
    columns = _columns(document["columns"])
    rows = _list(document["rows"], "rows", _any_list)
    outputs = _object(document["outputs"], "outputs")
    if unknown := sorted(outputs.keys() - set(PARTS)):
        raise InvalidFieldError("outputs", f"an object with {', '.join(PARTS)} only", unknown[0])
    read = {part: _output(output, part, len(rows)) for part, output in outputs.items()}
    if "predictions" not in read:
        raise InvalidFieldError("outputs.predictions", "given", None)
    return {
        "columns": columns,
        "rows": rows,
        **{part: read[part]["values"] if part in read else None for part in PARTS},
        "dtypes": {part: output["dtype"] for part, output in read.items() if output["dtype"] is not None},
        "spreads": {part: output["spread"] for part, output in read.items() if output["spread"] is not None},
        "classes": _any_list(document["classes"], "classes"),
        "origins": _list(document.get("origins", []), "origins", _origin),
        "categories": _lists(document.get("categories", {}), "categories", _any_value),
        "distinguishes": _lists(document.get("distinguishes", {}), "distinguishes", _index(len(rows))),
        "seconds": _optional(document.get("seconds"), "seconds", _number),
        "tag": _optional(document.get("tag"), "tag", _text),
    }


def _output(output: Any, part: str, rows: int) -> dict[str, Any]:
    field = f"outputs.{part}"
    output = _object(output, field)
    values = _list(
        output.get("values"), f"{field}.values", _any_value if part == "predictions" else _any_list
    )
    if len(values) != rows:
        raise InvalidFieldError(
            f"{field}.values", f"a list of {rows} values, one for each row", f"{len(values)} values"
        )
    return {
        "values": values,
        "dtype": _optional(output.get("dtype"), f"{field}.dtype", _text),
        "spread": _optional(output.get("spread"), f"{field}.spread", _spread),
    }


def _spread(value: Any, field: str) -> Spread:
    spread = _object(value, field)
    return Spread(*(_number(spread.get(name), f"{field}.{name}") for name in ("absolute", "relative")))


def _origin(value: Any, field: str) -> Origin:
    """Read an origin; fields that a later version may add to it are left out."""
    origin = _object(value, field)
    kind = _text(origin.get("kind"), f"{field}.kind")
    return Origin(
        kind, *(_optional(origin.get(name), f"{field}.{name}", _text) for name in ("column", "side"))
    )


def _columns(value: Any) -> list[str]:
    columns: list[str] = _list(value, "columns", _text)
    if len(set(columns)) != len(columns):
        raise InvalidFieldError("columns", "different names", columns)
    return columns


def _list(value: Any, field: str, read: Callable[[Any, str], Any]) -> list[Any]:
    return list(
        starmap(read, ((item, f"{field}[{index}]") for index, item in enumerate(_any_list(value, field))))
    )


def _lists(value: Any, field: str, read: Callable[[Any, str], Any]) -> dict[str, list[Any]]:
    return {name: _list(items, f"{field}[{name!r}]", read) for name, items in _object(value, field).items()}


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
            raise InvalidFieldError(field, f"the index of one of {rows} rows", value)
        return value

    return read
