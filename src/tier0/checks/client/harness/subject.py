"""A client that is judged: whatever its signature, it is called as `predict` and seen from the other end of the wire."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tier0.checks.client.harness.call import Call, GivenUpError, StillWaitingError, no_exit, outcome_of
from tier0.checks.client.harness.threads import Threads
from tier0.checks.client.harness.timeline import timeline
from tier0.core.declaration import MAX_RESET, Declaration
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.faults import FaultLog, FaultServer, Reply
from tier0.faults.server import Script

PATIENCE = 5.0
"""Seconds, beyond what is declared, until a call counts as one that never ends."""
MARGIN = 0.05
ENDS_WITHIN = 1.0
"""Seconds that a cancelled call is waited for."""
MAX_AT_ONCE = 3000
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
    """A client under judgement, with the server that it talks to.

    Args:
        made: what the factory gave.
        server: that it talks to.
        declaration: what it promises.
        blocks: whether its coroutines keep the event loop to themselves; then they run in threads, as synchronous functions do.
    """

    def __init__(
        self, made: Any, server: FaultServer, declaration: Declaration, *, blocks: bool = False
    ) -> None:
        self.made = made
        self.server = server
        self.declared = declaration
        self.blocks = blocks
        self.is_asynchronous = False
        self.calls: list[Call] = []
        self._threads = Threads()

    @property
    def log(self) -> FaultLog:
        """What the server saw."""
        return self.server.log

    @property
    def patience(self) -> float:
        """Seconds after which a call counts as one that never ends."""
        return (self.declared.longest_call or PATIENCE) + PATIENCE

    async def predict(self, data: Any = None, *, give_up: float | None = None, **how: Any) -> Call:
        """Call it, and say what became of the call; a caller may give up after some seconds."""
        return await self._call(
            "predict", self.declared.data if data is None else data, give_up=give_up, **how
        )

    async def predict_batch(self) -> Call:
        """Ask for many in its own way."""
        return await self._call("predict_batch", batch_of(self.declared.data))

    async def health(self) -> Call:
        """Ask it whether the service is well."""
        return await self._call("health")

    async def close(self) -> None:
        """Close it, if it can be, and end its threads."""
        if method_of(self.made, "close") is not None:
            with suppress(Exception):
                async with asyncio.timeout(PATIENCE):
                    await self.run("close")
        self._threads.close()

    async def run(self, name: str, *arguments: Any, **how: Any) -> Any:
        """Call a method; one that is not asynchronous runs in a thread."""
        method = method_of(self.made, name)
        if method is None:
            raise NotJudgedError(f"it has no {name}")
        with no_exit():
            if inspect.iscoroutinefunction(method) and not self.blocks:
                result = method(*arguments, **how)
            else:
                result = await self._threads.run(
                    lambda: _in_a_loop_of_its_own(method(*arguments, **how), self.blocks)
                )
            self.is_asynchronous = self.is_asynchronous or inspect.isawaitable(result)
            return await result if inspect.isawaitable(result) else result

    async def _call(self, name: str, *arguments: Any, give_up: float | None = None, **how: Any) -> Call:
        """Call a method, and wait until its caller gives up.

        Raises:
            NotJudgedError: it outlasts any patience, and is not the first to do so.
        """
        before = len(self.log.arrivals)
        call = Call(time.monotonic())
        self.calls.append(call)
        running = asyncio.ensure_future(self.run(name, *arguments, **how))
        try:
            await asyncio.wait({running}, timeout=self.patience if give_up is None else give_up)
            call.answer, call.error = outcome_of(
                running, StillWaitingError if give_up is None else GivenUpError, call.started
            )
        finally:
            running.cancel()
            await asyncio.wait(
                {running}, timeout=ENDS_WITHIN
            )  # one that refuses to be cancelled is left behind
            call.ended = time.monotonic()
            call.requests = self.log.arrivals[before:]
        earlier = [one for one in self.calls if one.ended and one.ended <= call.started]
        if any(isinstance(one.error, StillWaitingError) for one in earlier) and isinstance(
            call.error, StillWaitingError
        ):
            raise NotJudgedError(
                f"its calls do not end within {self.patience:g} s: declare its timeout, and give knobs that shorten it"
            )
        return call

    def refuse_too_many(self, calls: int) -> None:
        """Judge nothing that would take more calls at once than a judge should make.

        Raises:
            NotJudgedError: it would.
        """
        if calls > MAX_AT_ONCE:
            raise NotJudgedError(
                f"it would take {calls:,} calls at once: give knobs that make its timeout shorter, or its connections fewer"
            )

    async def together(self, number: int, **how: Any) -> list[Call]:
        """Make several calls at once."""
        return list(await asyncio.gather(*(self.predict(**how) for _ in range(number))))

    async def open_circuit(self) -> None:
        """Fail until a call is rejected.

        Raises:
            NotJudgedError: it never is.
        """
        script = self.server.script
        self.server.script = Reply(503)
        for _ in range((self.declared.threshold or 1) * 2 + 5):
            if (await self.predict()).rejected:
                self.server.script = script
                return
        raise NotJudgedError("its circuit never opened, see breaker.opens")

    async def until_reset(self) -> None:
        """Wait until a probe may be let out.

        Raises:
            NotJudgedError: that takes too long.
        """
        reset = self.declared.reset or 0.0
        if reset > MAX_RESET:
            raise NotJudgedError(
                f"its reset takes {reset:g} s: give knobs that shorten it to {MAX_RESET:g} s or less"
            )
        await asyncio.sleep(reset * 1.1 + MARGIN)

    def fail(self, message: str, *causes: str, **evidence: Any) -> CheckFailedError:
        """Return the failure, with the timeline of what was seen."""
        evidence = {
            **evidence,
            "declared": self.declared.promised,
            "timeline": timeline(self.log.noted, self.log.arrivals, self.calls, self.declared),
        }
        return CheckFailedError(message, evidence=evidence, causes=causes)


@dataclass(frozen=True)
class Subject:
    """What makes the client that is judged, and what it promises."""

    factory: Callable[..., Any]
    declared: Declaration
    name: str = ""
    """``module:function``, by which another process can import the factory."""
    asynchronous: bool = False
    """Whether a call gives something to await."""
    blocks: bool = False
    """Whether that keeps the event loop to itself until it is answered."""

    @asynccontextmanager
    async def against(
        self, script: Reply | Sequence[Reply] | Script | None = None, *, suffix: str = ""
    ) -> AsyncIterator[Caller]:
        """Make a client of a server of its own, which answers as *script* says: with a prediction, by default."""
        with self.server(self.ok if script is None else script) as server:
            caller = Caller(await self._make(server.url + suffix), server, self.declared, blocks=self.blocks)
            server.setup.clear()
            try:
                yield caller
            finally:
                await caller.close()

    async def _make(self, url: str) -> Any:
        with no_exit():
            made = self.factory(url, **self.declared.knobs)
            return await made if inspect.isawaitable(made) else made

    def server(self, script: Reply | Sequence[Reply] | Script) -> FaultServer:
        """Return a server that also answers what the client asks for while it is made."""
        return FaultServer(
            script, setup={path: Reply(body=body) for path, body in self.declared.setup.items()}
        )

    @property
    def ok(self) -> Reply:
        """A prediction."""
        return Reply(body=self.declared.answer)

    def lacks(self, made: Any, method: str) -> bool:
        """Tell whether the client lacks what a check needs."""
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
    """Return a client's method; a bare function is a client that only predicts."""
    if name == "predict" and not hasattr(made, "predict") and callable(made):
        return made  # type: ignore[no-any-return]
    return next(
        (method for known in NAMES.get(name, (name,)) if callable(method := getattr(made, known, None))), None
    )


def _in_a_loop_of_its_own(result: Any, is_wanted: bool) -> Any:  # noqa: FBT001
    """Run a coroutine to its end, if that is wanted; anything else is as it is."""
    return asyncio.run(result) if is_wanted and inspect.iscoroutine(result) else result


def batch_of(data: Any) -> Any:
    """Return what a batch call is given: the rows of *data*, twice, where they can be told."""
    if isinstance(data, dict) and isinstance(data.get("features"), list):
        return data["features"] * 2
    return [data, data]


async def settle(condition: Callable[[], bool], timeout: float = 1.5) -> bool:
    """Wait until the condition holds, for so long at most; return whether it does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def gathered(*work: Awaitable[Any]) -> list[Any]:
    """Do several things at once; the first problem is raised when all have ended."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return list(outcomes)
