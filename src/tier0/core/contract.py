"""How rows become the body of a request, and how the body of an answer becomes predictions, for one service.

A contract is a few lines of TOML::

    schema = 1
    route = "/classify"          # POST
    features = "input.rows"      # where the rows go in the body; "" if the body is the rows
    style = "records"            # or "rows"
    columns = ""                 # where their names go, if anywhere
    predictions = "labels"       # where the predictions are in the answer; "" if the answer is the list, absent if it has none
    probabilities = "scores"     # where the probabilities are, if anywhere
    health = "/readyz"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from tier0.core.errors import Tier0Error

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1


class ContractError(Tier0Error):
    """The contract cannot be read, or cannot be found out from the service; the message says what to write."""


@dataclass(frozen=True)
class Contract:
    """One service's way to be asked. Paths within bodies are dotted; None means that there is no such part.

    Attributes:
        route: of the prediction, POST.
        features: where the rows go; ``""`` if they are the whole body.
        style: whether a row is sent as a list or as an object keyed by column.
        columns: where the names of the columns go.
        predictions: where the predictions are in the answer; ``""`` if they are the whole answer.
        probabilities: where the probabilities are.
        health: the health route, GET.
    """

    route: str = "/predict"
    features: str = "features"
    style: Literal["rows", "records"] = "rows"
    columns: str | None = "columns"
    predictions: str | None = "predictions"
    probabilities: str | None = "probabilities"
    health: str = "/health"

    def body(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Return the body that asks about *rows*, whose values are in the order of *columns*."""
        if self.style == "records":
            content: Any = [dict(zip(columns, row, strict=True)) for row in rows]
        else:
            content = [list(row) for row in rows]
        if not self.features:
            return content
        body: dict[str, Any] = {}
        _put(body, self.features, content)
        if self.columns and self.style == "rows":
            _put(body, self.columns, list(columns))
        return body

    def read(self, answer: Any) -> dict[str, Any]:
        """Return ``predictions``, ``probabilities`` and, if the answer is an object, everything else in it by its own name."""
        rest = dict(answer) if isinstance(answer, Mapping) else {}
        found = {part: _get(answer, path) for part in ("predictions", "probabilities") if (path := getattr(self, part)) is not None}
        return {**rest, "predictions": None, "probabilities": None, **found}


def read_contract(path: Path) -> Contract:
    """Read a contract.

    Raises:
        ContractError: it is no TOML, has another schema number, or holds what a contract does not.
    """
    known = {field.name for field in fields(Contract)}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ContractError(f"the contract {path} cannot be read: {problem}") from problem
    if (schema := document.pop("schema", None)) != SCHEMA:
        raise ContractError(f"the contract {path} has schema = {schema!r}: write schema = {SCHEMA}")
    for name, value in document.items():
        if name not in known:
            raise ContractError(f"the contract {path} has {name!r}, which no contract has. It may have: {', '.join(sorted(known))}")
        if not isinstance(value, str):
            raise ContractError(f"the contract {path} has {name} = {value!r}: give text")
    if document.get("style", "rows") not in {"rows", "records"}:
        raise ContractError(f"the contract {path} has style = {document['style']!r}: give 'rows' or 'records'")
    absent: dict[str, Any] = {"columns": None, "predictions": None, "probabilities": None}
    return Contract(**{**absent, **document, **({"columns": document["columns"] or None} if "columns" in document else {})})


def contract_from_schema(schema: Any) -> Contract:
    """Find the contract in what a BentoML service says about itself in ``/schema.json``.

    Raises:
        ContractError: it does not say enough; the message shows what to write.
    """
    mounted = set(schema.get("paths", {})) if isinstance(schema, Mapping) else set()
    routes = [route for route in schema.get("routes", []) if isinstance(route, Mapping)] if isinstance(schema, Mapping) else []
    if not routes and (not mounted or "/predict" in mounted):
        return Contract()
    likely = [route for route in routes if "predict" in str(route.get("route"))] or routes
    if len(likely) != 1:
        listed = ", ".join(str(route.get("route")) for route in routes)
        raise ContractError(f"which of its routes predicts is not clear ({listed}). {HOW_TO_WRITE_ONE}")
    (route,) = likely
    properties = route.get("input", {}).get("properties", {})
    required = route.get("input", {}).get("required", [])
    names = required if len(required) == 1 else list(properties)
    if len(names) != 1:
        raise ContractError(
            f"which of {', '.join(properties) or 'its inputs'} of {route.get('route')} takes the rows is not clear. {HOW_TO_WRITE_ONE}"
        )
    style: Literal["rows", "records"] = "records" if _takes_objects(properties[names[0]]) else "rows"
    output = route.get("output", {})
    parts: dict[str, str | None] = {"predictions": "", "probabilities": None}
    if output.get("type") == "object" and (given := output.get("properties")):
        parts = {part: part if part in given else None for part in parts}
        if not any(parts.values()):
            raise ContractError(f"where the predictions are among {', '.join(given)} of {route.get('route')} is not clear. {HOW_TO_WRITE_ONE}")
    return Contract(str(route["route"]), names[0], style, None, parts["predictions"], parts["probabilities"], "/readyz")


HOW_TO_WRITE_ONE = (
    'Say it with --contract FILE, a few lines of TOML: schema = 1, route = "/predict", features = "name.of.the.input", '
    'style = "rows" or "records", predictions = "where.they.are".'
)


def _takes_objects(input_schema: Any) -> bool:
    if not isinstance(input_schema, Mapping):
        return False
    items = input_schema.get("items", {})
    return input_schema.get("type") == "dataframe" or (isinstance(items, Mapping) and (items.get("type") == "object" or "$ref" in items))


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[last] = value


def _get(answer: Any, path: str) -> Any:
    for part in path.split(".") if path else []:
        if not isinstance(answer, Mapping):
            return None
        answer = answer.get(part)
    return answer
