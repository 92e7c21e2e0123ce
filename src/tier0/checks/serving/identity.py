"""Which model and which process responds?"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil

from tier0.checks.serving.harness.target import Target
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

ASKED = 6


async def expected_model(target: Target) -> None:
    """Fail where the answer carries another tag than the one that must be served."""
    answer = await target.golden_answer()
    if target.tag is None:
        raise NotJudgedError("the expected model is not known: pass --model TAG", code="undeclared")
    if (tag := answer["model_tag"]) is None:
        raise NotJudgedError(
            "the response does not name the model that gave it (model_tag)", code="not_offered"
        )
    if tag != target.tag:
        causes = [
            "the newest model of a shared store is served, or 'latest' points elsewhere",
            "a process of an earlier run still holds the port",
            "the roll-out has not reached this replica",
        ]
        evidence = {"expected": target.tag, "got": tag}
        raise CheckFailedError(
            f"the response comes from {tag}, expected {target.tag}", evidence=evidence, causes=causes
        )


async def this_run(target: Target) -> None:
    """Fail where the port belongs to a process that this run did not start: a process of an earlier run, or another service."""
    pids = target.own_process.pids
    parts = urlsplit(target.url)
    port = parts.port or 80
    for pid in pids:
        with suppress(psutil.Error):
            sockets = psutil.Process(pid).net_connections("tcp")
            if any(socket.status == psutil.CONN_LISTEN and socket.laddr.port == port for socket in sockets):
                return
    causes = [
        "the port was taken, and its owner still responds",
        "a process of an earlier run still holds the port",
    ]
    message = f"no process that this run started listens on port {port}: another process responds there"
    raise CheckFailedError(message, evidence={"port": port, "pids": list(pids)}, causes=causes)


async def always_the_same(target: Target) -> None:
    """Fail where the same rows, asked several times, get the answers of more than one model; name the odd one."""
    golden = (
        target.golden.take(range(min(3, len(target.golden)))) if target.contract.one_row else target.golden
    )
    kinds: list[tuple[Any, GoldenRows, int]] = []
    for _ in range(ASKED):
        answer = await target.ask(golden)
        for index, (tag, kind, count) in enumerate(kinds):
            if (
                tag == answer["model_tag"]
                and kind.compare(answer, tolerance=target.tolerances(), parts=target.parts) is None
            ):
                kinds[index] = (tag, kind, count + 1)
                break
        else:
            kinds.append((answer["model_tag"], golden.with_outputs(answer), 1))
    if len(kinds) == 1:
        return
    answers = []
    for tag, kind, count in kinds:
        right = golden.compare(vars(kind), tolerance=target.tolerances(), parts=target.parts) is None
        answers.append({"model_tag": tag, "answers": count, "of": ASKED, "gives_the_golden_rows": right})
    odd = next((answer for answer in answers if not answer["gives_the_golden_rows"]), answers[-1])
    message = (
        f"the same {len(golden)} rows, sent {ASKED} times, got {len(kinds)} different responses "
        f"(one of them {odd['answers']} of {ASKED} times, from {odd['model_tag'] or 'a model that it does not name'})"
    )
    causes = [
        "a canary, or an unfinished roll-out, serves some requests",
        "the model draws random numbers",
        "responses depend on earlier requests",
    ]
    raise CheckFailedError(
        message,
        evidence={"answers": answers},
        causes=causes,
        reproduce=target.curl(target.body(golden.take([0]))),
    )
