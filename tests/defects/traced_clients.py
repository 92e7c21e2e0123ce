"""Clients that trace to Opik: Tier0's, a correct one with Opik's SDK, and defective variants of that."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import Any

import httpx


def ours(url: str, **knobs: Any) -> Any:
    from tier0.client import BentoMLClient
    from tier0.client.opik_tracer import OpikTracer

    return BentoMLClient(url, tracer=OpikTracer(), **knobs)


class Traced:
    """One trace per call with one span for its single attempt, flushed at the end."""

    flaw = ""

    def __init__(self, url: str) -> None:
        import opik

        self.http = httpx.AsyncClient(base_url=url, timeout=1.0, trust_env=False)
        host = (
            os.environ.get("OPIK_ADDRESS", "http://127.0.0.1:9/api") if self.flaw == "another_name" else None
        )
        self.opik = opik.Opik(host=host, _show_misconfiguration_message=False)
        self.kept: list[Any] = []

    async def predict(self, data: Any) -> Any:
        trace = self.opik.trace(name="predict") if self.flaw not in {"misused", "tasks", "batches"} else None
        try:
            if self.flaw == "within_the_call":
                await self.tell_at_once()
            span = trace.span(name="attempt") if trace is not None and self.flaw != "no_spans" else None
            try:
                return await self.ask(data)
            finally:
                if span is not None:
                    span.end()
        finally:
            self.end(trace)

    def end(self, trace: Any) -> None:
        if trace is not None and self.flaw != "never_ends":
            trace.end()
        if self.flaw == "misused":
            with suppress(TypeError):
                import opik

                opik.track(name="predict", input={})
        if self.flaw == "tasks":
            asyncio.ensure_future(self.later())  # noqa: RUF006 - that is the defect
        if self.flaw == "batches":
            self.kept.append(None)
            if len(self.kept) == 4:
                for _ in self.kept:
                    self.opik.trace(name="predict").end()
                self.kept.clear()

    async def later(self) -> None:
        await asyncio.sleep(0.2)
        self.opik.trace(name="predict").end()

    async def tell_at_once(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=0.1) as http:
            with suppress(httpx.HTTPError):
                await http.post(f"{os.environ['OPIK_URL_OVERRIDE']}/v1/private/told", json={})

    async def ask(self, data: Any) -> Any:
        response = await self.http.post("/predict", json=data)
        response.raise_for_status()
        if self.flaw == "blocks_the_loop":
            time.sleep(0.06)  # noqa: ASYNC251 - that is the defect
        return response.json()

    async def close(self) -> None:
        await self.http.aclose()
        if self.flaw != "no_limit":
            await asyncio.to_thread(self.opik.end, 2)


class Misused(Traced):
    flaw = "misused"


class AnotherName(Traced):
    flaw = "another_name"


class Tasks(Traced):
    flaw = "tasks"


class Batches(Traced):
    flaw = "batches"


class NeverEnds(Traced):
    flaw = "never_ends"


class NoSpans(Traced):
    flaw = "no_spans"


class WithinTheCall(Traced):
    flaw = "within_the_call"


class BlocksTheLoop(Traced):
    flaw = "blocks_the_loop"


class NoLimit(Traced):
    flaw = "no_limit"
