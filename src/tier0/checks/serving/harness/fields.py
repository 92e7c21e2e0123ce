"""Account of all fields of a response: compared, known, or not compared; and what contradicts the model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tier0.contract.answers import ABOUT_REQUESTS
from tier0.contract.contract import Contract, join_path
from tier0.contract.model_terms import of_predicted
from tier0.contract.response import DEPTH, columns_in, is_number, is_plain
from tier0.golden.rows import GoldenRows

MAX_FIELDS = 2000
FLAGS = {"mock", "mocked", "fallback", "degraded", "stub", "stubbed", "dummy", "placeholder"}
"""Names of fields whose value true means that the trained model did not respond, without the words around."""
AROUND_A_FLAG = {"is", "was", "used", "from", "mode", "prediction", "response", "model", "answer", "result"}
LOADED = {"model_loaded", "is_model_loaded", "model_ready", "model_available"}
"""Names of fields whose value false means the same."""
STATUS_NAMES = {
    "status", "state", "source", "mode", "model", "model_name", "model_status", "model_state",
    "model_source", "prediction_source", "served_by", "provider", "backend", "engine", "method", "strategy",
    "reason", "warning", "message", "note",
}  # fmt: skip
NO_MODEL = {
    "no model", "no model loaded", "no model available", "no model found", "model not loaded",
    "model not available", "model not found", "model not ready", "model unavailable", "model missing",
    "without model", "fallback", "fallback mode", "fallback model", "fallback used", "mock", "mocked",
    "mock mode", "mock model", "stub", "placeholder", "degraded", "degraded mode",
}  # fmt: skip
"""Texts of such fields which say that the trained model did not respond."""
INVENTED = {"probabilities", "probability", "proba", "probas", "predict_proba", "class_probabilities"}
CONFIDENCE = {"confidence", "confidences", "confidence_score", "certainty"}
CLASSES = {"classes", "class_names", "class_labels"}
KNOWN = {
    *ABOUT_REQUESTS, "tag", "name", "status", "message", "unit", "units", "trace", "uuid", "hash", "host",
    "worker", "pid", "schema", "created", "at", "model", "shape", "datatype", "size", "classes",
    "batch", "run",
}  # fmt: skip
"""Words in the names of fields that describe the request, the model or the service."""
UNITS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "micros": 1e-6, "microseconds": 1e-6, "ms": 1e-3,
    "millis": 1e-3, "milliseconds": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0,
}  # fmt: skip
LATENCY = {"latency", "elapsed", "took", "inference", "processing", "compute", "duration"}
UNITLESS_LATENCY = {"latency", "elapsed", "took", "duration"}
"""Words of them that mean a time even without a unit."""
BESIDE_A_LATENCY = {
    *LATENCY, *UNITS, "time", "total", "model", "server", "prediction", "predict", "request", "response",
    "execution",
}  # fmt: skip
"""All words that the name of a latency may have: a budget or a limit is not one."""
LATENCY_WITH_UNIT = re.compile(r"\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*([a-zµμ]+)\s*")
NOT_MEASURED = -1
"""Value of a latency that was not measured."""
LATENCY_SLACK = 0.1
"""Seconds by which a stated latency may exceed the slowest response."""
CLEARLY_DIFFERENT = 0.05
EQUAL = 1e-6
MIN_ROWS = 4


class Contradiction(NamedTuple):
    """A field that contradicts the trained model or the request.

    Attributes:
        path: path of the field.
        value: its value.
        what: what is wrong with it, as a predicate.
        causes: likely causes.
    """

    path: str
    value: Any
    what: str
    causes: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """The fields of a response, by what became of them.

    Attributes:
        compared: paths that are compared with the trained model.
        known: paths that describe the request, the model or the service.
        not_compared: other paths.
        contradictions: fields that contradict the trained model or the request.
    """

    compared: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)


FALLBACK = (
    "the model was not loaded, and the service responds with a fallback or a mock",
    "the model raised an exception that the service hides",
)


def admits_no_model(name: str, value: Any) -> bool:
    """Return whether a field says that no model, a mock or a fallback responds."""
    snake = _snake(name)
    words = set(snake.split("_"))
    is_true = value is True or (isinstance(value, str) and value.strip().lower() in {"true", "yes"})
    if is_true and words & FLAGS and words <= FLAGS | AROUND_A_FLAG:
        return True
    if snake in LOADED and value is False:
        return True
    if snake not in STATUS_NAMES or not isinstance(value, str):
        return False
    return " ".join(re.split(r"[\s_-]+", value.strip().lower().rstrip(".!"))) in NO_MODEL


def account(
    responses: Sequence[Any], golden: GoldenRows, contract: Contract, *, tag: str | None, slowest: float
) -> Account:
    """Return what became of each field of the responses to golden rows.

    Args:
        responses: one response for all rows, or one response per row or batch.
        golden: rows that were sent, with all outputs of the trained model.
        contract: form of the responses.
        tag: tag of the expected model, whose name can be any text.
        slowest: seconds of the slowest response.
    """
    found = Account()
    columns = columns_in(responses, len(golden), one_row=contract.one_row)
    by_path = {_pattern(path): values for path, values in columns.items()}
    unitless = {path for path, value in _fields(responses) if _is_unitless_latency(path, value)}
    for path in dict.fromkeys(path for path, _ in _fields(responses)):
        values = by_path.get(path)
        if _is_compared(path, contract) or (
            values is not None and _is_confidence_of_model(path, values, golden)
        ):
            found.compared.append(path)
        elif (values is not None and _is_echo(values, golden)) or (
            _words(path) & KNOWN and path not in unitless
        ):
            found.known.append(path)
        else:
            found.not_compared.append(path)
    for path, value in _fields(responses):
        if not _is_compared(path, contract):
            found.contradictions.extend(_of_value(path, value, golden, contract, tag, slowest))
    for path, values in by_path.items():
        if not _is_compared(path, contract):
            found.contradictions.extend(_of_column(path, values, golden))
    return found


def _of_value(
    path: str, value: Any, golden: GoldenRows, contract: Contract, tag: str | None, slowest: float
) -> Iterator[Contradiction]:
    name = _name(path)
    is_echo = name in golden.columns
    if not is_echo and admits_no_model(name, value) and value not in _texts(golden, contract, tag):
        yield Contradiction(path, value, "says that the trained model did not respond", FALLBACK)
    if (
        _snake(name) in CLASSES
        and isinstance(value, list)
        and (wrong := _wrong_classes(value, golden, contract))
    ):
        causes = (
            "the label encoder and the model are of different versions",
            "the service sorts the classes itself",
        )
        yield Contradiction(path, value, wrong, causes)
    latency = None if is_echo else _latency_in(name, value)
    if latency is not None and not 0 <= latency.seconds <= slowest + LATENCY_SLACK:
        in_any_unit = "" if latency.has_unit else ", in any unit"
        what = f"cannot be a latency{in_any_unit}: the slowest response took {slowest * 1000:.0f} ms"
        causes = (
            "the unit is not that of its name",
            "it is measured from another moment, or is a constant",
        )
        yield Contradiction(path, value, what, causes[not latency.has_unit :])


def _texts(golden: GoldenRows, contract: Contract, tag: str | None) -> set[Any]:
    """Return texts that are labels, values of rows, or parts of the model's tag."""
    values = (value for row in golden.rows for value in row if isinstance(value, str))
    labels = (label for label in [*golden.classes, *contract.labels.values()] if isinstance(label, str))
    return {*values, *labels, *re.split("[:/]", tag or "")}


def _of_column(path: str, values: Sequence[Any], golden: GoldenRows) -> Iterator[Contradiction]:
    name = _snake(_name(path))
    is_from_model = bool(golden.dtypes) and bool(golden.classes) and not golden.has_several_outputs
    if (
        name in INVENTED
        and is_from_model
        and golden.probabilities is None
        and _are_probabilities(values, golden)
    ):
        causes = ("the probabilities are invented by the service", "another model is served")
        yield Contradiction(path, values[0], "has probabilities, but the trained model has none", causes)
    if (
        name in CONFIDENCE
        and golden.probabilities
        and len(golden) >= MIN_ROWS
        and all(map(is_number, values))
    ):
        of_predicted_class = of_predicted(golden)
        varies = max(of_predicted_class) - min(of_predicted_class) > CLEARLY_DIFFERENT
        if varies and len(set(values)) == 1:
            what = f"is {values[0]!r} for all rows, but the trained model's probabilities differ"
            yield Contradiction(path, values[0], what, ("the confidence is a constant",))
        is_of_model = _is_confidence_of_model(path, values, golden)
        if varies and not is_of_model and _same(values, [1 - number for number in of_predicted_class]):
            what = "has the probability that the prediction is wrong"
            yield Contradiction(path, values[0], what, ("the confidence is that of the other class",))


def _wrong_classes(values: list[Any], golden: GoldenRows, contract: Contract) -> str:
    """Return what is wrong with a list of classes, as a predicate; empty if nothing is known to be."""
    own = [str(contract.labels.get(str(label), label)) for label in golden.classes]
    listed = [str(value) for value in values]
    if (
        not all(map(is_plain, values))
        or golden.has_several_outputs
        or len(listed) != len(own)
        or listed == own
    ):
        return ""
    if sorted(listed) == sorted(own):
        return f"lists the classes in another order than the trained model, {', '.join(own)}"
    are_texts = all(isinstance(label, str) for label in [*values, *golden.classes])
    is_other = are_texts and not contract.labels and not set(listed) & set(own)
    return f"lists other classes than the trained model, {', '.join(own)}" if is_other else ""


def _are_probabilities(values: Sequence[Any], golden: GoldenRows) -> bool:
    rows: list[Any] = [list(row.values()) if isinstance(row, Mapping) else row for row in values]
    if all(map(is_number, rows)):
        return all(0 <= row <= 1 for row in rows)
    return all(
        isinstance(row, list)
        and len(row) == len(golden.classes)
        and all(map(is_number, row))
        and min(row) >= 0
        and abs(sum(row) - 1) <= CLEARLY_DIFFERENT
        for row in rows
    )


def _is_confidence_of_model(path: str, values: Sequence[Any], golden: GoldenRows) -> bool:
    """Return whether a field is the trained model's probability of the predicted class, or of one class."""
    if _snake(_name(path)) not in CONFIDENCE or not golden.probabilities or golden.has_several_outputs:
        return False
    of_classes = [list(column) for column in zip(*golden.probabilities, strict=True)]
    candidates = [of_predicted(golden), [max(row) for row in golden.probabilities], *of_classes]
    return any(_same(values, expected) for expected in candidates)


def _same(values: Sequence[Any], expected: Sequence[float]) -> bool:
    if len(values) != len(expected) or not all(map(is_number, values)):
        return False
    return all(abs(value - number) <= EQUAL for value, number in zip(values, expected, strict=True))


def _is_echo(values: Sequence[Any], golden: GoldenRows) -> bool:
    return any(
        list(values) == [row[position] for row in golden.rows] for position in range(len(golden.columns))
    )


def _is_compared(path: str, contract: Contract) -> bool:
    for declared in (contract.predictions, contract.probabilities, contract.intervals, contract.model_tag):
        if declared is None:
            continue
        whole = _pattern(declared)
        if whole == path or not whole or path.startswith(f"{whole}.") or whole.startswith(f"{path}."):
            return True
        if not path and whole.startswith("*"):
            return True
    return False


class _Latency(NamedTuple):
    """A latency that a response states.

    Attributes:
        seconds: the latency; in the shortest unit if none is stated, so that it is at least as much.
        has_unit: whether its name or its text has a unit.
    """

    seconds: float
    has_unit: bool


def _latency_in(name: str, value: Any) -> _Latency | None:
    """Return the latency that a field states; None for another field, or for one that was not measured."""
    words = _snake(name).split("_")
    if not LATENCY.intersection(words) or not BESIDE_A_LATENCY.issuperset(words) or value == NOT_MEASURED:
        return None
    if isinstance(value, str) and (stated := LATENCY_WITH_UNIT.fullmatch(value.lower())):
        unit = UNITS.get(stated[2])
        return None if unit is None else _Latency(float(stated[1]) * unit, has_unit=True)
    if not is_number(value):
        return None
    unit = UNITS.get(words[-1])
    if unit is None and not UNITLESS_LATENCY.intersection(words):
        return None
    return _Latency(value * (unit or min(UNITS.values())), has_unit=unit is not None)


def _is_unitless_latency(path: str, value: Any) -> bool:
    """Return whether a field states a latency without a unit, which only an impossible value contradicts."""
    latency = _latency_in(_name(path), value)
    return latency is not None and not latency.has_unit


def _fields(responses: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each field, up to `MAX_FIELDS`; items of a list have the path ``*``."""
    count = 0
    for response in responses:
        for found in _below(response, "", DEPTH):
            yield found
            count += 1
            if count == MAX_FIELDS:
                return


def _below(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and depth:
        for name, inner in value.items():
            yield from _below(inner, join_path(path, str(name)), depth - 1)
    elif isinstance(value, list) and depth and any(isinstance(item, Mapping) for item in value):
        for item in value:
            yield from _below(item, join_path(path, "*"), depth - 1)
    else:
        yield path, value
        if isinstance(value, list):
            yield from ((path, item) for item in value if item is True or isinstance(item, str))


def _pattern(path: str) -> str:
    """Return a path with ``*`` for positions in a list."""
    return ".".join("*" if part.isdigit() else part for part in path.split(".")) if path else ""


def _words(path: str) -> set[str]:
    return set(_snake(_name(path)).split("_"))


def _name(path: str) -> str:
    """Return the last key of a path, without list positions."""
    return next((part for part in reversed(path.split(".")) if part != "*" and not part.isdigit()), "")


def _snake(name: str) -> str:
    """Return a name such as ``isMock`` or ``is-mock`` as ``is_mock``."""
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()
