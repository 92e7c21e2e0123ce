"""Creation of the client under test, by a function, a context manager or a generator, and its end."""

from __future__ import annotations

import asyncio
import inspect
import sysconfig
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from tier0.checks.client.harness.call import no_exit

CREATED_WITHIN = 15.0
"""Seconds in which a factory has to create a client."""
STANDARD_LIBRARY = sysconfig.get_path("stdlib")


class NotCreatedError(Exception):
    """A factory did not return in time."""


@asynccontextmanager
async def created(
    factory: Callable[..., Any], url: str, options: Mapping[str, Any], leave_within: float
) -> AsyncIterator[Any]:
    """Create a client. A context manager is entered and left, in one task; so is a generator, at its yield.

    Args:
        factory: function that is called with *url* and *options*.
        url: URL of the service.
        options: keyword arguments.
        leave_within: seconds for a context manager or a generator to end; it is abandoned after that.

    Raises:
        NotCreatedError: the factory, or the context manager, does not return in time.
    """
    client: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()
    owner = asyncio.ensure_future(_own(factory, url, options, client, leave))
    try:
        await asyncio.wait({owner, client}, timeout=CREATED_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        if owner.done() and not client.done():
            owner.result()
        if not client.done():
            raise NotCreatedError(f"did not return within {CREATED_WITHIN:g} s{_place(owner)}")
        yield client.result()
    finally:
        if client.done():
            leave.set()
            await asyncio.wait({owner}, timeout=leave_within)
        owner.cancel()


async def _own(
    factory: Callable[..., Any],
    url: str,
    options: Mapping[str, Any],
    client: asyncio.Future[Any],
    leave: asyncio.Event,
) -> None:
    with no_exit():
        made = factory(url, **options)
        if inspect.isawaitable(made):
            made = await made
        async with AsyncExitStack() as stack:
            client.set_result(await _entered(made, stack))
            await leave.wait()


async def _entered(made: Any, stack: AsyncExitStack) -> Any:
    """Return the client that a context manager or a generator yields; *made* itself, if it is neither."""
    if inspect.isasyncgen(made):
        made = asynccontextmanager(lambda: made)()
    elif inspect.isgenerator(made):
        made = contextmanager(lambda: made)()
    if hasattr(made, "predict"):  # a client that is also a context manager: its factory decides about that
        return made
    if hasattr(type(made), "__aenter__"):
        return await stack.enter_async_context(made)
    return stack.enter_context(made) if hasattr(type(made), "__enter__") else made


def _place(task: asyncio.Task[None]) -> str:
    """Return where the innermost coroutine of *task* waits that is not in the standard library."""
    place = ""
    coroutine: Any = getattr(task.get_coro(), "cr_await", None)
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(STANDARD_LIBRARY):
            place = f" (it waits in {frame.f_code.co_name}, {frame.f_code.co_filename}:{frame.f_lineno})"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return place
