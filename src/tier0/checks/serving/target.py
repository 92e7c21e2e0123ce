"""What a check asks: one service, by its contract, and what it must answer."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from typing import Any

import httpx

from tier0.core.contract import Contract
from tier0.core.errors import Tier0Error
from tier0.core.golden import GoldenRows, Mismatch
from tier0.core.verdict import CheckFailedError, NotJudgedError

MOST_SHOWN = 300
MASK = "…"


class UnansweredError(Tier0Error):
    """The service gave no answer at all: nothing can be judged."""


@dataclass(frozen=True)
class Target:
    """One service, as the checks see it.

    Attributes:
        url: of the service, without a slash at its end.
        contract: how it is asked.
        http: connections; carries the user's headers, which no report shows.
        rows: golden rows, if there are any.
        tag: the exact tag that must answer, if it is known.
        mask: show no values of rows in evidence and commands.
    """

    url: str
    contract: Contract
    http: httpx.AsyncClient
    rows: GoldenRows | None = None
    tag: str | None = None
    mask: bool = False

    @property
    def golden(self) -> GoldenRows:
        """The golden rows, with only the parts that the service gives."""
        if self.rows is None:
            raise NotJudgedError("there are no golden rows to compare with: give --model TAG with --store DIR, or --golden FILE")
        has_none = self.contract.probabilities is None
        return replace(self.rows, probabilities=None) if has_none and self.contract.predictions is not None else self.rows

    async def get(self, route: str, method: str = "GET") -> httpx.Response:
        """Ask a route without a body."""
        return await self._send(method, route, None, {})

    async def post(self, content: bytes, content_type: str = "application/json") -> httpx.Response:
        """Send a body to the prediction's route, whatever it is."""
        return await self._send("POST", self.contract.route, content, {"Content-Type": content_type})

    async def _send(self, method: str, route: str, content: bytes | None, headers: dict[str, str]) -> httpx.Response:
        try:
            return await self.http.request(method, f"{self.url}{route}", content=content, headers=headers)
        except httpx.HTTPError as problem:
            raise UnansweredError(f"{method} {self.url}{route} got no answer: {type(problem).__name__} {problem}") from problem

    def body(self, golden: GoldenRows) -> Any:
        """Return the body that asks for *golden*."""
        return self.contract.body(golden.columns, golden.rows)

    async def ask(self, golden: GoldenRows) -> dict[str, Any]:
        """Ask for *golden*, and return the answer's parts (see `Contract.read`).

        Raises:
            CheckFailedError: the answer is no 200, or no JSON.
        """
        return await self.ask_body(self.body(golden))

    async def ask_body(self, body: Any) -> dict[str, Any]:
        """Ask with a well-formed body."""
        response = await self.post(json.dumps(body).encode())
        evidence = {"status": response.status_code, "body": response.text[:MOST_SHOWN]}
        if response.status_code != httpx.codes.OK:
            message = f"a well-formed request was answered with {response.status_code}"
            causes = ["the service fails on rows that its model takes", "the contract is not this service's"]
            raise CheckFailedError(message, evidence=evidence, causes=causes, reproduce=self.curl(body))
        try:
            answer = response.json()
        except ValueError:
            message = "an answer with status 200 is no JSON"
            raise CheckFailedError(message, evidence=evidence, causes=["a proxy answers, not the service"], reproduce=self.curl(body)) from None
        return self.contract.read(answer)

    async def expect(self, golden: GoldenRows, what: str, causes: list[str], *, tolerance: float, body: Any = None) -> dict[str, Any]:
        """Ask for *golden* (with another *body* that must mean the same), and compare.

        Raises:
            CheckFailedError: a row differs; with the one row that proves it.
        """
        answer = await self.ask(golden) if body is None else await self.ask_body(body)
        mismatch = golden.compare({**answer, "classes": None}, tolerance=tolerance)
        if mismatch is not None:
            raise self.failed(what, mismatch, golden, causes)
        return answer

    def failed(self, what: str, mismatch: Mismatch, golden: GoldenRows, causes: list[str]) -> CheckFailedError:
        """Return the failure for one row that differs."""
        row = golden.take([mismatch.row])
        evidence = {
            "row": MASK if self.mask else dict(zip(row.columns, row.rows[0], strict=True)),
            "part": mismatch.part,
            "expected": mismatch.expected,
            "got": mismatch.got,
            "rows_that_differ": mismatch.count,
            "rows_asked": len(golden),
        }
        message = (
            f"{what}: {mismatch.part} of row {mismatch.row} should be {mismatch.expected!r}, and {mismatch.got!r} came; "
            f"{mismatch.count} of {len(golden)} rows differ"
        )
        return CheckFailedError(message, evidence=evidence, causes=causes, reproduce=self.curl(self.body(row)))

    def curl(self, body: Any, content_type: str = "application/json") -> str:
        """Return the command that sends *body* from a shell; without the user's headers."""
        text = MASK if self.mask else body if isinstance(body, str) else json.dumps(body)
        return f"curl -sS {shlex.quote(self.url + self.contract.route)} -H {shlex.quote(f'Content-Type: {content_type}')} -d {shlex.quote(text)}"
