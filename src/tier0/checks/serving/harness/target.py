"""What a check asks: one service, by its contract, and what it must answer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import httpx

from tier0.checks.serving.harness.sender import (
    HOW_TO_AUTHORIZE,
    OVERLOADED,
    UNAUTHORIZED,
    UNREACHABLE,
    Sender,
    UnansweredError,
    decode_json,
)
from tier0.contract.contract import SCHEMA, Contract, as_toml
from tier0.contract.meanings import Undeclared, is_rounded
from tier0.contract.model_terms import as_served, in_model_terms, merged
from tier0.contract.response import is_refusal
from tier0.core.outputs import PARTS
from tier0.core.verdict import HOW_TO_GET_GOLDEN_ROWS, PARITY, CheckFailedError, NotJudgedError
from tier0.golden.rows import EdgeCaseKind, GoldenRows, Mismatch, Tolerance

MAX_SHOWN = 300
MAX_SINGLE_ROWS = 30
MASK = "…"
REFUSED = range(400, 500)
NO_GOLDEN = f"no golden rows: {HOW_TO_GET_GOLDEN_ROWS}"
REFUSALS = ["the service cannot handle rows that its model accepts", "the contract describes another service"]
NO_ANSWER = [
    "the request crashed the worker",
    "the handler never returns",
    "the server's output is not read, and its pipe is full",
]


class NoPredictionError(CheckFailedError):
    """A well-formed request got no prediction."""


class RefusedError(NoPredictionError):
    """The service refused a well-formed request: with a 4xx, or with status 200 and an error in the body."""


class OverloadedError(NoPredictionError):
    """The service, or what is in front of it, refused the request as one too many (429 or 503)."""


Answer = TypeVar("Answer")


def decode(response: httpx.Response) -> Any:
    """Return the body of a response: JSON, or the text itself where it is declared as plain text and is neither an object nor a list.

    Raises:
        ValueError: it is neither.
    """
    if response.headers.get("content-type", "").startswith(
        "text/plain"
    ) and not response.text.lstrip().startswith(("{", "[")):
        return response.text
    return decode_json(response)


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
        raise NotJudgedError(
            f"all {len(outcomes)} concurrent requests were refused with 429 or 503 (too many requests)",
            code="overloaded",
        )
    return answered


def reports_error(response: httpx.Response) -> bool:
    """Return True if a response refuses its request with status 200 and an error in the body."""
    try:
        return response.is_success and is_refusal(decode(response))
    except ValueError:
        return False


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
        undeclared: what has to be declared of the response before it can be judged.
        memo: responses that several checks look at, so that they are requested once.
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
    undeclared: tuple[Undeclared, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict)
    hide: Callable[[str], str] = lambda text: text
    on_prediction: Callable[[], None] = lambda: None

    def under_load(self) -> Target:
        """Return the target for many requests at once: one that is refused as too many is not sent again."""
        return replace(self, sender=replace(self.sender, retries_refusals=False))

    @property
    def url(self) -> str:
        """The address of the service, without a trailing slash."""
        return self.sender.url

    @property
    def model_rows(self) -> GoldenRows:
        """The golden rows that are asked together, with all outputs of the trained model.

        Raises:
            NotJudgedError: there are none.
        """
        if self.rows is None:
            raise NotJudgedError(NO_GOLDEN, code="no_golden")
        plain = self.rows.examples
        return plain.take(range(min(len(plain), MAX_SINGLE_ROWS))) if self.contract.one_row else plain

    @property
    def golden(self) -> GoldenRows:
        """The same rows, with the probabilities that the service returns.

        Raises:
            NotJudgedError: there are none.
        """
        return as_served(self.model_rows, self.contract)

    @property
    def parts(self) -> tuple[str, ...]:
        """What is compared: what the service gives, without what the model in memory does not have, and what has to be declared first."""
        unknown = {undeclared.part for undeclared in self.undeclared}
        parts = tuple(part for part in self.contract.parts if part not in unknown)
        if self.rows is None or self.same_arithmetic:
            return parts
        return tuple(part for part in parts if getattr(self.rows, part) is not None) or parts

    def golden_with(self, kind: EdgeCaseKind, column: str | None = None) -> GoldenRows:
        """Return the golden rows of one kind: those made for *column*, if it is given.

        Raises:
            NotJudgedError: there are none.
        """
        if self.rows is None:
            return self.golden
        chosen = as_served(self.rows, self.contract).with_origin(kind, column)
        if not chosen:
            raise NotJudgedError(
                "no golden rows cover this case (the model has none, or the file was written by hand)"
            )
        return chosen

    def tolerances(self, *, same_batch: bool = False) -> dict[str, Tolerance]:
        """Return how far the served numbers of each part may be from the golden rows', or what the user allows where that is more.

        Args:
            same_batch: these rows were asked together in memory, too.
        """
        rows = self.golden if self.rows is None else self.rows
        as_asked = same_batch and not self.contract.one_row
        allowed = rows.tolerances(
            same_arithmetic=self.same_arithmetic, same_batch=as_asked, relative=self.tolerance
        )
        return {part: allowed[part].widened(absolute=self.contract.tolerance_of(part)) for part in PARTS}

    async def expect_hard(self, golden: GoldenRows, what: str, causes: list[str]) -> None:
        """Ask for rows that a service may be too strict for; see `expect`.

        Raises:
            NotJudgedError: it refuses them.
        """
        try:
            await self.expect(golden, what, causes)
        except RefusedError as refusal:
            raise NotJudgedError(
                f"the service refuses {what} (status {refusal.evidence['status']}), which its model accepts"
            ) from refusal

    @property
    def own_process(self) -> Process:
        """What we started.

        Raises:
            NotJudgedError: it is not ours.
        """
        if self.process is None:
            raise NotJudgedError(
                "checked only where this run started the service (--tier0-service)", code="no_process"
            )
        return self.process

    async def get(self, route: str, method: str = "GET") -> httpx.Response:
        """Ask a route without a body."""
        return await self.sender.send(method, route)

    async def post(
        self, content: bytes, content_type: str = "application/json", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a body to the prediction's route, whatever it is.

        Raises:
            NotJudgedError: which route that is, is not known.
            UnansweredError: there was no answer.
        """
        if self.contract.why_not_asked:
            raise NotJudgedError(self.contract.why_not_asked, code="undeclared")
        return await self.sender.send(
            "POST", self.contract.route, content, {**(headers or {}), "Content-Type": content_type}
        )

    def body(self, golden: GoldenRows) -> Any:
        """Return the body that asks for *golden*."""
        return self.contract.body(golden.columns, golden.rows)

    async def ask(self, golden: GoldenRows) -> dict[str, Any]:
        """Ask for *golden*, in as many requests as the service needs, and return the parts of the response in the model's own terms.

        Raises:
            NoPredictionError: a well-formed request got no prediction.
            UnansweredError: the network gave no response.
        """
        return self.parts_of(await self.ask_raw(golden), golden)

    async def ask_raw(self, golden: GoldenRows) -> list[Any]:
        """Ask for *golden*, and return the body of each response: one, or one for each request that the service needs."""
        most = 1 if self.contract.one_row else self.contract.max_rows or len(golden)
        parts = [
            golden.take(range(start, min(start + most, len(golden)))) for start in range(0, len(golden), most)
        ]
        return [await self.ask_body(self.body(part)) for part in parts]

    def parts_of(self, answers: Sequence[Any], golden: GoldenRows) -> dict[str, Any]:
        """Return the parts of responses about *golden* as `ask` does."""
        return in_model_terms(
            merged([self.contract.read(answer) for answer in answers]), golden, self.contract
        )

    async def golden_answer(self) -> dict[str, Any]:
        """Return the response to the golden rows, which is requested once for all checks that only look at it.

        Raises:
            CheckFailedError: see `ask`; the same for each check.
        """
        if "golden" not in self.memo:
            try:
                self.memo["golden"] = await self.ask_raw(self.golden)
            except (CheckFailedError, UnansweredError) as problem:
                self.memo["golden"] = problem
        found = self.memo["golden"]
        if isinstance(found, Exception):
            raise found
        return self.parts_of(found, self.golden)

    async def ask_body(self, body: Any) -> Any:
        """Send a well-formed body, and return the body of the response.

        Raises:
            NoPredictionError: there is no prediction in it.
            UnansweredError: the network gave no response.
        """
        try:
            response = await self.post(json.dumps(body).encode())
        except UnansweredError as problem:
            raise self.unanswered(problem, body) from problem
        return self.answer_of(response, body)

    def unanswered(self, problem: UnansweredError, body: Any) -> Exception:
        """Return what it means that a well-formed request got no response: of a process of ours it fails, elsewhere a network is between."""
        if self.process is None:
            return problem
        return NoPredictionError(
            f"a well-formed request failed: {problem}", causes=NO_ANSWER, reproduce=self.curl(body)
        )

    def answer_of(self, response: httpx.Response, body: Any) -> Any:
        """Return the body of the response to a well-formed request; see `ask_body`."""
        evidence = {"status": response.status_code, "body": self.said(response.text)}
        if response.is_redirect:
            evidence["location"] = self.said(response.headers["location"])
        if not response.is_success:
            raise self._no_prediction(response, evidence, body)
        try:
            answer = decode(response)
        except ValueError:
            message = f"a well-formed request got status {response.status_code} and a body that is not JSON"
            causes = ["a proxy responded, not the service"]
            evidence["content_type"] = response.headers.get("content-type", "").partition(";")[0]
            raise NoPredictionError(
                message, evidence=evidence, causes=causes, reproduce=self.curl(body)
            ) from None
        if is_refusal(
            answer,
            paths=(self.contract.predictions, self.contract.probabilities),
            labels=self.rows.classes if self.rows else (),
        ):
            message = f"a well-formed request was refused with status {response.status_code} and an error in the body: {self.said(response.text)}"
            raise RefusedError(message, evidence=evidence, causes=REFUSALS, reproduce=self.curl(body))
        self.on_prediction()
        return answer

    def _no_prediction(self, response: httpx.Response, evidence: dict[str, Any], body: Any) -> Exception:
        status = response.status_code
        message = f"a well-formed request got status {status}: {self.said(response.text)}"
        if status in UNREACHABLE and self.process is None:
            return UnansweredError(message)
        kind = (
            OverloadedError
            if status in OVERLOADED
            else RefusedError
            if status in REFUSED
            else NoPredictionError
        )
        causes = [HOW_TO_AUTHORIZE] if status in UNAUTHORIZED else REFUSALS
        return kind(message, evidence=evidence, causes=causes, reproduce=self.curl(body))

    async def expect(
        self, golden: GoldenRows, what: str, causes: list[str], *, same_batch: bool = False, body: Any = None
    ) -> dict[str, Any]:
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
        answer = (
            await self.ask(golden) if body is None else self.parts_of([await self.ask_body(body)], golden)
        )
        self.refuse_difference(answer, golden, what, causes, same_batch=same_batch)
        self.require_declared()
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
        allowed = self.tolerances(same_batch=same_batch)
        unrounded = replace(self, contract=replace(self.contract, decimals=None)).tolerances(
            same_batch=same_batch
        )
        allowed = {
            part: allowed[part] if is_rounded(answer.get(part), part, self.contract) else unrounded[part]
            for part in PARTS
        }
        mismatch = golden.compare({**answer, "classes": None}, tolerance=allowed, parts=parts or self.parts)
        if mismatch is not None:
            raise self.failed(what, mismatch, golden, causes)

    def require_declared(self) -> None:
        """Raise `NotJudgedError` where a part of the response was not compared, because its meaning has to be declared first."""
        if self.undeclared:
            raise NotJudgedError(
                f"the meaning of the response must be declared first: see {PARITY}", code="undeclared"
            )

    @property
    def what_is_undeclared(self) -> str:
        """What has to be declared, in a sentence, and the contract to paste."""
        what = "; ".join(f"the response {undeclared.what}" for undeclared in self.undeclared)
        declare: dict[str, Any] = {}
        for undeclared in self.undeclared:
            declare |= undeclared.declare
        if self.mask:
            return f"the meaning of the response must be declared ({', '.join(declare) or 'values'}): run `tier0 contract` to draft a contract"
        if not declare:
            return f"{what}. Its meaning is unknown, so it is not compared"
        lines = as_toml({"schema": SCHEMA, **declare})
        return f"{what}. If that is intended, declare it in a file and pass --contract FILE; then it is checked:\n{lines}"

    def failed(
        self, what: str, mismatch: Mismatch, golden: GoldenRows, causes: list[str]
    ) -> CheckFailedError:
        """Return the failure for one row that differs."""
        row = golden.take([mismatch.row])
        evidence = {
            "row": MASK if self.mask else dict(zip(row.columns, row.rows[0], strict=True)),
            "origin": str(row.origins[0]) if row.origins else "example",
            "part": mismatch.part,
            "expected": MASK if self.mask else mismatch.expected,
            "got": MASK if self.mask else mismatch.got,
            "rows_that_differ": mismatch.count,
            "rows_asked": len(golden),
        }
        message = f"{what}: {mismatch.describe(lambda value: self.said(repr(value)))}"
        return CheckFailedError(
            message, evidence=evidence, causes=causes, reproduce=self.curl(self.body(row))
        )

    def said(self, text: str) -> str:
        """Return the start of what a service or a client said, which may repeat what it was sent; nothing of it where rows are masked."""
        return MASK if self.mask else self.hide(text)[:MAX_SHOWN]

    def curl(self, body: Any, content_type: str = "application/json") -> str:
        """Return the command that sends *body* from a shell; without the user's headers."""
        text = MASK if self.mask else body if isinstance(body, str) else json.dumps(body)
        return f"curl -sS {shlex.quote(self.url + self.contract.route)} -H {shlex.quote(f'Content-Type: {content_type}')} -d {shlex.quote(text)}"
