"""What a client that traces to Opik sends there, seen by an Opik server of our own; the client runs in a process of its own.

Opik's SDK reads its settings once a process, so the address of that server can only be given to a new one.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tier0.checks.client.harness import traced_calls
from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.subject import Caller, Subject
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.faults import FaultServer, Reply

CALLS = 6
"""Calls beyond those that open a circuit."""
MAX_OVERHEAD = 0.005
STALL = 0.05
ENDS_WITHIN = 10.0
RUN_TIMEOUT = 25.0
QUIET = {"OPIK_SENTRY_ENABLE": "false", "OPIK_ANALYTICS_ENABLE": "false", "OPIK_CONSOLE_LOGGING_LEVEL": "CRITICAL", "OPIK_PROJECT_NAME": "tier0",
         "OPIK_TRACK_DISABLE": "false"}  # fmt: skip


async def one_trace_a_call(subject: Subject) -> dict[str, Any]:
    """Fail unless every call, however it ended, becomes one complete trace, with a span for each request that it sent."""
    with FaultServer(Reply(body={})) as opik:
        caller, _ = await _traced(subject, opik, _mixed(subject))
        traces = sorted(_received(opik, "traces"), key=lambda trace: str(trace["start_time"]))
        spans = _received(opik, "spans")
    if not traces:
        raise caller.fail(f"{len(caller.calls)} calls, and no trace arrived", "the tracing call is misused, and its error swallowed",
                          "the backend's address is read from another name than OPIK_URL_OVERRIDE", "nothing is flushed at close")  # fmt: skip
    if len(traces) != len(caller.calls):
        raise caller.fail(f"{len(caller.calls)} calls became {len(traces)} traces", "what is left is dropped when the process ends",
                          "only answers are traced, not errors", "traces are sent by tasks that nobody waits for")  # fmt: skip
    if unended := [trace for trace in traces if not trace.get("end_time")]:
        raise caller.fail(
            f"{len(unended)} of {len(traces)} traces never end",
            "an error leaves the call before its trace is ended",
        )
    for number, (call, trace) in enumerate(zip(caller.calls, traces, strict=True), 1):
        sent = len(call.requests)
        seen = sum(span["trace_id"] == trace["id"] for span in spans)
        if seen != sent:
            raise caller.fail(
                f"call {number} sent {sent} requests, and its trace has {seen} spans",
                "the call is traced, and not its attempts",
            )
    return {"calls": len(caller.calls), "spans": len(spans)}


async def costs_nothing(subject: Subject) -> dict[str, Any]:
    """Fail where an Opik that hangs delays calls, the event loop, or the end of the process."""
    with FaultServer(Reply(body={})) as opik:
        usual, _ = await _traced(subject, opik, subject.ok)
    with FaultServer(Reply.hang()) as opik:
        caller, ran = await _traced(subject, opik, subject.ok)
    slower = statistics.median(call.seconds for call in caller.calls) - statistics.median(
        call.seconds for call in usual.calls
    )
    if slower > MAX_OVERHEAD:
        raise caller.fail(
            f"with an Opik that hangs, a call takes {slower * 1000:.0f} ms longer",
            "traces are sent within the call",
        )
    if ran["stall"] > STALL:
        message = f"with an Opik that hangs, the event loop stood still for {ran['stall'] * 1000:.0f} ms"
        raise caller.fail(message, "traces are sent, or Opik is imported, within a call")
    if ran["end"] > ENDS_WITHIN:
        raise caller.fail(
            f"with an Opik that hangs, the process ended {ran['end']:.1f} s after its last call",
            "it is flushed without a limit",
        )
    return {"ms_slower": slower * 1000, "ms_longest_stall": ran["stall"] * 1000, "seconds_to_end": ran["end"]}


def _mixed(subject: Subject) -> list[Reply]:
    """Answers of every kind, and then failures for ever, so that a circuit opens."""
    return [subject.ok, Reply(503), subject.ok, Reply(400, {"error": "wrong"}), Reply.hang(), Reply(503)]


async def _traced(
    subject: Subject, opik: FaultServer, script: Reply | list[Reply]
) -> tuple[Caller, dict[str, float]]:
    """Run the client in a process of its own, and return its calls, with their requests, and how the process was."""
    declared = subject.declared
    with subject.server(script) as server, tempfile.TemporaryDirectory(prefix="tier0-traced-") as folder:
        given = {
            "factory": subject.name,
            "url": server.url,
            "knobs": dict(declared.knobs),
            "data": declared.data,
            "calls": CALLS + (declared.threshold or 0),
            "give_up": declared.longest_attempt * 0.5,
            "path": sys.path,
            "output": str(Path(folder) / "calls.json"),
        }
        environment = {
            **os.environ,
            **QUIET,
            "OPIK_URL_OVERRIDE": f"{opik.url}/api",
            "OPIK_CONFIG_PATH": str(Path(folder) / "opik.config"),
        }
        seen = await asyncio.to_thread(_run, given, environment)
        ended = time.monotonic()
        caller = Caller(None, server, declared)
        for one in seen["calls"]:
            error = None if one["error"] is None else RuntimeError(one["error"])
            requests = [
                arrival for arrival in server.arrivals if one["started"] <= arrival.at <= one["ended"]
            ]
            caller.calls.append(Call(one["started"], one["ended"], error=error, requests=requests))
        return caller, {"stall": seen["stall"], "end": ended - seen["closed"]}


def _run(given: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """Return what became of the calls."""
    command = [sys.executable, "-m", traced_calls.__name__]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            input=json.dumps(given),
            env=environment,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        message = f"its process did not end within {RUN_TIMEOUT:g} s: what is left is flushed without a limit"
        raise CheckFailedError(
            message,
            evidence={"timeline": []},
            causes=("Opik's own flush at exit waits for a backend that hangs",),
        ) from problem
    output = Path(given["output"])
    if not output.exists():
        said = " ".join((done.stderr or done.stdout).split()[-40:])
        raise NotJudgedError(f"it cannot be made, or called, in a process of its own: {said}")
    seen: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return seen


def _received(opik: FaultServer, kind: str) -> list[dict[str, Any]]:
    """Return the traces, or spans, that were sent: alone or several at once, with what was added to them later."""
    received: dict[str, dict[str, Any]] = {}
    for arrival in opik.arrivals:
        parts = arrival.path.split("?")[0].rstrip("/").split("/")
        if kind not in parts[-2:] or arrival.method not in {"POST", "PATCH", "PUT"}:
            continue
        body = (
            gzip.decompress(arrival.body)
            if arrival.headers.get("content-encoding") == "gzip"
            else arrival.body
        )
        content = json.loads(body)
        sent = content.get(kind, [content])
        for one in sent:
            id_ = str(one.get("id", parts[-1]))
            received[id_] = {
                **received.get(id_, {}),
                **{name: value for name, value in one.items() if value is not None},
                "id": id_,
            }
    return [one for one in received.values() if "start_time" in one]
