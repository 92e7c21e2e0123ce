"""The client under test: how it is created and called, and the server that observes its requests."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tier0.checks.client.harness.call import (
    Call,
    FallbackError,
    GivenUpError,
    StillWaitingError,
    is_fallback,
    no_exit,
    outcome_of,
)
from tier0.checks.client.harness.creation import created
from tier0.checks.client.harness.protocols import WIRES, ProtocolServer, joined_tensors, rows_in
from tier0.checks.client.harness.threads import Threads
from tier0.checks.client.harness.timeline import spans, timeline
from tier0.core.declaration import MAX_RESET, Declaration
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.faults import Arrival, FaultLog, FaultServer, Reply
from tier0.faults.server import Script

PATIENCE = 5.0
"""Seconds after the declared timeout until a call counts as one that never ends."""
MARGIN = 0.05
ENDS_WITHIN = 1.0
"""Seconds to wait for a cancelled call."""
MAX_AT_ONCE = 3000
MAX_HANG = 15.0
"""Seconds for a call to a service that does not respond, for which a part of a check waits."""
CREDENTIALS = ("authorization", "cookie", "x-api-key")
"""Headers with credentials, in lower case."""
NO_RETRIES = "the client declares a single attempt per call"
NOT_REPEATED = "the client declares that it never repeats a request that the service may have received"
NAMES = {
    "health": ("health", "health_check"),
    "close": ("close", "aclose"),
    "predict_batch": ("predict_batch",),
    "predict": ("predict",),
}
MISTAKES_IN_CODE = (
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
    ZeroDivisionError,
    NameError,
    UnboundLocalError,
    RecursionError,
)


class Caller:
    """A client under test, with the server that it calls.

    Args:
        made: client or function that the factory returned.
        server: server that the client calls.
        declaration: declared behaviour of the client.
        blocks: whether its coroutines block the event loop; they then run in threads, like synchronous
            functions.
    """

    def __init__(
        self, made: Any, server: FaultServer, declaration: Declaration, *, blocks: bool = False
    ) -> None:
        self.made = made
        self.server = server
        self.declared = declaration
        self.blocks = blocks
        self.is_asynchronous = False
        self.closed_in_time = True
        self.calls: list[Call] = []
        self._threads = Threads()

    @property
    def log(self) -> FaultLog:
        """Log of the server."""
        return self.server.log

    @property
    def patience(self) -> float:
        """Seconds until a call counts as one that never ends."""
        return (self.declared.expected_call or PATIENCE) + PATIENCE

    async def predict(self, *, give_up: float | None = None, data: Any = None, **arguments: Any) -> Call:
        """Call ``predict``, cancel it after *give_up* seconds if given, and return the call."""
        data = self.declared.data if data is None else data
        return await self._call("predict", data, give_up=give_up, **arguments)

    async def predict_batch(
        self, *, give_up: float | None = None, data: Any = None, rows: Any = None
    ) -> Call:
        """Call ``predict_batch`` with *rows*, or those in *data* twice, and return the call.

        It is cancelled after *give_up* seconds, if given.
        """
        if rows is None:
            rows = batch_of(self.declared.data if data is None else data, self.declared.protocol)
        return await self._call("predict_batch", rows, give_up=give_up)

    async def predict_by(self, method: str, *, give_up: float | None = None, data: Any = None) -> Call:
        """Call ``predict`` or ``predict_batch``, whichever *method* names, and return the call."""
        if method == "predict_batch":
            return await self.predict_batch(give_up=give_up, data=data)
        return await self.predict(give_up=give_up, data=data)

    async def call_by(self, method: str) -> Call:
        """Call the *method* ``predict``, ``predict_batch`` or ``health``, and return the call."""
        return await (self.health() if method == "health" else self.predict_by(method))

    async def health(self) -> Call:
        """Call ``health`` and return the call."""
        return await self._call("health")

    async def close(self, within: float = PATIENCE) -> None:
        """Close the client, if it has such a method, and end its threads; wait *within* seconds for it."""
        if method_of(self.made, "close") is not None:
            closing = asyncio.ensure_future(self.run("close"))
            await asyncio.wait({closing}, timeout=within)
            self.closed_in_time = closing.done()
            closing.cancel()
        self._threads.close()

    async def closing(self) -> Call:
        """Call ``close`` and return the call."""
        return await self._call("close", give_up=PATIENCE)

    async def run(self, name: str, *positional: Any, **arguments: Any) -> Any:
        """Call a method, in a thread if it is synchronous, and return its result.

        Raises:
            NotJudgedError: the client has no such method.
        """
        method = method_of(self.made, name)
        if method is None:
            raise NotJudgedError(f"the client has no {name}")
        with no_exit():
            if inspect.iscoroutinefunction(method) and not self.blocks:
                result = method(*positional, **arguments)
            else:
                result = await self._threads.run(
                    lambda: _finished(method(*positional, **arguments), is_blocking=self.blocks)
                )
            self.is_asynchronous = self.is_asynchronous or inspect.isawaitable(result)
            return await result if inspect.isawaitable(result) else result

    async def _call(
        self, name: str, *positional: Any, give_up: float | None = None, **arguments: Any
    ) -> Call:
        """Call a method, and cancel it after *give_up* seconds, or after the patience of the check.

        Raises:
            NotJudgedError: the call never ends, and an earlier one did not end either.
        """
        before = len(self.log.arrivals)
        call = Call(time.monotonic())
        self.calls.append(call)
        running = asyncio.ensure_future(self.run(name, *positional, **arguments))
        try:
            await asyncio.wait({running}, timeout=self.patience if give_up is None else give_up)
            call.answer, call.error = outcome_of(
                running, StillWaitingError if give_up is None else GivenUpError, call.started
            )
            if call.error is None and is_fallback(call.answer, self.declared.fallback):
                call.error = FallbackError("the declared fallback")
        finally:
            running.cancel()
            await asyncio.wait({running}, timeout=ENDS_WITHIN)  # a call that ignores it is abandoned
            call.ended = time.monotonic()
            call.requests = self.log.arrivals[before:]
        earlier = [other for other in self.calls if other.ended and other.ended <= call.started]
        endless = [other for other in (*earlier, call) if isinstance(other.error, StillWaitingError)]
        if len(endless) > 1 and endless[-1] is call:
            raise NotJudgedError(
                f"calls of the client do not end within {self.patience:g} s: "
                "declare its timeout, and shorten it with [options]"
            )
        return call

    def require_feasible(self, calls: int) -> None:
        """Reject a check that needs too many concurrent calls.

        Raises:
            NotJudgedError: there would be more than `MAX_AT_ONCE`.
        """
        if calls > MAX_AT_ONCE:
            raise NotJudgedError(
                f"the check would need {calls:,} concurrent calls: "
                "declare [options] with a shorter timeout or fewer connections"
            )

    async def together(self, number: int, **arguments: Any) -> list[Call]:
        """Make *number* concurrent calls."""
        return list(await asyncio.gather(*(self.predict(**arguments) for _ in range(number))))

    async def answers_by_method(self) -> Callable[[Arrival], Reply]:
        """Make a call, and return a script that sends predictions for the rows of predict and of a batch.

        A request with the same body as that of the call is one of ``predict``.
        """
        call = await self.predict()
        bodies = {request.body for request in call.requests}
        one = Reply(body=self.declared.answer)
        several = Reply(body=batch_answer_of(self.declared.data, self.declared.answer))
        return lambda arrival: one if arrival.body in bodies or not bodies else several

    async def open_circuit(self) -> None:
        """Make calls to a failing service until one is rejected.

        Raises:
            NotJudgedError: no call is rejected.
        """
        script = self.server.script
        self.server.script = Reply(503)
        for _ in range((self.declared.threshold or 1) * 2 + 5):
            if (await self.predict()).rejected:
                self.server.script = script
                return
        raise NotJudgedError("the client's circuit did not open: see breaker.opens")

    async def until_reset(self) -> None:
        """Wait until the circuit may send a probe.

        Raises:
            NotJudgedError: the declared reset time is too long.
        """
        reset = self.declared.reset or 0.0
        if reset > MAX_RESET:
            raise NotJudgedError(
                f"the declared reset of {reset:g} s is too long: shorten it to at most {MAX_RESET:g} s with "
                "[options]"
            )
        await asyncio.sleep(reset * 1.1 + MARGIN)

    def fail(self, message: str, *causes: str, **evidence: Any) -> CheckFailedError:
        """Return a failure with the timeline of all calls and requests."""
        evidence = {
            **evidence,
            "declared": self.declared.promised,
            "timeline": timeline(self.log.noted, self.log.arrivals, self.calls, self.declared),
            "spans": spans(self.log.arrivals, self.calls, self.declared),
        }
        return CheckFailedError(message, evidence=evidence, causes=causes)


@dataclass(frozen=True)
class Subject:
    """A client to check.

    Attributes:
        factory: function that creates the client, given a URL and the declared options.
        declared: declared behaviour.
        name: ``module:function``, by which another process can import the factory.
        asynchronous: whether ``predict`` returns an awaitable.
        blocks: whether that awaitable blocks the event loop until the response arrives.
        closes_within: seconds to wait until a client is closed.
    """

    factory: Callable[..., Any]
    declared: Declaration
    name: str = ""
    asynchronous: bool = False
    blocks: bool = False
    closes_within: float = PATIENCE

    @asynccontextmanager
    async def against(
        self, script: Reply | Sequence[Reply] | Script | None = None, *, suffix: str = ""
    ) -> AsyncIterator[Caller]:
        """Create a server and a client that calls it.

        Args:
            script: script of the server; by default, it responds to every request with a prediction.
            suffix: appended to the URL that the client gets.
        """
        with self.server(self.ok if script is None else script) as server:
            async with created(
                self.factory, server.url + suffix, self.declared.options, self.closes_within
            ) as made:
                caller = Caller(made, server, self.declared, blocks=self.blocks)
                server.client_is_created()
                try:
                    yield caller
                finally:
                    await caller.close(self.closes_within)

    def server(self, script: Reply | Sequence[Reply] | Script) -> FaultServer:
        """Return a server that also has the declared responses for the creation of the client."""
        setup = {path: Reply(body=body) for path, body in self.declared.setup.items()}
        if self.declared.protocol is None:
            return FaultServer(script, setup=setup)
        return ProtocolServer(script, WIRES[self.declared.protocol], setup)

    @property
    def ok(self) -> Reply:
        """A response with predictions, as declared."""
        return Reply(body=self.declared.answer)

    @property
    def ok_batch(self) -> Reply:
        """A response with predictions for a batch call."""
        return Reply(body=batch_answer_of(self.declared.data, self.declared.answer))

    def ok_of(self, method: str) -> Reply:
        """Return a response with the predictions that ``predict`` or ``predict_batch`` expects."""
        return self.ok_batch if method == "predict_batch" else self.ok

    @property
    def retried(self) -> Reply:
        """A response after which the client sends its request again, as declared.

        Raises:
            NotJudgedError: no response is declared to be retried.
        """
        if (self.declared.attempts or 1) == 1:
            raise NotJudgedError(NO_RETRIES)
        if self.declared.idempotent is False:
            raise NotJudgedError(NOT_REPEATED)
        return Reply(503)

    def lacks(self, made: Any, method: str) -> bool:
        """Return True if the client *made* lacks a method or property that a check needs."""
        if method == "coroutines":
            return not self.asynchronous
        if method == "asynchronous":
            return not self.asynchronous or self.blocks
        if method == "importable":
            return not self.name or "<" in self.name
        if method == "model":
            predict = method_of(made, "predict")
            return predict is None or "model" not in inspect.signature(predict).parameters
        return method_of(made, method) is None


def method_of(made: Any, name: str) -> Callable[..., Any] | None:
    """Return a method by any of its usual names, or None; a plain function counts as ``predict``."""
    if name == "predict" and not hasattr(made, "predict") and callable(made):
        return made  # type: ignore[no-any-return]
    return next(
        (method for known in NAMES.get(name, (name,)) if callable(method := getattr(made, known, None))), None
    )


def is_coroutine_function(made: Any, name: str) -> bool:
    """Return whether the client has a method *name* that is a coroutine function."""
    return inspect.iscoroutinefunction(method_of(made, name))


def _finished(result: Any, *, is_blocking: bool) -> Any:
    """Return the result of a blocking coroutine, run in this thread; any other value unchanged."""
    return asyncio.run(result) if is_blocking and inspect.iscoroutine(result) else result


def ends_soon(declared: Declaration) -> bool:
    """Return whether a call to a service that does not respond ends soon enough for a part of a check."""
    return declared.expected_call is not None and declared.expected_call <= MAX_HANG


def batch_of(data: Any, protocol: str | None = None) -> Any:
    """Return the argument of a batch call: the rows in *data*, twice, or else *data*, twice."""
    rows = data["features"] if isinstance(data, dict) and isinstance(data.get("features"), list) else None
    if rows is None and protocol is not None:
        rows = rows_in(data)
    return [data, data] if rows is None else rows * 2


def batch_answer_of(data: Any, answer: Any) -> Any:
    """Return the response to a batch call: each list in *answer* that has an item for each row, twice."""
    return joined_answers(data, [answer, answer])


def joined_answers(data: Any, answers: Sequence[Any]) -> Any:
    """Return one response for several, which differ in numbers only.

    Args:
        data: declared argument of ``predict``.
        answers: responses; their lists that have an item for each row in *data* follow one another.
    """
    if (tensors := joined_tensors(answers)) is not None:
        return tensors
    features = data.get("features") if isinstance(data, dict) else None
    rows = len(features) if isinstance(features, list) else 1

    def joined(values: list[Any]) -> Any:
        are_rows = isinstance(values[0], list) and len(values[0]) == rows
        return [item for value in values for item in value] if are_rows else values[0]

    if isinstance(answers[0], dict):
        return {name: joined([answer[name] for answer in answers]) for name in answers[0]}
    return joined(list(answers))


async def wait_until(condition: Callable[[], bool], timeout: float = 1.5) -> bool:
    """Wait up to *timeout* seconds for *condition*, and return whether it became true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def gather_all(*work: Awaitable[Any]) -> list[Any]:
    """Run *work* concurrently, and raise the first exception only after everything has ended."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return list(outcomes)
