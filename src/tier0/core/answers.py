"""Finding the parts of a response by its structure, and recognising what only a person can declare.

Structure is where a part is and how it is nested: that is found from the response to the golden rows. Meaning is what a value stands for: which
name belongs to which label, whose probability a number is, how far numbers are rounded. Meaning is recognised by comparison with the golden
rows, and proposed as a contract; nothing is judged by it before it is declared, so that a swap of labels can never pass as a mapping.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tier0.core.contract import BOUNDS, PARTS, PREDICTED, Contract, as_list, get_path
from tier0.core.golden import GoldenRows
from tier0.core.service_schema import INTERVAL_NAMES, PREDICTION_NAMES, PROBABILITY_NAMES

ALSO_PREDICTIONS = (
    "predicted", "predicted_label", "predicted_labels", "predicted_class", "predicted_classes", "class", "class_name", "class_label", "category",
    "y_pred", "y_hat", "y", "result", "results", "output", "outputs", "value", "values", "answer", "answers", "target",
)  # fmt: skip
ALSO_PROBABILITIES = ("probs", "proba", "probas", "class_probabilities", "predict_proba", "predicted_probabilities", "confidence", "confidences")
PATHS = set(PARTS)
ERROR_KEYS = ("error", "errors", "detail", "exception")
ERROR_WORDS = {"error", "fail", "failed", "failure", "invalid"}
NO_ERROR = {"none", "null", "no", "ok", "false", "0"}
SAME = 1e-6
"""Relative difference up to which two numbers are taken for the same thing when a meaning is looked for; the checks compare more strictly."""
MAX_ROUNDING = 12
MIN_PROBABILITY_DECIMALS = 1
"""Probabilities without decimals are labels."""
PERCENT = 100.0
NEARLY = 0.05
"""By which rounded or cut probabilities may miss their sum."""
PROMISES_NO_PROBABILITY = {"scores", "score", "confidence", "confidences"}
"""Names under which other numbers than probabilities are common, such as logits."""
UNITS = tuple(10.0**power for power in (-6, -3, -2, -1, 1, 2, 3, 6))
"""By which a service may multiply a number that it returns in another unit."""
ABOUT_REQUESTS = {
    "latency", "duration", "elapsed", "time", "timestamp", "took", "ms", "seconds", "id", "ids", "index", "row", "version", "count", "date",
    "request",
}  # fmt: skip
"""Words in the names of what a response says about the request, and not about a row."""
MIN_ROWS = 2
DEPTH = 6
"""Levels of a response that are searched."""


class Undeclared(NamedTuple):
    """A meaning that was recognised, and has to be declared before it is judged.

    Attributes:
        part: of the response: ``predictions``, ``probabilities`` or ``intervals``.
        what: was recognised, as a clause with the response as its subject.
        declare: the keys of the contract that declare it; empty where the meaning is unknown.
    """

    part: str
    what: str
    declare: Mapping[str, Any]


class FoundParts(NamedTuple):
    """Where the parts of a response are.

    Attributes:
        paths: of each part that was found.
        undeclared: what must be declared before a part can be judged.
    """

    paths: dict[str, str | None]
    undeclared: tuple[Undeclared, ...]


# ---------------------------------------------------------------- where values are


def columns_in(answers: Sequence[Any], count: int, *, one_row: bool) -> dict[str, list[Any]]:
    """Return, by path, all that a response has one of for each row.

    Args:
        answers: one response about *count* rows, or one a row.
        count: of the rows.
        one_row: each of *answers* is about one row.
    """
    if one_row:
        return {path: [get_path(answer, path) for answer in answers] for path in _paths(answers[0], DEPTH)} if answers else {}
    return dict(_columns(answers[0], count, "", DEPTH)) if answers else {}


def _paths(value: Any, depth: int) -> Iterator[str]:
    """Yield the paths within the response about one row."""
    yield ""
    if depth and isinstance(value, Mapping):
        for name, inner in value.items():
            if _can_be_path(name):
                yield from (_join(name, path) for path in _paths(inner, depth - 1))
    elif depth and isinstance(value, list) and (len(value) == 1 or not all(_is_number(item) for item in value)):
        for index, inner in enumerate(value):
            yield from (_join(str(index), path) for path in _paths(inner, depth - 1))


def _columns(value: Any, count: int, path: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    rows = as_list(value) if count > 1 else value
    if isinstance(rows, list) and len(rows) == count:
        yield path, rows
        for inner in _shared_paths(rows, depth):
            yield _join(path, f"*.{inner}"), [get_path(row, inner) for row in rows]
    elif depth and isinstance(value, Mapping):
        for name, inner_value in value.items():
            if _can_be_path(name):
                yield from _columns(inner_value, count, _join(path, name), depth - 1)
    elif depth and isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        yield from _columns(value[0], count, _join(path, "0"), depth - 1)


def _shared_paths(rows: Sequence[Any], depth: int) -> list[str]:
    """Return the paths within rows that most of them have: a few may be errors."""
    found = dict.fromkeys(path for row in rows for path in _paths_in_row(row, depth) if path)
    return [path for path in found if _are_enough(_has(row, path) for row in rows)]


def _are_enough(hold: Iterable[bool]) -> bool:
    """Return True if something holds for at least a third of the rows."""
    each = list(hold)
    return sum(each) * 3 >= len(each) > 0


def _paths_in_row(row: Any, depth: int) -> Iterator[str]:
    yield ""
    if depth and isinstance(row, Mapping):
        items: Iterator[tuple[str, Any]] = ((name, inner) for name, inner in row.items() if _can_be_path(name))
    elif depth and isinstance(row, list) and not all(_is_number(item) for item in row):
        items = ((str(index), inner) for index, inner in enumerate(row))
    else:
        return
    for name, inner in items:
        yield from (_join(name, path) for path in _paths_in_row(inner, depth - 1))


def _has(row: Any, path: str) -> bool:
    for part in path.split("."):
        if isinstance(row, Mapping) and part in row:
            row = row[part]
        elif isinstance(row, list) and part.isdigit() and int(part) < len(row):
            row = row[int(part)]
        else:
            return False
    return True


def _can_be_path(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and name != "*" and "." not in name


def _join(first: str, second: str) -> str:
    return f"{first}.{second}" if first and second else first or second


def _last_name(path: str) -> str:
    """Return the last key of a path, without what only counts."""
    return next((part.lower() for part in reversed(path.split(".")) if part != "*" and not part.isdigit()), "")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def unwrapped(values: Sequence[Any]) -> list[Any]:
    """Return one value a row where each is in a list of one; None for an empty list among them."""
    is_column = any(values) and all(isinstance(value, list) and len(value) <= 1 for value in values)
    return [value[0] if value else None for value in values] if is_column else list(values)


def is_refusal(answer: Any, *, paths: Iterable[str | None] = (), labels: Sequence[Any] = ()) -> bool:
    """Return True if a response with status 200 reports an error instead of predictions.

    Args:
        answer: the body of the response.
        paths: where parts of a response are; what has one of them is an answer.
        labels: of the model; one of them may be called as errors are.
    """
    if not isinstance(answer, Mapping) or any(answer.get(name) for name in (*PREDICTION_NAMES, *PROBABILITY_NAMES)):
        return False
    if any(path and get_path(answer, path) is not None for path in paths) or any(map(_is_list_of_plain, map(answer.get, ALSO_PREDICTIONS))):
        return False
    if any(_reports_error(answer.get(name)) for name in ERROR_KEYS):
        others = {name: value for name, value in answer.items() if name not in ERROR_KEYS}
        return not any(isinstance(value, list) and value for _, value in _called(others, (*PREDICTION_NAMES, *PROBABILITY_NAMES), in_rows=False))
    status = answer.get("status", answer.get("success"))
    return status not in labels and (status is False or (isinstance(status, str) and status.lower() in ERROR_WORDS))


def _is_list_of_plain(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_plain, value))


def _reports_error(value: Any) -> bool:
    """Return True for what is said of an error; numbers are how large it is, and a list has one for each row."""
    if isinstance(value, list):
        return any(map(_reports_error, value))
    return bool(value) and not _is_number(value) and str(value).strip().lower() not in NO_ERROR


# ---------------------------------------------------------------- which of them are the parts


def find_parts(
    answers: Sequence[Any], golden: GoldenRows, contract: Contract, declared: Mapping[str, Any], *, promises_numbers: bool = False
) -> FoundParts:
    """Find the parts of a response to golden rows, and what has to be declared of them.

    Args:
        answers: the response about all rows, or one a row.
        golden: the rows that were sent.
        contract: how they were sent; its paths are kept where they were declared.
        declared: what a person has declared.
        promises_numbers: the service's schema declares a list of numbers as its response.
    """
    is_declared = bool(PATHS & declared.keys())
    paths = {part: getattr(contract, part) for part in PARTS} if is_declared else _paths_of_parts(answers, golden, contract)
    if not is_declared and not promises_numbers and _is_booster(paths, answers, golden):
        return FoundParts({**paths, "predictions": paths["probabilities"], "probabilities": None}, ())
    unread = () if is_declared else _named_and_unread(answers, paths, golden)
    return FoundParts(paths, (*_undeclared(answers, paths, golden, contract, declared), *unread))


def _named_and_unread(answers: Sequence[Any], paths: Mapping[str, str | None], golden: GoldenRows) -> Iterator[Undeclared]:
    """Yield what is called as a part, and is not one for each row, beside a part that was found: it must not stay unnoticed."""
    for part, other in (("predictions", "probabilities"), ("probabilities", "predictions")):
        if paths[part] is not None or paths[other] is None or getattr(golden, part) is None:
            continue
        for path, value in _called(answers[0], (part, part.removesuffix("s").replace("probabilitie", "probability"))):
            is_around = paths[other] == path or str(paths[other]).startswith(f"{path}.")
            if not is_around and (part == "predictions" or (isinstance(value, (list, Mapping)) and value)):
                yield Undeclared(part, f"has {part} at {path} that are not one for each row", {})
                break


def _called(value: Any, names: Sequence[str], *, in_rows: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of what is called by one of *names*, in objects, and in lists of them."""
    for path, content in _objects(value, "", DEPTH):
        yield from ((_join(path, name), content[name]) for name in names if name in content)
        for name, rows in content.items() if in_rows else ():
            if _can_be_path(name):
                yield from _called_in_rows(rows, _join(path, name), names)
    if in_rows:
        yield from _called_in_rows(value, "", names)


def _called_in_rows(rows: Any, path: str, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in names if isinstance(rows, list) else ():
        if values := [row[name] for row in rows if isinstance(row, Mapping) and name in row]:
            yield _join(path, f"*.{name}"), values


def _is_booster(paths: Mapping[str, str | None], answers: Sequence[Any], golden: GoldenRows) -> bool:
    """Return True if the whole response is one number a row, of a model whose labels are text.

    That is how a classifier responds that was saved, and came back, as its booster.
    """
    is_bare = paths["probabilities"] == "" and paths["predictions"] is None and all(isinstance(label, str) for label in golden.classes)
    values = answers[0] if len(answers) == 1 else list(answers)
    return is_bare and isinstance(values, list) and all(map(_is_number, unwrapped(values)))


def _paths_of_parts(answers: Sequence[Any], golden: GoldenRows, contract: Contract) -> dict[str, str | None]:
    columns = columns_in(answers, len(golden), one_row=contract.one_row)
    flat = {path: unwrapped(values) for path, values in columns.items()}
    plain = {path: values for path, values in flat.items() if _are_enough(map(_is_plain, values))}
    predictions = _find_predictions(plain, golden, contract)
    probabilities = _find_probabilities(columns, answers, golden, contract, predictions)
    if predictions is None and probabilities is not None:
        predictions = _too_few_or_many(answers, golden, probabilities)
    if predictions is None and probabilities is None:
        predictions = _named_anywhere(answers, PREDICTION_NAMES)
        probabilities = _named_anywhere(answers, PROBABILITY_NAMES) if golden.probabilities else None
        if isinstance(answers[0], list) and not contract.one_row:
            predictions = ""
    return {"predictions": predictions, "probabilities": probabilities, "intervals": _find_intervals(answers, golden, contract)}


def _too_few_or_many(answers: Sequence[Any], golden: GoldenRows, probabilities: str) -> str | None:
    """Return the path of values that are called predictions, and are fewer or more than the rows."""
    for path, value in _called(answers[0], PREDICTION_NAMES[:2]) if len(answers) == 1 else ():
        if path != probabilities and "*" not in path and _is_list_of_plain(value) and len(value) != len(golden):
            return path
    return None


def _named_anywhere(answers: Sequence[Any], names: Sequence[str]) -> str | None:
    """Return the path of what is called by one of *names*, however many there are of it: rows may have been lost, or joined."""
    for path, value in _objects(answers[0], "", DEPTH):
        if named := next((name for name in names if name in value), None):
            return _join(path, named)
    return None


def _by_name(paths: Sequence[str], names: Sequence[str]) -> str | None:
    return next((path for name in names for path in paths if _last_name(path) == name), None)


def _find_predictions(columns: Mapping[str, list[Any]], golden: GoldenRows, contract: Contract) -> str | None:
    """Return where the predictions are: under a usual name, or in the one column that can be them."""
    if contract.predictions in columns:
        return contract.predictions
    strong, weak = _names_of_predictions(golden)
    named = _by_name(list(columns), strong)
    if named is not None and (not _is_echo(golden, columns[named]) or _same_predictions(golden, columns[named])):
        return named
    candidates = _can_be_predictions(columns, golden)
    matching = [path for path, values in candidates.items() if _same_predictions(golden, values)]
    mapped = [path for path, values in candidates.items() if _label_names(golden, values)]
    also = _by_name(list(columns), weak)
    if also is not None and (also in matching or not (matching or _is_echo(golden, columns[also]))):
        return also  # others are called so, too: a class of passengers, the value of a customer
    return next(iter([*matching, *mapped, *candidates]), None) if matching or mapped or len(candidates) == 1 else None


def _can_be_predictions(columns: Mapping[str, list[Any]], golden: GoldenRows) -> dict[str, list[Any]]:
    """Return columns that can hold predictions: not what is the same for all rows, nor probabilities, nor what names say is about the request."""
    varies = len({str(prediction) for prediction in golden.predictions}) > 1
    found = {}
    for path, values in columns.items():
        is_constant = varies and len({str(value) for value in values}) == 1
        is_about_request = set(re.split(r"[^a-z]+", _last_name(path))) & ABOUT_REQUESTS
        is_named_probability = bool(golden.classes) and _last_name(path) in (*PROBABILITY_NAMES, *ALSO_PROBABILITIES)
        is_probability = is_named_probability or whose_probability(golden, values)
        if path == "" or not (is_constant or is_about_request or is_probability):
            found[path] = values
    return {path: values for path, values in found.items() if not (golden.classes and whose_probability(golden, values))}


def _names_of_predictions(golden: GoldenRows) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names that promise predictions, and those that other things have, too: numbers are not called labels."""
    return (PREDICTION_NAMES, ALSO_PREDICTIONS) if golden.classes else (PREDICTION_NAMES[:2], (*PREDICTION_NAMES[2:], *ALSO_PREDICTIONS))


def _is_echo(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return True if values are those of a column of the rows that were sent."""
    return any(list(values) == [row[position] for row in golden.rows] for position in range(len(golden.columns)))


def _same_predictions(golden: GoldenRows, values: Sequence[Any]) -> bool:
    return all(_same(expected, value) for expected, value in zip(golden.predictions, as_labels(golden, values), strict=True))


def _find_probabilities(
    columns: Mapping[str, list[Any]], answers: Sequence[Any], golden: GoldenRows, contract: Contract, predictions: str | None
) -> str | None:
    if not golden.probabilities:
        return None
    if contract.probabilities is not None and any(get_path(answer, contract.probabilities) is not None for answer in answers):
        return contract.probabilities
    others = [path for path in columns if path != predictions]
    keyed = [] if contract.one_row else [path for path, value in _objects(answers[0], "", DEPTH) if _is_keyed_by_class(value, golden)]
    keyed += [path for path in columns if all(_has_score_of_each_class(value, golden) for value in columns[path])]
    if keyed:
        return keyed[0]
    named = _by_name(others, PROBABILITY_NAMES) or _by_name(others, ALSO_PROBABILITIES)
    if named is not None:
        return named
    distributions = [path for path, values in columns.items() if all(_is_distribution(value, golden) for value in values)]
    if predictions is not None:  # other numbers of each row may be as many as there are classes
        distributions = [path for path in distributions if all(_adds_up(value) for value in columns[path])]
    single = [path for path in others if whose_probability(golden, unwrapped(columns[path]))]
    return next(iter([*distributions, *single]), None)


def _has_score_of_each_class(value: Any, golden: GoldenRows) -> bool:
    scores = keyed_scores(value)
    return scores is not None and len(golden.classes) > 1 and scores.keys() == set(map(str, golden.classes))


def _objects(value: Any, path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield path, value
        for name, inner in value.items() if depth else ():
            if _can_be_path(name):
                yield from _objects(inner, _join(path, name), depth - 1)


def _is_keyed_by_class(value: Mapping[str, Any], golden: GoldenRows) -> bool:
    """Return True if an object has one list of numbers a class, one number a row."""
    is_column = [isinstance(column, list) and len(column) == len(golden) and all(map(_is_number, column)) for column in value.values()]
    return len(value) == len(golden.classes) > 1 and all(is_column) and set(value) == set(map(str, golden.classes))


def _is_distribution(value: Any, golden: GoldenRows) -> bool:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, Mapping)):
        value = value[0]
    keyed = keyed_scores(value)
    numbers = list(keyed.values()) if keyed is not None else value
    return isinstance(numbers, list) and len(numbers) == len(golden.classes) > 1 and all(map(_is_number, numbers))


def _adds_up(value: Any) -> bool:
    """Return True if numbers are between 0 and 1, or 0 and 100, and nearly add up to that."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, Mapping)):
        value = value[0]
    keyed = keyed_scores(value)
    numbers = list(keyed.values()) if keyed is not None else value
    if not isinstance(numbers, list) or not numbers or not all(map(_is_number, numbers)) or min(numbers) < 0:
        return False
    return any(math.isclose(sum(numbers), whole, rel_tol=NEARLY) for whole in (1.0, PERCENT))


def keyed_scores(value: Any) -> dict[str, Any] | None:
    """Return scores by the name of their class, from an object, or from a list of objects with a name and a score; None if it is neither."""
    if isinstance(value, Mapping):
        return dict(value) if value and all(map(_is_number, value.values())) else None
    if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
        return None
    found: dict[str, Any] = {}
    for item in value:
        name = next((item[key] for key in (*PREDICTION_NAMES, *ALSO_PREDICTIONS) if key in item and not isinstance(item[key], (list, dict))), None)
        score = next((item[key] for key in (*PROBABILITY_NAMES, *ALSO_PROBABILITIES) if _is_number(item.get(key))), None)
        if name is None or score is None or str(name) in found:
            return None
        found[str(name)] = score
    return found


def _find_intervals(answers: Sequence[Any], golden: GoldenRows, contract: Contract) -> str | None:
    """Return where the bounds are: under a usual name, or where an object has a lower and an upper one."""
    if not golden.intervals:
        return None
    if contract.intervals is not None and get_path(answers[0], contract.intervals) is not None:
        return contract.intervals
    objects = dict(_objects(answers[0], "", DEPTH))
    for path, value in objects.items():
        if named := next((name for name in INTERVAL_NAMES if name in value), None):
            return _join(path, named)
    rows = as_list(answers[0]) if not contract.one_row else None
    if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
        inner = next((name for name in INTERVAL_NAMES if name in rows[0]), None)
        return f"*.{inner}" if inner else "" if rows[0].keys() >= set(BOUNDS) else None
    return next((path for path, value in objects.items() if value.keys() >= set(BOUNDS)), None)


# ---------------------------------------------------------------- what a person has to declare


def _undeclared(
    answers: Sequence[Any], paths: Mapping[str, str | None], golden: GoldenRows, contract: Contract, declared: Mapping[str, Any]
) -> Iterator[Undeclared]:
    if not PATHS & declared.keys() and (path := _chosen_by_value(answers, paths, golden, contract)) is not None:
        others = {part: other for part, other in paths.items() if other is not None and part != "predictions"}
        yield Undeclared(
            "predictions", f"has the model's predictions at {path}, and other fields that could be predictions", {"predictions": path, **others}
        )
        return
    read = merged([contract.with_paths(paths).read(answer) for answer in answers])
    predictions, probabilities = read["predictions"], read["probabilities"]
    if isinstance(predictions, list) and len(predictions) == len(golden):
        yield from _undeclared_predictions(golden, predictions, paths, declared)
    if golden.probabilities and isinstance(probabilities, list | Mapping):
        yield from _undeclared_probabilities(golden, probabilities, paths, contract, declared)
    if golden.intervals and isinstance(read["intervals"], list) and "decimals" not in declared:
        pairs = _number_pairs(golden.intervals, read["intervals"])
        if pairs and (decimals := rounding_of(pairs, 0)) is not None:
            yield Undeclared("intervals", f"rounds its bounds to {_decimals(decimals)}", {"decimals": decimals})


def _chosen_by_value(answers: Sequence[Any], paths: Mapping[str, str | None], golden: GoldenRows, contract: Contract) -> str | None:
    """Return the path of the predictions where only their values tell them from others; None where their name, or their place, does."""
    path = paths["predictions"]
    if not path or path == contract.predictions:
        return None
    flat = {path: unwrapped(values) for path, values in columns_in(answers, len(golden), one_row=contract.one_row).items()}
    plain = {path: values for path, values in flat.items() if path and all(map(_is_plain, values))}
    if path in {_by_name(list(flat), names) for names in _names_of_predictions(golden)}:
        return None
    return path if len(_can_be_predictions(plain, golden)) > 1 else None


def _undeclared_predictions(
    golden: GoldenRows, predictions: Sequence[Any], paths: Mapping[str, str | None], declared: Mapping[str, Any]
) -> Iterator[Undeclared]:
    if _same_predictions(golden, predictions):
        return
    if not golden.classes:
        yield from _undeclared_numbers_predicted(golden, as_labels(golden, predictions), declared)
        return
    path = paths["predictions"] or ""
    if "labels" not in declared and (names := _label_names(golden, predictions)):
        yield Undeclared("predictions", _shown_names(names), {"labels": names})
    elif "predictions" not in declared and (whose := whose_probability(golden, predictions)):
        yield Undeclared("predictions", f"has {_whose(whose)} instead of a label", {"probabilities": path, "probability_of": whose})
    elif not PATHS & declared.keys() and _last_name(path) not in PREDICTION_NAMES and _are_no_labels(golden, predictions):
        yield Undeclared("predictions", f"has values at {path or 'its top level'} that are not labels of the model", {})


def _undeclared_numbers_predicted(golden: GoldenRows, predictions: Sequence[Any], declared: Mapping[str, Any]) -> Iterator[Undeclared]:
    if predictions and all(isinstance(value, str) for value in predictions):
        yield Undeclared("predictions", "has text instead of a number", {})
        return
    pairs = _number_pairs(golden.predictions, predictions)
    if not pairs:
        return
    if "decimals" not in declared and "scale" not in declared and (decimals := rounding_of(pairs, 0)) is not None:
        yield Undeclared("predictions", f"rounds its predictions to {_decimals(decimals)}", {"decimals": decimals})
        return
    for scale in UNITS if "scale" not in declared else ():
        if all(math.isclose(before * scale, after, rel_tol=SAME, abs_tol=0.0) for before, after in pairs):
            yield Undeclared("predictions", f"has the model's predictions multiplied by {scale:g}", {"scale": scale})
            return


def _are_no_labels(golden: GoldenRows, values: Sequence[Any]) -> bool:
    """Return True if values cannot be labels: none is one of the model's, and there are more of them than labels."""
    known = {str(label) for label in golden.classes}
    shown = {str(value) for value in values}
    return all(map(_is_plain, values)) and not shown & known and len(shown) > len(known)


def _shown_names(names: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{label} is {name!r}" for label, name in names.items())
    return f"has other names for the model's labels ({shown})"


def _label_names(golden: GoldenRows, values: Sequence[Any]) -> dict[str, Any]:
    """Return the service's name for each label of the model: empty unless each has one of its own that is none of the model's labels."""
    known = {str(label) for label in golden.classes}
    names: dict[str, Any] = {}
    for expected, value in zip(golden.predictions, values, strict=True):
        is_label = str(value) in known and not isinstance(value, bool)
        if not isinstance(value, (str, int)) or (is_label and (str(value) != expected or isinstance(value, str))):
            return {}  # a number for the text of the same digits is a name, too, but never that of another label
        if names.setdefault(str(expected), value) != value or type(names[str(expected)]) is not type(value):
            return {}
    is_one_to_one = len({(type(name).__name__, name) for name in names.values()}) == len(names)
    return names if is_one_to_one else {}


def whose_probability(golden: GoldenRows, values: Sequence[Any]) -> str | None:
    """Return the class whose probability is returned, as one number a row, or `PREDICTED`; None if it is not clear which."""
    if not golden.probabilities or len(values) != len(golden) or not all(map(_is_number, values)):
        return None
    matching = [
        str(label) for position, label in enumerate(golden.classes) if _alike([row[position] for row in golden.probabilities], values) is not None
    ]
    if len(matching) == 1:
        return matching[0]
    if not matching and _alike(_of_predicted(golden), values) is not None:
        return PREDICTED
    return None


def _of_predicted(golden: GoldenRows) -> list[float]:
    """Return the probability of the predicted class of each row."""
    positions = {str(label): position for position, label in enumerate(golden.classes)}
    return [
        row[positions[str(label)]] if str(label) in positions else math.nan
        for row, label in zip(golden.probabilities or [], golden.predictions, strict=True)
    ]


class _Alike(NamedTuple):
    scale: float
    decimals: int | None


def _alike(expected: Sequence[float], values: Sequence[Any]) -> _Alike | None:
    """Return by which scale and rounding numbers are the expected ones; None if they are not."""
    for scale in (1.0, PERCENT):
        pairs = [(before * scale, float(after)) for before, after in zip(expected, values, strict=True)]
        if all(math.isclose(before, after, rel_tol=SAME, abs_tol=SAME * scale) for before, after in pairs):
            return _Alike(scale, None)
        if (decimals := rounding_of(pairs, MIN_PROBABILITY_DECIMALS if scale == 1.0 else 0)) is not None:
            return _Alike(scale, decimals)
    return None


def rounding_of(pairs: Sequence[tuple[float, float]], least: int) -> int | None:
    """Return to how many decimals the second numbers of *pairs* are rounded from the first ones; None if they are not."""
    if len(pairs) < MIN_ROWS or all(before == after for before, after in pairs):
        return None
    decimals = max((_decimals_of(after) for _, after in pairs), default=0)
    decimals = max(decimals, least)
    if decimals > MAX_ROUNDING:
        return None
    half = 0.5 * 10.0**-decimals * (1 + 1e-9)
    return decimals if all(abs(before - after) <= half for before, after in pairs) else None


def is_rounded(values: Any, part: str, contract: Contract) -> bool:
    """Return True if numbers in the model's terms have no more decimals than the contract declares: others were not rounded to them."""
    if isinstance(values, list):
        return all(is_rounded(value, part, contract) for value in values)
    if contract.decimals is None or not isinstance(values, float) or not math.isfinite(values):
        return True
    served = values * (contract.scale if part != "intervals" else 1.0)
    unit = 10.0**-contract.decimals
    return math.isclose(served, round(served, contract.decimals), rel_tol=SAME, abs_tol=unit / 100)


def _decimals_of(number: float) -> int:
    return next((decimals for decimals in range(MAX_ROUNDING + 1) if round(number, decimals) == number), MAX_ROUNDING + 1)


def _decimals(count: int) -> str:
    return "whole numbers" if count == 0 else f"{count} decimal{'s' if count > 1 else ''}"


def _whose(named: str) -> str:
    return "the probability of the predicted class" if named == PREDICTED else f"the probability of class {named}"


def _undeclared_probabilities(
    golden: GoldenRows, served: Any, paths: Mapping[str, str | None], contract: Contract, declared: Mapping[str, Any]
) -> Iterator[Undeclared]:
    expected = golden.probabilities or []
    served = by_class(served, golden, contract)
    if not isinstance(served, list) or len(served) != len(golden):
        return
    if contract.probability_of is not None:
        expected, named = _expected_of(golden, contract.probability_of), True
    else:
        named = False
        flat = unwrapped(served)
        if all(map(_is_number, flat)):
            yield from _undeclared_single(golden, flat, paths)
            return
    if not named and _last_name(paths["probabilities"] or "") in PROMISES_NO_PROBABILITY and not any(map(_adds_up, served)):
        yield Undeclared("probabilities", f"has numbers at {paths['probabilities']} that are no probabilities", {})
        return
    keyed = [keyed_scores(row) for row in served]
    if all(row is not None for row in keyed):
        yield from _undeclared_keys(golden, [row for row in keyed if row is not None], declared)
        return
    if not PATHS & declared.keys() and _last_name(paths["probabilities"] or "") != "probabilities" and all(map(_is_one_hot, served)):
        yield Undeclared("probabilities", "has one-hot lists (zeros and a single 1) instead of probabilities", {})
        return
    yield from _undeclared_numbers(expected, served, declared, named=named)


def _is_one_hot(row: Any) -> bool:
    return isinstance(row, list) and all(type(value) is int for value in row) and sorted(row) == [*[0] * (len(row) - 1), 1]


def _undeclared_single(golden: GoldenRows, values: Sequence[Any], paths: Mapping[str, str | None]) -> Iterator[Undeclared]:
    path = paths["probabilities"]
    whose = whose_probability(golden, values)
    is_promised = _last_name(path or "") == "probabilities"
    if whose is None or (whose == PREDICTED and is_promised):
        if not is_promised:
            yield Undeclared("probabilities", f"has one number per row at {path or 'its top level'} that is not the probability of any class", {})
        return  # under the name "probabilities" one number a class is expected: that is compared
    columns = _of_predicted(golden) if whose == PREDICTED else [row[0] for row in _expected_of(golden, whose)]
    alike = _alike(columns, values)
    more = {} if alike is None else _numbers_to_declare(alike)
    given = {part: paths[part] for part in ("predictions", "probabilities") if paths[part] is not None}
    how = "".join(f", {one}" for one in _how(more))
    yield Undeclared("probabilities", f"has {_whose(whose)} as one number per row{how}", {**given, "probability_of": whose, **more})


def _how(numbers: Mapping[str, Any]) -> list[str]:
    """Return in words how numbers are scaled and rounded."""
    how = [] if "scale" not in numbers else ["as percentages"]
    return how if "decimals" not in numbers else [*how, f"rounded to {_decimals(numbers['decimals'])}"]


def _numbers_to_declare(alike: _Alike) -> dict[str, Any]:
    scale = {} if alike.scale == 1.0 else {"scale": alike.scale}
    return scale if alike.decimals is None else {**scale, "decimals": alike.decimals}


def as_served(golden: GoldenRows, contract: Contract) -> GoldenRows:
    """Return golden rows with the probabilities that the service returns: all of them, or those of one class, in a list of one."""
    if contract.probability_of is None or golden.probabilities is None:
        return golden
    return replace(golden, probabilities=_expected_of(golden, contract.probability_of))


def _expected_of(golden: GoldenRows, named: str) -> list[list[float]]:
    """Return the probability of one class, or of the predicted one, in a list of one for each row."""
    if named == PREDICTED and PREDICTED not in map(str, golden.classes):
        return [[value] for value in _of_predicted(golden)]
    position = [str(label) for label in golden.classes].index(named)
    return [[row[position]] for row in golden.probabilities or []]


def _undeclared_keys(golden: GoldenRows, rows: Sequence[dict[str, Any]], declared: Mapping[str, Any]) -> Iterator[Undeclared]:
    """Yield names of classes that are not the model's, where each one's numbers are those of one class."""
    if "labels" in declared or any(row.keys() != rows[0].keys() for row in rows):
        return
    names: dict[str, Any] = {}
    for key in rows[0]:
        whose = whose_probability(golden, [row[key] for row in rows])
        if whose is None or whose == PREDICTED or whose in names:
            return
        names[whose] = key
    if len(names) == len(golden.classes) and not set(names.values()) & {str(label) for label in golden.classes}:
        yield Undeclared("probabilities", _shown_names(names), {"labels": names})


def _undeclared_numbers(expected: Sequence[Any], served: Sequence[Any], declared: Mapping[str, Any], *, named: bool) -> Iterator[Undeclared]:
    pairs = _number_pairs(expected, served)
    if not pairs or (set(declared) & {"decimals", "scale"} and not named):
        return
    alike = _alike([before for before, _ in pairs], [after for _, after in pairs])
    if alike is None or not (wanted := {name: value for name, value in _numbers_to_declare(alike).items() if name not in declared}):
        return
    yield Undeclared("probabilities", f"has probabilities {' and '.join(_how(wanted))}", wanted)


def _number_pairs(expected: Sequence[Any], served: Sequence[Any]) -> list[tuple[float, float]]:
    """Return the numbers of two nested lists of the same shape, side by side; an empty list if the shapes differ."""
    found: list[tuple[float, float]] = []
    if len(expected) != len(served):
        return []
    for before, after in zip(expected, served, strict=True):
        if isinstance(before, list) and isinstance(after, list):
            inner = _number_pairs(before, after)
            if not inner:
                return []
            found += inner
        elif _is_number(before) and _is_number(after):
            found.append((float(before), float(after)))
        else:
            return []
    return found


def _same(expected: Any, value: Any) -> bool:
    if _is_number(expected) and _is_number(value):
        return math.isclose(expected, value, rel_tol=SAME, abs_tol=0.0)
    return type(expected) is type(value) and bool(expected == value)


# ---------------------------------------------------------------- in the model's own terms


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parts of several responses as those of one: lists are joined, everything else is the last one's."""
    if len(parts) == 1:
        return dict(parts[0])
    joined: dict[str, Any] = dict(parts[-1])
    for name in ("predictions", "probabilities", "intervals"):
        values = [part[name] for part in parts]
        joined[name] = (
            None if all(value is None for value in values) else [item for value in values for item in (value if isinstance(value, list) else [value])]
        )
    return joined


def in_model_terms(parts: Mapping[str, Any], golden: GoldenRows, contract: Contract) -> dict[str, Any]:
    """Return the parts of a response with the model's labels, and with one number a class in the order of its classes."""
    predictions = parts["predictions"]
    if isinstance(predictions, list):
        by_name = _labels_by_name(golden, contract)
        predictions = _named_as_labels(predictions, by_name, contract) if by_name else as_labels(golden, predictions)
        if not golden.classes and contract.scale != 1.0:
            predictions = [value / contract.scale if _is_number(value) else value for value in predictions]
    return {**parts, "predictions": predictions, "probabilities": by_class(parts["probabilities"], golden, contract)}


def _named_as_labels(values: Sequence[Any], by_name: Mapping[Any, Any], contract: Contract) -> list[Any]:
    """Return the model's labels for the service's names; where some are names, the others must be, too."""
    are_names = [_key(value) in by_name for value in values]
    if any(are_names) and not all(are_names):
        told = [f"{value!r}, which others call {contract.labels[str(value)]!r}" if str(value) in contract.labels else value for value in values]
        return [by_name[_key(value)] if is_name else other for value, other, is_name in zip(values, told, are_names, strict=True)]
    return [by_name.get(_key(value), value) for value in values]


def _key(value: Any) -> Any:
    return (type(value) is bool, value) if _is_plain(value) else None


def _labels_by_name(golden: GoldenRows, contract: Contract) -> dict[Any, Any]:
    """Return the model's label for each declared name of the service."""
    return {_key(contract.labels[str(label)]): label for label in golden.classes if str(label) in contract.labels}


def as_labels(golden: GoldenRows, values: Sequence[Any]) -> list[Any]:
    """Return values with texts in the place of numbers read as numbers: ``"1"`` for the label 1, ``"3.5"`` for a prediction of 3.5."""
    if golden.classes:
        labels = {str(label): label for label in golden.classes if not isinstance(label, str)}
        return [labels.get(value, value) if isinstance(value, str) else value for value in values]
    return [_as_number(value) if isinstance(value, str) else value for value in values]


def _as_number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return text if math.isinf(number) else number


def by_class(value: Any, golden: GoldenRows, contract: Contract) -> Any:
    """Return probabilities as one list a row, in the order of the model's classes, where the response has them by the name of the class."""
    names = [str(contract.labels.get(str(label), label)) for label in golden.classes]
    if isinstance(value, Mapping) and value.keys() == set(names) and all(isinstance(column, list) for column in value.values()):
        return [list(row) for row in zip(*(value[name] for name in names), strict=False)]
    if not isinstance(value, list):
        return value
    return [_in_order(row, names) for row in value]


def _in_order(row: Any, names: Sequence[str]) -> Any:
    if isinstance(row, list) and row and all(isinstance(value, str) for value in row):
        return [_as_number(value) for value in row]
    keyed = keyed_scores(row)
    return [keyed[name] for name in names] if keyed is not None and keyed.keys() == set(names) else row
