"""The user's metadata of a model: everything that JSON can represent, also where BentoML's store cannot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tier0.core.errors import RegistrationError

PROVENANCE = "mlflow"
"""Key of an entry's metadata: URI, version, alias and run id of its MLflow model, and the store of MLflow."""
MAX_DEPTH = 50
MAX_INTEGER, MIN_INTEGER = 2**64 - 1, -(2**63)
"""Limits of the integers that the service can write."""


def as_json_types(metadata: Any) -> dict[str, Any]:
    """Return a copy of *metadata* as JSON types.

    Raises:
        RegistrationError: JSON cannot represent a key or a value; the message names it.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise RegistrationError(f"metadata must be a dict, got {type(metadata).__name__}")
    copied = _copied(metadata, "metadata", 0)
    names = copied.get("feature_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise RegistrationError(f"metadata['feature_names'] must be a list of text, got {names!r}")
    return copied  # type: ignore[no-any-return]


def _copied(value: Any, where: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise RegistrationError(f"{where} has more than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not _is_unicode(key):
                raise RegistrationError(f"{where} has the key {key!r}: keys of JSON objects are text")
        return {str(key): _copied(item, f"{where}[{str(key)!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise RegistrationError(f"{where} = {value!r}, which JSON cannot represent. Omit it, or use None")
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        raise RegistrationError(f"{where} = {value!r} has more than 64 bits. Write it as text")
    if isinstance(value, str) and not _is_unicode(value):
        raise RegistrationError(f"{where} has half of a surrogate pair, which is not valid text: {value!r}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return json.loads(json.dumps(value))  # without subclasses, such as members of an Enum
    raise RegistrationError(
        f"{where} is of type {type(value).__name__}, which JSON cannot represent. Use text, numbers, "
        "booleans, None, lists and dicts"
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_none(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata for BentoML's store, which has no None: values that contain None as JSON text."""
    return {
        key: json.dumps(value, ensure_ascii=False) if _contains_none(value) else value
        for key, value in metadata.items()
    }


def _contains_none(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return any(map(_contains_none, value.values() if isinstance(value, dict) else value))
    return value is None


def origin_in(metadata: Mapping[str, Any]) -> str:
    """Return where the MLflow model of an entry comes from, in words; empty for other models."""
    origin = metadata.get(PROVENANCE)
    if not isinstance(origin, Mapping) or "uri" not in origin:
        return ""
    details = [
        f"{label} {origin[key]}"
        for key, label in (("version", "version"), ("alias", "alias"), ("run_id", "run"))
        if origin.get(key)
    ]
    return f"{origin['uri']} ({', '.join(details)})" if details else str(origin["uri"])
