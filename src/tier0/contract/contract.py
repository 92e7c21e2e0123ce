"""The contract of a service: how rows become a request body, and where the predictions are in a response body.

It is read from the service's own ``/schema.json`` (see `tier0.contract.service_schema`) and from the response to the golden rows (see
`tier0.contract.answers`). What neither shows, or what should be otherwise, is declared in a few lines of TOML, any of them::

    schema = 1
    route = "/classify"          # of the prediction, POST
    features = "input.rows"      # where the rows go in the body; "" if they are the whole body
    style = "records"            # how rows are written: rows, records, columns, values; for one row a request: row, record, value
    max_rows = 1                 # the most rows that one request may hold
    columns = "input.names"      # where the names of the columns go, if anywhere
    predictions = "labels"       # where the predictions are in the response; "" if they are the whole response
    probabilities = "*.1"        # where the probabilities are; * goes through a list, a number takes one item of a list
    probability_of = "yes"       # the one class whose probability is returned; "@predicted" for the class that is predicted
    intervals = "bounds"         # where the lower and upper bounds of the predictions are
    model_tag = "model.tag"      # where the response names the model that gave it
    health = "/healthz"          # health route, GET or POST
    ready = "/readyz"            # readiness route, GET
    live = "/livez"              # liveness route, GET
    decimals = 2                 # numbers in the response are rounded to so many decimals
    absolute = 1e-6              # numbers may differ by so much, in all checks
    scale = 100                  # numbers are multiplied by this: 100 for percentages

    [fields]                     # further fields of the body, sent as they are
    model = "churn"

    [names]                      # columns that the service calls otherwise: the model's name, then the service's
    sepal_length = "SepalLength"

    [labels]                     # labels that the service calls otherwise: the model's label, then the service's
    0 = "setosa"
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from tier0.core.documents import read_document
from tier0.core.errors import Tier0Error
from tier0.core.outputs import PARTS

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
Style = Literal["rows", "records", "columns", "values", "row", "record", "value"]
STYLES: tuple[str, ...] = get_args(Style)
ONE_ROW_STYLES = {"row", "record", "value"}
PREDICTED = "@predicted"
"""In place of a class: the probability is that of the class which is predicted."""
MAX_DECIMALS = 15
BOUNDS = ("lower", "upper")


class ContractError(Tier0Error):
    """The contract cannot be read, or the service does not show it; the message says what to declare."""


@dataclass(frozen=True)
class Contract:
    """How one service is asked and read. Paths within bodies are dotted; None means that there is no such part.

    Attributes:
        route: of the prediction, POST.
        features: where the rows go; ``""`` if they are the whole body.
        style: ``rows`` (lists), ``records`` (objects keyed by column), ``columns`` (one object of lists, keyed by column), ``values`` (the
            single column as one list); ``row``, ``record`` and ``value`` where a request takes one row only.
        columns: where the names of the columns go.
        predictions: where the predictions are in the response; ``""`` if they are the whole response.
        probabilities: where the probabilities are.
        probability_of: the one class whose probability is returned, or `PREDICTED`; None where each row has one number a class.
        model_tag: where the response names the model that gave it.
        health: the health route, GET or POST.
        intervals: where the lower and upper bounds of the predictions are.
        optional: names of fields of the body that may be left out.
        is_batchable: the service waits for other callers' rows, to answer them together.
        is_array: the input is declared as an array, in which true is 1 before the service sees it.
        ready: readiness route, GET.
        live: liveness route, GET.
        max_rows: the most rows that one request may hold; None without a limit.
        fields: further fields of the body, sent as they are.
        names: the model's name of a column to the service's, where they differ.
        labels: the model's label, as text, to the service's, where they differ.
        decimals: numbers in the response are rounded to so many decimals; None if they are not.
        absolute: by which numbers may differ.
        scale: by which probabilities, or a regression's predictions, are multiplied.
        is_bentoml: the service has BentoML's own routes.
        why_not_asked: why no prediction can be requested; empty if one can.
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
    is_bentoml: bool = True
    why_not_asked: str = ""

    @property
    def one_row(self) -> bool:
        """Whether a request takes only one row."""
        return self.style in ONE_ROW_STYLES or self.max_rows == 1

    @property
    def by_name(self) -> bool:
        """Whether a request names its columns."""
        return self.style in {"records", "record", "columns"} or self.columns is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """What a response may have of ``predictions``, ``probabilities`` and ``intervals``."""
        return tuple(part for part in PARTS if getattr(self, part) is not None)

    @property
    def ready_route(self) -> str | None:
        """The readiness route: the declared one, or BentoML's own; None where there is none."""
        return self.ready or ("/readyz" if self.is_bentoml else None)

    @property
    def live_route(self) -> str | None:
        """The liveness route: the declared one, or BentoML's own; None where there is none."""
        return self.live or ("/livez" if self.is_bentoml else None)

    def with_paths(self, paths: Mapping[str, str | None]) -> Contract:
        """Return the contract with its parts at other places of the response."""
        return replace(
            self,
            predictions=paths["predictions"],
            probabilities=paths["probabilities"],
            intervals=paths["intervals"],
        )

    def tolerance_of(self, part: str) -> float:
        """Return the absolute difference that the contract allows in numbers of a part: by rounding, or because it was declared."""
        rounding = 0.0 if self.decimals is None else 0.5 * 10.0**-self.decimals * (1 + 1e-9)
        return max(self.absolute, rounding) / (self.scale if part != "intervals" else 1.0)

    def body(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Return the body that asks about *rows*, whose values are in the order of *columns*; about the first, if it takes only one."""
        names = [self.names.get(name, name) for name in columns]
        content = _written(self.style, names, rows)
        if not self.features:
            return {**content, **self.fields} if isinstance(content, dict) and self.fields else content
        body: dict[str, Any] = {}
        _put(body, self.features, content)
        if self.columns and self.style == "rows":
            _put(body, self.columns, names)
        for path, value in self.fields.items():
            _put(body, path, value)
        return body

    def read(self, answer: Any) -> dict[str, Any]:
        """Return ``predictions``, ``probabilities``, ``intervals`` and ``model_tag`` of a response: of one row, if a request takes only one.

        A column of lists of one is read as a column of values, and bounds may be two lists, or pairs, or objects.
        """
        found = {
            part: None if (path := getattr(self, part)) is None else get_path(answer, path) for part in PARTS
        }
        found["predictions"] = self._column(found["predictions"])
        found["intervals"] = _as_pairs(found["intervals"], one_row=self.one_row)
        found["probabilities"] = self._probabilities(found["probabilities"])
        return {**found, "model_tag": None if self.model_tag is None else get_path(answer, self.model_tag)}

    def _column(self, value: Any) -> Any:
        """Return one value a row."""
        if self.one_row:
            while isinstance(value, list) and len(value) == 1:
                value = value[0]
            return None if value is None else [value]
        value = as_list(value)
        if (
            isinstance(value, list)
            and any(value)
            and all(isinstance(item, list) and len(item) <= 1 for item in value)
        ):
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


def _written(style: Style, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Return rows as a body has them; the first one where the style is of one row."""
    writers: dict[Style, Callable[[], Any]] = {
        "rows": lambda: [list(row) for row in rows],
        "records": lambda: [dict(zip(names, row, strict=False)) for row in rows],
        "columns": lambda: {name: [row[position] for row in rows] for position, name in enumerate(names)},
        "values": lambda: [row[0] for row in rows],
        "row": lambda: list(rows[0]),
        "record": lambda: dict(zip(names, rows[0], strict=False)),
        "value": lambda: rows[0][0],
    }
    return writers[style]()


def _scaled(value: Any, scale: float) -> Any:
    if isinstance(value, list):
        return [_scaled(item, scale) for item in value]
    if isinstance(value, Mapping):
        return {name: _scaled(item, scale) for name, item in value.items()}
    return value / scale if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _as_pairs(value: Any, *, one_row: bool) -> Any:
    """Return bounds as one pair a row, from two lists, from objects with ``lower`` and ``upper``, or from pairs."""
    if isinstance(value, Mapping) and value.keys() >= set(BOUNDS):
        lower, upper = (value[bound] for bound in BOUNDS)
        if isinstance(lower, list) and isinstance(upper, list) and len(lower) == len(upper):
            return [list(pair) for pair in zip(lower, upper, strict=True)]
        return [[lower, upper]]
    if one_row and value is not None:
        is_nested = isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, dict))
        value = value if is_nested else [value]
    if (
        isinstance(value, list)
        and value
        and all(isinstance(item, Mapping) and item.keys() >= set(BOUNDS) for item in value)
    ):
        return [[item[bound] for bound in BOUNDS] for item in value]
    return value


def as_list(value: Any) -> Any:
    """Return an object that is keyed by row number, as pandas' ``to_dict`` writes a column, as a list; anything else as it is."""
    if isinstance(value, Mapping) and value:
        numbers = [str(index) for index in range(len(value))]
        if list(value) in (numbers, sorted(numbers)):  # the latter is how sorted keys are written
            return [value[number] for number in numbers]
    return value


def _require(condition: object, expected: str) -> None:
    if not condition:
        raise ValueError(expected)


def _text(value: Any) -> str:
    _require(isinstance(value, str), "expected text")
    return str(value)


def _route(value: Any) -> str:
    _require(isinstance(value, str) and value.startswith("/"), "a route must begin with a slash")
    return str(value)


def _style(value: Any) -> str:
    _require(value in STYLES, f"expected one of {', '.join(STYLES)}")
    return str(value)


def _count(value: Any) -> int:
    _require(type(value) is int and value >= 1, "expected a whole number of at least 1")
    return int(value)


def _decimals(value: Any) -> int:
    _require(
        type(value) is int and 0 <= value <= MAX_DECIMALS, f"expected a whole number from 0 to {MAX_DECIMALS}"
    )
    return int(value)


def _positive(value: Any) -> float:
    _require(type(value) in {int, float} and 0 < value < math.inf, "expected a positive number")
    return float(value)


def _fields(value: Any) -> dict[str, Any]:
    _require(isinstance(value, Mapping), "expected a table of fields, each with its value")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"a body cannot hold that ({problem})") from None
    return dict(value)


def _names(value: Any) -> dict[str, str]:
    is_table = isinstance(value, Mapping) and all(isinstance(name, str) for name in value.values())
    _require(is_table, "expected a table of column names, each with the service's name in quotes")
    return _distinct(value)


def _labels(value: Any) -> dict[str, Any]:
    is_table = isinstance(value, Mapping) and all(
        isinstance(name, (str, int, float)) for name in value.values()
    )
    _require(is_table, "expected a table of labels, each with the service's name for it")
    return _distinct(value)


def _distinct(table: Mapping[str, Any]) -> dict[str, Any]:
    names = [(type(name) is bool, name) for name in table.values()]
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise ValueError(f"{twice[1]!r} is used twice, but each name must be different")
    return dict(table)


_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("features", *PARTS, "columns", "probability_of", "model_tag"), _text),
    **dict.fromkeys(("route", "health", "ready", "live"), _route),
    "style": _style,
    "max_rows": _count,
    "decimals": _decimals,
    "absolute": _positive,
    "scale": _positive,
    "fields": _fields,
    "names": _names,
    "labels": _labels,
}
"""What can be declared, and how each value is read."""
MAY_BE_EMPTY = {"columns", "probability_of", "model_tag", "intervals"}
"""Where an empty text says that there is no such part; elsewhere it is the path of the whole body."""


def read_contract(path: Path) -> dict[str, Any]:
    """Read what a file declares of a contract; the rest is read from the service.

    Raises:
        ContractError: it is no TOML, has another schema number, or holds what a contract does not.
    """
    return check_declared(read_document(path, "the contract", SCHEMA, ContractError), f"the contract {path}")


def check_declared(declared: Mapping[str, Any], where: str = "the contract") -> dict[str, Any]:
    """Return what was declared of a contract, after a look at each value.

    Raises:
        ContractError: a name or a value does not belong there; the message names both, and what is expected.
    """
    checked: dict[str, Any] = {}
    for name, value in declared.items():
        if name not in _READERS:
            raise ContractError(
                f"{where} has an unknown key {name!r}. Known keys: {', '.join(sorted(_READERS))}"
            )
        if value is None or (value == "" and name in MAY_BE_EMPTY):
            checked[name] = None
            continue
        try:
            checked[name] = _READERS[name](value)
        except ValueError as problem:
            raise ContractError(f"{where} has {name} = {value!r}: {problem}") from None
    return checked


def as_toml(declared: Mapping[str, Any]) -> str:
    """Return what was declared as lines of TOML, without the schema number: single values first, then tables."""
    single = [
        f"{name} = {_toml_value(value)}" for name, value in declared.items() if not isinstance(value, Mapping)
    ]
    tables = [
        "\n".join(
            ["", f"[{name}]", *(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items())]
        )
        for name, value in declared.items()
        if isinstance(value, Mapping) and value
    ]
    return "\n".join([*single, *tables])


def _toml_key(key: str) -> str:
    is_bare = bool(key) and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in key)
    return key if is_bare else _toml_value(key)


def _toml_value(value: Any) -> str:
    """Return a value as TOML; JSON's texts are TOML's basic strings, except for DEL, which TOML wants escaped."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps("" if value is None else value, ensure_ascii=False).replace("\x7f", "\\u007f")


def how_to_declare(declared: Mapping[str, Any]) -> str:
    """Return a sentence that shows what to write into a contract."""
    lines = as_toml({"schema": SCHEMA, **declared}).splitlines()
    return "Declare it in a TOML file and pass that with --contract FILE:\n" + "\n".join(
        f"    {line}".rstrip() for line in lines
    )


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
        if not isinstance(body, dict):
            raise ContractError(
                f"{path} in the contract goes through {parent}, which is no object of the body"
            )
    body[last] = value


def join_path(first: str, second: str) -> str:
    """Return one dotted path of two, either of which may be empty."""
    return f"{first}.{second}" if first and second else first or second


def get_path(answer: Any, path: str) -> Any:
    """Return what stands at a dotted path: ``*`` goes through a list, a number takes one item of a list; None where there is nothing."""
    if not path:
        return answer
    part, _, rest = path.partition(".")
    if part == "*":
        items = as_list(answer)
        return [get_path(item, rest) for item in items] if isinstance(items, list) else None
    if isinstance(answer, list):
        is_there = part.isascii() and part.isdigit() and int(part) < len(answer)
        return get_path(answer[int(part)], rest) if is_there else None
    return get_path(answer.get(part), rest) if isinstance(answer, Mapping) else None
