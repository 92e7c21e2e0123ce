"""The contract of a service: the form of its requests, and the paths of the outputs in its responses.

Tier0 reads it from the service's own ``/schema.json`` (see `tier0.contract.service_schema`) and from the
response to the golden rows (see `tier0.contract.answers`). A TOML file with any of these keys declares what
neither shows, or overrides it::

    schema = 1
    route = "/classify"       # route for predictions; {name} stands for a value of [placeholders]
    method = "PUT"            # POST (default), PUT or PATCH
    statuses = [200, 207]     # statuses of a response with predictions; by default 200 to 299
    features = "input.rows"   # path of the rows in the body; "" if they are the entire body
    style = "records"         # rows, records, columns or values; row, record or value for one row per
                              # request; tensor or tensors (one per column) of the protocol "v2"; csv; file
    max_rows = 1              # maximum number of rows per request
    columns = "input.names"   # path of the column names in the body
    predictions = "labels"    # path of the predictions in the response; "" if they are the entire response;
                              # [name=label] is the object of a list with this field
    probabilities = "*.1"     # path of the probabilities; * is every item of a list, a number is one item
    probability_of = "yes"    # only class whose probability is returned; "@predicted" for the predicted class
    intervals = "bounds"      # path of the lower and upper bounds of the predictions
    model_tag = "model.tag"   # path of the tag of the model
    health = "/healthz"       # health route, GET or POST
    ready = "/readyz"         # readiness route, GET
    live = "/livez"           # liveness route, GET
    decimals = 2              # number of decimals to which numbers in the response are rounded
    absolute = 1e-6           # absolute tolerance for numbers, in all checks
    scale = 100               # factor by which numbers are multiplied: 100 for percentages
    protocol = "v2"           # bentoml, openapi, mlflow, v1, v2 or sagemaker: how the service is described
    tensor = "input-0"        # name of the tensor, for style = "tensor"
    missing = ""              # text of a missing number, for the styles csv and file; by default nan
    adapter = "wire:Rows"     # class that writes requests and reads responses (see `tier0.contract.adapter`)

    [headers]                 # headers of requests for predictions
    Accept-Version = "2"

    [placeholders]            # values of the parts of the route that are in braces
    model = "churn"

    [datatypes]               # datatypes of tensors, by name
    sepal_length = "FP32"

    [fields]                  # further fields of the body, with constant values
    model = "churn"

    [names]                   # column names of the model and of the service, where they differ
    sepal_length = "SepalLength"

    [labels]                  # labels of the model and of the service, where they differ
    0 = "setosa"

    [vary]                    # headers, or fields, that do not change an output, with values to send
    X-Tenant = ["acme", "globex"]
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

from tier0.contract.adapter import adapter_of
from tier0.contract.delimited import (
    CONTENT_TYPE,
    FILE_CONTENT_TYPE,
    MISSING,
    read_rows,
    write_file,
    write_rows,
)
from tier0.contract.route_names import PLACEHOLDER
from tier0.contract.tensors import DATATYPES, DEFAULT_NAME, column_tensors, matrix, without_tensors
from tier0.core.address import problem_of
from tier0.core.display import toml, toml_key
from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error, reading
from tier0.core.fields import MAX_DEPTH, shown
from tier0.core.outputs import PARTS
from tier0.core.protocols import PROTOCOLS

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
Style = Literal[
    "rows", "records", "columns", "values", "row", "record", "value", "tensor", "tensors", "csv", "file"
]
STYLES: tuple[str, ...] = get_args(Style)
CSV_STYLES = {"csv", "file"}
ONE_ROW_STYLES = {"row", "record", "value"}
METHODS = ("POST", "PUT", "PATCH")
SUCCESS = range(200, 300)
"""Statuses of a response that may have predictions, unless others are declared."""
SELECTOR = re.compile(r"\[([^=\[\]]+)=([^\[\]]*)\]")
"""Part of a path that selects the object of a list whose field has a value."""
ITEMS = ".*."
"""Part of a path into a request that goes through the items of a list, one for each row."""
EACH_ITEM = "*."
"""Start of a path into the items of a list that is the entire body."""
PREDICTED = "@predicted"
"""In place of a class: the probability of the predicted class."""
HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
MAX_DECIMALS = 15
MAX_POSITION_DIGITS = 9
"""Digits of a position in a list; Python refuses to read thousands."""
BOUNDS = ("lower", "upper")


class ContractError(Tier0Error):
    """The contract is invalid or cannot be derived from the service; the message shows what to declare."""


@dataclass(frozen=True)
class Contract:
    """Form of the requests and responses of one service.

    Paths in bodies are dotted; None means that the service does not have the part.

    Attributes:
        route: route for predictions.
        method: HTTP method of requests for predictions.
        headers: headers of requests for predictions.
        statuses: statuses of a response with predictions; empty for 200 to 299.
        features: path of the rows; ``""`` if they are the entire body. In ``items.*.row``, each row is in an
            object of a list.
        style: form of the rows: ``rows`` (lists), ``records`` (objects keyed by column), ``columns`` (one
            object of lists, keyed by column), ``values`` (the single column as one list, and rows that are no
            table, such as texts); ``row``, ``record`` and ``value`` if a request takes one row only;
            ``tensor`` and ``tensors`` for one tensor, or one per column (see `tier0.contract.tensors`);
            ``csv`` for lines of CSV, and ``file`` for such lines in a file of a form.
        columns: path of the column names.
        predictions: path of the predictions in the response; ``""`` if they are the entire response.
        probabilities: path of the probabilities in the response.
        probability_of: the one class whose probability is returned, or `PREDICTED`; None if each row has one
            number per class.
        model_tag: path of the tag of the model in the response.
        health: health route, GET or POST.
        optional: names of optional fields of the body.
        is_array: whether the schema declares the input as an array, which converts true to 1 before the
            service gets it.
        is_batchable: whether the service waits for rows of other callers, to predict them together.
        intervals: path of the lower and upper bounds of the predictions in the response.
        ready: readiness route, GET.
        live: liveness route, GET.
        max_rows: maximum number of rows per request; None for no limit.
        fields: further fields of the body, with constant values.
        names: column names of the model to those of the service, where they differ.
        labels: labels of the model, as text, to those of the service, where they differ.
        decimals: number of decimals to which numbers in the response are rounded; None if they are not
            rounded.
        absolute: absolute tolerance for numbers.
        scale: factor by which probabilities, or predictions of a regression, are multiplied.
        vary: names of headers, or of *fields*, that do not change an output, each with values to send; with
            none, any value may be sent.
        protocol: protocol by which the service was found, one of `tier0.core.protocols.PROTOCOLS`; None if it
            was not recognised, or is BentoML's.
        tensor: name of the tensor that contains all rows, for the style ``tensor``.
        datatypes: datatypes of tensors, by their names; by default those that have all values.
        flat_tensors: names of the tensors that have one dimension by the metadata of the model.
        missing: text of a missing number in lines of CSV.
        adapter: ``module:Class`` that writes requests and reads responses; None without one.
        may_ignore_names: whether the server may ignore the names of columns, as MLflow's does for a model
            without a signature.
        is_bentoml: whether the service has BentoML's own routes.
        prefix: path below which BentoML's own routes are, such as ``/v1``; usually empty.
        why_not_asked: reason why no prediction can be requested; empty if one can be requested.
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
    ready: str | None = None
    live: str | None = None
    max_rows: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    decimals: int | None = None
    absolute: float = 0.0
    scale: float = 1.0
    vary: Mapping[str, Sequence[str]] = field(default_factory=dict)
    protocol: str | None = None
    tensor: str = DEFAULT_NAME
    datatypes: Mapping[str, str] = field(default_factory=dict)
    flat_tensors: tuple[str, ...] = ()
    missing: str = MISSING
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = ()
    adapter: str | None = None
    may_ignore_names: bool = False
    is_bentoml: bool = True
    prefix: str = ""
    why_not_asked: str = ""

    @property
    def one_row(self) -> bool:
        """Whether a request takes only one row."""
        return self.style in ONE_ROW_STYLES or self.max_rows == 1

    @property
    def content_type(self) -> str:
        """Content type of requests for predictions."""
        types = {"csv": CONTENT_TYPE, "file": FILE_CONTENT_TYPE}
        return types.get(self.style, "application/json")

    def accepts(self, status: int) -> bool:
        """Return whether a response with this status may have predictions."""
        return status in (self.statuses or SUCCESS)

    @property
    def by_name(self) -> bool:
        """Whether a request names its columns."""
        if self.adapter is not None or self.style in CSV_STYLES:
            return False
        return self.style in {"records", "record", "columns", "tensors"} or self.columns is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that the response has, of ``predictions``, ``probabilities`` and ``intervals``."""
        return tuple(part for part in PARTS if getattr(self, part) is not None)

    @property
    def ready_route(self) -> str | None:
        """The readiness route: the declared one, or BentoML's own; None if there is none."""
        return self.ready or (f"{self.prefix}/readyz" if self.is_bentoml else None)

    @property
    def live_route(self) -> str | None:
        """The liveness route: the declared one, or BentoML's own; None if there is none."""
        return self.live or (f"{self.prefix}/livez" if self.is_bentoml else None)

    @property
    def metrics_route(self) -> str:
        """The route of the Prometheus metrics."""
        return f"{self.prefix}/metrics"

    def of_values(self, *, are_objects: bool) -> Contract:
        """Return the contract for rows that are not a table: each is sent as it is, without names of columns.

        Args:
            are_objects: whether the rows can be objects themselves, which are then no records of a column.
        """
        styles: dict[Style, Style] = {"rows": "values", "row": "value"}
        if are_objects:
            styles |= {"records": "values", "record": "value"}
        return replace(self, style=styles.get(self.style, self.style), columns=None)

    def with_paths(self, paths: Mapping[str, str | None]) -> Contract:
        """Return the contract with other paths of the parts in the response."""
        return replace(
            self,
            predictions=paths["predictions"],
            probabilities=paths["probabilities"],
            intervals=paths["intervals"],
        )

    def tolerance_of(self, part: str) -> float:
        """Return the absolute tolerance for the numbers of a part, by rounding or by declaration."""
        rounding = 0.0 if self.decimals is None else 0.5 * 10.0**-self.decimals * (1 + 1e-9)
        return max(self.absolute, rounding) / (self.scale if part != "intervals" else 1.0)

    def body(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Return the body of a request for *rows*, or for the first row if a request takes only one.

        Args:
            columns: the model's column names, in the order of the values in a row.
            rows: rows as lists of values.
        """
        if self.adapter is not None:
            return adapter_of(self.adapter).body(columns, rows)
        if self.style == "file":
            return write_file(self.features, rows, self.fields, self.missing)
        names = [self.names.get(name, name) for name in columns]
        content = self._formatted(names, rows)
        if not self.features:
            return self._with_fields(content)
        body: dict[str, Any] = {}
        place, in_items, inner = self.features.partition(ITEMS)
        _put(body, place, [{} for _ in content] if in_items else content)
        for item, row in zip(get_path(body, place), content, strict=True) if in_items else ():
            _put(item, inner, row)
        if self.columns and self.style == "rows":
            _put(body, self.columns, names)
        for path, value in self.fields.items():
            place, in_items, inner = path.partition(ITEMS)
            for item in get_path(body, place) or () if in_items else ():
                _put(item, inner, value)
            if not in_items:
                _put(body, path, value)
        return body

    def _with_fields(self, content: Any) -> Any:
        """Return rows that are the entire body, with the constant fields: of the body, or of each record."""
        if isinstance(content, dict):
            return {**content, **self.fields}
        for path, value in self.fields.items() if isinstance(content, list) else ():
            for item in content:
                if isinstance(item, dict) and path.startswith(EACH_ITEM):
                    _put(item, path.removeprefix(EACH_ITEM), value)
        return content

    def _formatted(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Return the rows in the contract's style, or the first row in a style for one row."""
        writers: dict[Style, Callable[[], Any]] = {
            "rows": lambda: [list(row) for row in rows],
            "records": lambda: [dict(zip(names, row, strict=False)) for row in rows],
            "columns": lambda: {name: [row[position] for row in rows] for position, name in enumerate(names)},
            "values": lambda: [row[0] for row in rows],
            "row": lambda: list(rows[0]),
            "record": lambda: dict(zip(names, rows[0], strict=False)),
            "value": lambda: rows[0][0],
            "tensor": lambda: matrix(self.tensor, self.datatypes, self.flat_tensors, rows),
            "tensors": lambda: column_tensors(names, self.datatypes, self.flat_tensors, rows),
            "csv": lambda: write_rows(rows, self.missing),
        }
        return writers[self.style]()

    def write(self, body: Any) -> str:
        """Return a body as it is sent: JSON, or lines of CSV, and forms with them, as they are."""
        return body if self.style in CSV_STYLES and isinstance(body, str) else json.dumps(body)

    def request(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
        """Return the `body` of a request for *rows* as it is sent."""
        return self.write(self.body(columns, rows))

    def parse(self, text: str) -> Any:
        """Return the content of a response that is not JSON, as the rows of CSV."""
        return read_rows(text)

    def adapted(self, answer: Any) -> Any:
        """Return a response as the adapter reads it, with one field for each part; unchanged without one.

        Raises:
            AdapterError: the adapter cannot read it.
        """
        return answer if self.adapter is None else adapter_of(self.adapter).read(answer)

    def read(self, answer: Any) -> dict[str, Any]:
        """Return ``predictions``, ``probabilities``, ``intervals`` and ``model_tag`` of a response.

        Args:
            answer: body of the response, as `adapted` returns it.

        Lists of one value are read as that value, tensors as nested lists, and bounds can be two lists, pairs
        or objects.
        """
        answer = without_tensors(answer)

        def at(path: str | None) -> Any:
            return None if path is None else get_path(answer, path)

        return {
            "predictions": self._column(at(self.predictions)),
            "probabilities": self._probabilities(at(self.probabilities)),
            "intervals": _as_pairs(at(self.intervals), one_row=self.one_row),
            "model_tag": at(self.model_tag),
        }

    def _column(self, value: Any) -> Any:
        """Return one value per row."""
        if self.one_row:
            while isinstance(value, list) and len(value) == 1:
                value = value[0]
            return None if value is None else [value]
        value = as_list(value)
        if not isinstance(value, list) or not any(value):
            return value
        if all(isinstance(item, list) and len(item) <= 1 for item in value):
            return [item[0] if item else None for item in value]
        return value

    def _probabilities(self, value: Any) -> Any:
        if self.one_row and value is not None:
            while isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, dict)):
                value = value[0]
            value = [value]
        elif isinstance(value, Mapping) and not all(isinstance(column, list) for column in value.values()):
            value = as_list(value)
        if not isinstance(value, list):
            return value
        if self.probability_of is not None:
            value = [item if isinstance(item, list) else [item] for item in value]
        return [_scaled(item, self.scale) for item in value] if self.scale != 1.0 else value


def _scaled(value: Any, scale: float) -> Any:
    if isinstance(value, list):
        return [_scaled(item, scale) for item in value]
    if isinstance(value, Mapping):
        return {name: _scaled(item, scale) for name, item in value.items()}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    try:
        return value / scale
    except OverflowError:  # an integer beyond the range of floats
        return math.inf if value > 0 else -math.inf


def _as_pairs(value: Any, *, one_row: bool) -> Any:
    """Return bounds as one pair per row, from pairs, two lists, or objects with ``lower`` and ``upper``."""
    if isinstance(value, Mapping) and value.keys() >= set(BOUNDS):
        lower, upper = (value[bound] for bound in BOUNDS)
        if isinstance(lower, list) and isinstance(upper, list) and len(lower) == len(upper):
            return [list(pair) for pair in zip(lower, upper, strict=True)]
        return [[lower, upper]]
    if one_row and value is not None:
        is_nested = isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, dict))
        value = value if is_nested else [value]
    if not isinstance(value, list) or not value:
        return value
    are_objects = all(isinstance(item, Mapping) and item.keys() >= set(BOUNDS) for item in value)
    return [[item[bound] for bound in BOUNDS] for item in value] if are_objects else value


def as_list(value: Any) -> Any:
    """Return an object keyed by row number, as pandas writes it, as a list; other values unchanged."""
    if isinstance(value, Mapping) and value:
        numbers = [str(index) for index in range(len(value))]
        if list(value) in (numbers, sorted(numbers)):  # JSON writers with sorted keys write 10 before 2
            return [value[number] for number in numbers]
    return value


def _require(condition: object, expected: str) -> None:
    if not condition:
        raise ValueError(expected)


def _text(value: Any) -> str:
    _require(isinstance(value, str), "expected text")
    _require(value.count(".") < MAX_DEPTH, f"expected a path of at most {MAX_DEPTH} keys")
    return str(value)


def _route(value: Any) -> str:
    _require(isinstance(value, str) and value.startswith("/"), "expected a path that begins with a slash")
    problem = problem_of(value)
    _require(not problem, problem)
    return str(value)


def _method(value: Any) -> str:
    _require(value in METHODS, f"expected one of {', '.join(METHODS)}")
    return str(value)


def _statuses(value: Any) -> tuple[int, ...]:
    is_list = isinstance(value, list | tuple) and bool(value)
    are_statuses = is_list and all(type(item) is int and 200 <= item < 600 for item in value)
    _require(are_statuses, "expected a list of status codes from 200 to 599")
    return tuple(value)


def _headers(value: Any) -> dict[str, str]:
    is_table = isinstance(value, Mapping) and all(
        isinstance(item, str) and item.isascii() and item.isprintable() for item in value.values()
    )
    _require(is_table, "expected a table from names of headers to their values, as ASCII text")
    for name in value:
        _require(HEADER_NAME.fullmatch(name), "expected names of headers as keys")
    return dict(value)


def _placeholders(value: Any) -> dict[str, str]:
    is_table = isinstance(value, Mapping) and all(isinstance(item, str | int) for item in value.values())
    _require(is_table, "expected a table from the names in the braces of the route to text or whole numbers")
    return {name: str(item) for name, item in value.items()}


def _adapter(value: Any) -> str:
    _require(isinstance(value, str), "expected module:Class")
    return adapter_of(value).named


def _style(value: Any) -> str:
    _require(value in STYLES, f"expected one of {', '.join(STYLES)}")
    return str(value)


def _protocol(value: Any) -> str:
    _require(value in PROTOCOLS, f"expected one of {', '.join(PROTOCOLS)}")
    return str(value)


def _count(value: Any) -> int:
    _require(type(value) is int and value >= 1, "expected a whole number of at least 1")
    return int(value)


def _decimals(value: Any) -> int:
    is_valid = type(value) is int and 0 <= value <= MAX_DECIMALS
    _require(is_valid, f"expected a whole number from 0 to {MAX_DECIMALS}")
    return int(value)


def _positive(value: Any) -> float:
    is_valid = type(value) in {int, float} and 0 < value <= sys.float_info.max
    _require(is_valid, "expected a positive number")
    return float(value)


def _fields(value: Any) -> dict[str, Any]:
    _require(isinstance(value, Mapping), "expected a table of fields with their values")
    _require_json(value)
    return dict(value)


def _require_json(value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("expected values that JSON can represent: no dates, inf or nan") from None


def _names(value: Any) -> dict[str, str]:
    is_table = isinstance(value, Mapping) and all(isinstance(name, str) for name in value.values())
    _require(is_table, "expected a table from the model's column names to the service's, as text")
    return _distinct(value)


def _cell(value: Any) -> str:
    _require(isinstance(value, str) and (not value or value.isprintable()), "expected printable text")
    return str(value)


def _datatypes(value: Any) -> dict[str, str]:
    is_table = isinstance(value, Mapping) and all(name in DATATYPES for name in value.values())
    _require(is_table, f"expected a table of tensors with their datatypes: {', '.join(DATATYPES)}")
    return dict(value)


def _labels(value: Any) -> dict[str, Any]:
    is_table = isinstance(value, Mapping) and all(
        isinstance(name, str | int | float) for name in value.values()
    )
    _require(is_table, "expected a table from the model's labels to the service's, as text or numbers")
    _require_json(value)
    return _distinct(value)


def _vary(value: Any) -> dict[str, list[str]]:
    is_table = isinstance(value, Mapping) and all(
        isinstance(values, list)
        and all(isinstance(item, str) and item.isascii() and item.isprintable() for item in values)
        for values in value.values()
    )
    _require(is_table, "expected a table from names of headers or fields to lists of values, as ASCII text")
    for name in value:
        _require(HEADER_NAME.fullmatch(name), "expected names of headers or of fields as keys")
    return dict(value)


def _distinct(table: Mapping[str, Any]) -> dict[str, Any]:
    names = [(type(name) is bool, name) for name in table.values()]
    if (duplicate := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise ValueError(f"expected unique names, but {duplicate[1]!r} is used more than once")
    return dict(table)


_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("features", *PARTS, "columns", "probability_of", "model_tag"), _text),
    **dict.fromkeys(("route", "health", "ready", "live"), _route),
    "style": _style,
    "method": _method,
    "statuses": _statuses,
    "headers": _headers,
    "placeholders": _placeholders,
    "adapter": _adapter,
    "protocol": _protocol,
    "tensor": _text,
    "missing": _cell,
    "datatypes": _datatypes,
    "max_rows": _count,
    "decimals": _decimals,
    "absolute": _positive,
    "scale": _positive,
    "fields": _fields,
    "names": _names,
    "labels": _labels,
    "vary": _vary,
}
"""The keys of a contract, each with the function that validates its value."""
MAY_BE_EMPTY = {"columns", "probability_of", "model_tag", "intervals"}
"""Keys whose empty value means that the service does not have the part; in other keys it is the path of the
entire body."""
MAY_BE_ABSENT = {*MAY_BE_EMPTY, *PARTS, "ready", "live", "max_rows", "decimals"}
"""Keys that may be None, which TOML cannot represent."""


def read_contract(path: Path) -> dict[str, Any]:
    """Read the declared part of a contract from a file; the rest comes from the service.

    Raises:
        ContractError: the file is not TOML, has another schema number, or has an unknown key or an invalid
            value.
    """
    with reading(path):
        document = read_document(path, "the contract", SCHEMA, ContractError)
        return check_declared(document, f"the contract {path}")


def check_declared(declared: Mapping[str, Any], where: str = "the contract") -> dict[str, Any]:
    """Validate the declared part of a contract, and return it.

    Raises:
        ContractError: a key is unknown or a value is invalid; the message names both, and what is expected.
    """
    checked: dict[str, Any] = {}
    for name, value in _with_route(declared, where).items():
        if name not in _READERS:
            raise ContractError(
                f"{where} has an unknown key {shown(name)}. Known keys: {', '.join(sorted(_READERS))}"
            )
        if (value is None and name in MAY_BE_ABSENT) or (value == "" and name in MAY_BE_EMPTY):
            checked[name] = None
            continue
        try:
            checked[name] = _READERS[name](value)
        except ValueError as problem:
            raise ContractError(f"invalid {name} = {shown(value)} in {where}: {problem}") from None
    return checked


def _with_route(declared: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a declaration whose route has the values of its placeholders.

    Raises:
        ContractError: a placeholder has no value, or the table of values is invalid.
    """
    declared = dict(declared)
    given, route = declared.pop("placeholders", {}), declared.get("route")
    try:
        values = _placeholders(given)
    except ValueError as problem:
        raise ContractError(f"invalid placeholders = {shown(given)} in {where}: {problem}") from None
    named = PLACEHOLDER.findall(route) if isinstance(route, str) else []
    if unknown := [name for name in values if name not in named]:
        raise ContractError(
            f"{where} has a value for the placeholder {shown(unknown[0])}, which its route {shown(route)} "
            "does not have"
        )
    if missing := [name for name in named if name not in values]:
        raise ContractError(
            f"the route {shown(route)} in {where} has a placeholder without a value: declare it as "
            f'[placeholders] {missing[0]} = "…"'
        )
    if named:
        declared["route"] = PLACEHOLDER.sub(lambda part: quote(values[part[1]], safe=""), str(route))
    return declared


def as_toml(declared: Mapping[str, Any]) -> str:
    """Return declarations as lines of TOML, without the schema number: single values first, then tables."""
    single = [
        f"{name} = {_toml_value(value)}" for name, value in declared.items() if not isinstance(value, Mapping)
    ]
    tables = [
        "\n".join(
            ["", f"[{name}]", *(f"{toml_key(key)} = {_toml_value(item)}" for key, item in value.items())]
        )
        for name, value in declared.items()
        if isinstance(value, Mapping) and value
    ]
    return "\n".join([*single, *tables])


def _toml_value(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_key(key)} = {_toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return toml(value or "") if value is None or isinstance(value, str) else json.dumps(value)


def how_to_declare(declared: Mapping[str, Any]) -> str:
    """Return an instruction that shows the lines of a contract."""
    lines = [f"    {line}".rstrip() for line in as_toml({"schema": SCHEMA, **declared}).splitlines()]
    return "Declare it in a TOML file and pass --contract FILE:\n" + "\n".join(lines)


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
        if not isinstance(body, dict):
            raise ContractError(
                f"invalid path {path!r} in the contract: {parent!r} is not an object in the body"
            )
    body[last] = value


def join_path(first: str, second: str) -> str:
    """Join two dotted paths, either of which can be empty."""
    return f"{first}.{second}" if first and second else first or second


def can_be_path(name: Any) -> bool:
    """Return whether a field with this name can be part of a dotted path."""
    return isinstance(name, str) and bool(name) and name != "*" and "." not in name


def get_path(answer: Any, path: str) -> Any:
    """Return the value at a dotted path; None if there is none.

    In a path, ``*`` means every item of a list, a number means one item, and ``[name=value]`` the first
    object of a list whose field *name* has this value. ``a[0]`` is another spelling of ``a.0``.
    """
    if not path:
        return answer
    if "[" in path:
        path = _with_dots(path)
    part, _, rest = path.partition(".")
    if selector := SELECTOR.fullmatch(part):
        items = answer if isinstance(answer, list) else []
        selected = [item for item in items if _has(item, *selector.groups())]
        return get_path(selected[0], rest) if selected else None
    if part == "*":
        items = as_list(answer)
        return [get_path(item, rest) for item in items] if isinstance(items, list) else None
    if isinstance(answer, list):
        position = as_position(part)
        return get_path(answer[position], rest) if position is not None and position < len(answer) else None
    return get_path(answer.get(part), rest) if isinstance(answer, Mapping) else None


def _with_dots(path: str) -> str:
    """Return a path with a dot before each bracket, and positions without: ``a[0][k=v]`` is ``a.0.[k=v]``."""
    with_positions = re.sub(r"\.?\[(\d+)\]", r".\1", path)
    return re.sub(r"(?<=[^.])\[", ".[", with_positions).lstrip(".")


def _has(item: Any, name: str, value: str) -> bool:
    return isinstance(item, Mapping) and name in item and str(item[name]) == value


def as_position(part: str) -> int | None:
    """Return the position in a list that a part of a path means; None if it means none."""
    is_position = part.isascii() and part.isdigit() and len(part) <= MAX_POSITION_DIGITS
    return int(part) if is_position else None
