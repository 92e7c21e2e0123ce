"""Keys of a contract that are likely although they are not declared.

An assumption is certain if the service's schema, the name of a field, or the kind of the model leaves only
one that is possible, before the outputs for the golden rows are compared. Outputs that match then confirm it.
What only the outputs suggest, such as the label that a name stands for, is never certain: a service with two
swapped labels would suggest that they are swapped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tier0.contract.route_names import words_in
from tier0.contract.service_schema import Described, example_for, is_file, row_properties

ABOUT_REQUEST = {"request", "correlation", "trace", "batch", "message", "id", "uuid", "timestamp", "time"}
"""Words of which the name of a field consists that is about the request, and changes no output."""

PICTURES = {"image", "audio", "video"}
"""Types and formats of files that have no rows."""


class Assumption(NamedTuple):
    """Keys of a contract that are not declared.

    Attributes:
        declare: the keys, with their values.
        why: reason for them, as a phrase.
        is_certain: whether golden rows whose outputs match confirm them.
    """

    declare: Mapping[str, Any]
    why: str
    is_certain: bool = False


def assumed_request(
    described: Described, declared: Mapping[str, Any], columns: Sequence[str]
) -> Assumption | None:
    """Return what is missing for a request: the form of a file, the names of columns, fields beside the rows.

    Args:
        described: description of the route.
        declared: declared part of the contract.
        columns: the model's columns.

    Returns:
        None if nothing is missing, or cannot be assumed.
    """
    return (
        _assumed_file(described, declared)
        or _assumed_names(described, declared, columns)
        or _assumed_fields(described, declared)
    )


def _assumed_file(described: Described, declared: Mapping[str, Any]) -> Assumption | None:
    """Take a file for CSV: golden rows whose outputs match show that the service read them."""
    name = described.contract.features
    part = described.input.get("properties", {}).get(name, {})
    if "style" in declared or not is_file(part) or PICTURES & {part.get("type"), part.get("format")}:
        return None
    return Assumption({"features": name, "style": "file"}, "a file is CSV without a header", is_certain=True)


def _assumed_names(
    described: Described, declared: Mapping[str, Any], columns: Sequence[str]
) -> Assumption | None:
    """Match columns with other names by their order in the schema.

    That is never certain: a service that passes its fields on in a wrong order would be asked in that order.
    """
    contract = described.contract
    in_schema = row_properties(described.input, contract.features)
    unknown = [column for column in columns if contract.names.get(column, column) not in in_schema]
    others = [name for name in in_schema if name not in columns]
    if not unknown or len(others) < len(unknown) or not contract.by_name or "names" in declared:
        return None
    names = dict(zip(unknown, others, strict=False))
    return Assumption({"names": names}, "the service's columns, taken in the order of its schema")


def _assumed_fields(described: Described, declared: Mapping[str, Any]) -> Assumption | None:
    """Invent a value for each required field except the rows."""
    taken = set(declared.get("names", {}).values())
    required = {
        path: part for path, part in described.required.items() if path.rpartition(".")[2] not in taken
    }
    if not required:
        return None
    are_about_request = all(_is_about_request(path.rpartition(".")[2]) for path in required)
    are_open = all(
        part.get("type") in {"string", "integer"} and not part.get("enum") for part in required.values()
    )
    why = "required in addition to the rows; set it to what the application sends"
    return Assumption({"fields": example_for(required)}, why, is_certain=are_about_request and are_open)


def _is_about_request(name: str) -> bool:
    """Return whether all words of a name, such as ``requestId`` or ``batch_id``, are about the request."""
    words = words_in(name)
    return bool(words) and words <= ABOUT_REQUEST
