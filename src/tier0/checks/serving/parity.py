"""Checks of parity: the served model's outputs are those of the trained model."""

from __future__ import annotations

import asyncio
import inspect
import random
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tier0.checks.serving.harness.target import Target
from tier0.contract.model_terms import in_model_terms
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

SINGLE_ROWS = 8
REPEATED_ROWS = 20
SEED = 7
PREPROCESSING = [
    "the preprocessing was dropped, refitted on the request, or applied in another order",
    "the columns reach the model in another order",
    "another model is served",
    "the decision threshold or the label encoding was not deployed",
]
BATCH = [
    "predictions depend on statistics of the batch",
    "categories are inferred from the request",
    "predictions are returned in another order",
]
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
        target.require_match(
            answer, golden, "served predictions differ from the trained model", PREPROCESSING, same_batch=True
        )
    except CheckFailedError as failure:
        failure.evidence |= compared
        raise
    if target.undeclared:
        raise NotJudgedError(target.what_is_undeclared, code="undeclared")
    return compared


async def rows_alone(target: Target) -> None:
    """Fail if a row sent alone gets another output than the trained model gave for it in a batch."""
    golden = target.golden
    for index in _spread(len(golden)):
        await target.expect(golden.take([index]), f"golden row {index}, sent alone", BATCH + PREPROCESSING)


def _spread(count: int) -> list[int]:
    """Return up to `SINGLE_ROWS` evenly spaced indices of *count* rows, including the first and the last."""
    return sorted({round(step * (count - 1) / (SINGLE_ROWS - 1)) for step in range(SINGLE_ROWS)})


async def shuffled(target: Target) -> None:
    """Fail if rows in another order get other outputs."""
    golden = _several(target)
    order = random.Random(SEED).sample(range(len(golden)), len(golden))  # noqa: S311 - an order, not a secret
    await target.expect(golden.take(order), "golden rows in another order", BATCH)


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
    golden, contract = target.golden, target.contract
    if not contract.by_name or contract.style == "row":
        raise NotJudgedError(
            "requests to this service have no column names",
            code="not_offered",
        )
    if contract.one_row:
        golden = golden.take([0])
    backwards = contract.body(golden.columns[::-1], [row[::-1] for row in golden.rows])
    causes = [
        "column names are ignored, and values are read by position",
        "columns are renamed to numbers before they reach the model",
    ]
    await target.expect(
        golden, "columns in another order, with their names", causes, same_batch=True, body=backwards
    )


async def by_position(target: Target) -> None:
    """Fail if rows without column names are not read in the column order of the training data."""
    golden, contract = target.golden, target.contract
    if contract.one_row or contract.columns is None or contract.columns not in contract.optional:
        raise NotJudgedError(
            "this service takes rows in one form only: see parity.golden_rows", code="not_offered"
        )
    unnamed = replace(contract, columns=None).body(golden.columns, golden.rows)
    causes = ["columns are sorted, or read in another order than that of the training data"]
    await target.expect(golden, "rows without column names", causes, same_batch=True, body=unnamed)


async def keys_in_any_order(target: Target) -> None:
    """Fail if the order of the keys in the request body changes an output."""
    golden = target.golden.take([0]) if target.contract.one_row else target.golden
    body = target.body(golden)
    backwards = _backwards(body)
    if str(backwards) == str(body):
        raise NotJudgedError("the request body has no object with two or more keys", code="not_offered")
    causes = ["values are read in the order of the keys, not by name"]
    await target.expect(
        golden, "the request body with its keys in another order", causes, same_batch=True, body=backwards
    )


def _backwards(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: _backwards(value) for name, value in reversed(body.items())}
    return [_backwards(item) for item in body] if isinstance(body, list) else body


async def missing_values(target: Target) -> None:
    """Fail if rows with missing values get other outputs."""
    causes = [
        "missing values are replaced by zero before they reach the model",
        "null is converted to text or a number",
    ]
    await target.expect_edge_case(target.golden_with("missing"), "missing values", causes)


async def unseen_categories(target: Target) -> None:
    """Fail if rows with unseen categories get other outputs."""
    await target.expect_edge_case(
        target.golden_with("unseen"), "unseen categories", ["categories are inferred from the request"]
    )


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


async def inputs_matter(target: Target) -> None:
    """Fail if all rows get the same output, although the trained model's outputs for them differ."""
    golden = target.golden
    parts = [
        part for part in target.parts if len({str(output) for output in getattr(golden, part) or []}) > 1
    ]
    if not parts:
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
        shown = outputs[:1] if isinstance(outputs, list) else outputs
        raise CheckFailedError(
            f"all {len(golden)} rows got the same output, {shown}, but the trained model's outputs for them "
            "differ",
            evidence={"answer": shown, "rows": len(golden)},
            causes=causes,
        )


async def no_memory(target: Target) -> None:
    """Fail if a row gets another output after requests with other rows."""
    golden = target.golden
    first, last = golden.take([0]), golden.take([len(golden) - 1])
    before = await target.ask(first)
    for _ in range(2):
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
            f"the same row got {mismatch.part} {mismatch.expected!r} first, but {mismatch.got!r} after "
            "requests "
            "with other rows",
            evidence={"before": mismatch.expected, "after": mismatch.got},
            causes=causes,
            reproduce=target.curl(target.body(first)),
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
    try:
        return target.make_client(target.url)
    except Exception as problem:
        raise CheckFailedError(
            f"the client could not be created: {type(problem).__name__}: {problem}",
            causes=["the factory has other parameters than a URL"],
        ) from problem


async def _expect_through(target: Target, golden: GoldenRows, method: Any) -> None:
    """Call *method* of the client with the rows as records, and compare its result.

    Records have column names, so that the result does not depend on the order of the columns.

    Raises:
        CheckFailedError: the method raised an exception, or returned other outputs.
    """
    name = method.__name__
    try:
        if inspect.iscoroutinefunction(method):
            returned = await method(golden.records())
        else:
            returned = await _in_a_thread(method, golden.records())
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
