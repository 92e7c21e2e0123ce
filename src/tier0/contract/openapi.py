"""Descriptions in OpenAPI, as FastAPI and many others publish them at ``/openapi.json``.

A document is rewritten in the form of BentoML's ``/schema.json``, so that one reader derives contracts from
both (see `tier0.contract.service_schema`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tier0.contract.contract import how_to_declare
from tier0.contract.route_names import PLACEHOLDER, changes, predicts
from tier0.contract.service_schema import is_file
from tier0.core.fields import MAX_DEPTH, is_unicode, shown

MAX_ROUTES = 500
MAX_SCHEMAS = 20_000
"""Schemas of a document that are read, with each use of a shared one."""
JSON = "application/json"
FORM = "multipart/form-data"
WITH_BODY = ("post", "put", "patch")
PLACES = ("path", "query", "header")
"""Places of the parameters that a request may need."""
PLACE = "/openapi.json"
OTHER_PLACES = (
    "/api/openapi.json", "/v1/openapi.json", "/api/v1/openapi.json", "/ml/openapi.json", "/v3/api-docs",
)  # fmt: skip
"""Where a description is if it is neither at `PLACE` nor named by the page with the documentation."""
PAGE = "/docs"
"""Page with the documentation, which names the place of the description."""
NAMED_PLACE = re.compile(r"""url:\s*["'](/[^"'\s]*)["']|spec-url=["'](/[^"'\s]*)["']""")
HEALTH = ("/health", "/healthz", "/health/ready", "/ready", "/readyz", "/ping", "/live", "/livez", "/status")
READY = ("/ready", "/readyz", "/health/ready")
LIVE = ("/live", "/livez", "/health/live")


def is_openapi(document: Any) -> bool:
    """Return whether a document is a description in OpenAPI, version 3."""
    return (
        isinstance(document, Mapping)
        and str(document.get("openapi", "")).startswith("3.")
        and isinstance(document.get("paths"), Mapping)
    )


def place_in(page: Any) -> str | None:
    """Return the place of the description that a page with the documentation names; None if it names none."""
    found = NAMED_PLACE.search(page) if isinstance(page, str) else None
    return next(filter(None, found.groups())) if found else None


def seen_from(document: Mapping[str, Any], base: str, place: str) -> Mapping[str, Any]:
    """Return a description with its paths as they are below a URL.

    Args:
        document: description, whose paths are below its first server: one that is mounted names its folder.
        base: path of the URL; empty for none.
        place: path of the description on the server.
    """
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else None
    address = first.get("url") if isinstance(first, Mapping) else None
    try:
        folder = urlsplit(str(address or "")).path.rstrip("/")
    except ValueError:
        folder = ""
    mounted = folder if folder == place.rpartition("/")[0] else ""
    paths = {f"{mounted}{path}": operations for path, operations in document["paths"].items()}
    return {
        **document,
        "paths": {
            path.removeprefix(base) if path.startswith(f"{base}/") else path.removeprefix(mounted): operations
            for path, operations in paths.items()
        },
    }


def as_schema(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the routes that may predict, in the form of ``/schema.json``.

    A route to which no request can be made states why: a value in its path or query is open, or its body is
    neither JSON nor a form with a file.
    """
    reader = _Reader(document)
    routes = []
    for path, described in list(document["paths"].items())[:MAX_ROUTES]:
        operations = reader.target_of(described)
        for method in (*WITH_BODY, *(["get"] if predicts(str(path)) else [])):
            if isinstance(operation := operations.get(method), Mapping):
                shared = operations.get("parameters")
                routes.append(_route(str(path), method, operation, shared, reader))
    return {"routes": routes, "paths": {}}


def _route(path: str, method: str, operation: Mapping[str, Any], shared: Any, reader: _Reader) -> Any:
    """Return an operation as a route, with those values in its path, query and headers that are certain."""
    known, unknown = _parameters(reader.resolved([shared, operation.get("parameters")]))
    path = PLACEHOLDER.sub(lambda part: quote(known["path"].get(part[1], part[0]), safe="{}"), path)
    query = f"?{urlencode(known['query'])}" if known["query"] else ""
    body = reader.target_of(operation.get("requestBody"))
    schema = reader.resolved(_content(body))
    if schema is None and _has_file(form := reader.resolved(_content(body, FORM))):
        schema = form
    answer = next(
        (response for status, response in _items(operation.get("responses")) if str(status).startswith("2")),
        None,
    )
    texts = [str(operation.get(name) or "") for name in ("summary", "description", "operationId")]
    return {
        "route": path + query,
        "method": method.upper(),
        "headers": known["header"],
        "open_headers": list(unknown["header"]),
        "input": schema,
        "output": reader.resolved(_content(reader.target_of(answer))),
        "changes": changes(path, *texts),
        "is_deprecated": operation.get("deprecated") is True,
        "why_not": _why_not(path, method, body, schema, unknown),
    }


_Parameters = dict[str, dict[str, Any]]


def _parameters(described: Sequence[Any]) -> tuple[_Parameters, _Parameters]:
    """Return the parameters that a request needs, by place and name: their only values, or their choices."""
    known: _Parameters = {place: {} for place in PLACES}
    unknown: _Parameters = {place: {} for place in PLACES}
    for parameter in (part for parts in described if isinstance(parts, list) for part in parts):
        if not isinstance(parameter, Mapping) or parameter.get("in") not in PLACES:
            continue
        place, name, schema = parameter["in"], str(parameter.get("name")), parameter.get("schema")
        schema = schema if isinstance(schema, Mapping) else {}
        is_needed = place == "path" or (parameter.get("required") is True and "default" not in schema)
        if is_needed and is_unicode(name):
            choices = _choices(schema)
            if len(choices) == 1:
                known[place][name] = choices[0]
            else:
                unknown[place][name] = choices
    return known, unknown


def _choices(schema: Mapping[str, Any]) -> list[str]:
    """Return the values that a parameter can have; none if any can be sent."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    texts = [str(value) for value in values] if isinstance(values, list) else []
    return texts if all(map(is_unicode, texts)) else []


def _why_not(path: str, method: str, body: Mapping[str, Any], schema: Any, unknown: _Parameters) -> str:
    """Return why no request can be made to a route; empty if one can be made."""
    called = f"{method.upper()} {shown(path)[1:-1]}"
    names = PLACEHOLDER.findall(path)
    if names:
        open_values = {name: unknown["path"].get(name, []) for name in names}
        declare = {"route": path, "placeholders": {name: _first(open_values[name]) for name in names}}
        return f"{called} needs a value in its path: {_listed(open_values)}. {how_to_declare(declare)}"
    if method == "get" or (schema is None and unknown["query"]):
        return (
            f"{called} takes its input in the URL, which no contract can declare: rows are sent in the body "
            "of POST, PUT or PATCH"
        )
    if unknown["query"]:
        query = urlencode({name: _first(choices) for name, choices in unknown["query"].items()})
        declare = {"route": f"{path}?{query}"}
        return f"{called} needs a query: {_listed(unknown['query'])}. {how_to_declare(declare)}"
    if schema is not None:
        return ""
    if types := [shown(str(name))[1:-1] for name, _ in _items(body.get("content"))]:
        return f"{called} takes {', '.join(types)}, but rows are sent as JSON, as CSV or as a file with CSV"
    declare = {"route": path, "features": "path.of.the.rows", "predictions": "path.of.the.predictions"}
    return f"the description of {called} does not show its body. {how_to_declare(declare)}"


def _first(choices: Sequence[str]) -> str:
    return choices[0] if choices else "value"


def _listed(parameters: Mapping[str, Sequence[str]]) -> str:
    """Return names of parameters with their choices, for a message."""
    return ", ".join(
        f"{shown(name)[1:-1]} ({' or '.join(shown(choice)[1:-1] for choice in choices)})" if choices else name
        for name, choices in parameters.items()
    )


def routes_for(document: Mapping[str, Any], method: str) -> list[str]:
    """Return the paths that a description has for a method; all of its paths if it has none for that."""
    paths = {str(path): operations for path, operations in document["paths"].items()}
    found = [
        path
        for path, operations in paths.items()
        if isinstance(operations, Mapping) and method.lower() in operations
    ]
    return found or list(paths)


def health_routes(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the routes for health, readiness and liveness that have a usual name, as keys of a contract."""
    gets = {
        str(path)
        for path, operations in document["paths"].items()
        if isinstance(operations, Mapping) and "get" in operations
    }
    found = {}
    for key, usual in (("health", HEALTH), ("ready", READY), ("live", LIVE)):
        for ending in usual:
            if path := next((path for path in sorted(gets, key=len) if path.endswith(ending)), None):
                found[key] = path
                break
    return found


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _content(part: Any, media_type: str = JSON) -> Any:
    """Return the schema of a body of one type; None if there is none."""
    for name, content in _items(part.get("content") if isinstance(part, Mapping) else None):
        if str(name).partition(";")[0].strip() == media_type and isinstance(content, Mapping):
            return content.get("schema")
    return None


def _has_file(form: Any) -> bool:
    properties = form.get("properties") if isinstance(form, Mapping) else None
    return any(is_file(part) for _, part in _items(properties) if isinstance(part, Mapping))


class _Reader:
    """Replaces references in schemas by what they refer to."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._left = MAX_SCHEMAS

    def resolved(self, schema: Any, depth: int = 0) -> Any:
        """Return a schema without references; any value is allowed where there is too much to read."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            return {}
        if isinstance(schema, list):
            return [self.resolved(part, depth + 1) for part in schema]
        if not isinstance(schema, Mapping):
            return schema
        if isinstance(reference := schema.get("$ref"), str):
            return self.resolved(self._target(reference), depth + 1)
        parts = {
            name: part if name in {"default", "const", "enum", "examples"} else self.resolved(part, depth + 1)
            for name, part in schema.items()
        }
        return _as_one({key: part for key, part in parts.items() if key != "oneOf"}, parts.get("oneOf"))

    def target_of(self, value: Any) -> Mapping[str, Any]:
        """Return an object, or the one that it refers to; an empty one if there is none."""
        reference = value.get("$ref") if isinstance(value, Mapping) else None
        target = self._target(reference) if isinstance(reference, str) else value
        return target if isinstance(target, Mapping) else {}

    def _target(self, reference: str) -> Any:
        value: Any = self._document
        if not reference.startswith("#/"):
            return {}
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


def _as_one(schema: dict[str, Any], one_of: Any) -> dict[str, Any]:
    """Return a schema that is made of others as a single one.

    The parts of ``allOf`` are joined. Of several lists and objects that a value can be, the one for the most
    rows with names is kept: every service accepts each of them.
    """
    joined: dict[str, Any] = {}
    for part in [*_schemas(schema.pop("allOf", None)), schema]:
        properties = {**joined.get("properties", {}), **dict(_items(part.get("properties")))}
        required = [*_names(joined), *_names(part)]
        joined = {**joined, **part}
        joined |= {"properties": properties} if properties else {}
        joined |= {"required": required} if required else {}
    choices = [*_schemas(joined.get("anyOf")), *_schemas(one_of)]
    containers = [choice for choice in choices if choice.get("type") in {"array", "object"}]
    if containers:
        joined.pop("anyOf", None)
        return {**joined, **max(containers, key=_rows_with_names)}
    return {**joined, "anyOf": choices} if choices else joined


def _rows_with_names(schema: Any) -> tuple[bool, bool, bool]:
    items = schema.get("items")
    kind = items.get("type") if isinstance(items, Mapping) else None
    return kind == "object", kind == "array", schema.get("type") == "object"


def _schemas(value: Any) -> list[Mapping[str, Any]]:
    return [part for part in value if isinstance(part, Mapping)] if isinstance(value, list) else []


def _names(schema: Mapping[str, Any]) -> list[Any]:
    required = schema.get("required")
    return required if isinstance(required, list) else []
