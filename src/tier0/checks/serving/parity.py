"""Is what is served what was trained?"""

from __future__ import annotations

import random

from tier0.checks.serving.target import Target
from tier0.core.golden import ROW_ALONE_TOLERANCE
from tier0.core.verdict import CheckFailedError, NotJudgedError

ALONE = 20
SEED = 7
PREPROCESSING = [
    "the preprocessing was dropped, refitted on the request, or applied in another order",
    "columns are permuted on their way to the model",
    "another model is served",
    "the decision threshold or the label vocabulary was not shipped",
]
BATCH = ["statistics over the batch flow into the answers", "categories are inferred from the request", "answers are put back in another order"]


async def golden_rows(target: Target) -> None:
    """Fail where the golden rows, asked together, do not come back to the last bit."""
    await target.expect(target.golden, "what is served is not what was trained", PREPROCESSING, tolerance=0.0)


async def rows_alone(target: Target) -> None:
    """Fail where a row alone gets another answer than it got from memory in a batch."""
    golden = target.golden
    for index in range(min(ALONE, len(golden))):
        await target.expect(golden.take([index]), f"golden row {index}, alone", BATCH + PREPROCESSING, tolerance=ROW_ALONE_TOLERANCE)


async def shuffled(target: Target) -> None:
    """Fail where rows in another order do not take their answers with them."""
    golden = target.golden
    order = random.Random(SEED).sample(range(len(golden)), len(golden))  # noqa: S311 - an order, not a secret
    await target.expect(golden.take(order), "rows in another order", BATCH, tolerance=ROW_ALONE_TOLERANCE)


async def repeated(target: Target) -> None:
    """Fail where copies of rows in one request change an answer, or are thrown away."""
    golden = target.golden
    twice = golden.take([index for index in range(min(ALONE, len(golden))) for _ in range(2)])
    await target.expect(twice, "rows beside copies of themselves", ["repeated rows are dropped", *BATCH], tolerance=ROW_ALONE_TOLERANCE)


async def columns_by_name(target: Target) -> None:
    """Fail where columns in another order, with their names, change an answer."""
    golden, contract = target.golden, target.contract
    if contract.style == "rows" and contract.columns is None:
        raise NotJudgedError("this service takes no names of columns: only whoever calls it can keep their order")
    backwards = contract.body(golden.columns[::-1], [row[::-1] for row in golden.rows])
    causes = ["names are ignored, and values taken by position", "columns are relabelled numbers first"]
    await target.expect(golden, "columns in another order, with their names", causes, tolerance=0.0, body=backwards)


async def inputs_matter(target: Target) -> None:
    """Fail where everything gets the same answer, though the model tells the rows apart."""
    golden = target.golden
    if len({str(output) for output in golden.probabilities or golden.predictions}) == 1:
        raise NotJudgedError("the model in memory gives all golden rows the same answer: choose rows that it tells apart")
    answer = await target.ask(golden)
    outputs = answer["probabilities"] or answer["predictions"] or []
    if len({str(output) for output in outputs}) <= 1:
        causes = ["an exception is turned into a constant", "zeros of the right shape are fed to the model", "defaults are used instead of the input"]
        message = f"all {len(golden)} rows get the same answer, {outputs[0] if outputs else None}, and the model in memory tells them apart"
        raise CheckFailedError(message, evidence={"answer": outputs[:1], "rows": len(golden)}, causes=causes)


async def no_memory(target: Target) -> None:
    """Fail where a row is answered otherwise after other rows were asked."""
    golden = target.golden
    first, last = golden.take([0]), golden.take([len(golden) - 1])
    before = await target.ask(first)
    for _ in range(3):
        await target.ask(last)
    after = await target.ask(first)
    for part in ("predictions", "probabilities"):
        if before[part] != after[part]:
            causes = ["the model or its preprocessing is fitted on what is asked", "state of one request is used by the next"]
            message = f"the same row got {before[part]} first, and {after[part]} after other rows were asked"
            raise CheckFailedError(
                message, evidence={"before": before[part], "after": after[part]}, causes=causes, reproduce=target.curl(target.body(first))
            )
