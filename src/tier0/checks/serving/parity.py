"""Is the served model the trained model?"""

from __future__ import annotations

import asyncio
import inspect
import random
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
    "columns are permuted on their way to the model",
    "another model is served",
    "the decision threshold or the label vocabulary was not shipped",
]
BATCH = [
    "statistics of the batch influence its predictions",
    "categories are inferred from the request",
    "predictions are returned in another order",
]
CLIENT = [
    "the client sends requests to another address than it was given",
    "the client builds the request, or reads the response, in another way than the service",
    "the served model is not the trained model: see parity.golden_rows",
]


async def golden_rows(target: Target) -> dict[str, Any]:
    """Fail where the golden rows, asked together, do not come back: to the last bit where the arithmetic is the same."""
    golden = target.golden
    answer = await target.ask(golden)  # anew, so that the server's log around this check shows what it did
    compared = {"compared": None if target.mask else golden.comparison(answer, parts=target.parts)}
    try:
        target.refuse_difference(
            answer, golden, "served predictions differ from the trained model", PREPROCESSING, same_batch=True
        )
    except CheckFailedError as failure:
        failure.evidence |= compared
        raise
    if target.undeclared:
        raise NotJudgedError(target.what_is_undeclared, code="undeclared")
    return compared


async def rows_alone(target: Target) -> None:
    """Fail where a row alone gets another answer than it got from memory in a batch."""
    golden = target.golden
    for index in _spread(len(golden)):
        await target.expect(golden.take([index]), f"golden row {index}, sent alone", BATCH + PREPROCESSING)


def _spread(count: int) -> list[int]:
    """Return a few of *count* rows: the first, the last, and others at equal distances."""
    return sorted({round(step * (count - 1) / (SINGLE_ROWS - 1)) for step in range(SINGLE_ROWS)})


async def shuffled(target: Target) -> None:
    """Fail where rows in another order do not take their answers with them."""
    golden = _several(target)
    order = random.Random(SEED).sample(range(len(golden)), len(golden))  # noqa: S311 - an order, not a secret
    await target.expect(golden.take(order), "golden rows in another order", BATCH)


async def repeated(target: Target) -> None:
    """Fail where copies of rows in one request change an answer, or are thrown away."""
    golden = _several(target)
    twice = golden.take([index for index in range(min(REPEATED_ROWS, len(golden))) for _ in range(2)])
    await target.expect(
        twice, "rows sent together with copies of themselves", ["repeated rows are dropped", *BATCH]
    )


def _several(target: Target) -> GoldenRows:
    if target.contract.one_row:
        raise NotJudgedError("a request takes only one row", code="not_offered")
    return target.golden


async def columns_by_name(target: Target) -> None:
    """Fail where columns in another order, with their names, change an answer."""
    golden, contract = target.golden, target.contract
    if not contract.by_name or contract.style == "row":
        raise NotJudgedError(
            "requests to this service have no column names: only the caller can keep their order",
            code="not_offered",
        )
    if contract.one_row:
        golden = golden.take([0])
    backwards = contract.body(golden.columns[::-1], [row[::-1] for row in golden.rows])
    causes = [
        "column names are ignored, and values taken by position",
        "columns are renamed to numbers before the model sees them",
    ]
    await target.expect(
        golden, "columns in another order, with their names", causes, same_batch=True, body=backwards
    )


async def by_position(target: Target) -> None:
    """Fail where rows without the names of their columns are not taken in the order of the training data."""
    golden, contract = target.golden, target.contract
    if contract.one_row or contract.columns is None or contract.columns not in contract.optional:
        raise NotJudgedError(
            "this service takes rows in one form only: see parity.golden_rows", code="not_offered"
        )
    unnamed = replace(contract, columns=None).body(golden.columns, golden.rows)
    causes = ["columns are sorted, or taken in the order of the store's description"]
    await target.expect(golden, "rows without column names", causes, same_batch=True, body=unnamed)


async def keys_in_any_order(target: Target) -> None:
    """Fail where the order of the keys of an object in the body changes an answer."""
    golden = target.golden.take([0]) if target.contract.one_row else target.golden
    body = target.body(golden)
    backwards = _backwards(body)
    if str(backwards) == str(body):
        raise NotJudgedError("the request body has no object with two or more keys", code="not_offered")
    causes = ["values are read in the order of the keys, not by their names"]
    await target.expect(
        golden, "the request body with its keys in another order", causes, same_batch=True, body=backwards
    )


def _backwards(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: _backwards(value) for name, value in reversed(body.items())}
    return [_backwards(item) for item in body] if isinstance(body, list) else body


async def missing_values(target: Target) -> None:
    """Fail where a missing value is replaced by something before the model sees it."""
    causes = [
        "missing values are replaced by zero before the model sees them",
        "null is converted to text or a number on the way",
    ]
    await target.expect_hard(target.golden_with("missing"), "missing values", causes)


async def unseen_categories(target: Target) -> None:
    """Fail where a category that was never seen is not treated as the model treats it."""
    await target.expect_hard(
        target.golden_with("unseen"), "unseen categories", ["categories are inferred from the request"]
    )


async def boundaries(target: Target) -> None:
    """Fail where a value on one side of a boundary of the model arrives on the other."""
    causes = [
        "numbers are cast to float32, or rounded, on the way",
        "numbers are sent as text with few digits",
    ]
    await target.expect_hard(target.golden_with("boundary"), "values close to the model's boundaries", causes)


async def decisions(target: Target) -> None:
    """Fail where rows close to the decision get the other label."""
    causes = [
        "the tuned decision threshold was not deployed",
        "a default threshold of the service or the client is used instead",
    ]
    await target.expect_hard(
        target.golden_with("decision"), "rows close to the decision between two classes", causes
    )


async def large_integers(target: Target) -> None:
    """Fail where a whole number is changed by a float on its way."""
    await target.expect_hard(
        target.golden_with("large_integer"),
        "integers too large for a float",
        ["integers are converted to floats on the way"],
    )


async def inputs_matter(target: Target) -> None:
    """Fail where everything gets the same answer, though the model tells the rows apart."""
    golden = target.golden
    parts = [
        part for part in target.parts if len({str(output) for output in getattr(golden, part) or []}) > 1
    ]
    if not parts:
        raise NotJudgedError(
            "the trained model gives the same output for all golden rows: choose rows with different outputs"
        )
    answer = await target.golden_answer()
    outputs = answer[parts[-1]] or []
    if not isinstance(outputs, list) or len({str(output) for output in outputs}) <= 1:
        causes = [
            "an exception is turned into a constant",
            "zeros of the right shape are fed to the model",
            "defaults are used instead of the input",
        ]
        shown = outputs[:1] if isinstance(outputs, list) else outputs
        message = f"all {len(golden)} rows got the same output, {shown}, but the trained model's outputs for them differ"
        raise CheckFailedError(message, evidence={"answer": shown, "rows": len(golden)}, causes=causes)


async def no_memory(target: Target) -> None:
    """Fail where a row is answered otherwise after other rows were asked."""
    golden = target.golden
    first, last = golden.take([0]), golden.take([len(golden) - 1])
    before = await target.ask(first)
    for _ in range(2):
        await target.expect(last, "a row after another one", BATCH)
    after = await target.ask(first)
    as_before = first.with_outputs(before)
    mismatch = as_before.compare(after, tolerance=target.tolerances(), parts=target.parts)
    if mismatch is not None:
        causes = [
            "the model or its preprocessing is refitted on the rows of a request",
            "state of one request is used by the next",
        ]
        message = f"the same row got {mismatch.part} {mismatch.expected!r} first, but {mismatch.got!r} after requests with other rows"
        evidence = {"before": mismatch.expected, "after": mismatch.got}
        raise CheckFailedError(
            message, evidence=evidence, causes=causes, reproduce=target.curl(target.body(first))
        )


async def through_client(target: Target) -> None:
    """Fail where the application's client does not bring the golden rows' answers, together and one by one."""
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
    """Fail where the client's ``predict_batch`` does not bring the golden rows' answers."""
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
            causes=["the factory takes other arguments"],
        ) from problem


async def _expect_through(target: Target, golden: GoldenRows, method: Any) -> None:
    """Ask by records, the one form in which nothing is left to an order."""
    try:
        if inspect.iscoroutinefunction(method):
            given = await method(golden.records())
        else:
            given = await _in_a_thread(method, golden.records())
            given = await given if inspect.isawaitable(given) else given
    except Exception as problem:
        message = f"the client's {method.__name__} raised {type(problem).__name__} for well-formed rows: {target.said(str(problem))}"
        raise CheckFailedError(message, causes=CLIENT) from problem
    given = given.tolist() if hasattr(given, "tolist") else list(given) if isinstance(given, tuple) else given
    if isinstance(given, list) and not any(isinstance(item, (dict, list)) for item in given):
        answer: dict[str, Any] = in_model_terms(
            {"predictions": given, "probabilities": None}, golden, target.contract
        )
        parts: tuple[str, ...] = ("predictions",)
    elif isinstance(given, (dict, list)):
        answer, parts = in_model_terms(target.contract.read(given), golden, target.contract), target.parts
    else:
        message = f"the client's {method.__name__} returned {type(given).__name__}: neither the service's response nor a list of predictions"
        raise CheckFailedError(message, causes=CLIENT)
    target.refuse_difference(answer, golden, "through the client", CLIENT, parts=parts)
    target.require_declared()
    if target.tag is not None and answer.get("model_tag") not in {None, target.tag}:
        message = f"through the client, the response comes from {answer['model_tag']}, expected {target.tag}"
        raise CheckFailedError(
            message, evidence={"expected": target.tag, "got": answer["model_tag"]}, causes=CLIENT
        )


async def _in_a_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call as `asyncio.to_thread` does, in a thread that is not waited for at the end: the application's client may hang."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(settler: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            settler(value)

    def run() -> None:
        try:
            settled = (outcome.set_result, call(*arguments))
        except BaseException as problem:  # noqa: BLE001 - it is raised where it is awaited
            settled = (outcome.set_exception, problem)
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(settle, *settled)

    threading.Thread(target=run, name="tier0-client", daemon=True).start()
    return await outcome


async def _close(client: Any) -> None:
    close = getattr(client, "close", None)
    if close is not None:
        closing = close()
        if inspect.isawaitable(closing):
            await closing
