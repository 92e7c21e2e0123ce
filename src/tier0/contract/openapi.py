"""Descriptions in OpenAPI, as FastAPI and many others publish them at ``/openapi.json``.

A document is rewritten in the form of BentoML's ``/schema.json``, so that one reader derives contracts from
both (see `tier0.contract.service_schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tier0.core.fields import MAX_DEPTH

MAX_ROUTES = 500
MAX_SCHEMAS = 20_000
"""Schemas of a document that are read, with each use of a shared one."""
JSON = "application/json"
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


def as_schema(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the routes that take JSON by POST, in the form of ``/schema.json``.

    Routes whose request body has no schema, or a path with placeholders, are left out.
    """
    reader = _Reader(document)
    routes = []
    for path, operations in list(document["paths"].items())[:MAX_ROUTES]:
        post = operations.get("post") if isinstance(operations, Mapping) else None
        body = _content(post.get("requestBody")) if isinstance(post, Mapping) else None
        if body is None or "{" in str(path):
            continue
        responses = post.get("responses") if isinstance(post, Mapping) else None
        answer = next(
            (response for status, response in _items(responses) if str(status).startswith("2")), None
        )
        route = {"route": path, "input": reader.resolved(body), "output": reader.resolved(_content(answer))}
        routes.append(route)
    return {"routes": routes, "paths": {}}


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


def _content(part: Any) -> Any:
    """Return the schema of a body as JSON; None if there is none."""
    for media_type, content in _items(part.get("content") if isinstance(part, Mapping) else None):
        if str(media_type).partition(";")[0].strip() == JSON and isinstance(content, Mapping):
            return content.get("schema")
    return None


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
        whole = parts.pop("allOf", None)
        if isinstance(whole, list) and len(whole) == 1 and isinstance(whole[0], Mapping):
            return {**whole[0], **parts}
        return parts

    def _target(self, reference: str) -> Any:
        value: Any = self._document
        if not reference.startswith("#/"):
            return {}
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            value = value.get(name) if isinstance(value, Mapping) else None
        return value
