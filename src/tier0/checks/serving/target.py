"""What a check asks: one service, by its contract, and what it must answer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import httpx

from tier0.checks.serving.sender import HOW_TO_AUTHORIZE, UNAUTHORIZED, Sender, UnansweredError
from tier0.core.contract import Contract
from tier0.core.golden import ROW_ALONE_TOLERANCE, GoldenRows, Mismatch
from tier0.core.verdict import HOW_TO_GET_GOLDEN_ROWS, CheckFailedError, NotJudgedError

MOST_SHOWN = 300
MOST_ONE_BY_ONE = 30
MASK = "…"
REFUSED = range(400, 500)
OVERLOADED = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}
NO_ANSWER = ["the worker died of the request", "the handler waits for ever", "nobody reads the server's output, and its pipe is full"]


class NoPredictionError(CheckFailedError):
    """A well-formed request got no prediction at all: no response, a status other than 200, or no JSON."""


class OverloadedError(NoPredictionError):
    """The service says that it gets too much (429 or 503): honest, where much is asked at once."""


Answer = TypeVar("Answer")


def answered_of(outcomes: Sequence[Answer | BaseException]) -> list[Answer]:
    """Return what came of calls that ran at once, without those that were refused because there were too many.

    Raises:
        BaseException: what went wrong first in any other way.
        NotJudgedError: all were refused.
    """
    answered: list[Answer] = []
    for outcome in outcomes:
        if isinstance(outcome, OverloadedError):
            continue
        if isinstance(outcome, BaseException):
            raise outcome
        answered.append(outcome)
    if not answered:
        raise NotJudgedError(f"it refused all of {len(outcomes)} requests at once as too many")
    return answered


class Process(Protocol):
    """A server that this run started."""

    @property
    def pids(self) -> list[int]:
        """Its living processes."""

    def kill_worker(self) -> None:
        """Kill what answers requests."""

    def kill_supervisor(self) -> None:
        """Kill what started the others."""

    def left(self) -> list[str]:
        """What is still there of it: processes, and an open port."""

    def halt(self) -> float:
        """Stop it, and return the seconds that took."""

    def restart(self) -> None:
        """Start it again where it was, and wait until it is ready."""


@dataclass(frozen=True)
class Target:
    """One service, as the checks see it.

    Attributes:
        contract: how it is asked.
        sender: sends its requests.
        rows: golden rows, if there are any.
        tag: the exact tag that must answer, if it is known.
        mask: show no values of rows in evidence and commands.
        same_arithmetic: it was started by us as it was asked in memory, so that the same batch must give the same bits.
        process: what we started; None if it is not ours.
        make_client: makes the application's client for a URL; None without one.
        tolerance: relative, widened by the user for the check that is being asked.
        why_not_asked: why no prediction can be asked for, where that is so.
        hide: takes secrets out of what a service says, before it is cut to a length.
        on_prediction: called whenever a well-formed request got a prediction.
    """

    contract: Contract
    sender: Sender
    rows: GoldenRows | None = None
    tag: str | None = None
    mask: bool = False
    same_arithmetic: bool = False
    process: Process | None = None
    make_client: Callable[[str], Any] | None = None
    tolerance: float = 0.0
    why_not_asked: str = ""
    hide: Callable[[str], str] = lambda text: text
    on_prediction: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        """The address of the service, without a trailing slash."""
        return self.sender.url

    @property
    def golden(self) -> GoldenRows:
        """The golden rows, with the probabilities that the service gives.

        Raises:
            NotJudgedError: there are none.
        """
        if self.rows is None:
            raise NotJudgedError(f"no golden rows: {HOW_TO_GET_GOLDEN_ROWS}", code="no_golden")
        plain = self._as_served(self.rows).plain
        return plain.take(range(min(len(plain), MOST_ONE_BY_ONE))) if self.contract.one_row else plain

    @property
    def parts(self) -> tuple[str, ...]:
        """What is compared: what the service gives, without what the model in memory does not have."""
        parts = self.contract.parts
        if self.rows is None or self.same_arithmetic:
            return parts
        return tuple(part for part in parts if getattr(self.rows, part) is not None) or parts

    def _as_served(self, rows: GoldenRows) -> GoldenRows:
        named = self.contract.probability_of
        if named is None or rows.probabilities is None:
            return rows
        names = [str(label) for label in rows.classes]
        return replace(rows, probabilities=[[row[names.index(named)]] for row in rows.probabilities])

    def golden_from(self, *words: str) -> GoldenRows:
        """Return the golden rows whose origin has one of *words* in it.

        Raises:
            NotJudgedError: there are none.
        """
        if self.rows is None:
            return self.golden
        hard = self._as_served(self.rows.hard)
        chosen = [index for index, origin in enumerate(hard.origins) if any(word in origin for word in words)]
        if not chosen:
            raise NotJudgedError("no golden row is of this kind: the model has none, or they were made by hand")
        return hard.take(chosen)

    async def expect_hard(self, golden: GoldenRows, what: str, causes: list[str]) -> None:
        """Ask for rows that a service may be too strict for; see `expect`.

        Raises:
            NotJudgedError: it refuses them.
        """
        try:
            await self.expect(golden, what, causes)
        except CheckFailedError as failure:
            if failure.evidence.get("status") in REFUSED:
                raise NotJudgedError(f"the service refuses them with {failure.evidence['status']}: it takes less than its model") from failure
            raise

    @property
    def own_process(self) -> Process:
        """What we started.

        Raises:
            NotJudgedError: it is not ours.
        """
        if self.process is None:
            raise NotJudgedError("checked only where this run started the service (--tier0-service)", code="no_process")
        return self.process

    async def get(self, route: str, method: str = "GET") -> httpx.Response:
        """Ask a route without a body."""
        return await self.sender.send(method, route)

    async def post(self, content: bytes, content_type: str = "application/json", headers: dict[str, str] | None = None) -> httpx.Response:
        """Send a body to the prediction's route, whatever it is.

        Raises:
            NotJudgedError: which route that is, is not known.
            UnansweredError: there was no answer.
        """
        if self.why_not_asked:
            raise NotJudgedError(self.why_not_asked, code="undeclared")
        return await self.sender.send("POST", self.contract.route, content, {**(headers or {}), "Content-Type": content_type})

    def body(self, golden: GoldenRows) -> Any:
        """Return the body that asks for *golden*."""
        return self.contract.body(golden.columns, golden.rows)

    async def ask(self, golden: GoldenRows) -> dict[str, Any]:
        """Ask for *golden*, and return the answer's parts (see `Contract.read`); row by row, where a request takes only one.

        Raises:
            CheckFailedError: there is no answer, or it is no 200, or no JSON.
        """
        if not self.contract.one_row:
            return await self.ask_body(self.body(golden))
        answers = [await self.ask_body(self.body(golden.take([index]))) for index in range(len(golden))]
        parts = {part: [value for answer in answers for value in answer[part] or []] for part in self.contract.parts}
        return {**answers[-1], **parts}

    async def ask_body(self, body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Ask with a well-formed body."""
        try:
            response = await self.post(json.dumps(body).encode(), headers=headers)
        except UnansweredError as problem:
            raise NoPredictionError(f"a well-formed request: {problem}", causes=NO_ANSWER, reproduce=self.curl(body)) from problem
        evidence = {"status": response.status_code, "body": self.said(response.text)}
        if response.status_code != httpx.codes.OK:
            message = f"a well-formed request was answered with {response.status_code}: {self.said(response.text)}"
            causes = ["the service fails on rows that its model takes", "the contract is not this service's"]
            if response.status_code in UNAUTHORIZED:
                causes = [HOW_TO_AUTHORIZE]
            kind = OverloadedError if response.status_code in OVERLOADED else NoPredictionError
            raise kind(message, evidence=evidence, causes=causes, reproduce=self.curl(body))
        try:
            answer = response.json()
        except ValueError:
            message = "an answer with status 200 is no JSON"
            raise NoPredictionError(message, evidence=evidence, causes=["a proxy answers, not the service"], reproduce=self.curl(body)) from None
        self.on_prediction()
        return self.contract.read(answer)

    async def expect(self, golden: GoldenRows, what: str, causes: list[str], *, same_batch: bool = False, body: Any = None) -> dict[str, Any]:
        """Ask for *golden* (with another *body* that must mean the same), and compare.

        Args:
            golden: what is asked.
            what: for the message.
            causes: for the message.
            same_batch: these rows were asked together in memory, too.
            body: what to send.

        Raises:
            CheckFailedError: a row differs; with the one row that proves it.
        """
        answer = await self.ask(golden) if body is None else await self.ask_body(body)
        self.refuse_difference(answer, golden, what, causes, same_batch=same_batch)
        return answer

    def refuse_difference(
        self,
        answer: dict[str, Any],
        golden: GoldenRows,
        what: str,
        causes: list[str],
        *,
        same_batch: bool = False,
        parts: tuple[str, ...] = (),
    ) -> None:
        """Raise `CheckFailedError` where *answer* is not what the model in memory gave for *golden*."""
        tolerance = 0.0 if same_batch and self.same_arithmetic and not self.contract.one_row else ROW_ALONE_TOLERANCE
        mismatch = golden.compare({**answer, "classes": None}, tolerance=max(tolerance, self.tolerance), parts=parts or self.parts)
        if mismatch is not None:
            raise self.failed(what, mismatch, golden, causes)

    def failed(self, what: str, mismatch: Mismatch, golden: GoldenRows, causes: list[str]) -> CheckFailedError:
        """Return the failure for one row that differs."""
        row = golden.take([mismatch.row])
        evidence = {
            "row": MASK if self.mask else dict(zip(row.columns, row.rows[0], strict=True)),
            "origin": row.origins[0] if row.origins else "example",
            "part": mismatch.part,
            "expected": MASK if self.mask else mismatch.expected,
            "got": MASK if self.mask else mismatch.got,
            "rows_that_differ": mismatch.count,
            "rows_asked": len(golden),
        }
        expected, got = (self.said(repr(value)) for value in (mismatch.expected, mismatch.got))
        message = (
            f"{what}: {mismatch.part} of {golden.origin(mismatch.row)} should be {expected}, and {got} came; "
            f"{mismatch.count} of {len(golden)} rows differ"
        )
        return CheckFailedError(message, evidence=evidence, causes=causes, reproduce=self.curl(self.body(row)))

    def said(self, text: str) -> str:
        """Return the start of what a service or a client said, which may repeat what it was sent; nothing of it where rows are masked."""
        return MASK if self.mask else self.hide(text)[:MOST_SHOWN]

    def curl(self, body: Any, content_type: str = "application/json") -> str:
        """Return the command that sends *body* from a shell; without the user's headers."""
        text = MASK if self.mask else body if isinstance(body, str) else json.dumps(body)
        return f"curl -sS {shlex.quote(self.url + self.contract.route)} -H {shlex.quote(f'Content-Type: {content_type}')} -d {shlex.quote(text)}"
