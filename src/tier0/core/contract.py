"""How rows become the body of a request, and how the body of an answer becomes predictions, for one service.

It is read from the service's own ``/schema.json``; what that does not say, or what shall be otherwise, is declared in a few lines
of TOML, any of them::

    schema = 1
    route = "/classify"          # POST
    features = "input.rows"      # where the rows go in the body; "" if the body is the rows
    style = "records"            # or "rows"; "record" or "row" where a request takes only one
    columns = "input.names"      # where the names of the columns go, if anywhere
    predictions = "labels"       # where the predictions are in the answer; "" if the answer is the list
    probabilities = "*.score"    # where the probabilities are, if anywhere; * goes through a list
    probability_of = "yes"       # the one class whose probability is given, where it is not all of them
    intervals = "bounds"         # where the lower and upper bounds of the predictions are, if anywhere
    model_tag = "model.tag"      # where the answer says which model gave it
    health = "/readyz"
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
Style = Literal["rows", "records", "row", "record"]
STYLES: tuple[str, ...] = get_args(Style)
PREDICTION_NAMES = ("predictions", "prediction", "labels", "label")
PROBABILITY_NAMES = ("probabilities", "probability", "scores", "score")
INTERVAL_NAMES = ("intervals", "interval", "prediction_intervals", "confidence_intervals")
PARTS = ("predictions", "probabilities", "intervals")
MAY_BE_ABSENT = {"columns", "probability_of", "model_tag", "intervals"}
SCALARS = {"number", "integer", "boolean", "string"}


class ContractError(Tier0Error):
    """The contract cannot be read, or cannot be found out from the service; the message says what to write."""


class OpenAnswerError(ContractError):
    """How to ask is known, but not where the predictions are in the answer: an answer has to be looked at.

    Args:
        message: what to write.
        contract: enough to ask with.
    """

    def __init__(self, message: str, contract: Contract) -> None:
        super().__init__(message)
        self.contract = contract


@dataclass(frozen=True)
class Contract:
    """One service's way to be asked. Paths within bodies are dotted; None means that there is no such part.

    Attributes:
        route: of the prediction, POST.
        features: where the rows go; ``""`` if they are the whole body.
        style: whether a row is sent as a list or as an object keyed by column, and whether a request takes many or one.
        columns: where the names of the columns go.
        predictions: where the predictions are in the answer; ``""`` if they are the whole answer.
        probabilities: where the probabilities are.
        probability_of: the one class whose probability is given; None where it is a list, one number a class.
        model_tag: where the answer says which model gave it.
        health: the health route, GET or POST.
        intervals: where the lower and upper bounds of the predictions are.
        optional: names of fields of the body that may be left out.
        is_batchable: the service waits for other callers' rows, to answer them together.
        is_array: the input is declared as an array, in which true is 1 before the service sees it.
    """

    route: str = "/predict"
    features: str = "features"
    style: Style = "rows"
    columns: str | None = "columns"
    predictions: str | None = "predictions"
    probabilities: str | None = "probabilities"
    probability_of: str | None = None
    model_tag: str | None = "model_tag"
    health: str = "/health"
    optional: tuple[str, ...] = ("columns",)
    is_array: bool = False
    is_batchable: bool = False
    intervals: str | None = "intervals"

    @property
    def one_row(self) -> bool:
        """Whether a request takes only one row."""
        return self.style in {"row", "record"}

    @property
    def by_name(self) -> bool:
        """Whether a request names its columns."""
        return self.style in {"records", "record"} or self.columns is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """What an answer may have of ``predictions``, ``probabilities`` and ``intervals``."""
        return tuple(part for part in PARTS if getattr(self, part) is not None)

    def body(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Return the body that asks about *rows*, whose values are in the order of *columns*; about the first, if it takes only one."""
        content: Any = [dict(zip(columns, row, strict=False)) if self.style.startswith("record") else list(row) for row in rows]
        if self.one_row:
            content = content[0]
        if not self.features:
            return content
        body: dict[str, Any] = {}
        _put(body, self.features, content)
        if self.columns and self.style == "rows":
            _put(body, self.columns, list(columns))
        return body

    def read(self, answer: Any) -> dict[str, Any]:
        """Return ``predictions``, ``probabilities``, ``intervals`` and ``model_tag`` of an answer: of one row, if a request takes only one."""
        found = {part: None if (path := getattr(self, part)) is None else _get(answer, path) for part in PARTS}
        if self.one_row:
            found = {part: None if value is None else [value] for part, value in found.items()}
        if self.probability_of is not None and isinstance(found["probabilities"], list):
            found["probabilities"] = [[value] for value in found["probabilities"]]
        return {**found, "model_tag": None if self.model_tag is None else _get(answer, self.model_tag)}


def read_contract(path: Path) -> dict[str, str | None]:
    """Read what a file declares of a contract; the rest is found in the service's schema.

    Raises:
        ContractError: it is no TOML, has another schema number, or holds what a contract does not.
    """
    known = {field.name for field in fields(Contract)} - {"optional", "is_array", "is_batchable"}
    document = read_document(path, "the contract", SCHEMA, ContractError)
    for name, value in document.items():
        if name not in known:
            raise ContractError(f"the contract {path} has {name!r}, which no contract has. It may have: {', '.join(sorted(known))}")
        if not isinstance(value, str):
            raise ContractError(f"the contract {path} has {name} = {value!r}: give text")
    if document.get("style", "rows") not in STYLES:
        raise ContractError(f"the contract {path} has style = {document['style']!r}: give one of {', '.join(STYLES)}")
    for name in ("route", "health"):
        if name in document and not document[name].startswith("/"):
            raise ContractError(f"the contract {path} has {name} = {document[name]!r}: a route begins with a slash")
    return {name: value or (None if name in MAY_BE_ABSENT else value) for name, value in document.items()}


def find_contract(schema: Any, declared: Mapping[str, Any], answered: Any = None, *, classes: int = 0) -> Contract:
    """Find the contract in what a BentoML service says about itself in ``/schema.json``.

    Args:
        schema: that document.
        declared: parts that are known, and need not be found.
        answered: an answer of the service, where there is one: it shows its parts, which a schema may leave open.
        classes: how many the model has: as many numbers a row are probabilities.

    Raises:
        ContractError: it does not say enough; the message shows what to write.
        OpenAnswerError: it says how to ask, and an answer would tell the rest.
    """
    schema = schema if isinstance(schema, Mapping) else {}
    routes = [route for route in schema.get("routes", []) if isinstance(route, Mapping)]
    described = _choose_route(routes, set(schema.get("paths", {})), declared.get("route"))
    if described is None:
        if declared.keys() - {"route", "health"}:
            absent = {"columns": None, **dict.fromkeys(PARTS), "model_tag": None, "optional": ()}
            return Contract(**{**absent, **declared})
        return Contract(**declared)
    return replace(_read_route(described, declared, answered, classes), **declared)


def _choose_route(routes: list[Mapping[str, Any]], mounted: set[str], wanted: str | None) -> Mapping[str, Any] | None:
    """Return the description of the route that predicts; None where it is not described, but mounted."""
    if wanted is not None:
        return next((route for route in routes if route.get("route") == wanted), None)
    if not routes and (not mounted or "/predict" in mounted):
        return None
    likely = [route for route in routes if "predict" in str(route.get("route"))] or routes
    if len(likely) != 1:
        listed = ", ".join(str(route.get("route")) for route in routes)
        raise ContractError(f"which of its routes predicts is not clear ({listed}). {how_to_declare(route='/predict')}")
    return likely[0]


def _read_route(route: Mapping[str, Any], declared: Mapping[str, Any], answered: Any, classes: int) -> Contract:
    path = str(route["route"])
    features, style, columns = (declared.get("features", ""), declared.get("style", "rows"), None)
    input_ = route.get("input", {})
    if "features" not in declared or "style" not in declared:
        features, style, columns = _find_input(path, input_, declared.get("features"))
    required = {features.partition(".")[0], *input_.get("required", [])}
    optional = tuple(name for name in input_.get("properties", {}) if name not in required)
    output = route.get("output", {})
    parts = {part: declared.get(part) for part in PARTS}
    if not parts.keys() & declared.keys():
        parts = _find_output(output, answered, classes, one_row=style in {"row", "record"})
    contract = Contract(
        path,
        features,
        style,
        columns,
        **parts,
        model_tag="model_tag" if output.get("type") == "object" else None,
        health="/readyz",
        optional=optional,
        is_array=input_.get("properties", {}).get(features, input_).get("type") == "tensor",
        is_batchable=bool(route.get("batchable")),
    )
    if not contract.parts:
        names = list(output.get("properties") or _names_in(answered))
        listed = f"among {', '.join(names)} " if names else ""
        message = f"where the predictions are {listed}in the answer of {path} is not clear. {how_to_declare(predictions='where.they.are')}"
        raise OpenAnswerError(message, contract)
    return contract


def _find_input(route: str, input_: Mapping[str, Any], wanted: str | None) -> tuple[str, Style, str | None]:
    """Find where the rows go, how a row looks, and where the names of the columns go."""
    found = {path: style for path, style in _places_of_rows(input_, "") if wanted in {None, path}}
    names = next((path for path, part in _leaves(input_, "") if _is_list_of(part, {"string"}) and "column" in path), None)
    if len(found) == 1:
        ((path, style),) = found.items()
        return path, style, names
    named = ", ".join(found or input_.get("properties", {})) or "its inputs"
    raise ContractError(f"which of {named} of {route} takes the rows is not clear. {how_to_declare(features='name.of.the.input', style='rows')}")


def _places_of_rows(part: Mapping[str, Any], path: str) -> list[tuple[str, Style]]:
    """Return where in a body rows can go; a matrix or a list of objects before a flat list, which is one row."""
    style = _style_of(part)
    if style is not None:
        return [(path, style)]
    properties = part.get("properties", {})
    if len(properties) > 1 and all(inner.get("type") in SCALARS for inner in properties.values()):
        return [(path, "record")]
    found = [place for name, inner in properties.items() for place in _places_of_rows(inner, f"{path}.{name}".lstrip("."))]
    many = [place for place in found if place[1] in {"rows", "records"}]
    return many or found


def _leaves(part: Mapping[str, Any], path: str) -> list[tuple[str, Mapping[str, Any]]]:
    properties = part.get("properties", {})
    if not properties:
        return [(path, part)]
    return [leaf for name, inner in properties.items() for leaf in _leaves(inner, f"{path}.{name}".lstrip("."))]


def _style_of(part: Mapping[str, Any]) -> Style | None:
    if part.get("type") == "dataframe":
        return "records"
    if part.get("type") == "tensor":
        return "row" if part.get("dim") == -1 else "rows"
    items = part.get("items")
    if part.get("type") != "array":
        return None
    items = items if isinstance(items, Mapping) else {}
    if items.get("type") == "object" or "$ref" in items:
        return "records"
    if items.get("type") == "array" or not items:
        return "rows"
    return "row" if _is_list_of(part, {"number", "integer"}) or "anyOf" in items else None


def _is_list_of(part: Mapping[str, Any], types: set[str]) -> bool:
    items = part.get("items")
    return part.get("type") == "array" and isinstance(items, Mapping) and items.get("type") in types


def _find_output(output: Mapping[str, Any], answered: Any, classes: int, *, one_row: bool) -> dict[str, str | None]:
    """Find where the predictions and the probabilities are in an answer; both are None where only an answer can tell."""
    prefix, part = "", output
    items = output.get("items")
    if not one_row and output.get("type") == "array" and isinstance(items, Mapping) and items.get("type") == "object":
        prefix, part = "*.", items
    if part.get("type") == "object" and part.get("properties"):
        return _parts_by_name(prefix, list(part["properties"]))
    if part.get("type") in SCALARS or (part.get("type") == "array" and _is_list_of(part, SCALARS) and not one_row):
        return {**dict.fromkeys(PARTS), "predictions": ""}
    if answered is None:
        return dict.fromkeys(PARTS)
    first = answered[0] if isinstance(answered, list) and answered and not one_row else None
    if isinstance(answered, Mapping):
        return _parts_by_name("", list(answered))
    if isinstance(first, Mapping):
        return _parts_by_name("*.", list(first))
    row = answered if one_row else first
    is_distribution = isinstance(row, list) and len(row) == classes > 1
    return {**dict.fromkeys(PARTS), "probabilities" if is_distribution else "predictions": ""}


def _parts_by_name(prefix: str, names: list[str]) -> dict[str, str | None]:
    return {
        "predictions": next((prefix + name for name in PREDICTION_NAMES if name in names), None),
        "probabilities": next((prefix + name for name in PROBABILITY_NAMES if name in names), None),
        "intervals": next((prefix + name for name in INTERVAL_NAMES if name in names), None),
    }


def _names_in(answered: Any) -> list[str]:
    if isinstance(answered, list) and answered:
        answered = answered[0]
    return list(answered) if isinstance(answered, Mapping) else []


def how_to_declare(**example: str) -> str:
    """Return what to write into a contract."""
    lines = ", ".join(["schema = 1", *(f"{name} = {json.dumps(value)}" for name, value in example.items())])
    return f"Say it with --contract FILE, a few lines of TOML: {lines}."


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[last] = value


def _get(answer: Any, path: str) -> Any:
    if not path:
        return answer
    part, _, rest = path.partition(".")
    if part == "*":
        return [_get(item, rest) for item in answer] if isinstance(answer, list) else None
    return _get(answer.get(part), rest) if isinstance(answer, Mapping) else None
