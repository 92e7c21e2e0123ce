"""The description that a service publishes at ``/schema.json``, which other software wrote.

What is well-formed is kept, and what is not is a problem with its path in the document. Code that uses a
description may trust the types of the keywords that Tier0 knows; others, which a service may add, are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tier0.contract.route_names import changes
from tier0.core.fields import (
    MAX_DEPTH,
    InvalidFieldError,
    is_unicode,
    read_array,
    read_list,
    read_object,
    read_text,
    shown,
)

MAX_PROBLEMS = 3
"""Problems in one message."""
MAX_NAME = 40
"""Characters of a name in the path of a problem."""
Schema = Mapping[str, Any]


class Route(NamedTuple):
    """Description of one route.

    Attributes:
        path: path of the route, which need not be a valid one.
        input: schema of the request body.
        output: schema of the response body.
        is_batchable: whether the service waits for rows of other callers, to predict them together.
        is_task: whether it is a task of BentoML, which runs later and whose result is fetched separately.
        changes: whether its name or description shows that it changes something, as training does.
        is_deprecated: whether it is described as deprecated.
        method: HTTP method of a request.
        headers: headers that a request needs, with their only values.
        open_headers: names of the headers that a request needs, and whose values are not known.
        why_not: reason why no request can be made to it; empty if one can be made.
        problems_of_input: what is malformed in the schema of the request body.
        problems_of_output: what is malformed in the schema of the response body.
    """

    path: str
    input: Schema
    output: Schema
    is_batchable: bool
    is_task: bool
    changes: bool
    is_deprecated: bool
    method: str
    headers: Mapping[str, str]
    open_headers: tuple[str, ...]
    why_not: str
    problems_of_input: tuple[str, ...]
    problems_of_output: tuple[str, ...]


class Description(NamedTuple):
    """Description of a service.

    Attributes:
        routes: its routes.
        paths: paths of the service, with those of mounted applications, which are not described.
        problems: what is malformed outside of the schemas of routes.
    """

    routes: tuple[Route, ...]
    paths: tuple[str, ...]
    problems: tuple[str, ...]


def read_description(document: Any) -> Description:
    """Read the content of ``/schema.json``."""
    problems: list[str] = []
    try:
        content = _object(document, "the document")
    except InvalidFieldError as problem:
        return Description((), (), (str(problem),))
    if content.get("routes") is None:
        problems.append("routes is missing")
    listed = _kept(content.get("routes"), "routes", read_array, problems) or []
    routes = [_route(route, f"routes[{index}]", problems) for index, route in enumerate(listed)]
    paths = _kept(content.get("paths"), "paths", _object, problems) or {}
    return Description(tuple(route for route in routes if route is not None), tuple(paths), tuple(problems))


def in_words(problems: tuple[str, ...]) -> str:
    """Return the first problems as one text."""
    more = len(problems) - MAX_PROBLEMS
    return "; ".join(problems[:MAX_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _route(value: Any, place: str, problems: list[str]) -> Route | None:
    try:
        content = _object(value, place)
        path = _text(content.get("route"), f"{place}.route")
    except InvalidFieldError as problem:
        problems.append(str(problem))
        return None
    of_input: list[str] = []
    of_output: list[str] = []
    return Route(
        path,
        _schema(content.get("input"), f"{place}.input", of_input),
        _schema(content.get("output"), f"{place}.output", of_output),
        bool(_kept(content.get("batchable"), f"{place}.batchable", _boolean, of_input)),
        bool(_kept(content.get("is_task"), f"{place}.is_task", _boolean, of_input)),
        content.get("changes") is True or changes(path),
        content.get("is_deprecated") is True,
        _kept(content.get("method"), f"{place}.method", _text, of_input) or "POST",
        _kept(content.get("headers"), f"{place}.headers", _object, of_input) or {},
        tuple(_kept(content.get("open_headers"), f"{place}.open_headers", _texts, of_input) or ()),
        _kept(content.get("why_not"), f"{place}.why_not", _text, of_input) or "",
        tuple(of_input),
        tuple(of_output),
    )


def _schema(value: Any, place: str, problems: list[str], depth: int = 0) -> Schema:
    """Return what is well-formed in a schema; an empty one for true, which allows any value."""
    if value is None or isinstance(value, bool):
        return {}
    if depth > MAX_DEPTH:
        problems.append(f"{place} is nested more than {MAX_DEPTH} levels deep")
        return {}
    content = _kept(value, place, _object, problems) or {}
    read: dict[str, Any] = {name: part for name, part in content.items() if name not in KEYWORDS}
    for name, reader in KEYWORDS.items():
        part = _kept(content.get(name), f"{place}.{name}", reader, problems)
        if part is not None or (name in MAY_BE_NULL and name in content and content[name] is None):
            read[name] = part
    if "properties" in read:
        read["properties"] = {
            name: _schema(inner, f"{place}.properties.{_short(name)}", problems, depth + 1)
            for name, inner in read["properties"].items()
        }
    for name in ("items", "additionalProperties"):
        if name in read:
            read[name] = _schema(read[name], f"{place}.{name}", problems, depth + 1)
    if "anyOf" in read:
        read["anyOf"] = [
            _schema(choice, f"{place}.anyOf[{index}]", problems, depth + 1)
            for index, choice in enumerate(read["anyOf"])
        ]
    return _with_one_type(read)


def _with_one_type(read: dict[str, Any]) -> Schema:
    """Return a schema with one type, or with a choice of schemas, in place of a list of types."""
    types = read.get("type")
    if not isinstance(types, list):
        return read
    others = [kind for kind in types if kind != "null"]
    if len(others) == 1:
        return {**read, "type": others[0]}
    rest = {name: part for name, part in read.items() if name != "type"}
    return {"anyOf": [{"type": kind} for kind in types], **rest}


def _kept(value: Any, place: str, read: Callable[[Any, str], Any], problems: list[str]) -> Any:
    """Return what *read* returns; None for null, and for a malformed value, which is added to *problems*."""
    if value is None:
        return None
    try:
        return read(value, place)
    except InvalidFieldError as problem:
        problems.append(str(problem))
        return None


def _short(name: str) -> str:
    """Return a name for a path: as it is, or quoted if it is long or contains special characters."""
    return name if name.isidentifier() and len(name) <= MAX_NAME else shown(name, MAX_NAME)


def _object(value: Any, place: str) -> dict[str, Any]:
    content = read_object(value, place)
    for name in content:
        _text(name, f"a name in {place}")
    return content


def _text(value: Any, place: str) -> str:
    text = read_text(value, place)
    if not is_unicode(text):
        raise InvalidFieldError(place, "text", value)
    return text


def _texts(value: Any, place: str) -> list[str]:
    return read_list(value, place, _text)


def _boolean(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidFieldError(place, "true or false", value)
    return value


def _whole(value: Any, place: str) -> int:
    is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
    if not is_whole:
        raise InvalidFieldError(place, "a whole number", value)
    return int(value)


def _shape(value: Any, place: str) -> list[int | None]:
    """Read the lengths of an array's dimensions; a name or null stands for any length."""
    return [item if type(item) is int else None for item in read_array(value, place)]


def _types(value: Any, place: str) -> str | list[str]:
    if not isinstance(value, (str, list)):
        raise InvalidFieldError(place, "a type or a list of types", value)
    return _text(value, place) if isinstance(value, str) else _texts(value, place)


def _required(value: Any, place: str) -> list[str] | None:
    """Read the names of required fields; earlier drafts of JSON Schema have a boolean at each field."""
    return None if isinstance(value, bool) else _texts(value, place)


def _items(value: Any, place: str) -> Any:
    """Read the schema of items; earlier drafts allow a list of schemas, one per position."""
    return None if isinstance(value, list) else _subschema(value, place)


def _subschema(value: Any, place: str) -> Any:
    return value if isinstance(value, bool) else _object(value, place)


def _value(value: Any, place: str) -> Any:
    """Read a value that a request may contain."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        raise InvalidFieldError(place, "a value that JSON can represent", value) from None
    return value


def _choices(value: Any, place: str) -> list[Any] | None:
    return read_list(value, place, _value) or None


def _examples(value: Any, place: str) -> list[Any] | None:
    """Read examples; some tools write an object of named ones, which is not used."""
    return _choices(value, place) if isinstance(value, list) else None


KEYWORDS: Mapping[str, Callable[[Any, str], Any]] = {
    "type": _types,
    "properties": _object,
    "required": _required,
    "items": _items,
    "additionalProperties": _subschema,
    "anyOf": read_array,
    "enum": _choices,
    "examples": _examples,
    "const": _value,
    "default": _value,
    "maxItems": _whole,
    "shape": _shape,
    "dim": _whole,
    "orient": _text,
    "columns": _texts,
    "format": _text,
    "is_stream": _boolean,
}
"""The keywords of a schema that Tier0 uses, each with its reader."""
MAY_BE_NULL = {"const", "default"}
"""Keywords whose value may be null; in others, null means that the keyword is absent."""
