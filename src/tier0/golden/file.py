"""The JSON document of golden rows: writing it, and reading and validating it, also in earlier schemas."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tier0.core.fields import (
    InvalidFieldError,
    check_depth,
    read_array,
    read_list,
    read_number,
    read_object,
    read_optional,
    read_text,
)
from tier0.core.named_file import read_json
from tier0.core.outputs import PARTS
from tier0.golden.forms import FORMS
from tier0.golden.origins import Origin, read_sentences
from tier0.golden.simulations import Simulation, compressed, decompressed
from tier0.golden.tolerance import Spread

if TYPE_CHECKING:
    from tier0.golden.rows import GoldenRows

SCHEMA = 3
FLAT_SCHEMAS = {1, 2}
"""Outputs were on one level with rows and columns, and origins were sentences; schema 1 had no origins."""
COPIED_FIELDS = ("columns", "rows", "classes", "categories", "seconds", "tag")
TABLE = "table"
"""The form of rows that is not written."""
BOUNDS = 2
REQUIRED = {"columns", "rows", "outputs", "classes"}
FIELDS = {"schema", "origins", "outputs", "distinguishes", "simulations", "form", *COPIED_FIELDS}
REMEDY = "Create the file again with tier0 golden or tier0.golden_rows"


def as_document(golden: GoldenRows) -> dict[str, Any]:
    """Return the content of a golden file, as JSON types."""
    outputs = {}
    for part in PARTS:
        if (values := getattr(golden, part)) is not None:
            outputs[part] = {"values": values, **_precision(golden, part)}
            names = {name for name in (*golden.dtypes, *golden.spreads) if name.startswith(f"{part}.")}
            if names:
                outputs[part]["fields"] = {name: _precision(golden, name) for name in sorted(names)}
    document = {
        "schema": SCHEMA,
        **{name: getattr(golden, name) for name in COPIED_FIELDS},
        "origins": [asdict(origin) for origin in golden.origins],
        "outputs": outputs,
        "distinguishes": golden.distinguishes,
    }
    if golden.form != TABLE:
        document["form"] = golden.form
    if golden.simulations:
        document["simulations"] = {
            "of": len(golden.simulations),
            "distinguished": sum(simulation.is_distinguished for simulation in golden.simulations),
            "outputs": compressed(golden.simulations),
        }
    return document


def _precision(golden: GoldenRows, name: str) -> dict[str, Any]:
    """Return the dtype and the spread of a part, or of a field of its objects."""
    spread = golden.spreads.get(name)
    return {"dtype": golden.dtypes.get(name), "spread": None if spread is None else asdict(spread)}


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
    try:
        return _read_document(document)
    except InvalidFieldError as problem:
        raise ValueError(f"{problem}. {REMEDY}") from None


def is_golden(path: Path) -> bool:
    """Return whether a file has golden rows that can be read."""
    try:
        read_fields(path)
    except (OSError, ValueError):
        return False
    return True


def _read_document(document: Any) -> dict[str, Any]:
    content = read_object(document, "the document")
    schema = content.get("schema")
    if type(schema) is not int or schema not in {SCHEMA, *FLAT_SCHEMAS}:
        raise InvalidFieldError("schema", "1, 2 or 3, the schemas that this version of Tier0 reads", schema)
    return _validate(content if schema == SCHEMA else _with_outputs(content))


def _with_outputs(document: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a document of schema 1 or 2 to schema 3."""
    columns = _columns(document.get("columns"))
    sentences = read_list(document.get("origins", []), "origins", read_text)
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
    rows = read_list(document["rows"], "rows", _row)
    outputs = read_object(document["outputs"], "outputs")
    if unknown := sorted(outputs.keys() - set(PARTS)):
        raise ValueError(f"outputs.{unknown[0]} is not one of {', '.join(PARTS)}. {REMEDY}")
    read = {part: _output(output, part, len(rows)) for part, output in outputs.items()}
    if "predictions" not in read:
        raise ValueError(f"outputs.predictions is missing. {REMEDY}")
    precise = {
        **read,
        **{name: inner for output in read.values() for name, inner in output["fields"].items()},
    }
    return {
        "columns": columns,
        "rows": rows,
        **{part: read[part]["values"] if part in read else None for part in PARTS},
        "dtypes": {name: inner["dtype"] for name, inner in precise.items() if inner["dtype"] is not None},
        "spreads": {name: inner["spread"] for name, inner in precise.items() if inner["spread"] is not None},
        "classes": read_list(document["classes"], "classes", _any_value),
        "origins": read_list(document.get("origins", []), "origins", _origin),
        "categories": _lists(document.get("categories", {}), "categories", _any_value),
        "distinguishes": _lists(document.get("distinguishes", {}), "distinguishes", _index(len(rows))),
        "simulations": _simulations(document.get("simulations"), "simulations", len(rows)),
        "seconds": read_optional(document.get("seconds"), "seconds", _not_negative),
        "tag": read_optional(document.get("tag"), "tag", read_text),
        "form": _form(document.get("form", TABLE), columns),
    }


def _form(value: Any, columns: list[str]) -> Any:
    if value not in FORMS:
        raise InvalidFieldError("form", f"one of {', '.join(FORMS)}", value)
    if value != TABLE and len(columns) != 1:
        raise InvalidFieldError("columns", f"one name, since the rows are {value}", columns)
    return value


def _output(output: Any, part: str, rows: int) -> dict[str, Any]:
    field = f"outputs.{part}"
    output = read_object(output, field)
    values = read_list(output.get("values"), f"{field}.values", OUTPUTS[part])
    if len(values) != rows:
        raise ValueError(f"{field}.values has length {len(values)}, but rows has length {rows}. {REMEDY}")
    fields = read_object(output.get("fields", {}), f"{field}.fields")
    return {
        "values": values,
        **_read_precision(output, field),
        "fields": {
            name: _read_precision(
                read_object(inner, f"{field}.fields[{name!r}]"), f"{field}.fields[{name!r}]"
            )
            for name, inner in fields.items()
        },
    }


def _read_precision(output: Mapping[str, Any], field: str) -> dict[str, Any]:
    return {
        "dtype": read_optional(output.get("dtype"), f"{field}.dtype", read_text),
        "spread": read_optional(output.get("spread"), f"{field}.spread", _spread),
    }


def _spread(value: Any, field: str) -> Spread:
    spread = read_object(value, field)
    absolute, relative = (
        _not_negative(spread.get(name), f"{field}.{name}") for name in ("absolute", "relative")
    )
    return Spread(absolute, relative, _not_negative(spread.get("repeated", 0.0), f"{field}.repeated"))


def _origin(value: Any, field: str) -> Origin:
    """Read an origin, without the fields that a later version may add to it."""
    origin = read_object(value, field)
    kind = read_text(origin.get("kind"), f"{field}.kind")
    column, side = (
        read_optional(origin.get(name), f"{field}.{name}", read_text) for name in ("column", "side")
    )
    return Origin(kind, column, side)


def _simulations(value: Any, field: str, rows: int) -> tuple[Simulation, ...]:
    if value is None:
        return ()
    simulations = read_object(value, field)
    text = read_text(simulations.get("outputs"), f"{field}.outputs")
    try:
        content = decompressed(text)
        check_depth(content)
    except ValueError as problem:
        raise InvalidFieldError(
            f"{field}.outputs", f"base64 of compressed JSON ({problem})", text
        ) from problem
    found = [
        _simulation(item, f"{field}.outputs[{index}]", rows)
        for index, item in enumerate(read_array(content, f"{field}.outputs"))
    ]
    counts = {"of": len(found), "distinguished": sum(simulation.is_distinguished for simulation in found)}
    for name, count in counts.items():
        if type(simulations.get(name)) is not int or simulations[name] != count:
            raise InvalidFieldError(f"{field}.{name}", f"{count}, as in outputs", simulations.get(name))
    return tuple(found)


def _simulation(value: Any, field: str, rows: int) -> Simulation:
    """Read a simulated defect, without the fields that a later version may add to it."""
    content = read_object(value, field)
    predictions = read_list(content.get("predictions"), f"{field}.predictions", _any_value)
    probabilities = read_optional(content.get("probabilities"), f"{field}.probabilities", _numbers_of_rows)
    for part, values in (("predictions", predictions), ("probabilities", probabilities)):
        if values is not None and len(values) != rows:
            raise InvalidFieldError(f"{field}.{part}", f"a list of length {rows}, one for each row", values)
    if type(content.get("is_distinguished")) is not bool:
        raise InvalidFieldError(f"{field}.is_distinguished", "true or false", content.get("is_distinguished"))
    return Simulation(
        read_text(content.get("kind"), f"{field}.kind"),
        read_optional(content.get("column"), f"{field}.column", read_text),
        read_text(content.get("sentence"), f"{field}.sentence"),
        predictions,
        probabilities,
        is_distinguished=content["is_distinguished"],
    )


def _columns(value: Any) -> list[str]:
    columns: list[str] = read_list(value, "columns", read_text)
    if len(set(columns)) != len(columns):
        raise InvalidFieldError("columns", "unique names", columns)
    return columns


def _lists(value: Any, field: str, read: Callable[[Any, str], Any]) -> dict[str, list[Any]]:
    return {
        name: read_list(items, f"{field}[{name!r}]", read)
        for name, items in read_object(value, field).items()
    }


def _numbers(value: Any, field: str) -> list[Any]:
    """Read numbers, or lists of them for a model with several outputs."""
    return [
        _numbers(item, f"{field}[{index}]") if isinstance(item, list) else _plain_number(item, field)
        for index, item in enumerate(read_array(value, field))
    ]


def _numbers_of_rows(value: Any, field: str) -> list[Any]:
    return read_list(value, field, _numbers)


def _plain_number(value: Any, field: str) -> Any:
    if value is not None and not (isinstance(value, (int, float)) and _is_in_range(value)):
        raise InvalidFieldError(field, "a list of numbers", value)
    return value


def _bounds(value: Any, field: str) -> list[Any]:
    bounds = _numbers(value, field)
    if len(bounds) != BOUNDS or any(isinstance(bound, list) for bound in bounds):
        raise InvalidFieldError(field, "a list of two numbers, the lower and the upper bound", value)
    return bounds


def _any_value(value: Any, field: str) -> Any:
    """Read any value; a label can also be an object."""
    if not _is_in_range(value):
        raise InvalidFieldError(field, "a value whose numbers are in the range of floats", value)
    return value


def _is_in_range(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_in_range, value.values()))
    if isinstance(value, list):
        return all(map(_is_in_range, value))
    return type(value) is not int or -sys.float_info.max <= value <= sys.float_info.max


def _row(value: Any, field: str) -> list[Any]:
    row: list[Any] = _any_value(read_array(value, field), field)
    return row


def _not_negative(value: Any, field: str) -> float:
    try:
        number = read_number(value, field)
    except InvalidFieldError:
        number = -1.0
    if number < 0:
        raise InvalidFieldError(field, "a number of at least 0", value)
    return number


OUTPUTS: Mapping[str, Callable[[Any, str], Any]] = {
    "predictions": _any_value,
    "probabilities": _numbers,
    "intervals": _bounds,
}
"""For each part, the reader of the output for one row."""


def _index(rows: int) -> Callable[[Any, str], int]:
    def read(value: Any, field: str) -> int:
        if type(value) is not int or not 0 <= value < rows:
            raise InvalidFieldError(field, f"a row index from 0 to {rows - 1}", value)
        return value

    return read
