"""Does every caller get its own answer, whoever else asks?"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable

from tier0.checks.serving.sender import REQUEST_ID, UnansweredError, new_request_id
from tier0.checks.serving.target import Answer, Target, answered_of
from tier0.core.verdict import CheckFailedError, NotJudgedError

CALLERS = 16
ROUNDS = 2
BUSY_CALLERS = 8
BUSY_ROWS = 2000
LIVENESS_LIMIT = 1.0
OURS = re.compile(r"tier0-[0-9a-f]{32}")
SHARED = [
    "answers of a batch are given to the wrong callers",
    "state is shared between threads",
    "statistics over the merged batch flow into the answers",
]


async def own_answer(target: Target) -> None:
    """Fail where callers that ask at once, each for another row, or the same one, get each other's answers."""
    golden = target.golden
    for stride in range(ROUNDS):
        rows = [golden.take([number * (stride + 1) % len(golden)]) for number in range(CALLERS)]
        rows += [rows[0], rows[0]]
        await _all(*(target.expect(row, "beside strangers, a caller's own row", SHARED) for row in rows))


async def own_context(target: Target) -> None:
    """Fail where an answer carries the request id of another caller, or of an earlier request."""
    row = target.golden.take([0])
    mine = [new_request_id() for _ in range(CALLERS)]
    body = json.dumps(target.body(row)).encode()
    responses = await _all(*(target.post(body, headers={REQUEST_ID: request_id}) for request_id in mine))
    echoed = [set(OURS.findall(f"{response.text} {dict(response.headers)}")) for response in responses]
    for request_id, said in zip(mine, echoed, strict=True):
        if others := sorted(said - {request_id}):
            causes = ["the headers of the first request are used for all, or for its whole batch", "the context is kept where threads share it"]
            whose = "another caller" if others[0] in mine else "an earlier caller"
            message = f"a caller that sent {REQUEST_ID}: {request_id} got an answer with {others[0]}, which {whose} sent"
            raise CheckFailedError(message, evidence={"sent": request_id, "got": others[0]}, causes=causes)
    if not any(echoed):
        raise NotJudgedError(f"no answer says which {REQUEST_ID} it belongs to", code="not_offered")


async def strangers_mistakes(target: Target) -> None:
    """Fail where a bad request among good ones harms the others."""
    golden = target.golden
    first = golden.take([0])
    wrong_row = ["three" if isinstance(value, (int, float)) else 3 for value in first.rows[0]]
    bad = json.dumps(target.contract.body(golden.columns, [wrong_row])).encode()
    causes = ["requests of several callers are put into one batch before they are looked at", *SHARED]

    async def stranger() -> None:
        try:
            await target.post(bad)
        except UnansweredError:
            return  # what it gets is its own business here

    good = [target.expect(golden.take([number % len(golden)]), "beside a stranger's bad request", causes) for number in range(CALLERS)]
    await _all(*good, stranger(), stranger(), stranger())


async def alive_under_load(target: Target) -> None:
    """Fail where /livez takes over a second while large requests are worked on."""
    golden = target.golden
    if (await target.get("/livez")).status_code >= 400:  # noqa: PLR2004 - neither absent nor alive
        raise NotJudgedError("there is no /livez: it is hidden, or this is no BentoML service", code="not_offered")
    many = golden.take([0] if target.contract.one_row else [number % len(golden) for number in range(BUSY_ROWS)])
    busy = [asyncio.ensure_future(target.ask(many)) for _ in range(BUSY_CALLERS)]
    slowest = 0.0
    try:
        while not all(call.done() for call in busy):
            start = time.perf_counter()
            await target.get("/livez")
            slowest = max(slowest, time.perf_counter() - start)
        answered_of(await asyncio.gather(*busy, return_exceptions=True))
    finally:
        for call in busy:
            call.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    if slowest > LIVENESS_LIMIT:
        message = f"/livez took {slowest:.1f} s while {BUSY_CALLERS} requests of {len(many)} rows were worked on: a probe would restart the service"
        raise CheckFailedError(message, evidence={"slowest_seconds": slowest}, causes=["blocking work in an async handler"])


async def _all(*calls: Awaitable[Answer]) -> list[Answer]:
    """Run all at once, wait for all of them, and return what was not refused as too many; see `answered_of`."""
    return answered_of(await asyncio.gather(*calls, return_exceptions=True))
