"""Who answers?"""

from __future__ import annotations

from tier0.checks.serving.target import Target
from tier0.core.verdict import CheckFailedError, NotJudgedError

ASKED = 12


async def expected_model(target: Target) -> None:
    """Fail where the answer carries another tag than the one that must be served."""
    answer = await target.ask(target.golden.take([0]))
    if target.tag is None:
        raise NotJudgedError("which model must answer was not said: give --model TAG")
    if (tag := answer.get("model_tag")) is None:
        raise NotJudgedError("the answer does not say which model gave it (model_tag)")
    if tag != target.tag:
        causes = [
            "the newest model of a shared store is served",
            "an orphan of an earlier run holds the port",
            "the roll-out has not reached this replica",
        ]
        raise CheckFailedError(f"{tag} answers, and {target.tag} must", evidence={"expected": target.tag, "got": tag}, causes=causes)


async def always_the_same(target: Target) -> None:
    """Fail where the same rows, asked several times, get the answers of more than one model."""
    golden = target.golden
    answers = [await target.ask(golden) for _ in range(ASKED)]
    kinds = {str((answer.get("model_tag"), answer["predictions"], answer["probabilities"])) for answer in answers}
    if len(kinds) > 1:
        tags = sorted({str(answer.get("model_tag")) for answer in answers})
        message = f"the same {len(golden)} rows, asked {ASKED} times, got {len(kinds)} different answers (model tags: {', '.join(tags)})"
        causes = [
            "a canary, or a roll-out that is not finished, answers some requests",
            "the model draws random numbers",
            "answers depend on what was asked before",
        ]
        raise CheckFailedError(
            message,
            evidence={"answers": len(kinds), "asked": ASKED, "tags": tags},
            causes=causes,
            reproduce=target.curl(target.body(golden.take([0]))),
        )
