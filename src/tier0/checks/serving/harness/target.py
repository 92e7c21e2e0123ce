"""The service under test: requests by its contract, and comparison with the trained model's outputs."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

from tier0.checks.serving.harness.sender import (
    ATTEMPTS,
    HOW_TO_AUTHORIZE,
    OVERLOADED,
    UNAUTHORIZED,
    UNREACHABLE,
    WAITED,
    OversizedError,
    Sender,
    UnansweredError,
    decode_json,
)
from tier0.client.transport import MIB
from tier0.contract.adapter import AdapterError
from tier0.contract.assumptions import Assumption
from tier0.contract.contract import CSV_STYLES, SCHEMA, Contract, as_toml
from tier0.contract.delimited import CONTENT_TYPE, read_rows
from tier0.contract.meanings import Undeclared, is_rounded
from tier0.contract.model_terms import as_served, in_model_terms, merged
from tier0.contract.response import is_refusal
from tier0.contract.service_schema import listed_names
from tier0.contract.tensors import without_tensors
from tier0.core.display import terminal
from tier0.core.errors import first_line
from tier0.core.outputs import MISSING_PART, OTHER_COUNT, PARTS
from tier0.core.verdict import HOW_TO_GET_GOLDEN_ROWS, PARITY, CheckFailedError, NotJudgedError
from tier0.golden.differences.diagnosis import Diagnosis, diagnose
from tier0.golden.forms import IN_WORDS
from tier0.golden.rows import EdgeCaseKind, GoldenRows, Mismatch, Tolerance

MAX_SHOWN = 300
AT_ONCE_BYTES = 128 * MIB
"""Size of the responses to all concurrent requests."""
MAX_QUOTED = 1_000_000
"""Bytes of a response that are decoded for display."""
MAX_SINGLE_ROWS = 30
ONE_FOR_EACH_ROW = "return one prediction for each row, in the order of the request"
MASK = "…"
REFUSED = range(400, 500)
SLOWEST = "slowest"
"""Key of the memo of a target for the seconds of the slowest request that got a prediction."""
RIGHT = "right"
"""Key of the memo of a target that is there once the golden rows together got the right outputs."""
FIELDS = "fields"
"""Key of the memo of a target for the names of the fields of the last response with a prediction."""
ANY_ROWS = "--golden FILE"
"""Option of a command that reads golden rows, whose source is not known."""
NO_GOLDEN = f"no golden rows: {HOW_TO_GET_GOLDEN_ROWS}"
NO_SUCH_ROWS = (
    "the golden rows have no row of this kind, which is normal for a model without missing values, "
    "categories or texts, and for a file that was written by hand"
)
REFUSALS = ["the service cannot handle rows that its model accepts", "the contract describes another service"]
OVERLOADS = [
    "the service, or a gateway before it, is overloaded or limits the rate of requests",
    "the service is starting, or its workers end and are started again",
]
NO_ANSWER = [
    "the request crashed the worker",
    "the handler never returns",
    "the server's output is not read, and its pipe is full",
]


_NOT_IN_VARIABLES = re.compile(r"[^A-Za-z0-9]")


class NoPredictionError(CheckFailedError):
    """A well-formed request got no prediction."""


class RefusedError(NoPredictionError):
    """A well-formed request got a 4xx response, or status 200 with an error in the body."""


class OverloadedError(NoPredictionError):
    """The service, or a gateway in front of it, is rate limiting (429 or 503)."""


Answer = TypeVar("Answer")


def decode(response: httpx.Response) -> Any:
    """Return the body of a response: JSON, CSV, or a text/plain text that is not an object or a list.

    Tensors in it are nested lists (see `tier0.contract.tensors`).

    Raises:
        ValueError: the body is not JSON.
    """
    is_text = response.headers.get("content-type", "").startswith("text/plain")
    if is_text and not response.text.lstrip().startswith(("{", "[")):
        return response.text
    if response.headers.get("content-type", "").startswith(CONTENT_TYPE):
        return read_rows(response.text)
    return without_tensors(decode_json(response))


def answered_of(outcomes: Sequence[Answer | BaseException]) -> list[Answer]:
    """Return the results of concurrent requests, without those that were refused with 429 or 503.

    Args:
        outcomes: result or exception of each request.

    Raises:
        BaseException: first exception other than `OverloadedError`.
        NotJudgedError: all requests were refused with 429 or 503.
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
    """Return True if a response has a success status, but reports an error in its body."""
    try:
        return response.is_success and is_refusal(decode(response))
    except ValueError:
        return False


class Process(Protocol):
    """A server that this run started."""

    @property
    def pids(self) -> list[int]:
        """Ids of its running processes."""

    @property
    def model_folder(self) -> Path | None:
        """The folder with the files of the models that it serves; None if that is not known."""

    @property
    def is_supervised(self) -> bool:
        """Whether one of its processes starts new workers in the place of those that end."""

    def kill_worker(self) -> None:
        """Kill a worker process, which handles requests."""

    def kill_supervisor(self) -> None:
        """Kill the supervisor process, which started the workers."""

    def left(self) -> list[str]:
        """Return descriptions of its running processes and its open port."""

    def halt(self) -> float:
        """Stop the server, and return the seconds that took."""

    def restart(self) -> None:
        """Start the server again on the same port, and wait until it is ready."""


@dataclass(frozen=True)
class Target:
    """The service under test.

    Attributes:
        contract: form of its requests and responses.
        sender: sends the requests.
        rows: golden rows; None without any.
        tag: exact tag of the expected model; None if it is not known.
        mask: whether values of rows are hidden in evidence and commands.
        same_arithmetic: whether the server was started by this run with the same arithmetic as the model in
            memory, so that the same batch must have bit-identical outputs.
        process: server that this run started; None for any other service.
        make_client: creates the application's client for a URL; None without one.
        tolerance: relative tolerance that the user allows for the current check.
        undeclared: meanings that have to be declared before the response can be compared.
        assumed: keys of the contract that are not declared, but that the golden rows confirm.
        memo: responses that several checks use, so that they are requested once.
        header_names: names of the headers that the user passed, whose values are not shown.
        hide: removes secrets from texts of the service, before they are shortened.
        on_prediction: called whenever a well-formed request got a prediction.
        rows_option: option of a command that reads the same golden rows.
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
    assumed: tuple[Assumption, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict)
    header_names: tuple[str, ...] = ()
    hide: Callable[[str], str] = lambda text: text
    on_prediction: Callable[[], None] = lambda: None
    rows_option: str = ANY_ROWS

    def under_load(self) -> Target:
        """Return a target for concurrent requests: one that gets 429 or 503 is not sent again."""
        return replace(self, sender=replace(self.sender, retries_refusals=False))

    def from_another_caller(self, headers: Mapping[str, str]) -> Target:
        """Return a target whose requests have other *headers*, each on a new connection.

        A connection that is kept open stays with one worker or replica.
        """
        http = self.sender.fresh or self.sender.http
        return replace(self, sender=replace(self.sender, http=http, headers=headers))

    def at_once(self, callers: int) -> Target:
        """Return a target for concurrent requests of one row, whose responses are in memory together.

        Raises:
            NotJudgedError: the user allows fewer requests at once.
        """
        self.require_at_once(callers)
        return replace(self, sender=replace(self.sender, max_bytes=AT_ONCE_BYTES // callers))

    def require_at_once(self, requests: int) -> None:
        """Check that the user allows so many requests at once.

        Raises:
            NotJudgedError: the rate does not allow them.
        """
        if self.sender.pace is not None:
            self.sender.pace.require_at_once(requests)

    def require_no_rate(self, what: str) -> None:
        """Check that the rate of requests is not limited, on which the result of a check would depend.

        Args:
            what: predicate of a sentence with the check as its subject.

        Raises:
            NotJudgedError: it is limited.
        """
        if self.sender.pace is not None:
            raise NotJudgedError(f"this check {what}, which --rate limits", code="rate")

    @property
    def url(self) -> str:
        """The URL of the service, without a trailing slash."""
        return self.sender.url

    @property
    def model_rows(self) -> GoldenRows:
        """The example rows, sent together, with all outputs of the trained model.

        Raises:
            NotJudgedError: there are no golden rows.
        """
        if self.rows is None:
            raise NotJudgedError(NO_GOLDEN, code="no_golden")
        plain = self.rows.examples
        return plain.take(range(min(len(plain), MAX_SINGLE_ROWS))) if self.contract.one_row else plain

    @property
    def golden(self) -> GoldenRows:
        """The rows of `model_rows`, with outputs in the form that the service returns.

        Raises:
            NotJudgedError: there are no golden rows.
        """
        return as_served(self.model_rows, self.contract)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the response to compare: declared, and also available from the model in memory."""
        unknown = {undeclared.part for undeclared in self.undeclared}
        parts = tuple(part for part in self.contract.parts if part not in unknown)
        if self.rows is None or self.same_arithmetic:
            return parts
        return tuple(part for part in parts if getattr(self.rows, part) is not None) or parts

    def require_table(self) -> None:
        """Raise unless the rows are values of columns.

        Raises:
            NotJudgedError: they are not.
        """
        if self.rows is not None and self.rows.form != "table":
            raise NotJudgedError(f"the rows are {IN_WORDS[self.rows.form]}, not a table", code="not_offered")

    def require_json(self) -> None:
        """Raise unless requests are JSON.

        Raises:
            NotJudgedError: they are not.
        """
        if self.contract.style in CSV_STYLES:
            raise NotJudgedError("requests to this service are CSV, not JSON", code="not_offered")

    def golden_with(self, kind: EdgeCaseKind, column: str | None = None) -> GoldenRows:
        """Return the edge cases of one kind, and for one column if *column* is given.

        Raises:
            NotJudgedError: there are none.
        """
        if self.rows is None:
            return self.golden
        chosen = as_served(self.rows, self.contract).with_origin(kind, column)
        if not chosen:
            raise NotJudgedError(NO_SUCH_ROWS)
        return chosen

    def tolerances(self, *, same_batch: bool = False) -> dict[str, Tolerance]:
        """Return the tolerance for the numbers of each part: the default, or the user's where that is wider.

        Args:
            same_batch: whether the trained model got the same rows in one batch.
        """
        rows = self.golden if self.rows is None else self.rows
        is_same_batch = same_batch and not self.contract.one_row
        allowed = rows.tolerances(
            same_arithmetic=self.same_arithmetic, same_batch=is_same_batch, relative=self.tolerance
        )
        return {part: allowed[part].widened(absolute=self.contract.tolerance_of(part)) for part in PARTS}

    async def expect_edge_case(self, golden: GoldenRows, what: str, causes: list[str]) -> None:
        """Compare rows that a service may refuse; see `expect`.

        Raises:
            NotJudgedError: the service refuses them.
        """
        try:
            await self.expect(golden, what, causes)
        except RefusedError as refusal:
            raise NotJudgedError(
                f"the service refuses {what} (status {refusal.evidence['status']}), which its model accepts"
            ) from refusal

    @property
    def own_process(self) -> Process:
        """The server that this run started.

        Raises:
            NotJudgedError: this run did not start the service.
        """
        if self.process is None:
            raise NotJudgedError(
                "checked only if the run started the service (pytest --tier0-service or --tier0-command)",
                code="no_process",
            )
        return self.process

    async def get(self, route: str, method: str = "GET") -> httpx.Response:
        """Send a request without a body."""
        return await self.sender.send(method, route)

    async def post(
        self, content: bytes, content_type: str = "", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send any body to the prediction route, by default with the contract's content type.

        Raises:
            NotJudgedError: the prediction route is not known.
            UnansweredError: there was no response.
        """
        if self.contract.why_not_asked:
            raise NotJudgedError(self.contract.why_not_asked, code="undeclared")
        contract = self.contract
        return await self.sender.send(
            contract.method,
            contract.route,
            content,
            {**contract.headers, **(headers or {}), "Content-Type": content_type or contract.content_type},
        )

    def request(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
        """Return a request for any rows, right or wrong, as it is sent.

        Raises:
            NotJudgedError: the contract's adapter cannot write them.
        """
        try:
            return self.contract.request(columns, rows)
        except AdapterError as problem:
            raise NotJudgedError(str(problem), code="not_offered") from problem

    def body(self, golden: GoldenRows) -> Any:
        """Return the request body for *golden*."""
        return self.contract.body(golden.columns, golden.rows)

    async def ask(self, golden: GoldenRows) -> dict[str, Any]:
        """Request predictions for *golden*, and return the parts of the response in the model's terms.

        Raises:
            NoPredictionError: a well-formed request got no prediction.
            UnansweredError: the network gave no response.
        """
        return self.parts_of(await self.ask_raw(golden), golden)

    async def ask_raw(self, golden: GoldenRows) -> list[Any]:
        """Request predictions for *golden* in as many requests as needed, and return the response bodies."""
        most = 1 if self.contract.one_row else self.contract.max_rows or max(1, len(golden))
        batches = [golden.rows[start : start + most] for start in range(0, len(golden), most)]
        return [await self.ask_body(self.contract.body(golden.columns, rows)) for rows in batches]

    def parts_of(self, answers: Sequence[Any], golden: GoldenRows) -> dict[str, Any]:
        """Return the parts of the response bodies *answers* for *golden*, as `ask` does."""
        return in_model_terms(
            merged([self.contract.read(answer) for answer in answers]), golden, self.contract
        )

    async def golden_answer(self) -> dict[str, Any]:
        """Return the outputs for the golden rows, which are requested once for all checks.

        Raises:
            CheckFailedError: see `ask`; each check gets the same exception.
        """
        if "golden" not in self.memo:
            try:
                self.memo["golden"] = await self.ask_raw(self.golden)
            except (CheckFailedError, UnansweredError) as problem:
                self.memo["golden"] = problem
        outcome = self.memo["golden"]
        if isinstance(outcome, Exception):
            raise outcome
        return self.parts_of(outcome, self.golden)

    async def ask_body(self, body: Any, content: bytes | None = None) -> Any:
        """Send a well-formed request body, and return the response body.

        Args:
            body: request body.
            content: the same body as JSON that is written in another way.

        Raises:
            NoPredictionError: the response contains no prediction.
            UnansweredError: there was no response.
        """
        shown = body if content is None else content.decode()
        start = time.perf_counter()
        try:
            response = await self.post(self.contract.write(body).encode() if content is None else content)
        except UnansweredError as problem:
            raise self.unanswered(problem, shown) from problem
        except OversizedError as problem:
            raise NoPredictionError(
                f"a well-formed request got a response that is too large: {problem}",
                causes=["the handler repeats its output", "the service responds with a stream"],
                reproduce=self.curl(shown),
            ) from problem
        answer = self.answer_of(response, shown)
        self.memo[FIELDS] = _fields_of(answer)
        seconds = time.perf_counter() - start - response.extensions.get(WAITED, 0.0)
        self.memo[SLOWEST] = max(self.memo.get(SLOWEST, 0.0), seconds)
        return answer

    def unanswered(self, problem: UnansweredError, body: Any) -> Exception:
        """Return the exception for a well-formed request without a response.

        It is a failure of the service only if this run started it; otherwise, the network may be the reason.
        """
        if self.process is None:
            return problem
        return NoPredictionError(
            f"a well-formed request failed: {problem}", causes=NO_ANSWER, reproduce=self.curl(body)
        )

    def answer_of(self, response: httpx.Response, body: Any) -> Any:
        """Return the body of a response to a well-formed request; see `ask_body`."""
        if not self.contract.accepts(response.status_code):
            raise self._no_prediction(response, body)
        try:
            answer = decode(response)
        except ValueError as problem:
            message = (
                f"a well-formed request got status {response.status_code} and a body that is not JSON "
                f"({first_line(problem)})"
            )
            causes = [
                "a proxy responded, not the service",
                "the route is that of a page: declare the route for predictions in the contract",
            ]
            evidence = self._evidence_of(response)
            evidence["content_type"] = response.headers.get("content-type", "").partition(";")[0]
            raise NoPredictionError(
                message, evidence=evidence, causes=causes, reproduce=self.curl(body, show_status=True)
            ) from None
        if is_refusal(
            answer,
            paths=(self.contract.predictions, self.contract.probabilities),
            labels=self.rows.classes if self.rows else (),
        ):
            raise RefusedError(
                f"a well-formed request was refused with status {response.status_code} and an error in the "
                "body: "
                f"{self.quote(response)}",
                evidence=self._evidence_of(response),
                causes=REFUSALS,
                reproduce=self.curl(body),
            )
        self.on_prediction()
        try:
            return self.contract.adapted(answer)
        except AdapterError as problem:
            raise NotJudgedError(str(problem), code="undeclared") from problem

    def _evidence_of(self, response: httpx.Response) -> dict[str, Any]:
        evidence = {"status": response.status_code, "body": self.quote(response)}
        if response.has_redirect_location:
            evidence["location"] = self.excerpt(response.headers["location"])
        return evidence

    def _no_prediction(self, response: httpx.Response, body: Any) -> Exception:
        status = response.status_code
        attempts = response.extensions.get(ATTEMPTS, 1)
        is_retried = self.process is None and attempts > 1
        sent = f", sent {attempts} times," if is_retried else ""
        message = f"a well-formed request{sent} got status {status}: {self.quote(response)}"
        if status in UNREACHABLE and self.process is None:
            return UnansweredError(message)
        kind = NoPredictionError
        if status in OVERLOADED:
            kind = OverloadedError
        elif status in REFUSED:
            kind = RefusedError
        causes = [HOW_TO_AUTHORIZE] if status in UNAUTHORIZED else REFUSALS
        if status in OVERLOADED:
            causes = OVERLOADS
        again = self.curl(body, show_status=True)
        evidence = self._evidence_of(response) | ({"attempts": attempts} if is_retried else {})
        return kind(message, evidence=evidence, causes=causes, reproduce=again)

    async def expect(
        self,
        golden: GoldenRows,
        what: str,
        causes: list[str],
        *,
        same_batch: bool = False,
        body_of: Callable[[GoldenRows], Any] | None = None,
        text_of: Callable[[Any], str] | None = None,
    ) -> dict[str, Any]:
        """Request predictions for *golden*, and compare them with the trained model's outputs.

        Args:
            golden: rows with expected outputs.
            what: description of the rows, for the message of a failure.
            causes: likely causes of a difference.
            same_batch: whether the trained model got the same rows in one batch.
            body_of: returns another request body for rows, with the same meaning as the usual one.
            text_of: writes a request body as JSON in another way.

        Returns:
            The parts of the response, in the trained model's terms.

        Raises:
            CheckFailedError: a row differs; the evidence has the first such row.
        """
        is_usual = body_of is None and text_of is None

        def body(rows: GoldenRows) -> Any:
            return self.body(rows) if body_of is None else body_of(rows)

        if is_usual:
            answer = await self.ask(golden)
        else:
            content = None if text_of is None else text_of(body(golden)).encode()
            answer = self.parts_of([await self.ask_body(body(golden), content)], golden)
        try:
            self.require_match(
                answer, golden, what, causes, same_batch=same_batch, is_cause_known=not is_usual
            )
        except CheckFailedError as failure:
            if not is_usual:  # the usual body of the row would show nothing
                again = body(golden.take([failure.evidence["row_number"]]))
                failure.reproduce = self.curl(again if text_of is None else text_of(again))
            raise
        self.require_declared()
        return answer

    def require_match(
        self,
        answer: dict[str, Any],
        golden: GoldenRows,
        what: str,
        causes: list[str],
        *,
        same_batch: bool = False,
        parts: tuple[str, ...] = (),
        numbers: Sequence[int] = (),
        is_cause_known: bool = False,
    ) -> None:
        """Compare *answer* with the trained model's outputs for *golden*; see also `expect`.

        Args:
            answer: parts of the response, in the trained model's terms.
            golden: rows with expected outputs.
            what: description of the rows, for the message of a failure.
            causes: likely causes of a difference without a pattern.
            same_batch: whether the trained model got the same rows in one batch.
            parts: parts to compare; empty for all that the service returns.
            numbers: numbers of the golden rows, each of which was sent in a request of its own.
            is_cause_known: whether *causes* follow from the form of the request, as no pattern can tell.

        Raises:
            CheckFailedError: a row differs.
        """
        rounded = self.tolerances(same_batch=same_batch)
        not_rounded = replace(self, contract=replace(self.contract, decimals=None))
        unrounded = not_rounded.tolerances(same_batch=same_batch)
        allowed = {
            part: rounded[part] if is_rounded(answer.get(part), part, self.contract) else unrounded[part]
            for part in PARTS
        }
        outputs, compared = {**answer, "classes": None}, parts or self.parts
        mismatch = golden.compare(outputs, tolerance=allowed, parts=compared)
        if mismatch is not None:
            was_right = self._was_right()
            diagnosis = diagnose(
                golden,
                outputs,
                tolerance=allowed,
                parts=compared,
                others=None if self.rows is None else as_served(self.rows, self.contract),
                are_alone=bool(numbers) or len(golden) == 1,
                is_partial=was_right,
                show=self.excerpt,
            )
            if numbers and was_right and diagnosis.evidence.get("pattern") == "constant":
                is_cause_known = True  # statistics of a single row are the same for each row
            number = numbers[mismatch.row] if numbers else mismatch.row
            known = causes[0] if is_cause_known else ""
            causes = causes if is_cause_known else diagnosis.causes(causes)
            failure = self.failed(what, mismatch, diagnosis, golden, causes, number, known)
            path = getattr(self.contract, mismatch.part, None)
            if path and not parts and answer.get(mismatch.part) is None:
                self._name_missing(mismatch.part, path, what, failure)
            elif mismatch.counts is not None and not parts and not is_cause_known:
                self._name_count(mismatch.counts, golden, failure, are_alone=bool(numbers))
            raise failure

    def _was_right(self) -> bool:
        """Return whether the golden rows together got the trained model's outputs."""
        if RIGHT in self.memo:
            return True
        answers, golden = self.memo.get("golden"), self.golden
        if not isinstance(answers, list) or self.undeclared:
            return False
        outputs = {**self.parts_of(answers, golden), "classes": None}
        return golden.compare(outputs, tolerance=self.tolerances(same_batch=True), parts=self.parts) is None

    def _name_missing(self, part: str, path: str, what: str, failure: CheckFailedError) -> None:
        """Say in *failure* where the response should have a part: the contract may be what is wrong."""
        fields = self.memo.get(FIELDS, ())
        listed = "" if self.mask else self.excerpt(listed_names(fields))
        form = f"the fields {listed}" if listed else "no such field"
        lacks = "null in the field" if path.removeprefix("*.") in fields else "no field"
        failure.message = (
            f"{what}: the response has {lacks} {path!r}, which the contract names as {part}"
            f"{f'; its fields: {listed}' if listed else ''}"
        )
        failure.causes[:] = [
            (
                f"the response has no {path!r}, where the contract has the {part}: return {path!r}, or "
                f"correct {part} in the contract"
            )
        ]
        rows = failure.evidence["rows_that_differ"]
        failure.evidence |= {
            "pattern": MISSING_PART,
            "rows_explained": rows,
            "expected": f"a field {path!r} with the {part}",
            "got": form,
        }

    def _name_count(
        self, counts: tuple[int, int], golden: GoldenRows, failure: CheckFailedError, *, are_alone: bool
    ) -> None:
        """Say in *failure* why a response may have another number of values than the request has rows."""
        expected, got = counts
        dropped = "rows are dropped: those with missing values, those of a filter, or duplicates"
        several = "several values are returned for a row"
        causes = [dropped if got < expected else several, "the response is for other rows than the request"]
        if got == 1 < expected:
            causes.insert(0, "only one row of the request is predicted")
        failure.causes[:] = [f"{cause}: {ONE_FOR_EACH_ROW}" for cause in causes]
        rows = failure.evidence["rows_that_differ"]
        failure.evidence |= {"pattern": OTHER_COUNT, "rows_explained": rows}
        most = 1 if self.contract.one_row or are_alone else self.contract.max_rows or len(golden)
        if len(golden) <= most:
            failure.reproduce = self.curl(self.body(golden))  # a row alone may get its prediction
        else:
            failure.evidence["expected"] = "one value for each row"
            failure.evidence["got"] = f"{got} values for {expected} rows, in several requests"

    def require_declared(self) -> None:
        """Raise `NotJudgedError` if the meaning of a part of the response must be declared first."""
        if self.undeclared:
            raise NotJudgedError(
                f"the meaning of the response must be declared first: see {PARITY}", code="undeclared"
            )

    @property
    def what_is_undeclared(self) -> str:
        """A description of what has to be declared, with the lines for the contract."""
        what = "; ".join(f"the response {undeclared.what}" for undeclared in self.undeclared)
        declare: dict[str, Any] = {}
        for undeclared in self.undeclared:
            declare |= undeclared.declare
        if self.mask:
            return (
                f"the meaning of the response must be declared ({', '.join(declare) or 'values'}): "
                f"`{self.draft_command}` drafts a contract"
            )
        if not declare:
            return (
                f"{what}. Its meaning is unknown, so it is not compared. `{self.draft_command}` drafts a "
                "contract of what is known: declare where the outputs are, or an adapter that reads them"
            )
        return (
            f"{what}. If that is intended, declare it in a file, which `{self.draft_command}` drafts, and "
            "pass --contract FILE; then it is checked:\n"
            f"{as_toml({'schema': SCHEMA, **declare})}"
        )

    @property
    def draft_command(self) -> str:
        """The command that drafts the contract of the service."""
        return f"tier0 contract {shlex.quote(self.url)} {self.rows_option} --output contract.toml"

    @property
    def matches(self) -> bool:
        """Whether the golden rows got the trained model's outputs, which are not all the same."""
        answers, golden = self.memo.get("golden"), self.golden
        if not isinstance(answers, list) or self.undeclared or len(set(map(str, golden.predictions))) == 1:
            return False
        try:
            self.require_match(self.parts_of(answers, golden), golden, "", [], same_batch=True)
        except CheckFailedError:
            return False
        return True

    @property
    def what_is_assumed(self) -> str:
        """A line with what is used without a declaration, and the command that declares it; or nothing."""
        if not self.assumed:
            return ""
        declare = {name: value for one in self.assumed for name, value in one.declare.items()}
        lines = as_toml(declare).replace("\n\n", "\n").strip().splitlines()
        keys = ", ".join(declare) if self.mask else "; ".join(lines)
        reasons = "" if self.mask else f" ({'; '.join(dict.fromkeys(one.why for one in self.assumed))})"
        return (
            f"confirmed by the golden rows, but not declared (declare it with `{self.draft_command}`): "
            f"{keys}{reasons}"
        )

    def failed(
        self,
        what: str,
        mismatch: Mismatch,
        diagnosis: Diagnosis,
        golden: GoldenRows,
        causes: list[str],
        number: int,
        known: str,
    ) -> CheckFailedError:
        """Return the failure for rows that differ, with the pattern in which they differ."""
        row = golden.take([mismatch.row])
        evidence = {
            "row": MASK if self.mask else dict(zip(row.columns, row.rows[0], strict=True)),
            "row_number": number,
            "origin": str(row.origins[0]) if row.origins else "example",
            "part": mismatch.part,
            "expected": MASK if self.mask else mismatch.expected,
            "got": MASK if self.mask else mismatch.got,
            "rows_that_differ": diagnosis.differing or mismatch.count,
            "rows_asked": len(golden),
            **diagnosis.evidence,
        }
        mismatch = replace(mismatch, row=number)
        if self.mask:
            mismatch, diagnosis = replace(mismatch, place=""), replace(diagnosis, largest="")
        words = diagnosis.in_words(mismatch.describe_row(self.excerpt), known)
        if what.endswith(mismatch.part):
            words = words.removeprefix(f"{mismatch.part}: ")
        return CheckFailedError(
            f"{what}: {words}",
            evidence=evidence,
            causes=causes,
            reproduce=self.curl(self.body(row)),
        )

    def excerpt(self, text: str) -> str:
        """Return a part of a text of the service for display; a mask if values of rows are hidden."""
        return MASK if self.mask else terminal(text, self.hide, MAX_SHOWN)

    def quote(self, response: httpx.Response) -> str:
        """Return a part of a response's body for display; see `excerpt`."""
        start = response.content[:MAX_QUOTED]
        return self.excerpt(start.decode(response.encoding or "utf-8", errors="replace"))

    def curl(self, body: Any, content_type: str = "", *, show_status: bool = False) -> str:
        """Return the shell command that sends *body*, with variables for the values of the user's headers.

        Args:
            body: request body.
            content_type: content type; by default the contract's.
            show_status: whether the command prints the status and the headers of the response, too.
        """
        text = MASK if self.mask else body if isinstance(body, str) else json.dumps(body)
        options = " -i" if show_status else ""
        return f"{self._curl_to_route(content_type)}{options} -d {shlex.quote(text)}"

    def curl_bytes(self, body: bytes, content_type: str) -> str:
        """Return the shell command that sends any bytes, and prints the status of the response, too."""
        octal = "".join(f"\\{byte:03o}" for byte in body)
        return f"printf '{octal}' | {self._curl_to_route(content_type)} -i --data-binary @-"

    def curl_to(self, route: str, method: str = "GET") -> str:
        """Return the shell command that requests another route, and prints the status, too."""
        return f"{self._curl(self.url + route, 'GET', method)} -i"

    def _curl_to_route(self, content_type: str) -> str:
        header = shlex.quote(f"Content-Type: {content_type or self.contract.content_type}")
        url = self.url + self.contract.route
        return self._curl(url, "POST", self.contract.method, f" -H {header}")

    def _curl(self, url: str, default: str, method: str, headers: str = "") -> str:
        # The certificate of a service that this run started is for another place.
        quiet = "-sSk" if self.process is not None and url.startswith("https:") else "-sS"
        named = "" if method == default else f" -X {method}"
        variables = "".join(f' -H "{name}: ${variable_for(name)}"' for name in self.header_names)
        return f"curl {quiet}{named} {shlex.quote(url)}{headers}{variables}"


def _fields_of(answer: Any) -> tuple[str, ...]:
    """Return the names of the fields of a response, or of the first of its objects; empty without any."""
    first = answer[0] if isinstance(answer, list) and answer else answer
    return tuple(map(str, first)) if isinstance(first, Mapping) else ()


def variable_for(header: str) -> str:
    """Return the name of the shell variable that stands for the value of a header in a command."""
    return _NOT_IN_VARIABLES.sub("_", header).upper()
