"""Checks of the contract: complete responses, and refusal of malformed requests."""

from __future__ import annotations

import json
import math
from typing import Any

from tier0.checks.serving.harness.fields import account
from tier0.checks.serving.harness.sender import UnansweredError
from tier0.checks.serving.harness.target import REFUSED, SLOWEST, Target, decode, reports_error
from tier0.contract.delimited import CONTENT_TYPE as CSV
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

SUM_TOLERANCE = 1e-5
MAX_COLUMNS = 8
VOCABULARY = [
    "the encoder ignores unknown categories (handle_unknown='ignore'), and spelling is not validated"
]
NOT_VALIDATED = "requests are not validated against the columns and types that the model was trained on"
GUESSED = ["a default replaces a missing or misspelled field", NOT_VALIDATED]


async def one_answer_a_row(target: Target) -> None:
    """Fail if the number of outputs differs from the number of rows, or an output is not finite."""
    golden = target.golden
    answer = await target.golden_answer()
    for part in target.contract.parts:
        values, expected = answer[part], getattr(golden, part)
        if values is None and (expected is None or part not in target.parts):
            continue
        if not isinstance(values, list) or len(values) != len(golden):
            got = len(values) if isinstance(values, list) else type(values).__name__
            each = f"{len(golden)} {part}, one for each row" if len(golden) > 1 else f"one of {part}"
            causes = ["rows are dropped or merged", "an array is reshaped instead of refused"]
            raise CheckFailedError(
                f"expected {each}, got {got or 'none'}",
                evidence={"rows": len(golden), part: got},
                causes=causes,
            )
        as_model = expected or [0] * len(values)
        wrong = [
            index
            for index, value in enumerate(values)
            if not _is_finite(value) and _is_finite(as_model[index])
        ]
        if wrong:
            index = wrong[0]
            causes = ["NaN or infinity became null in JSON"]
            message = f"row {index}: {part}: expected finite values, got {values[index]!r} with status 200"
            raise CheckFailedError(
                message,
                evidence={"row": index, part: values[index]},
                causes=causes,
                reproduce=target.curl(target.body(golden.take([index]))),
            )


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


async def probabilities(target: Target) -> None:
    """Fail if the probabilities of a row are not one number per class that sum to 1."""
    golden = target.golden
    if "probabilities" not in target.parts or golden.probabilities is None:
        raise NotJudgedError("the response has no probabilities", code="not_offered")
    if target.contract.probability_of is not None:
        raise NotJudgedError("the response has the probability of one class only", code="not_offered")
    if golden.has_several_outputs:
        raise NotJudgedError(
            "the model has several outputs, whose probabilities need not add up: parity.golden_rows compares "
            "them",
            code="not_offered",
        )
    values = (await target.golden_answer())["probabilities"]
    allowed = max(SUM_TOLERANCE, len(golden.classes) * target.contract.tolerance_of("probabilities"))
    for index, row in enumerate(values if isinstance(values, list) else [values]):
        if not _is_distribution(row, len(golden.classes), allowed):
            causes = [
                "only the probability of one class is returned: declare it (probability_of in the contract)",
                "a matrix was flattened",
                "scores were shifted or clamped",
            ]
            message = f"row {index}: expected {len(golden.classes)} probabilities that sum to 1, got {row!r}"
            raise CheckFailedError(
                message,
                evidence={"row": index, "probabilities": row, "classes": golden.classes},
                causes=causes,
            )


async def intervals(target: Target) -> None:
    """Fail if an interval is not a lower and an upper bound around its prediction."""
    golden = target.golden
    if "intervals" not in target.parts or golden.intervals is None:
        raise NotJudgedError("the response has no intervals", code="not_offered")
    answer = await target.golden_answer()
    bounds, predictions = answer["intervals"], answer["predictions"] or [None] * len(golden)
    if not isinstance(bounds, list) or len(bounds) != len(golden):
        raise CheckFailedError(
            f"expected {len(golden)} intervals, one per row, got {target.excerpt(repr(bounds))}",
            causes=["intervals are flattened or dropped"],
        )
    for index, (interval, prediction) in enumerate(zip(bounds, predictions, strict=False)):
        if not _is_interval(interval, prediction):
            raise CheckFailedError(
                f"row {index}: expected a lower and an upper bound around the prediction {prediction!r}, "
                f"got {interval!r}",
                evidence={"row": index, "interval": interval, "prediction": prediction},
                causes=[
                    "the bounds are swapped",
                    "the values are widths in place of bounds",
                    "the interval belongs to another row or another model",
                ],
                reproduce=target.curl(target.body(golden.take([index]))),
            )


def _is_interval(interval: Any, prediction: Any) -> bool:
    if not isinstance(interval, list) or len(interval) != 2:
        return False
    if not all(type(bound) in {int, float} for bound in interval):
        return False
    lower, upper = interval
    return bool(lower <= (lower if prediction is None else prediction) <= upper)


def _is_distribution(row: Any, classes: int, tolerance: float = SUM_TOLERANCE) -> bool:
    if (
        not isinstance(row, list)
        or len(row) != classes
        or not all(type(value) in {int, float} for value in row)
    ):
        return False
    return abs(sum(row) - 1) <= tolerance and min(row) >= -tolerance  # sums in float32 exceed 1


async def other_fields(target: Target) -> dict[str, Any]:
    """Fail if a field beside the compared ones contradicts the model or the request; report the fields."""
    await target.golden_answer()
    fields = account(
        target.memo["golden"],
        target.model_rows,
        target.contract,
        tag=target.tag,
        slowest=target.memo.get(SLOWEST, math.inf),
    )
    evidence = {"compared": fields.compared, "known": fields.known, "not_compared": fields.not_compared}
    for path, value, what, causes in fields.contradictions:
        raise CheckFailedError(
            f"the response field {path or 'itself'} {what}: {target.excerpt(repr(value))}",
            evidence={**evidence, "field": path},
            causes=causes,
            reproduce=target.curl(target.body(target.golden.take([0]))),
        )
    return evidence


async def refuses_empty_body(target: Target) -> dict[str, Any]:
    """Fail if an empty body gets a prediction."""
    return await _require_refusal(target, "", "an empty body")


async def refuses_no_json(target: Target) -> dict[str, Any]:
    """Fail if a body that is not valid JSON gets a prediction."""
    target.require_json()
    return await _require_refusal(target, '{"', "a body that is not valid JSON")


async def refuses_wrong_key(target: Target) -> dict[str, Any]:
    """Fail if a body without the input field gets a prediction."""
    target.require_json()
    body = target.body(target.golden.take([0]))
    wrong = {"tier0_wrong_key": body.popitem()[1]} if isinstance(body, dict) else {"tier0_wrong_key": body}
    return await _require_refusal(target, json.dumps(wrong), "a body without the input field")


async def refuses_unknown_field(target: Target) -> dict[str, Any]:
    """Fail if a request with a misspelled optional field gets a prediction, with the field's default."""
    body = target.body(target.golden.take([0]))
    if not isinstance(body, dict) or not target.contract.optional:
        raise NotJudgedError("the request body has no optional fields", code="not_offered")
    evidence: dict[str, Any] = {}
    for name in target.contract.optional:
        misspelled = name[:1] + name[2:] if len(name) > 2 else f"{name}_"  # too short to lose a letter
        content = {
            **{other: value for other, value in body.items() if other != name},
            misspelled: body.get(name, 0.9),
        }
        evidence |= await _require_refusal(
            target, json.dumps(content), f"a misspelled optional field ({misspelled} for {name})"
        )
    return evidence


async def refuses_wrong_width(target: Target) -> dict[str, Any]:
    """Fail if a row with too many or too few values gets a prediction."""
    target.require_table()
    golden = target.golden.take([0])
    if target.contract.style not in {"rows", "row"}:
        raise NotJudgedError(
            "this service does not take rows as lists, whose values are identified by position",
            code="not_offered",
        )
    columns = golden.columns
    evidence: dict[str, Any] = {}
    for row, what in (
        ([*golden.rows[0], 0.0], "a row with one value too many"),
        (golden.rows[0][:-1], "a row with one value too few"),
        ([*golden.rows[0], *golden.rows[0]], "a row with twice as many values"),
    ):
        evidence |= await _require_refusal(target, target.request(columns, [row]), what)
    return evidence


async def empty_rows(target: Target) -> None:
    """Fail if an empty list of rows leads to a server error, or gets a prediction."""
    golden, contract = target.golden, target.contract
    if contract.one_row:
        raise NotJudgedError("a request takes only one row", code="not_offered")
    body = contract.body(golden.columns, [])
    reproduce = target.curl(body, show_status=True)
    response = await target.post(contract.write(body).encode())
    if response.status_code in REFUSED or reports_error(response):
        return
    evidence = {"status": response.status_code, "body": target.quote(response)}
    if not response.is_success:
        causes = ["the model or its preprocessing is called with zero rows"]
        message = (
            f"an empty list of rows got status {response.status_code}, expected an empty response or a 4xx"
        )
        raise CheckFailedError(message, evidence=evidence, causes=causes, reproduce=reproduce)
    try:
        answer = target.parts_of([contract.adapted(decode(response))], golden)
    except ValueError:
        answer = {}
    if part := next((part for part in contract.parts if answer.get(part)), None):
        message = (
            f"an empty list of rows got {len(answer[part]) if isinstance(answer[part], list) else 1} {part}"
        )
        raise CheckFailedError(message, evidence=evidence, causes=GUESSED, reproduce=reproduce)


async def refuses_unknown_column(target: Target) -> dict[str, Any]:
    """Fail if a row with a misspelled column gets a prediction."""
    target.require_table()
    golden = _named(target).take([0])
    misspelled = [golden.columns[0] + "_", *golden.columns[1:]]
    return await _require_refusal(
        target,
        target.request(misspelled, golden.rows),
        f"a misspelled column ({misspelled[0]})",
    )


async def refuses_missing_column(target: Target) -> dict[str, Any]:
    """Fail if a row without a column gets a prediction other than that for a missing value in that column."""
    target.require_table()
    golden = _named(target)
    evidence: dict[str, Any] = {}
    for position, column in list(enumerate(golden.columns))[:MAX_COLUMNS]:
        missing = None
        if target.rows is not None and target.rows.with_origin("missing", column):
            missing = target.golden_with("missing", column).take([0])
        row = missing or golden.take([0])
        columns = [name for name in golden.columns if name != column]
        values = [value for index, value in enumerate(row.rows[0]) if index != position]
        without = target.contract.body(columns, [values])
        evidence |= await _require_refusal(
            target, json.dumps(without), f"a row without column {column}", may_answer=missing
        )
    return evidence


def _named(target: Target) -> GoldenRows:
    golden = target.golden
    if not target.contract.by_name:
        raise NotJudgedError("requests to this service have no column names", code="not_offered")
    return golden


async def refuses_text_for_number(target: Target) -> dict[str, Any]:
    """Fail if text, a quoted number or a boolean in place of a number gets a prediction."""
    target.require_table()
    golden = target.golden.take([0])
    position = _number_position(golden.rows[0])
    wrong: list[tuple[Any, str]] = [
        ("three", "text in place of a number"),
        (str(golden.rows[0][position]), "a quoted number"),
    ]
    if not target.contract.is_array:
        wrong.append((True, "true in place of a number"))
    evidence: dict[str, Any] = {}
    right = target.request(golden.columns, golden.rows)
    for value, what in wrong:
        content = target.request(golden.columns, [_changed(golden.rows[0], position, value)])
        if content != right:  # CSV has no quoted numbers
            evidence |= await _require_refusal(target, content, what, causes=[NOT_VALIDATED])
    return evidence


async def refuses_infinity(target: Target) -> dict[str, Any]:
    """Fail if an infinite value gets a prediction, or leads to a server error."""
    target.require_table()
    golden = target.golden.take([0])
    row = _changed(golden.rows[0], _number_position(golden.rows[0]), math.inf)
    return await _require_refusal(target, target.request(golden.columns, [row]), "infinity")


async def refuses_misspelled_category(target: Target) -> dict[str, Any]:
    """Fail if a known category with different case or a blank is treated as an unseen category."""
    target.require_table()
    golden = target.golden
    is_checked = False
    evidence: dict[str, Any] = {}
    for column, known in golden.categories.items():
        position = golden.columns.index(column)
        index = next((index for index, row in enumerate(golden.rows) if row[position] in known), None)
        if index is None:
            continue
        row = golden.take([index])
        value = row.rows[0][position]
        for variant in {f" {value}", value.swapcase()} - set(known):
            is_checked = True
            content = target.request(golden.columns, [_changed(row.rows[0], position, variant)])
            evidence |= await _require_refusal(
                target,
                content,
                f"{column} {target.excerpt(repr(variant))} for {target.excerpt(repr(value))}",
                may_answer=row,
                causes=VOCABULARY,
            )
    if not is_checked:
        raise NotJudgedError("the golden rows have no text column with known categories")
    return evidence


async def refuses_other_content(target: Target) -> dict[str, Any]:
    """Fail if a body with content type text/csv gets a prediction."""
    if target.contract.content_type == CSV:
        raise NotJudgedError("requests to this service are CSV", code="not_offered")
    row = target.golden.rows[0]
    as_csv = await _require_refusal(target, ",".join(map(str, row)), "a row sent as text/csv", CSV)
    return as_csv | await _require_refusal(target, "", "an empty body sent as text/csv", CSV)


def _changed(row: list[Any], position: int, value: Any) -> list[Any]:
    return [value if index == position else old for index, old in enumerate(row)]


def _number_position(row: list[Any]) -> int:
    for index, value in enumerate(row):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return index
    raise NotJudgedError("the first golden row has no number")


async def _require_refusal(
    target: Target,
    content: str,
    what: str,
    content_type: str = "",
    *,
    may_answer: GoldenRows | None = None,
    causes: list[str] = GUESSED,
) -> dict[str, Any]:
    """Send a request that must be refused.

    Args:
        target: service under test.
        content: request body.
        what: description of the request, for the message of a failure.
        content_type: content type of the request; by default the contract's.
        may_answer: a golden row; a response with its outputs is accepted, too: the request was understood.
        causes: likely causes of a prediction.

    Returns:
        Evidence of a refusal with status 200 and an error in the body; otherwise empty.

    Raises:
        CheckFailedError: the request got a prediction, a server error, or no response.
    """
    reproduce = target.curl(content, content_type, show_status=True)
    try:
        response = await target.post(content.encode(), content_type)
    except UnansweredError as problem:
        raise CheckFailedError(
            f"{what}: {problem}",
            causes=["the request crashes the worker", "the handler never returns"],
            reproduce=reproduce,
        ) from problem
    if response.status_code in REFUSED:
        return {}
    if reports_error(response):
        return {"refused_with_status_200": target.quote(response)}
    evidence = {"status": response.status_code, "body": target.quote(response)}
    if not response.is_success:
        raise CheckFailedError(
            f"{what} got status {response.status_code}, expected a 4xx: clients and circuit breakers treat "
            "this "
            "as a failure of the service",
            evidence=evidence,
            causes=["input is not validated before it reaches the model"],
            reproduce=reproduce,
        )
    if may_answer is not None:
        try:
            read = target.contract.adapted(decode(response))
            answer = {**target.parts_of([read], may_answer), "classes": None}
        except ValueError:
            answer = {}
        if may_answer.compare(answer, tolerance=target.tolerances(), parts=target.parts) is None:
            return {}
    raise CheckFailedError(
        f"{what} got a prediction with status {response.status_code}",
        evidence=evidence,
        causes=causes,
        reproduce=reproduce,
    )
