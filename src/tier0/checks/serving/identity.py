"""Checks of the identity of the model and of the process that respond."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil

from tier0.checks.serving.harness.target import Target
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

REPEATS = 6


async def expected_model(target: Target) -> None:
    """Fail if the response names another model than the expected one."""
    answer = await target.golden_answer()
    if target.tag is None:
        raise NotJudgedError("the expected model is not known: pass --model TAG", code="undeclared")
    if (tag := answer["model_tag"]) is None:
        raise NotJudgedError("the response does not name its model (model_tag)", code="not_offered")
    if tag != target.tag:
        causes = [
            "the service loads 'latest' from a shared store, which now points to another model",
            "a process of an earlier run still owns the port",
            "the roll-out has not reached this replica",
        ]
        evidence = {"expected": target.tag, "got": tag}
        raise CheckFailedError(
            f"the response comes from {tag}, expected {target.tag}", evidence=evidence, causes=causes
        )


async def this_run(target: Target) -> None:
    """Fail if the port is owned by a process that this run did not start, such as one of an earlier run."""
    pids = target.own_process.pids
    parts = urlsplit(target.url)
    port = parts.port or 80
    for pid in pids:
        with suppress(psutil.Error):
            sockets = psutil.Process(pid).net_connections("tcp")
            if any(socket.status == psutil.CONN_LISTEN and socket.laddr.port == port for socket in sockets):
                return
    causes = [
        "another service already used the port",
        "a process of an earlier run still owns the port",
    ]
    message = f"port {port} is not owned by a process that this run started"
    raise CheckFailedError(message, evidence={"port": port, "pids": list(pids)}, causes=causes)


async def always_the_same(target: Target) -> None:
    """Fail if repeated requests with the same rows get different outputs or model tags."""
    golden = (
        target.golden.take(range(min(3, len(target.golden)))) if target.contract.one_row else target.golden
    )
    kinds: list[tuple[Any, GoldenRows, int]] = []
    for _ in range(REPEATS):
        answer = await target.ask(golden)
        for index, (tag, kind, count) in enumerate(kinds):
            mismatch = kind.compare(answer, tolerance=target.tolerances(), parts=target.parts)
            if tag == answer["model_tag"] and mismatch is None:
                kinds[index] = (tag, kind, count + 1)
                break
        else:
            kinds.append((answer["model_tag"], golden.with_outputs(answer), 1))
    if len(kinds) == 1:
        return
    answers = []
    for tag, kind, count in kinds:
        right = golden.compare(vars(kind), tolerance=target.tolerances(), parts=target.parts) is None
        answers.append({"model_tag": tag, "answers": count, "of": REPEATS, "gives_the_golden_rows": right})
    odd = next((answer for answer in answers if not answer["gives_the_golden_rows"]), answers[-1])
    message = (
        f"the same {len(golden)} rows, sent {REPEATS} times, got {len(kinds)} different responses "
        f"(one of them {odd['answers']} of {REPEATS} times, from {odd['model_tag'] or 'an unnamed model'})"
    )
    causes = [
        "a canary or an unfinished roll-out handles some requests",
        "the model uses random numbers",
        "responses depend on earlier requests",
    ]
    raise CheckFailedError(
        message,
        evidence={"answers": answers},
        causes=causes,
        reproduce=target.curl(target.body(golden.take([0]))),
    )
