"""Checks of the identity of the model and of the process that respond."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil

from tier0.checks.serving.harness.sender import UnansweredError
from tier0.checks.serving.harness.target import NoPredictionError, Target
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

REPEATS = 8
ROWS_ONE_BY_ONE = 2
"""Rows that are repeated if a request takes only one."""
MAX_SHOWN = 3
"""Maximum number of different responses that a message counts."""
OTHER_CALLERS = (
    {
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Accept-Language": "de-DE,de;q=0.9",
    },
    {"User-Agent": "okhttp/4.12.0", "Accept-Language": "tr-TR,tr;q=0.8", "Accept-Encoding": "identity"},
    {"User-Agent": "python-requests/2.32.3", "Accept-Language": "ja,en;q=0.5"},
    {"User-Agent": "Go-http-client/1.1", "Accept-Language": "fr-FR"},
)
"""Headers of other callers, to whom the same row must get the same output."""


async def expected_model(target: Target) -> None:
    """Fail if the response names another model than the expected one."""
    answer = await target.golden_answer()
    if target.tag is None:
        raise NotJudgedError("the expected model is not known: pass --model TAG", code="undeclared")
    if (tag := answer["model_tag"]) is None:
        raise NotJudgedError(
            f"the response does not name its model (model_tag), so it may be another one than {target.tag}",
            code="not_offered",
        )
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


class _Response(NamedTuple):
    """One response to the golden rows.

    Attributes:
        answer: parts of the response.
        headers: headers of the request that other callers send; empty for a plain request.
        is_first: whether it is the first response ever, of the discovery of the contract.
    """

    answer: dict[str, Any]
    headers: Mapping[str, str]
    is_first: bool = False


async def always_the_same(target: Target) -> dict[str, Any]:
    """Fail if the same rows get other outputs or another tag: at first, on a new connection, for others.

    A keep-alive connection stays with one worker, hence the new ones. Every second request has headers of
    another caller, and the values that the contract names (``vary``).
    """
    golden = (
        target.golden.take(range(min(ROWS_ONE_BY_ONE, len(target.golden))))
        if target.contract.one_row
        else target.golden
    )
    responses = _first(target, golden)
    refused: list[Mapping[str, str]] = []
    for number in range(REPEATS):
        headers = _headers(target, number // 2) if number % 2 else {}
        caller = _with_fields(target, number // 2 if number % 2 else None)
        try:
            answer = await caller.from_another_caller(headers).ask(golden)
        except NoPredictionError as problem:
            if not headers or problem.evidence.get("status", 0) >= httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            refused.append(headers)  # a gateway may refuse browsers, or a service an unknown tenant
        else:
            responses.append(_Response(answer, headers))
    kinds = _kinds(target, golden, responses)
    if len(kinds) == 1:
        return {"responses": len(responses), **({"refused": refused} if refused else {})}
    answers = []
    for kind in kinds:
        outputs = {**kind[0].answer, "classes": None}
        right = golden.compare(outputs, tolerance=target.tolerances(), parts=target.parts) is None
        answers.append(
            {
                "model_tag": kind[0].answer["model_tag"],
                "answers": len(kind),
                "of": len(responses),
                "gives_the_golden_rows": right,
                "headers": [response.headers for response in kind if response.headers],
            }
        )
    message = (
        f"the same {len(golden)} rows, sent {len(responses)} times, got {len(kinds)} different responses: "
        f"{', '.join(map(_in_words, answers[:MAX_SHOWN]))}{', …' if len(answers) > MAX_SHOWN else ''}"
    )
    raise CheckFailedError(
        message,
        evidence={"answers": answers},
        causes=[
            *await _likely_causes(target, golden, kinds),
            "a canary or an unfinished roll-out handles some requests",
            "the workers or replicas behind the port serve different models",
            "the model uses random numbers",
            "responses depend on earlier requests",
        ],
        reproduce=_each_on_a_connection(target.curl(target.body(golden.take([0]))), len(responses)),
    )


def _in_words(answer: Mapping[str, Any]) -> str:
    """Return how many responses were the same, of which model, and whether they were right."""
    tag = f" from {answer['model_tag']}" if answer["model_tag"] else ""
    outputs = "the trained model's outputs" if answer["gives_the_golden_rows"] else "other outputs"
    return f"{answer['answers']}{tag} with {outputs}"


def _each_on_a_connection(request: str, times: int) -> str:
    """Return the shell command that sends a request several times, as curl does on new connections."""
    return f"for i in {' '.join(map(str, range(1, times + 1)))}; do {request}; echo; done"


def _first(target: Target, golden: GoldenRows) -> list[_Response]:
    """Return the first response ever to the golden rows, if there was one."""
    first = target.memo.get("golden")
    if not isinstance(first, list):
        return []
    bodies = first[: len(golden)] if target.contract.one_row else first
    return [_Response(target.parts_of(bodies, golden), {}, is_first=True)]


def _headers(target: Target, number: int) -> dict[str, str]:
    """Return headers of another caller, without those that the user has set."""
    own = target.sender.http.headers
    headers = dict(OTHER_CALLERS[number % len(OTHER_CALLERS)])
    if not own.get("User-Agent", "").startswith("python-httpx"):
        del headers["User-Agent"]
    if "Accept-Language" in own:
        del headers["Accept-Language"]
    named = {name: values for name, values in target.contract.vary.items() if not _is_field(target, name)}
    return headers | {name: _varied(values, number) for name, values in named.items()}


def _with_fields(target: Target, number: int | None) -> Target:
    """Return a target that sends other values of the body's fields that the contract names (``vary``)."""
    if number is None:
        return target
    named = {
        name: _varied(values, number)
        for name, values in target.contract.vary.items()
        if _is_field(target, name)
    }
    return replace(target, contract=replace(target.contract, fields={**target.contract.fields, **named}))


def _is_field(target: Target, name: str) -> bool:
    return name in target.contract.fields


def _varied(values: Sequence[str], number: int) -> str:
    """Return one of the values in the contract, or a new one if it has none."""
    return values[number % len(values)] if values else uuid.uuid4().hex


def _kinds(target: Target, golden: GoldenRows, responses: Sequence[_Response]) -> list[list[_Response]]:
    """Return the responses in groups with the same outputs and tag."""
    kinds: list[list[_Response]] = []
    for response in responses:
        for kind in kinds:
            outputs = golden.with_outputs(kind[0].answer)
            mismatch = outputs.compare(response.answer, tolerance=target.tolerances(), parts=target.parts)
            if kind[0].answer["model_tag"] == response.answer["model_tag"] and mismatch is None:
                kind.append(response)
                break
        else:
            kinds.append([response])
    return kinds


async def _likely_causes(
    target: Target, golden: GoldenRows, kinds: Sequence[Sequence[_Response]]
) -> list[str]:
    """Return the causes that explain which of the responses differ."""
    if len(kinds) == 2 and kinds[0][0].is_first and len(kinds[0]) == 1:
        return [
            "a fallback responds until the model is loaded, or the first request is handled in another way"
        ]
    plain = [kind for kind in kinds if any(not response.headers for response in kind)]
    others = [response for kind in kinds if kind not in plain for response in kind]
    if len(plain) != 1 or not await _are_repeated(
        target, golden, [plain[0][0]._replace(headers={}), *others]
    ):
        return []
    names = sorted({name for response in others for name in response.headers})
    return [f"the response depends on {', '.join(names)}: if it may, pass that header with --header"]


async def _are_repeated(target: Target, golden: GoldenRows, responses: Sequence[_Response]) -> bool:
    """Return whether requests with the same headers get the same responses again."""
    for response in responses:
        try:
            answer = await target.from_another_caller(response.headers).ask(golden)
        except (CheckFailedError, UnansweredError):
            return False
        if len(_kinds(target, golden, [response, _Response(answer, response.headers)])) > 1:
            return False
    return True
