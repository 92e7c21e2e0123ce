"""The two sides of a comparison: a service that is asked, or golden rows with a trained model's outputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import httpx

from tier0.checks.serving.harness.sender import WAITED, OversizedError, UnansweredError
from tier0.checks.serving.harness.target import NoPredictionError, OverloadedError, Target
from tier0.comparison.answers import Answer, lengths_in, read_answer, types_in
from tier0.comparison.batches import Batch
from tier0.contract.contract import Contract
from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows


class _Request(NamedTuple):
    """A request that was made of a batch."""

    contract: Contract
    sent: tuple[str, ...]
    body: Any
    content: bytes


class _Response(NamedTuple):
    """A response that was read."""

    contract: Contract
    golden: GoldenRows | None
    response: httpx.Response
    answer: Answer


class Side(Protocol):
    """One side of a comparison.

    Attributes:
        name: what the user called it.
        is_service: whether it is asked, and its answers can vary.
    """

    name: str
    is_service: bool

    @property
    def max_rows(self) -> int | None:
        """Maximum number of rows in one request; None for no limit."""

    async def ask(self, batch: Batch) -> Answer:
        """Return the answer to a batch; it never raises for what a service returns."""


@dataclass
class ServiceSide:
    """A service.

    Attributes:
        name: what the user called it.
        target: the service, with its contract.
        sent: columns that it is sent; empty for all.
        golden: golden rows, in whose terms its answers are read; None to read the responses as they are.
    """

    name: str
    target: Target
    sent: tuple[str, ...] = ()
    golden: GoldenRows | None = None
    is_service: bool = True

    @property
    def max_rows(self) -> int | None:
        """Maximum number of rows in one request; None for no limit."""
        return 1 if self.target.contract.one_row else self.target.contract.max_rows

    async def ask(self, batch: Batch) -> Answer:
        """Return the answer to a batch."""
        target = self.target
        body, content = self._request(batch)
        start = time.perf_counter()
        try:
            response = await target.post(content)
            seconds = time.perf_counter() - start - response.extensions.get(WAITED, 0.0)
            if (same := self._read_before(batch, response)) is not None:
                return replace(same, seconds=seconds)
            answer = target.answer_of(response, body)
        except NoPredictionError as problem:
            status = problem.evidence.get("status", 0)
            return Answer(
                seconds=time.perf_counter() - start,
                status=status if isinstance(status, int) else 0,
                problem=problem.message,
                is_network=isinstance(problem, OverloadedError),
            )
        except OversizedError as problem:
            return Answer(problem=str(problem))
        except UnansweredError as problem:
            return Answer(problem=str(problem), is_network=True)
        read = self._read(answer, batch, response.status_code, seconds)
        batch.memo[:] = [known for known in batch.memo if not isinstance(known, _Response)]
        batch.memo.append(_Response(target.contract, self.golden, response, read))
        return read

    def _request(self, batch: Batch) -> tuple[Any, bytes]:
        """Return the body of the request and its bytes, which both sides share if they have one contract."""
        contract = self.target.contract
        for known in batch.memo:
            if isinstance(known, _Request) and (known.contract, known.sent) == (contract, self.sent):
                return known.body, known.content
        body = batch.body(contract, self.sent)
        content = contract.write(body).encode()
        batch.memo.append(_Request(contract, self.sent, body, content))
        return body, content

    def _read_before(self, batch: Batch, response: httpx.Response) -> Answer | None:
        """Return the answer of a response to the same rows that had the same bytes; None without one."""
        for known in batch.memo:
            if (
                isinstance(known, _Response)
                and known.response.content == response.content
                and known.response.status_code == response.status_code
                and known.response.headers.get("content-type") == response.headers.get("content-type")
                and known.golden is self.golden
                and known.contract == self.target.contract
            ):
                return known.answer
        return None

    def _read(self, body: Any, batch: Batch, status: int, seconds: float) -> Answer:
        if self.golden is not None:
            in_terms = self._in_model_terms(
                body, self.golden.take(range(batch.start, batch.start + len(batch)))
            )
            problem = "" if in_terms else "the response has no predictions where the contract expects them"
            return Answer(in_terms, {}, {}, seconds, status, problem)
        is_one_row = batch.request is None and self.target.contract.one_row
        fields, about = read_answer(body, len(batch), one_row=is_one_row)
        if not fields:  # the contract may declare places that the structure does not show
            fields = _per_row(self.target.contract.read(body), len(batch))
        lengths = {path: length for path, length in lengths_in(body).items() if length != len(batch)}
        return Answer(fields, about, types_in(body), seconds, status, lengths=lengths)

    def _in_model_terms(self, body: Any, rows: GoldenRows) -> dict[str, list[Any]]:
        parts = self.target.parts_of([body], rows)
        return _per_row({part: parts.get(part) for part in self.target.parts}, len(rows))


def _per_row(parts: Mapping[str, Any], count: int) -> dict[str, list[Any]]:
    """Return the parts of a response that have one value for each row."""
    return {
        part: parts[part] for part in PARTS if isinstance(parts.get(part), list) and len(parts[part]) == count
    }


@dataclass
class GoldenSide:
    """Golden rows as a side: the outputs of the trained model.

    Attributes:
        name: what the user called them.
        golden: golden rows.
    """

    name: str
    golden: GoldenRows
    is_service: bool = False
    max_rows: int | None = field(default=None)

    async def ask(self, batch: Batch) -> Answer:
        """Return the outputs for a batch."""
        rows = self.golden.take(range(batch.start, batch.start + len(batch)))
        outputs: Mapping[str, Any] = {part: getattr(rows, part) for part in PARTS}
        return Answer({part: values for part, values in outputs.items() if values}, status=200)
