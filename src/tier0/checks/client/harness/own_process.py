"""A part of a check that runs in a process of its own, with a clock that can be stepped.

The process reads the client's name, its declaration and the name of the part from standard input as JSON, and
writes the result to a file. The clock is replaced before the client's module is imported.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tier0.checks.client.harness import wall_clock
from tier0.checks.client.harness.exits import refused_exits
from tier0.checks.client.harness.printed import hide_own_events
from tier0.checks.client.harness.subject import Subject
from tier0.core.declaration import Declaration
from tier0.core.verdict import CheckFailedError, NotJudgedError

ENDS_WITHIN = 30.0
"""Seconds for the part of a check, with the imports of the client."""
SHOWN_WORDS = 40


def is_importable(subject: Subject) -> bool:
    """Return True if the client's factory has a name by which another process finds the same function."""
    module, _, path = subject.name.partition(":")
    found: Any = None if module == "__main__" else sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is subject.factory


async def in_own_process(subject: Subject, part: str) -> None:
    """Run a part of a check in a process of its own.

    Args:
        subject: client under test, whose factory can be imported.
        part: ``module:name`` of a coroutine function that takes the subject.

    Raises:
        CheckFailedError: the check failed there.
        NotJudgedError: the client does not work there, or the process takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="tier0-client-") as folder:
        output = Path(folder) / "result.json"
        given = {
            "part": part,
            "factory": subject.name,
            "declared": vars(subject.declared),
            "asynchronous": subject.asynchronous,
            "blocks": subject.blocks,
            "path": sys.path,
            "output": str(output),
        }
        try:
            sent = json.dumps(given)
        except (TypeError, ValueError) as problem:
            reason = f"the declaration cannot be sent to another process: {problem}"
            raise NotJudgedError(reason) from problem
        printed = await asyncio.to_thread(_run, sent)
        if not output.exists():
            reason = f"the client does not work in a process of its own: {printed}"
            raise NotJudgedError(reason)
        result = json.loads(output.read_text(encoding="utf-8"))
    if result["status"] == "fail":
        raise CheckFailedError(result["message"], evidence=result["evidence"], causes=result["causes"])
    if result["status"] == "not_judged":
        raise NotJudgedError(result["message"])


def _run(sent: str) -> str:
    """Run the process, pass on what the client printed there, and return the end of it.

    Raises:
        NotJudgedError: it takes too long.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__],
            input=sent,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ENDS_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        reason = f"the client did not end within {ENDS_WITHIN:g} s in a process of its own"
        raise NotJudgedError(reason, code="timeout") from problem
    sys.stderr.write(done.stdout + done.stderr)
    return " ".join((done.stderr or done.stdout).split()[-SHOWN_WORDS:])


async def _result(given: dict[str, Any]) -> dict[str, Any]:
    module, _, path = given["factory"].partition(":")
    factory: Any = import_module(module)
    for name in path.split("."):
        factory = getattr(factory, name)
    subject = Subject(
        factory,
        Declaration(**given["declared"]),
        given["factory"],
        asynchronous=given["asynchronous"],
        blocks=given["blocks"],
    )
    module, _, name = given["part"].partition(":")
    try:
        await getattr(import_module(module), name)(subject)
    except CheckFailedError as problem:
        return {
            "status": "fail",
            "message": problem.message,
            "evidence": problem.evidence,
            "causes": problem.causes,
        }
    except NotJudgedError as problem:
        return {"status": "not_judged", "message": str(problem)}
    return {"status": "pass"}


def _main() -> None:
    given = json.load(sys.stdin)
    sys.path[:] = given["path"]
    wall_clock.replace()
    hide_own_events()
    with refused_exits():
        result = asyncio.run(_result(given))
    with suppress(OSError):  # the other process has ended
        Path(given["output"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    _main()
