"""Derivation of a contract from the schema that a BentoML service publishes at ``/schema.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from tier0.contract.contract import (
    ITEMS,
    ONE_ROW_STYLES,
    Contract,
    ContractError,
    Style,
    as_toml,
    can_be_path,
    how_to_declare,
    join_path,
)
from tier0.contract.description import Description, Route, Schema, in_words, read_description
from tier0.contract.route_names import PREDICT, describes, predicts
from tier0.contract.tensors import DATATYPES, DEFAULT_NAME
from tier0.core.address import problem_of
from tier0.core.fields import shown
from tier0.core.near_names import did_you_mean
from tier0.core.outputs import PARTS

PREDICTION_NAMES = ("predictions", "prediction", "labels", "label")
PROBABILITY_NAMES = ("probabilities", "probability", "scores", "score")
INTERVAL_NAMES = ("intervals", "interval", "prediction_intervals", "confidence_intervals")
SCALARS = {"number", "integer", "boolean", "string"}
NUMBERS = {"number", "integer"}
FILES = {"file", "image", "audio", "video"}
BENTOML_HEALTH = "/readyz"
MANY_ROWS = {"rows", "records", "columns", "values"}
MATRIX_DIMENSIONS = 2
TENSOR_FIELDS = {"name", "shape", "datatype", "data"}
"""Fields of a tensor in version 2 of the Open Inference Protocol."""
MAX_LISTED = 20
"""Names in a message."""
EXAMPLES = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
}
"""A text of each format that a field may have."""
EXAMPLE = {
    "route": "/prediction-route",
    "features": "path.of.the.rows",
    "predictions": "path.of.the.predictions",
}
"""A declaration with which no description is needed."""


class OpenAnswerError(ContractError):
    """The schema shows the form of requests, but not the path of the predictions, which a response shows.

    Args:
        message: what to declare.
        contract: contract that is sufficient for a request.
    """

    def __init__(self, message: str, contract: Contract) -> None:
        super().__init__(message)
        self.contract = contract


DRAFT = "tier0 contract URL --golden FILE"
"""Command that drafts a contract, with placeholders for what the run knows."""


class Form(NamedTuple):
    """A form in which rows can be sent.

    Attributes:
        features: path of the rows in the body.
        style: style of the rows.
        max_rows: maximum number of rows per request; None for no limit.
        others: further attributes of the contract that belong to this form.
    """

    features: str
    style: Style
    max_rows: int | None = None
    others: Mapping[str, Any] = MappingProxyType({})


class Described(NamedTuple):
    """Description of one route in a schema.

    Attributes:
        forms: forms in which rows can be sent, the most likely first; several if the schema is ambiguous.
        contract: derived contract, with the first of the forms.
        required: required fields of the body in addition to the rows, each with its schema.
        input: schema of the request body.
        output: schema of the response body.
        open_headers: names of headers that a request needs, and whose values are not known.
    """

    forms: tuple[Form, ...]
    contract: Contract
    required: Mapping[str, Schema]
    input: Schema
    output: Schema
    open_headers: tuple[str, ...] = ()

    @property
    def is_unusable(self) -> bool:
        """Whether it describes a route to which no rows can be sent as they are declared."""
        return bool(self.contract.why_not_asked) and not self.input


def find_contract(schema: Any, declared: Mapping[str, Any], columns: Sequence[str] = ()) -> Contract:
    """Derive the contract from a schema alone.

    Args:
        schema: content of the service's ``/schema.json``.
        declared: declared part of the contract.
        columns: column names of the model, if they are known.

    Raises:
        ContractError: the schema is insufficient; the message shows what to declare.
        OpenAnswerError: the schema is sufficient for a request, and a response would show the rest.
    """
    return contract_of(describe(schema, declared, columns), declared, is_bentoml=bool(schema))


def contract_of(described: Described | None, declared: Mapping[str, Any], *, is_bentoml: bool) -> Contract:
    """Return the contract of a description, if it also shows where the predictions are in a response.

    Args:
        described: the description; None if there is none for the route.
        declared: declared part of the contract.
        is_bentoml: whether a service without a description is BentoML's.

    Raises:
        OpenAnswerError: the description is sufficient for a request, and a response would show the rest.
    """
    if described is None:
        return undescribed(declared, is_bentoml=is_bentoml)
    contract = described.contract
    if described.is_unusable:
        raise ContractError(contract.why_not_asked)
    if not contract.parts and not contract.why_not_asked:
        names = list(described.output.get("properties") or ())
        listed = f" (its fields: {listed_names(names)})" if names else ""
        message = f"it is not clear where the predictions are in the response of {contract.route}{listed}. "
        raise OpenAnswerError(message + how_to_declare({"predictions": "path.of.the.predictions"}), contract)
    return contract


def path_prefixes(schema: Any) -> list[str]:
    """Return the paths below which all routes of a schema are, the shortest first.

    One of them may be the ``path_prefix`` of the service, below which BentoML's health routes are as well.
    The schema does not name it.
    """
    description = read_description(schema)
    known = [route.path for route in description.routes] or description.paths
    folders = [path.split("/")[1:-1] for path in known if not problem_of(path)]
    common: list[str] = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ["/" + "/".join(common[:length]) for length in range(1, len(common) + 1)]


def routes_in(schema: Any) -> list[str]:
    """Return the paths of the routes that a schema describes; none without a schema."""
    description = read_description(schema)
    return [route.path for route in description.routes] or list(description.paths)


def undescribed(declared: Mapping[str, Any], *, is_bentoml: bool) -> Contract:
    """Return the contract of a route without a schema: the declared one, or that of Tier0's own service."""
    if declared.keys() - {"route", "health"}:
        absent = {"columns": None, **dict.fromkeys(PARTS), "model_tag": None, "optional": ()}
        if "adapter" in declared:  # which names the parts itself
            absent |= {name: name for name in (*PARTS, "model_tag")}
        return Contract(**{**absent, **declared, "is_bentoml": is_bentoml})
    return Contract(**declared, is_bentoml=is_bentoml)


def describe(schema: Any, declared: Mapping[str, Any], columns: Sequence[str] = ()) -> Described | None:
    """Return the description of the prediction route; None if the route is mounted, or not in the schema.

    Raises:
        ContractError: the prediction route or the path of the rows is ambiguous, or the schema is not from
            BentoML.
    """
    if schema is None:
        return None
    description = read_description(schema)
    route = _choose_route(description, declared.get("route"), columns)
    if route is not None:
        return _described(route, declared, columns)
    if description.problems and needs_description(declared):
        raise malformed(description.problems)
    return None


def needs_description(declared: Mapping[str, Any]) -> bool:
    """Return whether a request cannot be made from what is declared, with the defaults for the rest."""
    return not {"features", "adapter"} & declared.keys() and declared.get("style") != "csv"


def malformed(problems: tuple[str, ...]) -> ContractError:
    """Return the error for a description in which something that is needed is malformed."""
    what = f"the service's /schema.json is malformed: {in_words(problems)}"
    return ContractError(f"{what}. Correct it in the service, or do without it. {how_to_declare(EXAMPLE)}")


def _choose_route(description: Description, wanted: str | None, columns: Sequence[str]) -> Route | None:
    """Return the prediction route: declared, ``predict``, or the only one that takes rows.

    What shows that it changes something is never chosen.
    """
    if wanted is not None:
        fitting = [route for route in description.routes if describes(route.path, wanted)]
        return next((route for route in fitting if route.path == wanted), next(iter(fitting), None))
    mounted = description.paths
    if not description.routes and (not mounted or "/predict" in mounted):
        return None
    likely = _likely_routes(description.routes, columns)
    if len(likely) == 1:
        return likely[0]
    routes = description.routes
    example = (likely or routes)[0].path if likely else EXAMPLE["route"]
    more = f". Malformed in /schema.json: {in_words(description.problems)}" if description.problems else ""
    raise ContractError(
        f"it is not clear which route predicts ({listed_names([route.path for route in routes])}){more}. "
        + how_to_declare({"route": example})
    )


def _likely_routes(routes: Sequence[Route], columns: Sequence[str]) -> Sequence[Route]:
    """Return the routes that predict by their names, or else all; of several, those that take (many) rows."""
    routes = [route for route in routes if not route.changes]
    for is_worse in (_is_task, _is_deprecated):
        routes = [route for route in routes if not is_worse(route)] or routes
    usable = [route for route in routes if not route.why_not]
    likely = next(
        filter(
            None,
            (
                [route for route in usable if route.path == "/predict"],
                [route for route in usable if _last_part(route) == PREDICT],
                [route for route in usable if PREDICT in route.path],
                [route for route in routes if PREDICT in route.path],
                [route for route in usable if predicts(route.path)],
                usable,
            ),
        ),
        routes,
    )
    for fits in (_takes_rows, _takes_many_rows):
        if len(likely) > 1:
            likely = [route for route in likely if fits(route, columns)] or likely
    return likely


def _is_task(route: Route) -> bool:
    return route.is_task


def _is_deprecated(route: Route) -> bool:
    return route.is_deprecated


def _last_part(route: Route) -> str:
    return route.path.rstrip("/").rpartition("/")[2]


def listed_names(names: Sequence[str]) -> str:
    """Return names of the service for a message."""
    more = [f"and {len(names) - MAX_LISTED} more"] if len(names) > MAX_LISTED else []
    return ", ".join([*(shown(name)[1:-1] for name in names[:MAX_LISTED]), *more])


def _takes_rows(route: Route, columns: Sequence[str]) -> bool:
    try:
        described = _described(route, {}, columns)
    except ContractError:
        return False
    return not described.contract.why_not_asked and not described.required


def _takes_many_rows(route: Route, columns: Sequence[str]) -> bool:
    return _takes_rows(route, columns) and _described(route, {}, columns).forms[0].style in MANY_ROWS


def _described(route: Route, declared: Mapping[str, Any], columns: Sequence[str]) -> Described:
    path = route.path
    if problem := problem_of(path):
        raise ContractError(
            f"invalid route {shown(path)} in the service's /schema.json: {problem}. "
            "Declare the prediction route as route in the contract"
        )
    if route.why_not and not ("route" in declared and route.input):
        first = Form(declared.get("features", ""), declared.get("style", "rows"))
        contract = Contract(path, first.features, first.style, why_not_asked=route.why_not)
        return Described((first,), replace(contract, **declared), {}, {}, {})
    are_parts_declared = bool(set(PARTS) & declared.keys())
    problems = route.problems_of_input + (() if are_parts_declared else route.problems_of_output)
    if problems and needs_description(declared):
        raise malformed(problems)
    input_, output = route.input, route.output
    properties = _properties(input_)
    forms, names, why_not = _find_input(path, input_, declared, columns)
    first = forms[0]
    declared = {"names": _names_of_columns(input_, first, columns), **declared}
    needed = {
        first.features.partition(".")[0],
        *input_.get("required", []),
        *_service_names(columns, declared),
    }
    paths = {part: declared.get(part) for part in PARTS}
    if not paths.keys() & declared.keys():
        paths = _find_output(output, one_row=first.style in ONE_ROW_STYLES)
    if output.get("is_stream"):
        why_not = f"{path} responds with a stream, which cannot be checked"
    if route.is_task:
        why_not = (
            f"{path} is a task (@bentoml.task), which runs later: tasks are not checked. Declare the route "
            "of an API (@bentoml.api) in the contract if the service has one"
        )
    contract = Contract(
        path,
        first.features,
        first.style,
        names,
        model_tag="model_tag" if output.get("type") == "object" else None,
        health=BENTOML_HEALTH,
        optional=tuple(name for name in properties if name not in needed),
        is_array=properties.get(first.features, input_).get("type") == "tensor",
        is_batchable=route.is_batchable,
        method=route.method,
        headers=route.headers,
        max_rows=first.max_rows,
        why_not_asked=why_not,
    ).with_paths(paths)
    service_names = _service_names(columns, declared)
    required, unnamed = _required_fields(input_, first.features, service_names)
    if unnamed and needs_description(declared):
        raise ContractError(
            f"{path} requires the field {shown(unnamed[0])}, which a contract cannot name: it is empty, "
            f"* or has a dot. {how_to_declare(EXAMPLE)}"
        )
    constants = {name: value for name, part in required.items() if (value := _only_value(part)) is not None}
    declared["fields"] = {**constants, **(declared.get("fields") or {})}
    known = {names, *declared["fields"]}
    required = {name: part for name, part in required.items() if name not in known}
    if not why_not and first.style != "tensor":
        why_not = why_columns_differ(path, row_properties(input_, first.features), service_names)
        contract = replace(contract, why_not_asked=why_not)
    stated = {**first.others, **declared}
    return Described(forms, replace(contract, **stated), required, input_, output, route.open_headers)


def _properties(part: Schema) -> Mapping[str, Schema]:
    properties: Mapping[str, Schema] = part.get("properties", {})
    return properties


def _names_of_columns(input_: Schema, form: Form, columns: Sequence[str]) -> dict[str, str]:
    """Return the service's column names that differ in spelling: ``sepalLength`` for ``sepal_length``."""
    spelled = spelled_names(columns, list(row_properties(input_, form.features)))
    return {column: name for column, name in (spelled or {}).items() if column != name}


def row_properties(input_: Schema, features: str) -> Schema:
    """Return the properties of one row in a body, by the service's column names; empty if unknown."""
    part = input_
    for name in features.split(".") if features else []:
        part = _inner(part, name)
    if "columns" in part:
        return {name: {} for name in part["columns"]}
    return _properties(part.get("items", {})) or _properties(part)


def _inner(part: Schema, name: str) -> Schema:
    """Return the schema of a property, or of the items of a list for ``*``."""
    inner: Schema = part.get("items", {}) if name == "*" else _properties(part).get(name, {})
    return inner


def spelled_names(columns: Sequence[str], names: Sequence[str]) -> dict[str, str] | None:
    """Return the name of each column, up to case, spaces and underscores; None unless each has one."""
    if set(columns) <= set(names):
        return {column: column for column in columns}
    folded = {_fold(name): name for name in names}
    found = {column: folded[_fold(column)] for column in columns if _fold(column) in folded}
    is_one_to_one = len(folded) == len(names) and len(set(found.values())) == len(columns) == len(found)
    return found if is_one_to_one else None


def _fold(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _service_names(columns: Sequence[str], declared: Mapping[str, Any]) -> list[str]:
    return [str((declared.get("names") or {}).get(column, column)) for column in columns]


def _required_fields(
    part: Schema, features: str, columns: Sequence[str]
) -> tuple[dict[str, Schema], list[str]]:
    """Return the required fields of a body without the rows and their columns.

    Args:
        part: schema of the body.
        features: path of the rows.
        columns: the service's names of the columns.

    Returns:
        The fields by path, and the names of those that cannot be part of a path.
    """
    found: dict[str, Schema] = {}
    unnamed: list[str] = []
    path = ""

    def add(known: Sequence[str]) -> None:
        properties = _properties(part)
        for name in part.get("required", []):
            if name not in known and can_be_path(name):
                found[join_path(path, name)] = properties.get(name, {})
            elif name not in known:
                unnamed.append(name)

    for name in features.split(".") if features else []:
        add([name])
        path, part = join_path(path, name), _inner(part, name)
    if "items" in part:
        path, part = join_path(path, "*"), part["items"]
    if set(columns) & set(_properties(part)):
        add(columns)
    return found, unnamed


def _find_input(
    path: str, input_: Schema, declared: Mapping[str, Any], columns: Sequence[str]
) -> tuple[tuple[Form, ...], str | None, str]:
    """Return the forms in which rows can be sent, the path of the column names, and why none can be sent."""
    wanted, style = declared.get("features"), declared.get("style")
    if wanted is not None and style is not None:
        return (Form(wanted, style, declared.get("max_rows")),), None, ""
    leaves = list(_leaves(input_, ""))
    found = [
        form
        for form in _forms(input_, "", columns)
        if wanted in {None, form.features} and style in {None, form.style}
    ]
    found = _narrowed(found, input_, columns)
    if not found and style is not None:
        found = [
            Form(leaf, style)
            for leaf, part in leaves
            if part.get("type") not in FILES | {"string"} and wanted in {None, leaf}
        ]
    if not found and wanted is not None:
        return (Form(wanted, "rows"),), None, ""
    if len({form.features for form in found}) == 1:
        name_lists = [leaf for leaf, part in leaves if _is_list_of(part, {"string"}) and "column" in leaf]
        names = next(iter(name_lists), None)
        return tuple(found), names if found[0].features != names else None, ""
    files = [leaf for leaf, part in leaves if is_file(part)]
    if not found and files:
        why_not = (
            f"{path} takes a file ({files[0]}), whose format is unknown. If it is CSV without a header, "
            f"declare it in a contract ({_one_line({'features': files[0], 'style': 'file'})})"
        )
        return (Form(files[0], "rows"),), None, why_not
    inputs = [form.features for form in found] or list(_properties(input_))
    listed = listed_names(list(dict.fromkeys(inputs))) or "the schema has no inputs"
    first = found[0] if found else Form("name.of.the.input", "rows")
    example = {"features": first.features, "style": first.style}
    raise ContractError(
        f"it is not clear which input of {path} takes the rows ({listed}). {how_to_declare(example)}"
    )


def _narrowed(found: list[Form], input_: Schema, columns: Sequence[str]) -> list[Form]:
    """Return the forms of the inputs that have the model's columns, or else of the required ones, if any."""
    if len({form.features for form in found}) <= 1:
        return found
    with_columns = [
        form
        for form in found
        if columns and spelled_names(columns, list(row_properties(input_, form.features))) is not None
    ]
    required = input_.get("required", [])
    return with_columns or [form for form in found if form.features.partition(".")[0] in required] or found


def _forms(part: Schema, path: str, columns: Sequence[str]) -> list[Form]:
    """Return the forms in which a body can contain rows; inputs for many rows precede flat lists."""
    forms = _forms_of(part, path, columns)
    if forms:
        return forms
    properties = _properties(part)
    if _is_record(properties, columns):
        names = (spelled_names(columns, list(properties)) or {}).values()
        parts = [properties[name] for name in names]
        are_lists = bool(parts) and all(part.get("type") == "array" for part in parts)
        return [Form(path, "columns" if are_lists else "record")]
    found: list[Form] = []
    for name in filter(can_be_path, properties):
        found += _forms(properties[name], join_path(path, name), columns)
    for_many_rows = {
        form.features
        for form in found
        if form.style in MANY_ROWS and form.features.rpartition(".")[2] not in columns
    }
    return [form for form in found if form.features in for_many_rows] or found


def _is_record(properties: Schema, columns: Sequence[str]) -> bool:
    """Return whether an object is a row: it has the model's columns, or only single values."""
    if columns and spelled_names(columns, list(properties)) is not None:
        return True
    scalars = [name for name, inner in properties.items() if _is_scalar(inner)]
    return len(scalars) == len(properties) > 1


def _is_scalar(part: Schema) -> bool:
    kinds = [part, *part.get("anyOf", [])]
    return any(kind.get("type") in SCALARS for kind in kinds) or "enum" in part or "const" in part


def _forms_of(part: Schema, path: str, columns: Sequence[str]) -> list[Form]:
    """Return the forms of one value of a body, without those of nested values."""
    forms: list[Form] = []
    match part.get("type"):
        case "dataframe":
            forms = [Form(path, "columns" if part.get("orient") in {"list", "columns"} else "records")]
        case "tensor":
            forms = _tensor_forms(part, path, columns)
        case "array":
            forms = _array_forms(part, path, columns)
        case "object" if not part.get("properties") and path:
            forms = _open_object_forms(part, path)
        case "string" if len(columns) == 1 and not part.get("enum") and not is_file(part):
            forms = [Form(path, "value")]
        case None if not part.keys() & {"anyOf", "$ref", "properties", "enum", "const"} and path:
            forms = [Form(path, "rows"), Form(path, "records")]
    return forms


def _open_object_forms(part: Schema, path: str) -> list[Form]:
    """Return the forms of an object with arbitrary keys."""
    inner: Schema = part.get("additionalProperties", {})
    if inner.get("type") == "array":
        return [Form(path, "columns")]
    if inner.get("type") in SCALARS:
        return [Form(path, "record")]
    return [Form(path, "columns"), Form(path, "record")]


def _tensor_forms(part: Schema, path: str, columns: Sequence[str]) -> list[Form]:
    shape = part.get("shape", [])
    if len(shape) > MATRIX_DIMENSIONS:  # arrays such as images, which are the only column of their rows
        return [Form(path, "values")] if len(columns) == 1 else []
    if len(shape) == 1 or part.get("dim") == -1:
        return [Form(path, "row")]
    rows = shape[0] if shape else None
    return [Form(path, "rows", rows if rows is not None and rows > 0 else None)]


def _array_forms(part: Schema, path: str, columns: Sequence[str]) -> list[Form]:
    items: Schema = part.get("items", {})
    limit = part.get("maxItems")
    limit = limit if limit is not None and limit > 0 else None
    if items.get("type") == "object" or "$ref" in items:
        return [_form_of_objects(items, path, limit, columns)]
    if items.get("type") == "array":
        return [Form(path, "rows", limit)]
    if not items:
        return [Form(path, "rows", limit), Form(path, "records", limit)]
    if len(columns) == 1 and _is_scalar(items):
        return [Form(path, "values", limit)]
    return [Form(path, "row")] if _is_list_of(part, NUMBERS) or "anyOf" in items else []


def _form_of_objects(item: Schema, path: str, limit: int | None, columns: Sequence[str]) -> Form:
    """Return the form of a list of objects: tensors, rows in a field of each, or rows."""
    if _properties(item).keys() >= TENSOR_FIELDS:
        return Form(path, "tensor", others=_only_tensor(_properties(item)))
    row = _row_in_item(item, columns)
    return Form(f"{path}{ITEMS}{row}" if row and path else path, "records", limit)


def _row_in_item(item: Schema, columns: Sequence[str]) -> str:
    """Return the field of an item that has the model's columns, if the item itself has not; else nothing."""
    properties = _properties(item)
    if not columns or spelled_names(columns, list(properties)) is not None:
        return ""
    names = [
        name
        for name in filter(can_be_path, properties)
        if spelled_names(columns, list(_properties(properties[name]))) is not None
    ]
    return names[0] if len(names) == 1 else ""


def _only_tensor(properties: Schema) -> dict[str, Any]:
    """Return the name and the datatype of a tensor, where its schema allows only one."""
    name, datatype = (_only_value(properties[field]) for field in ("name", "datatype"))
    tensor = name if isinstance(name, str) else DEFAULT_NAME
    return {"tensor": tensor, "datatypes": {tensor: datatype} if datatype in DATATYPES else {}}


def is_file(part: Schema) -> bool:
    """Return whether a field takes a file."""
    return (
        part.get("type") in FILES
        or part.get("format") in {"binary", "image"}
        or bool(part.keys() & {"contentEncoding", "contentMediaType"})
    )


def _leaves(part: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    properties = _properties(part)
    if not properties:
        yield path, part
    for name in filter(can_be_path, properties):
        yield from _leaves(properties[name], join_path(path, name))


def _is_list_of(part: Schema, types: set[str]) -> bool:
    return part.get("type") == "array" and part.get("items", {}).get("type") in types


def _find_output(output: Schema, *, one_row: bool) -> dict[str, str | None]:
    """Return the path of each part in a response by its schema; None for parts that it does not show."""
    prefix, part = "", output
    items: Schema = output.get("items", {})
    if not one_row and output.get("type") == "array" and items.get("type") == "object":
        prefix, part = "*.", items
    if part.get("type") == "object" and part.get("properties"):
        return parts_by_name(prefix, list(part["properties"]))
    if part.get("type") in SCALARS or (_is_list_of(part, SCALARS) and not one_row):
        return {**dict.fromkeys(PARTS), "predictions": ""}
    return dict.fromkeys(PARTS)


def parts_by_name(prefix: str, names: Sequence[str]) -> dict[str, str | None]:
    """Return the path of each part, for fields called *names*."""

    def first(usual: Sequence[str]) -> str | None:
        return next((prefix + name for name in usual if name in names), None)

    return {
        "predictions": first(PREDICTION_NAMES),
        "probabilities": first(PROBABILITY_NAMES),
        "intervals": first(INTERVAL_NAMES),
    }


def _only_value(part: Schema) -> Any:
    """Return the only value that a field allows; None if it allows several."""
    choices = part.get("enum") or ([part["const"]] if "const" in part else [])
    return choices[0] if len(choices) == 1 else None


def why_columns_differ(path: str, properties: Schema, names: Sequence[str]) -> str:
    """Return why rows with the model's column names cannot be sent; empty if they can."""
    if not properties or not names or set(names) <= set(properties):
        return ""
    unknown = [name for name in names if name not in properties]
    example = _one_line({"names": dict.fromkeys(unknown, "name-in-the-service")})
    return (
        f"a row of {path} has the fields {listed_names(list(properties))}, but the rows to send have the "
        f"columns {listed_names(names)}{did_you_mean(unknown[0], properties)}. "
        f"Declare the names in a contract ({example}), or run `{DRAFT}` to draft one"
    )


def _one_line(declared: Mapping[str, Any]) -> str:
    return as_toml(declared).strip().replace("\n", "; ")


def example_for(required: Mapping[str, Schema]) -> dict[str, Any]:
    """Return an example value for each required field, from its schema or else of its type."""
    return {name: _example(part) for name, part in required.items()}


def _example(part: Schema) -> Any:
    for key in ("default", "const"):
        if key in part:
            return part[key]
    for key in ("enum", "examples"):
        if part.get(key):
            return part[key][0]
    for choice in part.get("anyOf", ()):
        return _example(choice)
    if part.get("type") == "object":
        return {name: _example(_properties(part).get(name, {})) for name in part.get("required", [])}
    if (text := EXAMPLES.get(str(part.get("format")))) is not None:
        return text
    by_type = {"string": "tier0", "integer": 1, "number": 1.0, "boolean": False, "array": []}
    return by_type.get(str(part.get("type")), "tier0")


def why_fields_are_open(route: str, required: Mapping[str, Schema]) -> str:
    """Return why no request can be sent to a route with required fields whose values are unknown."""
    names = ", ".join(required)
    example = _one_line({"fields": example_for(required)})
    return (
        f"{route} requires {names} in addition to the rows, but the value that the application sends is "
        "unknown. "
        f"Declare it in a contract ({example}), or run `{DRAFT}` to draft one"
    )
