"""Checks of parity: the served model's outputs are those of the trained model."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import random
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from tier0.checks.serving.harness.sender import OversizedError, UnansweredError
from tier0.checks.serving.harness.target import (
    MASK,
    NO_SUCH_ROWS,
    RIGHT,
    NoPredictionError,
    OverloadedError,
    RefusedError,
    Target,
)
from tier0.contract.model_terms import as_served, in_model_terms, merged
from tier0.core.outputs import MISSING_PART, OTHER_COUNT, PARTS
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows
from tier0.golden.shown_values import brief

SINGLE_ROWS = 5
REPEATED_ROWS = 20
LARGE_BATCHES = (257, 1025, 2049)
"""Rows of large batches, each one more than a usual size of chunks."""
GROWTH = 4
"""How many times longer the next batch may take."""
MAX_SECONDS = 10.0
"""Seconds that a batch may be expected to take."""
MAX_WHOLE = 10**15
MAX_MIXED = 40
NOT_MIXED = {"large_integer"}
"""Kinds of edge cases that pandas itself changes beside others: large integers beside missing values."""
SIDES = ("above", "below")
SEED = 7
PREPROCESSING = [
    "another model is served: an older one, one that was trained again, or a part of it",
    "the preprocessing was dropped, refitted on the request, or applied in another order",
    "the columns reach the model in another order",
    "the decision threshold or the label encoding was not deployed",
]
BATCH = [
    "predictions depend on the other rows: statistics or categories are computed from the request",
    "predictions are returned in another order",
]
KNOWN_OF_BATCHES = {
    "reversed_rows", "shifted_rows", "exchanged_halves", "sorted_rows", "permuted_rows", "other_rows",
    "refitted_step", "constant",
}  # fmt: skip
"""Patterns whose own cause explains why a row gets another output alone."""
CLIENT = [
    "the client sends requests to another address than the given one",
    "the client's requests or responses have another form than those of the service",
    "the served model is not the trained model: see parity.golden_rows",
]

UNVERIFIED = "certificate verify failed"
"""Text of OpenSSL in the errors of HTTP libraries that do not keep the original exception."""


async def golden_rows(target: Target) -> dict[str, Any]:
    """Fail if the outputs for the golden rows differ; with the same arithmetic, in a single bit."""
    golden = target.golden
    answer = await target.ask(
        golden
    )  # not memoised, so that the server's log of this check shows the request
    compared = {"compared": None if target.mask else golden.comparison(answer, parts=target.parts)}
    try:
        target.require_match(answer, golden, "served predictions", PREPROCESSING, same_batch=True)
    except CheckFailedError as failure:
        failure.evidence |= compared
        has_each = failure.evidence.get("pattern") not in {MISSING_PART, OTHER_COUNT}
        if len(golden) > 1 and not target.contract.one_row and has_each:
            await _compare_with_row_alone(target, answer, failure)
        raise
    if target.undeclared:
        raise NotJudgedError(target.what_is_undeclared, code="undeclared")
    target.memo[RIGHT] = True
    return compared


async def _compare_with_row_alone(
    target: Target, together: dict[str, Any], failure: CheckFailedError
) -> None:
    """Send a row that differs alone, and add to *failure* whether the other rows of the request matter.

    Args:
        target: service.
        together: the parts of its response to all golden rows.
        failure: failure for the golden rows together.
    """
    index = failure.evidence["row_number"]
    row = target.golden.take([index])
    try:
        alone = await target.ask(row)
    except (CheckFailedError, UnansweredError):
        return
    parts, allowed = target.parts, target.tolerances()
    outputs = {part: together[part] for part in PARTS}
    if any(not isinstance(values, list) or len(values) <= index for values in outputs.values() if values):
        return
    as_together = row.with_outputs(
        {part: [values[index]] if values else getattr(row, part) for part, values in outputs.items()}
    )
    if as_together.compare(alone, tolerance=allowed, parts=parts) is None:
        return
    is_right = row.compare({**alone, "classes": None}, tolerance=allowed, parts=parts) is None
    output = "the trained model's output" if is_right else "yet another output"
    failure.message += f"\nrow {index}, sent alone, got {output}"
    failure.evidence["alone"] = "right" if is_right else "another"
    if failure.evidence.get("pattern") not in KNOWN_OF_BATCHES:
        failure.causes[:0] = BATCH


async def rows_alone(target: Target) -> None:
    """Fail if a row sent alone gets another output than the trained model gave for it in a batch."""
    golden = target.golden
    chosen = _spread(len(golden))
    answers = [await target.ask(golden.take([index])) for index in chosen]
    target.require_match(
        merged(answers),
        golden.take(chosen),
        "golden rows, each sent alone",
        BATCH + PREPROCESSING,
        numbers=chosen,
    )
    target.require_declared()


def _spread(count: int) -> list[int]:
    """Return up to `SINGLE_ROWS` evenly spaced indices of *count* rows, including the first and the last."""
    return sorted({round(step * (count - 1) / (SINGLE_ROWS - 1)) for step in range(SINGLE_ROWS)})


async def shuffled(target: Target) -> None:
    """Fail if rows in another order get other outputs."""
    golden = _several(target)
    order = random.Random(SEED).sample(range(len(golden)), len(golden))  # noqa: S311 - an order, not a secret
    await target.expect(golden.take(order), "golden rows in another order", BATCH)


async def small_batches(target: Target) -> dict[str, Any]:
    """Fail if rows get other outputs in a request with as many rows as a row, or an output, has values.

    A matrix with as many rows as columns does not show which are which.
    """
    golden = _several(target)
    largest = min(len(golden) - 1, target.contract.max_rows or len(golden))
    sizes = sorted({size for size in (2, len(golden.columns), len(golden.classes)) if 1 < size <= largest})
    if not sizes:
        raise NotJudgedError("the golden rows are too few for several requests", code="not_offered")
    causes = ["rows and columns are exchanged if there are as many of each", *BATCH]
    for size in sizes:
        rows = golden.take(range(len(golden) - size, len(golden)))
        await target.expect(rows, f"{size} golden rows in a request of their own", causes)
    return {"rows": sizes}


async def repeated(target: Target) -> None:
    """Fail if copies of rows in one request change an output, or are dropped."""
    golden = _several(target)
    twice = golden.take([index for index in range(min(REPEATED_ROWS, len(golden))) for _ in range(2)])
    await target.expect(
        twice, "rows sent together with copies of themselves", ["duplicate rows are dropped", *BATCH]
    )


def _several(target: Target) -> GoldenRows:
    if target.contract.one_row:
        raise NotJudgedError("a request takes only one row", code="not_offered")
    return target.golden


async def columns_by_name(target: Target) -> None:
    """Fail if named columns in another order change an output."""
    target.require_table()
    golden, contract = target.golden, target.contract
    if not contract.by_name or contract.style == "row":
        raise NotJudgedError(
            "requests to this service have no column names",
            code="not_offered",
        )
    if contract.one_row:
        golden = golden.take([0])

    def backwards(rows: GoldenRows) -> Any:
        return contract.body(rows.columns[::-1], [row[::-1] for row in rows.rows])

    causes = [
        "column names are ignored, and values are read by position",
        "columns are renamed to numbers before they reach the model",
    ]
    try:
        await target.expect(
            golden, "columns in another order, with their names", causes, same_batch=True, body_of=backwards
        )
    except CheckFailedError as failure:
        if not contract.may_ignore_names:
            raise
        raise NotJudgedError(
            "the server does not read the names of columns, as MLflow's without a signature of the model: "
            f"{failure.message}"
        ) from failure


async def by_position(target: Target) -> None:
    """Fail if rows without column names are not read in the column order of the training data."""
    target.require_table()
    golden, contract = target.golden, target.contract
    if contract.one_row or contract.columns is None or contract.columns not in contract.optional:
        raise NotJudgedError(
            "this service takes rows in one form only: see parity.golden_rows", code="not_offered"
        )

    def unnamed(rows: GoldenRows) -> Any:
        return replace(contract, columns=None).body(rows.columns, rows.rows)

    causes = ["columns are sorted, or read in another order than that of the training data"]
    await target.expect(golden, "rows without column names", causes, same_batch=True, body_of=unnamed)


async def keys_in_any_order(target: Target) -> None:
    """Fail if the order of the keys in the request body changes an output."""
    golden = target.golden.take([0]) if target.contract.one_row else target.golden
    body = target.body(golden)
    if str(_backwards(body)) == str(body):
        raise NotJudgedError("the request body has no object with two or more keys", code="not_offered")
    causes = ["values are read in the order of the keys, not by name"]
    await target.expect(
        golden,
        "the request body with its keys in another order",
        causes,
        same_batch=True,
        body_of=lambda rows: _backwards(target.body(rows)),
    )


def _backwards(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: _backwards(value) for name, value in reversed(body.items())}
    return [_backwards(item) for item in body] if isinstance(body, list) else body


async def other_spelling(target: Target) -> dict[str, Any]:
    """Fail if other spaces, escapes or spellings of the same numbers in the request body change an output."""
    target.require_json()
    golden = target.golden.take([0]) if target.contract.one_row else target.golden
    causes = [
        "the body is read by a parser of its own, or as text",
        "a cache is keyed on the text of the body",
    ]
    await _expect_spelling(
        target, golden, _with_exponent, "the request body with other spaces, escapes and exponents", causes
    )
    wholes = [sum(map(_is_whole, row)) for row in target.golden.rows]
    if not any(wholes):
        return {"numbers_without_a_fraction": False}
    row = target.golden.take([wholes.index(max(wholes))])
    causes = ["types are inferred from the request: a column of 5 in place of 5.0 becomes one of integers"]
    await _expect_spelling(
        target, row, _without_fraction, "a row with numbers such as 5 in place of 5.0", causes
    )
    return {"numbers_without_a_fraction": True}


async def _expect_spelling(
    target: Target, golden: GoldenRows, number: Callable[[float], str], what: str, causes: list[str]
) -> None:
    """Send the body of *golden* in another spelling, with floats as written by *number*, and compare.

    Raises:
        NotJudgedError: the service refuses it.
    """
    is_whole_batch = len(golden) == len(target.golden)
    try:
        await target.expect(
            golden,
            what,
            causes,
            same_batch=is_whole_batch,
            text_of=lambda body: _spelled(body, number),
        )
    except RefusedError as refusal:
        raise NotJudgedError(
            f"the service refuses {what} (status {refusal.evidence['status']})", code="not_offered"
        ) from refusal


def _spelled(value: Any, number: Callable[[float], str]) -> str:
    """Return JSON with spaces, with an escape in each text, and with floats as written by *number*."""
    if isinstance(value, dict):
        items = (f"{_escaped(str(name))} :\t{_spelled(inner, number)}" for name, inner in value.items())
        return "{ " + " ,\n ".join(items) + " }"
    if isinstance(value, list):
        return f"[ {' , '.join(_spelled(item, number) for item in value)} ]"
    if isinstance(value, str):
        return _escaped(value)
    return number(value) if isinstance(value, float) else json.dumps(value)


def _escaped(text: str) -> str:
    """Return a JSON string whose first character is escaped, and whose other ones are not, where possible."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    is_letter = text[:1].isascii() and text[:1].isalnum()
    rest = json.dumps(text[is_letter:], ensure_ascii=False)
    return f'"\\u{ord(text[0]):04x}{rest[1:]}' if is_letter else rest


def _with_exponent(number: float) -> str:
    return f"{Decimal(repr(number)):e}" if math.isfinite(number) else json.dumps(number)


def _is_whole(value: Any) -> bool:
    """Return whether a value is a float without a fraction, which is the same JSON number as an integer."""
    return isinstance(value, float) and value.is_integer() and 0 < abs(value) < MAX_WHOLE


def _without_fraction(number: float) -> str:
    return str(int(number)) if _is_whole(number) else json.dumps(number)


async def mixed_rows(target: Target) -> dict[str, Any]:
    """Fail if edge cases and ordinary rows in one request, in two orders, get other outputs."""
    _several(target)
    served = as_served(target.rows, target.contract) if target.rows is not None else target.golden
    kinds = {origin.kind for origin in served.origins if origin.is_edge_case} - NOT_MIXED
    if not kinds:
        raise NotJudgedError("the golden rows have no edge cases", code="not_offered")
    try:
        return await _expect_mixed(target, served, kinds)
    except RefusedError:
        kinds = {kind for kind in kinds if await _accepts(target, served.with_origin(kind))}
    if not kinds:
        raise NotJudgedError("the service refuses all edge cases", code="not_offered")
    return await _expect_mixed(target, served, kinds)


async def _expect_mixed(target: Target, served: GoldenRows, kinds: set[str]) -> dict[str, Any]:
    mixed = _mixed(served, kinds)
    causes = [
        "types, sizes of texts or categories are inferred from the first row, or from all rows, of a request",
        "rows with missing values are dropped, or sorted to the end",
        *BATCH,
    ]
    for rows in (mixed, mixed.take(range(len(mixed) - 1, -1, -1))):
        await target.expect(rows, "edge cases and ordinary rows in one request", causes)
    return {"rows": len(mixed), "kinds": sorted(kinds)}


def _mixed(golden: GoldenRows, kinds: set[str]) -> GoldenRows:
    """Return the examples and the edge cases of *kinds*, one of each in turn as far as there are both."""
    indices: dict[bool, list[int]] = {False: [], True: []}
    for index, origin in enumerate(golden.origins):
        if not origin.is_edge_case or origin.kind in kinds:
            indices[origin.is_edge_case].append(index)
    pairs = zip_longest(indices[False][:MAX_MIXED], indices[True][:MAX_MIXED])
    return golden.take([index for pair in pairs for index in pair if index is not None])


async def _accepts(target: Target, golden: GoldenRows) -> bool:
    try:
        await target.ask(golden)
    except RefusedError:
        return False
    return True


async def large_batches(target: Target) -> dict[str, Any]:
    """Fail if a row gets another output in a large batch, as far as the service accepts and can answer it."""
    golden = _several(target)
    order = random.Random(SEED)  # noqa: S311 - an order, not a secret
    causes = ["the rows are predicted in chunks, whose outputs are joined in another order", *BATCH]
    largest = 0
    ended = ""
    for size in LARGE_BATCHES:
        if target.contract.max_rows is not None and size > target.contract.max_rows:
            ended = f"a request has at most {target.contract.max_rows} rows"
            break
        rows = golden.take([order.randrange(len(golden)) for _ in range(size)])
        start = time.monotonic()
        try:
            await target.under_load().expect(rows, f"a batch of {size} rows", causes)
        except (RefusedError, OverloadedError) as refusal:
            ended = f"{size} rows were refused with status {refusal.evidence['status']}"
            break
        except NoPredictionError as problem:
            if not isinstance(problem.__cause__, OversizedError):
                raise
            ended = str(problem.__cause__)
            break
        largest = size
        if (time.monotonic() - start) * GROWTH > MAX_SECONDS:
            ended = f"{size} rows took {time.monotonic() - start:.1f} s"
            break
    if not largest:
        raise NotJudgedError(ended, code="not_offered")
    return {"largest": largest, **({"ended": ended} if ended else {})}


async def missing_values(target: Target) -> None:
    """Fail if rows with missing values get other outputs.

    If the service refuses them together, it may require some of the columns: then those rows are compared
    that lack only what an example lacks as well.
    """
    causes = [
        "missing values are replaced by zero before they reach the model",
        "null is converted to text or a number",
    ]
    missing, what = target.golden_with("missing"), "missing values"
    try:
        await target.expect(missing, what, causes)
    except RefusedError:
        optional = _lacking(target.golden.rows)
        chosen = [index for index, row in enumerate(missing.rows) if _lacking([row]) <= optional]
        await target.expect_edge_case(missing.take(chosen) if chosen else missing, what, causes)


def _lacking(rows: Sequence[Sequence[Any]]) -> set[int]:
    """Return the positions of the columns in which a row has no value."""
    return {position for row in rows for position, value in enumerate(row) if value is None}


async def unseen_categories(target: Target) -> None:
    """Fail if rows with unseen categories get other outputs."""
    causes = [
        "an unseen category is replaced by a known one before it reaches the model",
        "categories are inferred from the request",
    ]
    await target.expect_edge_case(target.golden_with("unseen"), "unseen categories", causes)


async def boundaries(target: Target) -> None:
    """Fail if rows with values close to the model's boundaries get other outputs."""
    causes = [
        "numbers are cast to float32 or rounded",
        "numbers are sent as text with few digits",
    ]
    await target.expect_edge_case(
        target.golden_with("boundary"), "values close to the model's boundaries", causes
    )


async def decisions(target: Target) -> None:
    """Fail if rows close to the decision threshold get another label."""
    causes = [
        "the tuned decision threshold was not deployed",
        "a default threshold of the service or the client is used instead",
    ]
    await target.expect_edge_case(
        target.golden_with("decision"), "rows close to the decision threshold", causes
    )


async def large_integers(target: Target) -> None:
    """Fail if rows with integers that a float cannot represent get other outputs."""
    await target.expect_edge_case(
        target.golden_with("large_integer"),
        "integers that a float cannot represent",
        ["integers are converted to floats"],
    )


async def other_values(target: Target) -> dict[str, Any]:
    """Fail if rows that differ from an example in one column only get other outputs."""
    cache = "the key of a cache lacks a column"
    conversion = "values are limited to a range, or converted to another unit, before they reach the model"
    rows = _known_rows(target)
    inside = [index for index, origin in enumerate(rows.origins) if origin.kind == "inside"]
    example = next(
        (
            index
            for index, (row, origin) in enumerate(zip(rows.rows, rows.origins, strict=False))
            if None not in row and not origin.is_edge_case
        ),
        0,
    )
    outside = rows.with_origin("outside")
    sides = [[index for index, origin in enumerate(outside.origins) if origin.side == side] for side in SIDES]
    what = "an example with a value outside the range in one column"
    return await _expect_accepted(
        target,
        [
            (
                rows.take([example, *inside] if inside else []),
                "an example, and it with another value in one column",
                [cache, conversion, *PREPROCESSING],
            ),
            *((outside.take(side), what, [conversion, cache, *PREPROCESSING]) for side in sides),
        ],
    )


async def unusual_texts(target: Target) -> dict[str, Any]:
    """Fail if rows with unusual texts get other outputs: empty, long, in other forms of Unicode."""
    causes = [
        "texts are changed before they reach the model: cut, stripped, or in another form of Unicode",
        "texts pass through CSV, a header or a URL",
    ]
    rows = _known_rows(target).with_origin("text")
    return await _expect_accepted(target, [(rows, "rows with unusual texts", causes)])


def _known_rows(target: Target) -> GoldenRows:
    return target.golden if target.rows is None else as_served(target.rows, target.contract)


async def _expect_accepted(target: Target, asked: list[tuple[GoldenRows, str, list[str]]]) -> dict[str, Any]:
    """Compare the outputs for rows that the service accepts; a service may be stricter than its model.

    If it refuses rows together, some of them are sent alone.

    Args:
        target: service.
        asked: rows for one request, what they are, and the likely causes of a difference.

    Raises:
        NotJudgedError: it refuses all of them, or there are none.
    """
    count = refused = 0
    for golden, what, causes in asked:
        if target.contract.one_row:
            batches = [golden.take([index]) for index in range(min(len(golden), SINGLE_ROWS))]
        else:
            batches = [golden] if golden else []
        while batches:
            batch = batches.pop(0)
            try:
                await target.expect(batch, what, causes)
                count += len(batch)
            except RefusedError:
                if len(batch) == 1:
                    refused += 1
                else:
                    batches = [batch.take([index]) for index in _spread(len(batch))]
    if not count:
        raise NotJudgedError(
            "the service refuses these rows, which its model accepts" if refused else NO_SUCH_ROWS
        )
    return {"rows": count, "refused": refused}


async def inputs_matter(target: Target) -> None:
    """Fail if all rows get the same output, although the trained model's outputs for them differ."""
    golden = target.golden
    varied = [part for part in PARTS if len({str(output) for output in getattr(golden, part) or []}) > 1]
    parts = [part for part in target.parts if part in varied]
    if not parts:
        if any(undeclared.part in varied for undeclared in target.undeclared):
            target.require_declared()
        raise NotJudgedError(
            "the trained model's output is the same for all golden rows: choose rows with different outputs"
        )
    answer = await target.golden_answer()
    outputs = answer[parts[-1]] or []
    if not isinstance(outputs, list) or len({str(output) for output in outputs}) <= 1:
        causes = [
            "an exception handler returns a constant",
            "the model gets zeros of the right shape",
            "defaults are used instead of the input",
        ]
        output = outputs[0] if isinstance(outputs, list) and outputs else outputs
        raise CheckFailedError(
            f"all {len(golden)} rows got the same output, {target.excerpt(brief(output))}, but the trained "
            "model's outputs for them differ",
            evidence={"answer": MASK if target.mask else output, "rows": len(golden)},
            causes=causes,
        )


async def no_memory(target: Target) -> None:
    """Fail if a row gets another output after requests with other rows."""
    golden = target.golden
    first, last = golden.take([0]), golden.take([len(golden) - 1])
    before = await target.ask(first)
    await target.expect(last, "a row sent after another one", BATCH)
    after = await target.ask(first)
    as_before = first.with_outputs(before)
    mismatch = as_before.compare(after, tolerance=target.tolerances(), parts=target.parts)
    if mismatch is not None:
        causes = [
            "the model or its preprocessing is refitted on the rows of a request",
            "state of one request affects the next",
        ]
        raise CheckFailedError(
            "the same row, sent before and after requests with other rows: "
            f"{mismatch.describe(target.excerpt)}",
            evidence={"before": mismatch.expected, "after": mismatch.got},
            causes=causes,
            reproduce="; echo; ".join(target.curl(target.body(rows)) for rows in (first, last, first)),
        )


async def through_client(target: Target) -> None:
    """Fail if the client's ``predict`` returns other outputs for the golden rows, together or one by one."""
    golden = target.golden
    client = _client(target)
    try:
        if not target.contract.one_row:
            await _expect_through(target, golden, client.predict)
        for index in _spread(len(golden)):
            await _expect_through(target, golden.take([index]), client.predict)
    finally:
        await _close(client)


async def batch_through_client(target: Target) -> None:
    """Fail if the client's ``predict_batch`` returns other outputs for the golden rows."""
    client = _client(target)
    try:
        if not hasattr(client, "predict_batch"):
            raise NotJudgedError("the client has no predict_batch", code="not_offered")
        await _expect_through(target, target.golden, client.predict_batch)
    finally:
        await _close(client)


def _client(target: Target) -> Any:
    if target.make_client is None:
        raise NotJudgedError("no client given: pass --client module:factory", code="no_client")
    target.require_no_rate("lets the application's client send requests")
    try:
        return target.make_client(target.url)
    except Exception as problem:
        raise CheckFailedError(
            f"the client could not be created: {type(problem).__name__}: {problem}",
            causes=["the factory has other parameters than a URL"],
        ) from problem


async def _expect_through(target: Target, golden: GoldenRows, method: Any) -> None:
    """Call *method* of the client with the rows, those of a table as records, and compare its result.

    Records have column names, so that the result does not depend on the order of the columns.

    Raises:
        CheckFailedError: the method raised an exception, or returned other outputs.
    """
    name = method.__name__
    try:
        if inspect.iscoroutinefunction(method):
            returned = await method(golden.inputs)
        else:
            returned = await _in_a_thread(method, golden.inputs)
            returned = await returned if inspect.isawaitable(returned) else returned
    except Exception as problem:
        if target.process is not None and _distrusts_certificate(problem):
            raise NotJudgedError(
                "the client does not trust the certificate of the service, which is for another place",
                code="not_offered",
            ) from problem
        raise CheckFailedError(
            f"the client's {name} raised {type(problem).__name__} for well-formed rows: "
            f"{target.excerpt(str(problem))}",
            causes=CLIENT,
        ) from problem
    if hasattr(returned, "tolist"):
        returned = returned.tolist()
    elif isinstance(returned, tuple):
        returned = list(returned)
    if isinstance(returned, list) and not any(isinstance(item, (dict, list)) for item in returned):
        content = {"predictions": returned, "probabilities": None}
        parts: tuple[str, ...] = ("predictions",)
    elif isinstance(returned, (dict, list)):
        content, parts = target.contract.read(returned), target.parts
    else:
        raise CheckFailedError(
            f"the client's {name} returned {type(returned).__name__}, expected the response of the service "
            "or a "
            "list of predictions",
            causes=CLIENT,
        )
    answer = in_model_terms(content, golden, target.contract)
    target.require_match(answer, golden, "through the client", CLIENT, parts=parts)
    target.require_declared()
    if target.tag is not None and answer.get("model_tag") not in {None, target.tag}:
        message = f"through the client, the response comes from {answer['model_tag']}, expected {target.tag}"
        raise CheckFailedError(
            message, evidence={"expected": target.tag, "got": answer["model_tag"]}, causes=CLIENT
        )


def _distrusts_certificate(problem: BaseException | None) -> bool:
    """Return True if an error was caused by a certificate that could not be verified."""
    while problem is not None:
        if isinstance(problem, ssl.SSLCertVerificationError) or UNVERIFIED in str(problem).lower():
            return True
        problem = problem.__cause__ or problem.__context__
    return False


async def _in_a_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a daemon thread, which cannot block the exit if the application's client hangs."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def publish(setter: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            setter(value)

    def run() -> None:
        try:
            result = (outcome.set_result, call(*arguments))
        except BaseException as problem:  # noqa: BLE001 - raised again where the outcome is awaited
            result = (outcome.set_exception, problem)
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(publish, *result)

    threading.Thread(target=run, name="tier0-client", daemon=True).start()
    return await outcome


async def _close(client: Any) -> None:
    close = getattr(client, "close", None)
    if close is not None:
        closing = close()
        if inspect.isawaitable(closing):
            await closing
